"""The order of risk templates: every limit has a direction, and the tightest of two is as tight as each."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.tightness import TIGHTER, as_tight, meet

BASE = RiskTemplate()
LOOSER: dict[str, Any] = {
    "order_notional_max": 0.16, "gross_max": 1.1, "net_max": 1.1, "instrument_max": 0.6, "price_collar": 0.04,
    "jump_max": 0.06, "stale_after_s": 601.0, "daily_loss_max": 0.04, "drawdown_max": 0.11, "orders_per_second": 11,
    "orders_per_minute": 121, "repeat_max": 11, "repeat_window_s": 59.0, "duplicate_window_s": 0.5, "open_orders_max": 21,
    "near_miss": 0.81, "near_miss_action": "notify", "size_down_factor": 0.6,
}  # fmt: skip
TIGHT: dict[str, Any] = {"order_qty_max": 1, "inventory_max": 1, "repeat_action": "halt"}

templates = st.builds(
    RiskTemplate,
    order_qty_max=st.none() | st.decimals(min_value=1, max_value=9, places=0),
    gross_max=st.floats(0.1, 2.0), repeat_window_s=st.floats(0, 100), orders_per_second=st.integers(1, 30),
    repeat_action=st.sampled_from(["deny", "halt"]), near_miss_action=st.sampled_from(["notify", "size_down"]),
)  # fmt: skip


def test_every_limit_has_a_direction() -> None:
    assert set(TIGHTER) == set(RiskTemplate.model_fields) - {"name"}
    assert set(LOOSER) | set(TIGHT) == set(TIGHTER)


@pytest.mark.parametrize("name", [*LOOSER, *TIGHT])
def test_one_limit_alone_decides(name: str) -> None:
    changed = BASE.model_copy(update={name: (LOOSER | TIGHT)[name]})
    loose, tight = (changed, BASE) if name in LOOSER else (BASE, changed)
    assert as_tight(tight, loose)
    assert not as_tight(loose, tight)
    assert getattr(meet(loose, tight), name) == getattr(meet(tight, loose), name) == getattr(tight, name)


@given(templates, templates)
def test_the_meet_is_as_tight_as_both_and_no_tighter(one: RiskTemplate, other: RiskTemplate) -> None:
    both = meet(one, other)
    assert as_tight(both, one)
    assert as_tight(both, other)
    assert all(getattr(both, name) in (getattr(one, name), getattr(other, name)) for name in TIGHTER)
    assert meet(one, one) == one
