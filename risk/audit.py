"""The auditor: judges a finished run from orders, fills and marks alone, with its own arithmetic.

It shares no state and no code path with the gate. Limits, capital and staleness come from ``policy.json``
and ``run.yaml``; ``risk_events.parquet`` completes the common counter `seq` (a hole means that rows were removed) and
tells which orders were explored, and what should have stopped that (:mod:`alphatrade.risk.audit_explored`);
``equity.parquet`` is only a witness to compare with. Columns that repeat what can be recomputed (``position_after``,
``realized``, ``leaves``, the repeated terms of an order) are compared, never used.

What it holds against the law:

- An order is judged where the law judged it: at its event ``initialized`` if ``submitted`` follows at once,
  with the terms of the latter; from then on its leaves are working. Without such a row, or when more than ten
  seconds lie between, it is judged at ``submitted``. A modification is judged at its ``modify_approved`` with
  the terms that an ``updated`` grants later, and at that ``updated`` itself when nobody approved it; what is
  granted counts as in flight from the approval on. Trailing stops may move by themselves.
- No order may be let through on a mark that is crossed, stamped before an earlier one, or that stands alone between
  two that agree (:mod:`alphatrade.risk.audit_marks`); the account is valued at whatever the law marked.
- A price is held against the collar when it is new: a resting price that the market left behind is no new
  risk.
- A reduce-only order without an opposite position is lawful as the child of an entry: working, opposite,
  same strategy and instrument, at least its quantity, approved at most a second before. Venues keep the
  quantities of reduce-only children and siblings in step by themselves; what they fill is judged as any
  fill.
- A reduce-only order is risk-increasing where plain orders that only reduced so far can open the other side
  behind it. What such orders can fill counts strategy by strategy, as positions do.
- A reduce-only fill must reduce: where it closes its strategy's own position but not the net one (another
  strategy holds the other side), it is counted as passive.
- After the first mark beyond daily loss or drawdown, a risk-increasing order is a violation, whatever
  equity does.
- The orders with which the law itself flattens, strategy by strategy, are exempt from rate, repeat,
  duplicate and collar, and may reduce their strategy's position where the net one is smaller. They are
  known by an id beginning with ``LAW-`` and only when they are reduce-only market orders within that
  position: an id alone buys nothing.
- In a run with a canary the tighter of both risk templates counts for all, and the canary's strategies keep to their
  cap (:mod:`alphatrade.risk.audit_caps`).
- What trades real money keeps to its permit (:mod:`alphatrade.risk.audit_permit`). What the law took over from another
  node to sell it is held against no limit; that it was due, at these terms and after a stop, is looked at there.
- Peak equity and the day's start are taken at marks of this run: what earlier sessions of a live account have
  lost, and the gate counts with, is in their own files. Only where equity begins, if not at the capital, is told
  by ``opening`` in ``run.yaml``, or by the row ``resumed`` of ``risk_events.parquet``. A window of time excludes its
  far end: an order exactly one second old no longer counts for the second.

Not in these files, so not judged: a venue's trading halt, quote-quantity orders, an operator's kill, and
which position of a hedging account a fill belongs to.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from alphatrade.risk.audit_caps import CappedJudge
from alphatrade.risk.audit_explored import Explored, explored
from alphatrade.risk.audit_files import RunFiles, read_run
from alphatrade.risk.audit_judge import Judge
from alphatrade.risk.audit_limits import HALF_ATTO
from alphatrade.risk.audit_orders import Finding, money, nano
from alphatrade.risk.audit_permit import permitted

_SHOWN = 20
_SECOND = 10**9
_OF_ALL = frozenset({"DENIED", "DUPLICATE", "OVERFILL", "UNAPPROVED", "UNKNOWN_INSTRUMENT"})  # no limits


@dataclass(frozen=True, slots=True)
class AuditReport:
    """
    What an audit found.

    Attributes
    ----------
    violations : tuple of Finding
        Orders that the law must not have let through, in order of `seq`; one order may break several limits.
    passive : mapping of str to int
        Limit → how often the market (or a fill, or a cancellation) carried the run beyond it, by crossings.
    integrity : tuple of Finding
        Where the files contradict themselves or the recomputation.
    orders, order_rows, submitted, fills, marks : int
        How many were judged: distinct orders, their events, approvals, fills, reference prices.
    utilisation : mapping of str to float
        Limit → highest use as a share of the limit, at approvals and at marks.
    position : mapping of str to Decimal
        Final signed position per instrument that has one, units.
    equity : Decimal
        Final equity at the last marks.
    currency : str
        Of `equity`.
    explored : Explored
        What was explored, and how much of the flow that was.
    """

    violations: tuple[Finding, ...]
    passive: Mapping[str, int]
    integrity: tuple[Finding, ...]
    orders: int
    order_rows: int
    submitted: int
    fills: int
    marks: int
    utilisation: Mapping[str, float]
    position: Mapping[str, Decimal]
    equity: Decimal
    currency: str
    explored: Explored

    @property
    def ok(self) -> bool:
        """Whether nothing was let through and nothing contradicts itself; passive breaches are no fault."""
        return not self.violations and not self.integrity


def audit(run_dir: str | Path) -> AuditReport:
    """
    Recompute a run and judge every order that the law let through.

    Parameters
    ----------
    run_dir : str or Path
        Artifacts folder of one run.

    Raises
    ------
    RunDirError
        If a file is missing, truncated or foreign: there is no verdict on missing data.
    """
    files = read_run(Path(run_dir))
    cap = files.limits.cap
    judge = Judge(files) if cap is None else CappedJudge(files, cap)
    judge.run()
    book, limits = judge.book, files.limits
    real = permitted(Path(run_dir), files)
    free = real.by_law
    violations = [one for one in judge.violations if one.subject not in free or one.code in _OF_ALL]
    approvals, *repeats = ([stamp for stamp in stamps if stamp[2] not in free]
                           for stamps in (judge.approvals, *judge.repeats.values()))  # fmt: skip
    for window, bound in ((_SECOND, limits.per_second), (60 * _SECOND, limits.per_minute)):
        violations += _crowded(judge, "ORDER_RATE", approvals, window, bound)
    for stamps in repeats:
        violations += _crowded(judge, "REPEATED", stamps, limits.repeat_ns, limits.repeat)
    found = explored(Path(run_dir), files, judge.opening, book.killed)
    violations += [*found.findings, *real.findings]
    return AuditReport(
        violations=tuple(sorted(violations)),
        passive=dict(sorted(book.passive.items())),
        integrity=tuple(sorted([*judge.integrity, *_contradictions(files, judge)])),
        orders=len(judge.orders),
        order_rows=len(files.orders),
        submitted=judge.submitted,
        fills=len(files.fills),
        marks=len(files.seq),
        utilisation={code: value / bound for code, (value, bound) in sorted(book.top.items())} | real.use,
        position={lot.name: Decimal(lot.pos) / 10**9 for lot in book.lots.values() if lot.pos},
        equity=Decimal(book.equity) / HALF_ATTO,
        currency=limits.currency,
        explored=found,
    )


def format_report(report: AuditReport) -> str:
    """Return the report as a compact table: counts, use of each limit, then the first findings."""
    lines = [
        f"judged      {report.submitted} submitted of {report.orders} orders ({report.order_rows} events), "
        f"{report.fills} fills, {report.marks} marks",
        f"end         equity {report.equity:.2f} {report.currency}, "
        + (", ".join(f"{name} {units.normalize():f}" for name, units in report.position.items()) or "flat"),
        f"violations  {len(report.violations)}",
        f"integrity   {len(report.integrity)}",
        f"passive     {sum(report.passive.values())} (the market moved; no order is to blame)",
        *_exploring(report.explored),
        "",
        f"{'limit':<20} {'highest use':>11} {'violations':>10} {'passive':>8}",
    ]
    broken = Counter(finding.code for finding in report.violations)
    for code in sorted({*report.utilisation, *report.passive, *broken}):
        used = f"{report.utilisation[code]:.1%}" if code in report.utilisation else "-"
        lines.append(f"{code:<20} {used:>11} {broken[code]:>10} {report.passive.get(code, 0):>8}")
    for title, findings in (("violation", report.violations), ("integrity", report.integrity)):
        for seq, ts, code, subject, detail in findings[:_SHOWN]:
            lines.append(f"{title} seq={seq} ts={ts} {code} {subject}: {detail}")
        if len(findings) > _SHOWN:
            lines.append(f"… and {len(findings) - _SHOWN} more of kind {title}")
    lines += ["", "AUDIT PASSED" if report.ok else "AUDIT FAILED"]
    return "\n".join(lines)


def _exploring(found: Explored) -> list[str]:
    if not found.orders:
        return []
    share, frozen = found.notional / max(found.flow, 1), "" if found.frozen is None else f", frozen at {found.frozen}"
    return [f"explored    {found.orders} orders, {share:.2%} of the flow, at most {found.most:.2%}{frozen}"]


def _crowded(
    judge: Judge, code: str, stamps: Sequence[tuple[int, int, str]], window: int, bound: int
) -> Iterator[Finding]:
    """Yield what is more than the `bound`-th of its kind within `window` nanoseconds."""
    ordered = sorted(stamps)
    times = np.asarray([stamp[0] for stamp in ordered], np.int64)
    counts = np.arange(1, len(times) + 1) - np.searchsorted(times, times - window, side="right")
    judge.book.use(code, int(counts.max(initial=0)), bound)
    for row in np.flatnonzero(counts > bound).tolist():
        ts, seq, subject = ordered[row]
        detail = f"orders={counts[row]} > limit={bound} in {window / _SECOND:g} s"
        yield Finding(seq, ts, code, subject, detail)


def _contradictions(files: RunFiles, judge: Judge) -> Iterator[Finding]:
    """Yield what only shows over whole files: removed rows, unequal fills, another equity."""
    for first, last in files.gaps:
        yield Finding(first, 0, "SEQ_GAP", "seq", f"rows {first} to {last} are in none of the files")
    for order in judge.orders.values():
        if order.fills != order.filled_rows:
            both = (order.filled_rows, order.fills)
            told, found = (", ".join(map(nano, counts)) or "none" for counts in both)
            detail = f"filled so far {told} by orders.parquet, {found} by fills.parquet"
            yield Finding(order.row.seq, order.row.ts, "FILLS", order.row.order_id, detail)
    half_atto = HALF_ATTO // 10**9  # of one nano, the precision of the file
    for ts, nanos in files.equity:
        apart = {abs(state - nanos * half_atto): state for state in judge.book.states[ts]}
        if apart and min(apart) > half_atto:
            detail = f"equity.parquet tells {nano(nanos)}, fills and marks {money(apart[min(apart)])}"
            yield Finding(0, ts, "EQUITY", "equity", detail)
