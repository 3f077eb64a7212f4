"""Shim: ``alphatrade live``: a policy with real orders, from a permit to a finished run folder."""

import asyncio
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.nodes import stops
from alphatrade.nodes.identity import Identity, code_hash
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.live import handover, preflight, unwatched
from alphatrade.nodes.live.alerts import HELD, Alerts
from alphatrade.nodes.live.anchor import agree
from alphatrade.nodes.live.broker import LiveBroker
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.day_report import DayReport
from alphatrade.nodes.live.estate import Estate
from alphatrade.nodes.live.exchange import LiveExchange, exchange_of
from alphatrade.nodes.live.first import first_permit
from alphatrade.nodes.live.guardian import Duty, Guardian
from alphatrade.nodes.live.permits import Asked, Watch
from alphatrade.nodes.live.settings import LiveSettings
from alphatrade.nodes.live.sides import kept
from alphatrade.nodes.paper.assembly import LiveParts, Parts
from alphatrade.nodes.paper.feeds import LiveFeedSpec
from alphatrade.nodes.paper.flat import remedy
from alphatrade.nodes.paper.link import ANSWER_S, VENUE
from alphatrade.nodes.paper.run import Launch, put_by, say
from alphatrade.nodes.paper.run import paper as node
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.tape import Market as Tape
from alphatrade.nodes.venue_rest import Credentials
from alphatrade.nodes.watchdog import EXTEND_S, sd_notify
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.errors import AlphaTradeError, ConfigError, InUseError, NotFlatError, StoppedError
from alphatrade.risk.gate_live import LIVE
from alphatrade.risk.handover import FILE
from alphatrade.risk.kill import latch_dir
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import NANO, from_atto, to_nano

TRIES, AGAIN_S = 30, 2.0  # of the checks, by a node that goes on while the exchange is away
MOST_S = 60.0  # from one try to the next, where each is to be later than the one before: limits are those of a minute


class Start(NamedTuple):
    """
    What a start has found out.

    Attributes
    ----------
    live : LiveSettings
        With the permit's capital as what the account starts with.
    watch : Watch
    permit : Permit
    first : Permit or None
        With which the run began that this one goes on with; None: it is a new one.
    taking : ToTake or None
        What it has to take over from the run before; None: nothing.
    """

    live: LiveSettings
    watch: Watch
    permit: Permit
    first: Permit | None
    taking: handover.ToTake | None = None


class Outcome(NamedTuple):
    """What a node came to; `switched` says why it is to start again, empty: it is not."""

    result: RunResult
    switched: str


def live(told: LiveSettings) -> Outcome:
    """
    Run a policy with real orders, or go on with a run that was killed; write the run folder.

    Raises
    ------
    ConfigError
        If no permit stands, a check before the start does not hold, or something cannot be asked.
    InputError, LatchedError
        As a run on paper.
    NotFlatError
        Also if it does not start, or ends, with something left that nobody watches then.
    """
    guards: list[Guardian] = []
    try:
        start = _permitted(told)
        result = node(start.live.own, Launch("live", partial(_parts, start, guards)))
        if guards[0].switched:
            stops.held_back()
            if stops.missed():  # asked when no other can come
                raise StoppedError("a stop came before the next node could start")
        elif guards[0].hands_over:
            raise StoppedError("a stop came after it was left, and before the next node could take it over")
        elif (_folder(told) / FILE).exists():
            raise StoppedError("the run is over, and not all that was left to it could be taken over")
    except InUseError:
        raise  # who has it in use watches over it
    except AlphaTradeError as error:
        if isinstance(error, NotFlatError) and not (_folder(told) / FILE).exists():
            Alerts(_folder(told), time.time_ns, lambda _: None).give(HELD, str(error))
            raise
        if words := unwatched.watched_by_nobody(_folder(told), str(error), _command(told)):
            raise NotFlatError(words) from error
        raise
    return Outcome(result, guards[0].switched)


def _folder(told: LiveSettings) -> Path:
    run = told.own.settings.run
    return latch_dir(run.paths.state, run.env.name, told.own.account)


def _command(told: LiveSettings) -> str:
    """Return the command that cancels and sells what the account holds."""
    assert isinstance(told.own.feed, LiveFeedSpec)
    return remedy(LIVE, told.own.account, ",".join(told.own.feed.symbols), told.broker)


