"""A thousand adversarial proposals before the real door: none is granted, none crashes anything."""

from collections import Counter
from pathlib import Path

import pytest

from alphatrade.nodes import rim as module
from alphatrade.nodes.trace import trace
from alphatrade.reflection import governance
from benchmarks.rim_adversarial import CHEAP, attacked, flipped, sealed
from tests.nodes.make_rim import Place, knowing
from tests.nodes.test_rim import always, replays


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return Place(tmp_path_factory.mktemp("runs"), patch).sim(0).path


@pytest.fixture
def job(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> module.Job:
    knowing(monkeypatch)
    return Place(tmp_path, monkeypatch).open(run)


@pytest.mark.parametrize("n", [350, pytest.param(1000, marks=pytest.mark.long)])
def test_none_of_a_thousand_is_granted(job: module.Job, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays are made up in favour of every one of them: what refuses them is no replay."""
    replays(monkeypatch)
    found = attacked(job, n, 1)
    assert (found.granted, found.crashes) == (0, 0), found.words[:5]
    assert all(came for came in found.kinds.values())
    assert set(sum(found.kinds.values(), Counter())) == {"refused", "reject", "signoff"}
    assert found.kinds["no budget"] == {"signoff": sum(found.kinds["no budget"].values())}
    assert not [name for name, came in found.kinds.items() if name != "no budget" and came["signoff"]]
    for name in ("replayed", "another id", "forged", "not a number"):
        assert set(found.kinds[name]) == {"refused"}
    row = module._applied(job)
    assert row.result == "nothing to apply"
    one = next(iter(job.keeper.ledger.chain.feedback.cases.values()))
    assert one.proposal == job.proposals[0]
    good = module._ruling(job, job.proposals[0], 1, [])
    assert good.outcome == "apply", "the door is open for what is right"


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        ("hashes", "wrong hash"),
        ("evidence", "wrong rows"),
        ("edit", "wrong child"),
        ("target", "alien target"),
        ("budget", "no budget"),
    ],
)
def test_the_count_sees_what_gets_through(
    job: module.Job, condition: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: with a condition disabled some are granted."""
    replays(monkeypatch)
    for conditions in (governance.EVIDENCE, governance.AUTHORITY):
        if condition in conditions:
            monkeypatch.setitem(conditions, condition, always(""))  # type: ignore[arg-type]
    assert attacked(job, 3, 2, {kind: CHEAP[kind]}).granted > 0


def test_words_cannot_look_like_another_line(job: module.Job) -> None:
    job.keeper.append("proposal", sealed(job.proposals[0].plain(), rationale="good\nruling      apply\x1b[2K\r"))
    (case,) = job.keeper.ledger.chain.feedback.cases.values()
    lines = trace(job.keeper.ledger.chain, job.keeper.entries(), case.proposal.id)
    assert [line for line in lines if line.startswith("ruling")] == ["ruling      none yet"]
    assert all(line.isprintable() for line in lines)


def test_what_harms_is_told_by_a_replay(job: module.Job) -> None:
    found = attacked(job, 3, 3, {"flipped": flipped})
    assert (found.granted, found.crashes, found.kinds["flipped"]["reject"]) == (0, 0, 3), found.words
