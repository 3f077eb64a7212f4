"""What the console sees of ledger, metrics and alarms; and that it says so where it does not see them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alphatrade.nodes import operator
from alphatrade.nodes.alarms import Alarm
from alphatrade.nodes.app import app
from alphatrade.nodes.beats import Beat, BeatWriter
from alphatrade.nodes.console import serve
from alphatrade.nodes.console import watch as module
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.console.asked import Asked
from alphatrade.nodes.console.watch import Seen, Watch
from alphatrade.nodes.console.words import TILES, words
from alphatrade.nodes.ledger_home import home, ledger_dir
from alphatrade.nodes.metrics import Reading
from alphatrade.nodes.metrics_server import Watched, served
from alphatrade.nodes.paper.desk import RUN
from alphatrade.risk.disk import write_whole
from alphatrade.risk.kill import latch_dir, status
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


NOW = 10**18
DOG = Alarm({"alertname": "Watchdog", "severity": "watchdog"}, {}, "")
DEAD = Alarm({"alertname": "DeadNode", "severity": "page"}, {}, "")


def beat(**parts: Any) -> Beat:
    plain = {
        "ts": time.time_ns(),
        "number": 1,
        "pid": 1,
        "lag_s": 0.0,
        "feed_age_s": 0.1,
        "events": 9,
        "orders": 0,
        "fills": 0,
        "rss": 1,
        "kill": "ACTIVE",
        "journal": 0,
    }
    return Beat(**(plain | parts))


def beats(place: Place) -> None:
    BeatWriter(latch_dir(place.state, place.env, place.account), print).write(beat())


@contextmanager
def metrics() -> Iterator[tuple[Watched, str]]:
    told: list[str] = []
    with served("127.0.0.1", 0, told.append) as watched:
        watched.begin({"policy": "p", "code": "c", "run": "r", "env": "paper", "account": "SIM"})
        watched.take(
            Reading(
                beat=beat(),
                used={"GROSS_EXPOSURE": (10.0, 100.0)},
                drawdown=0.05,
                drift={("A", "page_hinkley"): (1.0, 4.0)},
            )
        )
        yield watched, told[0].partition(": ")[2]


@contextmanager
def hanging() -> Iterator[str]:
    """Take connections, and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def until(true: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.05)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.1)
    monkeypatch.setattr(module, "EVERY_S", 0.1)
    monkeypatch.setattr(module, "STALE_S", 2.0)  # above what a busy machine takes for one look


@pytest.mark.long
def test_an_alertmanager_that_hangs_holds_up_nothing_and_is_said(place: Place, quick: None) -> None:
    with hanging() as url, Watch(own := place._replace(alertmanager=url), "http://127.0.0.1:9/metrics") as watch:
        ends, longest = time.monotonic() + 4.0, 0.0
        while time.monotonic() < ends:
            beats(place)
            time.sleep(0.1)
            if watch.seen.beat is not None:
                longest = max(longest, time.time() - watch.seen.beat.ts / 1e9)
        said = words(watch.seen, own, time.time_ns())
    assert longest < 2.0, "the beat is not older than it is"
    assert (said["note"], said["alarms"]) == ("", f"not known: no answer for {said['alarms'].split()[-2]} s")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/x"])
def test_an_alertmanager_that_is_not_there_is_not_no_alarms(place: Place, url: str) -> None:
    own = place._replace(alertmanager=url)
    said = words(Watch(own, "http://127.0.0.1:9/metrics").look(), own, NOW)["alarms"]
    assert said.startswith("not known: ")
    assert "an Alertmanager that answers" in said


@pytest.mark.parametrize(
    ("alarms", "said"),
    [((DOG,), "none"), ((DOG, DEAD), ""), ((), "the Watchdog"), ((DEAD,), "the Watchdog"), (None, "not known")],
)  # fmt: skip
def test_none_is_said_only_where_nothing_fires_but_what_always_does(place: Place, alarms: Any, said: str) -> None:
    found = words(Seen(alarms=alarms), place._replace(alertmanager="http://x"), NOW)["alarms"]
    assert found == said if said in ("", "none") else found.startswith(said)


