"""The full reconciliation of a live node: at its start, every some minutes, and at its stop.

A difference counts when several readings in a row find it, and neither what we had before a reading nor what we had
after it agrees with the exchange: what is only on its way is not one. Then trading stops, and somebody is told. An
order that is not ours stops it too; nothing here cancels it, or closes what it has bought.

While the node itself cannot read the exchange nothing is judged: what it has not been told yet would look like a
difference. That is waited for, and said; an exchange that is away for too long stops trading, see the guardian.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.reconcile import EXCHANGE, STRANGER, Difference, Side, compare, strangers
from alphatrade.nodes.live.sides import Book, Seen, There, asked, cached, of_the_law
from alphatrade.nodes.replay import members
from alphatrade.nodes.venue_answers import FAILURES, TroubleError

PAUSES_S = (0.5, 1.0, 2.0)  # between readings that find something
LAG_S, LAGS = 5.0, 12  # likewise while the exchange's list of fills is behind: for a minute at most
TRIES, AGAIN_S = 3, 2.0  # of a reading that fails
AWAY_S = 120.0  # an exchange that has been away for so long is a failure of its own
END_S = 10.0  # at a stop it is not waited for any longer: to be flat was waited for already
LOOK_S, ENDS_S = 0.2, 60.0  # between two looks at the node's own reading; that one comes to an end within so long
UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a reconciliation came to.

    Attributes
    ----------
    ts : int
        When it was over, UTC ns.
    when : str
        start, running or stop.
    differences : tuple of Difference
    unread : str
        Why the exchange could not be read; empty: it was.
    readings, orders, fills : int
    took_s : float
    """

    ts: int
    when: str
    differences: tuple[Difference, ...]
    unread: str
    readings: int
    orders: int
    fills: int
    took_s: float

    @property
    def clean(self) -> bool:
        """Whether all three were read and agree."""
        return not self.differences and not self.unread


