"""A small signed client of Binance spot's REST interface: account, open orders, cancel, market orders.

One request is one try: who calls decides what to do about trouble. An order is sent once, under an id of the caller's;
whether it arrived after trouble, the account and the open orders tell.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from yarl import URL

from alphatrade.nodes.venue_answers import BannedError, RefusedError, TroubleError, judge
from alphatrade.nodes.venue_rows import Deal, Holding, Placed, Rules, deal_of, placed_of, rules_of
from alphatrade.risk.errors import ConfigError

_SKEW = -1021  # the request's time is outside of the window
_NOTHING_OPEN = -2011
_NO_SUCH_ORDER = -2013
_PAGE = 1000  # rows of one answer, the most there are

Signer = Callable[[str, str, str], str]  # returns the signature of a request's query, given its method and path


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    A key of a venue's account; neither half is ever shown.

    Attributes
    ----------
    key : str
        The API key.
    secret : str
        An Ed25519 private key (PKCS 8, as PEM or its base64 alone), else the secret of an HMAC key.
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def is_private_key(self) -> bool:
        """Whether the secret is a private key, of which the venue knows only the public half."""
        return _ed25519(self.secret) is not None

    def signer(self) -> Signer:
        """
        Return what signs the query of a request, given its method and its path.

        Raises
        ------
        ConfigError
            If a half is missing, or a private key is of another kind.
        """
        if not self.key.strip() or not self.secret.strip():
            raise ConfigError("credentials", "an empty half", "an API key and its secret")
        private = _ed25519(self.secret)
        if private is not None:
            return lambda _method, _path, query: base64.b64encode(private.sign(query.encode())).decode()
        secret = self.secret.strip().encode()
        return lambda _method, _path, query: hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()


def _ed25519(secret: str) -> Ed25519PrivateKey | None:
    """Return the private key that a secret is, None where it is an HMAC secret."""
    lines = secret.strip().splitlines()
    pem = lines[0].startswith("-----BEGIN")
    try:
        der = base64.b64decode("".join(line for line in lines if not line.startswith("-----")), validate=True)
        private = load_der_private_key(der, None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        private = None
    if isinstance(private, Ed25519PrivateKey):
        return private
    if pem or private is not None:
        raise ConfigError("credentials", "another private key", "an Ed25519 key, not encrypted, or an HMAC secret")
    return None


class VenueRest:
    """
    The account of one key.

    Parameters
    ----------
    session : aiohttp.ClientSession
    root : str
        URL without path.
    credentials : Credentials
    window_ms : int, default 5000
        How old a request may be when the venue sees it.
    sleep : callable, optional
        For tests.

    Attributes
    ----------
    uid : object
        Which account it is, as the venue has said when it was asked for what is held; None: it was not.

    Raises
    ------
    ConfigError
        If the credentials are not usable.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        root: str,
        credentials: Credentials,
        window_ms: int = 5000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session, self._root, self._window_ms, self._sleep = session, root.rstrip("/"), window_ms, sleep
        self._sign, self._headers = credentials.signer(), {"X-MBX-APIKEY": credentials.key.strip()}
        self.uid: object = None
        self._ahead_ms: float | None = None  # the venue's clock, less ours (monotonic)
        self._free_at = 0.0  # ours: not before this time is anything asked, as the venue has said

    async def rules(self, symbols: Sequence[str]) -> dict[str, Rules]:
        """Return what the venue says about each symbol; one that it does not know is a RefusedError."""
        told = {symbol: rules_of(one) for symbol, one in (await self.exchange_info(symbols)).items()}
        return {symbol: told[symbol] for symbol in symbols}

    async def price(self, symbol: str) -> Decimal:
        """Return the last price."""
        return Decimal((await self._ask("GET", "/api/v3/ticker/price", {"symbol": symbol}))["price"])

    async def offer(self, symbol: str) -> Decimal:
        """Return the lowest price at which somebody sells; ValueError: nobody does."""
        price = Decimal((await self._ask("GET", "/api/v3/ticker/bookTicker", {"symbol": symbol}))["askPrice"])
        if not price.is_finite() or price <= 0:
            raise ValueError(f"nobody sells {symbol}")
        return price

    async def account(self) -> dict[str, Holding]:
        """Return what is held, by asset, without what is zero."""
        found = await self._signed("GET", "/api/v3/account", {"omitZeroBalances": "true"})
        self.uid = found.get("uid")
        held = {one["asset"]: Holding(Decimal(one["free"]), Decimal(one["locked"])) for one in found["balances"]}
        return {asset: one for asset, one in held.items() if one.free or one.locked}

    async def open_orders(self, symbol: str) -> list[str]:
        """Return the client ids of the open orders."""
        found = await self._signed("GET", "/api/v3/openOrders", {"symbol": symbol})
        return [str(one["clientOrderId"]) for one in found]

    async def placed(self, symbol: str) -> list[Placed]:
        """Return the open orders."""
        return [placed_of(one) for one in await self._signed("GET", "/api/v3/openOrders", {"symbol": symbol})]

    async def order(self, symbol: str, client_id: str) -> Placed | None:
        """Return an order, open or not, by the id that it was sent under; None where the venue knows of none."""
        try:
            found = await self._signed("GET", "/api/v3/order", {"symbol": symbol, "origClientOrderId": client_id})
            return placed_of(found)
        except RefusedError as no:
            if no.code == _NO_SUCH_ORDER:
                return None
            raise

    async def deals(self, symbol: str, order_id: str) -> list[Deal]:
        """Return the fills of an order, all of them, the oldest first."""
        asked, deals = {"symbol": symbol, "orderId": order_id, "limit": str(_PAGE)}, list[Deal]()
        while True:
            first = int(deals[-1].trade_id) + 1 if deals else 0
            found = await self._signed("GET", "/api/v3/myTrades", asked | {"fromId": str(first)})
            deals += sorted(map(deal_of, found), key=lambda deal: int(deal.trade_id))
            if len(found) < _PAGE:
                return deals

    async def asked(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return what the venue answers to a signed question, as it is."""
        return await self._signed("GET", path, params or {})

    async def exchange_info(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return what the venue says about each symbol, as it is."""
        names = "[" + ",".join(f'"{symbol}"' for symbol in symbols) + "]"
        found = await self._ask("GET", "/api/v3/exchangeInfo", {"symbols": names})
        return {one["symbol"]: one for one in found["symbols"]}

    async def cancel_all(self, symbol: str) -> int:
        """Cancel every open order of a symbol, and return how many there were."""
        try:
            gone = await self._signed("DELETE", "/api/v3/openOrders", {"symbol": symbol})
            return len([one["symbol"] for one in gone])
        except RefusedError as no:
            if no.code == _NOTHING_OPEN:
                return 0
            raise

    async def market(self, symbol: str, side: str, quantity: Decimal, order_id: str) -> Decimal:
        """
        Send a market order, and return how much of it was filled, base units.

        Parameters
        ----------
        symbol : str
        side : {"BUY", "SELL"}
        quantity : Decimal
            On the symbol's step.
        order_id : str
            Of the caller's choice; the venue refuses one that is open already.
        """
        order = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": f"{quantity:f}"}
        order |= {"newClientOrderId": order_id, "newOrderRespType": "RESULT"}
        return Decimal((await self._signed("POST", "/api/v3/order", order))["executedQty"])

    async def _signed(self, method: str, path: str, params: Mapping[str, str]) -> Any:
        """Ask with a signature; when the venue finds the time wrong, its clock is read anew, once."""
        for fresh in (False, True):
            if self._ahead_ms is None or fresh:
                await self._read_clock()
            assert self._ahead_ms is not None
            stamp = int(time.monotonic() * 1000 + self._ahead_ms)
            query = urlencode({**params, "recvWindow": self._window_ms, "timestamp": stamp})
            signature = quote(self._sign(method, path, query), safe="")
            try:
                return await self._send(method, f"{path}?{query}&signature={signature}")
            except RefusedError as no:
                if no.code != _SKEW or fresh:
                    raise
        raise AssertionError("one of the two has returned or raised")

    async def ahead_ms(self) -> float:
        """Ask for the venue's time, and return how far its clock is ahead of this machine's."""
        await self._read_clock()
        assert self._ahead_ms is not None
        return self._ahead_ms + 1000 * (time.monotonic() - time.time())

    async def _read_clock(self) -> None:
        """Learn how far the venue's clock is ahead of ours; half of the way is taken for the way back."""
        before = time.monotonic()
        at = (await self._ask("GET", "/api/v3/time", {}))["serverTime"]
        self._ahead_ms = float(at) - 500 * (before + time.monotonic())

    async def _ask(self, method: str, path: str, params: Mapping[str, str]) -> Any:
        return await self._send(method, f"{path}?{urlencode(params)}" if params else path)

    async def _send(self, method: str, path: str) -> Any:
        """
        Ask once.

        Raises
        ------
        RefusedError, BannedError
        TroubleError
            Also where there is no answer, or none that can be read.
        """
        if (wait := self._free_at - time.monotonic()) > 0:
            await self._sleep(wait)
        url = URL(self._root + path, encoded=True)
        try:
            async with self._session.request(method, url, headers=self._headers) as response:
                await judge(response)
                return await response.json(content_type=None)
        except (TroubleError, BannedError) as trouble:
            self._free_at = time.monotonic() + (trouble.wait_s or 0.0)
            raise
        except TimeoutError:
            raise TroubleError(f"{method} {url.path}: no answer in time") from None
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            told = " ".join(str(error).split())[:120] or type(error).__name__
            raise TroubleError(f"{method} {url.path}: {told}") from None
