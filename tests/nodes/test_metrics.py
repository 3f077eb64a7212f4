"""Metrics of a node: every name of the list is there for one that traded, with the values of the run's own records."""

import re
import threading
import time
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alphatrade.nodes.beats import Beat, BeatWriter, history
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.latency import Latency
from alphatrade.nodes.metrics import ABOUT, FAMILIES, NAMES, PREFIX, WINDOW, NodeMetrics, Reading
from alphatrade.nodes.metrics_server import served
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.feeds import LiveFeedSpec
from alphatrade.nodes.paper.reading import Reader
from alphatrade.nodes.stages import BOUNDS_NS, STAGES, Stages
from alphatrade.reflection.coverage import coverage
from alphatrade.reflection.diary import DecisionBuffer
from alphatrade.reflection.segment_writer import SegmentWriter
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.kill import latch_dir
from alphatrade.risk.limits import Code
from tests.conftest import ROOT
from tests.nodes.make_paper import SHORT, flown, settings

BEAT = Beat(
    ts=10**18, number=1, pid=1, lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=1, kill="ACTIVE", journal=0
)
# Trades, is denied, comes near limits, learns and watches for drift, all within hours.
LIVELY = (
    "tape=world", "tape.hours=6", "policy.cadence.n=5", "policy.risk.near_miss=0.3", "policy.risk.orders_per_minute=1",
    "policy.risk.order_notional_max=0.06", "policy.flags.linear_attention=true", "policy.flags.fast_weights=true",
    "policy.drift.run_length=50", "policy.drift.baseline=100", "policy.drift.least=20", "policy.drift.quiet=40",
)  # fmt: skip
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Return each sample by its name and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "no series twice"
            found[key] = sample.value
    return found


def of(reading: Reading) -> Samples:
    metrics = NodeMetrics()
    metrics.latest = reading
    return samples(metrics.text().decode())


def value(found: Samples, name: str, **labels: str) -> float:
    return found[PREFIX + name, frozenset(labels.items())]


@dataclass
class Flown:
    """A node that was asked for its metrics once in a while, until it had ended."""

    folder: Path
    scraped: list[str] = field(default_factory=list)
    filled: list[Reading] = field(default_factory=list)  # what was read at each fill
    parts: Any = None
    reader: Any = None
    journal: int = 0
    warmup: int = 0

    def ask(self, at: str, over: threading.Event) -> None:
        while not over.wait(0.2):
            with urllib.request.urlopen(at, timeout=5) as answer:
                self.scraped.append(answer.read().decode())

    def last(self) -> Reading:
        """Return a reading of what the node was when it had ended."""
        found: Reading = self.reader.read(msgspec.structs.replace(BEAT, fills=self.parts.gate.record.filled), 0, True)
        assert self.reader.error == ""
        return found


def fly(folder: Path, *words: str, **flight: Any) -> Flown:
    done, told, over = Flown(folder / "run"), list[str](), threading.Event()

    def ready(parts: Parts) -> None:
        done.parts, done.reader = parts, Reader(parts, None, lambda: 0)

        def look(event: Any) -> None:
            if type(event).__name__ == "OrderFilled":
                done.filled.append(done.reader.read(BEAT, 0, True))

        parts.node.kernel.msgbus.subscribe("events.order.*", look)

    with served("127.0.0.1", 0, told.append) as watched, Journal.open(folder / "journal", {"format": 1}) as journal:
        watched.begin(dict.fromkeys(ABOUT, "it"))
        asking = threading.Thread(target=done.ask, args=(told[0].partition(": ")[2], over))
        asking.start()
        try:
            kept = {"state": folder / "state", "journal": journal, "watched": watched}
            done.warmup = flown(settings(*words), done.folder, ready=ready, **kept, **flight).warmup
        finally:
            over.set()
            asking.join()
        done.journal = journal.count
    return done


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Flown:
    return fly(tmp_path_factory.mktemp("lively"), *LIVELY, speed=4000.0)


# -- a node that traded


