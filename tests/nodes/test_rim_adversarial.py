"""A thousand adversarial proposals before the real door: none is granted, none crashes anything."""

from collections import Counter
from pathlib import Path

import pytest

from alphatrade.nodes import rim as module
from alphatrade.reflection import governance
from benchmarks.rim_adversarial import CHEAP, attacked, flipped
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


def test_none_of_a_thousand_is_granted(job: module.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays are made up in favour of every one of them: what refuses them is no replay."""
    replays(monkeypatch)
    found = attacked(job, 1000, 1)
    assert (found.granted, found.crashes) == (0, 0), found.words[:5]
    assert all(came for came in found.kinds.values())
    assert set(sum(found.kinds.values(), Counter())) == {"refused", "reject", "signoff"}
    assert found.kinds["no budget"] == {"signoff": sum(found.kinds["no budget"].values())}
    assert not [name for name, came in found.kinds.items() if name != "no budget" and came["signoff"]]
    for name in ("replayed", "another id", "forged", "not a number"):
        assert set(found.kinds[name]) == {"refused"}
    row = module._applied(job)
    assert row.result == "nothing to apply"
    good = module._ruling(job, job.proposals[0], 1, [])
    assert good.outcome == "apply", "the door is open for what is right"


@pytest.mark.parametrize(("condition", "kind"), [("hashes", "wrong hash"), ("evidence", "wrong rows"), ("edit", "wrong child"), ("target", "alien target"), ("budget", "no budget")])
def test_the_count_sees_what_gets_through(job: module.Job, condition: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: with a condition disabled some are granted."""
    replays(monkeypatch)
    for conditions in (governance.EVIDENCE, governance.AUTHORITY):
        if condition in conditions:
            monkeypatch.setitem(conditions, condition, always(""))  # type: ignore[arg-type]
    assert attacked(job, 3, 2, {kind: CHEAP[kind]}).granted > 0


def test_what_harms_is_told_by_a_replay(job: module.Job) -> None:
    found = attacked(job, 3, 3, {"flipped": flipped})
    assert (found.granted, found.crashes, found.kinds["flipped"]["reject"]) == (0, 0, 3), found.words
