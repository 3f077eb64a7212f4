"""What a ledger tells of trials: every one of them, of which search and tapes, its Sharpe ratio, and looks at holdouts.

A pure projection: whatever is asked is counted from the entries and the batches beside them, whose Merkle roots are
checked when they are read.
"""

from collections.abc import Iterable, Mapping
from math import fsum, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_bodies import Look, Outcome, Replay, Search, Trial
from alphatrade.reflection.ledger_chain import Chain, Entry
from alphatrade.reflection.ledger_files import read_batch
from alphatrade.risk.errors import LedgerError

Span = tuple[int, int]


class Counted(NamedTuple):
    """
    One trial.

    Attributes
    ----------
    entry : Entry
        That holds it, alone or in its batch.
    trial : Trial or Replay
        A candidate of a search, or a manual replay.
    outcome : Outcome or None
        Of a manual replay, once it is known.
    """

    entry: Entry
    trial: Trial | Replay
    outcome: Outcome | None = None

    @property
    def returns(self) -> tuple[float, ...]:
        """Net returns per period, over all cells in their order; none where none are known."""
        if isinstance(self.trial, Trial):
            return tuple([one for cell in self.trial.cells for one in cell.returns])
        return tuple(self.outcome.returns) if self.outcome else ()

    @property
    def sharpe(self) -> float | None:
        """Sharpe ratio per period, not annualised; None where fewer than two returns are known, or none moved."""
        returns = self.returns
        if len(returns) < 2:
            return None
        mean = fsum(returns) / len(returns)
        deviation = sqrt(fsum([(one - mean) ** 2 for one in returns]) / (len(returns) - 1))
        return mean / deviation if deviation > 0 else None

    @property
    def violations(self) -> int:
        """Violations of the law that the auditor counted."""
        return sum(cell.violations for cell in self.trial.cells) if isinstance(self.trial, Trial) else 0

    @property
    def faulty(self) -> bool:
        """Whether it failed, was killed or timed out, broke the law, or has no outcome."""
        if isinstance(self.trial, Trial):
            return self.trial.status in ("failed", "killed", "timeout") or self.violations > 0
        return self.outcome is None


class Started(NamedTuple):
    """A search, and the entry that tells of it."""

    entry: Entry
    search: Search


class Looked(NamedTuple):
    """A look at held-out cells, and the entry that tells of it."""

    entry: Entry
    look: Look


class Book(NamedTuple):
    """
    All that a ledger tells.

    Attributes
    ----------
    entries : tuple of Entry
    searches : dict of str to Started
        By their hash; of one that was entered again, the first.
    trials : tuple of Counted
        In the order in which they were entered.
    looks : tuple of Looked
    chain : Chain
        Head, roster and stages.
    folder : Path
    """

    entries: tuple[Entry, ...]
    searches: Mapping[str, Started]
    trials: tuple[Counted, ...]
    looks: tuple[Looked, ...]
    chain: Chain
    folder: Path

    def of_search(self, search: str) -> tuple[Counted, ...]:
        """Return the trials of a search, and the manual replays on its grid."""
        return tuple([one for one in self.trials if search in _concerned(one)])

    def of_tapes(self, tapes: Iterable[str]) -> tuple[Counted, ...]:
        """
        Return every trial on tapes, given by their hashes.

        Those are the trials of all searches that use one of them, the manual replays on grids of these searches
        (also of a part of the tape, which has another hash), and the manual replays of the tape itself.
        """
        wanted = frozenset(tapes)
        used = {name for name, one in self.searches.items() if wanted & set(one.search.tapes.values())}
        return tuple([one for one in self.trials if used & _concerned(one) or wanted & _tapes(one)])

    def looks_at(self, tape_hash: str, span: Span) -> tuple[Looked, ...]:
        """Return the looks at a part of a tape, ``start <= ts < end``: those that share a moment with it."""
        there = [one for one in self.looks if tape_hash in one.look.tapes.values()]
        return tuple([one for one in there if met(one.look.spans, [span])])


