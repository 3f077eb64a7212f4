"""The checks before a node with real orders starts, and those that are made again while it runs.

All are shown; the first that does not hold is the reason why nothing starts. An exchange that does not answer, or whose
answer cannot be read, lets nothing start either.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from alphatrade.nodes.live.checks import (
    Check,
    Market,
    account_checks,
    begin_check,
    bought_of,
    clock_check,
    filter_checks,
    held_checks,
    key_checks,
    money_check,
    spent_of,
    stranger_checks,
)
from alphatrade.nodes.live.history import trades
from alphatrade.nodes.venue_answers import FAILURES, BannedError, LimitedError, RefusedError
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.risk.errors import ConfigError

BAN_S = 120.0  # the shortest ban there is: for one that does not say how long it lasts
_MS = 1_000_000  # ns
_LATE_MS = 1_000  # by which clocks may differ


class AwayError(ConfigError):
    """
    The exchange could not be asked.

    Attributes
    ----------
    wait_s : float
        It must not be asked again for so long.
    ever_later : bool
        It is asked too often, and does not say how long it must not be.
    """

    def __init__(self, told: str, expected: str, wait_s: float = 0.0, ever_later: bool = False) -> None:
        super().__init__("exchange", told, expected)
        self.wait_s, self.ever_later = wait_s, ever_later


class Held(NamedTuple):
    """What is to be taken over of a symbol: base units, and the price; None: the best offer of the moment."""

    symbol: str
    qty: Decimal
    price: Decimal | None = None


class Asked(NamedTuple):
    """
    What a start is checked for.

    Attributes
    ----------
    net : {"mainnet", "testnet", "sandbox"}
    markets : tuple of Market
    most : Decimal
        Largest value of an order that the law lets through, quote units.
    capital : Decimal
        Of the permit, quote units.
    begins, ends : int
        Of the permit, UTC ns.
    again : bool
        It goes on with a run, whose money may be in orders and positions. Whether an open order is a stranger's is
        then known when the journal was read again, as one may have left before its first event was kept.
    held : tuple of Held
        What a run that begins takes over from another node.
    since : int
        Before this moment nothing was paid for that, UTC ns.
    """

    net: str
    markets: tuple[Market, ...]
    most: Decimal
    capital: Decimal
    begins: int
    ends: int
    again: bool = False
    held: tuple[Held, ...] = ()
    since: int = 0


class Found(NamedTuple):
    """
    The checks that were made, and what was spent under the permit before, quote units.

    Attributes
    ----------
    checks : tuple of Check
    spent : Decimal
        Never below zero: what was gained before is not to be spent on top of the capital. What is taken over is not in
        it: it is bought once more, by the books of the run.
    held : tuple of Held
        What is taken over, with prices.
    """

    checks: tuple[Check, ...]
    spent: Decimal
    held: tuple[Held, ...] = ()


async def preflight(rest: VenueRest, asked: Asked) -> Found:
    """
    Make all checks that the exchange has to be asked for.

    Raises
    ------
    AwayError
        If it does not answer, refuses the key, or answers what cannot be read.
    """
    return await _read(rest, lambda: _all(rest, asked))


async def again(rest: VenueRest, asked: Asked) -> tuple[Check, ...]:
    """
    Make the checks of key, account, fees and clock once more.

    Raises
    ------
    AwayError
        As :func:`preflight`.
    """
    return await _read(rest, lambda: _standing(rest, asked))


async def certainly_ahead_ms(rest: VenueRest) -> float:
    """
    Return how far the exchange's clock is ahead of ours for certain, ms: less what may be the way of the question.

    Raises
    ------
    BannedError, RefusedError, TroubleError
        If it cannot be asked.
    """
    began = time.monotonic()
    ahead_ms = await rest.ahead_ms()
    return math.copysign(max(abs(ahead_ms) - _doubt_ms(began), 0.0), ahead_ms)


def _doubt_ms(began: float) -> float:
    return 500 * (time.monotonic() - began)  # half of the way there and back


def require(checks: tuple[Check, ...]) -> None:
    """
    Refuse to start where a check does not hold.

    Raises
    ------
    ConfigError
        Of the first one.
    """
    for one in checks:
        if not one.holds:
            raise ConfigError(one.name, one.found, one.wanted)


def table(checks: tuple[Check, ...]) -> str:
    """Return checks as lines of text, for a terminal."""
    wide = max((len(one.name) for one in checks), default=0)
    return "".join(
        f"{'ok ' if one.holds else 'NOT'}  {one.name:<{wide}}  {one.found}"
        + ("" if one.holds else f"; wanted: {one.wanted}")
        + "\n"
        for one in checks
    )


async def _read[T](rest: VenueRest, step: Callable[[], Any]) -> T:
    try:
        return await step()  # type: ignore[no-any-return]
    except RefusedError as no:
        raise AwayError(str(no), "an exchange that lets this key read its account") from None
    except FAILURES as error:
        told = str(error) or "no answer in time"
        wait_s = getattr(error, "wait_s", None) or (BAN_S if isinstance(error, BannedError) else 0.0)
        ever_later = isinstance(error, LimitedError) and not wait_s
        raise AwayError(told, "an exchange that answers", wait_s, ever_later) from None
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise AwayError(told, "answers that can be read") from None


async def _all(rest: VenueRest, asked: Asked) -> Found:
    checks = list(await _standing(rest, asked))
    told: Mapping[str, Any] = await rest.exchange_info([one.symbol for one in asked.markets])
    for market in asked.markets:
        checks += filter_checks(told.get(market.symbol), market, asked.most)
    spent, bought, check = await _spent(rest, asked)
    checks.append(check)
    held = tuple([one if one.price else one._replace(price=await rest.offer(one.symbol)) for one in asked.held])
    taken = sum((one.qty * (one.price or 0) for one in held), Decimal(0))
    spent = max(spent - taken, Decimal(0))
    if not asked.again:
        left = asked.capital - spent
        checks.append(Check("left of the permit", f"{left:f}", "more than nothing: it is used up", left > 0))
        checks += stranger_checks(await rest.asked("/api/v3/openOrders"))
        account = await rest.asked("/api/v3/account")
        checks.append(money_check(account, asked.markets[0].quote, max(left - taken, Decimal(0))))
        if held:
            checks.append(begin_check(asked.begins, asked.since))
            checks += held_checks(account, {one.symbol: one.qty for one in _whole(held)}, bought, asked.markets)
    return Found(tuple(checks), spent, held)


def _whole(held: tuple[Held, ...]) -> Iterator[Held]:
    """Yield what is taken over of each symbol, as one."""
    for symbol in dict.fromkeys(one.symbol for one in held):
        yield Held(symbol, sum((one.qty for one in held if one.symbol == symbol), Decimal(0)))


async def _spent(rest: VenueRest, asked: Asked) -> tuple[Decimal, Mapping[str, Decimal], Check]:
    """
    Return what was spent under the permit, and what was bought and not sold of each symbol since `asked.since`.

    Of a permit without a beginning nothing is asked, day by day since 1970.
    """
    name, spent, odd, bought = "trades under the permit", Decimal(0), "none", dict[str, Decimal]()
    if not asked.begins:
        return spent, bought, Check(name, "not asked for", "a permit that says when it begins", False)
    ahead_ms = int(await rest.ahead_ms())
    now_ms = time.time_ns() // _MS + ahead_ms
    try:
        for market in asked.markets:
            done = await trades(rest, market.symbol, asked.begins // _MS, now_ms)
            spent += spent_of(done, market)
            bought[market.symbol] = bought_of(done, market, asked.since // _MS + ahead_ms - _LATE_MS)
    except ValueError as error:
        odd = str(error)
    return max(spent, Decimal(0)), bought, Check(name, odd, "fees in what was traded", odd == "none")


async def _standing(rest: VenueRest, asked: Asked) -> tuple[Check, ...]:
    began = time.monotonic()
    ahead_ms = await rest.ahead_ms()
    checks = [clock_check(ahead_ms, _doubt_ms(began))]
    checks += await rights(rest, asked.net, asked.ends // _MS)
    checks += account_checks(await rest.asked("/api/v3/account"), asked.markets)
    return tuple(checks)


async def rights(rest: VenueRest, net: str, ends_ms: int = 0) -> list[Check]:
    """Ask what a key may do, and judge it; raises what :class:`~alphatrade.nodes.venue_rest.VenueRest` does."""
    told = await _told(rest, "/sapi/v1/account/apiRestrictions")
    return key_checks(told, await _told(rest, "/sapi/v1/bnbBurn"), net, ends_ms)


async def _told(rest: VenueRest, path: str) -> Any:
    """Return an answer; None: the exchange has no such interface."""
    try:
        return await rest.asked(path)
    except RefusedError as no:
        if no.status == 404:
            return None
        raise
