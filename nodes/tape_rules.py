"""The rules of the audit, one function each: what is dropped, repaired or refused, and what is only counted.

Two rules look at later rows: sorting, and dropping isolated spikes. That is hindsight cleaning, which a live
feed would not have had; `tape.outlier=0` switches the latter off.
"""

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape import SIZES
from alphatrade.nodes.tape_read import Rows
from alphatrade.nodes.tape_time import MISSING_TS
from alphatrade.risk.errors import TapeError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# In the order in which they are applied.
RULES: dict[str, str] = {
    "rows_read": "data rows in the source",
    "filtered": "left out by tape.filter; without one, trades that the source marks as suspicious",
    "unsorted": "stamps before the one above: refused, unless tape.sort=true sorts them (stable)",
    "outside": "outside tape.start to tape.end",
    "nan": "empty or NaN cells: dropped; refused if their share is above tape.max_bad or a column is all NaN",
    "non_positive": "zero prices and trade sizes: dropped; refused if above tape.max_bad; negative: refused",
    "crossed": "bid above ask: swapped, so that the spread stays",
    "inconsistent": "a bar whose high and low do not contain its open and close: widened until they do",
    "duplicate": "equal to the row above in stamp and values: dropped (trades: if their ids are equal, too)",
    "same_stamp": "equal stamp, other values (trades: or no ids): kept in order; bars are refused",
    "outlier": "isolated spike, off by over tape.outlier from both sides, which agree: dropped (hindsight)",
    "rounded": "prices off the tick grid: rounded to it, half to even",
    "capped": "sizes above nine billion units: set to that",
    "locked": "bid equal to ask: kept",
    "gap": "silences longer than tape.stale_after_s: kept; orders in them find a stale reference",
    "halts": "trading halts that the source declares",
    "bad_prints": "prints far from the market that a world planted on purpose: kept, they are the test",
    "planted_crossed": "crossed quotes that a world planted on purpose: kept, they are the test",
    "rows_used": "rows that the engine will see",
}
SIZE_NAMES = frozenset(name for names in SIZES.values() for name in names)
_SIDE_ROWS = 5  # neighbours on each side of a suspected spike


def is_price(ours: str) -> bool:
    """Return whether a column holds prices."""
    return ours not in SIZE_NAMES and ours != "aggressor"


class Table:
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


def iso(ts: int | None) -> str:
    """Return a stamp as people read it."""
    return "…" if ts is None else str(np.datetime64(int(ts), "ns"))


def order(table: Table, sort: bool, most: float) -> None:
    """Drop rows without a stamp; sort, or refuse what is not sorted."""
    known = table.ts != MISSING_TS
    if not known.all():
        lost = len(known) - int(known.sum())
        if lost > most * len(known):
            raise TapeError(table.at(int(np.argmin(known)), "ts"), "nothing", "a time in every row")
        table.audit["nan"] += lost
        table.keep(known)
    back = np.flatnonzero(np.diff(table.ts) < 0)
    table.audit["unsorted"] = len(back)
    if not len(back):
        return
    if not sort:
        position = int(back[0]) + 1
        hint = "the file is newest first; " if len(back) > 0.9 * (len(table.ts) - 1) else ""
        expected = f"a stamp not before the row above ({hint}tape.sort=true sorts)"
        raise TapeError(table.at(position, "ts"), iso(table.ts[position]), expected)
    table.keep(np.argsort(table.ts, kind="stable"))


def clip(table: Table, start: int | None, end: int | None) -> None:
    """Cut to start <= ts < end, by the time at which a row is known."""
    if start is None and end is None:
        return
    a = 0 if start is None else int(np.searchsorted(table.ts, start, "left"))
    b = len(table.ts) if end is None else int(np.searchsorted(table.ts, end, "left"))
    if a >= b:
        span = f"{iso(table.ts[0])} to {iso(table.ts[-1])}"
        raise TapeError("tape.start, tape.end", f"{iso(start)} to {iso(end)}", f"a part of {span} ({table.where})")
    table.audit["outside"] = len(table.ts) - (b - a)
    table.keep(slice(a, b))


def _drop_few(table: Table, bad: Mask, rule: str, ours: str, expected: str, most: float) -> None:
    """Drop the bad rows if they are few; refuse them, naming the first, otherwise."""
    count = int(bad.sum())
    if count == 0:
        return
    if count > most * len(bad):
        first = int(np.argmax(bad))
        share = f"{count} of {len(bad)} rows; tape.max_bad={most}"
        raise TapeError(table.at(first, ours), float(table.values[ours][first]), f"{expected} ({share})")
    table.audit[rule] += count
    table.keep(~bad)