def check(told: LiveSettings) -> tuple[preflight.Check, ...]:
    """Return the checks that a start would make, permit and exchange; nothing is started."""
    start = _permitted(told, strict=False)
    found = preflight.Check(
        "permit", start.permit.refused or start.permit.entry, "one that stands", not start.permit.refused
    )
    checks: list[preflight.Check] = [found]

    def parts(tapes: Sequence[Tape], identity: Identity, journal: Path) -> LiveParts:
        raise _CheckedError(_preflight(start, _exchange(start, tapes), _markets(start, tapes)).checks)

    try:
        node(start.live.own, Launch("live", parts))
    except _CheckedError as done:
        checks += done.checks
    return tuple(checks)


class _CheckedError(Exception):
    def __init__(self, checks: tuple[preflight.Check, ...]) -> None:
        super().__init__()
        self.checks = checks


def _permitted(told: LiveSettings, strict: bool = True) -> Start:
    """Look at the ledger; refuse to start anew without a permit that stands, and take its capital for the account's."""
    own, run = told.own, told.own.settings.run
    agree(told.anchor, run.paths.state, ledger_dir())
    folder = latch_dir(run.paths.state, run.env.name, own.account)
    if (beside := put_by(own)) is not None:
        unwatched.tell_held(beside, _command(told), say)
    if strict:
        handover.put_by(folder, own.settings.policy.policy_hash, say)
    first = first_permit(folder / "journal")
    taking = handover.to_take(folder, own.account, goes_on=first is not None)
    assert isinstance(own.feed, LiveFeedSpec)
    names = tuple(f"{symbol}.{VENUE}" for symbol in own.feed.symbols)
    asked = Asked(own.settings.policy.policy_hash, code_hash(), told.broker.venue, own.account, names)
    watch = Watch(told.anchor, asked, folder)
    permit = watch.look()
    if permit.refused and first is None and strict:
        raise ConfigError("permit", permit.refused, "an entry limited_live of two persons: alphatrade permit")
    capital = (first or permit).capital
    if capital:
        venue = run.venue.model_copy(update={"starting_balance": from_atto(capital)})
        run = run.model_copy(update={"venue": venue})
        own = own._replace(settings=own.settings.model_copy(update={"run": run}))
    return Start(told._replace(own=own), watch, permit, first, taking)


def _parts(start: Start, guards: list[Guardian], tapes: Sequence[Tape], identity: Identity, journal: Path) -> LiveParts:
    """Make the checks that the exchange is asked for, and return what makes orders real."""
    own, markets = start.live.own, _markets(start, tapes)
    exchange = _exchange(start, tapes)
    found, odd = _judged(start, exchange, markets)
    spent = start.first.spent if start.first is not None else to_nano(found.spent) * NANO
    fee = to_nano(max(max(one.maker_fee, one.taker_fee) for one in markets))
    folder = _folder(start.live)
    offer, taking = None, start.taking
    if taking is not None and not taking.noted:
        most, units = _asked(start, markets).most, own.settings.policy.risk.order_qty_max
        offer = handover.offered(taking, found.held, markets, most, units)
    about = {
        "policy": identity.policy_hash, "code": identity.code_hash, "run": identity.run_id,
        "venue": start.live.broker.venue, "permit": start.permit.entry,
    }  # fmt: skip
    alerts = Alerts(folder, time.time_ns, say)
    who = handover.Left(own.account, identity.policy_hash, identity.run_id)
    duty = Duty(
        look=_looker(start, spent, fee, odd),
        hear=start.watch.clocks.hear,
        asked=_asked(start, markets),
        every=start.live.guard,
        alerts=alerts,
        report=DayReport(own.settings.run.paths.artifacts, own.account, about, say),
        kept=lambda: kept(journal, markets),
        folder=folder,
        estate=Estate(folder, who, alerts, offer, handover.remedy_of(_command(start.live))),
    )

    def guard(parts: Parts) -> Guardian:
        guards.append(Guardian(parts, duty))
        return guards[-1]

    return LiveParts(exchange, LiveBroker, exchange.approvals, guard)