def test_every_name_of_the_list_is_there_and_no_other(lively: Flown) -> None:
    there = {name for name, _ in samples(lively.scraped[-1])}
    stage = f"{PREFIX}stage_duration_seconds"
    absent = {stage, f"{PREFIX}feed_age_limit_seconds"}  # it has a tape, which may rest
    live = {PREFIX + name for name in REAL.split()}
    assert there == {*NAMES, *(f"{stage}_{part}" for part in ("bucket", "count", "sum"))} - absent - live


AGREED = """
info beats_total beat_timestamp_seconds loop_lag_seconds events_total orders_total fills_total denials_total
near_misses_total stage_duration_seconds queue_length equity cash day_change drawdown_ratio position exposure
exposure_limit drift_statistic drift_threshold drift_alarms_total sigma_norm sigma_bound decisions_total diary_rows_total
diary_lag_seconds resident_memory_bytes faults refusals_total feed_age_seconds feed_age_limit_seconds feed_gaps_total session_open
journal_records_total kill_state
"""
REAL = """
live_alerts_total reconcile_differences reconcile_timestamp_seconds reconcile_interval_seconds
permit_end_timestamp_seconds permit_used permit_cap
"""  # of a node with real orders


def test_the_list_is_the_one_that_was_agreed() -> None:
    assert [*map(PREFIX.__add__, sorted((AGREED + REAL).split()))] == sorted(NAMES)


def test_what_is_scraped_is_what_the_heartbeat_says(lively: Flown) -> None:
    beats = {beat.number: beat for beat in history(latch_dir(lively.folder.parent / "state", "sim", "SIM"))}
    compared = 0
    for text in lively.scraped:
        found = samples(text)
        if (f"{PREFIX}beats_total", frozenset()) not in found:
            continue  # before the first
        beat = beats[int(value(found, "beats_total"))]
        assert value(found, "events_total") == beat.events
        assert value(found, "fills_total") == beat.fills
        assert value(found, "beat_timestamp_seconds") == pytest.approx(beat.ts / 1e9)
        assert value(found, "resident_memory_bytes") == beat.rss
        assert value(found, "feed_age_seconds") == beat.feed_age_s
        assert value(found, "kill_state", state=beat.kill) == 1.0
        for stage in STAGES:
            assert value(found, "stage_duration_seconds_count", stage=stage) == beat.stages[stage]["count"]
        compared += 1
    assert compared > 5


def test_at_the_end_it_is_what_the_run_has_recorded(lively: Flown) -> None:
    found, run = of(lively.last()), lively.folder
    orders, fills, events, equity = (
        pd.read_parquet(run / f"{name}.parquet") for name in ("orders", "fills", "risk_events", "equity")
    )
    assert value(found, "orders_total") == orders["order_id"].nunique() > 50
    assert value(found, "fills_total") == len(fills) > 10
    for name, kind in (("denials_total", "denied"), ("near_misses_total", "near_miss")):
        counts = events[events["kind"] == kind]["limit"].value_counts()
        assert counts.sum() > 0, kind
        assert {str(code): value(found, name, reason=str(code)) for code in Code} == {
            str(code): float(counts.get(code, 0)) for code in Code
        }
    last = equity.iloc[-1]
    assert value(found, "equity", currency="USD") == pytest.approx(float(last["equity"]))
    assert value(found, "cash", currency="USD") == pytest.approx(float(last["cash"]))
    assert value(found, "drawdown_ratio") == pytest.approx(last["drawdown"])
    assert value(found, "position", instrument="WLD/USD.SIM") == float(fills["position_after"].iloc[-1]) == 0.0
    measured = coverage(run, lively.warmup)
    assert measured.diary_coverage == 1.0
    assert value(found, "diary_rows_total") == value(found, "decisions_total") == measured.steps > 0
    assert value(found, "diary_lag_seconds") == 0.0


