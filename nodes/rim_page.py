"""The governance report: what the RIM proposed, what a replay made of it, what was ruled and why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.steps import Row
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.governance import measured
from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section, empty, figure, filled
from alphatrade.reflection.report_plots import BLUE, GREY, INK, MUTED, ORANGE, SKY, framed
from alphatrade.reflection.report_tables import DASH, Card, Table, number
from alphatrade.reflection.rim.edits import describe
from alphatrade.reflection.rim.entries import Ruling
from alphatrade.reflection.rim.slices import Slice
from alphatrade.reflection.thresholds import as_spec
from alphatrade.reflection.uplift import Uplift

PAGE = "index.html"
COLOURS = (BLUE, ORANGE, SKY, INK, GREY)
DASHES = ("solid", "dash", "dot")
LABEL = 44  # characters of an axis label in a line
OUTCOMES = {"apply": "by rule", "signoff": "a person has to", "reject": "rejected", "refer": "referred to evolution"}
BREAK, STRONG = Markup("<br>"), Markup("<strong>{}</strong>")
NOTHING = "Nothing was proposed."
NOT_REPLAYED = "Nothing was replayed: the reasons are above."


def write_page(folder: Folder, part: Slice, governed: bool, rows: Sequence[Row], cases: Sequence[Case]) -> None:
    """
    Write the page of a job into its folder.

    Parameters
    ----------
    folder : Folder
    part : Slice
        That the proposals rest on.
    governed : bool
        The flag governed_feedback.
    rows : sequence of Row
        Steps of the job; those that tell of a proposal are left to the table of rulings.
    cases : sequence of Case
        Its proposals and rulings, in their rank.
    """
    outcomes = [case.ruling.outcome if case.ruling else "" for case in cases]
    count = {name: outcomes.count(name) for name in ("apply", "signoff", "reject", "refer")}
    start, end = (_minute(ts) for ts in part.span)
    page = render(
        eyebrow="governed reflection",
        title="What the organism proposes to change about itself",
        facts=[f"run {part.run_id[:12]}", f"policy {part.policy.policy_hash[:12]}", f"read {start} to {end} UTC"],
        tags=[
            f"governed_feedback {'on' if governed else 'off: nothing is applied by rule'}", "simulated venue",
            "every uplift is of a replay on data that the proposal had not seen",
        ],
        killed=None,
        cards=[
            Card("Proposals", str(len(cases)), "from one slice of the diary"),
            Card("By rule", str(count["apply"]), "every condition holds", "good" if count["apply"] else ""),
            Card("For a person", str(count["signoff"]), "evidence holds, authority is missing"),
            Card("Rejected", str(count["reject"]), f"and {count['refer']} referred to evolution"),
        ],
        sections=[
            _steps(rows), _rulings(cases), _intervals(cases), _paths(cases), _rule(cases), _aggregates(part),
        ],
        tearsheet=False,
    )  # fmt: skip
    folder.write_text(PAGE, page)


def _measured(case: Case) -> Uplift | None:
    return None if case.ruling is None else measured(case.ruling)


def told(case: Case) -> str:
    """Return the uplift that a replay measured in words; empty where nothing was replayed."""
    found = _measured(case)
    return "" if found is None else f"{number(found.mean, 3, True)} {_span(found)}"


def said(case: Case) -> str:
    """Return a person's word on a case; empty where nobody has said one."""
    word = case.signoff
    return "" if word is None else f"{'signed off' if word.approve else 'a person said no'}: {word.why}"


def _span(found: Uplift) -> str:
    return f"[{number(found.low, 3, True)}, {number(found.high, 3, True)}]"


