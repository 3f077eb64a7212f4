"""Leakage in real replays: honest policies pass on bars and on quotes, planted features that look ahead are found."""

from functools import cache
from pathlib import Path

import pytest

from alphatrade.evolution.leakage import Found, LeakageSpec
from alphatrade.evolution.promotion import CHECKS
from alphatrade.nodes.leakage import leaks, other_future
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.risk.errors import TapeError
from benchmarks.honest_twin import honest, spec
from tests.nodes import plants

SPEC = LeakageSpec(cuts=2)
BARS = "tape.end=2026-08-17T11:00:00Z"
WORLD = ("tape=world", "tape.hours=3", "tape.halts=1")


def given(state: Path, *words: str) -> tuple[Settings, Tape]:
    settings = compose_settings(["genotype=default", f"paths.state={state}", *words])
    (tape,) = load_tapes(settings.run)
    return settings, tape


@cache
def found(state: Path, *words: str) -> dict[str, list[Found]]:
    settings, tape = given(state, *words)
    rows = leaks(settings.policy, tape, settings.run, SPEC)
    return {test: [row for row in rows if row.test == test] for test in ("truncation", "shuffle", "echo")}


def planted(name: str) -> tuple[str, ...]:
    feature = f"{{kind: 'tests.nodes.plants:{name}', n: 1}}"
    gene = "[{kind: taker_momentum, params: {signal: plant, enter: 1.5, leave: 0.0, hold_min: 1}}]"
    return BARS, f"+genotype.features.plant={feature}", f"genotype.topologies.flat-low={gene}"


def keep_prices(state: Path) -> None:
    _, tape = given(state, BARS)
    plants.PRICES[:] = (tape.columns["close"] / 1e9).tolist()


@pytest.mark.parametrize("words", [(BARS,), WORLD], ids=["bars", "quotes of a world with a halt"])
def test_an_honest_policy_passes(words: tuple[str, ...], state_dir: Path) -> None:
    rows = found(state_dir, *words)
    assert [len(each) for each in rows.values()] == [2, 2, 1]
    assert [row.leak for each in rows.values() for row in each] == [""] * 5
    assert all(row.rows > 100 for each in rows.values() for row in each)
    assert 0 < rows["echo"][0].score < 4


def test_a_feature_that_sees_the_end_of_the_tape_is_found(state_dir: Path) -> None:
    rows = found(state_dir, *planted("Peek"))
    assert all(row.leak.startswith("decisions row 0, ") for row in rows["truncation"] + rows["shuffle"])


@pytest.mark.parametrize("name", ["Disguised"])
def test_a_feature_that_knows_the_tape_by_heart_echoes(name: str, state_dir: Path) -> None:
    """Neither cutting nor shuffling changes what it says up to t."""
    keep_prices(state_dir)
    rows = found(state_dir, *planted(name))
    assert [row.leak for row in rows["truncation"] + rows["shuffle"]] == [""] * 4
    assert "f_plant moves with the real price" in rows["echo"][0].leak
    assert rows["echo"][0].score > 7


def test_what_is_found_is_evidence(state_dir: Path) -> None:
    """The gate takes what real replays of an honest policy gave, and refuses what those of a planted feature did."""
    thresholds = spec().model_copy(update={"leakage": SPEC})
    held = min((cell for cell in honest().grid if cell.holdout), key=lambda cell: cell.start)
    for words, holds in (((BARS,), True), (planted("Peek"), False)):
        rows = [row for each in found(state_dir, *words).values() for row in each]
        first, last = min(row.at for row in rows), max(row.at for row in rows)
        seen, late = (
            [row.model_copy(update={"instrument": held.instrument, "at": held.start + row.at - zero}) for row in rows]
            for zero in (last + 1, first)
        )
        evidence = honest().model_copy(update={"leakage": [*seen, *late]})
        assert (CHECKS["leakage"](evidence, thresholds).why == "") is holds
        assert CHECKS["leakage"](evidence.model_copy(update={"leakage": seen}), thresholds).why


def test_a_shuffled_future_is_a_market(state_dir: Path) -> None:
    for words in ((BARS,), WORLD):
        _, tape = given(state_dir, *words)
        until = int(tape.columns["ts"][len(tape) // 2])
        other = other_future(tape, until, 1)
        columns, cut = other.columns, len(tape) // 2 + 1
        assert all((columns[name][:cut] == tape.columns[name][:cut]).all() for name in columns)
        assert (columns["ts"] == tape.columns["ts"]).all()
        assert other.tape_hash != tape.tape_hash
        tick = int(float(tape.instrument.tick) * 1e9)
        prices = [columns[name] for name in columns if name in {"open", "high", "low", "close", "bid", "ask"}]
        assert all((price % tick == 0).all() and (price > 0).all() for price in prices)
        if tape.kind == "bars":
            high, low = columns["high"], columns["low"]
            assert all(((low <= columns[name]) & (columns[name] <= high)).all() for name in ("open", "close"))
        else:
            assert (columns["bid"] < columns["ask"]).all()
        mine, real = prices[-1][cut:], tape.columns["close" if tape.kind == "bars" else "ask"][cut:]
        assert (mine != real).mean() > 0.9


def test_a_tape_that_is_too_short_shows_nothing(state_dir: Path) -> None:
    settings, tape = given(state_dir, "tape.end=2026-08-17T07:00:00Z")
    with pytest.raises(TapeError, match="decisions"):
        leaks(settings.policy, tape, settings.run, SPEC)