def test_what_learns_and_what_watches_is_told(lively: Flown) -> None:
    reading, found = lively.last(), samples(lively.scraped[-1])
    assert 0.0 < reading.sigma["WLD/USD.SIM"][0] <= reading.sigma["WLD/USD.SIM"][1] == 1.0
    drift = pd.read_parquet(lively.folder / "drift.parquet")
    last = drift[(drift["stream"] == "belief") & (drift["level"] != "learning")].iloc[-1]
    assert reading.drift["WLD/USD.SIM belief", "cusum"][1] == last["threshold"]
    packets = len(list((lively.folder / "packets").glob("*.json")))
    assert reading.drift_alarms == packets > 0
    assert reading.faults == dict.fromkeys(("drift_sentry", "linear_attention", "fast_weights"), 0)
    assert reading.refusals == dict.fromkeys(("heartbeat", "metrics", "drift_sentry"), 0)
    assert value(found, "queue_length", queue="journal") <= value(found, "journal_records_total") <= lively.journal


def test_the_use_of_a_limit_is_in_the_unit_of_the_limit(lively: Flown) -> None:
    seen = set()
    for reading in lively.filled:
        found = of(reading)
        for (name, labels), used in found.items():
            if name == f"{PREFIX}exposure":
                limit = found[f"{PREFIX}exposure_limit", labels]
                assert 0.0 <= used <= limit
                if used:
                    seen.add(dict(labels)["limit"])
    assert seen >= {"GROSS_EXPOSURE", "NET_EXPOSURE", "INSTRUMENT_EXPOSURE", "DAILY_LOSS", "DRAWDOWN"}


# -- what is off or was lost


def test_what_is_off_and_what_was_lost_is_told_in_beats_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "learned").mkdir()
    (tmp_path / "learned" / "WLD-USD.SIM.bin").write_bytes(b"damaged")
    stock_write, stock_read = BeatWriter._append, Reader._drift

    def once(self: BeatWriter, line: bytes) -> None:
        if not self.lost:
            raise OSError("no space left")
        stock_write(self, line)

    def at_first(self: Reader) -> Any:
        if not self._failed:
            raise RuntimeError("odd")
        return stock_read(self)

    monkeypatch.setattr(BeatWriter, "_append", once)
    monkeypatch.setattr(Reader, "_drift", at_first)
    node = fly(tmp_path, *LIVELY, "tape.hours=2", f"learned={tmp_path / 'learned'}", speed=2000.0)
    beats = list(history(latch_dir(tmp_path / "state", "sim", "SIM")))
    off = [[fault.partition(":")[0] for fault in beat.faults] for beat in beats]
    assert off[-1] == ["linear_attention", "fast_weights"]
    assert "expected the file of a run's learned/ folder" in beats[-1].faults[0]
    told = [fault for beat in beats for fault in beat.faults if fault.startswith(("heartbeat", "metrics"))]
    assert sorted(told) == ["heartbeat: OSError: no space left", "metrics: RuntimeError: odd"], "in one beat each"
    found = samples(node.scraped[-1])
    assert {name: value(found, "faults", mechanism=name) for name in ("linear_attention", "fast_weights", "drift_sentry")} == {
        "linear_attention": 1.0, "fast_weights": 1.0, "drift_sentry": 0.0
    }  # fmt: skip
    assert value(found, "refusals_total", mechanism="heartbeat") == value(found, "refusals_total", mechanism="metrics") == 1.0


# -- the diary is measured


def test_a_diary_that_drops_rows_covers_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, seen = DecisionBuffer.append, [0]

    def leaky(self: DecisionBuffer, decision: Any, probes: Any) -> bool:
        seen[0] += 1
        return stock(self, decision, probes) if seen[0] % 4 else False

    monkeypatch.setattr(DecisionBuffer, "append", leaky)
    last = fly(tmp_path, *SHORT).last()
    assert last.decisions is not None
    assert last.diary_rows is not None
    assert last.diary_rows / last.decisions == pytest.approx(0.75, abs=0.01)


def test_rows_that_were_on_their_way_when_the_disk_failed_are_no_counter_that_falls() -> None:
    reader = Reader.__new__(Reader)
    scribe = SimpleNamespace(decided=10, lag_s=0.0)
    reader._scribes, reader._organisms, reader._rows = [scribe], [SimpleNamespace(decisions=10)], 0
    assert reader._diary()["diary_rows"] == 10
    scribe.decided = 7
    assert reader._diary()["diary_rows"] == 10