def test_an_alertmanager_that_dies_takes_its_alarms_along(
    place: Place, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = [[DOG, DEAD]]

    def alarms(url: str) -> list[Alarm]:
        if told:
            return list(told[0])
        raise OSError("gone")

    monkeypatch.setattr(module, "alarms", alarms)
    with Watch(own := place._replace(alertmanager="http://x"), "http://127.0.0.1:9/metrics") as watch:
        until(lambda: watch.seen.alarms == (DOG, DEAD))
        told.clear()
        until(lambda: watch.seen.alarms is None)
        assert words(watch.seen, own, NOW)["alarms"] == "not known: OSError: gone"


def test_metrics_that_are_gone_are_shown_no_more(place: Place, quick: None) -> None:
    beats(place)
    with metrics() as (_, url):
        watch = Watch(place, url)
        said = words(watch.look(), place, time.time_ns())
        assert ("10%" in said["exposure"], "page_hinkley" in said["drift"], said["drawdown"]) == (True, True, "5.00%")
    watch.look()
    time.sleep(2.1)
    said = words(watch.look(), place, time.time_ns())
    assert ("refused" in said["exposure"], "refused" in said["drift"], said["drawdown"]) == (True, True, "–")


def test_metrics_that_nobody_renews_are_not_shown(place: Place) -> None:
    with metrics() as (watched, url):
        watched.take(Reading(beat=beat(ts=time.time_ns() - 60 * 10**9), used={"GROSS_EXPOSURE": (10.0, 100.0)}))
        said = words(Watch(place, url).look(), place, NOW)["exposure"]
    assert said.startswith("not known: ")
    assert "60 s ago" in said


def test_metrics_are_asked_for_where_the_node_says_unless_another_place_is_named(place: Place) -> None:
    file = latch_dir(place.state, place.env, place.account) / RUN
    assert "no node has said" in Watch(place, "").look().no_metrics
    beats(place)
    with metrics() as (_, url):
        write_whole(file, json.dumps({"folder": str(place.state), "pid": 1, "metrics": url}))
        assert Watch(place, "").look().metrics
        assert "refused" in Watch(place, "http://127.0.0.1:9/metrics").look().no_metrics
    write_whole(file, json.dumps({"folder": str(place.state), "pid": 1, "metrics": ""}))
    assert "told to serve none" in Watch(place, "").look().no_metrics


def test_nobody_s_proxy_is_asked(place: Place) -> None:
    look = "import sys\nfrom pathlib import Path\nfrom alphatrade.nodes.console.actions import Place\nfrom alphatrade.nodes.console.watch import Watch\nprint(len(Watch(Place(Path(sys.argv[1]), 'paper', 'SIM', ''), sys.argv[2]).look().metrics))"
    env = os.environ | {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
    with metrics() as (watched, url):
        watched.take(Reading(beat=beat(ts=time.time_ns() + 60 * 10**9)))  # not old, however long the start takes
        done = subprocess.run([sys.executable, "-c", look, str(place.state), url], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 0


def test_what_cannot_be_read_leaves_what_is_known_and_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    beats(place)
    own = home()
    watch = Watch(place, "http://127.0.0.1:9/metrics")
    before = watch.look()
    own.append("proposal", proposal())

    def odd(*_: object) -> Any:
        raise OSError("odd")

    monkeypatch.setattr(module, "_ledger", odd)
    monkeypatch.setattr(module, "last_beat", odd)
    found = watch.look()
    assert (found.ledger, found.beat, found.latch) == (before.ledger, before.beat, before.latch)
    note = words(found, place, time.time_ns())["note"]
    assert note == "heartbeat is not read: OSError: odd; ledger is not read: OSError: odd"


def test_before_anything_was_looked_at_nothing_is_claimed(place: Place) -> None:
    said = words(
        Watch(place._replace(alertmanager="http://x"), "http://127.0.0.1:9/metrics").seen,
        place._replace(alertmanager="http://x"),
        NOW,
    )
    assert said["note"] == "looking for the node of paper/SIM"
    assert ("asked" in said["alarms"], "asked" in said["exposure"], "asked" in said["drift"]) == (True, True, True)


FACTS = {"equity": "1000", "positions": "A.SIM:2", "regime": "up-low", "tactic": "maker"}
STAGES = {"step": {"count": 1, "p50_ns": 1, "p99_ns": 2}}


def test_of_a_node_that_does_not_run_nothing_looks_as_if_it_were_of_now(place: Place) -> None:
    """Each tile says was, tells its age, or is empty."""
    metric = {"alphatrade_drawdown_ratio": (({}, 0.05),)}
    seen = Seen(looked=True, beat=beat(ts=NOW, facts=FACTS, stages=STAGES), metrics=metric)
    well, ill = words(seen, place, NOW + 10**9), words(seen, place, NOW + 6 * 10**9)
    shown = {name: well[name] for name in (*TILES, "state")}
    assert shown == {"equity": "1,000.00", "drawdown": "5.00%", "position": "A +2", "regime": "up-low", "topology": "maker", "orders": "0 · 0 fills",
                     "feed": "1.1 s old", "beat": "1.0 s ago", "state": "ACTIVE"}  # fmt: skip
    for name, text in shown.items():
        assert ill[name] in (f"was {text}", "–", "6.0 s ago"), name
    assert (ill["feed"], ill["drawdown"], ill["state"]) == ("–", "–", "was ACTIVE")
    assert ill["note"].startswith("no node runs for paper/SIM; its last beat was at 2001-09-09 01:46:40 UTC")
    assert (well["latency"].split()[0], ill["latency"].split()[0]) == ("ms", "was,")
    asked = replace(seen, latch=status(place.state, "paper", "SIM"))
    assert words(asked, place, NOW)["state"] == "ACTIVE"


def test_an_answer_is_good_for_its_time_and_one_that_is_kept_says_that_it_is_old() -> None:
    wait = [0.0]

    def ask() -> int:
        time.sleep(wait[0])
        return 7

    lost, kept = Asked(ask, 0.1, 0.2, keep=False), Asked(ask, 0.1, 0.2, keep=True)
    assert lost.answer == (None, "")
    for one in (lost, kept):
        one.look()
        assert one.answer == (7, "")
    time.sleep(0.3)
    assert lost.answer == (None, "no answer for 0 s")
    assert kept.answer == (7, "no answer for 0 s")


def test_the_console_takes_the_alertmanager_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda *words: given.extend(words))
    monkeypatch.setenv("ALPHATRADE_ALERTMANAGER", "http://127.0.0.1:9093")
    assert CliRunner().invoke(app, ["console"]).exit_code == 0
    assert CliRunner().invoke(app, ["console", "--alertmanager", "http://127.0.0.1:1"]).exit_code == 0
    assert [one.alertmanager for one in given if isinstance(one, Place)] == ["http://127.0.0.1:9093", "http://127.0.0.1:1"]
