"""A paper node decides, trades and writes what a replay does, to the byte, and goes on after kill -9 as if nothing had been."""

import os
import random
import shutil
import signal
import socket
import time
from contextlib import redirect_stderr, suppress
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from nautilus_trader.core.data import Data
from nautilus_trader.model.enums import OrderSide

from alphatrade.nodes.beats import BeatLimits, health, history
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper import pulse as pulse_module
from alphatrade.nodes.paper import run
from alphatrade.nodes.paper import venue as venue_module
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.feeds import FeedSpec
from alphatrade.nodes.paper.run import head, paper
from alphatrade.nodes.paper.settings import BrokerSpec, PaperSettings, paper_settings
from alphatrade.nodes.sessions import Sessions, SessionSpec
from alphatrade.nodes.sim import identity_of, load_tapes
from alphatrade.nodes.stages import STAGES
from alphatrade.nodes.status_line import StatusView
from alphatrade.risk import audit_files
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import InputError, InUseError, JournalError
from alphatrade.risk.kill import KillSwitch, latch_dir, release
from alphatrade.strategies.organism import Organism
from tests.nodes.make_paper import SHORT, Node, digests, flown, replayed, settings

WORLDS = {
    "bars": SHORT,
    "quotes, learning": ("tape=world", "tape.hours=4", "policy.flags.linear_attention=true", "policy.flags.fast_weights=true"),
    "two tapes, cash": (
        "tapes=[{source:world,seed:1,hours:4},{source:world,seed:2,hours:4,instrument:ABC/USD}]", "venue.account=cash",
        "venue.leverage=1",
    ),
    "no latency": (*SHORT, "venue.latency_ms=0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_paper_is_the_replay_to_the_byte(tmp_path: Path, name: str) -> None:
    own = settings(*WORLDS[name])
    was, now = replayed(own, tmp_path / "sim"), flown(own, tmp_path / "paper")
    assert was.fills > 0
    assert digests(tmp_path / "paper") == digests(tmp_path / "sim")
    assert (now.events, now.decisions, now.fills, now.equity) == (was.events, was.decisions, was.fills, was.equity)


def test_without_arrivals_at_their_moment_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: commands that wait for the next event, as in the stock sandbox with latency, fill elsewhere."""
    own = settings(*SHORT)
    replayed(own, tmp_path / "sim")
    monkeypatch.setattr(venue_module.PaperVenue, "advance", lambda *_: None)
    flown(own, tmp_path / "paper")
    assert digests(tmp_path / "paper")["fills.parquet"] != digests(tmp_path / "sim")["fills.parquet"]


def test_what_is_heard_late_moves_the_market_when_it_is_heard(tmp_path: Path) -> None:
    """A loop that was held up for a second: the venue's clock once went back to the quote's own time, and the node ended."""
    own, seen, times = settings("tape=world", "tape.hours=1"), [0], list[int]()

    def ready(parts: Parts) -> None:
        take = parts.intake.take

        def late(data: Data) -> None:
            seen[0] += 1
            if late_now := seen[0] > 1500 and seen[0] % 20 == 0:
                parts.intake.tick(data.ts_init + 10**9)
            take(data)
            if late_now:
                times.append(parts.venue.test_clock.timestamp_ns() - data.ts_init)

        def order(_: object) -> None:
            if seen[0] > 1500 and seen[0] % 20 == 0:
                strategy = parts.node.trader.strategies()[0]
                (instrument,) = strategy.cache.instruments()
                side = OrderSide.BUY if seen[0] % 40 else OrderSide.SELL
                strategy.submit_order(strategy.order_factory.market(instrument.id, side, instrument.make_qty(0.02)))

        parts.intake.take = late
        parts.node.kernel.msgbus.subscribe("data.quotes.*", order)

    flown(own, tmp_path / "late", ready=ready)
    assert times
    assert set(times) == {10**9}
    fills = pd.read_parquet(tmp_path / "late" / "fills.parquet")
    sent = pd.read_parquet(tmp_path / "late" / "orders.parquet").query("event == 'initialized'").set_index("order_id")["ts"]
    assert len(fills) > 0
    assert (fills["ts"].to_numpy() >= sent.loc[fills["order_id"]].to_numpy()).all()


@pytest.mark.long
def test_a_pace_changes_nothing(tmp_path: Path) -> None:
    own = settings("tape.end=2026-08-17T12:00:00Z")
    replayed(own, tmp_path / "sim")
    started = time.monotonic()
    flown(own, tmp_path / "paper", speed=20_000.0)
    assert time.monotonic() - started >= 12 * 3600 / 20_000
    assert digests(tmp_path / "paper") == digests(tmp_path / "sim")


# -- kill -9


def killed_and_resumed(tmp_path: Path, seed: int, kills: int, *words: str) -> None:
    node = Node(tmp_path, *words, "output.report=false")
    node.here("output.stress=false", verb="sim")
    wanted = node.summary()["digests"]
    rng = random.Random(seed)
    for _ in range(kills):
        node.killed(node.start("feed.speed=15000"), rng.randrange(1, 40_000))
    node.run("feed.speed=max")
    assert node.summary()["digests"] == wanted
    assert not node.journal.exists(), "it went to the run that it made"
    assert list(tmp_path.glob("artifacts/latest/journal/*.journal"))


def test_kill_9_and_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 1, 1, "tape.end=2026-08-17T14:00:00Z")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_kill_9_at_many_moments(tmp_path: Path, seed: int) -> None:
    killed_and_resumed(tmp_path, seed, 5, *SHORT)


def test_what_a_journal_has_is_what_was_processed(tmp_path: Path) -> None:
    """Mutation: where inputs are not kept, a node that starts again begins anew."""
    own = settings("tape.end=2026-08-17T08:00:00Z")
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        flown(own, tmp_path / "first", journal=journal)
        first = journal.count
        flown(own, tmp_path / "second", journal=journal)
        assert journal.count == first == 479
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_a_journal_that_cannot_be_written_stops_trading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings(*SHORT)
    events, flushes = [0], [0]

    def full(self: Journal) -> None:
        flushes[0] += 1
        if flushes[0] > 40:
            raise JournalError("the journal", "no space", "room")

    monkeypatch.setattr(Journal, "flush", full)

    def ready(parts: Parts) -> None:
        parts.node.kernel.msgbus.subscribe("events.order.*", lambda event: events.append(type(event).__name__))

    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        came = flown(own, tmp_path / "run", journal=journal, ready=ready)
        monkeypatch.undo()
    assert came.killed is not None
    assert "journal" in came.killed
    orders = pd.read_parquet(tmp_path / "run" / "orders.parquet")
    late = orders[
        orders["ts"] > pd.read_parquet(tmp_path / "run" / "risk_events.parquet").query("kind == 'kill'")["ts"].iloc[0]
    ]
    assert set(late[late["event"] == "submitted"]["strategy"]) <= {"RiskGate", ""}, "only the law's own closing orders"
    assert pd.read_parquet(tmp_path / "run" / "fills.parquet")["position_after"].iloc[-1] == 0


# -- sessions


def sent(folder: Path) -> pd.DataFrame:
    orders = pd.read_parquet(folder / "orders.parquet")
    return orders[orders["event"] == "submitted"]


def test_outside_of_a_session_nothing_is_sent_and_before_its_end_what_is_held_is_closed(tmp_path: Path) -> None:
    """From 08:00 to 16:00 UTC on weekdays; without sessions the same policy trades around the clock."""
    hours = SessionSpec(
        calendar="24/5", week_open="Mon 10:00", week_close="Mon 18:00", week_zone="Europe/Berlin", lead_s=1800
    )
    own = settings("tape.end=2026-08-18")
    flown(own, tmp_path / "free")
    flown(own, tmp_path / "shut", sessions=Sessions(hours))
    start, end, half = (int(pd.Timestamp(f"2026-08-17T{hour}:00Z").value) for hour in ("08:00", "16:00", "15:30"))
    free, shut = sent(tmp_path / "free"), sent(tmp_path / "shut")
    assert (~free["ts"].between(start, end)).any()
    assert len(shut) > 0
    assert shut["ts"].between(start, end, inclusive="left").all()
    fills = pd.read_parquet(tmp_path / "shut" / "fills.parquet")
    assert fills["position_after"].iloc[-1] == 0
    assert (fills["ts"] >= half).any() or fills["position_after"][fills["ts"] < half].iloc[-1] == 0
    events = pd.read_parquet(tmp_path / "shut" / "risk_events.parquet")
    assert events[events["kind"] == "session"]["value"].tolist() == ["closed", "open", "closing", "closed"]


def test_the_law_denies_what_the_organism_would_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: an organism that does not hear of sessions is denied by the law, with SESSION; nothing leaves."""
    hours = SessionSpec(
        calendar="24/5", week_open="Mon 10:00", week_close="Mon 18:00", week_zone="Europe/Berlin", lead_s=0
    )
    monkeypatch.setattr(Organism, "on_session", lambda *_: None)
    own = settings("tape.end=2026-08-18")
    flown(own, tmp_path / "deaf", sessions=Sessions(hours))
    events = pd.read_parquet(tmp_path / "deaf" / "risk_events.parquet")
    assert (events[events["kind"] == "denied"]["limit"] == "SESSION").any()
    start, end = (int(pd.Timestamp(f"2026-08-17T{hour}:00Z").value) for hour in ("08:00", "16:00"))
    assert sent(tmp_path / "deaf")["ts"].between(start, end, inclusive="left").all()


# -- ended by the user


def test_ctrl_c_ends_it_flat(tmp_path: Path) -> None:
    node = Node(tmp_path, *SHORT, "output.report=false")
    process = node.start("feed.speed=15000")
    deadline = time.monotonic() + 60
    while node.kept() < 70_000 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    run = tmp_path / "artifacts" / "latest"
    fills = pd.read_parquet(run / "fills.parquet")
    assert len(fills) > 0
    assert fills["position_after"].iloc[-1] == 0
    assert node.summary()["events"] < 1799
    assert set(node.summary()["topologies_used"]) <= {"breakout", "maker", "momentum", "reversion", "stop"}


@pytest.mark.long
def test_a_node_that_is_stopped_in_its_warm_up_says_so_and_goes_on_later(tmp_path: Path) -> None:
    node = Node(tmp_path, *SHORT, "output.report=false")
    process = node.start("feed.speed=600")
    beats = tmp_path / "state" / "paper" / "SIM" / "beats.jsonl"
    deadline = time.monotonic() + 60
    while not beats.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped before its first decision" in err.splitlines()[-1]
    assert not (tmp_path / "artifacts" / "latest").exists()
    process = node.start("feed.speed=max")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "the journal was read" in err
    assert node.summary()["events"] == 1799


@pytest.mark.long
def test_a_kill_reaches_it_and_a_start_is_refused_until_release(tmp_path: Path) -> None:
    node = Node(tmp_path, *SHORT, "output.report=false")
    process = node.start("feed.speed=15000")
    deadline = time.monotonic() + 60
    while node.kept() < 70_000 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    asked = Node(tmp_path)
    asked.run("--why", "drill", verb="kill")
    while "HALTED" not in (told := asked.run(verb="status")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "HALTED" in told
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert pd.read_parquet(tmp_path / "artifacts" / "latest" / "fills.parquet")["position_after"].iloc[-1] == 0
    assert "release it first" in node.run(code=2)


@pytest.mark.long
def test_after_a_release_the_journal_of_the_run_that_was_killed_is_put_by_and_a_new_one_begins(tmp_path: Path) -> None:
    """The node dies halted, so that its journal stays: it ends in a trip, which must not come again."""
    node, asked = Node(tmp_path, *SHORT, "output.report=false"), Node(tmp_path)
    process = node.start("feed.speed=15000")
    deadline = time.monotonic() + 60
    while node.kept() < 70_000 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    asked.run("--why", "drill", verb="kill")
    while "HALTED" not in asked.run(verb="status") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.read_bytes() for path in node.journal.glob("*.journal")}
    assert "release it first" in node.run(code=2)
    asked.run("--who", "ada", "--why", "it was the feed", verb="release")
    beside = node.journal.with_name("journal-until-release-1")
    assert f"its journal is now {beside}, the book begins flat" in node.run("feed.speed=max")
    assert {path.name: path.read_bytes() for path in beside.glob("*.journal")} == kept
    assert node.summary()["events"] == 1799
    assert node.summary()["killed"] is None
    assert "is over" not in node.run("feed.speed=max"), "once"


def test_a_run_after_another_one_of_its_account_is_no_contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, *SHORT, "output.report=false", "feed.speed=max")
    for _ in range(2):
        node.here()
    folder = (tmp_path / "artifacts" / "latest").resolve()
    assert audit(folder).ok
    monkeypatch.setattr(audit_files, "_opened", lambda limits, _: limits)
    assert {one.code for one in audit(folder).integrity} == {"EQUITY"}


def test_a_journal_is_put_by_only_if_a_release_came_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    run._put_by(folder, 5)
    for before, now, gone in ((0, 0, False), (2, 1, False), (1, 3, True)):
        with Journal.open(folder, {"releases": before}) as journal:
            journal.append(1, b"input")
            if gone:
                with pytest.raises(InUseError):
                    run._put_by(folder, now)
        assert run._put_by(folder, now) == (tmp_path / "journal-until-release-3" if gone else None)
        assert folder.exists() is not gone
        if not gone:
            shutil.rmtree(folder)
    with Journal.open(tmp_path / "journal-until-release-3", {"releases": 1}) as journal:
        assert [payload for _, _, payload in journal.records()] == [b"input"]


# -- bad input


BAD: dict[str, str] = {
    "feed.speed=0": "feed.speed", "feed.speed=fast": "feed.speed", "feed=moon": "feed", "account=../x": "account", "journal=perhaps": "journal",
    "env=live": "env.name", "nothing=1": "nothing", "tape.end=2020-01-01": "tape",
}  # fmt: skip


@pytest.mark.parametrize("word", BAD)
def test_a_wrong_setting_is_named(tmp_path: Path, word: str) -> None:
    with pytest.raises(InputError) as caught, redirect_stderr(StringIO()):
        words = [word, f"paths.artifacts={tmp_path}/artifacts", f"paths.state={tmp_path}", "metrics.enabled=false"]
        run_config("paper", words, "paper", lambda c: paper(paper_settings(c)))
    assert BAD[word] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "artifacts").exists()


