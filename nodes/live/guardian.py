"""Shim: who watches over a node with real orders: its permit, its key, its market's rules and its books, by the wall.

Nothing here decides what is traded. It gives the node a permit as an input, trips the switch, and tells somebody. What
takes time is done beside the loop that trades, and what fails there never stops it: then the permit is not renewed, and
a permit that nobody has looked at permits nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nautilus_trader.model.data import InstrumentStatus
from nautilus_trader.model.enums import MarketStatusAction
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.nodes.live import preflight
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.checks import Check, filter_checks
from alphatrade.nodes.live.day_report import DayReport
from alphatrade.nodes.live.estate import Estate
from alphatrade.nodes.live.full import AWAY_S, UNREADABLE, Reconciler
from alphatrade.nodes.live.settings import GuardSpec
from alphatrade.nodes.live.sides import Book
from alphatrade.nodes.live.switch import take_switch
from alphatrade.nodes.venue_answers import FAILURES
from alphatrade.risk.errors import AlphaTradeError, ConfigError
from alphatrade.risk.handover import KIND
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import from_atto

TICK_S = 0.2  # between two looks at what is due
REFUSALS, REFUSED_S, REFUSAL_S = 10, 60.0, 1.0  # so many rejected orders in so many seconds are too many; each look
HALT_S = 10.0  # between two looks at a symbol that does not trade
REACH_S = 1.0  # between two looks whether the exchange can be read
UNREAD_S = 60.0  # after a reconciliation, or a check of the key, that could not be made, the next
UNCHECKED = 3  # so many checks of the key in a row that could not be made stop trading


@dataclass(frozen=True, slots=True)
class Duty:
    """
    What a guardian is given.

    Attributes
    ----------
    look : callable
        Looks at the ledger and returns what is permitted, on any thread; never raises.
    hear : callable
        Takes how far the exchange's clock is ahead, ms.
    asked : preflight.Asked
    every : GuardSpec
    alerts : Alerts
    report : DayReport
    kept : callable
        Reads the node's journal from the disk.
    folder : Path
        Of the account in the state folder, where requests are left.
    estate : Estate
        What is taken over from the node before, and left to the next one.
    """

    look: Callable[[], Permit]
    hear: Callable[[float], None]
    asked: preflight.Asked
    every: GuardSpec
    alerts: Alerts
    report: DayReport
    kept: Callable[[], Book]
    folder: Path
    estate: Estate


class Guardian:
    """
    Watches over one node.

    Parameters
    ----------
    parts : Parts
        Of the node.
    duty : Duty

    Attributes
    ----------
    switched : str
        Why the node ends to start again; empty: it does not.
    hands_over : bool
        Whether it leaves, or has left, what it holds to the one that starts then.
    """

    def __init__(self, parts: Any, duty: Duty) -> None:
        self._parts, self._duty, self._alerts = parts, duty, duty.alerts
        self.reconciler = Reconciler(parts, duty.asked.markets, duty.alerts)
        self._trading = dict.fromkeys((one.symbol for one in duty.asked.markets), True)
        self._refused = deque[tuple[float, int]]()
        self._unruled = ""  # why the rules could not be read
        self._unchecked = 0  # checks of the key in a row that could not be made
        parts.broker.holds = True
        duties = (self._look, self._again, self._books, self._rules, self._reach, self._refusals, self._switch)
        self._due = dict.fromkeys(duties, 0.0)
        self.switched, self.hands_over, self._for_good = "", False, False
        self._left: Mapping[str, str] | None = None

    async def begun(self) -> None:
        """Give the node its permit; one that has lapsed since stops it, and closes what is open."""
        take_switch(self._duty.folder)  # of a node that did not live to take it
        self._duty.estate.begun(self._parts)
        await self._look()

    async def joined(self) -> None:
        """Compare all books before a market is heard."""
        await self._reconcile("start")
        now = time.monotonic()
        self._refused.append((now, len(self.reconciler.book.refusals)))
        self._due = dict.fromkeys(self._due, now) | {
            self._look: now + self._duty.every.look_s,
            self._again: now + 60 * self._duty.every.again_min,
            self._books: now + self._next_books(),
            self._rules: now + self._next_books(),
        }

    async def left(self) -> bool:
        """Compare all books once more, and leave what is held to the next node; where they differ it is to be sold."""
        parts, estate = self._parts, self._duty.estate
        estate.look(parts)
        try:
            parts.intake.flush()
            await self._reconcile("stop", self._duty.kept, False)
            last = self.reconciler.outcomes[-1]
            odd = last.unread or f"{len(last.differences)} differences" if not last.clean else ""
            if odd or not self.hands_over:
                raise ConfigError("end", odd or "a stop for good", "one at which all books agree, and a next node")
            held = estate.leave(parts, self.reconciler.book.opened_ns)  # the last step: nothing may come after it
        except AlphaTradeError as error:
            self._alerts.give(KIND, f"what is held is sold, and not handed over: {error}")
            return False
        self.hands_over, self._left = held is not None, None if held is None else held.positions
        return True

    def stopped(self) -> None:
        """End for good: who has asked that it starts again, or hands over, is overruled."""
        self.switched, self.hands_over, self._for_good = "", self._left is not None, True

    async def ended(self, flat: bool) -> None:
        """Compare all books once more, with what the journal has on the disk, and close the day's report."""
        self._duty.estate.look(self._parts)
        if self._left is not None:  # they were compared before it was left
            await self._report(False, self._left)
            return
        self._parts.intake.flush()
        await self._reconcile("stop", self._duty.kept, flat and not self._duty.estate.rest(self._parts))

    def figures(self) -> dict[str, Any]:
        """Return what its metrics are."""
        law, permit = self._parts.gate.law, self._parts.gate.live_gate.permit
        used: tuple[int, int] = law.headroom()
        caps = dict(zip(("capital", "loss"), zip(used, (permit.capital, permit.loss), strict=True), strict=True))
        agreed = [one.ts for one in self.reconciler.outcomes if one.clean]
        return {
            "alerts": dict(self._alerts.counts),
            "reconcile_differences": self.reconciler.differences,
            "reconciled_at": agreed[-1] / 1e9 if agreed else None,
            "reconcile_every_s": 60 * self._duty.every.reconcile_min,
            "permit_end": 0.0 if permit.refused else permit.ends / 1e9,
            "permit_used": {
                name: (float(from_atto(cap - left)), float(from_atto(cap))) for name, (left, cap) in caps.items()
            },
        }

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for duty in self._due:
                tasks.create_task(self._repeat(duty))

    async def _repeat(self, duty: Callable[[], Any]) -> None:
        """Do one of the duties whenever it is due; none of them waits for another."""
        while True:
            await asyncio.sleep(TICK_S)
            if time.monotonic() < self._due[duty]:
                continue
            try:
                await duty()
            except Exception as error:  # whatever it is: the others go on, and somebody is told
                self._due[duty] = time.monotonic() + UNREAD_S
                self._alerts.give("guard", f"{duty.__name__.strip('_')} failed: {type(error).__name__}: {error}")

    # -- the permit

    async def _look(self) -> None:
        permit = await asyncio.to_thread(self._duty.look)
        if self._parts.stop.is_set():  # it is ending: its policy may be taken down for that, and no reason for a latch
            return
        if permit.refused not in ("", self._parts.gate.live_gate.permit.refused):
            self._alerts.give("permit", permit.refused)
        self._parts.intake.permit(permit)
        self._due[self._look] = time.monotonic() + self._wait(permit)

    def _wait(self, permit: Permit) -> float:
        """Return after how many seconds the ledger is looked at again: at the latest when the permit ends."""
        left = (permit.ends - time.time_ns()) / 1e9
        return min(self._duty.every.look_s, left) if left > 0 else self._duty.every.look_s

    # -- the exchange

    async def _again(self) -> None:
        """Check key, account, fees and clock once more; stop where that cannot be done though the books can be read."""
        wait_s, rest = 60 * self._duty.every.again_min, self._parts.broker.reader
        self._due[self._again] = time.monotonic() + min(UNREAD_S, wait_s)
        if rest is None:
            return
        try:
            checks = await preflight.again(rest, self._duty.asked)
        except ConfigError as error:
            self._alerts.give("preflight", f"the checks could not be made again: {error}")
            self._unchecked += not self.reconciler.blind_s  # an exchange that is away is the business of `_reach`
            if self._unchecked >= UNCHECKED and self._parts.gate.switch.state == "ACTIVE":
                words = f"key and account could not be checked {self._unchecked} times in a row, the last: {error}"
                self._parts.gate.trip("PREFLIGHT", words, "guardian")
            return
        self._unchecked, self._due[self._again] = 0, time.monotonic() + wait_s
        self._judge(checks, "PREFLIGHT", "preflight")

    def _judge(self, checks: tuple[Check, ...], code: str, kind: str) -> None:
        odd = [one for one in checks if not one.holds]
        if odd:
            words = "; ".join(f"{one.name}: {one.found}, wanted: {one.wanted}" for one in odd[:3])
            self._alerts.give(kind, words)
            self._parts.gate.trip(code, words, "guardian")

    async def _books(self) -> None:
        """Compare all books."""
        await self._reconcile("running")
        self._due[self._books] = time.monotonic() + self._next_books()

    async def _rules(self) -> None:
        """Ask for the clock and the filters; orders that were held for them go on."""
        rest = self._parts.broker.reader
        if rest is not None:
            try:
                self._duty.hear(await preflight.certainly_ahead_ms(rest))
                self._filters(await rest.exchange_info(list(self._trading)))
                self._parts.broker.go_on()
                self._unruled = ""
            except (*FAILURES, *UNREADABLE) as error:
                words = f"filters: {str(error) or type(error).__name__}"
                if words != self._unruled:
                    self._alerts.give("unread", words)
                self._unruled = words
        wait = 60 * self._duty.every.reconcile_min
        self._due[self._rules] = time.monotonic() + (wait if all(self._trading.values()) else min(HALT_S, wait))

    async def _reach(self) -> None:
        """Stop where the exchange cannot be read for too long: nobody knows then what is open and held there."""
        self._due[self._reach] = time.monotonic() + REACH_S
        blind_s = self.reconciler.blind_s
        if blind_s > AWAY_S and self._parts.gate.switch.state == "ACTIVE":
            words = f"the exchange could not be read for {blind_s:.0f} s"
            self._alerts.give("unreachable", words)
            self._parts.gate.trip("UNREACHABLE", words, "guardian")

    def _next_books(self) -> float:
        last = self.reconciler.outcomes[-1]
        wait = 60 * self._duty.every.reconcile_min
        return min(UNREAD_S, wait) if last.unread else wait

    def _filters(self, told: Any) -> None:
        """Hold a symbol that does not trade; stop for one whose steps or smallest order are others."""
        for market in self._duty.asked.markets:
            entry = told[market.symbol]
            trading = entry["status"] == "TRADING"
            if trading != self._trading[market.symbol]:
                self._trading[market.symbol] = trading
                self._alerts.give("filters", f"{market.symbol} is {entry['status']} at the exchange")
                self._status(market.symbol, trading)
            checks = filter_checks(entry | {"status": "TRADING"}, market, self._duty.asked.most)
            self._judge(tuple(checks), "FILTERS", "filters")

    def _status(self, symbol: str, trading: bool) -> None:
        action = MarketStatusAction.TRADING if trading else MarketStatusAction.HALT
        name, now = InstrumentId.from_str(f"{symbol}.{self._parts.broker.venue.value}"), time.time_ns()
        self._parts.intake.receive(InstrumentStatus(name, action, now, now, is_trading=trading))

    async def _refusals(self) -> None:
        """Look at the rules when the exchange refuses an order; stop where it refuses one after the other."""
        now, reasons = time.monotonic(), self.reconciler.book.refusals
        self._due[self._refusals] = now + REFUSAL_S
        self._refused.append((now, len(reasons)))
        while self._refused[0][0] < now - REFUSED_S:
            self._refused.popleft()
        if (count := len(reasons) - self._refused[0][1]) >= REFUSALS and self._parts.gate.switch.state == "ACTIVE":
            words = f"{count} orders refused within {REFUSED_S:g} s, the last: {reasons[-1]}"
            self._alerts.give("rejected", words)
            self._parts.gate.trip("REJECTED", words, "guardian")
        if self._parts.broker.refusal:
            await self._rules()

    async def _switch(self) -> None:
        """End, to start again under another policy, if an operator asks for it and all that was left is taken over."""
        parts = self._parts
        self._duty.estate.look(parts)
        ends = self._for_good or parts.stop.is_set()  # who asks then is told that nobody has taken it
        asked = None if ends or parts.intake.handovers.waits else take_switch(self._duty.folder)
        if asked is not None:
            self.switched, self.hands_over = asked.words, asked.hand_over
            parts.stop.set()
            if self._for_good:  # since it was taken: a signal is heard between any two steps
                self.stopped()

    async def _reconcile(self, when: str, kept: Callable[[], Book] | None = None, flat: bool | None = None) -> None:
        self._duty.estate.compared(self._parts, await self.reconciler.run(when, kept))
        await self._report(flat)

    async def _report(self, flat: bool | None, left: Mapping[str, str] | None = None) -> None:
        told = list(self.reconciler.outcomes), self.reconciler.book.copy(), str(self._parts.gate.switch.state)
        await asyncio.to_thread(self._duty.report.write, *told, flat, left)
