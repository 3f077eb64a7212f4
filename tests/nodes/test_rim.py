"""The reflection job on a planted world: what is applied, what is not and why, taken up, taken back, and bad input."""

import errno
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes import rim as module
from alphatrade.nodes import rim_stages
from alphatrade.nodes.app import main
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.ledger_home import key_file
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.rim_page import write_page
from alphatrade.nodes.rim_replay import Replayed
from alphatrade.nodes.rim_settings import shipped_governance
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.trace import trace
from alphatrade.reflection import feedback as feedback_module
from alphatrade.reflection import governance, ledger
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.rim.entries import Ruling
from alphatrade.reflection.rim.proposals import Proposal, sealed_proposal
from alphatrade.reflection.stages import Stages
from alphatrade.risk.audit import audit
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import AlphaTradeError, ConfigError, LedgerError
from alphatrade.strategies.policy import Policy
from benchmarks.rim_runs import settings_of
from tests.nodes.make_rim import WORLD, Knows, Place, knowing, placed

AGAIN = ("slice=0.6", "rim.least=10")  # of a short run, where most of the first half is warm-up
FLAG, OFF = "governed_feedback=true", "governed_feedback=false"
PHASES = ("shadow", "canary", "full")


class Flow(NamedTuple):
    """Four runs one after the other, and the state before the first job and after each."""

    runs: list[RunResult]
    states: list[Path]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    root = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        knowing(patch)
        place = Place(root, patch)
        place.keeper.entries()
        runs, states = [], []
        for n in range(4):
            runs.append(place.sim(n, FLAG))
            states.append(shutil.copytree(place.state, root / f"state-{n}"))
            place.job(runs[n].path)
        states.append(shutil.copytree(place.state, root / "state-4"))
    return Flow(runs, states)


Make = Callable[[int], Place]