@pytest.mark.long
def test_a_diary_that_does_not_get_to_the_disk_lags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, gone = SegmentWriter._write, threading.Event()
    monkeypatch.setattr(SegmentWriter, "_write", lambda self, table: (gone.wait(6.0), stock(self, table)))
    lags, at = list[Reading](), list[float]()

    def ready(parts: Parts) -> None:
        reader = Reader(parts, None, lambda: 0)

        def look() -> None:
            lags.append(reader.read(BEAT, 0, True))
            at.append(time.monotonic())
            if len(lags) < 10:
                parts.node.kernel.loop.call_later(0.2, look)
            else:
                gone.set()

        parts.node.kernel.loop.call_later(1.0, look)

    flown(settings(*SHORT, "output.flush_ms=100"), tmp_path / "run", speed=30_000.0, ready=ready)
    told = [one.diary_lag_s for one in lags]
    assert told[-1] - told[0] == pytest.approx(at[-1] - at[0], abs=0.4), "the oldest row waits on"
    assert all(one.diary_rows == one.decisions for one in lags), "on its way there is there"


def test_once_the_disk_is_full_decisions_go_on_and_rows_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, room, seen = SegmentWriter._write, [3], list[Reading]()

    def full(self: SegmentWriter[Any], table: Any) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        stock(self, table)

    def ready(parts: Parts) -> None:
        reader, loop = Reader(parts, None, lambda: 0), parts.node.kernel.loop

        def look() -> None:
            seen.append(reader.read(BEAT, 0, True))
            loop.call_later(0.1, look)

        loop.call_later(0.5, look)

    monkeypatch.setattr(SegmentWriter, "_write", full)
    with pytest.raises(RunDirError):
        flown(settings(*SHORT, "output.flush_ms=100"), tmp_path / "run", speed=40_000.0, ready=ready)
    rows = [one.diary_rows for one in seen if one.diary_rows is not None]
    assert rows == sorted(rows)
    after = [one.decisions for one in seen if one.diary_rows == rows[-1] and one.decisions is not None]
    assert after[-1] > after[0] + 20


# -- pure


def test_what_is_not_known_has_no_sample() -> None:
    found = of(Reading(beat=msgspec.structs.replace(BEAT, rss=0), equity=float("nan"), currency="USD", drawdown=None))
    names = {name.removeprefix(PREFIX) for name, _ in found}
    assert names == {"beats_total", "beat_timestamp_seconds", "events_total", "fills_total", "kill_state"}
    assert NodeMetrics().text() == b"", "nor has anything before the first beat"


def test_one_state_of_the_kill_switch_is_1() -> None:
    for state in ("ACTIVE", "REDUCING", "HALTED"):
        found = of(Reading(beat=msgspec.structs.replace(BEAT, kill=state)))
        assert {one: value(found, "kill_state", state=one) for one in ("ACTIVE", "REDUCING", "HALTED")} == {
            one: float(one == state) for one in ("ACTIVE", "REDUCING", "HALTED")
        }


def test_labels_are_escaped() -> None:
    odd = 'a"b\\c\nd'
    assert value(of(Reading(beat=BEAT, positions={odd: 2.0})), "position", instrument=odd) == 2.0


@pytest.mark.parametrize(("words", "limit"), [({}, 60.0), ({"kind": "bars", "bar_s": 60}, 70.0), ({"kind": "bars", "bar_s": 300}, 310.0), ({"stall_s": 90.0}, 90.0)])
def test_a_feed_is_silent_after_longer_than_its_own_pauses(words: dict[str, Any], limit: float) -> None:
    spec = LiveFeedSpec(source="binance", symbols=("BTCUSDT",), **words)
    assert spec.limit_s == limit
    shown = of(Reading(beat=msgspec.structs.replace(BEAT, feed_limit_s=spec.limit_s)))
    assert value(shown, "feed_age_limit_seconds") == limit


