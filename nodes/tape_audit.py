"""The audit of a tape: every row is either good, repaired by a stated and counted rule, or refused by its number.

The rules are in `RULES`, in the order in which they are applied. Two of them look at later rows: sorting, and dropping
isolated spikes. That is hindsight cleaning, which a live feed would not have had: `tape.outlier=0` turns it off.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.instruments import FEES, assumed_depth, identity, make_instrument
from alphatrade.nodes.tape import BUYER, COLUMNS, NO_AGGRESSOR, SELLER, InstrumentSpec, Ints, Status, Tape
from alphatrade.nodes.tape_read import Rows
from alphatrade.nodes.tape_time import MISSING_TS
from alphatrade.risk.errors import TapeError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

RULES: dict[str, str] = {
    "rows_read": "data rows in the source",
    "filtered": "left out by tape.filter (trades that the source marks as suspicious are left out by default)",
    "unsorted": "stamps before the one above: refused, unless tape.sort=true sorts them (stable)",
    "outside": "outside tape.start … tape.end",
    "nan": "empty or NaN cells: the row is dropped, refused if their share exceeds tape.max_bad or a column is all NaN",
    "non_positive": "zero prices (or trade sizes): dropped, refused if their share exceeds tape.max_bad; negative: refused",
    "crossed": "bid above ask: swapped, so that the spread stays",
    "inconsistent": "a bar whose high or low does not contain its open and close: widened until it does",
    "duplicate": "equal to the row above in stamp and values: dropped; trades only if their ids are equal, too",
    "same_stamp": "equal stamp, other values: kept in order (bars: refused)",
    "outlier": "isolated spike, off by more than tape.outlier from the medians before and after it, which agree: dropped",
    "rounded": "prices off the tick grid: rounded to it, half to even",
    "capped": "sizes above nine billion units: set to that",
    "locked": "bid equal to ask: kept",
    "gap": "silences longer than tape.stale_after_s: kept, orders in them find a stale reference",
    "halts": "trading halts that the source declares",
    "bad_prints": "prints far from the market that a world planted on purpose: kept, they are the test",
    "rows_used": "rows that the engine will see",
}
NANO = 10**9
_MOST = 9_000_000_000.0  # units: a nano integer ends at 9.22e9
_SIDE_ROWS = 5  # neighbours on each side of a suspected spike


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


class _Table:
    """The rows under audit: stamps, values and row numbers that are cut together, and the counts so far."""

    def __init__(self, rows: Rows) -> None:
        self.where, self.names = rows.where, rows.names
        self.ts, self.values, self.row, self.ids = rows.ts, dict(rows.values), rows.row, rows.trade_id
        self.audit = dict.fromkeys(RULES, 0)
        self.audit.update(rows_read=len(rows.ts) + rows.filtered, filtered=rows.filtered)

    def keep(self, index: Mask | slice | NDArray[np.intp]) -> None:
        """Keep the rows of `index`, everywhere."""
        self.ts, self.row = self.ts[index], self.row[index]
        self.values = {name: array[index] for name, array in self.values.items()}
        self.ids = None if self.ids is None else self.ids[index]

    def at(self, position: int, ours: str) -> str:
        """Return where a cell is, for a message."""
        return f"{self.where}, row {self.row[position]}, column {self.names.get(ours, ours)}"


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
    table = _Table(rows)
    bars = rows.kind in ("bars", "bidask_bars")
    _order(table, how.sort)
    bar_s = _bar_length(table, how.bar_s) if bars else 0.0
    if bars and rows.stamp == "open":
        table.ts = table.ts + round(bar_s * NANO)
    _clip(table, how)
    _missing(table, how.max_bad)
    _signs(table, rows.kind, how.max_bad)
    kind = rows.kind
    if kind == "bidask_bars":
        # Only the closes are used, both sides at once, at the time the bar is over: nothing is known early, and no
        # fill can take one side's new price against the other side's old one.
        kind = "quotes"
        table.values["bid"], table.values["ask"] = (
            table.values.pop("bid_close"),
            table.values.pop("ask_close"),
        )
    if kind == "quotes":
        _uncross(table)
    if kind == "bars":
        _widen(table)
    _repeats(table, kind)
    asset = (
        how.instrument.asset if isinstance(how.instrument, InstrumentSpec) else identity(how.instrument)[4]
    )
    limit = how.outlier if how.outlier is not None else 0.05 if bars or asset == "crypto" else 0.01
    if limit > 0:
        _spikes(table, kind, limit)
    if len(table.ts) < 2:
        raise TapeError(table.where, f"{len(table.ts)} usable rows", "at least two")
    return _tape(table, kind, bar_s, how, status)


def _order(table: _Table, sort: bool) -> None:
    """Drop rows without a stamp for now counted as NaN; sort, or refuse what is not sorted."""
    known = table.ts != MISSING_TS
    if not known.all():
        first = int(np.argmin(known))
        if len(known) - known.sum() > 0.001 * len(known):
            raise TapeError(table.at(first, "ts"), "nothing", "a time in every row")
        table.audit["nan"] += int(len(known) - known.sum())
        table.keep(known)
    back = np.flatnonzero(np.diff(table.ts) < 0)
    table.audit["unsorted"] = len(back)
    if not len(back):
        return
    if not sort:
        position = int(back[0]) + 1
        hint = (
            "tape.sort=true sorts them; the rows are newest first"
            if len(back) > 0.9 * len(table.ts) - 2
            else "tape.sort=true"
        )
        raise TapeError(
            table.at(position, "ts"), _iso(table.ts[position]), f"a stamp not before the row above ({hint})"
        )
    table.keep(np.argsort(table.ts, kind="stable"))


def _bar_length(table: _Table, given: float | None) -> float:
    """Return the length of a bar in seconds: given, else the commonest step between stamps."""
    if given is not None:
        return given
    steps = np.diff(table.ts)
    steps = steps[steps > 0]
    if len(steps) == 0:
        raise TapeError(
            "tape.bar_s", None, f"the length of a bar in seconds ({table.where} has no two stamps)"
        )
    values, counts = np.unique(steps, return_counts=True)
    return float(values[np.argmax(counts)]) / NANO


def _clip(table: _Table, how: Settings) -> None:
    """Cut to start <= ts < end, by the time at which a row is known."""
    if how.start is None and how.end is None:
        return
    a = 0 if how.start is None else int(np.searchsorted(table.ts, how.start, "left"))
    b = len(table.ts) if how.end is None else int(np.searchsorted(table.ts, how.end, "left"))
    if a >= b:
        span = f"{_iso(table.ts[0])} … {_iso(table.ts[-1])}"
        raise TapeError(
            "tape.start/end", f"{_iso(how.start)} … {_iso(how.end)}", f"a part of {span} ({table.where})"
        )
    table.audit["outside"] = len(table.ts) - (b - a)
    table.keep(slice(a, b))


def _drop_few(table: _Table, bad: Mask, rule: str, ours: str, expected: str, most: float) -> None:
    """Drop the bad rows if they are few, refuse them with the first one otherwise."""
    count = int(bad.sum())
    if count == 0:
        return
    if count > most * len(bad):
        first = int(np.argmax(bad))
        share = f"{count} of {len(bad)} rows, tape.max_bad={most}"
        raise TapeError(table.at(first, ours), float(table.values[ours][first]), f"{expected} ({share})")
    table.audit[rule] += count
    table.keep(~bad)


def _missing(table: _Table, most: float) -> None:
    for ours in list(table.values):
        values = table.values[ours]
        bad = ~np.isfinite(values)
        if bad.all():
            raise TapeError(
                f"{table.where}, column {table.names.get(ours, ours)}", "nothing but NaN", "numbers"
            )
        _drop_few(table, bad, "nan", ours, "a number", most)


def _signs(table: _Table, kind: str, most: float) -> None:
    """Refuse negative values; drop zero prices, and trades of size zero. Empty bars and quote sides may be zero."""
    for ours in list(table.values):
        values = table.values[ours]
        low = int(np.argmin(values))
        if values[low] < 0:
            first = int(np.argmax(values < 0))
            raise TapeError(
                table.at(first, ours),
                float(values[first]),
                "a price above zero" if _is_price(ours) else "no negative size",
            )
        if _is_price(ours) or (kind == "trades" and ours == "size"):
            _drop_few(table, values == 0.0, "non_positive", ours, "a value above zero", most)


def _is_price(ours: str) -> bool:
    return ours not in ("bid_size", "ask_size", "size", "volume", "aggressor")


def _uncross(table: _Table) -> None:
    bid, ask = table.values["bid"], table.values["ask"]
    crossed = bid > ask
    table.audit["crossed"] = int(crossed.sum())
    table.audit["locked"] = int((bid == ask).sum())
    table.values["bid"], table.values["ask"] = np.minimum(bid, ask), np.maximum(bid, ask)


def _widen(table: _Table) -> None:
    o, h, low, c = (table.values[name] for name in ("open", "high", "low", "close"))
    table.values["high"], table.values["low"] = (
        np.maximum(np.maximum(o, c), h),
        np.minimum(np.minimum(o, c), low),
    )
    table.audit["inconsistent"] = int(((table.values["high"] != h) | (table.values["low"] != low)).sum())


def _repeats(table: _Table, kind: str) -> None:
    """Drop rows that say the row above again; count equal stamps that say something else."""
    same = np.diff(table.ts) == 0
    if not same.any():
        return
    equal = same.copy()
    for values in table.values.values():
        equal &= values[1:] == values[:-1]
    if kind == "trades":
        equal &= table.ids[1:] == table.ids[:-1] if table.ids is not None else False
    other = same & ~equal
    table.audit["duplicate"], table.audit["same_stamp"] = int(equal.sum()), int(other.sum())
    if kind == "bars" and other.any():
        first = int(np.argmax(other)) + 1
        raise TapeError(
            table.at(first, "ts"),
            _iso(table.ts[first]),
            "one bar per stamp; the row above has this stamp, too",
        )
    if equal.any():
        table.keep(np.concatenate(([True], ~equal)))


def _spikes(table: _Table, kind: str, limit: float) -> None:
    """Drop isolated spikes; see `find_spikes`. A bar's wicks beyond the limit are real until a neighbour disagrees."""
    values = table.values
    price = (
        0.5 * (values["bid"] + values["ask"])
        if kind == "quotes"
        else values["price" if kind == "trades" else "close"]
    )
    bad = find_spikes(price, limit)
    if kind == "bars":
        bad |= find_spikes(values["high"], limit) | find_spikes(values["low"], limit)
    if bad.any():
        table.audit["outlier"] = int(bad.sum())
        table.keep(~bad)


