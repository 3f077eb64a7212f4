"""Where a paper node hears and where its orders go is one place, and never the one where money is."""

import re

import pytest

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper import settings
from alphatrade.nodes.paper.settings import PaperSettings, paper_settings
from alphatrade.risk.errors import ConfigError

TESTNET = ("feed=binance", "feed.testnet=true", "broker=binance", "venue.account=cash")
HERE = "http://127.0.0.1:8080", "ws://127.0.0.1:8080", "ws://127.0.0.1:8080/ws-api/v3"
LOOPBACK = (
    "feed=binance", f"feed.http={HERE[0]}", f"feed.ws={HERE[1]}",
    "broker=binance", f"broker.http={HERE[0]}", f"broker.ws_api={HERE[2]}", "venue.account=cash",
)  # fmt: skip
ELSEWHERE = [
    "https://api.binance.com",
    r"http://api.binance.com\@127.0.0.1:80/",
    r"https://api.binance.com\@127.0.0.1/..",
    "http://127.0.0.1:80@api.binance.com/",
    "http://127.0.0.1.example.com:80",
    "http://127.0.0.1",
    "ftp://127.0.0.1:80",
    "//127.0.0.1:80",
    "http://localhost:80/?x=@api.binance.com",
    "http://127.0.0.1:80/#@api.binance.com",
    "http://127.0.0.1:80\t.example.com",
]


def made(*words: str) -> PaperSettings:
    return run_config("paper", list(words), "paper", paper_settings)


def test_the_testnet_and_an_exchange_on_this_machine_are_places() -> None:
    assert made(*TESTNET).broker.place == "binance testnet"
    assert made(*LOOPBACK).broker.place == "binance on loopback"
    assert made().broker.place == "simulated"


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("key", ["http", "ws_api"])
def test_orders_have_no_way_to_another_machine(address: str, key: str) -> None:
    with pytest.raises(ValueError, match="on this machine"):
        settings.BrokerSpec(kind="binance", **{key: address})


def test_an_address_is_not_left_to_a_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: it only has to begin as one of this machine."""
    monkeypatch.setattr(settings, "LOCAL", re.compile(r"http://127\.0\.0\.1.*"))
    assert settings.BrokerSpec(kind="binance", http="http://127.0.0.1:80@api.binance.com/").http is not None


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("broker=binance",), "broker"),
        (("feed=binance", "broker=binance", "venue.account=cash"), "feed.testnet"),
        ((*TESTNET, "+feed.fallback={source:binance}"), "feed.fallback.testnet"),
        ((*TESTNET, "feed.http=https://api.binance.com", "feed.ws=wss://stream.binance.com:443"), "feed.testnet"),
        ((*TESTNET, f"broker.http={HERE[0]}"), "broker.ws_api"),
        ((*TESTNET, f"broker.http={HERE[0]}", f"broker.ws_api={HERE[2]}"), "feed.http"),
        ((*LOOPBACK, "+feed.fallback={source:binance,testnet:true}"), "feed.fallback.http"),
        ((*TESTNET[:3], "venue.account=margin"), "venue.account"),
        ((*TESTNET, "journal=false"), "journal"),
        ((*TESTNET, "env=live-shadow"), "broker"),
    ],
)
def test_an_exchange_executes_only_where_everything_else_fits(words: tuple[str, ...], field: str) -> None:
    words = tuple(word.removeprefix("+") for word in words)
    with pytest.raises(ConfigError) as caught:
        made(*words)
    assert str(caught.value).startswith(f"{field}: ")


def test_a_journal_knows_its_place() -> None:
    assert made(*TESTNET).feed.identity() != made("feed=binance").feed.identity()  # type: ignore[union-attr]
