"""What a live node takes over at its start, and leaves at its end: between its parts and the file of its account."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.full import Outcome
from alphatrade.nodes.live.handover import Left, forget, read_left, rest_of, words_of, write_left
from alphatrade.nodes.paper.flat import held_up
from alphatrade.nodes.replay import members
from alphatrade.risk.approval import plain
from alphatrade.risk.disk import writing
from alphatrade.risk.errors import ConfigError, InputError
from alphatrade.risk.handover import FILE, KIND, HandOver
from alphatrade.risk.kill import read_request

WAIT_S = 60.0  # from the start to the take-over; then somebody is told that it waits


@dataclass(slots=True)
class Estate:
    """
    What a node takes over at its start, and what it leaves at its end.

    Attributes
    ----------
    folder : Path
        Of the account.
    own : Left
        Who would leave something: account, policy and run.
    alerts : Alerts
    offer : HandOver or None
        What is to be taken over, if the journal does not have it yet.
    remedy : str
        What an operator can do about what is held and not watched.
    """

    folder: Path
    own: Left
    alerts: Alerts
    offer: HandOver | None = None
    remedy: str = ""
    _over: bool = False
    _told: Mapping[str, Decimal] | None = None  # what the file says is still to be taken over; None: nobody knows
    _late: float = 0.0  # when somebody is told that it waits, monotonic; 0: that was done

    def begun(self, parts: Any) -> None:
        """Let a node take over what is offered; before it was given a permit."""
        self._late = time.monotonic() + WAIT_S
        if self.offer is not None:
            parts.intake.handover(self.offer)
            parts.intake.flush()
            self._told = self.rest(parts)
            self._keep(parts)
        elif parts.intake.handovers.waits:  # the run goes on, and somebody may have sold what waits meanwhile
            parts.broker.sure = False

    def compared(self, parts: Any, outcome: Outcome) -> None:
        """Let a run that goes on take over what waits if the books agree, and take it back if they do not."""
        if parts.broker.sure or outcome.unread or outcome.when == "stop":
            return
        if any(one.by or one.row == "fills" for one in outcome.differences):  # else something only rests there
            parts.intake.handover(parts.intake.handovers.given._replace(parts=()))
            parts.intake.flush()
        else:
            parts.broker.sure = True
            parts.broker.look()

    def look(self, parts: Any) -> None:
        """See how far that is, and that nobody believes that it is done if it is not."""
        taking = parts.intake.handovers
        if taking.given is None or self._over:
            return
        self._update(parts)
        if taking.waits:
            if self._late and time.monotonic() > self._late:
                self._late = 0.0
                words = "for want of a price or of open hours, or as there are many parts"
                self.tell_rest(parts, f"not all is taken over within {WAIT_S:g} s, {words}")
            return
        self._over = True
        if taking.refused:
            self.tell_rest(parts, f"trading stops, what was left is not kept: {taking.refused}")
        else:
            self.alerts.say(f"what run {taking.given.run} has left is taken over: {words_of(taking.taken)}")

    def _update(self, parts: Any) -> None:
        """Have the file say less when the disk has confirmed that the journal has more."""
        rest = self.rest(parts)
        if rest != self._told:
            self._told = rest
            parts.gate.memory.keep()
            if parts.intake.sync():  # else the file is all that is sure to be there after a power cut
                self._keep(parts)

    @staticmethod
    def rest(parts: Any) -> dict[str, Decimal]:
        """Return what was left and not taken over yet, by instrument."""
        taking = parts.intake.handovers
        return {} if taking.given is None else rest_of(taking.given, taking.taken)

    def tell_rest(self, parts: Any, why: str) -> None:
        """Give an alert, also of what is held and watched by nobody."""
        rest = words_of(self.rest(parts))  # nothing: the law has taken it over, to sell it
        held = f"; held at the exchange and watched by nobody: {rest}; {self.remedy}" if rest else ""
        self.alerts.give(KIND, f"{why}{held}")

    def _keep(self, parts: Any) -> None:
        """Have the file say what is still to be taken over; where it cannot, it would be taken over twice."""
        given, rest = parts.intake.handovers.given, self.rest(parts)
        try:
            if rest:
                known = read_left(self.folder) or self.own._replace(run=given.run, since=given.since)
                positions = {name: f"{qty:f}" for name, qty in rest.items()}
                write_left(self.folder, known._replace(ts=time.time_ns(), positions=positions))
            else:
                forget(self.folder)
        except (OSError, ConfigError) as error:
            parts.gate.trip("STATE_UNWRITABLE", f"{FILE}: {error}", "guardian")

    def leave(self, parts: Any, opened_ns: int) -> Left | None:
        """
        Leave what a node holds, of which nothing works any more; None: there is nothing but dust.

        Parameters
        ----------
        parts : Parts
        opened_ns : int
            When the account was first seen in this run, UTC ns.

        Raises
        ------
        InputError
            If it must not be left, or the file cannot be written.
        """
        gate, cache = parts.gate, parts.node.kernel.cache
        held = dict[str, Decimal]()
        for position, qty in held_up(parts).items():
            name = position.instrument_id.value
            held[name] = held.get(name, Decimal(0)) + qty.as_decimal()
        if not held:
            return None
        decided = sum(one.decisions for one in members(parts.node.trader, "Organism"))
        working = len(cache.orders_open() + cache.orders_inflight())
        if gate.switch.state != "ACTIVE" or working or not decided or not opened_ns:
            found = f"kill switch {gate.switch.state}, {working} orders that work, {decided} decisions"
            raise ConfigError(KIND, found, "a node that trades and has nothing open")
        given = parts.intake.handovers.given
        since = opened_ns if given is None else min(given.since, opened_ns)
        left = self.own._replace(
            ts=time.time_ns(), since=since, positions={name: plain(f"{qty:f}") for name, qty in held.items()}
        )
        if read_request(self.folder) is not None:
            raise ConfigError(KIND, "a request to kill", "none: this node sells, and no other one has to")
        try:
            with writing(self.folder):
                write_left(self.folder, left)
        except InputError:
            with suppress(OSError):
                forget(self.folder)  # it may be there, and not be sure to stay
            raise
        self.alerts.say(f"left to the next node: {left.words}")
        gate.recovering = True  # whoever kills from now on is told that no node has what is held
        return left
