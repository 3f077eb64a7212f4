"""The stages of a change: what a run has to show before it goes on, what takes it back, and which runs are believed."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from alphatrade.nodes import rim as module
from alphatrade.nodes import rim_record, rim_stages
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.rim_record import Earned, Law, earned, law_of, read_record
from alphatrade.nodes.rim_replay import Replayed
from alphatrade.nodes.rim_stages import Seen, advance, seen_of
from alphatrade.nodes.steps import Row
from alphatrade.risk.audit_orders import Finding
from alphatrade.risk.errors import InputError, LedgerError, RunDirError, TapeError
from tests.nodes import make_rim
from tests.nodes.make_rim import Place, knowing, placed

FLAG = "governed_feedback=true"
BPS, HOUR = 1e-4, 3600 * 10**9
SHADOW, CANARY, FULL = 1, 2, 3  # of the flow: the state in which a change is in that phase, and the run that follows


class Flow(NamedTuple):
    """Four runs one after the other, and the state before the job on each."""

    runs: list[RunResult]
    states: list[Path]
    reads: list[module.Read]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    root = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        knowing(patch)
        patch.setattr(module, "write_page", lambda *_: None)
        place = Place(root, patch)
        place.keeper.entries()
        runs, states, reads = [], [], []
        for n in range(4):
            runs.append(place.sim(n, FLAG))
            states.append(shutil.copytree(place.state, root / f"state-{n}"))
            reads.append(module._read(place.own(runs[n].path)))
            place.job(runs[n].path)
    return Flow(runs, states, reads)


class Stage:
    """The machine in a phase, and the run that is looked at."""

    def __init__(self, place: Place, run: Path, read: module.Read) -> None:
        self.place, self.run, self.read = place, run, read

    def ran(self, n: int, *words: str) -> None:
        """Run a part of the world once more, and look at that."""
        self.run = self.place.sim(n, FLAG, *words).path
        self.read = module._read(self.place.own(self.run, FLAG))

    def looked(self, *words: str, **parts: Any) -> Row:
        """Let the stages look at the run, or at what differs from it in parts."""
        return advance(
            self.place.own(self.run, FLAG, *words), self.place.keeper, self.read.run, self.seen._replace(**parts)
        )

    @property
    def seen(self) -> Seen:
        return seen_of(self.run, self.read.part.policy, self.read.tape)

    @property
    def until(self) -> int:
        return int(self.place.begun().applied[-1][2].until)

    @property
    def phase(self) -> str:
        """How far the change is, or what took it back."""
        case = self.place.begun()
        return case.rollback.cause if case.rollback else case.phase


Make = Callable[[int], Stage]


@pytest.fixture
def at(flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a phase and a copy of the run that follows in it."""
    knowing(monkeypatch)
    monkeypatch.setattr(module, "write_page", lambda *_: None)
    copies = (tmp_path / f"run-{n}" for n in range(9))

    def make(n: int) -> Stage:
        run = shutil.copytree(flow.runs[n].path, next(copies))
        return Stage(placed(tmp_path, flow.states[n], monkeypatch), run, flow.reads[n])

    return make


def changed(run: Path, name: str, **values: Any) -> None:
    """Let a JSON or YAML file of a run say something else; two underscores lead into it."""
    file = run / name
    whole = yaml.safe_load(file.read_text()) if file.suffix == ".yaml" else json.loads(file.read_text())
    for path, value in values.items():
        *way, last = path.split("__")
        part = whole
        for key in way:
            part = part[key]
        part[last] = value
    file.write_text(yaml.safe_dump(whole) if file.suffix == ".yaml" else json.dumps(whole))


