"""A soak: what it tells of a leak, its signed checkpoints, and what it refuses."""

import asyncio
import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alphatrade.nodes.latency import Latency
from alphatrade.nodes.paper.node import Parts
from alphatrade.nodes.stages import Stages
from alphatrade.reflection.keys import SigningKey
from benchmarks import soak, soak_node, soak_report
from benchmarks.soak_chain import FILE, JOURNAL, Checkpoints, digest, verify
from benchmarks.soak_node import HOUR_NS, Plan
from benchmarks.soak_report import Floats, points, slope
from tests.nodes.make_paper import flown, settings


def noise(n: int, seed: int, size: float = 2.0) -> Floats:
    """Return memory as it is told where nothing leaks: noise in which one sample is like the one before, MB."""
    rng, found = np.random.default_rng(seed), np.zeros(n)
    for at in range(1, n):
        found[at] = 0.9 * found[at - 1] + rng.normal(0.0, size * 0.19**0.5)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_leak_is_found_and_where_none_is_none_is_found(seed: int) -> None:
    hours = np.linspace(0.5, 2.0, 120)
    steady, leaking = noise(120, seed, 0.3), noise(120, seed, 0.3) + 5.0 * hours
    none, found = slope(hours, steady), slope(hours, leaking)
    assert none.low < 0.0 < none.high
    assert found.low > 1.0
    assert found.low < 5.0 < found.high


def test_the_interval_allows_for_samples_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_report, "RESAMPLES", 100)
    hours = np.linspace(0.0, 168.0, 60)

    def held() -> int:
        found = [slope(hours, noise(60, seed) + 0.3 * hours, seed) for seed in range(100)]
        return sum(one.low <= 0.3 <= one.high for one in found)

    assert held() >= 70
    monkeypatch.setattr(soak_report, "alikeness", lambda rest: 0.0)
    assert held() < 50, "the mutant: each sample says something of its own"


def test_what_grows_while_a_process_warms_up_is_left_out() -> None:
    x = np.linspace(0.0, 4.0, 4_000)
    y = np.minimum(x, 0.9) * 100.0
    hours, medians = points(x, y, 4.0)
    assert hours[0] > 1.0
    assert slope(hours, medians).value == 0.0


# -- checkpoints


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, str]:
    """Return the folder of a soak of two periods, and the public key."""
    folder = tmp_path / "soak"
    (folder / JOURNAL).mkdir(parents=True)
    key = SigningKey.generate(tmp_path / "key.pem")
    chain = Checkpoints(folder, key, "service")
    chain.add("begin", {"plan": {"lasts": 2.0}})
    for period in range(2):
        for name in ("ours.jsonl", "bare.jsonl", f"{JOURNAL}/{period}.journal"):
            with (folder / name).open("a") as file:
                file.write(f"period {period}\n" * 20)
        files = {name: digest(folder, name) for name in ("ours.jsonl", "bare.jsonl", JOURNAL)}
        chain.add("period", {"number": period, "events": 10, "files": files})
    chain.add("end", {"violations": 0})
    return folder, key.public


def test_checkpoints_of_a_whole_soak_are_believed(signed: tuple[Path, str]) -> None:
    assert verify(*signed) == []


