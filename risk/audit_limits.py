"""The bounds that the auditor judges with, read from ``policy.json`` and ``run.yaml`` as exact integers.

Money counts 5e-19 of the account's currency (*half-atto*): a price times a quantity, both in 1e-9, counts
1e-18, and a mid is half of bid plus ask.
"""

import json
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from alphatrade.risk.errors import RunDirError
from alphatrade.risk.template import RiskTemplate

HALF_ATTO = 2 * 10**18  # of one whole unit of money
_SMALLER = (
    "order_qty", "inventory", "order_notional", "instrument", "gross", "net", "daily_loss", "drawdown", "collar",
    "jump", "per_second", "per_minute", "repeat", "open_orders",
)  # fmt: skip
_LARGER = ("repeat_ns", "duplicate_ns")
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # reading run.yaml is most of the audit of a short run


@dataclass(frozen=True, slots=True)
class Cap:
    """
    What the capped strategies of a run, a canary's, may come to together, half-attos.

    Strategies of the same name as a capped one, by another tag than any that `run.yaml` tells of, are capped as well.
    """

    gross: int
    order_notional: int
    capped: frozenset[str]
    beside: frozenset[str]

    def holds(self, strategy: str) -> bool:
        """Return whether a strategy is capped."""
        names = {one.rsplit("-", 1)[0] for one in self.capped}
        return strategy in self.capped or (strategy.rsplit("-", 1)[0] in names and strategy not in self.beside)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds as exact integers: money in half-attos, quantities in nanos, times in nanoseconds."""

    capital: int
    opening: int  # equity at the start: another than the capital if earlier sessions have won or lost
    currency: str
    long_only: bool
    order_qty: int | None
    inventory: int | None
    order_notional: int
    instrument: int
    gross: int
    net: int
    daily_loss: int
    drawdown: Fraction
    collar: Fraction
    jump: Fraction
    per_second: int
    per_minute: int
    repeat: int
    repeat_ns: int
    duplicate_ns: int
    open_orders: int
    stale_ns: dict[str, int]  # by instrument: the lower of the template's and the tape's
    base: dict[str, object]  # by instrument: its base currency, if it has one
    cap: Cap | None = None


def read_limits(run_dir: Path) -> Limits:
    """
    Read the risk template, the capital and the instrument facts of a run.

    Raises
    ------
    RunDirError
        If a file is missing or unreadable, or a number or a name in it cannot be used.
    """
    policy, run = read_file(run_dir / "policy.json"), read_file(run_dir / "run.yaml")
    template = _template(policy.get("risk"), "policy.json:risk")
    return _capped(template, run) if "canary" in run else _limits(template, run)


def _template(fields: object, place: str) -> RiskTemplate:
    try:
        return RiskTemplate.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise RunDirError(where, first.get("input"), first["msg"]) from None


def _capped(base: RiskTemplate, run: dict[str, Any]) -> Limits:
    """Return the limits of a run with a canary: the tighter of both templates, and the canary's cap under them."""
    told: Any = run["canary"]
    try:
        fields, share = told["policy"]["risk"], _exact(float(told["share"]))
        capped, beside = (frozenset(map(str, told[part])) for part in ("strategies", "beside"))
    except (TypeError, KeyError, ValueError):
        what = "policy, share, strategies and those beside them of a run with a canary"
        raise RunDirError("run.yaml:canary", str(told)[:120], what) from None
    if not 0 < share <= 1 or not capped or capped & beside:
        raise RunDirError("run.yaml:canary", told["share"], "a share in (0, 1] of strategies of the canary alone")
    own = _template(fields, "run.yaml:canary.policy.risk")
    limits = _tighter(_limits(base, run), _limits(own, run))

    def part(one: float, other: float) -> int:
        return int(share * min(_exact(one), _exact(other)) * limits.capital)

    gross, order = (
        part(getattr(base, name), getattr(own, name)) for name in ("gross_max", "order_notional_max")
    )
    return replace(limits, cap=Cap(gross, order, capped, beside))


