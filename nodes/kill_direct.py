"""Cancel everything at a venue and sell what is held, past any node: for one that hangs or is dead.

Rounds of cancel, look, sell, until a round finds nothing open and nothing that could be sold. A sale whose answer is
lost is not repeated blindly: the next round looks at the account first, and spot cannot sell what is not there. A node
that still sends orders only makes for more rounds.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

import aiohttp

from alphatrade.nodes.venue_answers import BannedError, RefusedError, TroubleError
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.nodes.venue_rows import Holding, Rules
from alphatrade.risk.errors import ConfigError

_UNKNOWN_SYMBOL = -1121
_NO_KEY = frozenset({-1022, -2014, -2015})  # signature, form of the key, permission
_PATIENCE_S = 3.0  # for one answer


class Sale(NamedTuple):
    """A market order that sold: its id, base units asked and filled, and when it was answered, ms from the start."""

    symbol: str
    order_id: str
    asked: Decimal
    filled: Decimal
    at_ms: float


class Left(NamedTuple):
    """What is still held of an asset, and why."""

    asset: str
    quantity: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class DirectReport:
    """
    What a direct kill came to.

    Attributes
    ----------
    flat : bool
        At the end nothing was open and nothing held but dust.
    canceled : int
        Orders that the venue says it canceled.
    canceled_ms, flat_ms, took_ms : float
        From the start: when nothing was open for the first time, when all was flat, the end; none: never.
    sales : tuple of Sale
    dust : tuple of Left
        Too little for the venue to take.
    held : tuple of Left
        What should have been sold and was not, by the last look at the account.
    open_orders : tuple of str
        Client ids, by the last look.
    troubles : dict of str to int
        What went wrong on the way, and how often.
    """

    flat: bool
    canceled: int
    canceled_ms: float | None
    flat_ms: float | None
    took_ms: float
    sales: tuple[Sale, ...]
    dust: tuple[Left, ...]
    held: tuple[Left, ...]
    open_orders: tuple[str, ...]
    troubles: dict[str, int]

    def lines(self) -> list[str]:
        """Return it as an operator reads it."""
        sold = ", ".join(f"{sale.filled:f} by {sale.symbol}" for sale in self.sales) or "nothing"
        out = [f"{'flat' if self.flat else 'NOT FLAT'} after {self.took_ms:.0f} ms"]
        out += [f"canceled {self.canceled} orders, sold {sold}"]
        out += [f"still open: {', '.join(self.open_orders)}"] if self.open_orders else []
        out += [f"still held: {one.quantity:f} {one.asset} ({one.why})" for one in self.held]
        out += [f"dust: {one.quantity:f} {one.asset} ({one.why})" for one in self.dust]
        return out + [f"trouble, {count} times: {told}" for told, count in self.troubles.items()]


async def kill_direct(
    root: str,
    credentials: Credentials,
    symbols: Sequence[str],
    deadline_s: float = 60.0,
    tag: str = "kill",
    tell: Callable[[str], object] = lambda _line: None,
) -> DirectReport:
    """
    Cancel all orders of symbols and sell what is held of their base assets, until that is so or time is up.

    Parameters
    ----------
    root : str
        URL of the venue's REST interface.
    credentials : Credentials
    symbols : sequence of str
        As the venue writes them. One base under several symbols is sold by the first that takes the quantity.
    deadline_s : float
        After that the report says what is left.
    tag : str
        Beginning of the ids of the orders that sell.
    tell : callable, optional
        Takes a line about each sale, before it is sent.

    Raises
    ------
    ConfigError
        If the venue does not know a symbol or does not accept the key: nothing can be done with them.
    """
    if not symbols:
        raise ConfigError("symbols", "none", "what is traded, as the venue writes it")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)) as session:
        kill = _Kill(VenueRest(session, root, credentials), tuple(dict.fromkeys(symbols)), tag, tell)
        try:
            async with asyncio.timeout(deadline_s):
                await kill.run()
        except TimeoutError:
            kill.troubles[f"time is up, {deadline_s:g} s"] += 1
        except _StopError:
            pass  # the ban is among the troubles
        return kill.report()


class _StopError(Exception):
    """The venue has banned this address and does not say for how long."""


class _Kill:
    """The state of one: what was done, and what the last look has shown."""

    def __init__(self, venue: VenueRest, symbols: tuple[str, ...], tag: str, tell: Callable[[str], object]) -> None:
        self.venue, self.symbols, self.tag, self.tell = venue, symbols, tag, tell
        self.troubles: Counter[str] = Counter()
        self._start = time.monotonic()
        self._canceled = 0
        self._canceled_ms: float | None = None
        self._flat_ms: float | None = None
        self._sales: list[Sale] = []
        self._sent = 0
        self._open: dict[str, list[str]] = {}
        self._dust: dict[str, Left] = {}
        self._held: dict[str, Left] = {}
        self._refused: dict[str, Decimal] = {}  # by symbol, the largest quantity that was too little for the venue

    async def run(self) -> None:
        """Go on until all is flat; pauses grow as long as nothing is sold."""
        pause, jitter = 0.1, random.Random(os.getpid())
        rules: dict[str, Rules] | None = None
        while True:
            sales = len(self._sales)
            gone = await asyncio.gather(*[self._cancel(symbol) for symbol in self.symbols])
            if all(gone) and self._canceled_ms is None:
                self._canceled_ms = self._now()
            rules = rules or await self._tried(self.venue.rules(self.symbols))
            if rules is not None and await self._sell_all(rules) and all(gone):
                self._flat_ms = self._now()
                return
            if any(sale.filled for sale in self._sales[sales:]):
                pause = 0.1
            else:
                await asyncio.sleep(pause * jitter.uniform(0.5, 1.0))
                pause = min(2.0, 2 * pause)

    def report(self) -> DirectReport:
        """Return what has come of it."""
        return DirectReport(
            flat=self._flat_ms is not None,
            canceled=self._canceled,
            canceled_ms=self._canceled_ms,
            flat_ms=self._flat_ms,
            took_ms=self._now(),
            sales=tuple(self._sales),
            dust=tuple(self._dust.values()),
            held=tuple(self._held.values()),
            open_orders=tuple(order for orders in self._open.values() for order in orders),
            troubles=dict(self.troubles),
        )

    async def _sell_all(self, rules: dict[str, Rules]) -> bool:
        """Look at the account and sell what can be sold; return whether there was nothing to sell."""
        account = await self._tried(self.venue.account())
        if account is None:
            return False
        self._dust, self._held = {}, {}
        for symbol in self.symbols:
            base = rules[symbol].base
            if base in account and base not in self._held:
                await self._sell(rules[symbol], account[base])
        return not self._held

    async def _cancel(self, symbol: str) -> bool:
        """Cancel a symbol's orders, and return whether none is open by what the venue says after it."""
        count = await self._tried(self.venue.cancel_all(symbol)) or 0
        self._canceled += count  # not in one line: other symbols are canceled at the same time
        found = await self._tried(self.venue.open_orders(symbol))
        if found is not None:
            self._open[symbol] = found
        return found == []

    async def _sell(self, rules: Rules, holding: Holding) -> None:
        """Sell what is free of a base asset; note what is left over."""
        base, quantity = rules.base, min(holding.free, rules.most)
        if rules.step:
            quantity = (quantity / rules.step).to_integral_value(ROUND_DOWN) * rules.step
        if holding.locked:
            self._held[base] = Left(base, holding.locked, "locked in orders, perhaps of another symbol")
        if (why := await self._too_little(rules, quantity)) is not None:
            if not holding.locked:
                self._dust[base] = Left(base, holding.free, why)
            return
        self._dust.pop(base, None)  # of another symbol
        self._held[base] = Left(base, holding.free + holding.locked, "not sold yet")
        self._sent += 1
        self.tell(f"selling {quantity:f} {base} by {rules.symbol}")
        order_id = f"{self.tag}-{self._sent}"
        filled = await self._tried(
            self.venue.market(rules.symbol, "SELL", quantity, order_id), (rules.symbol, quantity)
        )
        if filled is not None:
            self._sales.append(Sale(rules.symbol, order_id, quantity, filled, self._now()))

    async def _too_little(self, rules: Rules, quantity: Decimal) -> str | None:
        """Return why a quantity cannot be sold at all."""
        if quantity < rules.least or not quantity:
            return f"the least is {rules.least:f}"
        if quantity <= self._refused.get(rules.symbol, Decimal(0)):
            return "the venue found its value too small"
        if not rules.notional:
            return None
        price = await self._tried(self.venue.price(rules.symbol))  # without one, the venue is to decide
        if price is not None and price * quantity < rules.notional:
            return f"worth {price * quantity:f} {rules.quote}, the least is {rules.notional:f}"
        return None

    async def _tried[T](self, call: Awaitable[T], sale: tuple[str, Decimal] | None = None) -> T | None:
        """Return what a call returns, None where it came to nothing: then the trouble is noted."""
        try:
            return await call
        except RefusedError as no:
            if no.code in _NO_KEY or no.status == 401:
                raise ConfigError("credentials", str(no), "a key that the venue accepts, allowed to trade") from None
            if no.code == _UNKNOWN_SYMBOL:
                raise ConfigError("symbols", ",".join(self.symbols), f"those that the venue knows ({no})") from None
            if sale is not None and "NOTIONAL" in no.text:
                self._refused[sale[0]] = sale[1]
                return None
            self.troubles[str(no)] += 1
        except (TroubleError, BannedError) as trouble:
            self.troubles[str(trouble)] += 1
            if isinstance(trouble, BannedError) and trouble.wait_s is None:
                raise _StopError from None
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            self.troubles[f"an answer that cannot be read: {type(error).__name__}"] += 1
        return None

    def _now(self) -> float:
        return 1000 * (time.monotonic() - self._start)
