"""The evidence that the gate gathers by itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alphatrade.nodes import promote
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import LedgerError, TapeError
from benchmarks.honest_twin import honest, spec


@pytest.mark.parametrize(("spent", "slow"), [(50_000, False), (5_000_000, True)])
def test_what_a_busy_machine_adds_to_decisions_is_not_the_policys(
    monkeypatch: pytest.MonkeyPatch, spent: int, slow: bool
) -> None:
    policy = compose_settings([]).policy
    turns: list[int] = []

    def replayed(what: Any, _: None) -> Any:
        turns.append(len(turns))
        took = [spent if what.policy is policy else 40_000] * 300
        took[turns[-1] * 20 : turns[-1] * 20 + 20] = [9_000_000] * 20  # others had the processor, each time elsewhere
        return SimpleNamespace(decision_ns=took)

    monkeypatch.setattr(promote, "replay", replayed)
    rival = compose_settings(["policy.cadence.n=60"]).policy
    tape: Any = SimpleNamespace(instrument=SimpleNamespace(id="X"), slice=lambda start, end: None)
    cell: Any = SimpleNamespace(instrument="X", start=0, end=1)
    own: Any = SimpleNamespace(settings=compose_settings([]))
    found = promote._latency(policy, rival, [tape], [cell], own, lambda: None)
    assert found is not None
    assert found.n == 300
    assert len(turns) == 2 * promote.REPEATS
    assert (found.p99 > 2_000_000) == slow
    assert found.base_p99 < 50_000


def test_trials_that_were_entered_alone_are_found_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = honest()
    alone = [record.model_copy(update={"kind": "trial", "body": one, "trials": ()}) for record in told.ledger
             for one in record.trials]  # fmt: skip
    rest = [record for record in told.ledger if not record.trials]
    own = told.model_copy(update={"ledger": (*rest, *alone), "again": ()})
    claim = promote.Claim(own.search, own.generation, own.index)
    assert promote.trial_at(own.ledger, claim)["policy_hash"] == own.policy_hash
    for other in (claim._replace(place=99), claim._replace(search="")):
        with pytest.raises(LedgerError, match="trial: got"):
            promote.trial_at(own.ledger, other)
    for name, value in {"tapes_of": [], "grid_of": [], "in_charge": "", "_attacked": (), "_latency": None}.items():
        monkeypatch.setattr(promote, name, lambda *_, value=value: value)
    monkeypatch.setattr(promote, "_player", lambda *_: lambda *_: ())
    run: Any = SimpleNamespace(settings=compose_settings([]), grid=None)
    found = promote._replayed(own, run, Path(), spec())
    assert {(one.generation, one.index) for one in found.again} == {(one.generation, one.index) for one in told.again}


def grid(*, held: int) -> Any:
    return [SimpleNamespace(instrument="X", start=at, end=at + 1, holdout=at >= 4 - held) for at in range(4)]


def test_what_is_held_out_is_looked_at_for_leaks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "leaks", lambda _, part, *__: [part])
    tape: Any = SimpleNamespace(instrument=SimpleNamespace(id="X"), slice=lambda start, end: (start, end))
    own: Any = SimpleNamespace(leakage=None, settings=SimpleNamespace(run=None))
    assert promote._leaks(own, tape, grid(held=2), own, own, lambda: None) == [(0, 1), (2, 4)]


def test_a_tape_too_short_for_the_leakage_tests_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any) -> Any:
        raise TapeError("leakage", "10 decisions", "at least 333")

    monkeypatch.setattr(promote, "leaks", short)
    tape: Any = SimpleNamespace(instrument=SimpleNamespace(id="X"), slice=lambda start, end: None)
    own: Any = SimpleNamespace(leakage=None, settings=SimpleNamespace(run=None))
    assert promote._leaks(own, tape, grid(held=2), own, own, lambda: None) == []
