"""What a finished run, or red team, says on the terminal."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from alphatrade.nodes.result import RunResult
from alphatrade.nodes.terminal import console

if TYPE_CHECKING:
    from alphatrade.evolution.trial import Outcome as Played
    from alphatrade.nodes.red_team import Outcome
    from alphatrade.nodes.steps import Row

_SHOWN = ("kill switch", "orders let through on bad data", "violations found by the auditor")


def show_result(result: RunResult) -> None:
    """Print a run's headline numbers and where to look."""
    s = result.summary
    table = Table(title=f"run {s['run_id']}", show_header=False, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for label, value in _lines(s):
        table.add_row(label, value)
    topologies = Table("topology", "decisions", "fills", box=None, padding=(0, 2, 0, 0))
    for name, used in s["topologies_used"].items():
        topologies.add_row(name, f"{used['decisions']:,}", f"{used['fills']:,}")
    screen = console()
    screen.print(table)
    screen.print(topologies)
    screen.print(f"report  {result.path / 'report.html'}" if (result.path / "report.html").exists() else "")
    screen.print(f"files   {result.path}")


def show_red_team(path: Path, outcomes: "list[Outcome]") -> None:
    """Print a line for every scenario, what did not hold, and where the report is."""
    head = ("scenario", "kill switch", "let through on bad data", "violations", "result")
    table = Table(*head, box=None, padding=(0, 2, 0, 0))
    for one in outcomes:
        told = {check.what: check.measured for check in one.checks}
        stopped, bad, broken = (told.get(what, "-") for what in _SHOWN)
        table.add_row(one.title, stopped, bad, broken, "passed" if one.passed else "FAILED")
    screen = console(wide=True)
    screen.print(table)
    for one in outcomes:
        for check in one.checks:
            if not check.holds:
                screen.print(f"FAILED  {one.title}: {check.what}: expected {check.expected}, got {check.measured}")
    screen.print(f"{sum(one.passed for one in outcomes)} of {len(outcomes)} scenarios passed")
    screen.print(f"report  {path / 'red-team.html'}")


def show_rows(path: Path, rows: "list[Row]") -> None:
    """Print the rows of a job of checks, and where its page is."""
    from alphatrade.nodes.steps import VERDICTS, tally

    table = Table("check", "result", "detail", "", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(row.check, row.result, row.detail, VERDICTS[row.holds])
    screen = console(wide=True)
    screen.print(table)
    screen.print(f"{tally(rows)} checks hold")
    screen.print(f"page  {path / 'index.html'}")


def show_rim(path: Path, rows: "list[Row]") -> None:
    """Print what the reflection job did and ruled, reasons below each other, and where its page is."""
    from alphatrade.nodes.rim_page import OUTCOMES

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        if row.result in OUTCOMES:
            reasons = [f"  {words}" for words in row.detail.split("; ") if words]
            table.add_row(OUTCOMES[row.result], "\n".join([row.check, *reasons]))
        else:
            table.add_row(row.check, f"{row.result}: {row.detail}" if row.detail else row.result)
    screen = console(wide=True)
    screen.print(table)
    screen.print(f"page  {path / 'index.html'}")


def show_fitness(outcome: "Played") -> None:
    """Print a fitness table and the number that it comes to."""
    if not outcome.rows:
        print(f"{outcome.status}: {outcome.why}")
        return
    rows, fitness = outcome.rows, outcome.fitness
    names = ("instrument", "regime", "from", "decisions", "fills", "net bps", "sharpe", "drawdown", "turnover", "")
    table = Table(*names, box=None, padding=(0, 2, 0, 0))
    for cell, found, fault in rows:
        start = f"{datetime.fromtimestamp(cell.start // 10**9, UTC):%Y-%m-%d %H:%M}"
        told = ("-",) * 6
        if found is not None:
            ratio = "-" if found.sharpe is None else f"{found.sharpe:.2f}"
            told = (
                f"{found.decisions:,}", f"{found.fills:,}", f"{1e4 * found.net_return:+.2f}", ratio,
                f"{found.drawdown:.3%}", f"{found.turnover:.2f}",
            )  # fmt: skip
        stopped = f"stopped: {found.killed}" if found is not None and found.killed else ""
        table.add_row(cell.instrument, cell.regime, start, *told, f"does not count: {fault}" if fault else stopped)
    screen = console(wide=True)
    screen.print(table)
    counted = sum(not row.fault for row in rows)
    screen.print(f"fitness {fitness:+.3f} bps of the capital, mean over regimes; {counted} of {len(rows)} cells count")


def _lines(s: dict[str, object]) -> Iterator[tuple[str, str]]:
    tapes = ", ".join(f"{t['name']} ({t['kind']}, {t['from']} to {t['to']})" for t in s["tapes"])  # type: ignore[attr-defined]
    yield "tape", tapes
    covered = f"diary coverage {s['diary_coverage']:.1%}, attribution {s['attribution']:.1%}"
    yield "events, decisions", f"{s['events']:,}, {s['decisions']:,} ({covered})"
    counts = f"{s['orders']:,}, {s['fills']:,}, {s['denied']:,}"
    beside = [f"{s['near_misses']:,} near-misses"]
    beside += [f"{s['law_orders']:,} sent by the law"] if s["law_orders"] else []
    beside += [f"{s['denied_modifications']:,} modifications denied"] if s["denied_modifications"] else []
    beside += [f"{s['shadow']:,} would have been sent"] if "shadow" in s else []
    yield "orders, fills, denied", f"{counts} ({', '.join(beside)})"
    fees = Decimal(str(s["fees"]))
    yield "pnl", f"{Decimal(str(s['pnl'])):+,.2f} {s['currency']} ({s['return']:+.3%}), fees {fees:,.2f}"
    yield "drawdown", f"{s['max_drawdown']:.3%}" + (f"; KILLED: {s['killed']}" if s["killed"] else "")
    yield "regime changes", f"{s['regime_transitions']:,}"
    yield "speed", f"{s['events_per_s']:,.0f} events/s, {s['wall_s']:.1f} s"
    if s.get("replaced"):
        yield "same run before", str(s["replaced"])
