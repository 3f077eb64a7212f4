"""The steps of the live drill see what is wrong: an order after a revocation, one beyond a cap, a difference."""

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alphatrade.nodes.beats import last_beat
from alphatrade.nodes.live import anchor
from benchmarks.live import cycle, launch, steps, waits
from benchmarks.live import place as place_module
from benchmarks.live.going_back import between
from benchmarks.live.place import Place
from tests.conftest import ROOT
from tests.nodes.make_live import CAPITAL
from tests.venue.make_venue import until

BALANCES = {"BTC": {"free": "0.00004", "locked": "0"}, "USDT": {"free": "1000", "locked": "0"}}
BEAT = {"exchange": "up", "exchange_doubts": "0", "exchange_unknown": "0"}


def order(name: str, ms: int, **more: Any) -> dict[str, Any]:
    plain = {
        "orderId": hash(name), "clientOrderId": name, "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT",
        "price": "30000", "origQty": "0.001", "executedQty": "0", "status": "CANCELED", "time": ms, "updateTime": ms + 1,
    }  # fmt: skip
    return plain | more


class Stub(Place):
    """A place without processes: a test says what the books have, and what the node says."""

    def __init__(self, *orders: dict[str, Any], **more: Any) -> None:
        told = {"orders": list(orders), "open": [], "trades": [], "balances": BALANCES, "deposits": {"USDT": "1000"}}
        self.told: dict[str, Any] = {**told, "audit": [], **more}
        self.left, self.kill, self.facts, self.said_no = Decimal(0), "HALTED", dict(BEAT), "release it first"
        best = {"BTCUSDT": {"bid": "30000"}}
        looks = {"books": lambda: self.told, "state": lambda: {"best": best}}
        self.venue: Any = SimpleNamespace(look=lambda what: looks[what](), tell=lambda *_, **__: None)

    def books(self) -> dict[str, Any]:
        return self.told

    def beat(self, what: Any = lambda beat: True, timeout: float = 0.0) -> Any:
        time.sleep(0.01)
        beat = SimpleNamespace(ts=time.time_ns(), kill=self.kill, facts=self.facts, fills=9)
        assert what(beat)
        return beat

    def stop(self) -> list[str]:
        return []

    def revoke(self) -> None:
        return

    def refused(self) -> str:
        return self.said_no

    def command(self, verb: str, *words: str) -> str:
        return ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "QUIET_S", 0.05)
    monkeypatch.setattr(waits, "FLAT_S", 0.1)
    monkeypatch.setattr(place_module, "PATIENCE_S", 0.2)


def stopped(stub: Stub, ms: int) -> list[str]:
    return list(waits.stopped(stub, time.monotonic(), ms)["wrong"])


def test_mutations_one_order_after_a_revocation_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    ms = waits.now_ms()
    assert stopped(Stub(order("O-1", ms - 5)), ms) == []
    assert stopped(Stub(order("O-1", ms + 5)), ms) == ["1 orders after it: ['O-1']"]
    assert stopped(Stub(order("LAW-1", ms + 5, side="SELL")), ms) == [], "the law closes, until it has halted"
    (line,) = stopped(Stub(order("LAW-1", ms + 10_000, side="SELL")), ms)
    assert "LAW-1" in line, "and not after that"


def test_mutations_what_is_not_flat_in_time_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    held = BALANCES | {"BTC": {"free": "0.00104", "locked": "0"}}
    with pytest.raises(AssertionError, match="in time"):
        stopped(Stub(balances=held), 0)
    dust = Stub(balances=BALANCES | {"BTC": {"free": "0.00015", "locked": "0"}})
    assert waits.stopped(dust, time.monotonic(), 0)["dust"] == "0.00011"
    assert dust.left == Decimal("0.00011")


def test_a_market_is_stopped_while_something_is_held_and_goes_on_where_that_was_sold_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = BALANCES | {"BTC": {"free": "0.00104", "locked": "0"}}
    stub, told = Stub(balances=held), list[str]()

    def tell(word: str) -> None:
        told.append(word)
        sold = told.count("pause") < 3  # what was on its way is filled, twice
        stub.told["balances"] = BALANCES if word == "pause" and sold else held

    stub.venue.tell = tell
    monkeypatch.setattr(waits.time, "sleep", lambda _: None)
    waits.caught(stub, 15)
    assert told == ["pause", "resume", "pause", "resume", "pause"]
    monkeypatch.setattr(waits, "CATCHES", 2)
    told.clear()
    with pytest.raises(AssertionError, match="never stood still"):
        waits.caught(stub, 15)


def test_mutations_a_cap_that_was_exceeded_by_one_order_is_wrong() -> None:
    price = str(CAPITAL * 1000)
    assert cycle.kept(Stub(order("O-1", 1, price=price))) == []
    (line,) = cycle.kept(Stub(order("O-1", 1, price=price), order("O-2", 1, origQty="0.00001")))
    assert line.startswith("100.3")
    assert cycle.kept(Stub(order("O-1", 1, price=price), order("web-1", 1))) == [], "a stranger's is no order of ours"
    (line,) = cycle.kept(Stub(deposits={"USDT": "1030"}))
    assert "were lost" in line


def test_mutations_a_difference_between_node_and_books_is_wrong() -> None:
    good = Stub()
    good.kill = "ACTIVE"
    assert good.agree() == []
    for facts in ({"positions": "BTCUSDT:0.001"}, {"exchange_orders": "O-1"}, {"exchange_unknown": "1"}):
        odd = Stub()
        odd.kill, odd.facts = "ACTIVE", BEAT | facts
        assert len(odd.agree()) == 1, facts
    assert Stub().agree() == ["kill switch HALTED"]


