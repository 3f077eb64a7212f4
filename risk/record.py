"""What the law saw and decided, column by column, and its way into Parquet.

Every row of orders, fills, marks and risk events carries `seq`, one counter over all four: their total order.
Marks come by the million, so they go into flat arrays; the rest are tuples. What a run has by the group leaves memory
(:mod:`alphatrade.risk.shelf`). Files depend on their rows only.
"""

import os
from array import array
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.risk.columns import decimals, table
from alphatrade.risk.exposure import BUY, Order
from alphatrade.risk.quiet import QuietBars
from alphatrade.risk.shelf import GROUP, Shelf

_PIECE = 4_096  # rows that become a table: a tenth of what tuples take
_MINUTE_NS = 60 * 10**9
_ATTO_PER_NANO = 10**9
SOURCES = ("quote", "trade", "bar")

# see `columns.table`
_ORDERS = (
    "seq:i ts:i instrument:s strategy:s order_id:s event:s side:s type:s qty:d leaves:d price:d trigger:d "
    "reduce_only:b reason:s decision:i"
)
_FILLS = (
    "seq:i ts:i instrument:s strategy:s order_id:s trade_id:s side:s qty:d price:d fee:d currency:s "
    "liquidity:s position_after:d realized:d decision:i"
)
_EVENTS = "seq:i ts:i kind:s instrument:s order_id:s limit:s value:s bound:s detail:s"
_EQUITY = "ts:i equity:d cash:d exposure:d peak:d drawdown:f"
TABLES = {"orders": _ORDERS, "fills": _FILLS, "risk_events": _EVENTS, "equity": _EQUITY}


