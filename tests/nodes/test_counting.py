"""Manual replays on the grid of a ledgered search are trials, counted before they start; nothing else is."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from alphatrade.evolution.grid import GridSpec, cut
from alphatrade.nodes import counting, regime_fit, whynot
from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.evaluate import reference
from alphatrade.nodes.ledger_home import Home, home, key_file
from alphatrade.nodes.nightly import nightly
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes, simulate
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.trials import Book, read
from alphatrade.risk.errors import InputError, LedgerError
from tests.nodes.test_evaluate import evaluate
from tests.reflection.make_ledger import NOW, SEARCH, digest, search

WORLD = (
    "tape=world",
    "tape.hours=3",
    "tape.step_s=2",
    "policy.cadence.n=8",
    "policy.regime.vol_long=120",
    "output.stress=false",
    "output.report=false",
)
SPEC = GridSpec(block_s=3600, embargo_s=300, holdout=0.5, least=10, period_s=600)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    return tmp_path


composed = cache(lambda *words: compose_settings(words))


def settled(place: Path, *words: str) -> Settings:
    """Return the settings of a small world whose results go below `place`."""
    plain = composed(*WORLD, *words)
    paths = plain.run.paths.model_copy(update={"artifacts": place / "a", "state": place / "state"})
    return plain.model_copy(update={"run": plain.run.model_copy(update={"paths": paths})})


def run(place: Path, *words: str) -> RunResult:
    return simulate(settled(place, *words))


def searched(own: Home, settings: Settings, **parts: Any) -> Tape:
    """Enter a search over the tape of `settings`, and return the tape."""
    (tape,) = load_tapes(settings.run)
    cells = [
        {
            "instrument": cell.instrument,
            "regime": cell.regime,
            "start": str(cell.start),
            "end": str(cell.end),
            "holdout": cell.holdout,
        }
        for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), SPEC)
    ]
    own.append("search", search(cells=cells, tapes={tape.instrument.id: tape.tape_hash}) | parts)
    return tape


def book(own: Home) -> Book:
    return read(own.ledger)


def test_a_replay_on_the_grid_is_a_trial_and_over_the_held_out_cells_a_look(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run(place)
    own = home()
    tape = searched(own, settled(place))
    capsys.readouterr()
    result = run(place)
    assert "entered in the ledger as trial 1" in capsys.readouterr().err
    assert result.summary["digests"] == plain.summary["digests"], "counting changes no result"
    assert (result.path / "policy.json").read_bytes() == (plain.path / "policy.json").read_bytes()
    (one,) = book(own).of_search(SEARCH)
    assert one.trial.policy_hash == result.summary["policy_hash"]
    assert one.trial.tapes == {tape.instrument.id: tape.tape_hash}
    assert one.entry.key == "service"
    assert one.outcome is not None
    assert one.outcome.net_return == pytest.approx(result.summary["return"])
    assert len(one.returns) == 2, "whole hours of three, the last one short"
    equity = result.equity
    last = equity[equity["ts"] <= tape.span[0] + 2 * counting.HOUR]["equity"].astype(float).iloc[-1]
    capital = float(result.summary["capital"])
    assert sum(one.returns) == pytest.approx(last / capital - 1, abs=1e-9)
    (look,) = book(own).looks
    cells = [cell for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), SPEC) if cell.holdout]
    assert look.look.spans == [[str(cell.start), str(min(cell.end, tape.span[1] + 1))] for cell in cells]
    assert [one.entry.seq for one in book(own).looks_at(tape.tape_hash, (cells[0].start, cells[0].end))] == [
        look.entry.seq
    ]
    assert [entry.kind for entry in book(own).entries[4:]] == ["look", "trial", "outcome"]
    assert verify(own.ledger.folder).problems == ()

    run(place)
    assert len(book(own).trials) == 1, "the same run has the same results: once is enough"
    run(place, "seed=2")
    assert len(book(own).trials) == 2


def test_a_part_of_the_tape_is_the_tape(place: Path) -> None:
    own = home()
    tape = searched(own, settled(place))
    held = next(cell for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), SPEC) if cell.holdout)
    first = settled(place, f"tape.end={held.start}")
    assert counting.counted(first, load_tapes(first.run), "0" * 16, "sim").trial
    (one,) = book(own).trials
    assert one.trial.tapes[tape.instrument.id] != tape.tape_hash
    assert len(book(own).of_tapes([tape.tape_hash])) == 1
    assert book(own).looks == (), "nothing held out was in it"
    rest = settled(place, f"tape.start={held.start}")
    assert counting.counted(rest, load_tapes(rest.run), "1" * 16, "sim").trial
    assert len(book(own).looks) == 1


def test_another_tape_is_nobody_s_trial(place: Path) -> None:
    own = home()
    searched(own, settled(place))
    before = (own.ledger.folder / FILE).read_bytes()
    for word in ("tape.seed=2", "tape.instrument=OTHER/USD", "tape.begin=2024-01-01T00:00:00Z"):
        other = settled(place, word)
        assert counting.counted(other, load_tapes(other.run), "0" * 16, "sim") == counting.Count(), word
    assert (own.ledger.folder / FILE).read_bytes() == before
    same = settled(place)
    assert counting.counted(same, load_tapes(same.run), "0" * 16, "sim").trial


def test_without_a_ledger_nothing_happens(place: Path) -> None:
    run(place)
    assert not (place / "state" / "ledger").exists()
    assert not (place / "state" / "keys").exists()


def test_real_tapes_of_the_same_market_and_time_count_whatever_their_hash(place: Path) -> None:
    """Minute bars of the embedded tape: a search on all of it, a replay of half a day at another tick."""
    words = [
        "output.stress=false",
        "output.report=false",
        f"paths.artifacts={place / 'a'}",
        "tape.end=2026-08-18T00:00:00Z",
    ]
    settings = compose_settings(words)
    (tape,) = load_tapes(settings.run)
    first, last = tape.span
    cell = {
        "instrument": tape.instrument.id,
        "regime": "flat-low",
        "start": str(first),
        "end": str(last),
        "holdout": False,
    }
    own = home()
    own.append("search", search(cells=[cell], tapes={tape.instrument.id: digest(1)}))
    count = counting.counted(settings, [tape], "0" * 16, "sim")
    assert count.trial == book(own).trials[-1].entry.hash
    later = tape.slice(last)
    assert counting.counted(settings, [later], "1" * 16, "sim") == counting.Count(), "after the last cell"


BROKEN: dict[str, tuple[Callable[[Home], object], str]] = {
    "no key": (lambda own: key_file("service").unlink(), "a private key file"),
    "wrong key": (lambda own: (key_file("service").unlink(), SigningKey.generate(key_file("service"))), "alphatrade ledger add"),
    "open key": (lambda own: key_file("service").chmod(0o644), "only its owner can read"),
    "revoked key": (
        lambda own: own.ledger.append("roster", {"revoke": "service"}, SigningKey.load(key_file("root")), NOW), "not revoked",
    ),
    "damaged": (lambda own: (own.ledger.folder / FILE).write_bytes((own.ledger.folder / FILE).read_bytes().replace(b"flat", b"FLAT", 1)), "a wrong signature"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("what", ["sim", "fitness"])
def test_what_cannot_be_counted_is_refused_before_it_starts(
    place: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home()
    settings = settled(place)
    searched(own, settings)
    break_it, message = BROKEN[name]
    break_it(own)
    before = (own.ledger.folder / FILE).read_bytes()
    monkeypatch.setattr("alphatrade.nodes.sim.replay", lambda *_: pytest.fail("it was replayed"))
    monkeypatch.setattr("alphatrade.nodes.sim.run_into", lambda *_: pytest.fail("it was replayed"))
    with pytest.raises(LedgerError, match=message):
        run(place) if what == "sim" else evaluate(settings, SPEC)
    assert not (place / "a").exists()
    assert (own.ledger.folder / FILE).read_bytes() == before


def test_a_full_disk_refuses_before_and_after(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = home()
    searched(own, settled(place))
    before, write = (own.ledger.folder / FILE).read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:50]))
        with pytest.raises(LedgerError, match="no space left"):
            run(place)
    assert (own.ledger.folder / FILE).read_bytes() == before
    assert not (place / "a").exists()
    with monkeypatch.context() as patch:
        append = Home.append

        def full(self: Home, kind: str, body: Any) -> Any:
            if kind == "outcome":
                raise LedgerError("ledger", "no space left", "room")
            return append(self, kind, body)

        patch.setattr(Home, "append", full)
        with pytest.raises(InputError):
            run(place)
    assert not (place / "a").exists(), "no result that was not entered"
    (one,) = book(own).trials
    assert one.outcome is None, "but it was looked at, and counts"
    run(place)
    (one,) = book(own).trials
    assert one.outcome is not None, "the same run again tells the outcome, and is no second trial"


def test_a_fitness_table_is_a_trial_on_the_cells_that_it_replays(place: Path) -> None:
    settings = settled(place)
    rows = evaluate(settings, SPEC)
    own = home()
    searched(own, settings)
    assert evaluate(settings, SPEC) == rows
    (one,) = book(own).trials
    assert one.trial.why == "fitness"
    assert one.trial.spans == [[str(row.cell.start), str(row.cell.end)] for row in rows]
    assert book(own).looks == (), "the held-out cells were not replayed"
    assert one.outcome is not None
    assert one.outcome.fills == sum(row.measured.fills for row in rows if row.measured)
    evaluate(settings, SPEC)
    assert len(book(own).trials) == 1
    evaluate(settings, SPEC.model_copy(update={"holdout": 0.3}))
    assert len(book(own).trials) == 2
    assert len(book(own).looks) == 1, "with a smaller holdout of one's own, one looks at that of the search"


def test_the_nightly_job_is_counted_and_fails_where_it_cannot_be(place: Path) -> None:
    own = home()
    searched(own, settled(place))
    _, rows = nightly(settled(place))
    assert rows[0].holds
    (one,) = [found for found in book(own).trials if found.trial.why == "nightly"]  # what the RIM proposes counts, too
    assert one.outcome is not None
    key_file("service").unlink()
    _, rows = nightly(settled(place, "seed=2"))
    assert (rows[0].check, rows[0].holds) == ("replay", False)
    assert "a private key file" in rows[0].detail


class ReplayedError(Exception):
    """In place of a replay: what it was counted by lies in the ledger by then."""


def instead(settings: Settings) -> dict[int, float]:
    """Replay as ``explore whynot --check`` does, with another topology in charge."""
    tapes = load_tapes(settings.run)
    return whynot._replay(settings.policy, settings.run, tapes, tapes[0], "breakout")


def test_an_alternative_that_is_replayed_is_a_trial(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, own = settled(place), home()
    searched(own, settings)

    def replay(folder: Folder, other: Settings, tapes: list[Tape], _: Any) -> dict[str, Any]:
        (one,) = book(own).trials
        assert one.trial.policy_hash == other.policy.policy_hash != settings.policy.policy_hash
        assert (one.trial.why, len(book(own).looks)) == ("explore whynot", 1), "it meets the held-out cells"
        if broken:
            raise ReplayedError
        ts = pd.Series([tapes[0].span[0], tapes[0].span[1]], dtype="int64")
        pd.DataFrame({"ts": ts, "equity": [1e5, 1e5]}).to_parquet(folder.path / "equity.parquet")
        return {"decisions": 9, "fills": 3, "return": 0.5, "max_drawdown": 0.0, "killed": ""}

    monkeypatch.setattr(whynot, "run_into", replay)
    monkeypatch.setattr(whynot, "replayed", lambda *_: {})
    broken = True
    with pytest.raises(ReplayedError):
        instead(settings)
    assert book(own).trials[0].outcome is None, "it was looked at, and counts"
    broken = False
    for _ in range(2):
        assert instead(settings) == {}
    (one,) = book(own).trials
    assert one.outcome is not None
    assert one.outcome.net_return == 0.5
    key_file("service").unlink()
    monkeypatch.setattr(whynot, "run_into", lambda *_: pytest.fail("it was replayed"))
    with pytest.raises(LedgerError, match="a private key file"):
        instead(settled(place, "seed=2"))


def test_a_fit_looks_at_what_it_is_fitted_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, out = settled(place), place / "x.yaml"
    monkeypatch.setattr(regime_fit, "fit_regime", lambda *_: (_ for _ in ()).throw(ReplayedError))

    def fits(one: Settings) -> None:
        with pytest.raises(ReplayedError):
            regime_fit.fit_command(one, 2, out, "")

    fits(settings)
    own = home()
    tape = searched(own, settings)
    held = next(cell for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), SPEC) if cell.holdout)
    fits(settled(place, f"tape.end={held.start}"))
    fits(settled(place, "tape.seed=2"))
    assert book(own).looks == (), "nothing held out was in it"
    for _ in range(2):
        fits(settings)
    (look,) = book(own).looks
    assert (look.look.why, look.look.policy_hash) == ("regime fit", settings.policy.policy_hash)
    assert look.look.spans[0][0] == str(held.start)
    assert book(own).trials == (), "no policy was replayed"
    key_file("service").unlink()
    with pytest.raises(LedgerError, match="a private key file"):
        regime_fit.fit_command(settled(place, "policy.cadence.n=9"), 2, out, "")


def test_without_the_check_a_replay_goes_uncounted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: where no grid is concerned, nothing is entered."""
    own = home()
    tape = searched(own, settled(place))
    monkeypatch.setattr(counting, "_concerned", lambda *_: [])
    assert counting.counted(settled(place), [tape], "0" * 16, "sim") == counting.Count()
    assert book(own).trials == ()


def test_hourly_changes_are_those_of_the_equity() -> None:
    hour = counting.HOUR
    ts, equity = np.array([5, hour + 1, 2 * hour + 7, 3 * hour - 1]), np.array([100.0, 101.0, 99.0, 103.0])
    assert counting._hourly(ts, equity, 100.0, (5, 3 * hour + 6)) == [0.01, 0.0, 0.02]
    assert counting._hourly(ts, equity, 100.0, (5, 5 + hour // 2)) == []
