"""The nightly job: replay a day's tape, check everything that can be checked, and write one summary page.

::

    artifacts/<date>/nightly/index.html    the page
                            /nightly.json  the same as data: equal whenever the inputs are
                            /run/          the replay, as any run folder

It is idempotent: it replaces the folder whole, or, if it is killed, leaves the former one and is run again.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from alphatrade.nodes.artifacts import Folder, RunFolder
from alphatrade.nodes.counting import counted
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.graph import graph_settings
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, load_tapes, run_into
from alphatrade.nodes.steps import Row, as_json, isolated, page
from alphatrade.nodes.tape import Tape
from alphatrade.reflection import graph_plots
from alphatrade.reflection.coverage import coverage
from alphatrade.reflection.graph_files import diagnose_run, write_graph
from alphatrade.reflection.query import read_mapping
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import RunDirError, TapeError

NAME = "nightly"
RUN = "run"
DAY = 86_400 * 10**9
LINKS = {
    "report of the run": f"{RUN}/report.html",
    "NautilusTrader's tearsheet": f"{RUN}/tearsheet.html",
    "summary": f"{RUN}/summary.json",
    "latencies": f"{RUN}/latency.json",
    "heartbeat": f"{RUN}/heartbeat.json",
    "drift": f"{RUN}/drift.json",
    "theory packets": f"{RUN}/packets",
    "graph": f"{RUN}/graph.html",
    "graph, as data": f"{RUN}/graph.json",
    "governance report": "../rim/index.html",
    "what was checked, as data": "nightly.json",
}


def nightly(settings: Settings) -> tuple[Path, list[Row]]:
    """
    Replay the last whole day of the configured tapes, by the policy that is in force, and check it.

    Parameters
    ----------
    settings : Settings
        As for a sim; where ``tape.start`` or ``tape.end`` is given, that part is replayed as it is. Stress replays are
        left out.

    Returns
    -------
    Path
        ``artifacts/<date>/nightly``.
    list of Row
        One a check.

    Raises
    ------
    RunDirError
        If the folder cannot be written, or another nightly job is writing it.
    LedgerError
        If the flag governed_feedback is on and the ledger does not say what is in force.
    """
    settings = taken_up(settings)
    spec = settings.run.output.model_copy(update={"stress": False, "ack_fd": None})
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"output": spec})})
    with RunFolder(settings.run.paths.artifacts, NAME) as folder:
        former = read_mapping(folder.final, "nightly.json") if folder.final.is_dir() else {}
        run, facts = folder.path / RUN, {"policy_hash": settings.policy.policy_hash, "seed": settings.run.seed}
        rows = [isolated("replay", lambda: _replay(settings, run, facts))]
        steps: dict[str, Callable[[], Row]] = {
            "audit": lambda: audited(run),
            "coverage": lambda: covered(run),
            "same digests as before": lambda: _digests(run, former, facts),
            "graph": lambda: graph(run, settings.policy.flags.fast_weights),
            "drift": lambda: drift(run, settings.policy.drift.enabled),
            "reflection": lambda: reflected(run, settings),
        }
        rows += [isolated(name, step) for name, step in steps.items()]
        folder.write_json("nightly.json", as_json(rows, **facts))
        told = [f"{name} {str(value)[:24]}" for name, value in facts.items() if name != "digests"]
        folder.write_text("index.html", page("The night's replay", NAME, told, rows, folder.path, LINKS))
        return folder.publish(latest=False), rows


def last_day(tape: Tape) -> tuple[int, int]:
    """
    Return the last whole UTC day of a tape that has rows, as its two edges in UTC ns.

    A day is whole when the tape goes on to its end, as far as a reference may be old; a bar that closes at midnight
    belongs to the day before. Of a tape without a whole day, everything.
    """
    ts = tape.columns["ts"]
    slack = int(tape.stale_after_s * 10**9)
    first, last = tape.span
    late = int(tape.bar_s > 0)  # a bar is stamped at its close: the day's last one at midnight
    end = (last + slack) // DAY * DAY
    while end - DAY >= first - slack:
        edges = end - DAY + late, end + late
        if np.searchsorted(ts, edges[1]) > np.searchsorted(ts, edges[0]):
            return edges
        end -= DAY
    return first, last + 1


def _replay(settings: Settings, run: Path, facts: dict[str, Any]) -> Row:
    """Replay the day into a run folder."""
    tapes = load_tapes(settings.run)
    chosen = any(spec.start is not None or spec.end is not None for spec in settings.run.all_tapes)
    if not chosen:
        edges = last_day(tapes[0])
        try:
            tapes = [tape.slice(*edges) for tape in tapes]
        except ValueError as error:
            raise TapeError("tapes", str(error), "rows of every tape in the last whole day of the first") from None
        settings = _narrowed(settings, edges)
    first, last = tapes[0].span
    facts |= {"from": _time(first), "to": _time(last), "tape": tapes[0].name}
    identity = identity_of(settings, tapes)
    count = counted(settings, tapes, identity.run_id, NAME)
    summary = run_into(Folder(run), settings, tapes, identity)
    count.close_run(run, summary, tapes, float(settings.run.venue.starting_balance))
    facts |= {"run_id": summary["run_id"], "digests": summary["digests"]}
    told = f"{summary['events']:,} events, {summary['decisions']:,} decisions, {summary['orders']:,} orders"
    stopped = f"; stopped: {summary['killed']}" if summary["killed"] else ""
    return Row("replay", told, f"pnl {summary['pnl']} {summary['currency']}{stopped}", True)


def audited(run: Path) -> Row:
    """Have the auditor recompute every limit of a run."""
    report = audit(run)
    wrong = [*report.violations, *report.integrity]
    first = f"{wrong[0].code} {wrong[0].subject}: {wrong[0].detail}" if wrong else ""
    told = f"{len(report.violations)} violations, {len(report.integrity)} contradictions in {report.submitted:,} orders"
    return Row("audit", told, first, report.ok)


def covered(run: Path) -> Row:
    """Measure what the diary of a run covers."""
    found = coverage(run)
    told = f"attribution {found.attribution:.2%}, diary {found.diary_coverage:.2%}"
    return Row("coverage", told, "; ".join(found.alerts), not found.alerts)


def _digests(run: Path, former: dict[str, Any], facts: dict[str, Any]) -> Row:
    """Hold the digests against those of the job that this one replaces, if that replayed the same."""
    digests = read_mapping(run, "summary.json").get("digests")
    if not digests:
        raise RunDirError(str(run), "nothing", "a finished replay")
    before = former.get("digests") if former.get("run_id") == facts.get("run_id") else None
    told = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items()))
    if before is None:
        return Row("same digests as before", told, "no earlier job replayed the same", None)
    differ = [name for name in digests if before.get(name) != digests[name]]
    return Row("same digests as before", told, f"DIFFERENT {', '.join(differ)}" if differ else "", not differ)


def graph(run: Path, fast_weights: bool) -> Row:
    """Look at the graph of the learnt synapses, where there are any."""
    if not fast_weights:
        return Row("graph", "no σ: fast_weights off", "", None)
    spec = graph_settings()
    found = diagnose_run(run, spec)
    write_graph(run, found, spec, graph_plots.page(found))
    alerts = [f"{name}: {line}" for name, (_, health) in found.items() for line in health.alerts]
    return Row("graph", f"{len(alerts)} alerts", "; ".join(alerts), not alerts)


def drift(run: Path, enabled: bool) -> Row:
    """Tell what the drift sentry has found: an alarm is news, not a failure of the job."""
    if not enabled:
        return Row("drift", "no drift report: the sentry is off", "", None)
    signals = read_mapping(run, "drift.json").get("signals")
    if signals is None:
        raise RunDirError(str(run / "drift.json"), "nothing", "the sentry's signals")
    packets = sorted(path.name for path in (run / "packets").glob("*.json")) if (run / "packets").is_dir() else []
    told = ", ".join(f"{count} {name}" for name, count in signals.items())
    return Row("drift", told or f"{len(packets)} packets", ", ".join(packets[:5]), True)


def reflected(run: Path, settings: Settings) -> Row:
    """Let the reflection job read the night's run; what it proposes is news, not a failure of the job."""
    from alphatrade.nodes.rim import rim  # learning engines and their kernels: not for whoever only audits
    from alphatrade.nodes.rim_settings import composed

    paths, governed = settings.run.paths, settings.run.governed_feedback
    _, rows = rim(composed(run, paths.artifacts, paths.state, governed))
    told = ", ".join([f"{row.check}: {row.result}" for row in rows if row.check in ("proposals", "application")])
    return Row("reflection", told, "; ".join([f"{row.check} {row.result}" for row in rows[2:-1]]), True)


def _narrowed(settings: Settings, edges: tuple[int, int]) -> Settings:
    """Return the settings of a run over a part of the tapes: the run folder says what was replayed, to the ns."""
    part = {name: f"{_time(ns)[:-1]}.{ns % 10**9:09d}Z" for name, ns in zip(("start", "end"), edges, strict=True)}
    specs = [spec.model_copy(update=part) for spec in settings.run.all_tapes]
    tapes = tuple(specs) if len(specs) > 1 else ()
    return settings.model_copy(update={"run": settings.run.model_copy(update={"tape": specs[0], "tapes": tapes})})


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