@pytest.mark.parametrize("said", ["", "account in use", "anchor: got none, expected one before a permit"])
def test_mutations_a_start_that_should_have_been_refused_is_wrong(said: str) -> None:
    stub = Stub()
    stub.said_no, stub.posts = said, lambda: 0  # type: ignore[method-assign]
    assert len(steps.no_entry(stub, None)["wrong"]) == 1  # type: ignore[arg-type]
    assert len(steps._latched(said)) == 1
    stub.said_no, stub.posts = "policy_entry: got 'no policy in stage limited_live'", lambda: 1  # type: ignore[method-assign]
    assert steps.no_entry(stub, None)["wrong"] == ["1 orders were sent"]  # type: ignore[arg-type]


def test_a_node_that_starts_again_keeps_the_anchor_of_the_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *words: became.append(words))
    monkeypatch.setattr(anchor, "PLACES", ())
    launch.anchored(Path("anchor.json"))
    assert (Path("anchor.json"),) == anchor.PLACES
    os.execv("python", ["python", "-P", "-m", "alphatrade", "live", "account=PILOT"])
    assert became == [("python", ["python", "-P", "-m", "benchmarks.live.launch", "anchor.json", "live", "account=PILOT"])]


# -- rows of the roadmap


def law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int = 6, by: str = "owner, ben", **odd: Any
) -> list[str]:
    found = [SimpleNamespace(code="CAPITAL_CAP", subject="O-1", detail="101")] if odd.get("broken") else []
    folders = [tmp_path / str(number) for number in range(runs)]
    for folder in folders:
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"near_misses": 1}))
    move = {"to": "limited_live", "by": by}
    told = {
        "figures": [{"id": "K2", "holds": odd.get("holds", True), "figure": 1.0, "n": 6}],
        "promotions": [move] * odd.get("moves", 2),
    }
    monkeypatch.setattr(steps, "kpis", lambda book: told)
    monkeypatch.setattr(steps, "read", lambda ledger: None)
    monkeypatch.setattr(steps, "Ledger", lambda folder: None)
    monkeypatch.setattr(steps, "recent_runs", lambda folder, days: folders)
    monkeypatch.setattr(steps, "audit", lambda run: SimpleNamespace(violations=found, integrity=[]))
    place: Any = SimpleNamespace(machine=SimpleNamespace(ledger=None), policies=("a", "b"), root=tmp_path)
    return list(steps._law(place)["wrong"])


def test_promotions_and_runs_that_are_as_they_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert law(tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"by": "owner"}, "signed by owner alone"), ({"holds": False}, "K2"), ({"moves": 1}, "1 admissions"),
        ({"runs": 5}, "5 runs"), ({"broken": True}, "CAPITAL_CAP O-1: 101"),
    ],
)  # fmt: skip
def test_mutations_each_wrong_of_ledger_and_runs_is_found(
    odd: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(words in line for line in law(tmp_path, monkeypatch, **odd))


def test_between_two_nodes_nothing_is_sent_and_nothing_old_is_traded() -> None:
    books = {"orders": [order("O-1", 10), order("O-2", 40)], "trades": [{"id": 1, "orderId": hash("O-2"), "time": 41}]}
    assert between(books, 20, 30) == []
    assert between(books, 9, 30) == ["O-1 was sent in between"]
    late = [{"id": 2, "orderId": hash("O-1"), "time": 21}]
    assert between(books | {"trades": late}, 20, 30) == ["trade 2 came in between"]


# -- a drill that is stopped

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "tests.venue", "--speed", "0", *sys.argv[1:]], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), flush=True)
child.wait()
"""


def state(pid: int | str) -> list[str]:
    """Return the state of a process, and its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return ["Z", "0"]


def runs(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for yet does not."""
    return state(pid)[0] != "Z"


def children(pid: int) -> set[int]:
    return {int(one.name) for one in Path("/proc").glob("[0-9]*") if state(one.name)[1] == str(pid)}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_a_venue_ends_with_who_has_started_it_however_that_ends(number: int) -> None:
    ended = []
    for words in (["--tied"], []):  # and without the word it does not
        with subprocess.Popen([sys.executable, "-c", PARENT, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            venue = int(parent.stdout.readline().split()[0])
            parent.send_signal(number)
        since = time.monotonic()
        while runs(venue) and time.monotonic() < since + 4:
            time.sleep(0.05)
        ended.append(not runs(venue))
        if runs(venue):
            os.kill(venue, signal.SIGKILL)
    assert ended == [True, False]


@pytest.mark.long
def test_a_drill_that_is_stopped_leaves_no_process_behind(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.live", "--only", "cycles", "--runs", "1", "--out", str(tmp_path)]
    with (tmp_path / "said").open("w") as said, subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=said) as drill:
        folder = tmp_path / "live-drill" / "1" / "state" / "live" / "PILOT"
        beat = until(lambda: last_beat(folder), 120)
        left = children(drill.pid)
        drill.send_signal(signal.SIGTERM)
    assert beat.pid in left
    assert len(left) > 1, "and a venue"
    try:
        until(lambda: not any(map(runs, left)), 10)
    finally:
        for pid in filter(runs, left):
            os.kill(pid, signal.SIGKILL)
    assert not any('"end"' in line for line in (tmp_path / "live-drill.jsonl").read_text().splitlines()), "it is made again"
