"""A node that cannot end flat says what is to be done, and where: at an exchange by a command that can be typed."""

import asyncio
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from alphatrade.nodes.app import app
from alphatrade.nodes.kill_app import _root
from alphatrade.nodes.live.settings import LiveBrokerSpec
from alphatrade.nodes.paper import flat
from alphatrade.nodes.paper.settings import BrokerSpec


@pytest.mark.parametrize("broker", [None, object()])
def test_what_cannot_be_cancelled_is_told(monkeypatch: pytest.MonkeyPatch, broker: Any) -> None:
    monkeypatch.setattr(flat, "ROUNDS", 2)
    monkeypatch.setattr(flat, "ROUND_S", 0.0)
    monkeypatch.setattr(flat, "TIME", SimpleNamespace(now=0, advance=lambda _ts: None))
    cache = SimpleNamespace(positions_open=list, orders_open=lambda: [object()], orders_inflight=list)
    venue = SimpleNamespace(advance=lambda _ts: None, settle=lambda _ts: None)
    node = SimpleNamespace(kernel=SimpleNamespace(cache=cache), trader=SimpleNamespace(strategies=list))
    parts = SimpleNamespace(node=node, venue=venue, broker=broker, intake=SimpleNamespace(tick=lambda _ts: None))
    lines: list[str] = []
    assert not asyncio.run(flat.make_flat(parts, lines.append))
    assert lines == ["it stops with something open or held"]


PLACES = {
    "paper at the testnet": (BrokerSpec(kind="binance"), ["--venue", "binance_testnet"]),
    "real money": (
        LiveBrokerSpec(net="mainnet", secrets_dir=Path("/my keys")),
        ["--venue", "binance_live", "--secrets-dir", "/my keys"],
    ),
    "a sandbox": (
        LiveBrokerSpec(http="http://127.0.0.1:1"),
        ["--venue", "binance_testnet", "--url", "http://127.0.0.1:1"],
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_command_names_account_venue_and_keys_of_the_node(place: str) -> None:
    broker, where = PLACES[place]
    verb, *words = shlex.split(flat.remedy("live", "PILOT", "BTCUSDT", broker))[1:]
    assert words == ["--env", "live", "--account", "PILOT", "--direct", "BTCUSDT", *where]
    assert _root(broker.keys, broker.http or "")
    known = {name for one in typer.main.get_command(app).commands[verb].params for name in one.opts}  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("--")} <= known
