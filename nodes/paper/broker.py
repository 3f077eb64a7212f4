"""Shim: an exchange as the broker of a node: the bundled client inside of one of ours, which checks what it says.

The bundled client is used as it is, and replaced when it has failed. What it reports reaches the node through the
intake, one input after the other, and is in the journal; what it does not report, because a message or an answer was
lost, is found in the exchange's own books (:mod:`alphatrade.nodes.paper.reconcile`). While a journal is read nothing is
sent: the orders of then are at the exchange already.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.events import AccountState, OrderCancelRejected, OrderRejected, OrderSubmitted
from nautilus_trader.model.identifiers import ClientId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import Order

from alphatrade.nodes.bus_watch import BusWatch
from alphatrade.nodes.paper.chain import Fail, guarded
from alphatrade.nodes.paper.feed_switch import pause
from alphatrade.nodes.paper.link import VENUE, Exchange, Link
from alphatrade.nodes.paper.outstanding import TOLD_S, Outstanding, Report
from alphatrade.nodes.paper.reconcile import UNCLEAR, WRONG_TIME, Balances, code_of, known, rejected
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.venue_answers import FAILURES, RefusedError
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate_orders import cancel_of, modify_rejected

BACKOFF_S = (0.5, 30.0)  # the first and the longest wait after a failure, with full jitter


class Broker(LiveExecutionClient):
    """
    Sends what the law has approved to an exchange, and sees that the node's books are the exchange's.

    Parameters
    ----------
    loop, cache, clock
        Of the node.
    node_bus : MessageBus
        Of the node; what the bundled client says goes to another one, and from there to `take` of :meth:`attach`.
    exchange : Exchange
    secrets : Secrets
        Where the keys are; new ones are taken up without a restart.
    check_s : float
        Seconds between two readings of the exchange's books.
    tell : callable
        Takes a line about the connection.

    Attributes
    ----------
    reports : list of Report
        The first and the last reading of the books.
    witnesses : list of callable
        Are shown each event that the node processes, as it is in the journal.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        cache: Any,
        clock: LiveClock,
        node_bus: MessageBus,
        exchange: Exchange,
        secrets: Secrets,
        check_s: float,
        tell: Callable[[str], object],
    ) -> None:
        bus = MessageBus(trader_id=node_bus.trader_id, clock=clock)
        super().__init__(
            loop=loop, client_id=ClientId(VENUE), venue=Venue(VENUE), oms_type=OmsType.NETTING,
            account_type=AccountType.CASH, base_currency=None, instrument_provider=InstrumentProvider(),
            msgbus=bus, cache=cache, clock=clock,
        )  # fmt: skip
        self.bus = BusWatch(node_bus, "time of the inputs")
        self._exchange, self._check_s, self._tell = exchange, check_s, tell
        self._patience_s = check_s  # what does not settle waits no longer for the next reading
        self._instruments: dict[str, Instrument] = {}
        self._link = Link(exchange, secrets, loop, bus, cache, tell)
        self._wake = asyncio.Event()
        self._rng = random.Random(os.getpid())  # nodes that lost the same exchange do not come back at one moment
        self._journal_read, self._away = False, True
        self.reports, self.witnesses = list[Report](), list[Callable[[Any], None]]()
        for endpoint in ("ExecEngine.process", "Portfolio.update_account"):
            bus.register(endpoint=endpoint, handler=self._told)
        for what in ("report", "mass_status"):  # something that it cannot place, or it has connected anew
            bus.register(endpoint=f"ExecEngine.reconcile_execution_{what}", handler=lambda _: self._wake.set())

    def attach(self, take: Callable[[Any], None], distrust: Callable[[str], object], fail: Fail) -> None:
        """Say who takes events, and who is told of a difference that nothing explains, or what an event has raised."""
        self._take, self._distrust = guarded(take, fail), distrust
        self._outstanding = Outstanding(self._cache, self._take)

    def facts(self) -> dict[str, str]:
        """Return what the heartbeat says of the exchange that executes orders."""
        held = " ".join(f"{asset}:{amount:f}" for asset, amount in self._balances.expected().items())
        last = self.reports[-1] if self.reports else None
        return {
            "exchange": "up" if self._link.client is not None else "away",
            "exchange_balances": held,
            "exchange_unknown": "" if last is None else str(last.unknown),
            **self._outstanding.facts(),
        }

    # -- the life of the connection

    def seen(self, event: Any) -> None:
        """Take note of an event that the node processes now, or did so when the journal was written."""
        self._balances.seen(event)
        for witness in self.witnesses:
            witness(event)
        if isinstance(event, OrderSubmitted):  # by the bundled client's own clock, just before the order is signed
            self._outstanding.order(event, event.ts_init)

    @property
    def reader(self) -> VenueRest | None:
        """What reads the exchange's books; none while it is away."""
        return None if self._link.client is None else self._link.rest

    def look(self) -> None:
        """Have the books read soon."""
        self._wake.set()

    def connect(self) -> None:
        """Be there for the node; the exchange is connected when the journal has been read, see :meth:`begin`."""
        self._instruments = {one.symbol.value: one for one in map(self._cache.instrument, self._exchange.instruments)}
        self._balances = Balances(self._instruments)
        self._set_connected(True)

    def disconnect(self) -> None:
        """Be gone for the node; see :meth:`end`."""
        self._set_connected(False)

    async def begin(self, again: bool) -> None:
        """
        Connect to the exchange, and bring the node's books up to date.

        Parameters
        ----------
        again : bool
            The node goes on, and may have orders there: where the exchange is away, :meth:`run` waits for it.

        Raises
        ------
        ConfigError
            If there are no keys, the exchange refuses them, or it cannot be reached.
        """
        self._journal_read = True
        try:
            self._set_account_id(await self._link.open())
            await self.check()
        except FAILURES as error:
            told = str(error) or "no answer in time"
            if again and not isinstance(error, RefusedError):
                self._tell(f"the exchange cannot be read, nothing is sent until it can: {told}")
                self._wake.set()
                return
            await self.end()
            raise ConfigError("broker", self._exchange.rest, f"an exchange that can be read: {told}") from None

    async def end(self) -> None:
        """Leave the exchange; what rests there stays."""
        await self._link.end()

    async def run(self) -> None:
        """Read the exchange's books now and then, and renew the connection where it has failed, until cancelled."""
        failures, wait = 0, 0.0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._check_s)
            wait = min(2 * wait or TOLD_S, self._patience_s) if self._wake.is_set() else 0.0
            self._wake.clear()
            await asyncio.sleep(wait)  # what comes at once comes together; what does not settle is not hurried
            try:
                if await self._link.renewed() or self._link.client is None:
                    await self._link.close()
                    self._set_account_id(await self._link.open())
                report = await self.check()
                failures = 0
                if report.late:
                    self._tell(f"the exchange's stream had not told {report.late} events: connecting anew")
                    await self._link.close()
                    self._wake.set()
            except (ConfigError, *FAILURES) as error:
                failures, self._away = failures + 1, True
                wait = getattr(error, "wait_s", None) or pause(failures, *BACKOFF_S, self._rng)
                self._tell(f"the exchange: {str(error) or 'no answer in time'}; again in {wait:.1f} s")
                await asyncio.sleep(wait)
                wait = 0.0
                self._wake.set()
            except Exception as error:
                self._distrust(f"reading the exchange's books failed: {error!r}")

    # -- what the exchange says

    def _told(self, event: Any) -> None:
        """Take an event of the bundled client, unless it is known already or cannot be believed yet."""
        if isinstance(event, AccountState):
            self._take(event)
            return
        order = self._cache.order(event.client_order_id)
        if order is None or known(event, order):
            return
        if isinstance(event, OrderRejected):
            code = code_of(event.reason)
            if code in UNCLEAR:
                self._outstanding.doubts[event.client_order_id.value] = event
                self._wake.set()
                return
            self._link.skewed |= code == WRONG_TIME
        if isinstance(event, OrderCancelRejected):
            self._wake.set()
        if order.is_closed:  # a fill that comes after the end opens it again
            self._outstanding.order(order, event.ts_init)
            self._wake.set()
        self._take(event)

    async def check(self) -> Report:
        """
        Read the exchange's books, and have the node told what it has not been told.

        Raises
        ------
        BannedError, RefusedError, TroubleError, TimeoutError
            If they cannot be read.
        """
        link = self._link
        assert link.rest is not None
        assert link.client is not None
        report = await self._outstanding.check(link.rest, link.client, self._instruments, self._balances)
        link.read_at = time.monotonic()
        await link.timed()
        if self._away:
            self._away = False
            self._tell(
                f"the exchange's books were read in {report.took_s:.2f} s: {report.orders} open orders, "
                f"{report.brought} events that were not known, {report.unknown} orders that have not arrived yet"
            )
        for line in report.differences:
            self._distrust(line)
        if report.again:
            self._wake.set()
        self.reports = [*self.reports[:1], report]
        return report

    def submit_order(self, command: Any) -> None:
        """Send an order; one that cannot be sent now is refused."""
        self._submit(command, [command.order])

    def submit_order_list(self, command: Any) -> None:
        """Send a list of orders, likewise."""
        self._submit(command, command.order_list.orders)

    def _submit(self, command: Any, orders: list[Order]) -> None:
        for order in orders:  # the node's time is behind the wall's, but a journal has no other
            self._outstanding.order(order, time.time_ns() if self._journal_read else command.ts_init)
        if not self._journal_read:
            return
        client, why = self._link.client, self._unapproved(command, orders) or self._link.unfit(orders)
        if not why and client is not None:
            (client.submit_order if isinstance(command, SubmitOrder) else client.submit_order_list)(command)
            return
        for order in orders:  # soon, as an input of its own
            self._loop.call_soon(self._take, rejected(order, self.account_id, why, command.ts_init))

    def _unapproved(self, _command: Any, _orders: list[Order]) -> str:
        """Return why orders must not leave, whatever the exchange is like; empty: they may."""
        return ""

    def cancel_order(self, command: Any) -> None:
        """Send a cancellation; one that cannot be sent now, or does not arrive, is sent after the next reading."""
        client = self._link.client if self._journal_read else None
        self._outstanding.cancel(command, 0 if client is None else time.time_ns())
        if client is not None:
            client.cancel_order(command)

    def cancel_all_orders(self, command: Any) -> None:
        """Send a cancellation of each order."""
        for order in self._cache.orders_open(instrument_id=command.instrument_id, strategy_id=command.strategy_id):
            self.cancel_order(cancel_of(order, command.ts_init))

    def batch_cancel_orders(self, command: Any) -> None:
        """Send each cancellation."""
        for one in command.cancels:
            self.cancel_order(one)

    def modify_order(self, command: Any) -> None:
        """Refuse a modification and cancel the order: the exchange has none, and whoever wants it can send another."""
        order = self._cache.order(command.client_order_id)
        if order is None:
            return
        if self._journal_read:  # else it is in there
            self._loop.call_soon(self._take, modify_rejected(order, "the exchange has none", command.ts_init))
        self.cancel_order(cancel_of(order, command.ts_init))

    # -- time and market: those of the exchange

    def arrivals(self) -> int:
        """Return 0: what is on its way arrives by itself."""
        return 0

    def advance(self, _ts: int) -> None:
        """Do nothing: time goes on at the exchange."""

    def take(self, data: Any, ts: int) -> None:
        """Beat; the market moves at the exchange."""
        if ts >= self.bus.pulse.next:
            self.bus.pulse.beat(ts)

    settle = advance