def find_spikes(price: Floats, limit: float) -> Mask:
    """
    Return where a price stands alone.

    A price is a spike if it is off by more than `limit` from the median of the five before it and from that of the five
    after it, while these differ by less than half of that. Runs of two are found, too. The first and the last price
    have one side only and must be off by ten times the limit (at most by half) from it.

    Parameters
    ----------
    price : float64 array (n,)
        Positive.
    limit : float
        Fraction.
    """
    bad = np.zeros(len(price), dtype=np.bool_)
    if len(price) < 2 * _SIDE_ROWS + 1:
        return bad
    # Only a jump of the size of the limit can begin or end a spike: few rows are looked at closely.
    jump = np.flatnonzero(np.abs(np.diff(price)) > 0.4 * limit * np.minimum(price[1:], price[:-1]))
    if len(jump) == 0:
        return bad
    near = np.unique(np.concatenate([jump - 1, jump, jump + 1, jump + 2]))
    inner = near[(near >= _SIDE_ROWS) & (near < len(price) - _SIDE_ROWS)]
    steps = np.arange(1, _SIDE_ROWS + 1)
    before = np.median(price[inner[:, None] - steps], axis=1)
    after = np.median(price[inner[:, None] + steps], axis=1)
    value = price[inner]
    alone = (np.abs(value - before) > limit * before) & (np.abs(value - after) > limit * after)
    bad[inner[alone & (np.abs(after - before) < 0.5 * limit * before)]] = True
    far = min(10 * limit, 0.5)
    for position, others in ((0, price[1 : _SIDE_ROWS + 1]), (len(price) - 1, price[-_SIDE_ROWS - 1 : -1])):
        middle = float(np.median(others))
        bad[position] = abs(float(price[position]) - middle) > far * middle
    return bad


