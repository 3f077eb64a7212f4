"""Which of two risk templates is tighter, limit by limit: the order in which nothing that is bred can be looser."""

from typing import Any, Literal

from alphatrade.risk.template import RiskTemplate

Tighter = Literal["smaller", "larger"] | tuple[str, ...]

# What makes each limit tighter; words from the loosest on. None, no limit at all, is looser than any number.
TIGHTER: dict[str, Tighter] = {
    "order_qty_max": "smaller",
    "order_notional_max": "smaller",
    "gross_max": "smaller",
    "net_max": "smaller",
    "instrument_max": "smaller",
    "inventory_max": "smaller",
    "price_collar": "smaller",
    "jump_max": "smaller",
    "stale_after_s": "smaller",
    "daily_loss_max": "smaller",
    "drawdown_max": "smaller",
    "orders_per_second": "smaller",
    "orders_per_minute": "smaller",
    "repeat_max": "smaller",
    "repeat_window_s": "larger",
    "repeat_action": ("deny", "halt"),
    "duplicate_window_s": "larger",
    "open_orders_max": "smaller",
    "near_miss": "smaller",  # noticed earlier
    "near_miss_action": ("notify", "size_down"),
    "size_down_factor": "smaller",
}


def _tightest(name: str, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    how = TIGHTER[name]
    if isinstance(how, tuple):
        return max(one, other, key=how.index)
    return min(one, other) if how == "smaller" else max(one, other)


def meet(one: RiskTemplate, other: RiskTemplate) -> RiskTemplate:
    """Return the loosest template that is at least as tight as both, under the name of `one`."""
    limits = {name: _tightest(name, getattr(one, name), getattr(other, name)) for name in TIGHTER}
    return RiskTemplate(name=one.name, **limits)


def as_tight(one: RiskTemplate, other: RiskTemplate) -> bool:
    """Return whether no limit of `one` is looser than that of `other`; names do not matter."""
    return all(_tightest(name, getattr(one, name), getattr(other, name)) == getattr(one, name) for name in TIGHTER)