def _minute(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M")


def _name(case: Case) -> str:
    return f"{case.proposal.rank}. {describe(case.proposal.edit)}"


def _label(case: Case) -> str:
    """Return the name for an axis, broken where it would take the room of the figure."""
    return "<br>".join([escape(line) for line in wrap(_name(case), LABEL)])


def _steps(rows: Sequence[Row]) -> Section:
    """Return what the job did, but for its rulings."""
    table = [[row.check, row.result, row.detail] for row in rows if row.result not in OUTCOMES]
    lead = "What the job did. A running policy never changes: a node takes up what the ledger says when it starts."
    return Section("steps", "Now", lead, [Block("table", Table(["step", "result", "detail"], table, 3))])


def _rulings(cases: Sequence[Case]) -> Section:
    rows = []
    for case in cases:
        ruling, found = case.ruling, _measured(case)
        outcome = OUTCOMES[ruling.outcome] if ruling is not None else "none yet"
        why = [*(ruling.why if ruling is not None else []), *([word] if (word := said(case)) else [])]
        outcome += f"; now {case.phase}" if case.phase else "; taken back" if case.rollback is not None else ""
        engine = case.proposal.edit.kind != "experiment"
        rows.append([
            BREAK.join([_name(case), case.proposal.id[:12]]),
            BREAK.join([STRONG.format(outcome), *why]),
            f"{case.proposal.confidence:.0%}" if engine else DASH,
            number(case.proposal.uplift, 3, True) if engine else DASH,
            DASH if found is None else number(found.mean, 3, True), DASH if found is None else _span(found),
            DASH if found is None else f"{found.moved} of {found.n}",
            str(ruling.hits) if ruling is not None and found is not None else DASH,
        ])  # fmt: skip
    head = ["edit, proposal", "ruling, and why not by rule", "sure", "expected", "measured", "interval",
            "hours it changed", "risk hits"]  # fmt: skip
    lead = (
        "Sure: the engine's confidence that the edit beats doing nothing. Expected and measured: uplift, bps of the "
        "capital an hour. Every condition that does not hold is named; alphatrade ledger trace ID shows all of one."
    )
    return Section("rulings", "Rulings", lead, [filled(Table(head, rows, 2), NOTHING)])


def _intervals(cases: Sequence[Case]) -> Section:
    title = "Expected and measured"
    known = [(case, found) for case in cases if (found := _measured(case)) is not None]
    if not known:
        return Section("uplift", title, "", empty(NOT_REPLAYED if cases else NOTHING))
    ruling = known[0][0].ruling
    assert ruling is not None
    spec = as_spec(ruling.spec)
    lead = (
        f"Full: mean uplift in the replay and its interval, each bound at {_level(ruling):.2%}; hollow: what the "
        f"engine expected. Evidence is an interval right of 0 and a mean right of the dashed line, {spec.uplift_bps:g}."
    )
    drawn = go.Figure()
    names = [_label(case) for case, _ in known][::-1]
    error = {
        "type": "data", "symmetric": False, "color": BLUE,
        "array": [found.high - found.mean for _, found in known][::-1],
        "arrayminus": [found.mean - found.low for _, found in known][::-1],
    }  # fmt: skip
    point, means = {"color": BLUE, "size": 9}, [found.mean for _, found in known][::-1]
    drawn.add_scatter(x=means, y=names, mode="markers", marker=point, error_x=error, name="measured")
    expected = [case.proposal.uplift for case, _ in known][::-1]
    hollow = {"color": "white", "size": 10, "line": {"color": ORANGE, "width": 2}}
    drawn.add_scatter(x=expected, y=names, mode="markers", marker=hollow, name="expected")
    drawn.add_vline(x=0.0, line={"color": MUTED, "width": 1})
    drawn.add_vline(x=spec.uplift_bps, line={"color": MUTED, "width": 1, "dash": "dash"})
    drawn.update_xaxes(title="uplift, bps of the capital an hour")
    return Section("uplift", title, lead, [figure(framed(drawn, "uplift", 120 + 46 * len(known)))])


def _paths(cases: Sequence[Case]) -> Section:
    title, lead = "Hour by hour", "What each change earned in the replay beyond the policy as it was, added up."
    drawn, some = go.Figure(), False
    for at, case in enumerate(cases):
        if case.ruling is None or not case.ruling.base:
            continue
        some = True
        path = np.cumsum(np.array([0.0, *case.ruling.changed]) - np.array([0.0, *case.ruling.base])) * 1e4
        line = {"color": COLOURS[at % len(COLOURS)], "width": 1.6, "dash": DASHES[at // len(COLOURS) % len(DASHES)]}
        drawn.add_scatter(x=list(range(len(path))), y=path, mode="lines", line=line, name=escape(_name(case)))
    if not some:
        return Section("paths", title, "", empty(NOT_REPLAYED if cases else NOTHING))
    drawn.add_hline(y=0.0, line={"color": MUTED, "width": 1})
    drawn.update_xaxes(title="hour of the replay")
    drawn.update_yaxes(title="bps of the capital")
    return Section("paths", title, lead, [figure(framed(drawn, "paths", 380))])


def _rule(cases: Sequence[Case]) -> Section:
    """Return what was asked for; every ruling has its rule with it."""
    title, lead = "The rule", "What a change has to show to be applied without a person; docs/governance.md says why."
    ruled = [case.ruling for case in cases if case.ruling is not None]
    if not ruled:
        return Section("rule", title, "", empty(NOTHING))
    spec, family = as_spec(ruled[0].spec), ruled[0].family
    together = f"{_level(ruled[0]):.2%} for each of {family} together: {spec.level:.0%} for all"
    rows = [
        ["mean uplift", f"at least {spec.uplift_bps:g} bps of the capital an hour"],
        ["its lower bound", f"above 0, at {together}"],
        ["replay", f"at least {spec.periods} whole hours, {spec.moved} of them changed, "
                   f"{spec.embargo_s:g} s after what the proposal rests on"],
        ["risk hits", "none with the edit"],
        ["budget", f"{spec.changes_per_day} a day; at most {spec.flow:.0%} of the flow; a canary has "
                   f"{spec.canary_share:.0%} of the capital"],
        ["stage", f"at most {spec.stage}"],
    ]  # fmt: skip
    return Section("rule", title, lead, [Block("table", Table(["what", "asked for"], rows, 2))])


def _level(ruling: Ruling) -> float:
    """Return the level of each bound, so that all that are ruled on together keep that of the rule."""
    return 1.0 - (1.0 - as_spec(ruling.spec).level) / ruling.family


def _aggregates(part: Slice) -> Section:
    primary = f"markout_{part.policy.expost.primary}"
    rows = []
    for (regime, tactic), here in part.rows.groupby(["regime", "exec_topo"], sort=True):
        traded = here[here["fills"] > 0]
        mean = number(float(traded[primary].mean()), 2, True) if traded[primary].notna().any() else DASH
        cost = number(float(traded["cost_bps"].mean()), 2) if len(traded) else DASH
        rows.append([regime, tactic, f"{len(here):,}", f"{int(here['fills'].sum()):,}", mean, cost])
    markout = f"mark-out +{part.policy.expost.primary} steps, bps"
    head = ["regime", "tactic", "decisions", "fills", markout, "cost of a fill, bps"]
    lead = "What came of each tactic in each regime, in the part of the diary that proposals are made from."
    return Section("aggregates", "The slice", lead, [filled(Table(head, rows, 2), "No decision.")])


def as_json(part: Slice, governed: bool, engine: str, rows: Sequence[Row], cases: Sequence[Case]) -> dict[str, Any]:
    """Return the governance report as data."""
    return {
        "run_id": part.run_id, "policy_hash": part.policy.policy_hash, "slice": part.pointer().model_dump(),
        "governed_feedback": governed, "engine": engine,
        "rows": [row._asdict() for row in rows],
        "proposals": [
            {"proposal": case.proposal.plain(), "ruling": case.ruling.model_dump(mode="json") if case.ruling else None,
             "phase": case.phase}
            for case in cases
        ],
    }  # fmt: skip
