"""Shim: the bundled Binance spot execution client, made anew whenever one is needed, on a bus of ours."""

import asyncio
from dataclasses import dataclass
from typing import Any

from nautilus_trader.adapters.binance import BinanceExecClientConfig, BinanceLiveExecClientFactory
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment
from nautilus_trader.adapters.binance.common.urls import get_http_base_url
from nautilus_trader.adapters.binance.config import BinanceAccountType
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.config import InstrumentProviderConfig
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.nodes.venue_rest import Credentials

VENUE = "BINANCE"
WINDOW_MS = 5_000  # an order that reaches the exchange later than this is refused there


@dataclass(frozen=True, slots=True)
class Exchange:
    """
    Where orders go.

    Attributes
    ----------
    http, ws_api : str, optional
        Addresses other than those of the testnet.
    instruments : tuple of InstrumentId
    """

    http: str | None
    ws_api: str | None
    instruments: tuple[InstrumentId, ...]

    @property
    def rest(self) -> str:
        """Address of the REST interface."""
        return self.http or str(get_http_base_url(BinanceAccountType.SPOT, BinanceEnvironment.TESTNET, False))

    def client(
        self, loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache, credentials: Credentials
    ) -> LiveExecutionClient:
        """
        Return the bundled client, not connected.

        It signs with a clock of its own: that of the node shows the time of the node's inputs. It never tries an order
        twice, because the exchange lets the id of a filled order be used again.
        """
        config = BinanceExecClientConfig(
            api_key=credentials.key, api_secret=credentials.secret, environment=BinanceEnvironment.TESTNET,
            base_url_http=self.http, base_url_ws=self.ws_api, recv_window_ms=WINDOW_MS,
            instrument_provider=InstrumentProviderConfig(load_ids=frozenset(self.instruments)),
        )  # fmt: skip
        made: Any = BinanceLiveExecClientFactory.create(loop, VENUE, config, bus, cache, LiveClock())
        return made  # type: ignore[no-any-return]