def test_a_changed_byte_is_found_wherever_it_is(signed: tuple[Path, str]) -> None:
    folder, public = signed
    for path in [folder / FILE, folder / "ours.jsonl", folder / "bare.jsonl", *(folder / JOURNAL).iterdir()]:
        was = path.read_bytes()
        for at in range(0, len(was), max(1, len(was) // 40)):
            path.write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
            assert verify(folder, public), f"{path.name}, byte {at}"
        path.write_bytes(was)
    assert verify(folder, public) == []


def test_what_is_cut_off_left_out_or_signed_by_another_is_found(signed: tuple[Path, str], tmp_path: Path) -> None:
    folder, public = signed
    whole = (folder / FILE).read_bytes()
    lines = whole.splitlines(keepends=True)
    for other in (whole[:-1], b"".join(lines[:-1]), b"".join(lines[1:]), b"".join([lines[0], *lines[2:]]), b""):
        (folder / FILE).write_bytes(other)
        assert verify(folder, public)
    (folder / FILE).write_bytes(whole)
    assert verify(folder, SigningKey.generate(tmp_path / "other.pem").public)


def test_what_comes_later_does_not_speak_against_an_earlier_checkpoint(signed: tuple[Path, str]) -> None:
    folder, public = signed
    with (folder / "ours.jsonl").open("a") as file:
        file.write("later\n")
    assert verify(folder, public) == []


# -- what is judged


def made(
    folder: Path, leak: float = 0.0, slower: float = 1.0, violations: int = 0, seen: float = 2.0, count: int = 500,
    periods: int = 2, lasts: float = 2.0,
) -> str:  # fmt: skip
    """Make the files of a soak, of two hours of which memory was seen in `seen`, and return the public key."""
    folder.mkdir()
    key = SigningKey.generate(folder / "key.pem")
    chain = Checkpoints(folder, key, "service")
    chain.add("begin", {"plan": {"lasts": lasts, "period": lasts / 2, "speed": 1.0, "words": []}})
    hours = np.linspace(0.0, min(seen, lasts), 1_440)
    for side, rate, seed in (("ours", leak, 1), ("bare", 0.0, 2)):
        memory = (500.0 + rate * hours + noise(1_440, seed, 0.1)) * 2**20
        lines = (
            json.dumps({"kind": "sample", "at": float(at), "rss": int(rss)})
            for at, rss in zip(hours, memory, strict=True)
        )
        (folder / f"{side}.jsonl").write_text("\n".join(lines) + "\n")
    for number in range(periods):
        p99 = round(100_000 * (slower if number else 1.0))
        usual = {name: {"count": count, "p99_ns": 100_000} for name in ("step", "ingest_signal")}
        stages = usual | {
            "event": {"count": 500, "p99_ns": p99},
            "order_ack": {"count": 5, "p99_ns": p99 * 100**number},
        }
        counts = dict.fromkeys(("events", "decisions", "orders", "fills"), 500)
        chain.add("period", {"number": number, "law": {}, "latency": stages, **counts})
    chain.add("end", {"failed": 0, "violations": violations, "integrity": 0, "orders": 500})
    return key.public


@pytest.mark.parametrize(
    ("plant", "missed"),
    [
        ({}, set()),
        ({"leak": 5.0}, {"soak.beyond"}),
        ({"slower": 1.5}, {"soak.p99.event"}),
        ({"violations": 1}, {"soak.violations"}),
        ({"seen": 0.8}, {"soak.beyond"}),
        ({"count": 99}, {"soak.p99.step", "soak.p99.ingest_signal"}),
        ({"periods": 1}, {"soak.p99.event", "soak.p99.step", "soak.p99.ingest_signal"}),
        ({"seen": 0.2, "count": 99, "lasts": 1.9}, set()),
    ],
)
def test_exit_code_1_says_that_a_figure_was_missed(tmp_path: Path, plant: dict[str, float], missed: set[str]) -> None:
    public = made(tmp_path / "soak", **plant)  # type: ignore[arg-type]
    assert soak_report.report(tmp_path / "soak", public) == bool(missed)
    rows = json.loads((tmp_path / "soak" / "soak.json").read_text())
    assert {row["id"] for row in rows if row["holds"] is False} == missed
    unjudged = {row["id"] for row in rows if "not judged" in row["what"]}
    small = {"soak.beyond"} if "seen" in plant else set()
    few = {"soak.p99.step", "soak.p99.ingest_signal"} if {"count", "periods"} & {*plant} else set()
    assert unjudged >= {*small, *few}, "and it is told where it is no miss"
    assert (tmp_path / "soak" / "soak.html").stat().st_size > 10_000


# -- what is asked for


def test_hours_are_those_in_which_the_feed_has_anything() -> None:
    plan = Plan([], [0, HOUR_NS, 50 * HOUR_NS], 3.0, 1.0, 1.0, "")
    assert plan.at(-1) == -1.0
    assert plan.at(HOUR_NS // 2) == 0.5
    assert plan.at(2 * HOUR_NS) == plan.at(49 * HOUR_NS) == 2.0
    assert plan.at(50 * HOUR_NS + HOUR_NS // 4) == 2.25


def test_a_period_is_told_when_all_of_it_was_processed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan([], [0, HOUR_NS, 50 * HOUR_NS], 3.0, 1.0, 1.0, str(tmp_path))
    stamps = [-5, -1, 0, HOUR_NS - 1, HOUR_NS, 2 * HOUR_NS - 1, 50 * HOUR_NS, 51 * HOUR_NS - 1]
    monkeypatch.setattr(soak_node.feed, "events", lambda tape: [SimpleNamespace(ts_init=ts) for ts in stamps])
    seen = list[int]()
    teller = soak_node.Teller("ours", plan)
    monkeypatch.setattr(teller, "period", lambda: {"seen": len(seen)})
    monkeypatch.setattr(teller, "seen", lambda: seen.append(1))
    tape: Any = SimpleNamespace(span=(-5, stamps[-1]))
    for event in teller.watched(tape):
        assert teller.at == plan.at(event.ts_init)
    lines = [json.loads(line) for line in (tmp_path / "ours.jsonl").read_text().splitlines()]
    assert [(line["number"], line["seen"]) for line in lines] == [(0, 2), (1, 4), (2, 6)]
    assert [int(line["until"]) for line in lines] == [HOUR_NS, 50 * HOUR_NS, 51 * HOUR_NS - 1]


def test_the_feed_is_the_busiest_stretch_and_without_a_tape_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALPHATRADE_TAPES", str(tmp_path))
    plan = soak.planned(1.5, 60.0, tmp_path / "out")
    assert "embedded minute bars" in capsys.readouterr().err
    assert len(plan.hours) == 2
    assert plan.period == 0.75
    assert plan.hours[0] >= 1_786_924_800 * 10**9 + 24 * HOUR_NS, "a day of the tape comes before"
    assert not (tmp_path / "out").exists(), "nothing is written before all is known to be well"


@pytest.mark.parametrize(
    "words",
    [["--hours", "abc"], ["--hours", "0"], ["--hours", "nan"], ["--hours", "9999"], ["--speed", "-1"], ["--no"]],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "feed_words", lambda: ["tape=btcusd_1m"])
    try:
        code = soak.main([*words, "--out", str(tmp_path / "out")])
    except SystemExit as end:
        code = int(str(end.code))
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("soak: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


# -- what nothing but a pass of the collector would free


def garbage(folder: Path) -> int:
    """Return how many objects that hold each other a paper node leaves in two seconds; passes are rare while it runs."""
    found = list[int]()

    async def watch(parts: Parts) -> None:
        await asyncio.sleep(1.5)
        gc.collect()
        gc.disable()
        await asyncio.sleep(2.0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        found.append(gc.collect())
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        parts.stop.set()

    own = settings("output.flush_ms=200")
    flown(own, folder, speed=20_000.0, ready=lambda parts: parts.node.kernel.loop.create_task(watch(parts)))
    return found[0]


@pytest.mark.long
def test_a_node_leaves_nothing_that_piles_up_until_a_rare_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert garbage(tmp_path / "node") < 20
    monkeypatch.setattr(Stages, "told", lambda self: {name: Latency().quantiles() for name in self.latency})
    assert garbage(tmp_path / "mutant") >= 20, "the mutant: a histogram for each stage and second"
