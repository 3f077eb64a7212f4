"""``alphatrade ledger trace``: one change from the rows of a diary to the policy that runs, entry by entry."""

from datetime import UTC, datetime
from textwrap import TextWrapper

from alphatrade.nodes.rim_settings import shipped_governance
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.governance import measured
from alphatrade.reflection.ledger_chain import Chain, Entry
from alphatrade.reflection.rim.edits import describe
from alphatrade.reflection.thresholds import as_spec, looser
from alphatrade.risk.errors import LedgerError

WIDTH, INDENT = 100, " " * 12


def trace(chain: Chain, entries: list[Entry], start: str) -> list[str]:
    """
    Return the lines of a trace.

    Parameters
    ----------
    chain : Chain
    entries : list of Entry
        All of the ledger.
    start : str
        How the id of a proposal begins, or the hash of a policy that one has made.

    Raises
    ------
    LedgerError
        If there is no such proposal, or more than one.
    """
    feedback = chain.feedback
    applied = [case for case in feedback.cases.values() if case.applied]
    made = [case for case in applied if start and case.proposal.child.startswith(start)]
    if len(hashes := {case.proposal.child for case in made}) > 1:
        raise LedgerError("policy", start, f"the hash of one policy, not the beginning of {len(hashes)}")
    case = made[-1] if made else feedback.find(start)
    told = [*_proposed(case, entries), *_decided(case, entries), *_applied(case, entries), *_now(case, feedback)]
    plain = ["".join([sign if sign.isprintable() else " " for sign in line]) for line in told]  # words are anybody's
    lines = TextWrapper(WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    return [part for line in plain for part in lines.wrap(line)]


def _proposed(case: Case, entries: list[Entry]) -> list[str]:
    p = case.proposal
    lines = [f"diary       run {one.run_id}, {one.instrument}: decisions {one.first} to {one.last}, "
             f"{_time(one.start)} to {_time(one.end)}, sha256 {one.sha256[:16]}" for one in p.evidence]  # fmt: skip
    return [
        *lines,
        f"model       {p.engine} {p.model_hash[:16]}, code {p.code_hash[:16]}, config {p.config_hash[:16]}",
        f"proposal    {_entry(case.seq, entries)}  {p.id}",
        f"            {p.rationale}",
        f"            of policy {p.target}",
        f"            to policy {p.child}",
    ]


def _decided(case: Case, entries: list[Entry]) -> list[str]:
    ruling = case.ruling
    if ruling is None:
        return ["ruling      none yet"]
    lines = [f"ruling      {_entry(case.ruled, entries)}  {ruling.outcome}"]
    if ruling.window is not None:
        w = ruling.window
        lines.append(f"            replayed {_time(w.start)} to {_time(w.end)}, tape {w.tape_hash[:16]}")
    if (found := measured(ruling)) is not None:
        told = f"{found.mean:+.3f} bps an hour [{found.low:+.3f}, {found.high:+.3f}], {ruling.hits} risk hits"
        lines.append(f"            uplift {told}")
    if words := looser(as_spec(ruling.spec), shipped_governance()):
        lines.append(f"            by thresholds looser than they come: {', '.join(words)}")
    lines += [f"            not by rule: {words}" for words in ruling.why]
    if case.signoff is not None:
        word = "signed off" if case.signoff.approve else "rejected"
        lines.append(f"sign-off    {_entry(case.signed, entries)}  {word}: {case.signoff.why}")
    return lines


def _applied(case: Case, entries: list[Entry]) -> list[str]:
    lines = []
    for seq, _, body in case.applied:
        share = f" with {body.share:.0%} of the capital" if body.share else ""
        lines.append(f"application {_entry(seq, entries)}")
        lines.append(f"{INDENT}{body.phase}{share}: {body.why} (run {body.run_id})")
    if case.rollback is not None:
        lines.append(f"rollback    {_entry(case.rolled, entries)}")
        lines.append(f"{INDENT}{case.rollback.cause}: {case.rollback.why}")
    return lines or ["application none"]


def _now(case: Case, feedback: Feedback) -> list[str]:
    target, phase = case.proposal.target, case.phase
    policy = feedback.in_force(target)
    words = f"{describe(case.proposal.edit)}: {phase or ('taken back' if case.rollback else 'not applied')}"
    return [f"now         {words}", f"            a node with policy {target[:16]} starts with {policy}"]


def _entry(seq: int, entries: list[Entry]) -> str:
    entry = entries[seq]
    return f"entry {seq}, {_time(str(entry.ts))}, signed by {entry.key}, {entry.hash[:16]}"


def _time(ns: str) -> str:
    return datetime.fromtimestamp(int(ns) // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
