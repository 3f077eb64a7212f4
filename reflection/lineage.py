"""The lineage of a policy in a ledger: from its trial back to founders of the search, or where it breaks off."""

import hashlib
from typing import Any

import rfc8785

from alphatrade.reflection.ledger_bodies import Search, Trial
from alphatrade.reflection.trials import Book


def gap(book: Book, policy_hash: str, before: int) -> str:
    """
    Return why the lineage of a policy is not complete; empty if it is.

    Complete is: a search that was entered before its trials, a scored trial of the policy in it, and for that and every
    ancestor a genotype whose hash is what it is said to be, back to founders that the search has named.

    Parameters
    ----------
    book : Book
    policy_hash : str
    before : int
        Number of an entry: what was entered later does not count.
    """
    reasons = []
    for one in book.trials:
        trial = one.trial
        if trial.policy_hash != policy_hash or not isinstance(trial, Trial) or one.entry.seq >= before:
            continue
        started = book.searches.get(trial.search)
        if trial.status != "scored":
            reasons.append(f"its trial in entry {one.entry.seq} was {trial.status}")
        elif started is None or started.entry.seq >= one.entry.seq:
            reasons.append(f"no search was entered before the trial in entry {one.entry.seq}")
        elif not (broken := _broken(book, trial, started.search, before)):
            return ""
        else:
            reasons.append(broken)
    return reasons[0] if reasons else "no trial of it was entered before"


def genotype_hash(plain: dict[str, Any]) -> str:
    """Return the sha256 of a genotype's canonical JSON."""
    return hashlib.sha256(rfc8785.dumps(plain)).hexdigest()


def _broken(book: Book, trial: Trial, search: Search, before: int) -> str:
    """Return where the way back to the founders breaks off."""
    family = {
        one.trial.genotype_hash: one.trial
        for one in reversed(book.of_search(search.search))
        if isinstance(one.trial, Trial) and one.entry.seq < before
    }
    founders = {one if isinstance(one, str) else genotype_hash(one) for one in search.founders}
    family[trial.genotype_hash] = trial
    left, seen = [trial.genotype_hash], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        one = family.get(name)
        if one is None:
            if name not in founders:
                return f"no trial of the ancestor {name}"
            continue
        if genotype_hash(one.genotype) != name:
            return f"the genotype of {name} has another hash"
        if not one.lineage.parents and name not in founders:
            return f"{name} has no parents and is no founder of the search"
        left += one.lineage.parents
    return ""