def _tighter(one: Limits, other: Limits) -> Limits:
    """Return the tighter of each bound."""
    bounds: dict[str, Any] = {
        name: min(values, default=None)
        for name in _SMALLER
        for values in [[value for value in (getattr(one, name), getattr(other, name)) if value is not None]]
    }
    bounds |= {name: max(getattr(one, name), getattr(other, name)) for name in _LARGER}
    stale = {name: min(age, other.stale_ns[name]) for name, age in one.stale_ns.items()}
    return replace(one, **bounds, stale_ns=stale)


def _limits(template: RiskTemplate, run: dict[str, Any]) -> Limits:
    capital = _number(run, "capital", "run.yaml:capital")
    opening = _number(run, "opening", "run.yaml:opening") if "opening" in run else capital
    currency, long_only = run.get("currency"), run.get("long_only")
    if not isinstance(currency, str):
        raise RunDirError("run.yaml:currency", currency, "the currency of the account")
    if not isinstance(long_only, bool):
        raise RunDirError("run.yaml:long_only", long_only, "true or false")
    stale = _stale(run.get("instruments"), currency, _exact(template.stale_after_s))

    def money(share: float) -> int:  # rounded down: an integer is above a bound if it is above its floor
        return int(_exact(share) * capital * HALF_ATTO)

    return Limits(
        capital=int(capital * HALF_ATTO),
        opening=int(opening * HALF_ATTO),
        currency=currency,
        long_only=long_only,
        order_qty=_units(template.order_qty_max),
        inventory=_units(template.inventory_max),
        order_notional=money(template.order_notional_max),
        instrument=money(template.instrument_max),
        gross=money(template.gross_max),
        net=money(template.net_max),
        daily_loss=money(template.daily_loss_max),
        drawdown=_exact(template.drawdown_max),
        collar=_exact(template.price_collar),
        jump=_exact(template.jump_max),
        per_second=template.orders_per_second,
        per_minute=template.orders_per_minute,
        repeat=template.repeat_max,
        repeat_ns=int(_exact(template.repeat_window_s) * 10**9),
        duplicate_ns=int(_exact(template.duplicate_window_s) * 10**9),
        open_orders=template.open_orders_max,
        stale_ns=stale,
        base={name: facts.get("base") for name, facts in run["instruments"].items()},
    )


def _stale(instruments: object, currency: str, most: Fraction) -> dict[str, int]:
    """Return how old a reference may be, ns by instrument; refuse foreign quote currencies."""
    if not isinstance(instruments, dict) or not instruments:
        raise RunDirError("run.yaml:instruments", instruments, "a mapping of instrument ids")
    stale: dict[str, int] = {}
    for name, facts in instruments.items():
        where = f"run.yaml:instruments.{name}"
        if not isinstance(facts, dict):
            raise RunDirError(where, facts, "a mapping")
        if facts.get("quote") != currency:
            raise RunDirError(f"{where}.quote", facts.get("quote"), f"{currency}, as the account")
        own = _number(facts, "stale_after_s", f"{where}.stale_after_s")
        stale[name] = int(min(own, most) * 10**9)
    return stale


def _units(value: Decimal | None) -> int | None:
    return None if value is None else int(Fraction(value) * 10**9)


def _exact(value: float) -> Fraction:
    return Fraction(repr(value))  # 0.1 means one tenth


def _number(mapping: dict[str, Any], key: str, where: str) -> Fraction:
    try:
        number = Decimal(str(mapping.get(key)))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number <= 0:
        raise RunDirError(where, mapping.get(key), "a finite number above zero")
    return Fraction(number)


def read_file(path: Path) -> dict[str, Any]:
    """Return a JSON or YAML file of a run that holds a mapping; refuses another as `read_limits` does."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.load(text, _YAML)
    except FileNotFoundError:
        raise RunDirError(path.name, "nothing", f"a file in {path.parent}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunDirError(path.name, str(error)[:120], "a readable file of the run") from None
    if not isinstance(value, dict):
        raise RunDirError(path.name, type(value).__name__, "a mapping")
    return value
