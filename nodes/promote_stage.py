"""The one door to a higher stage: a dossier is opened, held against the ledger, and judged again.

Nobody's word that a verdict holds is taken. What the gate has replayed comes from the dossier, on the word of the
member of the roster who has signed it: ``alphatrade verify-policy`` replays it, this does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from alphatrade.evolution.dossier import difference, sha
from alphatrade.evolution.promotion import Verdict, in_charge, judge
from alphatrade.nodes import verify_steps
from alphatrade.nodes.ledger_home import Home
from alphatrade.nodes.verify_case import Asked, Case
from alphatrade.reflection.ledger_chain import Entry, head_of
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.lineage import gap
from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import AlphaTradeError, LedgerError
from alphatrade.strategies.policy import canonical


@dataclass(frozen=True)
class Plea:
    """A dossier with which somebody wants a policy to go up, and the ledger of this machine."""

    data: bytes
    case: Case
    home: Home

    @property
    def policy_hash(self) -> str:
        """Of who is to go up."""
        return self.case.asked.policy_hash

    @cached_property
    def verdict(self) -> Verdict:
        """Computed here."""
        return judge(self.case.evidence, self.case.spec)


def promote_stage(data: bytes, policy_hash: str, why: str, home: Home) -> Entry:
    """
    Let a policy go one stage up, if its dossier bears it out.

    Parameters
    ----------
    data : bytes
        Of the dossier.
    policy_hash : str
    why : str
        Recorded.
    home : Home
        The ledger, and the key of a person.

    Raises
    ------
    InputError
        At the first thing that is not as it has to be; nothing is entered then.
    """
    home.entries()  # what others have added, and a whole end
    trust = frozenset([member.public for member in home.ledger.chain.roster.members])
    with TemporaryDirectory(prefix="alphatrade-dossier-") as place:
        case = Case(data, Asked(policy_hash, trust, ledger=home.ledger.folder), Path(place))
        plea = Plea(data, case, home)
        for name, check in CHECKS.items():
            try:
                wrong = check(plea)
            except AlphaTradeError:
                raise
            except Exception as error:  # a dossier is foreign: whatever it makes fail is not as it should be
                wrong = f"{type(error).__name__}: {error}", "one that can be read"
            if wrong is not None:
                got, expected = (" ".join(words.split())[:300] for words in wrong)
                raise LedgerError(f"dossier, {name}", got, expected)
        verdict = plea.verdict
    origin = home.ledger.chain.stages.stage_of(policy_hash)
    to = STAGES[min(STAGES.index(origin) + 1, len(STAGES) - 1)]
    body = {"policy_hash": policy_hash, "from": origin, "to": to, "why": why, "dossier": sha(data)}
    return home.append_stage(body, {"holds": verdict.promoted, **canonical(verdict)})


Wrong = tuple[str, str] | None  # what was found and what was expected; None: nothing wrong


def _step(name: str) -> Callable[[Plea], Wrong]:
    """Return a step of the verification as a check of a plea."""

    def check(plea: Plea) -> Wrong:
        row = verify_steps.STEPS[name](plea.case)
        return None if row.holds else (row.found, row.recorded)

    return check


def _kept(plea: Plea) -> Wrong:
    """Ask for the evidence of this policy, and for a ledger that is sound and of which what it says was kept."""
    told = plea.case.evidence
    if told.policy_hash != plea.policy_hash:
        return told.policy_hash, f"evidence on {plea.policy_hash}"
    head = head_of(told.head) if told.head else None
    found = verify(plea.home.ledger.folder, told.fingerprint or None, head)
    return (found.problems[0], "a ledger in which nothing is wrong") if found.problems else None


def _verdict(plea: Plea) -> Wrong:
    """Ask for a verdict that follows from the evidence, and in which every check holds."""
    found = plea.verdict
    if (where := difference(canonical(plea.case.verdict), canonical(found))) is not None:
        return where[0], f"{where[1]}, which follows from the evidence"
    return None if found.promoted else (f"refused by {', '.join(found.refused)}", "a verdict in which all checks hold")


def _fresh(plea: Plea) -> Wrong:
    """Ask for a judgement of its own: a dossier that has moved nobody, of a ledger that has the policy's last move."""
    moves, judged = plea.home.ledger.chain.stages.history, plea.case.evidence.ledger[-1].seq
    used = [move.seq for move in moves if move.body.dossier == sha(plea.data)]
    if used:
        return f"the dossier of entry {used[0]}", "one that no move was made with: judge it again"
    own = [move.seq for move in moves if plea.policy_hash in (move.body.policy_hash, move.replaced)]
    if own and judged < own[-1]:
        return f"judged at entry {judged}", f"a judgement after entry {own[-1]}, the policy's last move: judge it again"
    return None


def _drill(plea: Plea) -> Wrong:
    """Ask for a kill drill that did not fail."""
    wrong = plea.case.drill.wrong
    return (wrong, "a kill drill that did not fail") if wrong else None


def _lineage(plea: Plea) -> Wrong:
    """Ask for a lineage in this ledger, back to the founders of the search."""
    book = read(plea.home.ledger)
    missing = gap(book, plea.policy_hash, plea.home.ledger.chain.head.seq + 1)
    return (missing, "a lineage in this ledger back to the founders") if missing else None


def _incumbent(plea: Plea) -> Wrong:
    """Ask that whoever is to beat now is whom it was compared with; the ledger has grown since."""
    now, then = plea.home.ledger.chain.stages.to_beat(plea.policy_hash), in_charge(plea.case.evidence)
    return None if now in ("", then) else (then or "nobody", f"{now}, who is in charge by now: judge it again")


STEPS = ("archive", "members", "signatures", "policy_hash", "ledger", "copies", "genotype and policy", "thresholds")
CHECKS: dict[str, Callable[[Plea], Wrong]] = {name: _step(name) for name in STEPS} | {
    "evidence": _kept, "judgement": _fresh, "verdict": _verdict, "kill drill": _drill, "lineage": _lineage,
    "incumbent": _incumbent,
}  # fmt: skip