def _tape(table: _Table, kind: str, bar_s: float, how: Settings, status: Status | None) -> Tape:
    """Round to the grid, count gaps and put the tape together."""
    values = table.values
    prices = values["bid"] if kind == "quotes" else values["price"] if kind == "trades" else values["close"]
    sizes = next((values[name] for name in ("size", "volume", "bid_size") if name in values), None)
    spec = how.instrument
    if isinstance(spec, str):
        every = np.concatenate([values[name] for name in COLUMNS[kind] if name in values and _is_price(name)])
        spec = make_instrument(
            spec, every, sizes, tick=how.tick, lot=how.lot, maker_fee=how.maker_fee, taker_fee=how.taker_fee
        )
    columns = {"ts": table.ts}
    for name in COLUMNS[kind][1:]:
        if name in values:
            columns[name] = _ints(table, name, spec)
    if kind == "trades" and "size" not in columns:
        columns["size"] = np.full(len(table.ts), int(Decimal(spec.lot).scaleb(9)), dtype=np.int64)
    stale = how.stale_after_s or (max(60.0, 3.0 * bar_s) if bar_s else 300.0)
    table.audit["gap"] = int((np.diff(table.ts) > stale * NANO).sum())
    table.audit["rows_used"] = len(table.ts)
    halts = status or Status.none()
    table.audit["halts"] = int((halts.action == 0).sum())
    half = how.half_spread_bps if how.half_spread_bps is not None else FEES[spec.asset][2]
    depth = 0
    if kind == "quotes" and "bid_size" not in columns:
        first = int(columns["bid"][0])
        depth = assumed_depth(spec, first) if how.depth is None else int(how.depth.scaleb(9))
    assert len(prices) == len(table.ts), "columns stay of one length"
    return Tape(
        name=how.name,
        kind="quotes" if kind == "quotes" else "trades" if kind == "trades" else "bars",
        instrument=spec,
        columns=columns,
        status=halts,
        audit=table.audit,
        half_spread_bps=0.0 if kind == "quotes" else half,
        stale_after_s=stale,
        bar_s=bar_s,
        depth=depth,
    )