def empty_sizes(table: Table) -> None:
    """Treat sizes that are nothing but NaN or zero as absent: the source does not have them."""
    for ours in [name for name in table.values if name in SIZE_NAMES]:
        if not np.nan_to_num(table.values[ours]).any():
            del table.values[ours]
    if ("bid_size" in table.values) != ("ask_size" in table.values):  # one side alone says nothing
        table.values = {name: array for name, array in table.values.items() if not name.endswith("_size")}


def missing(table: Table, most: float) -> None:
    """Drop few rows with NaN, refuse many and whole columns of it."""
    for ours in list(table.values):
        bad = ~np.isfinite(table.values[ours])
        if bad.all():
            raise TapeError(f"{table.where}, column {table.names.get(ours, ours)}", "nothing but NaN", "numbers")
        _drop_few(table, bad, "nan", ours, "a number", most)


def signs(table: Table, kind: str, most: float) -> None:
    """Refuse negative values; drop few zero prices and trades of size zero. Bars and quotes may be empty."""
    for ours in list(table.values):
        values = table.values[ours]
        if float(values.min()) < 0.0:
            first = int(np.argmax(values < 0.0))
            expected = "a price above zero" if is_price(ours) else "no negative size"
            raise TapeError(table.at(first, ours), float(values[first]), expected)
        if is_price(ours) or (kind == "trades" and ours == "size"):
            _drop_few(table, values == 0.0, "non_positive", ours, "a value above zero", most)


def uncross(table: Table) -> None:
    """Swap bid and ask where they are crossed."""
    bid, ask = table.values["bid"], table.values["ask"]
    table.audit["crossed"] = int((bid > ask).sum())
    table.audit["locked"] = int((bid == ask).sum())
    table.values["bid"], table.values["ask"] = np.minimum(bid, ask), np.maximum(bid, ask)


def widen(table: Table) -> None:
    """Make the high and low of a bar contain its open and close."""
    o, h, low, c = (table.values[name] for name in ("open", "high", "low", "close"))
    high, floor = np.maximum(np.maximum(o, c), h), np.minimum(np.minimum(o, c), low)
    table.audit["inconsistent"] = int(((high != h) | (floor != low)).sum())
    table.values["high"], table.values["low"] = high, floor


def repeats(table: Table, kind: str) -> None:
    """Drop rows that say the row above again; count equal stamps that say something else."""
    same = np.diff(table.ts) == 0
    if not same.any():
        return
    equal = same.copy()
    for values in table.values.values():
        equal &= values[1:] == values[:-1]
    if kind == "trades":  # two equal trades at one moment are ordinary; only their ids tell
        equal &= table.ids[1:] == table.ids[:-1] if table.ids is not None else False
    other = same & ~equal
    table.audit["duplicate"], table.audit["same_stamp"] = int(equal.sum()), int(other.sum())
    if kind == "bars" and other.any():
        first = int(np.argmax(other)) + 1
        raise TapeError(table.at(first, "ts"), iso(table.ts[first]), "one bar per stamp; the row above has it, too")
    if equal.any():
        table.keep(np.concatenate(([True], ~equal)))


def spikes(table: Table, kind: str, limit: float) -> None:
    """Drop isolated spikes of the mid, the trade price or the close of a bar, and absurd wicks."""
    values = table.values
    if kind == "quotes":
        bad = find_spikes(0.5 * (values["bid"] + values["ask"]), limit)
    elif kind == "trades":
        bad = find_spikes(values["price"], limit)
    else:
        # Wicks are mostly real, and leaving them out would flatter every stop: only absurd ones go.
        bad = find_spikes(values["close"], limit)
        absurd = min(4.0 * limit, 0.5)
        bad |= find_spikes(values["high"], absurd) | find_spikes(values["low"], absurd)
    if bad.any():
        table.audit["outlier"] = int(bad.sum())
        table.keep(~bad)


def find_spikes(price: Floats, limit: float) -> Mask:
    """
    Return where a price stands alone.

    A price is a spike if it is off by more than `limit` from the median of the five before it and from that
    of the five after it, while these two differ by less than half of that. Runs of two are found, too. The
    first and the last price have one side only and must be off by ten times the limit (at most by half) from
    it.

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
    # Only a jump of about the size of the limit can begin or end a spike: few rows are looked at closely.
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
