"""What a node with real orders puts in place of what a node on paper has; and on paper tokens change nothing."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.identifiers import TraderId

from alphatrade.nodes.paper import assembly
from alphatrade.nodes.paper.assembly import Flight, LiveParts
from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.link import KEYS, Exchange, Link
from alphatrade.nodes.paper.settings import BrokerSpec
from alphatrade.nodes.secrets import Keys, Secret, Secrets
from alphatrade.risk.approval import Approvals, fresh_key
from tests.nodes.make_paper import SHORT, digests, flown, replayed, settings


class Own(Broker):
    """A broker of another kind."""


class Elsewhere(Exchange):
    """An exchange that says itself how its books are read."""

    def reader(self, session: Any, credentials: Any) -> Any:
        async def account() -> str:
            return f"read with {credentials.key}"

        return SimpleNamespace(account=account, session=session)


class Ring(Secrets):
    """A keyring that notes which keys it was asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked: list[str] = []

    def changed(self, venue: str) -> bool:
        self.asked.append(venue)
        return False

    def read(self, venue: str) -> Keys:
        self.asked.append(venue)
        return Keys.model_construct(api_key=Secret("k" * 16), api_secret=Secret("s" * 16))


NO_STOPS = ("policy.router.table.down-high=flat", "policy.router.table.up-high=flat")  # no exchange takes any from us
ELSEWHERE = Elsewhere(None, None, (), "elsewhere")


def parts() -> LiveParts:
    return LiveParts(ELSEWHERE, Own, Approvals(fresh_key(), time.monotonic_ns))


def test_on_paper_a_token_for_each_order_changes_no_byte(tmp_path: Path) -> None:
    own, live = settings(*SHORT, *NO_STOPS), parts()
    replayed(own, tmp_path / "sim")
    assert flown(own, tmp_path / "paper", live=live).fills > 0
    assert digests(tmp_path / "paper") == digests(tmp_path / "sim")
    assert set(live.approvals.counts) == {"approved"}
    assert live.approvals.counts["approved"] > 10


@pytest.mark.parametrize("live", [True, False])
def test_orders_go_by_the_broker_and_to_the_exchange_that_are_given(live: bool) -> None:
    async def run() -> Any:
        made: list[Any] = []
        flight = Flight(broker=BrokerSpec(kind="binance"), live=parts() if live else None)
        factory: Any = assembly._execution(SimpleNamespace(tapes=[]), flight, made)  # type: ignore[arg-type]
        clock = LiveClock()
        bus = MessageBus(trader_id=TraderId("T-001"), clock=clock)
        factory.create(asyncio.get_running_loop(), "BINANCE", None, bus, Cache(), clock)
        return made[0]

    broker = asyncio.run(run())
    assert type(broker) is (Own if live else Broker)
    assert broker._link._exchange is ELSEWHERE if live else broker._link._exchange.keys == KEYS


def test_an_exchange_says_which_keys_are_its_own_and_how_its_books_are_read() -> None:
    async def run() -> Any:
        ring, nothing = Ring(), None
        link = Link(ELSEWHERE, ring, nothing, nothing, nothing, print)  # type: ignore[arg-type]
        credentials = link._read()
        rest = await link._admitted(credentials)
        assert link._newer() is None
        await link.end()
        return await rest.account(), ring.asked

    told, asked = asyncio.run(run())
    assert told == "read with " + "k" * 16
    assert asked == ["elsewhere", "elsewhere"]