def _looker(start: Start, spent: int, fee: int, odd: str) -> Callable[[], Permit]:
    """Return what looks at the ledger; `spent` is counted since the first permit of the run begins, and not before."""
    since = (start.first or start.permit).begins

    def look() -> Permit:
        permit = start.watch.look()
        early = f"permit {permit.entry[:12]} begins before the one that this run began with: what was spent is unknown"
        refused = permit.refused or odd or (early if permit.begins < since else "")
        return permit._replace(spent=spent, fee=fee, refused=refused)

    return look


def _judged(start: Start, exchange: LiveExchange, markets: tuple[Market, ...]) -> tuple[preflight.Found, str]:
    """
    Return what was found, and why a run that goes on must send nothing but what closes it.

    Raises
    ------
    ConfigError
        If a new run must not start.
    """
    for left in range(TRIES)[::-1]:
        try:
            found = _preflight(start, exchange, markets)
            preflight.require(found.checks)
            return found, ""
        except ConfigError as error:
            away, over = isinstance(error, preflight.AwayError), start.first is None
            if over and (start.taking is None or not away or not left):
                raise  # what was left to it is worth waiting for
            _wait(error, _again_s(error, TRIES - left) if away and left else 0.0, _folder(start.live))
            if not away or not left:
                say(f"it goes on, to close what is open: {error}")
                return preflight.Found((), Decimal(0)), str(error)
    raise AssertionError("one of the tries has returned or raised")


def _again_s(error: ConfigError, tries: int) -> float:
    """Return how long to wait after so many tries for an exchange that does not say it."""
    later = isinstance(error, preflight.AwayError) and error.ever_later
    return min(AGAIN_S * 2.0 ** (tries - 1), MOST_S) if later else AGAIN_S


def _wait(error: ConfigError, least_s: float, folder: Path) -> None:
    """Wait as long as an exchange has asked for, whatever is done then: who asks earlier makes a ban longer."""
    wait_s = max(error.wait_s if isinstance(error, preflight.AwayError) else 0.0, least_s)
    if wait_s:
        say(f"nothing is asked for {wait_s:g} s: {error}")
        sd_notify(f"EXTEND_TIMEOUT_USEC={int((wait_s + EXTEND_S) * 1e6)}\nSTATUS=waiting for the exchange")
        stops.waited(wait_s, folder)


def _preflight(start: Start, exchange: LiveExchange, markets: tuple[Market, ...]) -> preflight.Found:
    keys = Secrets(start.live.broker.secrets_dir).read(exchange.keys)
    held = exchange.held(Credentials(keys.api_key.get_secret_value(), keys.api_secret.get_secret_value()))

    async def run() -> preflight.Found:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            rest = exchange.reader(session, held)
            found = await preflight.preflight(rest, _asked(start, markets))
            start.watch.clocks.hear(await preflight.certainly_ahead_ms(rest))
            return found

    return asyncio.run(run())


def _asked(start: Start, markets: tuple[Market, ...]) -> preflight.Asked:
    own, permit, taking = start.live.own, start.first or start.permit, None if start.first else start.taking
    capital = from_atto(permit.capital)
    return preflight.Asked(
        net=start.live.broker.venue, markets=markets, capital=capital,
        most=capital * Decimal(repr(own.settings.policy.risk.order_notional_max)),
        begins=permit.begins, ends=start.permit.ends, again=start.first is not None,
        held=() if taking is None else taking.held, since=0 if taking is None else taking.since,
    )  # fmt: skip


def _exchange(start: Start, tapes: Sequence[Tape]) -> LiveExchange:
    broker = start.live.broker
    approvals = Approvals(fresh_key(), time.monotonic_ns)
    names = tuple(InstrumentId.from_str(tape.instrument.id) for tape in tapes)
    kind = exchange_of(broker.kind)
    return kind(broker.http, broker.ws_api, names, broker.keys, approvals=approvals, mainnet=not broker.testnet)


def _markets(start: Start, tapes: Sequence[Tape]) -> tuple[Market, ...]:
    venue = start.live.own.settings.run.venue
    specs = [venue.priced(tape.instrument) for tape in tapes]
    return tuple(
        Market(one.symbol, one.base, one.quote, Decimal(one.tick), Decimal(one.lot), Decimal(one.maker_fee),
               Decimal(one.taker_fee))
        for one in specs
    )  # fmt: skip
