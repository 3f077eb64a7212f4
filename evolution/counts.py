"""What a ledger counts against a candidate: trials, those that nobody entered, and looks at held-out cells."""

from collections.abc import Iterable
from typing import Any

from alphatrade.evolution.evidence import Evidence, trials_of
from alphatrade.reflection.trials import unentered


def counted(evidence: Evidence) -> tuple[int, int]:
    """
    Return N: how many trials there were, of all searches of a ledger; and how many of them are not entered.

    Raises
    ------
    LedgerError
        If a search does not say how large it is.
    """
    trials, searches = trials_of(evidence), [record.body for record in evidence.ledger if record.kind == "search"]
    hidden = unentered(searches, trials)
    return len(trials) + hidden, hidden


def looked(evidence: Evidence) -> list[str]:
    """
    Return the policies that were replayed on held-out cells, in the order in which they first were.

    Looks count, manual replays, and the candidates of other searches, whose grid may have held out less; the same
    policy again shows nothing new.
    """
    held = evidence.held_out

    def seen(instruments: Iterable[str], start: Any, end: Any) -> bool:
        return any(c.instrument in instruments and int(start) < c.end and c.start < int(end) for c in held)

    found: dict[str, None] = {}
    for record in evidence.ledger:
        spans = (record.body.get("spans") or ()) if record.kind in ("look", "trial") else ()
        if any(seen(record.body["tapes"], start, end) for start, end in spans):
            found.setdefault(str(record.body["policy_hash"]))
        for leaf in record.tried:  # of a manual replay there are no cells but spans
            if any(seen((cell["instrument"],), cell["start"], cell["end"]) for cell in leaf.get("cells", ())):
                found.setdefault(str(leaf["policy_hash"]))
    return list(found)