def test_buckets_are_cumulative_and_right_to_a_thousandth() -> None:
    durations = np.random.default_rng(1).lognormal(13.0, 3.0, 20_000).astype(np.int64) + 1
    latency = Latency()
    for part in np.split(durations, 8):
        latency.record(part)
    reached = latency.reached(BOUNDS_NS)
    assert reached.all == 20_000
    assert reached.total_ns == durations.clip(1, 60_000_000_000).sum()
    assert list(reached.within) == sorted(reached.within)
    for bound, within in zip(BOUNDS_NS, reached.within, strict=True):
        assert (durations <= bound).sum() <= within <= (durations <= bound * 1.001 + 1).sum()
    found = of(Reading(beat=BEAT, stages={"step": reached}))
    assert (
        value(found, "stage_duration_seconds_bucket", stage="step", le="0.001")
        == reached.within[BOUNDS_NS.index(10**6)]
    )
    assert value(found, "stage_duration_seconds_bucket", stage="step", le="+Inf") == 20_000
    assert value(found, "stage_duration_seconds_sum", stage="step") == pytest.approx(reached.total_ns / 1e9)


def test_durations_of_the_journal_that_was_read_are_not_among_those_of_the_node() -> None:
    stages = Stages([], [])
    stages.latency["step"].record([2_000_000] * 100)  # of the journal
    reader = Reader.__new__(Reader)
    reader._parts, reader._before = SimpleNamespace(stages=stages), {}
    reader.begin()
    assert reader._stages()["step"] == ((0,) * len(BOUNDS_NS), 0, 0)
    stages.latency["step"].record([8_000_000] * 3)
    found = of(Reading(beat=BEAT, stages=reader._stages()))
    assert [value(found, "stage_duration_seconds_bucket", stage="step", le=le) for le in ("0.005", "0.01", "+Inf")] == [0, 3, 3]
    assert value(found, "stage_duration_seconds_sum", stage="step") == 0.024


def test_an_empty_histogram_is_zeros() -> None:
    assert Latency().reached(BOUNDS_NS) == ((0,) * len(BOUNDS_NS), 0, 0)


def test_a_part_that_cannot_be_read_is_a_fault_and_stops_nothing() -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("gone")

    reader = Reader.__new__(Reader)
    reader._parts, reader._journal, reader._failed, reader.error, reader._lags = (
        Broken(),
        None,
        0,
        "",
        deque(maxlen=WINDOW),
    )
    for number in (1, 2):
        reading = reader.read(BEAT, 0, True)
        assert reading == Reading(beat=BEAT, late_s=0.0, heard=True, refusals={"metrics": number})
    assert reader.error == "RuntimeError: gone"


def test_a_loop_that_was_late_between_two_scrapes_is_seen_by_the_next_and_not_for_ever() -> None:
    reader = Reader.__new__(Reader)
    reader._parts, reader._journal, reader._failed, reader._lags = None, None, 0, deque(maxlen=WINDOW)
    shown = []
    for lag_s in (0.0, 3.0, *[0.01] * 60):
        reading = reader.read(msgspec.structs.replace(BEAT, lag_s=lag_s), 0, True)
        shown.append(value(of(reading), "loop_lag_seconds"))
    assert shown == [0.0, *[3.0] * WINDOW, *[0.01] * (61 - WINDOW)]
    assert 30 < WINDOW < 60, "longer than what usually lies between two scrapes; over before the minute of LateLoop is"


def test_each_family_says_what_it_is() -> None:
    assert all(family.words and not family.words.endswith(".") for family in FAMILIES)
    assert len(set(NAMES)) == len(NAMES)


def test_reading_and_text_are_cheap() -> None:
    metrics = NodeMetrics()
    metrics.latest = Reading(beat=BEAT, denials=dict.fromkeys(map(str, Code), 0))
    begin = time.thread_time()
    for _ in range(20):
        metrics.text()
    assert (time.thread_time() - begin) / 20 < 0.02


def test_the_page_tells_of_every_name() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert sorted(told) == sorted((AGREED + REAL).split())