def read(ledger: Ledger) -> Book:
    """
    Return what a ledger tells.

    Raises
    ------
    LedgerError
        If it is damaged, or the trials of a batch are.
    """
    chain, entries = ledger.read()
    searches: dict[str, Started] = {}
    trials: list[Counted] = []
    looks: list[Looked] = []
    place: dict[str, int] = {}
    for entry in entries:
        if entry.kind == "search":
            search = Search.model_validate(entry.body)
            searches.setdefault(search.search, Started(entry, search))
        elif entry.kind == "batch":
            trials += [Counted(entry, trial) for trial in read_batch(ledger.folder, entry)]
        elif entry.kind == "trial":
            place[entry.hash] = len(trials)
            model = Trial if entry.body["search"] else Replay
            trials.append(Counted(entry, model.model_validate(entry.body)))
        elif entry.kind == "outcome":
            at = place[entry.body["trial"]]
            trials[at] = trials[at]._replace(outcome=Outcome.model_validate(entry.body))
        elif entry.kind == "look":
            looks.append(Looked(entry, Look.model_validate(entry.body)))
    return Book(tuple(entries), searches, tuple(trials), tuple(looks), chain, ledger.folder)


def unentered(searches: Iterable[Mapping[str, Any]], leaves: Iterable[Mapping[str, Any]]) -> int:
    """
    Return how many trials somebody may have seen that are not entered: a generation of each search that has not ended.

    A generation is entered when all of it was replayed. Of a search that was stopped, nobody can tell whether the next
    one was begun: it counts as if all of it had been replayed, as far as the budget goes. A search that has ended
    because no more children could be bred looks the same, and counts as much too many.

    Parameters
    ----------
    searches : iterable of mapping
        Bodies of ``search`` entries.
    leaves : iterable of mapping
        All trials that were entered, manual replays among them or not.

    Raises
    ------
    LedgerError
        If a search does not say how large it is.
    """
    generations: dict[str, set[int]] = {}
    spent: dict[str, int] = {}
    for leaf in leaves:
        if name := leaf["search"]:
            generations.setdefault(name, set()).add(leaf["generation"])
            spent[name] = spent.get(name, 0) + len(leaf["cells"])
    begun = {body["search"]: body for body in searches}
    return sum(_next(body, generations.get(name, set()), spent.get(name, 0)) for name, body in begun.items())


def _next(search: Mapping[str, Any], entered: set[int], spent: int) -> int:
    """Return how large the first generation of a search is that is not entered; 0 where all are."""
    spec = search["spec"]
    sizes = [spec.get(name) for name in ("parents", "children", "generations")]
    if any(type(size) is not int or size < 0 for size in sizes):
        raise LedgerError(f"search {search['search'][:12]}, spec", sizes, "parents, children and generations")
    parents, children, last = sizes
    missing = next((one for one in range(last + 1) if one not in entered), None)
    if missing is None:
        return 0
    founders = len(search["founders"])
    size: int = children if missing else max(founders, parents)
    if (budget := spec.get("budget")) is not None:
        cells = sum(not cell["holdout"] for cell in search["cells"])
        size = min(size, max(0, budget - spent) // max(1, min(cells, spec.get("cells") or cells)))
    return size if missing else max(founders, size)


def sharpes(trials: Iterable[Counted]) -> tuple[float, ...]:
    """Return the Sharpe ratios per period of the trials that have one."""
    return tuple([one for trial in trials if (one := trial.sharpe) is not None])


def met(spans: Iterable[Iterable[str | int]], others: Iterable[Span]) -> bool:
    """Return whether two sets of half-open spans, UTC ns, share a moment."""
    theirs = list(others)
    own = [tuple(map(int, span)) for span in spans]
    return any(start < end_ and start_ < end for start, end in own for start_, end_ in theirs)


def _concerned(one: Counted) -> frozenset[str]:
    return frozenset([one.trial.search] if isinstance(one.trial, Trial) else one.trial.concerns)


def _tapes(one: Counted) -> frozenset[str]:
    return frozenset(one.trial.tapes.values() if isinstance(one.trial, Replay) else ())