def _ints(table: _Table, name: str, spec: InstrumentSpec) -> Ints:
    """Return a column as nano integers on the grid of the instrument."""
    values = table.values[name]
    if name == "aggressor":
        assert set(np.unique(values)) <= {float(NO_AGGRESSOR), float(BUYER), float(SELLER)}
        return values.astype(np.int64)
    price = _is_price(name)
    step = int((Decimal(spec.tick) if price else Decimal(1).scaleb(-spec.size_precision)).scaleb(9))
    if not price:
        table.audit["capped"] += int((values > _MOST).sum())
    elif float(values.max()) > _MOST:
        position = int(np.argmax(values))
        raise TapeError(table.at(position, name), float(values[position]), "a price below nine billion")
    scaled = (
        np.minimum(values, _MOST) * (NANO / step)
        if step < NANO
        else np.minimum(values, _MOST) / (step / NANO)
    )
    units = np.rint(scaled)
    if price:
        table.audit["rounded"] += int((np.abs(scaled - units) > 1e-6 + 1e-12 * scaled).sum())
        if int(units.min()) == 0:
            position = int(np.argmin(units))
            raise TapeError(
                table.at(position, name),
                float(values[position]),
                f"a price of at least one tick ({spec.tick})",
            )
    elif name == "size":
        units = np.maximum(units, 1.0)  # a trade of less than the smallest unit is still a trade
    return units.astype(np.int64) * step


def _iso(ts: int | None) -> str:
    return "…" if ts is None else str(np.datetime64(int(ts), "ns"))
