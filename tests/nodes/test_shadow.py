"""In the shadow orders are decided and judged, and none leaves: not by the law, and if it did, the node would stop."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper.run import paper
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.nodes.paper.venue import PaperVenue
from alphatrade.nodes.result import RunResult
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate_commands import Commands
from tests.nodes.make_paper import SHORT

COMMANDS = ("submit_order", "submit_order_list", "modify_order", "cancel_order", "cancel_all_orders")


def flown(folder: Path, *words: str) -> RunResult:
    places = (f"paths.artifacts={folder}/artifacts", f"paths.state={folder}/state")
    pace = () if "feed=binance" in words else ("feed.speed=max",)
    return paper(
        run_config(
            "paper",
            [*SHORT, *pace, "output.report=false", "metrics.enabled=false", *places, *words],
            "paper",
            paper_settings,
        )
    )


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the commands that a venue has had."""
    found: list[str] = []
    for name in COMMANDS:
        stock = getattr(PaperVenue, name)

        def spy(self: Any, command: Any, name: str = name, stock: Any = stock) -> None:
            found.append(name)
            stock(self, command)

        monkeypatch.setattr(PaperVenue, name, spy)
    return found


def table(run: RunResult, name: str) -> pd.DataFrame:
    return pd.read_parquet(run.path / f"{name}.parquet")


def test_orders_are_judged_and_none_is_sent(tmp_path: Path, taken: list[str]) -> None:
    shadow = flown(tmp_path / "a", "env=live-shadow")
    assert taken == []
    orders, events = table(shadow, "orders"), table(shadow, "risk_events")
    held = events[events["kind"] == "shadow"]
    assert shadow.summary["shadow"] == len(held) > 10
    assert set(orders["event"]) == {"initialized", "denied"}
    reasons = orders.loc[orders["event"] == "denied"].set_index("order_id")["reason"]
    assert reasons[held["order_id"]].str.startswith("SHADOW").all()
    assert shadow.summary["denied"] == (~reasons.str.startswith("SHADOW")).sum()
    assert len(table(shadow, "fills")) == 0
    assert shadow.summary["pnl"] == "0"
    assert (shadow.summary["killed"], shadow.summary["env"]) == (None, "live-shadow")
    assert audit(shadow.path).ok
    assert (tmp_path / "a" / "state" / "live-shadow" / "SIM").is_dir(), "a kill switch of its own"

    sent = flown(tmp_path / "b")
    assert taken
    first, would = table(sent, "orders").iloc[0], orders.iloc[0]
    names = ["ts", "instrument", "side", "type", "qty", "price"]
    assert first[names].to_dict() == would[names].to_dict()
    assert "shadow" not in sent.summary


def test_an_exchange_has_nothing_to_execute(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the shadow"):
        flown(tmp_path, "env=live-shadow", "feed=binance", "feed.testnet=true", "broker.kind=binance")


def test_an_order_that_left_all_the_same_stops_trading(
    tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: what is let through is not held."""
    monkeypatch.setattr(Commands, "withhold", lambda self, command: self.gate.run_command(command))
    shadow = flown(tmp_path, "env=live-shadow")
    assert taken
    assert shadow.summary["killed"].startswith("order ")
    events = table(shadow, "risk_events")
    assert "TRIPWIRE" in set(events.loc[events["kind"] == "tripwire", "limit"])