class RunRecord:
    """
    Rows of one run, until `write`.

    Parameters
    ----------
    folder : Path, optional
        Of the run; what is in `orders`, `fills`, `risk_events` and `equity` are the latest rows then, and all without.

    Attributes
    ----------
    filled, turnover : int
        Fills, and the sum of their quantity times price, atto.
    ordered : int
        Orders, denied ones and those of the law itself included.
    counts, limits : dict
        Risk events so far by kind, and by kind and limit.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.seq = self.ordered = self.filled = self.turnover = 0
        self._shelves = {name: Shelf(folder) for name in (*TABLES, "marks")}
        self._settles = folder is not None
        self.orders: list[tuple[object, ...]] = []
        self.fills: list[tuple[object, ...]] = []
        self.risk_events: list[tuple[object, ...]] = []
        self.equity: list[tuple[object, ...]] = []
        self._valued: tuple[object, ...] = ()  # the last row of equity
        self.counts: dict[str, int] = {}
        self.limits: dict[tuple[str, str], int] = {}
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._minute = -1
        self._unkept: OSError | None = None
        self._unmarked()
        self.quiet: QuietBars | None = None  # bars that are rows before whatever comes next
        self.leaving: Callable[[], object] = tuple  # called before rows leave memory
        self.warned: Callable[[int, str, str], None] | None = None  # told time, kind and limit of every risk event

    def _unmarked(self) -> None:
        self._seqs = array("q")
        self._stamps = array("q")
        self._bids = array("q")
        self._asks = array("q")
        self._which = array("i")
        self._origin = array("b")

    @property
    def marks(self) -> int:
        """How many marks are in memory."""
        return len(self._seqs)

    def mark(self, ts: int, instrument: str, bid: int, ask: int, source: int, assumed: bool) -> None:
        """
        Add a reference price that the law used.

        Parameters
        ----------
        bid, ask : int
            Nano.
        source : int
            Index into `SOURCES`.
        assumed : bool
            Bid and ask were made from one price and an assumed half spread.
        """
        if self.quiet is not None:
            self.quiet.close()
        code = self._codes.get(instrument)
        if code is None:
            code = self._code(instrument)
        self.seq += 1
        self._seqs.append(self.seq)
        self._stamps.append(ts)
        self._bids.append(bid)
        self._asks.append(ask)
        self._which.append(code)
        self._origin.append(source + 4 if assumed else source)

    def bars(self, instrument: str, stamps: list[int], bids: list[int], asks: list[int]) -> None:
        """Add the marks of bars in a row, with an assumed spread; see `mark`."""
        count, code = len(stamps), self._code(instrument)
        self._seqs.extend(range(self.seq + 1, self.seq + count + 1))
        self.seq += count
        self._stamps.extend(stamps)
        self._bids.extend(bids)
        self._asks.extend(asks)
        self._which.extend(repeat(code, count))
        self._origin.extend(repeat(SOURCES.index("bar") + 4, count))
        self._settle()

    def _code(self, instrument: str) -> int:
        code = self._codes.setdefault(instrument, len(self._names))
        if code == len(self._names):
            self._names.append(instrument)
        return code

    def order(
        self,
        ts: int,
        order: Order,
        event: str,
        qty: int,
        price: int | None = None,
        trigger: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Add one order event; `qty`, `price` and `trigger` (nano) as they stand after it."""
        if self.quiet is not None:
            self.quiet.close()
        self.seq += 1
        self.ordered += event == "initialized"
        self.orders.append(
            (
                self.seq, ts, order.instrument, order.strategy, order.order_id, event,
                "BUY" if order.side == BUY else "SELL", order.kind, qty, max(qty - order.filled, 0),
                price, trigger, order.reduce_only, reason, order.decision,
            )
        )  # fmt: skip
        if len(self.orders) >= _PIECE:
            self._settle()

    def fill(
        self, ts: int, order: Order, trade_id: str, qty: int, price: int, fee: int, currency: str,
        liquidity: str, position: int, realized: int,
    ) -> None:  # fmt: skip
        """Add one fill: quantity, price, fee and position in nano, realised profit in atto."""
        if self.quiet is not None:
            self.quiet.close()
        self.seq += 1
        self.filled += 1
        self.turnover += qty * price
        self.fills.append(
            (
                self.seq, ts, order.instrument, order.strategy, order.order_id, trade_id,
                "BUY" if order.side == BUY else "SELL", qty, price, fee, currency, liquidity, position,
                realized // _ATTO_PER_NANO, order.decision,
            )
        )  # fmt: skip

    def event(
        self, ts: int, kind: str, instrument: str | None, order_id: str | None, limit: str, value: str,
        bound: str, detail: str,
    ) -> None:  # fmt: skip
        """
        Add a risk event.

        A kind is denied, near_miss, breach, state, session, tripwire, advice, kill, resumed, suspect, explored, frozen,
        shadow, feed_lost, feed_gap, feed_source, permit, handover.
        """
        if self.quiet is not None:
            self.quiet.close()
        self.seq += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.limits[kind, limit] = self.limits.get((kind, limit), 0) + 1
        self.risk_events.append((self.seq, ts, kind, instrument, order_id, limit, value, bound, detail))
        if self.warned is not None:
            self.warned(ts, kind, limit)

    def minute_of(self, ts: int) -> bool:
        """Return whether `ts` opens a new minute of the equity curve."""
        minute = ts // _MINUTE_NS
        if minute <= self._minute:
            return False
        self._minute = minute
        self._settle()
        return True

    def equity_at(self, ts: int, equity: int, cash: int, exposure: int, peak: int, drawdown: float) -> None:
        """Add one row of the equity curve: money in atto."""
        money = (amount // _ATTO_PER_NANO for amount in (equity, cash, exposure, peak))
        row = (ts, *money, drawdown)
        if self._valued != row:
            self.equity.append(row)
            self._valued = row

    def equity_of_bars(self, stamps: list[int], prices: list[int], position: int, cash: int, peak2: int) -> None:
        """
        Add the rows of bars in a row, one a minute, with one position (nano) throughout.

        Parameters
        ----------
        prices : list of int
            Mids, nano.
        cash, peak2 : int
            Atto, and 0.5e-18.
        """
        unit, cash_n, peak_n = 2 * _ATTO_PER_NANO, cash // _ATTO_PER_NANO, peak2 // (2 * _ATTO_PER_NANO)
        minute, rows = self._minute, self.equity
        for ts, price in zip(stamps, prices, strict=True):
            if ts // _MINUTE_NS <= minute:
                continue
            minute = ts // _MINUTE_NS
            value2 = 2 * price * position
            equity2 = 2 * cash + value2
            drawdown = (peak2 - equity2) / peak2 if peak2 > 0 else 0.0
            rows.append((ts, equity2 // unit, cash_n, value2 // unit, peak_n, drawdown))
            self._valued = rows[-1]
        self._minute = minute

    def tables(self) -> dict[str, pa.Table]:
        """Return the rows in memory as Arrow tables, by file name without suffix."""
        tables = {name: table(spec, getattr(self, name)) for name, spec in TABLES.items()}
        return tables | {"marks": self._marks_table()}

    def _settle(self) -> None:
        """Let go of rows that are many, where there is a folder for them."""
        if not self._settles:
            return
        for name, spec in TABLES.items():
            rows: list[tuple[object, ...]] = getattr(self, name)
            if len(rows) >= _PIECE:
                self.leaving()
                piece = table(spec, rows)
                rows.clear()
                self._put_away(name, piece)
        if len(self._seqs) >= GROUP:
            piece = self._marks_table()
            self._unmarked()
            self._put_away("marks", piece)

    def _put_away(self, name: str, piece: pa.Table) -> None:
        try:
            self._shelves[name].take(piece)
        except OSError as error:  # the shelf has the rows; whoever adds a row is in the middle of something
            self._unkept = error

    def ensure_kept(self) -> None:
        """
        Say what has gone wrong since the last time; call it where nothing is half done.

        Raises
        ------
        OSError
            If rows could not leave memory, where they still are.
        """
        error, self._unkept = self._unkept, None
        if error is not None:
            raise error

    def write(self, run_dir: str | Path) -> None:
        """
        Write ``orders``, ``fills``, ``marks``, ``risk_events``, ``equity`` as Parquet files into `run_dir`.

        Raises
        ------
        OSError
            If the folder cannot be written; no half-written file is left under its final name.
        """
        folder = Path(run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for name, rest in self.tables().items():
            with pq.ParquetWriter(folder / f".{name}.parquet.tmp", rest.schema, compression="zstd") as file:
                for group in self._shelves[name].groups(rest):
                    file.write_table(group, row_group_size=GROUP)
        for name in self._shelves:  # only now: by then the disk has most of what it has to wait for
            temporary = folder / f".{name}.parquet.tmp"
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(folder / f"{name}.parquet")

    def _marks_table(self) -> pa.Table:
        names = pa.array(self._names, pa.string())
        origins = np.frombuffer(self._origin, np.int8)
        return pa.table(
            {
                "seq": pa.array(memoryview(self._seqs), pa.int64()),
                "ts": pa.array(memoryview(self._stamps), pa.int64()),
                "instrument": names.take(pa.array(self._which, pa.int32())),
                "bid": decimals(self._bids),
                "ask": decimals(self._asks),
                "source": pa.array(SOURCES, pa.string()).take(pa.array(origins & 3)),
                "assumed": pa.array(origins > 3),
            }
        )