def test_a_wrong_setting_is_one_line_and_2_and_repeats_no_key(tmp_path: Path) -> None:
    told = Node(tmp_path).run("nothing=1", code=2).splitlines()
    assert len(told) == 1
    assert told[0].startswith("alphatrade: nothing: ")
    assert "s3cr3t" not in Node(tmp_path).here("feed.api_secret=s3cr3t-s3cr3t-s3cr3t", code=2)


def test_a_journal_of_another_policy_or_a_damaged_one(tmp_path: Path) -> None:
    own = settings("tape.end=2026-08-17T08:00:00Z")
    other = settings("tape.end=2026-08-17T08:00:00Z", "policy/risk=tight")
    folder = tmp_path / "journal"
    tapes = load_tapes(own.run)
    made = [PaperSettings(one, FeedSpec(), BrokerSpec(), SessionSpec(), "SIM", True) for one in (own, other)]
    heads = [head(one, tapes, identity_of(one.settings, tapes)) for one in made]
    with Journal.open(folder, heads[0]) as journal:
        flown(own, tmp_path / "run", journal=journal)
    with pytest.raises(JournalError, match="policy"):
        Journal.open(folder, heads[1])
    (file,) = folder.glob("*.journal")
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    with pytest.raises(JournalError):
        Journal.open(folder, heads[0])


