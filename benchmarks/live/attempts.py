"""Attempts to get an order to an exchange past what has to let it through: what arrives there, and what is booked.

The client is the bundled one, behind its door, at an exchange on loopback. Each kind is tried many times over; of none
may a request arrive that could move something, and none may go unnoticed.
"""

import asyncio
import atexit
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tqdm import tqdm

from alphatrade.nodes.evaluate import MEMORY
from alphatrade.risk.approval import APPROVAL_NS, Approvals, fresh_key
from alphatrade.risk.gate_live import terms_of
from benchmarks.figures import Figure
from benchmarks.live import words
from benchmarks.live.caps import CAPS, capped
from benchmarks.live.forgeries import FORGERIES, Desk, based, ordered
from tests.reflection.make_permits import Pair
from tests.venue.make_door import POST, Behind, behind
from tests.venue.make_venue import running
from tests.venue.test_live_door import CHANGES, WAYS, tried

COMMAND = "python -m benchmarks.live --only attempts"
SLOW = {"words": 10, "processes": 1}  # a fifth of a second each, and seconds: so many of each kind
LATER_S = 0.5  # in which what is still on its way has come
Kind = Callable[[Behind, random.Random], Awaitable[object]]


class Tally(NamedTuple):
    """
    What came of a kind of attempts.

    Attributes
    ----------
    layer, kind : str
    tried : int
    arrived : int
        Requests that came to the exchange and could have moved something.
    booked : int
        Orders that are in its books.
    unnoticed : int
        Attempts that are not counted among what was refused.
    """

    layer: str
    kind: str
    tried: int
    arrived: int
    booked: int
    unnoticed: int

    @property
    def wrong(self) -> bool:
        """Whether something got through, or was not noticed."""
        return bool(self.arrived or self.booked or self.unnoticed)


# -- doors: every way out of the bundled client, without an approval


def _way(name: str) -> Kind:
    return lambda one, _: tried(one, name)


# -- tokens: an approval, and something that is wrong with it


async def sent(one: Behind, order: Any) -> None:
    """Send an order by the client's own way."""
    with suppress(Exception):  # refused, in whatever words
        await one.client._submit_limit_order(order, None, None, False)


async def no_token(one: Behind, _: random.Random) -> None:
    order = one.order()
    one.approvals.approve(terms_of(order))
    await sent(one, order)


async def of_another(one: Behind, _: random.Random) -> None:
    order, other = one.order(), one.order("28000")
    one.approvals.approve(terms_of(order))
    one.approvals.present(order.client_order_id.value, one.approvals.approve(terms_of(other)))
    await sent(one, order)


async def forged(one: Behind, rng: random.Random) -> None:
    order = one.order()
    token, at = one.approvals.approve(terms_of(order)), rng.randrange(64)
    digit = rng.choice([one for one in "0123456789abcdef" if one != token[at]])
    one.approvals.present(order.client_order_id.value, token[:at] + digit + token[at + 1 :])
    await sent(one, order)


async def of_another_process(one: Behind, _: random.Random) -> None:
    order, other = one.order(), Approvals(fresh_key(), time.monotonic_ns)
    one.approvals.approve(terms_of(order))
    one.approvals.present(order.client_order_id.value, other.approve(terms_of(order)))
    await sent(one, order)


async def withdrawn(one: Behind, _: random.Random) -> None:
    order = one.order()
    one.approved(order)
    one.approvals.void("a trip")
    await sent(one, order)


async def after_a_trip(one: Behind, _: random.Random) -> None:
    order, late = one.order(), one.approvals.late
    one.approved(order)
    one.approvals.late = lambda order_id: "REDUCING"
    await sent(one, order)
    one.approvals.late = late


def _clock(shift: int) -> Kind:
    async def kind(one: Behind, _: random.Random) -> None:
        order, clock = one.order(), one.approvals._clock
        one.approved(order)
        one.approvals._clock = lambda: clock() + shift
        await sent(one, order)
        one.approvals._clock = clock

    return kind


def _changed(name: str) -> Kind:
    async def kind(one: Behind, _: random.Random) -> None:
        order = one.order()
        one.approved(order)
        fields = one.fields(order.client_order_id.value) | CHANGES[name]
        if fields["type"] == "LIMIT_MAKER":
            del fields["timeInForce"]
        with suppress(Exception):
            await one.http.sign_request(POST, "/api/v3/order", fields)

    return kind


TWISTS: Mapping[str, Callable[[str], str]] = {
    "quantity twice": lambda query: f"{query}&quantity=1",
    "quantity twice, the other first": lambda query: query.replace("quantity=0.01", "quantity=1&quantity=0.01"),
    "a name in percent": lambda query: query.replace("quantity", "quantit%79"),
    "a value in percent": lambda query: query.replace("BTCUSDT", "BTC%55SDT"),
    "a semicolon": lambda query: query.replace("quantity=0.01", "quantity=0.01;quantity=1"),
    "an empty field": lambda query: f"{query}&price=",
    "a signature first": lambda query: f"signature=x&{query}",
}


def _twisted(name: str) -> Kind:
    async def kind(one: Behind, _: random.Random) -> None:
        order = one.order()
        one.approved(order)
        query = TWISTS[name](urlencode(one.fields(order.client_order_id.value)))
        with suppress(Exception):
            await one.http._client.request(POST, url=f"{one.venue.http}/api/v3/order?{query}&signature=x")

    return kind


class Replayed:
    """An order that has left, rightly, and is sent again: the first time is not counted."""

    def __init__(self, price: str) -> None:
        self._price, self._order = price, None

    async def before(self, one: Behind) -> None:
        """Send it, and cancel what rests."""
        self._order = one.order(self._price)
        one.approved(self._order)
        await sent(one, self._order)
        with suppress(Exception):
            await one.account.cancel_all_open_orders("BTCUSDT")

    async def __call__(self, one: Behind, _: random.Random) -> None:
        """Send it again."""
        await sent(one, self._order)