def column(run: Path, name: str, label: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Let a column of a table of a run hold other values."""
    file = run / f"{name}.parquet"
    table = pq.read_table(file)
    values = pa.array(change(table[label].to_pylist()), table.schema.field(label).type)
    pq.write_table(table.set_column(table.column_names.index(label), table.schema.field(label), values), file)


# -- only what is later counts


def test_a_canary_is_judged_by_what_comes_after_it_was_entered(
    flow: Flow, at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that begins two days before: its words are those of the ten hours after, by another arithmetic."""
    stage = at(CANARY)
    monkeypatch.setattr(make_rim, "SPANS", ("06T00", "08T20"))
    stage.ran(0)
    until = stage.until
    fills, marks = (pd.read_parquet(stage.run / f"{name}.parquet") for name in ("fills", "marks"))
    came: dict[tuple[str, bool], float] = {}
    for name, capital in (("Organism-000", 1e6), ("Organism-001", 1e5)):
        own = fills[fills["strategy"] == name]
        signed = own["qty"].astype(float) * np.where(own["side"] == "BUY", 1, -1)
        mids = marks["bid"].astype(float) / 2 + marks["ask"].astype(float) / 2
        early, then = own["ts"] <= until, mids[marks["ts"] <= until].iloc[-1]
        cash = -signed * own["price"].astype(float) - own["fee"].astype(float)
        at_end, before = cash.sum() + signed.sum() * mids.iloc[-1], cash[early].sum() + signed[early].sum() * then
        came[name, True], came[name, False] = (at_end - before) / capital / BPS, at_end / capital / BPS
    told = stage.looked().detail
    assert (
        f"{came['Organism-001', True]:+.2f} bps of its capital in 10 hours as a canary, the policy {came['Organism-000', True]:+.2f}"
        in told
    )
    assert f"{came['Organism-001', False]:+.2f}" != f"{came['Organism-001', True]:+.2f}", (
        "the whole run says something else"
    )
    (entry,) = [one for one in stage.place.entries("application") if one.body["phase"] == "full"]
    assert entry.body["why"] == told


def test_parts_of_a_run_add_up_to_the_whole(flow: Flow) -> None:
    run = flow.runs[CANARY]
    record = read_record(run.path, flow.reads[CANARY].part.policy)
    middle = int(run.fills["ts"].iloc[40])
    for canary, told in ((True, run.summary["canary"]), (False, run.summary["canary"]["beside"])):
        assert earned(record, canary, 0) == (told["fills"], pytest.approx(told["return"], abs=1e-15))
        later = earned(record, canary, middle)
        assert 0 < later.fills < told["fills"]
        assert later.gain != told["return"]
        assert earned(record, canary, 2**62) == Earned(0, 0.0)


@pytest.mark.parametrize("n", [SHADOW, CANARY])
def test_a_run_that_ends_before_says_nothing(at: Make, n: int) -> None:
    stage = at(n)
    assert "nothing later" in stage.looked(tape=earlier(stage.seen.tape, stage.until)).detail
    assert stage.phase == ("shadow", "canary")[n - 1]


def earlier(tape: Any, until: int) -> Any:
    """Return a tape moved back in time so that it ends at `until`."""
    return dataclasses.replace(tape, columns=tape.columns | {"ts": tape.columns["ts"] - tape.span[1] + until})


@pytest.mark.parametrize(("n", "phase"), [(SHADOW, "shadow"), (CANARY, "canary")])
def test_a_run_of_another_instrument_says_nothing(at: Make, n: int, phase: str) -> None:
    stage = at(n)
    stage.ran(n, "tape.instrument=BTC/USD")
    told = stage.looked().detail
    assert told == "waits: the run is of BTC/USD.SIM, and the change was ruled on in WLD/USD.SIM"
    assert stage.phase == phase


@pytest.mark.parametrize("lie", [{"canary__share": 0.2}, {"canary": None}])
def test_a_run_without_this_canary_says_nothing(at: Make, lie: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = at(CANARY)
    changed(stage.run, "run.yaml", **lie)
    if "canary" in lie:
        changed(stage.run, "summary.json", canary=None)
    assert stage.looked().detail == "waits: no later run had it as a canary"
    assert stage.phase == "canary"


def test_a_run_with_another_canary_says_nothing(at: Make) -> None:
    stage = at(CANARY)
    assert (
        stage.looked(record=stage.seen.record._replace(canary="1" * 64)).detail
        == "waits: no later run had it as a canary"
    )
    assert stage.phase == "canary"


# -- each condition


def returns(patch: pytest.MonkeyPatch, *apart: float, hits: int = 0) -> None:
    """Let replays be made up: the policy earns the same in each hour, the change so many bps more."""
    made = iter((Replayed((1e-5,) * len(apart), 0), Replayed(tuple([1e-5 + BPS * one for one in apart]), hits)))
    patch.setattr(rim_stages, "resimulated", lambda *_: next(made))


IN_SHADOW: dict[str, tuple[tuple[float, ...], int, tuple[str, ...], str]] = {
    "it gains": ((0.0, 0.1, 0.1), 0, (), "canary"),
    "it gains nothing": ((0.0, -0.1, 0.1), 0, (), "canary"),
    "it loses a hundredth of a bp": ((0.1, -0.11, 0.0), 0, (), "shadow back"),
    "it loses in one hour": ((0.0, 0.0, -0.1), 0, (), "shadow back"),
    "a risk hit": ((0.1, 0.1, 0.1), 1, (), "risk"),
    "no hour differs": ((0.0, 0.0, 0.0), 0, (), "shadow"),
    "no hour differs by more than rounding": ((1e-9, 1e-9, 1e-9), 0, (), "shadow"),
    "too few differ": ((0.0, 0.0, 0.1), 0, (), "shadow"),  # 6 x 3 / 12 are 1.5
    "fewer are asked for": ((0.0, 0.0, 0.1), 0, ("governance.moved=4",), "canary"),
    "no whole hour": ((), 0, (), "shadow"),
    "as many hours as it takes": ((0.1,) * 9, 0, ("governance.shadow_periods=9",), "canary"),
    "too few hours": ((0.1,) * 9, 0, ("governance.shadow_periods=11",), "shadow"),
}


@pytest.mark.parametrize("name", IN_SHADOW)
def test_in_shadow(at: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apart, hits, words, then = IN_SHADOW[name]
    stage = at(SHADOW)
    returns(monkeypatch, *apart, hits=hits)
    row = stage.looked(*words)
    assert (stage.phase, stage.place.begun().rollback is not None) == (then.split()[0], then in ("risk", "shadow back"))
    assert row.detail.startswith("waits: ") == (then == "shadow")


def test_a_shadow_that_changes_nothing_says_so(at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = at(SHADOW)
    returns(monkeypatch, 0.0, 0.3, 0.0)
    assert (
        stage.looked().detail
        == "waits: +0.100 bps an hour in 3 whole hours of shadow, of which 1 differ, and 2 are needed"
    )


def test_a_shadow_too_short_for_a_decision_waits(at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = at(SHADOW)

    def short(*_: Any) -> None:
        raise TapeError("tape", "3 steps", "more")

    monkeypatch.setattr(rim_stages, "resimulated", short)
    assert stage.looked().detail.startswith("waits: tape: ")
    assert stage.phase == "shadow"


AS_CANARY: dict[str, tuple[Earned, Earned, tuple[str, ...], str]] = {
    "ahead": (Earned(1, 2e-4), Earned(9, 1e-4), (), "full"),
    "level": (Earned(1, -1e-4), Earned(9, -1e-4), (), "full"),
    "a little behind": (Earned(1, 1e-4), Earned(9, 1.01e-4), (), "canary"),
    "a little behind, long enough ago": (
        Earned(1, 1e-4),
        Earned(9, 1.01e-4),
        ("governance.canary_periods=1",),
        "canary",
    ),
    "almost too far behind": (Earned(1, -4.9e-4), Earned(9, 0.0), (), "canary"),
    "too far behind": (Earned(1, -5.1e-4), Earned(9, 0.0), (), "canary back"),
    "a bound of its own": (Earned(1, -5.1e-4), Earned(9, 0.0), ("governance.canary_loss_bps=6",), "canary"),
    "it never traded": (Earned(0, 0.0), Earned(9, -1e-4), (), "canary"),
    "too few hours": (Earned(1, 2e-4), Earned(9, 1e-4), ("governance.canary_periods=11",), "canary"),
}


@pytest.mark.parametrize("name", AS_CANARY)
def test_as_a_canary(at: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it, beside, words, then = AS_CANARY[name]
    stage = at(CANARY)
    monkeypatch.setattr(rim_stages, "earned", lambda _, canary, since: it if canary else beside)
    row = stage.looked(*words)
    assert (stage.phase, stage.place.begun().rollback is not None) == (then.split()[0], then == "canary back")
    assert row.detail.startswith("waits: ") == (then == "canary")


def test_a_canary_that_has_only_traded_before_waits(at: Make) -> None:
    """Of real files: every fill lies before what it was judged on."""
    stage = at(CANARY)
    tape, last = stage.seen.tape, int(pd.read_parquet(stage.run / "fills.parquet")["ts"].max())
    case = stage.place.begun()
    body = case.applied[-1][2].model_copy(update={"until": str(last)})
    late = case._replace(applied=(*case.applied[:-1], (*case.applied[-1][:2], body)))
    own = stage.place.own(stage.run, FLAG, "governance.canary_periods=1")
    found = rim_stages._canary(own, late, stage.seen, tape)
    assert found.waits == "it has not traded in 10.0 hours as a canary"


CALM = Law(0, "", 0.0)
UNSAFE: dict[str, tuple[Law, dict[str, int], str]] = {
    "calm": (CALM, {}, ""),
    "a warning": (CALM, {"warn": 3, "alert": 0, "flat": 0, "recovered": 1}, ""),
    "an alert": (CALM, {"alert": 1}, "drift"),
    "flat": (CALM, {"flat": 1}, "drift"),
    "drawdown at its bound": (CALM._replace(drawdown=0.05), {}, ""),
    "drawdown beyond it": (CALM._replace(drawdown=0.0501), {}, "drawdown"),
    "a kill": (CALM._replace(killed="DRAWDOWN: it lost"), {}, "risk"),
    "a violation": (CALM._replace(violations=1), {}, "risk"),
}


@pytest.mark.parametrize("n", [CANARY, FULL])
@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_unsafe_is_taken_back(at: Make, name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    law, signals, cause = UNSAFE[name]
    stage = at(n)
    monkeypatch.setattr(rim_stages, "law_of", lambda _: law)
    stage.looked(record=stage.seen.record._replace(signals=signals))
    assert stage.phase == (cause or "full")


@pytest.mark.parametrize("n", [CANARY, FULL])
def test_it_is_taken_back_whatever_the_instrument(at: Make, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run says for a change has to be of its market; what the law says against it need not."""
    stage = at(n)
    monkeypatch.setattr(rim_stages, "law_of", lambda _: CALM._replace(killed="OPERATOR: enough"))
    stage.ran(n, "tape.instrument=BTC/USD")
    stage.looked()
    assert stage.phase == "risk"


# -- which runs are believed


TYPES: list[tuple[str, str, Any]] = [
    *[("summary.json", name, value) for name in ("max_drawdown", "canary__return", "canary__beside__return")
      for value in (nan, float("inf"), "0.1", None, True, [0.1])],
    ("summary.json", "canary", [1]), ("summary.json", "canary", "x"), ("summary.json", "canary__beside", 3), ("summary.json", "pnl", nan),
    ("summary.json", "canary__policy_hash", "x"), ("summary.json", "canary__policy_hash", "1" * 64), ("summary.json", "canary", None),
    ("summary.json", "pnl", "much"), ("summary.json", "killed", 1), ("summary.json", "killed", False), ("summary.json", "run_id", "1" * 16),
    ("summary.json", "run_id", 1), ("summary.json", "policy_hash", "1" * 64), ("drift.json", "signals", [1]), ("drift.json", "signals", None),
    ("drift.json", "signals__alert", -1), ("drift.json", "signals__alert", nan), ("drift.json", "signals__alert", "1"),
    ("run.yaml", "capital", "0"), ("run.yaml", "capital", "x"), ("run.yaml", "canary", 3), ("run.yaml", "canary__policy", {}),
    ("run.yaml", "canary__share", "x"), ("run.yaml", "instruments", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field", "value"), TYPES)
def test_wrong_values_are_refused_in_one_line(flow: Flow, tmp_path: Path, name: str, field: str, value: Any) -> None:
    """As the job reads it, whatever is under way."""
    run, policy = tmp_path, flow.reads[CANARY].part.policy
    for file in ("summary.json", "drift.json", "run.yaml"):
        shutil.copy(flow.runs[CANARY].path / file, run)
    changed(run, name, **{field: value})
    with pytest.raises(InputError) as caught:
        read_record(run, policy)
    told = str(caught.value)
    assert name in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("n", [0, CANARY, FULL])
def test_the_job_enters_nothing_on_a_wrong_value(at: Make, n: int) -> None:
    stage = at(n)
    changed(stage.run, "summary.json", max_drawdown=nan)
    before = stage.place.keeper.entries()
    with pytest.raises(InputError, match=r"summary\.json\.max_drawdown"):
        stage.place.job(stage.run)
    assert stage.place.keeper.entries() == before


def test_a_run_that_the_sentry_watched_has_its_report(flow: Flow, tmp_path: Path) -> None:
    run = shutil.copytree(flow.runs[FULL].path, tmp_path / "run")
    policy = flow.reads[FULL].part.policy
    (run / "drift.json").unlink()
    with pytest.raises(RunDirError, match=r"drift\.json"):
        read_record(run, policy)
    unwatched = policy.model_copy(update={"drift": policy.drift.model_copy(update={"enabled": False})})
    changed(run, "summary.json", policy_hash=unwatched.policy_hash)
    assert read_record(run, unwatched).signals == {}


FORGED: dict[str, tuple[int, Callable[[Path], None], str]] = {
    "a canary that says it earned more": (CANARY, lambda run: changed(run, "summary.json", canary__return=0.01), "canary.return"),
    "a policy beside it that says it earned less": (
        CANARY, lambda run: changed(run, "summary.json", canary__beside__return=-0.01), "canary.beside.return"),
    "less drawdown": (FULL, lambda run: changed(run, "summary.json", max_drawdown=0.0), "max_drawdown"),
    "more pnl": (FULL, lambda run: changed(run, "summary.json", pnl="1"), "pnl"),
    "another curve": (FULL, lambda run: column(run, "equity", "equity", lambda found: [one + 5 for one in found]), "EQUITY"),
    "better prices": (
        CANARY, lambda run: column(run, "fills", "price", lambda found: [found[0] - 1, *found[1:]]), "contradictions"),
    "a fill less": (CANARY, lambda run: cut(run / "fills.parquet"), "contradictions"),
}  # fmt: skip


def cut(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.slice(0, len(table) - 1), file)


@pytest.mark.parametrize("name", FORGED)
def test_a_run_whose_files_contradict_one_another_is_not_judged(at: Make, name: str) -> None:
    n, forge, told = FORGED[name]
    stage = at(n)
    forge(stage.run)
    before = stage.place.keeper.entries()
    with pytest.raises(RunDirError, match=told) as caught:
        stage.looked()
    assert len(str(caught.value).splitlines()) == 1
    assert stage.place.keeper.entries() == before


def test_what_the_auditor_holds_against_a_run_takes_the_change_back(at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, real = at(CANARY), rim_record.audit
    against = Finding(7, 7, "CAP", "O-1", "too much")
    monkeypatch.setattr(rim_record, "audit", lambda run: dataclasses.replace(real(run), violations=(against,)))
    assert "the auditor found 1 orders" in stage.looked().detail
    assert stage.phase == "risk"


@pytest.mark.parametrize("n", [CANARY, FULL])
def test_drawdown_is_what_fills_and_marks_have_it(at: Make, n: int) -> None:
    """Although summary and curve, one as well as the other, say that there was none."""
    stage = at(n)
    changed(stage.run, "summary.json", max_drawdown=0.0)
    column(stage.run, "equity", "drawdown", lambda found: [0.0] * len(found))
    stage.looked("governance.drawdown=1e-6")
    assert stage.phase == "drawdown"


def test_a_curve_that_goes_deeper_than_fills_and_marks_counts_too(at: Make) -> None:
    stage = at(FULL)
    changed(stage.run, "summary.json", max_drawdown=0.06)
    column(stage.run, "equity", "drawdown", lambda found: [0.06] * len(found))
    assert stage.looked().detail == "drawdown: drawdown 6.00%, more than 5.00%"
    assert stage.phase == "drawdown"


def test_a_kill_in_the_events_counts_although_the_summary_is_silent(at: Make) -> None:
    stage = at(FULL)
    file = stage.run / "risk_events.parquet"
    tables = [
        pq.read_table(stage.run / f"{name}.parquet", columns=["seq", "ts"]) for name in ("orders", "fills", "marks")
    ]
    seq, ts = (max(pc.max(table[name]).as_py() for table in tables) for name in ("seq", "ts"))
    empty = pq.read_table(file)
    row = {"seq": seq + 1, "ts": ts, "kind": "kill", "limit": "DRAWDOWN", "value": "", "bound": "", "detail": "it lost"}
    more = pa.table(
        {name: pa.array([row.get(name)], empty.schema.field(name).type) for name in empty.column_names}, empty.schema
    )
    pq.write_table(pa.concat_tables([empty, more]), file)
    assert "the law stopped it: DRAWDOWN: it lost" in stage.looked().detail
    assert stage.phase == "risk"


def test_a_kill_in_the_summary_counts_although_the_events_are_silent(at: Make) -> None:
    stage = at(FULL)
    changed(stage.run, "summary.json", killed="OPERATOR: enough")
    assert "the law stopped it: OPERATOR: enough" in stage.looked().detail


def test_a_run_that_the_law_really_stopped(at: Make) -> None:
    """Its own files agree: no contradiction stands in the way of taking the change back."""
    stage = at(FULL)
    run = stage.place.sim(1, "policy.risk.drawdown_max=0.0001", "policy.risk.daily_loss_max=0.0001")
    law = law_of(read_record(run.path, module.read_slice(run.path).policy))
    assert law.killed
    assert law.violations == 0
    assert law.drawdown == pytest.approx(run.summary["max_drawdown"], abs=1e-12)


def test_the_auditor_is_asked_only_where_a_run_has_a_change_in_it(at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shadow is judged by replays, which have an auditor of their own; nothing under way is nothing to judge."""

    def never(*_: Any) -> None:
        raise LedgerError("auditor", "asked", "not to be")

    monkeypatch.setattr(rim_stages, "law_of", never)
    for n, then in ((0, "none"), (SHADOW, "")):
        stage = at(n)
        returns(monkeypatch, 0.1, 0.1, 0.1)
        assert then in stage.looked().result
        shutil.rmtree(stage.place.state)
    with pytest.raises(LedgerError, match="asked"):
        at(FULL).looked()
