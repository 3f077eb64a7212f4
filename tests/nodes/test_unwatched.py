"""What a journal that is over still holds is an alert, with the command that sells it; what was sold is none."""

import json
from pathlib import Path

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderType
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, TradeId, VenueOrderId
from nautilus_trader.model.objects import Money, Price, Quantity

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.live.unwatched import tell_held
from alphatrade.nodes.paper.inputs import Recorder
from tests.nodes.make_broker import ACCOUNT, NAME, STRATEGY, TRADER

SPEC = {
    "symbol": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "lot": "0.00001", "maker_fee": "0.001", "taker_fee": "0.001",
}  # fmt: skip


def journal(account: Path, *fills: tuple[str, str], **head: object) -> Path:
    """Write the journal of a run that has taken 0.001 over and traded since, fees in what it has bought."""
    path = account / "journal-until-release-1"
    with Journal.open(path, {"run": "ab12", "markets": [{"instrument": SPEC}]} | head) as made:
        recorder = Recorder(made, [])
        for number, (side, qty) in enumerate([("HANDOVER-1", "0.001"), *fills]):
            name = side if side.startswith("HANDOVER") else f"O-{number}"
            fee = Money(0, USDT) if number == 0 or side == "SELL" else Money(float(qty) / 1000, BTC)
            recorder.broker(OrderFilled(
                TRADER, STRATEGY, NAME, ClientOrderId(name), VenueOrderId(f"{number}"), ACCOUNT, TradeId(f"{number}"), None,
                OrderSide.SELL if side == "SELL" else OrderSide.BUY, OrderType.LIMIT, Quantity.from_str(qty),
                Price.from_str("30000.00"), USDT, fee, LiquiditySide.MAKER, UUID4(), 1, 1,
            ))  # fmt: skip
    return path


def told(path: Path, remedy: str) -> str:
    """Return what is said of it."""
    said = list[str]()
    tell_held(path, remedy, said.append)
    return "".join(said).removeprefix("ALERT held: ")


def alerts(account: Path) -> list[tuple[str, str]]:
    try:
        lines = (account / "alerts.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(one["kind"], one["words"]) for one in map(json.loads, lines)]


def test_what_it_has_bought_and_taken_over_and_not_sold_is_told(tmp_path: Path) -> None:
    words = told(journal(tmp_path, ("BUY", "0.002"), ("SELL", "0.0005")), "alphatrade kill --direct")
    assert "watched by nobody: 0.002498 of BTCUSDT; if it is there still" in words
    assert words.endswith("cancel and sell it: alphatrade kill --direct")
    assert alerts(tmp_path) == [("held", words)]


def test_what_is_sold_but_for_dust_is_no_alert(tmp_path: Path) -> None:
    assert told(journal(tmp_path, ("BUY", "0.002"), ("SELL", "0.00299")), "sell") == ""
    assert alerts(tmp_path) == []


@pytest.mark.parametrize("markets", [None, [], [{}], [{"instrument": {"symbol": "BTCUSDT"}}], [{"instrument": SPEC | {"lot": "x"}}]])
def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path, markets: object) -> None:
    words = told(journal(tmp_path, ("BUY", "0.002"), markets=markets), "sell")
    assert "nobody knows what" in words
    assert "\n" not in words
    assert alerts(tmp_path) == [("held", words)]


def test_one_that_is_torn_is_told(tmp_path: Path) -> None:
    path = journal(tmp_path, ("BUY", "0.002"))
    first = min(path.glob("*.journal"))
    first.write_bytes(b"torn" + first.read_bytes()[4:])
    assert "nobody knows what" in told(path, "sell")
