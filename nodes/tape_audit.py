"""The audit of a tape: every row is good, repaired by a stated and counted rule, or refused by its number.

The rules themselves are in :mod:`alphatrade.nodes.tape_rules`; here they are put in order, and what passes
them is rounded to the instrument's grid and becomes a `Tape`.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from alphatrade.nodes import tape_rules as rules
from alphatrade.nodes.instruments import FEES, assumed_depth, identity, make_instrument
from alphatrade.nodes.tape import COLUMNS, SIZES, InstrumentSpec, Ints, Kind, Status, Tape
from alphatrade.nodes.tape_read import Rows
from alphatrade.risk.errors import TapeError

NANO = 10**9
_MOST = 9_000_000_000.0  # units: a nano integer ends at 9.22e9


@dataclass(frozen=True, slots=True)
class Settings:
    """What the audit is told; None means the default of the asset class or kind. Moments are UTC ns."""

    instrument: str | InstrumentSpec
    name: str
    start: int | None = None
    end: int | None = None
    sort: bool = False
    bar_s: float | None = None
    max_bad: float = 0.001
    outlier: float | None = None
    tick: Decimal | None = None
    lot: Decimal | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    half_spread_bps: float | None = None
    stale_after_s: float | None = None
    depth: Decimal | None = None


def audit(rows: Rows, how: Settings, status: Status | None = None) -> Tape:
    """
    Judge the rows and return the tape.

    Parameters
    ----------
    rows : Rows
        As read, in float64.
    how : Settings
    status : Status, optional
        Halts that the source declares.

    Raises
    ------
    TapeError
        If a row breaks a rule that nothing repairs, or fewer than two rows are left.
    """
    table = rules.Table(rows)
    is_bars = rows.kind in ("bars", "bidask_bars")
    kind: Kind = "trades" if rows.kind == "trades" else "bars" if rows.kind == "bars" else "quotes"
    rules.order(table, how.sort, how.max_bad)
    bar_s = _bar_length(table, how.bar_s) if is_bars else 0.0
    if is_bars and rows.stamp == "open":
        table.ts = table.ts + round(bar_s * NANO)
    rules.clip(table, how.start, how.end)
    rules.empty_sizes(table)
    rules.missing(table, how.max_bad)
    rules.signs(table, kind, how.max_bad)
    if rows.kind == "bidask_bars":
        # Only the closes are used, both sides at once, when the bar is over: nothing is known early, and no
        # fill can take one side's new price against the other side's old one.
        table.values["bid"], table.values["ask"] = (
            table.values.pop("bid_close"),
            table.values.pop("ask_close"),
        )
    if kind == "quotes":
        rules.uncross(table)
    elif kind == "bars":
        rules.widen(table)
    rules.repeats(table, kind)
    asset = how.instrument.asset if isinstance(how.instrument, InstrumentSpec) else identity(how.instrument)[4]
    limit = how.outlier if how.outlier is not None else _usual_spike(asset, bar_s)
    if limit > 0:
        rules.spikes(table, kind, limit)
    if len(table.ts) < 2:
        raise TapeError(table.where, f"{len(table.ts)} usable rows", "at least two")
    return _tape(table, kind, bar_s, how, status or Status.none())


def _usual_spike(asset: str, bar_s: float) -> float:
    """Return the default of tape.outlier: what moves further and back at once is taken for a bad print."""
    if bar_s:
        return float(min(0.5, 0.05 * max(1.0, np.sqrt(bar_s / 3600.0))))  # a day moves further than a minute
    return 0.05 if asset == "crypto" else 0.01


def _bar_length(table: rules.Table, given: float | None) -> float:
    """Return the length of a bar in seconds: given, else the commonest step between stamps."""
    if given is not None:
        return given
    steps = np.diff(table.ts)
    steps = steps[steps > 0]
    if len(steps) == 0:
        raise TapeError("tape.bar_s", None, f"the length of a bar in seconds ({table.where} has no two stamps)")
    values, counts = np.unique(steps, return_counts=True)
    return float(values[np.argmax(counts)]) / NANO


def _tape(table: rules.Table, kind: Kind, bar_s: float, how: Settings, status: Status) -> Tape:
    """Round to the grid, count gaps and put the tape together."""
    spec = how.instrument if isinstance(how.instrument, InstrumentSpec) else _instrument(table, how)
    columns = {"ts": table.ts}
    columns |= {name: _ints(table, name, spec) for name in COLUMNS[kind][1:] if name in table.values}
    stale = how.stale_after_s or (max(60.0, 3.0 * bar_s) if bar_s else 300.0)
    table.audit["gap"] = int((np.diff(table.ts) > stale * NANO).sum())
    table.audit["rows_used"] = len(table.ts)
    table.audit["halts"] = int((status.action == 0).sum())
    depth = 0
    if not set(SIZES[kind]) <= set(columns):
        price = int(columns[COLUMNS[kind][1]][0])
        depth = assumed_depth(spec, price) if how.depth is None else int(how.depth.scaleb(9))
    half = how.half_spread_bps if how.half_spread_bps is not None else FEES[spec.asset][2]
    return Tape(
        name=how.name,
        kind=kind,
        instrument=spec,
        columns=columns,
        status=status,
        audit=table.audit,
        half_spread_bps=0.0 if kind == "quotes" else half,
        stale_after_s=stale,
        bar_s=bar_s if kind == "bars" else 0.0,
        depth=depth,
    )


def _instrument(table: rules.Table, how: Settings) -> InstrumentSpec:
    assert isinstance(how.instrument, str), "an instrument that is known needs no defaults"
    prices = np.concatenate([values for name, values in table.values.items() if rules.is_price(name)])
    sizes = next((values for name, values in table.values.items() if name in rules.SIZE_NAMES), None)
    return make_instrument(
        how.instrument,
        prices,
        sizes,
        tick=how.tick,
        lot=how.lot,
        maker_fee=how.maker_fee,
        taker_fee=how.taker_fee,
    )


def _ints(table: rules.Table, name: str, spec: InstrumentSpec) -> Ints:
    """Return a column as nano integers on the grid of the instrument."""
    values = table.values[name]
    if name == "aggressor":
        return values.astype(np.int64)
    price = rules.is_price(name)
    step = int((Decimal(spec.tick) if price else Decimal(1).scaleb(-spec.size_precision)).scaleb(9))
    highest = int(np.argmax(values))
    if price and float(values[highest]) > _MOST:
        raise TapeError(table.at(highest, name), float(values[highest]), "a price below nine billion")
    if not price:
        table.audit["capped"] += int((values > _MOST).sum())
    values = np.minimum(values, _MOST)
    # Whole numbers of steps per unit are exact; only odd ticks such as 0.03 take the longer way.
    scaled = values * (NANO // step) if NANO % step == 0 else values * NANO / step
    units = np.rint(scaled)
    if price:
        table.audit["rounded"] += int((np.abs(scaled - units) > 1e-6 + 1e-12 * scaled).sum())
        lowest = int(np.argmin(units))
        if units[lowest] == 0.0:
            expected = f"a price of at least one tick ({spec.tick})"
            raise TapeError(table.at(lowest, name), float(values[lowest]), expected)
    elif name == "size":
        units = np.maximum(units, 1.0)  # a trade of less than the smallest unit is still a trade
    return units.astype(np.int64) * step