def test_a_journal_from_before_a_release_is_not_read_on(tmp_path: Path) -> None:
    """It ends in the trip that was released: reading it would trip the switch again."""
    own = settings("tape.end=2026-08-17T08:00:00Z", f"paths.state={tmp_path}")
    told, tapes = PaperSettings(own, FeedSpec(), BrokerSpec(), SessionSpec(), "SIM", True), load_tapes(own.run)
    with Journal.open(tmp_path / "journal", head(told, tapes, identity_of(own, tapes))) as journal:
        journal.append(1, b"input")
        KillSwitch(latch_dir(tmp_path, own.run.env.name, "SIM")).trip("OPERATOR", "drill", "me", 1)
    release(tmp_path, own.run.env.name, "SIM", "me", "over", 2)
    with pytest.raises(JournalError, match="releases"):
        Journal.open(tmp_path / "journal", head(told, tapes, identity_of(own, tapes)))


# -- the wall's second


def test_it_beats_each_second_and_shows_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = settings("tape.end=2026-08-17T12:00:00Z")
    with StatusView(every_s=1.0) as view:
        flown(own, tmp_path / "run", speed=12_000.0, state=tmp_path / "state", view=view)
    beats = list(history(tmp_path / "state" / "sim" / "SIM"))
    assert [beat.number for beat in beats] == list(range(1, len(beats) + 1))
    assert len(beats) >= 3
    gaps = [(after.ts - before.ts) / 1e9 for before, after in pairwise(beats)]
    assert all(0.8 <= gap <= 2.0 for gap in gaps)
    last = beats[-1]
    assert last.events > beats[0].events > 0
    assert all(last.stages[name]["count"] > 0 for name in STAGES)
    assert health(last, last.ts, BeatLimits()) == []
    assert "equity=" in capfd.readouterr().err


