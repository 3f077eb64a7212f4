"""A paper node that is killed or stopped at an awkward moment: before it runs, and while it reads its journal."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from alphatrade.nodes.beats import last_beat
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.replay import ReplayOutput
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.kill import State, request_kill, status
from tests.nodes.make_paper import Node, flown, settings

DAY, LONGER = (
    ("tape.end=2026-08-17T16:00:00Z", "flat_at_end=false"),
    ("tape.end=2026-08-17T20:00:00Z", "flat_at_end=false"),
)
LATENCY_NS = 50_000_000  # of the venue
MINUTE_NS = 60 * 10**9
HALF = 500  # records: the journal of that day has 959


def told(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "risk_events.parquet").query("kind in ('kill', 'state')")


def fills(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "fills.parquet").drop(columns="decision")  # a closing order has none


def resumed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    halfway: Callable[[], object],
    words: tuple[str, ...] = DAY,
    **flight: float,
) -> tuple[ReplayOutput, ReplayOutput]:
    """Fly, then read the journal of that, with something that happens in the middle of it; return what came of both."""
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        was = flown(settings(*DAY), tmp_path / "was", journal=journal)
        read, seen = Recorder.read, [0]

        def counted(self: Recorder, kind: int, payload: bytes) -> object:
            seen[0] += 1
            if seen[0] == HALF:
                halfway()
                time.sleep(0.6)  # longer than the node takes to look for a request
            return read(self, kind, payload)

        monkeypatch.setattr(Recorder, "read", counted)
        now = flown(settings(*words), tmp_path / "now", journal=journal, state=tmp_path / "state", **flight)
        assert seen[0] > HALF
        return was, now


def request(tmp_path: Path) -> Callable[[], object]:
    return lambda: request_kill(tmp_path / "state", "sim", "SIM", "me", "drill", time.time_ns())


def stop_when_halted(tmp_path: Path) -> Callable[[], object]:
    """Return what leaves a kill request, and stops this process's node by a signal once it has halted."""
    folder = tmp_path / "state" / "sim" / "SIM"

    def wait() -> None:
        ends = time.monotonic() + 20
        while time.monotonic() < ends and "HALTED" not in status(tmp_path / "state", "sim", "SIM").state:
            time.sleep(0.05)
        while time.monotonic() < ends and ((beat := last_beat(folder)) is None or beat.kill != State.HALTED):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    def both() -> None:
        request(tmp_path)()
        threading.Thread(target=wait).start()

    return both


def test_a_kill_while_the_journal_is_read_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was traded before the crash stays traded, and what the kill sends leaves then: a minute bar comes in ten seconds."""
    was, now = resumed(tmp_path, monkeypatch, stop_when_halted(tmp_path), LONGER, speed=6.0)
    assert was.fills > 0
    (kill,) = told(tmp_path / "now").query("kind == 'kill'")["ts"]
    before, after = fills(tmp_path / "was"), fills(tmp_path / "now")
    assert kill >= pd.Timestamp("2026-08-17T15:59:00Z").value, "the last input of the journal"
    assert after[: was.fills].equals(before[: was.fills])
    assert after["position_after"].iloc[-1] == 0
    assert now.killed == "drill"
    last = last_beat(tmp_path / "state" / "sim" / "SIM")
    assert last is not None
    assert last.kill == State.HALTED
    assert 0 <= int(last.facts["halted_ns"]) - int(last.facts["reducing_ns"]) < 10**9
    orders = pd.read_parquet(tmp_path / "now" / "orders.parquet")
    (sent,) = orders[orders["order_id"].str.startswith("LAW-") & (orders["event"] == "initialized")]["ts"]
    assert kill <= sent < kill + MINUTE_NS, "where the present is: the last input's moment, if that was not a slack ago"
    assert after["ts"].iloc[-1] == sent + LATENCY_NS


@pytest.mark.long
def test_without_the_venues_clock_at_the_present_the_kill_waits_for_the_next_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: the venue's clock stays at the last bar, and an order is looked for at a moment that has passed."""

    def tick(self: Intake, ts: int) -> None:
        if ts > self.time:
            self._venue.advance(ts + 1)
            self._begin(ts)

    monkeypatch.setattr(Intake, "tick", tick)
    resumed(tmp_path, monkeypatch, stop_when_halted(tmp_path), LONGER, speed=6.0)  # a bar in ten seconds: also on a loud machine
    last = last_beat(tmp_path / "state" / "sim" / "SIM")
    assert last is not None
    assert int(last.facts["halted_ns"]) - int(last.facts["reducing_ns"]) > 10**9


def test_without_waiting_it_would_rewrite_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: a law that never thinks it recovers stops trading in the middle of the past."""
    monkeypatch.setattr(RiskGate, "recovering", property(lambda self: False, lambda self, value: None), raising=False)
    was, now = resumed(tmp_path, monkeypatch, request(tmp_path))
    assert now.fills < was.fills
    assert told(tmp_path / "now")["value"].tolist() == ["", "REDUCING", "HALTED"]


def test_a_stop_while_the_journal_is_read_ends_it_flat_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, now = resumed(tmp_path, monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM), LONGER)
    before, after = fills(tmp_path / "was"), fills(tmp_path / "now")
    assert after[: was.fills].equals(before[: was.fills])
    assert after["position_after"].iloc[-1] == 0
    assert now.events == was.events


@pytest.mark.long
def test_a_kill_before_the_start_refuses_it_until_release(tmp_path: Path) -> None:
    """And the start that was refused leaves nothing that would refuse the next one."""
    node, words = Node(tmp_path), ("tape.end=2026-08-17T08:00:00Z", "output.report=false", "feed.speed=max")
    node.run("--why", "early", verb="kill")
    said = node.run(*words, code=2).splitlines()
    assert len(said) == 1
    assert "release it first" in said[0]
    assert not (tmp_path / "artifacts" / "latest").exists()
    node.run("--who", "me", "--why", "drill over", verb="release")
    node.run(*words)
    assert node.summary()["killed"] is None
