"""Shim: an exchange that takes real orders: its bundled client behind a door, its keys under a seal."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import MessageBus
from nautilus_trader.live.execution_client import LiveExecutionClient

from alphatrade.nodes.live import preflight
from alphatrade.nodes.live.door import install
from alphatrade.nodes.live.seal import Seal
from alphatrade.nodes.paper.link import VENUE, Exchange
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.risk.approval import Approvals
from alphatrade.risk.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LiveExchange(Exchange):
    """
    Where real orders go.

    Attributes
    ----------
    approvals : Approvals
        Those of the gate: no order is signed without one.
    mainnet : bool
        Whether the addresses, where there are none, are those of real money.
    """

    approvals: Approvals = field(kw_only=True, repr=False)
    mainnet: bool = field(kw_only=True, default=False)

    @property
    def environment(self) -> BinanceEnvironment:
        """Which of the exchange's own places it is, where there is no address."""
        return BinanceEnvironment.LIVE if self.mainnet else BinanceEnvironment.TESTNET

    def held(self, credentials: Credentials) -> Credentials:
        """Return the keys under a seal; see :class:`~alphatrade.nodes.live.seal.Seal` for what it raises."""
        return Seal(credentials, self.approvals, VENUE)

    def reader(self, session: aiohttp.ClientSession, credentials: Credentials) -> VenueRest:
        """Return a client of ours, by which the books are read and orders cancelled; ConfigError: as of `client`."""
        return Exchange.reader(self, session, _sealed(credentials))

    async def vetted(self, rest: VenueRest, uid: object) -> None:
        """
        Refuse new keys of another account, or that may do what no start would let them; the next check would.

        A node that has not reached its exchange yet has no `uid`, and takes what a start would.

        Raises
        ------
        ConfigError
        """
        if uid is not None and rest.uid != uid:
            raise ConfigError("account of the new keys", rest.uid, f"{uid}, which is traded and has what is open")
        net = "sandbox" if self.http else "mainnet" if self.mainnet else "testnet"
        preflight.require(tuple(await preflight.rights(rest, net)))

    def client(
        self, loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache, credentials: Credentials
    ) -> LiveExecutionClient:
        """
        Return the bundled client behind its door, not connected.

        Raises
        ------
        ConfigError
            If the keys are not under a seal, or there is no door for this client.
        """
        seal = _sealed(credentials)
        made = Exchange.client(self, loop, bus, cache, seal)
        install(made, seal)
        return made


def _sealed(credentials: Credentials) -> Seal:
    if not isinstance(credentials, Seal):
        raise ConfigError("credentials", "keys as they are", "keys under a seal")
    return credentials


EXCHANGES = {"binance": LiveExchange}


def exchange_of(kind: str) -> type[LiveExchange]:
    """
    Return the kind of exchange that has a door here.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if kind not in EXCHANGES:
        raise ConfigError("broker.kind", kind, f"{', '.join(EXCHANGES)}: no other adapter has a last door here")
    return EXCHANGES[kind]