class Reconciler:
    """
    Compares the three sides of one node.

    Parameters
    ----------
    parts : Parts
        Of the node.
    markets : tuple of Market
    alerts : Alerts
    """

    def __init__(self, parts: Any, markets: tuple[Market, ...], alerts: Alerts) -> None:
        self._parts, self._markets, self._alerts = parts, markets, alerts
        self._venue = parts.broker.venue.value
        self.book = Book(markets)
        self.outcomes: list[Outcome] = []
        self._gone, self._unread_at = Seen(), 0.0
        parts.broker.witnesses.append(self.book.seen)
        for keeper in members(parts.node.trader, "Housekeeper"):
            keeper.forgets = self._gone.add

    async def run(self, when: str, kept: Callable[[], Book] | None = None) -> Outcome:
        """
        Compare, until the sides agree or it is certain that they do not; then trip the switch and give an alert.

        While the node runs an exchange that is away is waited for, however long it takes.

        Parameters
        ----------
        when : {"start", "running", "stop"}
        kept : callable, optional
            Reads the journal from the disk, in place of what was heard.
        """
        began, unread, found, readings, there = time.monotonic(), "", list[Difference](), 0, None
        book = self.book if kept is None else await asyncio.to_thread(kept)
        try:
            found, readings, there = await self._certain(book, {"start": AWAY_S, "stop": END_S}.get(when))
        except (*FAILURES, *UNREADABLE) as error:
            unread = " ".join(str(error).split())[:200] or type(error).__name__
        orders, fills = (0, 0) if there is None else (len(there.side.orders or ()), len(there.side.fills or ()))
        took_s = time.monotonic() - began
        outcome = Outcome(time.time_ns(), when, tuple(found), unread, readings, orders, fills, took_s)
        self.outcomes.append(outcome)
        self._unread_at = (self._unread_at or began) if unread else 0.0
        self._tell(outcome)
        return outcome

    @property
    def blind_s(self) -> float:
        """For how many seconds the exchange could not be read, by the node or for a comparison; 0: it can be."""
        unread = time.monotonic() - self._unread_at if self._unread_at else 0.0
        return max(unread, float(self._parts.broker.away_s))

    def _tell(self, outcome: Outcome) -> None:
        if outcome.unread:
            self._alerts.give("unread", f"at {outcome.when} the exchange's books could not be read: {outcome.unread}")
        for one in outcome.differences:
            self._alerts.give("stranger" if one.row == STRANGER else "reconcile", f"{one.row}: {one.line}")
        if outcome.differences:
            first = next((one for one in outcome.differences if one.row == STRANGER), outcome.differences[0])
            more = len(outcome.differences) - 1
            why = first.line + (f" (and {more} more)" if more else "")
            self._parts.gate.trip("RECONCILE", why, "reconciliation")

    async def _certain(self, book: Book, most_s: float | None) -> tuple[list[Difference], int, There]:
        """
        Return what every reading found, how many there were, and the last.

        Raises
        ------
        TroubleError
            If the exchange has been away for `most_s` seconds.
        """
        left, readings = list[Difference](), 0
        pauses, lags = list(PAUSES_S), LAGS
        await self._there(most_s)
        while True:
            found, there, behind = await self._reading(book)
            readings += 1
            left = found if readings == 1 else [one for one in found if any(map(one.same, left))]
            strange = [one for one in found if one.row == STRANGER and not any(map(one.same, left))]
            if not left and not strange:
                return [], readings, there
            left += strange if readings > 1 else []  # one that has only just come is looked at again
            if pauses:
                await asyncio.sleep(pauses.pop(0))
            elif behind and lags:
                lags -= 1
                await asyncio.sleep(LAG_S)
            else:
                return left, readings, there
            await self._caught_up(most_s)

    async def _there(self, most_s: float | None) -> None:
        """Wait while the node cannot read the exchange."""
        said = False
        while (away_s := self._parts.broker.away_s) > 0:
            if not said:
                self._alerts.say("the exchange is away: the books are compared when it is back")
                said = True
            if self._parts.stop.is_set():  # of a node that was to start: it is to end now
                most_s = END_S
            if most_s is not None and away_s > most_s:
                raise TroubleError(f"the exchange has been away for {away_s:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def _caught_up(self, most_s: float | None) -> None:
        """Wait until the node has read the exchange once more, so that it has been told what it was not."""
        broker, ends = self._parts.broker, time.monotonic() + ENDS_S
        before = broker.readings
        broker.look()
        while broker.readings == before:
            await self._there(most_s)
            if time.monotonic() > ends and not broker.away_s:
                raise TroubleError(f"the node has not read the exchange for {ENDS_S:g} s")
            await asyncio.sleep(LOOK_S)

    async def _reading(self, book: Book) -> tuple[list[Difference], There, bool]:
        """Return what is found, what the exchange has, and whether its list of fills is behind what it has told."""
        before, sent = await self.local(book)
        there = await self._asked(book)
        after, more = await self.local(book)
        return await asyncio.to_thread(self._judged, before, after, there, sent | more)

    def _judged(
        self, before: Mapping[str, Side], after: Mapping[str, Side], there: There, moving: set[str]
    ) -> tuple[list[Difference], There, bool]:
        ours = {order_id for side in (*before.values(), *after.values()) for order_id in side.orders or ()}
        ours |= moving
        first, last = (self._compared(sides, there, moving) for sides in (before, after))
        found = [one for one in first if any(map(one.same, last))]
        found += strangers(there.open, ours)
        have = after["journal"].fills or {}
        return found, there, bool(set(have) - set(there.side.fills or ()))

    def _compared(self, sides: Mapping[str, Side], there: There, moving: set[str]) -> list[Difference]:
        return compare({**sides, EXCHANGE: there.side}, self._markets, moving)

    async def _asked(self, book: Book) -> There:
        for left in range(TRIES)[::-1]:
            rest = self._parts.broker.reader
            try:
                if rest is None or not book.opened_ns:
                    raise ValueError("the exchange is not connected")
                return await asked(rest, self._markets, book.opened_ns, book.taken)
            except (*FAILURES, *UNREADABLE):
                if not left:
                    raise
                await asyncio.sleep(AGAIN_S)
        raise AssertionError("one of the tries has returned or raised")

    async def local(self, book: Book) -> tuple[dict[str, Side], set[str]]:
        """Return our own sides, and the ids of orders without an answer; others have their turn meanwhile."""
        cache, sent = await cached(self._parts.node.kernel.cache, self._venue, self._markets, self._gone)
        law = of_the_law(self._parts.gate.law.exposure.holdings, self._markets, self._venue)
        journal, sent = await asyncio.to_thread(book.copy().side), sent | book.sent
        return {"journal": journal, "cache": cache, "law": law}, sent

    @property
    def differences(self) -> int:
        """How many differences the last reconciliation has found."""
        return len(self.outcomes[-1].differences) if self.outcomes else 0
