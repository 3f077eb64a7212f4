"""Paper nodes that hear the exchange on loopback: they trade, lose the feed, find it again, are killed and go on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from alphatrade.nodes.beats import Beat, history
from alphatrade.risk.audit import audit
from tests.venue.make_live import Live, moving
from tests.venue.make_venue import running, spawned, until

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    yield
    for process in Live.begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    Live.begun.clear()


def after(beat: Beat, more: int) -> Callable[[Beat], bool]:
    return lambda later: later.number >= beat.number + more


def test_it_trades_two_symbols_on_live_quotes_and_ends_flat(tmp_path: Path) -> None:
    with moving("BTCUSDT", "ETHUSDT") as venue:
        node = Live(tmp_path, venue, "feed.symbols=[BTCUSDT,ETHUSDT]")
        node.begin()
        beat = node.beat(lambda beat: beat.fills >= 10)
        assert beat.facts["feed"] == venue.ws
        assert beat.facts["feed_state"] == "up"
        assert beat.feed_age_s is not None
        assert beat.feed_age_s < 1
        assert beat.feed_limit_s == 60.0
        node.end()
    fills = node.table("fills")
    assert set(fills["instrument"]) == {"BTCUSDT.BINANCE", "ETHUSDT.BINANCE"}
    assert fills.groupby("instrument")["position_after"].last().eq(0).all()
    assert node.happened() == []
    found = audit(tmp_path / "artifacts" / "latest")
    assert (found.violations, found.integrity) == ((), ())
    assert [tape["instrument"] for tape in node.summary()["tapes"]] == ["BTCUSDT.BINANCE", "ETHUSDT.BINANCE"]


@pytest.mark.parametrize("words", [("feed.kind=trades",), ("feed.kind=bars", "feed.bar_s=1", "policy.cadence.n=1")])
def test_trades_and_bars_are_heard_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue, *words)
        node.begin()
        assert node.beat(lambda beat: beat.events >= 5).facts["feed_unfit"] == "0"
        node.crash()


@pytest.mark.parametrize("ms", [1_500, -1_500])
def test_a_clock_that_is_wrong_is_refused(tmp_path: Path, ms: int) -> None:
    with running() as venue:
        venue.fault("skew", ms=ms)
        told = Live(tmp_path, venue).run(code=2)
        assert told.count("\n") == 1
        assert ("ahead of" if ms > 0 else "behind") in told
        venue.fault("skew", ms=ms // 3)
        node = Live(tmp_path, venue)
        node.begin()
        node.beat()
        node.crash()


def test_an_unknown_symbol_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with running() as venue:
        told = Live(tmp_path, venue, "feed.symbols=[BTCUSDT,NOPEUSDT]").run(code=2)
    assert told == "alphatrade: feed.symbols: got 'NOPEUSDT', expected symbols that binance knows\n"
    assert list(tmp_path.iterdir()) == []


def test_a_venue_that_does_not_answer_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with running() as venue:
        node = Live(tmp_path, venue)
    told = node.run(code=2)
    assert told.count("\n") == 1
    assert f"an exchange that answers ({venue.http}: " in told
    assert list(tmp_path.iterdir()) == []


def test_a_feed_that_goes_silent_is_lost_connected_anew_and_the_gap_is_on_record(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.events > 200)
        venue.fault("stall", where="market", seconds=4)
        lost = node.beat(lambda beat: beat.facts["feed_state"] == "lost")
        back = node.beat(lambda beat: beat.facts["feed_state"] == "up" and beat.events > lost.events + 1500)
        assert back.facts["feed_gaps"] == "1"
        said = node.end()
    assert node.happened() == [("lost", venue.ws), ("gap", venue.ws)]
    rows = node.table("risk_events")
    gap = rows[rows["kind"] == "feed_gap"].iloc[0]
    assert 3.0 < float(gap["value"]) < 6.0
    assert "silent for" in said
    assert "is back after" in said


def test_a_venue_that_was_restarted_is_heard_again(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.events > 200)
        venue.fault("restart", seconds=3)
        lost = node.beat(lambda beat: beat.facts["feed_state"] == "lost")
        node.beat(lambda beat: beat.facts["feed_state"] == "up" and beat.events > lost.events + 1500)
        node.end()
    assert node.happened() == [("lost", venue.ws), ("gap", venue.ws)]


def test_however_often_it_is_dropped_it_is_back_in_the_same_time(tmp_path: Path) -> None:
    """Left to itself the adapter waits longer each time: `test_adapter_facts`."""
    with moving() as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.events > 200)
        for _ in range(8):
            venue.fault("drop", where="market")
            dropped = node.beat()
            node.beat(lambda beat, dropped=dropped: beat.events > dropped.events + 400)
        node.end()
    events = node.table("risk_events")
    gaps = events.loc[events["kind"] == "feed_gap", "value"].astype(float)
    assert gaps.max() < 4


def test_messages_that_make_no_sense_come_twice_late_or_never_do_no_harm(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.fills >= 2)
        for name in ("garbage", "duplicate", "reorder", "gap", "slow"):
            venue.fault(name, where="market", count=20)
        until(
            lambda: all(venue.look("faults")["hits"].get(name, 0) >= 20 for name in ("garbage", "duplicate", "gap")), 30
        )
        later = node.beat()
        node.beat(lambda beat: beat.fills > later.fills and beat.facts["feed_state"] == "up")
        node.end()
    assert audit(tmp_path / "artifacts" / "latest").ok


def test_a_second_way_is_heard_while_the_first_is_lost_and_the_first_again_when_it_is_well(tmp_path: Path) -> None:
    with moving() as first, moving() as second:
        way = f"{{source:binance,http:'{second.http}',ws:'{second.ws}',after_s:2,back_s:3}}"
        node = Live(tmp_path, first, f"feed.fallback={way}")
        node.begin()
        node.beat(lambda beat: beat.events > 200)
        assert second.look("state")["market_sockets"] == 0
        first.fault("stall", where="market", seconds=8)
        there = node.beat(lambda beat: beat.facts["feed"] == second.ws)
        node.beat(lambda beat: beat.events > there.events + 200 and beat.facts["feed_state"] == "up")
        node.beat(lambda beat: beat.facts["feed"] == first.ws)
        node.beat(lambda beat: second.look("state")["market_sockets"] == 0)
        node.end()
    assert node.happened() == [
        ("lost", first.ws), ("source", second.ws), ("gap", second.ws), ("source", first.ws),
    ]  # fmt: skip


def test_it_begins_by_the_second_way_where_the_first_does_not_answer(tmp_path: Path) -> None:
    with running() as first:
        pass
    with moving() as second:
        way = f"{{source:binance,http:'{second.http}',ws:'{second.ws}',after_s:1}}"
        node = Live(tmp_path, first, f"feed.fallback={way}")
        node.begin()
        beat = node.beat(lambda beat: beat.fills >= 1)
        assert (beat.facts["feed"], beat.facts["feed_state"]) == (second.ws, "up")
        node.crash()


def test_orders_are_held_while_the_price_is_stale_and_sent_when_the_feed_is_back(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue, "feed.stale_after_s=2")
        node.begin("probe", module="tests.venue.make_hooked")
        node.beat(lambda beat: beat.fills >= 3)
        venue.fault("stall", where="market", seconds=7)
        held = node.beat(lambda beat: beat.facts["feed_state"] == "lost")
        node.beat(lambda beat: beat.facts["feed_state"] == "up" and beat.events > held.events + 1500)
        node.end()
    events, orders = node.table("risk_events"), node.table("orders")
    (gap,) = events[events["kind"] == "feed_gap"].itertuples()
    since = int(gap.detail.rpartition(" ")[2])
    ages = orders[orders["event"] == "initialized"].set_index("order_id")["ts"] - since
    silent = ages[(ages > 0) & (ages < gap.ts - since)]
    last = orders[orders["event"] != "initialized"].groupby("order_id").agg({"event": "first", "reason": "first"})
    for order_id, age in silent.items():
        stale = age > 2 * 10**9
        assert (last.loc[order_id, "event"] == "denied") == stale, (order_id, age)
        assert not stale or last.loc[order_id, "reason"].startswith("STALE_REFERENCE")
    assert (silent > 2 * 10**9).sum() >= 5
    assert (last.loc[ages[ages > gap.ts - since].index, "event"] == "submitted").any()


def test_prices_that_waited_for_a_loop_that_was_held_up_are_old(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue, "feed.stale_after_s=2", "feed.stall_s=20")
        node.begin("hang", module="tests.venue.make_hooked")
        node.beat(lambda _: any(beat.lag_s > 3 for beat in history(node.folder)))  # a beat in time follows at once
        over = time.time_ns() + 10**9  # old prices fill what rests, which is no sign of new orders
        fresh = node.beat(lambda beat: beat.ts > over and beat.feed_age_s is not None and beat.feed_age_s < 1)
        node.beat(lambda beat: beat.fills > fresh.fills + 6)
        said = node.end()
    since = int(said.partition("held up from ")[2].split()[0])
    orders = node.table("orders")
    sent = orders[(orders["event"] == "initialized") & orders["ts"].between(since + 4 * 10**9, since + 8 * 10**9)][
        "order_id"
    ]
    late = (
        orders[orders["order_id"].isin(sent.head(20)) & (orders["event"] != "initialized")].groupby("order_id").first()
    )
    assert len(late) == 20
    assert set(late["event"]) == {"denied"}
    assert late["reason"].str.startswith("STALE_REFERENCE").all()
    assert (orders["event"].eq("submitted") & (orders["ts"] > since + 5 * 10**9)).any(), (
        "fresh prices are traded on again"
    )


def test_killed_without_warning_it_goes_on_where_it_stood_and_its_journal_makes_the_same_records(
    tmp_path: Path,
) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue, "feed.stall_s=60")
        node.begin()
        for kills in range(1, 4):
            node.beat(lambda beat, kills=kills: beat.fills >= 4 * kills)
            venue.tell("pause")
            before = node.beat(after(node.beat(), 2))
            node.crash()
            node.begin()
            first = node.beat()
            assert first.events == before.events
            assert (first.orders, first.fills, first.facts["equity"]) == (
                before.orders,
                before.fills,
                before.facts["equity"],
            )
            venue.tell("resume")
        node.beat(lambda beat: beat.events > first.events + 200)
        node.crash()  # and once in the midst of it: what comes while the journal is read has to wait
        node.begin()
        node.beat(lambda beat: beat.fills >= 16)
        node.end()
        assert [what for what, _ in node.happened()] == ["gap"] * 4
        assert audit(tmp_path / "artifacts" / "latest").ok
        written = {name: node.table(name) for name in ("orders", "fills", "marks", "risk_events")}
        for name, again in node.reread().items():
            assert 10 < len(again) <= len(written[name]) or name == "risk_events"
            pd.testing.assert_frame_equal(again, written[name].iloc[: len(again)], check_dtype=False)


def test_it_goes_on_although_the_exchange_is_away_when_it_is_started_again(tmp_path: Path) -> None:
    with spawned("--speed", "20") as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.fills >= 2)
        node.crash()
    node.begin()
    away = node.beat(lambda beat: beat.facts["feed_state"] == "lost")
    with spawned("--speed", "20", "--port", str(venue.port)):
        node.beat(lambda beat: beat.facts["feed_state"] == "up" and beat.events > away.events + 200)
        said = node.end()
    assert "connected anew" in said
    assert [what for what, _ in node.happened()] == ["gap"]


def test_a_journal_of_other_symbols_is_refused(tmp_path: Path) -> None:
    with moving("BTCUSDT", "ETHUSDT") as venue:
        node = Live(tmp_path, venue)
        node.begin()
        node.beat(lambda beat: beat.events > 200)
        node.crash()
        told = node.run("feed.symbols=[ETHUSDT]", code=2)
    assert "this is the journal of another feed" in told
    assert told.count("\n") == 1


def test_in_the_shadow_the_venue_is_heard_and_nothing_is_sent(tmp_path: Path) -> None:
    with moving() as venue:
        node = Live(tmp_path, venue, "env=live-shadow")
        node.mode = "live-shadow"
        node.begin()
        node.beat(lambda beat: beat.orders >= 10)
        node.end()
    summary = node.summary()
    assert (summary["fills"], summary["pnl"], summary["killed"]) == (0, "0", None)
    assert summary["shadow"] >= 10
    assert set(node.table("orders")["event"]) == {"initialized", "denied"}
