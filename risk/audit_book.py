"""The auditor's books: positions, working quantities, money and high-water marks, in exact integers.

The book is replayed in the order of `seq`. It knows what is outside a limit and whether the market put it
there; it does not know why an order was allowed. Units are those of :mod:`alphatrade.risk.audit_files`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alphatrade.risk.audit_files import RunFiles
from alphatrade.risk.audit_orders import Order

DAY_NS = 86_400 * 10**9
_SHORT = 32  # marks in a row from which looking for a flat book pays


@dataclass(slots=True, eq=False)
class Lot:
    """Position and working quantities of one instrument, nanos; `cost` of the open position, 1e-18 money."""

    name: str
    pos: int = 0
    buys: int = 0
    sells: int = 0
    covers: int = 0  # working reduce-only buys
    exits: int = 0  # working reduce-only sells
    longs: int = 0  # long positions of strategies: what reduce-only sells can fill against
    shorts: int = 0
    hi: int = 0
    lo: int = 0
    worst: int = 0
    mid2: int = 0
    marked: int | None = None
    cost: int = 0
    drift: int = 0  # position_after of the file minus the recomputed one, at the last fill


class Reach(NamedTuple):
    """Where working orders can lead: highest, lowest and largest position of one instrument, gross and net of all."""

    hi: int
    lo: int
    worst: int
    gross: int
    net: int


class Book:
    """
    Money and exposure after everything played so far.

    Parameters
    ----------
    files : RunFiles
        Limits and marks of the run; marks are taken up by :meth:`play`.
    """

    def __init__(self, files: RunFiles) -> None:
        self.files, self.limits = files, files.limits
        self.lots = {name: Lot(name) for name in files.names}
        self.by_index = list(self.lots.values())
        self.cash = self.peak = self.limits.opening
        self.value = self.gross = self.high = self.low = 0  # sums over lots of pos, worst, hi, lo times mid
        self.own: Counter[tuple[str, str]] = Counter()  # (strategy, instrument) -> position, nanos
        self.exposed = 0  # lots with a position or a working order
        self.day_start: int | None = None
        self.next_day = 0
        self.killed: int | None = None  # time of the first mark beyond daily loss or drawdown
        self.top: dict[str, tuple[int, int]] = {}  # code -> the (value, bound) of the highest share
        self.outside: set[tuple[str, str]] = set()
        self.passive: Counter[str] = Counter()
        stamps = np.unique(np.asarray([ts for ts, _ in files.equity], np.int64))
        self.noted = np.isin(files.ts, stamps)
        self.states: dict[int, set[int]] = {ts: set() for ts in stamps.tolist()}  # equities seen then
        self._alarms()

    @property
    def equity(self) -> int:
        """Cash and positions at the last mids, half-attos."""
        return self.cash + self.value

    def lot(self, name: str) -> Lot:
        """Return the lot of an instrument, new if it was never marked."""
        return self.lots.setdefault(name, Lot(name))

    def reach(self, name: str) -> Reach:
        """Return where working orders can lead by now."""
        lot = self.lot(name)
        return Reach(lot.hi, lot.lo, lot.worst, self.gross, max(self.high, -self.low))

    def use(self, code: str, value: int, bound: int) -> bool:
        """Note how far a limit is used; return whether it is exceeded."""
        if bound > 0:
            old_value, old_bound = self.top.get(code, (0, 1))
            if value * old_bound > old_value * bound:
                self.top[code] = (value, bound)
        return value > bound

    def reweigh(self, lot: Lot) -> None:
        """Bring the sums up to date after a change of position or working quantities."""
        # A reduce-only order may fill first: what opens after it then starts from there.
        hi = lot.pos + min(lot.covers, lot.shorts) + lot.buys
        lo = lot.pos - min(lot.exits, lot.longs) - lot.sells
        worst = max(abs(hi), abs(lo))
        self.gross += (worst - lot.worst) * lot.mid2
        self.high += (hi - lot.hi) * lot.mid2
        self.low += (lo - lot.lo) * lot.mid2
        self.exposed += (worst > 0) - (lot.worst > 0)
        lot.hi, lot.lo, lot.worst = hi, lo, worst

    def hold(self, order: Order) -> Lot:
        """Count what an order may still fill as working; return its lot."""
        lot = self.lot(order.row.instrument)
        held = max(0, order.ceiling - order.filled) if order.status == "working" else 0
        if held != order.held:
            kind = (
                ("covers" if order.sign > 0 else "exits")
                if order.row.reduce_only
                else ("buys" if order.sign > 0 else "sells")
            )
            setattr(lot, kind, getattr(lot, kind) + held - order.held)
            self.reweigh(lot)
        order.held = held
        return lot

    def fill(self, lot: Lot, strategy: str, qty: int, price: int, fee: int) -> int:
        """
        Book a fill of signed `qty` and return the gross profit of what it closed at average cost.

        Parameters
        ----------
        lot : Lot
            The instrument.
        strategy : str
            Whose order it was.
        qty, price : int
            Nanos; `qty` is negative for a sale.
        fee : int
            Half-attos of the account's currency.

        Returns
        -------
        int
            Realised profit, 1e-18 money.
        """
        if lot.marked is None:
            self._move(lot, 2 * price)  # never marked: worth what was paid, only the missing mark is reported
        self.cash -= 2 * qty * price + fee
        realized = 0
        if lot.pos * qty < 0:
            closed = min(abs(lot.pos), abs(qty)) * (1 if qty > 0 else -1)
            basis = lot.cost * -closed // lot.pos
            realized, lot.cost = -closed * price - basis, lot.cost - basis
            lot.cost += (qty - closed) * price
        else:
            lot.cost += qty * price
        before = self.own[strategy, lot.name]
        after = self.own[strategy, lot.name] = before + qty
        lot.longs += max(after, 0) - max(before, 0)
        lot.shorts += max(-after, 0) - max(-before, 0)
        lot.pos += qty
        self.value += qty * lot.mid2
        self.reweigh(lot)
        return realized

    def _move(self, lot: Lot, mid2: int) -> None:
        move, lot.mid2 = mid2 - lot.mid2, mid2
        self.value += lot.pos * move
        self.gross += lot.worst * move
        self.high += lot.hi * move
        self.low += lot.lo * move

    def play(self, start: int, stop: int) -> None:
        """Take up the marks of rows `start` to `stop`."""
        files = self.files
        if stop - start > _SHORT:
            self.play(start, start + 1)
            start += 1
            if not self.exposed:
                self._rest(start, stop)
                return
        rows = zip(
            files.who[start:stop].tolist(),
            files.ts[start:stop].tolist(),
            files.mid2[start:stop].tolist(),
            self.noted[start:stop].tolist(),
            strict=True,
        )
        for who, ts, mid2, noted in rows:
            lot = self.by_index[who]
            lot.marked = ts
            if mid2 != lot.mid2:
                self._move(lot, mid2)
            equity = self.cash + self.value
            if (
                equity > self.peak
                or equity < self.alarm
                or ts >= self.next_day
                or self.gross > self.gross_alarm
                or self.high > self.net_alarm
                or -self.low > self.net_alarm
                or lot.worst * mid2 > self.lot_alarm
                or noted
                or self.outside
            ):
                self._look(lot, ts)

    def _rest(self, start: int, stop: int) -> None:
        """Take up marks while nothing is held: only the mids, the day and the witness change."""
        files, equity = self.files, self.equity
        who = files.who[start:stop]
        found, last = np.unique(who[::-1], return_index=True)
        for index, back in zip(found.tolist(), last.tolist(), strict=True):
            lot, row = self.by_index[index], stop - 1 - back
            lot.mid2, lot.marked = int(files.mid2[row]), int(files.ts[row])
        latest = int(files.ts[start:stop].max())
        for ts in files.ts[start:stop][self.noted[start:stop]].tolist():
            self.states[ts].add(equity)
        if latest >= self.next_day:
            self._look(lot, latest)

    def _look(self, lot: Lot, ts: int) -> None:
        """Judge what the market did at one mark: peak, day, loss, drawdown, exposures."""
        equity = self.equity
        if ts >= self.next_day:
            self.day_start, self.next_day = equity, (ts // DAY_NS + 1) * DAY_NS
        self.peak = max(self.peak, equity)
        self.note(ts)
        lost = self._measure("DAILY_LOSS", "", self.day_loss(), self.limits.daily_loss, True)
        sunk = self._measure("DRAWDOWN", "", *self.drawdown(), True)
        if (lost or sunk) and self.killed is None:
            self.killed = ts
        self.settle(lot, passive=True)

    def note(self, ts: int) -> None:
        """Keep the equity of this moment where equity.parquet has a row of the same time."""
        if ts in self.states:
            self.states[ts].add(self.equity)

    def day_loss(self) -> int:
        """Return the loss since the first mark of the UTC day, half-attos."""
        return 0 if self.day_start is None else self.day_start - self.equity

    def drawdown(self) -> tuple[int, int]:
        """Return the loss from the peak and its bound, both times the denominator of the limit."""
        share = self.limits.drawdown
        return (self.peak - self.equity) * share.denominator, self.peak * share.numerator

    def settle(self, lot: Lot, *, passive: bool) -> None:
        """Compare exposures with their limits; `passive` says whether new crossings count as the market's."""
        limits = self.limits
        self._measure("INSTRUMENT_EXPOSURE", lot.name, lot.worst * lot.mid2, limits.instrument, passive)
        if limits.inventory is not None:
            self._measure("INVENTORY", lot.name, lot.worst, limits.inventory, passive)
        if limits.long_only:
            self._measure("LONG_ONLY", lot.name, -lot.lo, 0, passive)
        self._measure("GROSS_EXPOSURE", "", self.gross, limits.gross, passive)
        self._measure("NET_EXPOSURE", "", max(self.high, -self.low), limits.net, passive)
        self._alarms()

    def _measure(self, code: str, name: str, value: int, bound: int, passive: bool) -> bool:
        outside = self.use(code, value, bound)
        if outside and (code, name) not in self.outside:
            self.outside.add((code, name))
            self.passive[code] += passive
        elif not outside:
            self.outside.discard((code, name))
        return outside

    def _alarms(self) -> None:
        """Set the values beyond which a mark is worth a look: a new highest use, at most the limit itself."""
        limits = self.limits

        def alarm(code: str, bound: int) -> int:
            return min(self.top.get(code, (0, 1))[0], bound)

        self.gross_alarm = alarm("GROSS_EXPOSURE", limits.gross)
        self.net_alarm = alarm("NET_EXPOSURE", limits.net)
        self.lot_alarm = alarm("INSTRUMENT_EXPOSURE", limits.instrument)
        value, bound = self.top.get("DRAWDOWN", (0, 1))
        value, share = min(value, bound), limits.drawdown
        deep = self.peak - share.numerator * value * self.peak // (share.denominator * bound)
        day = deep if self.day_start is None else self.day_start - alarm("DAILY_LOSS", limits.daily_loss)
        self.alarm = max(deep, day)
