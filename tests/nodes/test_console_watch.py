"""What the console sees of the ledger: its latest entries, what waits for a person, and that it is damaged."""

import time
from pathlib import Path

import pytest

from alphatrade.nodes import operator
from alphatrade.nodes.beats import Beat, BeatWriter
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.console.watch import Seen, Watch
from alphatrade.nodes.console.words import words
from alphatrade.nodes.ledger_home import home, ledger_dir
from alphatrade.nodes.metrics import Reading
from alphatrade.nodes.metrics_server import served
from alphatrade.risk.kill import latch_dir
from tests.reflection.make_proposal import proposal, ruling


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    return Place(tmp_path, "paper", "SIM", "")


def seen(place: Place) -> Seen:
    return Watch(place, "http://127.0.0.1:9/metrics").look()


def test_a_proposal_waits_until_somebody_has_decided(place: Place) -> None:
    own, waits = home(), proposal()
    own.append("proposal", waits)
    (one,) = seen(place).proposals
    assert (one.id, one.waits, one.why) == (waits["id"], False, waits["rationale"])
    own.append("ruling", ruling(waits, "signoff"))
    (one,) = seen(place).proposals
    assert (one.waits, "waits for a person" in one.words) == (True, True)
    operator.sign_off(waits["id"], False, "ann", "too soon")
    found = seen(place)
    assert (found.proposals[0].waits, "refused" in found.proposals[0].words) == (False, True)
    assert [kind for _, kind, _ in found.ledger[:3]] == ["signoff", "operator", "ruling"], "the latest first"


def test_a_ledger_that_is_damaged_is_said_and_the_rest_is_shown(place: Place) -> None:
    home()
    file = ledger_dir() / "ledger.jsonl"
    file.write_bytes(file.read_bytes().replace(b"genesis", b"genisis", 1))
    found = seen(place)
    assert [kind for _, kind, _ in found.ledger] == ["damaged"]
    assert words(found, place, 0)["note"] == "no node has run for paper/SIM"


@pytest.mark.parametrize(("env", "account"), [("paper", "OTHER"), ("live", "SIM"), ("paper", "SIM")])
def test_metrics_of_another_node_are_said_to_be_that_and_not_shown(place: Place, env: str, account: str) -> None:
    beat = Beat(
        ts=time.time_ns(),
        number=1,
        pid=1,
        lag_s=0.0,
        feed_age_s=0.1,
        events=9,
        orders=0,
        fills=0,
        rss=1,
        kill="ACTIVE",
        journal=0,
    )
    BeatWriter(latch_dir(place.state, place.env, place.account), print).write(beat)
    told: list[str] = []
    with served("127.0.0.1", 0, told.append) as watched:
        watched.begin({"policy": "p", "code": "c", "run": "r", "env": env, "account": account})
        watched.take(Reading(beat=beat, used={"GROSS_EXPOSURE": (10.0, 100.0)}, drawdown=0.05))
        watch = Watch(place, told[0].partition(": ")[2])
        seen, own = watch.look(), (env, account) == ("paper", "SIM")
    shown = words(seen, place, time.time_ns())
    other = f"the metrics are of another node, {env}/{account}: --metrics"
    assert shown["note"] == ("" if own else other)
    assert ("gross exposure" in shown["exposure"], shown["drawdown"]) == ((True, "5.00%") if own else (False, "–"))
    stale = words(seen, place, time.time_ns() + 60 * 10**9)
    assert stale["note"].startswith("no node runs for paper/SIM")
    assert (other in stale["note"]) != own
