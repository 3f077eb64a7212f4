"""Planted events: each is where the truth says, does what its kind says, and moves nothing before it."""

import numpy as np
import pandas as pd
import pytest

from alphatrade.nodes import feed
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.tapes import parse_spec
from alphatrade.nodes.world_events import ADDED, KINDS
from alphatrade.nodes.worlds import make_world
from alphatrade.risk.errors import TapeError

PLAIN = {"halts": 0, "gaps": 0, "bad_prints": 0}


def world(seed: int = 11, hours: float = 12, **keys: object) -> tuple[Tape, pd.DataFrame]:
    tape = make_world(WorldTape(seed=seed, hours=hours, **{**PLAIN, **keys}))  # type: ignore[arg-type]
    assert tape.truth is not None
    return tape, tape.truth.assign(
        bid=tape.columns["bid"] / 1e9,
        ask=tape.columns["ask"] / 1e9,
        bid_size=tape.columns["bid_size"] / 1e9,
        ask_size=tape.columns["ask_size"] / 1e9,
    )


def stretches(rows: pd.DataFrame, word: str) -> list[pd.DataFrame]:
    """Return the rows of each event of a kind."""
    at = np.flatnonzero(rows["event"] == word)
    return [rows.iloc[part] for part in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if len(part)]


def before(rows: pd.DataFrame, event: pd.DataFrame, count: int = 120) -> pd.DataFrame:
    first = int(event.index[0])
    return rows.iloc[max(0, first - count) : first]


def spread(rows: pd.DataFrame) -> float:
    return float((rows["ask"] - rows["bid"]).mean())


def depth(rows: pd.DataFrame) -> float:
    return float((rows["bid_size"] + rows["ask_size"]).mean())


def vol(rows: pd.DataFrame) -> float:
    return float(np.diff(np.log(rows["mid"])).std())


@pytest.mark.parametrize(
    ("keys", "tape_hash"),
    [
        ({}, "b48395732eb2c5987ae4f21c5d384ef1df70cc7db12d189b04a97d5bf4812f75"),
        (
            {"seed": 7, "hours": 12, "halts": 2, "gaps": 2, "bad_prints": 5},
            "b30774086ecbb1619e58a1a007da7f64a1c715a1ce725a4ec0b07590519e3526",
        ),
        (
            {
                "seed": 9,
                "hours": 6,
                "step_s": 0.5,
                "halts": 3,
                "gaps": 0,
                "bad_prints": 9,
                "alpha_half_life_s": 3600,
                "spread_ticks": 4,
            },
            "a85a472d90e902c7b5235088eef7b50a49b1f23b6430a3a2406039ce9aca33ed",
        ),
    ],
)
def test_worlds_that_plant_nothing_new_keep_their_bytes(keys: dict[str, object], tape_hash: str) -> None:
    assert make_world(parse_spec({"source": "world", **keys})).tape_hash == tape_hash


@pytest.mark.parametrize("name", [name for name in ADDED if name != "auctions"])
def test_an_event_moves_nothing_before_it(name: str) -> None:
    plain, _ = world()
    tape, rows = world(**{name: 3})
    found = stretches(rows, KINDS[name].word)
    assert len(found) == 3
    first = int(found[0].index[0])
    for column, values in tape.columns.items():
        assert (values[:first] == plain.columns[column][:first]).all()
    assert tape.tape_hash != plain.tape_hash


def test_kinds_do_not_move_each_other() -> None:
    _, few = world(sweeps=4)
    _, more = world(sweeps=4, crossed=5)
    assert (few["event"] == "sweep").equals(more["event"] == "sweep")


def test_an_auction_is_silence_uncross_and_a_wide_thin_start() -> None:
    _, rows = world(auctions=3, hours=24)
    found = stretches(rows, "auction")
    assert len(found) == 3
    for event in found:
        past = before(rows, event)
        silence = (event["ts"].iloc[0] - past["ts"].iloc[-1]) / 60e9
        assert 20 < silence < 70
        assert abs(event["mid"].iloc[0] / past["mid"].iloc[-1] - 1) > 5e-4
        opening, late = event.iloc[:60], event.iloc[-60:]
        assert spread(opening) > 3 * spread(late)
        assert depth(opening) < 0.4 * depth(late)
        assert vol(opening) > 2 * vol(late)


