"""A node that cannot end flat says what is to be done, and where: at an exchange by a command that can be typed."""

import asyncio
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from alphatrade.nodes.app import app
from alphatrade.nodes.kill_app import _root
from alphatrade.nodes.paper import flat
from tests.nodes.make_broker import MARKET


def told(monkeypatch: pytest.MonkeyPatch, broker: Any) -> str:
    """Return what is said where an order cannot be cancelled."""
    monkeypatch.setattr(flat, "ROUNDS", 2)
    monkeypatch.setattr(flat, "ROUND_S", 0.0)
    cache = SimpleNamespace(
        positions_open=list, orders_open=lambda: [object()], orders_inflight=list, instruments=lambda: [MARKET]
    )
    venue = SimpleNamespace(advance=lambda _ts: None, settle=lambda _ts: None)
    node = SimpleNamespace(kernel=SimpleNamespace(cache=cache), trader=SimpleNamespace(strategies=list))
    parts = SimpleNamespace(node=node, venue=venue, broker=broker, intake=SimpleNamespace(tick=lambda _ts: None))
    lines: list[str] = []
    asyncio.run(flat.make_flat(parts, lines.append))
    (line,) = lines
    return line


def test_at_an_exchange_it_names_the_command_with_the_venue_that_it_trades_at(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, command = told(monkeypatch, object()).partition("exchange: ")
    verb, *words = shlex.split(command)[1:]
    assert words == ["--direct", "BTCUSDT", "--venue", "binance_testnet"]
    assert _root(words[-1], "")
    known = {name for one in typer.main.get_command(app).commands[verb].params for name in one.opts}  # type: ignore[attr-defined]
    assert {"--direct", "--venue"} <= known


def test_on_paper_there_is_nothing_to_be_sold_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "TIME", SimpleNamespace(now=0, advance=lambda _ts: None))
    assert told(monkeypatch, None) == "it stops with something open or held"