@pytest.fixture
def at(flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return the machine as it was after so many jobs; the page, which takes longest, is drawn only where it counts."""
    knowing(monkeypatch)
    monkeypatch.setattr(module, "write_page", lambda *_: None)
    return lambda n: placed(tmp_path, flow.states[n], monkeypatch)


def silent(patch: pytest.MonkeyPatch) -> None:
    """Let jobs propose nothing."""
    patch.setattr(module, "propose", lambda *_: ())


def replays(patch: pytest.MonkeyPatch, gain: float = 1e-4, hits: int = 0, wild: float = 0.0) -> None:
    """Let replays be made up: so much an hour for any policy but the one of the run."""
    own: list[str] = []

    def made(policy: Policy, *_: Any) -> Replayed:
        own.append(policy.policy_hash)
        up = gain if policy.policy_hash != own[0] else 0.0
        returns = tuple([up + (wild if n % 2 else -wild) * bool(up) + 1e-6 * (n % 3) for n in range(24)])
        return Replayed(returns, hits if up else 0)

    for one in (module, rim_stages):
        patch.setattr(one, "resimulated", made)


# -- the flow


def test_the_flag_applies_by_rule_and_each_phase_needs_later_data(flow: Flow, at: Make) -> None:
    place = at(4)
    case = place.begun()
    assert case.ruling is not None
    assert (case.ruling.outcome, case.signoff, [body.phase for _, _, body in case.applied]) == (
        "apply",
        None,
        list(PHASES),
    )
    kinds = [entry.kind for entry in place.entries("proposal", "ruling", "application", "signoff", "rollback")]
    assert kinds[:5] == ["proposal", "proposal", "ruling", "ruling", "application"]
    assert kinds.count("application") == 3
    for n, phase in enumerate(PHASES, 1):
        assert at_phase(flow, n) == phase


def at_phase(flow: Flow, n: int) -> str:
    lines = (flow.states[n] / "ledger" / FILE).read_text().splitlines()
    return [json.loads(line)["body"]["phase"] for line in lines if json.loads(line)["kind"] == "application"][-1]


def test_the_next_start_takes_up_what_the_ledger_says(flow: Flow, at: Make) -> None:
    base = flow.runs[0].summary["policy_hash"]
    child = at(4).begun().proposal.child
    shadow, canary, full = (set(run.decisions["policy_hash"]) for run in flow.runs[1:])
    assert (shadow, canary, full) == ({base}, {base, child}, {child})
    told = flow.runs[2].summary["canary"]
    assert (told["policy_hash"], float(told["share"])) == (child, 0.1)
    assert [run.summary.get("canary") for run in (flow.runs[0], flow.runs[1], flow.runs[3])] == [None] * 3
    assert (told["fills"] > 0, flow.runs[3].summary["fills"] > 0) == (True, True)
    for run in flow.runs:
        found = audit(run.path)
        assert (len(found.violations), len(found.integrity), found.ok) == (0, 0, True)


@pytest.mark.parametrize("n", [2, 3])
def test_fills_are_others_and_a_start_without_the_flag_runs_the_base(flow: Flow, at: Make, n: int) -> None:
    without = at(n).sim(n, OFF)
    assert set(without.decisions["policy_hash"]) == {flow.runs[0].summary["policy_hash"]}
    assert without.summary.get("canary") is None
    assert without.summary["digests"]["fills"] != flow.runs[n].summary["digests"]["fills"]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_same_job_again_does_nothing_again(flow: Flow, at: Make, n: int) -> None:
    place = at(n)
    before = (place.state / "ledger" / FILE).read_bytes()
    rows = {row.check: row for row in place.job(flow.runs[n - 1].path)}
    assert (place.state / "ledger" / FILE).read_bytes() == before
    assert rows["proposals"].result.endswith(" 0 of them new")


def test_with_the_flag_off_nothing_is_applied_and_a_person_decides(flow: Flow, at: Make) -> None:
    place = at(0)
    place.job(flow.runs[0].path, OFF)
    cases = list(place.feedback.cases.values())
    assert {case.ruling.outcome for case in cases if case.ruling} == {"signoff"}
    assert all(case.ruling is not None and [words[:5] for words in case.ruling.why] == ["flag:"] for case in cases)
    assert not place.entries("application")
    first, *others = [case.proposal.id for case in cases]
    with pytest.raises(LedgerError, match="signed by a person"):
        place.keeper.append("signoff", {"proposal": first, "approve": True, "why": "a service says so"})
    assert door("signoff", first[:12], "--why", "x", "--key", str(key_file("service")))[0] == 2
    assert not place.entries("signoff")
    assert door("signoff", first[:12], "--why", "looked at it")[0] == 0
    for name in others:
        assert door("signoff", name, "--why", "one is enough", "--reject")[0] == 0
    place.job(flow.runs[0].path, OFF)
    assert not place.entries("application")
    place.job(flow.runs[0].path)
    (begun,) = place.entries("application")
    assert (begun.body["proposal"], begun.body["phase"], begun.body["why"]) == (first, "shadow", "signed off")


def test_what_waits_for_nothing_but_the_flag_is_ruled_on_again_when_it_is_on(flow: Flow, at: Make) -> None:
    place = at(0)
    place.job(flow.runs[0].path, OFF)
    before = len(place.entries("ruling"))
    place.job(flow.runs[0].path)
    assert len(place.entries("ruling")) == 2 * before
    (begun,) = place.entries("application")
    assert (begun.body["phase"], begun.body["why"]) == ("shadow", "by rule")


def test_a_person_can_say_no(flow: Flow, at: Make) -> None:
    place = at(0)
    place.job(flow.runs[0].path, OFF)
    for name in place.feedback.cases:
        assert door("signoff", name, "--why", "no", "--reject")[0] == 0
    place.job(flow.runs[0].path)
    assert not place.entries("application")


def test_the_flag_off_stops_a_change_under_way(flow: Flow, at: Make) -> None:
    place = at(1)
    rows = place.job(flow.runs[1].path, OFF)
    assert "governed_feedback is off" in rows[0].detail
    assert place.begun().phase == "shadow"


def test_the_trace_goes_from_the_rows_to_the_policy_in_force(flow: Flow, at: Make) -> None:
    place = at(4)
    case, entries = place.begun(), place.keeper.entries()
    by_id, by_child = (
        trace(place.keeper.ledger.chain, entries, name[:12]) for name in (case.proposal.id, case.proposal.child)
    )
    assert by_id == by_child
    text = " ".join([line.strip() for line in by_id])  # a long line goes on in the next
    evidence = case.proposal.evidence[0]
    told = (f"run {evidence.run_id}", f"decisions {evidence.first} to {evidence.last}", case.proposal.id, " apply", "shadow: by rule",
            "canary with 10% of the capital", "full:", f"starts with {case.proposal.child}")  # fmt: skip
    assert [words for words in told if words not in text] == []
    for seq in (case.seq, case.ruled, *[seq for seq, _, _ in case.applied]):
        assert f"entry {seq}," in text
    assert door("ledger", "trace", case.proposal.child[:12])[0] == 0
    assert door("ledger", "trace", "f" * 64)[0] == 2


# -- back


def seen_with(flow: Flow, n: int, to: Path, **parts: Any) -> Path:
    """Return a copy of a run whose summary, drift report or canary says something else."""
    copy = shutil.copytree(flow.runs[n].path, to / "run")
    for name in ("summary", "drift"):
        file = copy / f"{name}.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        for key, value in parts.get(name, {}).items():
            found[key] = found[key] | value if isinstance(value, dict) and key in found else value
        file.write_text(json.dumps(found))
    if deep := parts.get("summary", {}).get("max_drawdown"):  # as the curve says, or the run would not be believed
        curve = pq.read_table(copy / "equity.parquet")
        at = curve.column_names.index("drawdown")
        pq.write_table(curve.set_column(at, "drawdown", pa.array([deep] * len(curve))), copy / "equity.parquet")
    return copy


BACK: dict[str, tuple[int, str, dict[str, Any]]] = {
    "a killed canary": (2, "risk", {"summary": {"killed": "DRAWDOWN: it lost"}}),
    "a canary that draws down": (2, "drawdown", {"summary": {"max_drawdown": 0.06}}),
    "a canary that drifts": (2, "drift", {"drift": {"signals": {"alert": 1}}}),
    "a killed policy": (3, "risk", {"summary": {"killed": "DRAWDOWN: it lost"}}),
    "a policy that draws down": (3, "drawdown", {"summary": {"max_drawdown": 0.06}}),
    "a policy that drifts": (3, "drift", {"drift": {"signals": {"flat": 2}}}),
}


@pytest.mark.parametrize(
    ("name", "flag"), [*[(name, OFF) for name in BACK], ("a killed canary", FLAG), ("a policy that drifts", FLAG)]
)
def test_what_goes_wrong_is_taken_back(
    flow: Flow, at: Make, name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, cause, parts = BACK[name]
    place = at(n)
    silent(monkeypatch)
    calm = json.loads((flow.runs[n].path / "drift.json").read_text())["signals"]
    assert not any(calm.get(alarm) for alarm in rim_stages.ALARMS), "the world is calm without what is planted here"
    gone(place, seen_with(flow, n, tmp_path, **parts), cause, flag)


@pytest.mark.parametrize("flag", [FLAG, OFF])
@pytest.mark.parametrize(("cause", "made"), [("shadow", {"gain": -1e-5}), ("risk", {"hits": 1})])
def test_a_shadow_is_taken_back(
    flow: Flow, at: Make, cause: str, made: dict[str, Any], flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(1)
    silent(monkeypatch)
    replays(monkeypatch, **made)
    gone(place, flow.runs[1].path, cause, flag)


def gone(place: Place, run: Path, cause: str, flag: str) -> None:
    """Let the job see a run, and expect that the change is gone for good."""
    place.job(run, flag)
    (entry,) = place.entries("rollback")
    assert entry.body["cause"] == cause
    case = place.begun()
    base = compose_settings([*WORLD, FLAG])
    assert (case.phase, case.granted, taken_up(base)) == ("", False, base), "a node starts with the base again"
    with pytest.raises(LedgerError, match="taken back"):
        place.keeper.append("application", case.applied[0][2].model_dump())
    before = len(place.entries("application"))
    place.job(run, flag)
    same = [one for one in place.entries("application")[before:] if one.body["proposal"] == case.proposal.id]
    assert (len(place.entries("rollback")), same) == (1, [])


def test_a_change_of_a_change_goes_first(flow: Flow, at: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of a changed policy is looked at although the next change of it is in shadow, and both are taken back."""
    place = at(4)
    first = place.begun()
    monkeypatch.setattr(module, "DAY_S", 0.0)
    replays(monkeypatch)
    place.job(flow.runs[3].path, *AGAIN)
    second = place.feedback.under_way(first.proposal.child)
    assert second is not None
    silent(monkeypatch)
    place.job(seen_with(flow, 3, tmp_path, summary={"max_drawdown": 0.5}), *AGAIN)
    assert [one.body["proposal"] for one in place.entries("rollback")] == [second.proposal.id, first.proposal.id]
    base = compose_settings([*WORLD, FLAG])
    assert taken_up(base) == base


def test_what_would_lead_back_is_passed_over(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ruling may grant what the ledger does not let begin: the job says so and goes on."""
    place = at(4)
    monkeypatch.setattr(module, "DAY_S", 0.0)
    replays(monkeypatch)
    first = place.begun()
    back = {"edit": {"kind": "route_weight", "regime": first.proposal.edit.regime, "tactic": "momentum", "weight": 1.0},  # type: ignore[union-attr]
            "target": first.proposal.child, "child": first.proposal.target}  # fmt: skip
    real = module.propose
    monkeypatch.setattr(module, "propose", lambda *a: tuple([sealed(one, **back) for one in real(*a)[:1]]))
    rows = {row.check: row for row in place.job(flow.runs[3].path, *AGAIN)}
    (case,) = [case for case in place.feedback.cases.values() if case.proposal.child == first.proposal.target]
    assert case.granted
    assert rows["application"].result == "nothing to apply"
    assert len(place.entries("application")) == 3


# -- the rule is fed


def sealed(one: Proposal, **parts: Any) -> Proposal:
    return sealed_proposal({name: value for name, value in (one.plain() | parts).items() if name != "id"})


def always(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def changed(one: Proposal, name: str) -> Proposal:
    """Return a proposal that lies about something."""
    evidence = one.evidence[0].model_dump()
    late = str(int(one.created) + 30 * 3600 * 10**9)
    return sealed(one, **{
        "target": {"target": "1" * 64}, "child": {"child": "1" * 64}, "model": {"model_hash": "1" * 64},
        "config": {"config_hash": "1" * 64}, "code": {"code_hash": "1" * 64}, "engine": {"engine": "oracle"},
        "rows": {"evidence": [evidence | {"sha256": "1" * 64}]}, "future": {"evidence": [evidence | {"end": late}], "created": late},
    }[name])  # fmt: skip


LIES = {"target": ("target",), "child": ("edit",), "model": ("hashes",), "config": ("hashes",), "code": ("hashes",), "engine": ("hashes",),
        "rows": ("evidence",), "future": ("evidence", "window")}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_proposal_that_lies_is_rejected_with_the_reason(
    flow: Flow, at: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(0)
    replays(monkeypatch)
    job = place.open(flow.runs[0].path)
    one = changed(job.proposals[0], name)
    job.keeper.append("proposal", one.plain())
    found = module._ruling(job, one, 1, [])
    assert (found.outcome, found.why[0].partition(":")[0]) == ("reject", LIES[name][0])
    for condition in LIES[name]:  # the mutant: without the condition it would be applied
        monkeypatch.setitem(governance.EVIDENCE, condition, always(""))  # type: ignore[arg-type]
    assert module._ruling(job, one, 1, []).outcome == "apply"


def test_what_was_ruled_on_is_not_ruled_on_again(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = at(0)
    replays(monkeypatch, gain=-1e-4)
    place.job(flow.runs[0].path)
    job = place.open(flow.runs[0].path)
    assert [words[:4] for words in module._ruling(job, job.proposals[0], 1, []).why] == [
        "new:",
        "wind",
        "peri",
        "upli",
        "inte",
    ]


FED: dict[str, tuple[str, tuple[str, ...], Callable[[pytest.MonkeyPatch], None]]] = {
    "window": ("reject", ("governance.embargo_s=40000",), replays),
    "periods": ("reject", ("governance.periods=25",), replays),
    "moved": ("reject", ("governance.moved=25",), replays),
    "uplift": ("reject", ("governance.uplift_bps=2",), replays),
    "interval": ("reject", (), lambda patch: replays(patch, wild=0.01)),
    "risk": ("reject", (), lambda patch: replays(patch, hits=1)),
    "flag": ("signoff", (OFF,), replays),
    "stage": ("signoff", (), lambda patch: patch.setattr(Stages, "stage_of", always("pilot"))),
    "budget": ("signoff", (), lambda patch: patch.setattr(module.Home, "begun_within", always(1))),
    "no budget": ("signoff", ("governance.changes_per_day=0",), replays),
    "flow": ("signoff", ("governance.flow=0.05",), lambda patch: patch.setattr(module, "flow_share", always(1.0))),
}


@pytest.mark.parametrize("name", FED)
def test_each_condition_is_fed_by_the_job(flow: Flow, at: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the mutants: each condition alone stands between the bad change and its beginning."""
    outcome, words, plant = FED[name]
    place = at(0)
    replays(monkeypatch)
    plant(monkeypatch)
    told = {"moved": "periods", "no budget": "budget"}.get(name, name)
    job = place.open(flow.runs[0].path, *words)
    one = job.proposals[0]
    job.keeper.append("proposal", one.plain())
    found = module._ruling(job, one, 1, [])
    assert (found.outcome, [words.partition(":")[0] for words in found.why]) == (outcome, [told])
    for conditions in (governance.EVIDENCE, governance.AUTHORITY):
        if told in conditions:
            monkeypatch.setitem(conditions, told, always(""))  # type: ignore[arg-type]
    found = module._ruling(job, one, 1, [])
    assert found.outcome == "apply"
    job.keeper.append("ruling", found.model_dump(mode="json"))
    assert job.keeper.ledger.chain.feedback.cases[one.id].granted


def test_a_grant_by_rule_does_not_outlive_its_stage_nor_its_day(
    flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(0)
    replays(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_applied", always(module.Row("application", "killed", "", None)))
        place.job(flow.runs[0].path)
    assert {case.granted for case in place.feedback.cases.values()} == {True}
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "stage_of", always("pilot"))
        place.job(flow.runs[0].path)
    with monkeypatch.context() as patch:
        patch.setattr(module.Home, "begun_within", always(1))
        place.job(flow.runs[0].path)
    assert not place.entries("application")
    place.job(flow.runs[0].path)
    assert len(place.entries("application")) == 1


def test_a_change_waits_where_its_policy_was_promoted(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = at(1)
    silent(monkeypatch)
    replays(monkeypatch)
    monkeypatch.setattr(Stages, "stage_of", always("pilot"))
    assert "is at pilot" in place.job(flow.runs[1].path)[0].detail
    assert place.begun().phase == "shadow"


def test_a_level_that_cannot_be_shown_is_a_reason_and_still_a_report(
    flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(0)
    replays(monkeypatch)
    monkeypatch.setattr(module, "write_page", write_page)
    place.job(flow.runs[0].path, "governance.level=0.9999")
    case = next(iter(place.feedback.cases.values()))
    assert isinstance(case.ruling, Ruling)
    assert case.ruling.outcome == "reject"
    assert trace(place.keeper.ledger.chain, place.keeper.entries(), case.proposal.id)
    assert list(place.root.glob("artifacts/*/rim/index.html"))


# -- bad input


@pytest.mark.parametrize(
    "word", ["slice=0", "slice=nan", "rim.least=9007199254740993", "governance.stage=pilot", "smaller=[a.b]"]
)
def test_a_setting_is_refused_by_name(word: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[word]):
        settings_of(Path("x"), Path("x"), word)


def door(*words: str) -> tuple[int, list[str]]:
    """Return exit code and stderr of the command line in this process."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    err = StringIO()
    before, sys.argv = sys.argv, ["alphatrade", *words]
    try:
        with redirect_stderr(err), redirect_stdout(StringIO()):
            main()
    except SystemExit as left:
        return int(left.code or 0), err.getvalue().splitlines()
    finally:
        sys.argv = before
    return 0, err.getvalue().splitlines()


def refused(place: Place, run: Path, *words: str) -> str:
    """Expect one line, nothing entered, and no folder; with words by the command line, which ends in 2 for every such error."""
    file = place.state / "ledger" / FILE
    before = file.read_bytes() if file.is_file() else b""
    if words:
        left, told = door("rim", f"run={run}", f"paths.artifacts={place.root}/artifacts", FLAG, *words)
        assert (left, len(told)) == (2, 1), told
        assert told[0].startswith("alphatrade: ")
    else:
        with pytest.raises(AlphaTradeError) as caught:
            place.job(run)
        told = str(caught.value).splitlines()
        assert len(told) == 1
    assert (file.read_bytes() if file.is_file() else b"") == before
    assert not (place.root / "artifacts").exists()
    return told[0]


WRONG = {
    "+new=1": "new", "slice=0": "slice", "slice=nan": "slice", "~slice": "slice", "~governance": "governance", "rim.engine=oracle": "rim.engine", "rim.least=9007199254740993": "rim.least", "governance.stage=pilot": "governance.stage",
    "governance.uplift_bps=nan": "governance.uplift_bps", "smaller=[a.b]": "smaller", "instrument=NO": "NO",
    "governed_feedback=perhaps": "governed_feedback", "rim=null": "rim", "run=": "run", }  # fmt: skip


@pytest.mark.parametrize("word", ["nothing=1", *[pytest.param(word, marks=pytest.mark.long) for word in WRONG]])
def test_a_wrong_setting(flow: Flow, at: Make, word: str) -> None:
    assert WRONG.get(word, "nothing") in refused(at(0), flow.runs[0].path, word)


def test_a_folder_that_is_no_run(at: Make, tmp_path: Path) -> None:
    place = at(0)
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        refused(place, tmp_path / name, FLAG)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("summary.json", {}), ("summary.json", {"run_id": "x"}), ("run.yaml", {}), ("policy.json", {}), ("fills.parquet", None),
     ("summary.json", None), ("diary/decisions.parquet", None)],
)  # fmt: skip
def test_a_damaged_run(flow: Flow, at: Make, tmp_path: Path, name: str, parts: Any) -> None:
    copy = shutil.copytree(flow.runs[0].path, tmp_path / "run")
    (copy / name).unlink() if parts is None else (copy / name).write_text(json.dumps(parts))
    refused(at(0), copy)


@pytest.mark.parametrize("keep", [slice(0, 0), slice(0, 100), slice(100, None)])
def test_a_diary_that_is_empty_or_has_a_gap(flow: Flow, at: Make, tmp_path: Path, keep: slice) -> None:
    copy = shutil.copytree(flow.runs[0].path, tmp_path / "run")
    file = copy / "diary" / "decisions.parquet"
    table = pq.read_table(file)
    rows = list(range(len(table)))
    kept = rows[keep] if keep.stop != 100 else rows[:100] + rows[101:]
    pq.write_table(table.take(pa.array(kept, pa.int64())), file)
    assert "decision" in (told := refused(at(0), copy)) or "gap" in told


@pytest.mark.parametrize("text", ["", "{", "{}", "half", "other", "another engine", "missing"])
def test_a_wrong_model_file(flow: Flow, at: Make, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.nodes.rim_settings import model_file
    from alphatrade.reflection.rim.engines import load

    file = tmp_path / "ridge.json"
    whole = model_file("ridge").read_text()
    texts = {
        "half": whole[: len(whole) // 2],
        "other": whole.replace('"seed":', '"seed":1', 1),
        "another engine": model_file("trm").read_text(),
    }
    if text != "missing":
        file.write_text(texts.get(text, text))
    monkeypatch.setattr(module, "load", load)
    monkeypatch.setattr(module, "model_file", lambda _: file)
    assert "ridge.json" in refused(at(0), flow.runs[0].path)


def test_the_same_data_are_not_asked_twice(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another slice and fewer proposals make new ids and a smaller family; what they look at has been looked at."""
    place = at(0)
    replays(monkeypatch, gain=-1e-4)
    place.job(flow.runs[0].path)
    first = len(place.entries("ruling"))
    replays(monkeypatch)
    place.job(flow.runs[0].path, "slice=0.45", "rim.most=1")
    (again,) = place.entries("ruling")[first:]
    assert again.body["outcome"] == "reject"
    assert again.body["why"][0].startswith("fresh: ")
    assert not place.entries("application")
    monkeypatch.setattr(feedback_module.Feedback, "spent", lambda *_: 0)  # mutation: without the count it is applied
    place.job(flow.runs[0].path, "slice=0.55", "rim.most=1")
    assert len(place.entries("application")) == 1


def test_thresholds_looser_than_they_come_are_told(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = at(0)
    replays(monkeypatch)
    rows = {row.check: row for row in place.job(flow.runs[0].path)}
    assert "level 0.9 (0.95)" in rows["thresholds"].detail
    name = place.begun().proposal.id
    assert "by thresholds looser than they come" in " ".join(
        trace(place.keeper.ledger.chain, place.keeper.entries(), name)
    )
    assert "thresholds" not in {
        row.check for row in module._loose(place.own(flow.runs[0].path)._replace(governance=shipped_governance()))
    }


def test_a_ledger_that_cannot_be_read(flow: Flow, at: Make) -> None:
    place = at(1)
    file = place.state / "ledger" / FILE
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"shadow"', b'"canary"', 1))
    refused(place, flow.runs[0].path)
    with pytest.raises(LedgerError):
        taken_up(compose_settings([*WORLD, FLAG]))
    file.unlink()
    file.mkdir()
    left, told = door("rim", f"run={flow.runs[0].path}", f"paths.artifacts={place.root}/artifacts", FLAG)
    assert (left, told[-1][:12], (place.root / "artifacts").exists()) == (2, "alphatrade: ", False)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/the/disk")


def test_a_full_disk_in_the_middle_and_the_next_job_goes_on(
    flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(0)
    replays(monkeypatch)
    real, words = (
        ledger.write_line,
        (f"run={flow.runs[0].path}", f"paths.artifacts={place.root}/artifacts", FLAG, *RULE_WORDS),
    )
    for n in range(5):  # each job gets one entry further
        left = [1]

        def write(handle: int, data: bytes, size: int, left: list[int] = left) -> None:
            left[0] -= 1
            real(handle, data, size) if left[0] >= 0 else full()

        monkeypatch.setattr(ledger, "write_line", write)
        with suppress(LedgerError):
            place.job(flow.runs[0].path)
            assert n == 4, "until all is entered it ends in an error"
    assert len(place.entries("proposal", "ruling", "application")) == 5
    monkeypatch.setattr(ledger, "write_line", real)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_page", full)
        code, told = door("rim", *words)
        assert (code, len(told)) == (2, 1)
    assert door("rim", *words) == (0, [])
    assert len(place.entries("proposal", "ruling", "application")) == 5


RULE_WORDS = ("governance.periods=12", "governance.moved=6", "governance.level=0.9", "rim.most=2")


def test_two_jobs_at_once(flow: Flow, at: Make) -> None:
    place = at(0)
    with FolderLock(place.state / "ledger"):
        assert "a reflection job of process" in refused(place, flow.runs[0].path, FLAG)
    from alphatrade.nodes.artifacts import RunFolder

    with RunFolder(place.root / "artifacts", "rim"):
        code, told = door("rim", f"run={flow.runs[0].path}", f"paths.artifacts={place.root}/artifacts")
    assert (code, len(told)) == (2, 1)
    assert "in use" in told[0]


def test_the_model_that_comes_with_this_version_is_used(flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.reflection.rim.engines import load

    place = at(0)
    monkeypatch.setattr(module, "load", load)
    replays(monkeypatch)
    place.job(flow.runs[0].path)
    for one in place.entries("proposal"):
        assert one.body["model_hash"] != Knows.model_hash