def test_a_sweep_walks_one_way_and_takes_the_side_that_it_hits() -> None:
    _, rows = world(sweeps=20)
    found = stretches(rows, "sweep")
    assert len(found) == 20
    ends = []
    for event in found:
        start = before(rows, event, 1)["mid"].iloc[0]
        path = event["mid"].iloc[:8].to_numpy() / start - 1
        far = path[np.argmax(np.abs(path))]
        noise = event["vol"].iloc[0] * 1e-4 * 10**0.5
        assert abs(far) > 6e-4 + noise, "several ticks beyond noise"
        hit, other = ("ask_size", "bid_size") if far > 0 else ("bid_size", "ask_size")
        assert event[hit].iloc[:2].mean() < 0.25 * event[other].iloc[:2].mean()
        ends.append((event["mid"].iloc[-1] / start - 1) / far)
    assert 0.3 < float(np.median(ends)) < 0.9, "part of the way comes back"


def test_a_surge_leans_for_minutes() -> None:
    plain, _ = world()
    tape, rows = world(surges=10)
    assert (tape.columns["bid"] == plain.columns["bid"]).all(), "prices do not know"
    for event in stretches(rows, "surge"):
        lean = ((event["bid_size"] - event["ask_size"]) / (event["bid_size"] + event["ask_size"])).to_numpy()
        assert abs(lean.mean()) > 0.45
        assert 55 <= len(event) <= 185


def test_a_shock_multiplies_volatility_and_fades() -> None:
    _, quiet = world()
    _, rows = world(vol_shocks=5)
    for event in stretches(rows, "vol_shock"):
        usual = quiet.iloc[event.index]
        third = len(event) // 3
        early, late = (vol(event.iloc[part]) / vol(usual.iloc[part]) for part in (slice(0, third), slice(-third, None)))
        assert early > 3.5
        assert late < early / 2
        assert (event["vol"].iloc[:third] > 3 * usual["vol"].iloc[:third]).all(), "the truth says so"


def test_a_vacuum_is_wide_and_thin_without_volatility() -> None:
    plain, quiet = world()
    tape, rows = world(vacuums=8)
    for event in stretches(rows, "vacuum"):
        usual = quiet.iloc[event.index]
        assert spread(event) > 3.5 * spread(usual)
        assert depth(event) < 0.25 * depth(usual)
        assert (event["mid"] == usual["mid"]).all()
    assert tape.tape_hash != plain.tape_hash


def test_crossed_quotes_survive_into_the_tape_and_the_engine() -> None:
    tape, rows = world(crossed=6, hours=6)
    crossed = rows["bid"] > rows["ask"]
    assert (crossed == (rows["event"] == "crossed")).all()
    assert tape.audit["planted_crossed"] == int(crossed.sum()) >= 6
    assert (rows["ask"] > rows["bid"])[~crossed].all()
    fed = [event.bid_price > event.ask_price for event in feed.events(tape)]
    assert fed == crossed.tolist()


def test_bad_prints_by_a_factor() -> None:
    _, rows = world(bad_prints=30, bad_print_factor=100.0)
    off = ((rows["bid"] + rows["ask"]) / 2 / (rows["mid"] / 1e9))[rows["event"] == "bad_print"]
    assert len(off) == 30
    assert ((off - 100).abs() < 1).sum() + ((off - 0.01).abs() < 1e-3).sum() == 30
    assert 5 < (off > 1).sum() < 25


def test_alpha_stops_at_its_second() -> None:
    _, lasting = world(alpha=0.4, alpha_half_life_s=7200.0)
    _, rows = world(alpha=0.4, alpha_half_life_s=7200.0, alpha_ends_s=10_000.0)
    cut = lasting["ts"].iloc[0] // 10**9 + 10_000
    early = rows["ts"] // 10**9 < cut
    assert (rows["alpha"] == lasting["alpha"])[early].all()
    assert (rows["alpha"][~early] == 0).all()
    lean = (rows["bid_size"] - rows["ask_size"]) / (rows["bid_size"] + rows["ask_size"])
    move = rows["mid"].pct_change().shift(-1)
    assert lean[early].corr(move[early]) > 0.1
    assert abs(lean[~early].corr(move[~early])) < 0.02


def test_placebo_flips_change_labels_and_no_price() -> None:
    plain, honest = world()
    tape, rows = world(placebo_flips=6)
    assert tape.tape_hash == plain.tape_hash
    assert all((tape.columns[name] == plain.columns[name]).all() for name in plain.columns)
    assert not honest["placebo"].any()
    assert (np.diff(rows["placebo"].astype(int)) == 1).sum() == 6
    assert ((rows["regime"] != honest["regime"]) == rows["placebo"]).all()
    assert rows[["drift", "vol", "mid", "alpha", "event"]].equals(honest[["drift", "vol", "mid", "alpha", "event"]])


@pytest.mark.parametrize("name", ["auctions", "sweeps", "crossed", "placebo_flips"])
def test_no_room_is_said(name: str) -> None:
    with pytest.raises(TapeError, match=rf"tape\.{name}"):
        make_world(parse_spec({"source": "world", "hours": 1, **PLAIN, name: 5000}))
