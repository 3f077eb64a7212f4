"""Shim: an exchange as the broker of a node: the bundled client inside of one of ours, which checks what it says.

The bundled client is used as it is, and replaced when it has failed. What it reports reaches the node through the
intake, one input after the other, and is in the journal; what it does not report, because a message or an answer was
lost, is found in the exchange's own books (:mod:`alphatrade.nodes.paper.reconcile`). While a journal is read nothing is
sent: the orders of then are at the exchange already.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.live.factories import LiveExecClientFactory
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.events import AccountState, OrderCancelRejected, OrderRejected
from nautilus_trader.model.identifiers import ClientId, ClientOrderId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import Order

from alphatrade.nodes.bus_watch import BusWatch
from alphatrade.nodes.paper.exchange_client import VENUE, WINDOW_MS, Exchange
from alphatrade.nodes.paper.reconcile import UNSEEN, Balances, Report, behind, bring, known, rejected, strangers
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.venue_answers import BannedError, RefusedError, TroubleError
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.nodes.venue_rows import Placed
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate_orders import cancel_of

KEYS = "binance_testnet"
ANSWER_S = 10.0  # for one answer of the exchange, and for one step of the bundled client
LATE_S = 3.0  # what the stream has not told so long after it happened, it will not tell
BLIND_S = 60.0  # without having read the books for so long, nothing new is sent
BACKOFF_S = (0.5, 30.0)  # the first and the longest wait after a failure, with full jitter
UNCLEAR = (None, -1000, -1001, -1006, -1007)  # codes after which an order may have been taken all the same
FAILURES = (BannedError, RefusedError, TroubleError, TimeoutError, OSError)
_CODE = re.compile(r"code\W+(-\d+)")


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
        self._exchange, self._secrets, self._check_s, self._tell = exchange, secrets, check_s, tell
        self._instruments: dict[str, Instrument] = {}
        self._inner: LiveExecutionClient | None = None  # while it is connected
        self._http: aiohttp.ClientSession | None = None
        self._rest: VenueRest | None = None
        self._wake = asyncio.Event()
        self._sent: dict[str, int] = {}  # orders that were given to us, by id: when, UTC ns
        self._doubts: dict[str, OrderRejected] = {}  # refusals after which an order may be there all the same
        self._cancels: dict[str, Any] = {}  # the last command for each order
        self._read_at = -BLIND_S
        self._odd: tuple[str, ...] = ()
        self._rng = random.Random()
        self._journal_read = False
        self.reports: list[Report] = []
        for endpoint, handler in {
            "ExecEngine.process": self._told,
            "Portfolio.update_account": self._told,
            "ExecEngine.reconcile_execution_report": self._look_again,
            "ExecEngine.reconcile_execution_mass_status": self._look_again,
        }.items():
            bus.register(endpoint=endpoint, handler=handler)

    def attach(self, take: Callable[[Any], None], distrust: Callable[[str], object]) -> None:
        """Say who takes events, and who is told of a difference that nothing explains."""
        self._take, self._distrust = take, distrust

    # -- the life of the connection

    def seen(self, event: Any) -> None:
        """Take note of an event that the node processes now."""
        self._balances.seen(event)

    def connect(self) -> None:
        """Be there for the node; the exchange is connected when the journal has been read, see :meth:`begin`."""
        self._instruments = {one.symbol.value: one for one in map(self._cache.instrument, self._exchange.instruments)}
        self._balances = Balances(self._instruments)
        self._set_connected(True)

    def disconnect(self) -> None:
        """Be gone for the node; see :meth:`end`."""
        self._set_connected(False)

    async def begin(self) -> Report:
        """
        Connect to the exchange, and bring the node's books up to date.

        Raises
        ------
        ConfigError
            If there are no keys, the exchange refuses them, or it cannot be reached.
        """
        self._journal_read = True
        try:
            await self._open()
            return await self.check()
        except FAILURES as error:
            await self.end()
            told = str(error) or "no answer in time"
            raise ConfigError("broker", self._exchange.rest, f"an exchange that can be read: {told}") from None

    async def end(self) -> None:
        """Leave the exchange; what rests there stays."""
        await self._close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def run(self) -> None:
        """Read the exchange's books now and then, and renew the connection where it has failed, until cancelled."""
        failures = 0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._check_s)
            if self._wake.is_set():
                self._wake.clear()
                await asyncio.sleep(LATE_S / 10)  # what comes at once comes together
            try:
                if self._inner is None or self._rotated():
                    await self._close()
                    await self._open()
                report = await self.check()
                failures = 0
                if report.late:
                    self._tell(f"the exchange's stream had not told {report.late} events: connecting anew")
                    await self._close()
                    self._wake.set()
            except FAILURES as error:
                failures += 1
                most = min(BACKOFF_S[0] * 2**failures, BACKOFF_S[1])
                wait = getattr(error, "wait_s", None) or self._rng.uniform(0, most)
                self._tell(f"the exchange: {str(error) or 'no answer in time'}; again in {wait:.1f} s")
                await asyncio.sleep(wait)
                self._wake.set()

    def _rotated(self) -> bool:
        try:
            if not self._secrets.changed(KEYS):
                return False
        except ConfigError as error:
            self._tell(f"the keys in use stay in use: {error}")
            return False
        self._tell("there are new keys: connecting anew")
        return True

    async def _open(self) -> None:
        keys = self._secrets.read(KEYS)
        credentials = Credentials(keys.api_key.get_secret_value(), keys.api_secret.get_secret_value())
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        self._rest = VenueRest(self._http, self._exchange.rest, credentials, WINDOW_MS)
        await self._rest.account()  # refuses wrong keys in words; the bundled client would only log them
        inner = self._exchange.client(self._loop, self._msgbus, self._cache, credentials)
        self._set_account_id(inner.account_id)
        try:
            await asyncio.wait_for(inner._connect(), ANSWER_S)
        except BaseException as error:
            await _leave(inner)
            if isinstance(error, (TimeoutError, asyncio.CancelledError)):
                raise
            raise TroubleError(f"connecting: {' '.join(str(error).split())[:120] or type(error).__name__}") from None
        self._inner = inner

    async def _close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            await _leave(inner)

    # -- what the exchange says

    def _told(self, event: Any) -> None:
        """Take an event of the bundled client, unless it is known already or cannot be believed yet."""
        if isinstance(event, AccountState):
            self._take(event)
            return
        order = self._cache.order(event.client_order_id)
        if order is None or known(event, order):
            return
        if isinstance(event, OrderRejected) and _code(event.reason) in UNCLEAR:
            self._doubts[event.client_order_id.value] = event
            self._wake.set()
            return
        if isinstance(event, OrderCancelRejected):
            self._wake.set()
        self._take(event)

    def _look_again(self, _report: Any) -> None:
        """Read the books: the bundled client found something that it cannot place, or it has connected anew."""
        self._wake.set()

    async def check(self) -> Report:
        """
        Read the exchange's books, and have the node told what it has not been told.

        Raises
        ------
        BannedError, RefusedError, TroubleError, TimeoutError
            If they cannot be read.
        """
        rest, began = self._rest, time.monotonic()
        assert rest is not None
        asked_ns = time.time_ns()
        rows = [row for symbol in self._instruments for row in await rest.placed(symbol)]
        found = {row.client_id: row for row in rows}
        brought = late = unknown = 0
        for order in self._ours(asked_ns):
            order_id, symbol = order.client_order_id.value, order.instrument_id.symbol.value
            row = found.get(order_id)
            if row is None or order_id in self._doubts or behind(order, row):
                row = await rest.order(symbol, order_id)
                deals = await rest.deals(symbol, row.order_id) if row is not None and row.filled else []
                if row is None:
                    unknown += self._unheard_of(order, asked_ns)
                else:
                    self._doubts.pop(order_id, None)
                    new = self._bring(order, row, deals)
                    brought += new
                    late += new if row.updated_ms < asked_ns / 1e6 - LATE_S * 1000 else 0
            elif order.is_pending_cancel and order_id in self._cancels and self._inner is not None:
                self._inner.cancel_order(self._cancels[order_id])  # the one that was sent has not arrived
        held = await rest.account()
        self._read_at = time.monotonic()
        here = {order_id: self._cache.order(ClientOrderId(order_id)) for order_id in found}
        odd = strangers(rows, here, asked_ns / 1e6 - LATE_S * 1000)
        if not unknown and not brought:
            odd += self._balances.differences(held)
        report = Report(len(rows), brought, late, unknown, self._certain(odd), time.monotonic() - began)
        self.reports = [*self.reports[:1], report]
        return report

    def _certain(self, odd: tuple[str, ...]) -> tuple[str, ...]:
        """Return the differences that were there the last time, too: what happens between two questions looks odd."""
        certain = tuple(line for line in odd if line in self._odd)
        self._odd = odd
        for line in certain:
            self._distrust(line)
        if odd and not certain:
            self._wake.set()
        return certain

    def _ours(self, asked_ns: int) -> list[Order]:
        """Return the orders that are not over, but for those that have only just been sent."""
        found = []
        for order_id, ts in list(self._sent.items()):
            order = self._cache.order(ClientOrderId(order_id))
            if order is None or order.is_closed:
                del self._sent[order_id]
                self._cancels.pop(order_id, None)
                self._doubts.pop(order_id, None)
            elif ts < asked_ns - 0.2e9:
                found.append(order)
        return found

    def _bring(self, order: Order, row: Placed, deals: list[Any]) -> int:
        client = self._inner or self
        return bring(client, order, row, deals, self._instruments[row.symbol])

    def _unheard_of(self, order: Order, asked_ns: int) -> int:
        """Deal with an order that the exchange does not know; return 1 while it may still arrive there."""
        order_id = order.client_order_id.value
        if asked_ns - self._sent[order_id] <= (WINDOW_MS + 1000 * LATE_S) * 1_000_000:
            self._wake.set()
            return 1
        if order.status in UNSEEN:
            never = rejected(order, self.account_id, "it has never arrived at the exchange", asked_ns)
            self._take(self._doubts.pop(order_id, None) or never)
        else:
            self._distrust(f"order {order_id} was accepted and the exchange does not know it")
        return 0

    # -- commands

    def submit_order(self, command: Any) -> None:
        """Send an order; one that cannot be sent now is refused."""
        self._submit(command, [command.order])

    def submit_order_list(self, command: Any) -> None:
        """Send a list of orders, likewise."""
        self._submit(command, command.order_list.orders)

    def _submit(self, command: Any, orders: list[Order]) -> None:
        for order in orders:
            self._sent[order.client_order_id.value] = command.ts_init
        if not self._journal_read:
            return
        why = "" if self._inner is not None else "the exchange is not connected"
        if not why and time.monotonic() - self._read_at > BLIND_S:
            why = f"the exchange's books have not been read for {BLIND_S:g} s"
        if not why:
            send = self._inner.submit_order if len(orders) == 1 else self._inner.submit_order_list
            send(command)
            return
        for order in orders:  # soon, as an input of its own
            self._loop.call_soon(self._take, rejected(order, self.account_id, why, command.ts_init))

    def cancel_order(self, command: Any) -> None:
        """Send a cancellation; one that cannot be sent now, or does not arrive, is sent after the next reading."""
        self._cancels[command.client_order_id.value] = command
        if self._journal_read and self._inner is not None:
            self._inner.cancel_order(command)

    def cancel_all_orders(self, command: Any) -> None:
        """Send the cancellation of all orders of a strategy in an instrument."""
        for order in self._cache.orders_open(instrument_id=command.instrument_id, strategy_id=command.strategy_id):
            self.cancel_order(cancel_of(order, command.ts_init))

    def modify_order(self, command: Any) -> None:
        """Send a modification."""
        if self._journal_read and self._inner is not None:
            self._inner.modify_order(command)

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


async def _leave(inner: LiveExecutionClient) -> None:
    """Disconnect a client, whatever state it is in."""
    with suppress(Exception):
        await asyncio.wait_for(inner._disconnect(), ANSWER_S / 2)
    with suppress(Exception):
        await asyncio.wait_for(inner.cancel_pending_tasks(1.0), ANSWER_S / 2)


def _code(reason: str) -> int | None:
    found = _CODE.search(reason)
    return None if found is None else int(found[1])


def broker_factory(
    exchange: Exchange, secrets: Secrets, check_s: float, tell: Callable[[str], object], made: list[Broker]
) -> type[LiveExecClientFactory]:
    """Return the factory of a broker, for a node's builder; what it makes is put into `made`."""

    class BrokerFactory(LiveExecClientFactory):
        """Makes the one broker of a node."""

        @staticmethod
        def create(
            loop: asyncio.AbstractEventLoop, name: str, config: Any, msgbus: MessageBus, cache: Any, clock: LiveClock
        ) -> Broker:
            """Return the broker."""
            made.append(Broker(loop, cache, clock, msgbus, exchange, secrets, check_s, tell))
            return made[-1]

    return BrokerFactory
