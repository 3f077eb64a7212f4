"""The governance report: what the RIM proposed, what a replay made of it, what was ruled and why."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import plotly.graph_objects as go

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.steps import VERDICTS, Row
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.governance import measured
from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section, empty, figure, filled
from alphatrade.reflection.report_plots import BLUE, GREY, INK, MUTED, ORANGE, SKY, framed
from alphatrade.reflection.report_tables import Card, Table, number
from alphatrade.reflection.rim.edits import describe
from alphatrade.reflection.rim.slices import Slice
from alphatrade.reflection.uplift import Uplift

PAGE = "index.html"
COLOURS = (BLUE, ORANGE, SKY, INK, GREY)


def write_page(folder: Folder, part: Slice, rows: Sequence[Row], cases: Sequence[Case]) -> None:
    """
    Write the page of a job into its folder.

    Parameters
    ----------
    folder : Folder
    part : Slice
        That the proposals rest on.
    rows : sequence of Row
        Steps of the job.
    cases : sequence of Case
        Its proposals and rulings, in their rank.
    """
    outcomes = [case.ruling.outcome if case.ruling else "" for case in cases]
    applied = [case for case in cases if case.phase]
    start, end = (datetime.fromtimestamp(ts // 10**9, UTC).strftime("%Y-%m-%d %H:%M") for ts in part.span)
    page = render(
        eyebrow="governed reflection",
        title="What the organism proposes to change about itself",
        facts=[f"run {part.run_id}", f"policy {part.policy.policy_hash[:12]}", f"read {start} to {end} UTC"],
        tags=["simulated venue", "every uplift is of a replay on data that the proposal had not seen"],
        killed=None,
        cards=[
            Card("Proposals", str(len(cases)), "of one slice of the diary"),
            Card("By rule", str(outcomes.count("apply")), "may be applied without a person"),
            Card("For a person", str(outcomes.count("signoff")), "evidence holds, authority is missing"),
            Card("Rejected", str(outcomes.count("reject")), f"{len(applied)} applied, in stages"),
        ],
        sections=[_steps(rows), _intervals(cases), _paths(cases), _rulings(cases), _aggregates(part)],
        tearsheet=False,
    )
    folder.write_text(PAGE, page)


def _measured(case: Case) -> Uplift | None:
    return None if case.ruling is None else measured(case.ruling)


def _name(case: Case) -> str:
    return f"{case.proposal.rank}. {describe(case.proposal.edit)}"


def _steps(rows: Sequence[Row]) -> Section:
    table = [[row.check, row.result, row.detail, VERDICTS[row.holds]] for row in rows]
    lead = "What the job found to do; the ledger has all of it, signed."
    return Section("steps", "Steps", lead, [Block("table", Table(["step", "result", "detail", ""], table, 4))])


def _intervals(cases: Sequence[Case]) -> Section:
    title, lead = "Expected and measured", (
        "Points: mean uplift in the replay after the slice, and its interval; hollow: what the engine expected."
    )  # fmt: skip
    known = [(case, found) for case in cases if (found := _measured(case)) is not None]
    if not known:
        return Section("uplift", title, lead, empty("Nothing was replayed."))
    drawn = go.Figure()
    names = [_name(case) for case, _ in known][::-1]
    means = [found.mean for _, found in known][::-1]
    error = {
        "type": "data", "symmetric": False, "color": BLUE,
        "array": [found.high - found.mean for _, found in known][::-1],
        "arrayminus": [found.mean - found.low for _, found in known][::-1],
    }  # fmt: skip
    point = {"color": BLUE, "size": 9}
    drawn.add_scatter(x=means, y=names, mode="markers", marker=point, error_x=error, name="measured")
    expected = [case.proposal.uplift for case, _ in known][::-1]
    hollow = {"color": "white", "size": 10, "line": {"color": ORANGE, "width": 2}}
    drawn.add_scatter(x=expected, y=names, mode="markers", marker=hollow, name="expected")
    drawn.add_vline(x=0.0, line={"color": MUTED, "width": 1})
    drawn.update_xaxes(title="uplift, bps of the capital an hour")
    return Section("uplift", title, lead, [figure(framed(drawn, "uplift", 120 + 46 * len(known)))])


def _paths(cases: Sequence[Case]) -> Section:
    title, lead = "Hour by hour", "What each change would have earned beyond the policy as it was, added up."
    drawn, some = go.Figure(), False
    for at, case in enumerate(cases):
        if case.ruling is None or not case.ruling.base:
            continue
        some = True
        path = np.cumsum(np.array(case.ruling.changed) - np.array(case.ruling.base)) * 1e4
        line = {"color": COLOURS[at % len(COLOURS)], "width": 1.6}
        drawn.add_scatter(x=list(range(1, len(path) + 1)), y=path, mode="lines", line=line, name=_name(case))
    if not some:
        return Section("paths", title, lead, empty("Nothing was replayed."))
    drawn.add_hline(y=0.0, line={"color": MUTED, "width": 1})
    drawn.update_xaxes(title="hour of the replay")
    drawn.update_yaxes(title="bps")
    return Section("paths", title, lead, [figure(framed(drawn, "paths", 380))])


def _rulings(cases: Sequence[Case]) -> Section:
    rows = []
    for case in cases:
        found, ruling = _measured(case), case.ruling
        told = "none" if found is None else f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        outcome = "" if ruling is None else ruling.outcome
        why = "" if ruling is None else "; ".join(ruling.why)
        sure = f"{case.proposal.confidence:.0%}"
        expected = number(case.proposal.uplift, 3, True)
        rows.append([case.proposal.id[:12], _name(case), sure, expected, told, outcome, why])
    head = ["proposal", "edit", "confidence", "expected", "measured", "ruling", "why not by rule"]
    lead = "Every condition that does not hold is named; `alphatrade ledger trace ID` shows the whole of one."
    return Section("rulings", "Rulings", lead, [filled(Table(head, rows, 7), "Nothing was proposed.")])


def _aggregates(part: Slice) -> Section:
    primary = f"markout_{part.policy.expost.primary}"
    rows = []
    for (regime, tactic), here in part.rows.groupby(["regime", "exec_topo"], sort=True):
        traded = here[here["fills"] > 0]
        mean = number(float(traded[primary].mean()), 2, True) if traded[primary].notna().any() else "none"
        cost = number(float(traded["cost_bps"].mean()), 2) if len(traded) else "none"
        rows.append([regime, tactic, f"{len(here):,}", f"{int(here['fills'].sum()):,}", mean, cost])
    head = ["regime", "tactic", "decisions", "fills", f"mark-out after {part.policy.expost.primary}, bps", "cost, bps"]
    lead = "What the slice says of each tactic in each regime: this is what proposals are made from."
    return Section("aggregates", "The slice", lead, [filled(Table(head, rows, 6), "No decision.")])