def kinds() -> dict[str, dict[str, Kind]]:
    """Return every kind by its layer."""
    tokens: dict[str, Kind] = {
        "no token": no_token, "token of another order": of_another, "a digit changed": forged,
        "token of another process": of_another_process, "withdrawn": withdrawn, "after a trip": after_a_trip,
        "five seconds later": _clock(APPROVAL_NS + 1), "clock set back": _clock(-(10**9)),
        "replayed after a cancel": Replayed("29000"), "replayed after a rejection": Replayed("29000.001"),
    }  # fmt: skip
    tokens |= {f"another {name}": _changed(name) for name in CHANGES}
    tokens |= {name: _twisted(name) for name in TWISTS}
    permits = {name: _permit(forgery) for name, forgery in FORGERIES.items()}
    caps: dict[str, Kind] = {name: capped(name) for name in CAPS}
    return {
        "doors": {name: _way(name) for name in WAYS},
        "tokens": tokens,
        "permits": permits,
        "caps": caps,
        **words.kinds(),
    }


# -- permits: whatever is in the ledger, and an order by it


def _permit(forgery: Callable[[Desk], object]) -> Kind:
    async def kind(one: Behind, rng: random.Random) -> None:
        desk = Desk(_base(), rng)
        try:
            forgery(desk)
            await ordered(one, desk.look(), desk.wall())
        finally:
            shutil.rmtree(desk.root)

    return kind


@cache
def _base() -> Pair:
    """Return the ledger that all forgeries begin with; it goes with the process."""
    folder = Path(mkdtemp(prefix="alphatrade-forgeries-", dir=MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return based(folder)


def attempts(wanted: int, seed: int = 1) -> list[Tally]:
    """Make so many attempts at an exchange of its own, of every kind; fewer of those that take long."""
    found: list[Tally] = []
    with running() as venue:
        venue.quote(30_000, 30_001)
        venue.tell("limits", orders=10_000_000, weight=100_000_000)
        named = kinds()
        for layer, times in shares(wanted, {layer: len(of) for layer, of in named.items()}).items():
            behind(venue, _scenario(layer, named[layer], times, random.Random(seed), found))
        assert not venue.look("books")["audit"]
    return found


def shares(wanted: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return how often each kind of a layer is tried: of the slow ones as told, at most; the others make up for it."""
    quick = sum(size for layer, size in sizes.items() if layer not in SLOW)
    most = -(-wanted // sum(sizes.values()))
    slow = {layer: min(times, most) for layer, times in SLOW.items() if layer in sizes}
    left = wanted - sum(slow[layer] * sizes[layer] for layer in slow)
    return {layer: slow.get(layer) or max(1, -(-left // quick)) for layer in sizes}


def _scenario(
    layer: str, named: Mapping[str, Kind], times: int, rng: random.Random, found: list[Tally]
) -> Callable[[Behind], Awaitable[None]]:
    async def scenario(one: Behind) -> None:
        for name, kind in tqdm(named.items(), desc=layer, unit="kind", disable=None):
            if isinstance(kind, Replayed):
                await kind.before(one)
            arrived, booked, before = one.posts(), len(one.orders()), refused(one.approvals)
            seen = sum([await kind(one, rng) is True for _ in range(times)])
            unnoticed = max(0, times - seen - (refused(one.approvals) - before))
            found.append(Tally(layer, name, times, one.posts() - arrived, len(one.orders()) - booked, unnoticed))
        arrived, booked = one.posts(), len(one.orders())
        await asyncio.sleep(LATER_S)
        found.append(Tally(layer, "later", 0, one.posts() - arrived, len(one.orders()) - booked, 0))

    return scenario


def refused(approvals: Approvals) -> int:
    """Return how often something was refused, for whatever reason."""
    return sum(count for why, count in approvals.counts.items() if why not in ("approved", "presented", "redeemed"))


def figures(tallies: list[Tally], wanted: int) -> list[Figure]:
    """Return the figures of all attempts; of a kind that got through, a row of its own."""
    tried_, arrived = sum(one.tried for one in tallies), sum(one.arrived for one in tallies)
    booked, unnoticed = sum(one.booked for one in tallies), sum(one.unnoticed for one in tallies)
    layers = ", ".join(f"{layer} {sum(one.tried for one in tallies if one.layer == layer):,}" for layer in kinds())
    what = f"sandbox: attempts past the gate, of {sum(one.tried > 0 for one in tallies)} kinds ({layers})"
    rows = [
        Figure("live.tried", what, tried_, "attempts", f">= {wanted}", tried_ >= wanted, tried_, None, COMMAND),
        _none("live.attempts", "sandbox: orders of those in the exchange's books", booked, "orders", tried_),
        _none("live.arrived", "sandbox: requests of those that came to the exchange", arrived, "requests", tried_),
        _none("live.unnoticed", "sandbox: of those, not counted as refused", unnoticed, "attempts", tried_),
    ]  # fmt: skip
    return rows + [_row(one) for one in tallies if one.wrong]


def _row(one: Tally) -> Figure:
    name, through = f"live.attempts.{one.layer}.{one.kind}", one.arrived + one.booked + one.unnoticed
    return _none(name, f"sandbox: got through, or not counted: {one.kind}", through, "times", one.tried)


def _none(name: str, what: str, count: int, unit: str, n: int) -> Figure:
    return Figure(name, what, count, unit, "== 0", count == 0, n, None, COMMAND)
