"""A permit is an input of a live node: kept in its journal, in its record, and the same run is made from both again."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from alphatrade.nodes import feedback
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.risk import gate_exploration
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.permit import Permit, permit_of
from alphatrade.risk.units import ATTO
from tests.nodes.make_paper import digests
from tests.nodes.make_permit import flown_live, own, permit_for

PERMIT = Permit(
    "e" * 64, instruments=("X", "Y"), capital=1000 * ATTO, ends=2**62, spent=-(2**80), refused="odd <words>"
)


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        pd.read_parquet(folder / "risk_events.parquet").query(f"kind == '{kind}'").to_dict("records")
    )
    return found


def opened(folder: Path) -> pd.DataFrame:
    orders = pd.read_parquet(folder / "orders.parquet")
    return orders[(orders["event"] == "submitted") & (orders["side"] == "BUY")]


def test_the_journal_gives_a_permit_back(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        recorder = Recorder(journal, ["EUR/USD.SIM"])
        recorder.tick(5)
        recorder.permit(PERMIT)
        recorder.flush()
        found = [one for _, kind, payload in journal.records() for one in recorder.read(kind, payload)]
    assert found == [5, PERMIT]


def test_a_run_with_a_permit_is_made_again_from_its_journal(tmp_path: Path) -> None:
    made = own()
    permit = permit_for(made)
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        flown_live(made, tmp_path / "was", lambda parts: parts.intake.permit(permit), journal=journal)
        flown_live(made, tmp_path / "again", None, journal=journal)
    assert len(opened(tmp_path / "was")) > 10
    assert set(opened(tmp_path / "was")["type"]) == {"LIMIT"}, "nothing is opened without a price"
    (row,) = rows(tmp_path / "was", "permit")
    assert permit_of(json.loads(row["detail"])) == permit
    assert digests(tmp_path / "again") == digests(tmp_path / "was")


def test_without_a_permit_nothing_is_sent(tmp_path: Path) -> None:
    flown_live(own(), tmp_path / "run", None)
    orders = pd.read_parquet(tmp_path / "run" / "orders.parquet")
    assert "submitted" not in set(orders["event"])
    assert {row["limit"] for row in rows(tmp_path / "run", "denied")} == {"NO_PERMIT"}


def test_a_permit_that_is_not_journalled_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "permit", lambda *_: None)  # mutation
    made = own()
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        flown_live(made, tmp_path / "was", lambda parts: parts.intake.permit(permit_for(made)), journal=journal)
        flown_live(made, tmp_path / "again", None, journal=journal)
    assert digests(tmp_path / "again") != digests(tmp_path / "was")


def refused_at(made: Any, count: int) -> Any:
    """Give a permit, and take it back with the `count`-th market event: an input between two others."""

    def give(parts: Parts) -> None:
        intake, take = parts.intake, parts.intake.take
        intake.permit(permit_for(made))

        def taken(data: Any) -> None:
            take(data)
            if intake.events == count:
                intake.permit(permit_for(made, refused="revoked by ada: enough"))

        intake.take = taken  # type: ignore[method-assign]

    return give


def test_one_that_is_taken_back_stops_the_node_and_flattens(tmp_path: Path) -> None:
    made = own()
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        flown_live(made, tmp_path / "was", refused_at(made, 900), journal=journal)
        flown_live(made, tmp_path / "again", None, journal=journal)
    kill, taken = rows(tmp_path / "was", "kill")[0], rows(tmp_path / "was", "permit")[1]
    assert (kill["limit"], kill["detail"]) == ("PERMIT", "revoked by ada: enough (by ledger)")
    orders = pd.read_parquet(tmp_path / "was" / "orders.parquet")
    late = orders[(orders["seq"] > taken["seq"]) & (orders["event"] == "submitted")]
    assert all(name.startswith("LAW-") for name in late["order_id"])
    fills = pd.read_parquet(tmp_path / "was" / "fills.parquet")
    assert float(fills["position_after"].iloc[-1]) == 0.0
    assert digests(tmp_path / "again") == digests(tmp_path / "was")


def test_a_permit_in_another_currency_permits_nothing(tmp_path: Path) -> None:
    made = own()
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        give = permit_for(made, currency="BTC")
        flown_live(made, tmp_path / "run", lambda parts: parts.intake.permit(give), journal=journal)
    assert opened(tmp_path / "run").empty
    (row,) = rows(tmp_path / "run", "kill")
    assert row["detail"].startswith("a permit in BTC, and the account counts in ")


def test_no_feedback_changes_a_policy_that_was_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = own()
    on = made.model_copy(update={"run": made.run.model_copy(update={"governed_feedback": True})})
    with pytest.raises(ConfigError, match="governed_feedback: got True, expected false in live"):
        taken_up(on)
    assert taken_up(made) is made
    monkeypatch.setattr(feedback, "LOCKED", frozenset())  # mutation
    assert taken_up(on) is on


@pytest.mark.parametrize("locked", [True, False])
def test_exploration_is_nothing_in_live_whatever_the_flag_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    if not locked:
        monkeypatch.setattr(gate_exploration, "LOCKED", frozenset())  # mutation
    made = own("exploration=true", "explore.every=2", "explore.share=0.5", "explore.probability=1.0")
    flown_live(made, tmp_path / "run", lambda parts: parts.intake.permit(permit_for(made)))
    assert bool(rows(tmp_path / "run", "explored")) != locked
    assert len(opened(tmp_path / "run")) > 0