def test_a_long_reading_of_the_journal_beats_and_asks_for_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a service manager ends a start that takes longer than it expects, and a supervisor a node without beats."""
    own, state = settings("tape.end=2026-08-17T08:00:00Z"), tmp_path / "state"
    monkeypatch.setattr(pulse_module, "READ_S", 0.0)
    with (
        Journal.open(tmp_path / "journal", {"format": 1}) as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        flown(own, tmp_path / "first", journal=journal)
        first = said(manager)
        flown(own, tmp_path / "second", journal=journal, state=state, speed=30_000.0)
        second = said(manager)
    assert "EXTEND" not in first
    asked, _, after = second.partition("READY=1")
    assert asked.count("EXTEND_TIMEOUT_USEC=60000000") >= 479 // 64
    assert "STATUS=reading the journal, 64 of 479 records" in asked
    assert "EXTEND" not in after
    beats = list(history(state / "sim" / "SIM"))
    assert [beat.number for beat in beats] == list(range(1, len(beats) + 1))
    assert len(beats) >= 479 // 64
    assert [health(beat, beat.ts, BeatLimits()) for beat in beats] == [[]] * len(beats)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def said(manager: socket.socket) -> str:
    """Return all that the service manager was told."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(manager.recv(4096).decode())
    return "\n".join(found)
