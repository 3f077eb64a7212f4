"""Evolution's key figures, recomputed from a ledger alone: the same ledger gives the same bytes.

What the ledger does not tell is None and said to be missing, never nought and never a pass.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple

from alphatrade.reflection.ledger_bodies import Search
from alphatrade.reflection.ledger_files import read_verdict
from alphatrade.reflection.lineage import gap
from alphatrade.reflection.stages import Move
from alphatrade.reflection.trials import Book, Counted, Started
from alphatrade.risk.errors import LedgerError

NS, HOUR_S, LIMIT_H = 1_000_000_000, 3_600, 24.0
DIGITS = 9
UPWARDS = ("promotion", "admission")


class Figure(NamedTuple):
    """
    One figure.

    Attributes
    ----------
    id, what : str
        Row of the roadmap; in words.
    figure : float or None
        None where the ledger does not tell.
    unit, target : str
        Target in words; empty where there is none.
    holds : bool or None
        None where there is no target, or nothing to hold against it.
    n, missing : int
        How many it is made of, and how many did not have what it takes.
    """

    id: str
    what: str
    figure: float | None
    unit: str
    target: str
    holds: bool | None
    n: int
    missing: int


class Week(NamedTuple):
    """Experiments of a person in an ISO week; `faulty` failed, broke the law, or have no outcome."""

    week: str
    person: str
    trials: int
    faulty: int
    searches: int


def kpis(book: Book) -> dict[str, Any]:
    """Return all figures as plain values, with the rows that they are made of."""
    searches = [_search(book, one) for one in book.searches.values()]
    promotions = [_promotion(book, move) for move in book.chain.stages.history if move.kind in UPWARDS]
    retreats = [_retreat(move) for move in book.chain.stages.history if move.kind in ("demotion", "rollback")]
    weeks = people(book)
    figures = [
        _hours("hours from a search to its first scored candidate", [one["hours_to_scored"] for one in searches]),
        _hours("hours from a search to its first policy in paper", [one["hours_to_paper"] for one in searches]),
        _rate(searches), _budget(searches), _latency(retreats), _integrity(promotions), *_experiments(weeks),
    ]  # fmt: skip
    last = book.entries[-1]
    return {
        "head": f"{last.seq}:{last.hash}",
        "fingerprint": book.chain.fingerprint,
        "as_of": when(last.ts),
        "trials": len(book.trials),
        "looks": len(book.looks),
        "figures": [one._asdict() for one in figures],
        "searches": searches,
        "promotions": promotions,
        "retreats": retreats,
        "people": [one._asdict() for one in weeks],
    }


def when(ts: int) -> str:
    """Return a time, UTC ns, as ISO text in whole seconds."""
    return datetime.fromtimestamp(ts // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def week_of(ts: int) -> str:
    """Return the ISO week of a time, UTC ns: ``2026-W09``."""
    year, week, _ = datetime.fromtimestamp(ts // NS, UTC).isocalendar()
    return f"{year}-W{week:02d}"


# -- rows


def _search(book: Book, one: Started) -> dict[str, Any]:
    own = [trial for trial in book.of_search(one.search.search) if trial.trial.search]
    tried = {trial.trial.policy_hash: trial.entry.seq for trial in reversed(own)}
    scored = [trial.entry.ts for trial in own if getattr(trial.trial, "status", "") == "scored"]
    moves = [move for move in book.chain.stages.history if move.kind == "promotion" and move.body.to == "paper"]
    paper = [move.ts for move in moves if tried.get(move.body.policy_hash, move.seq) < move.seq]
    budget = _granted(one.search)
    return {
        "search": one.search.search,
        "started": when(one.entry.ts),
        "by": one.entry.key,
        "trials": len(own),
        "budget": budget,
        "faulty": sum(trial.faulty for trial in own),
        "hours_to_scored": _since(one.entry.ts, scored),
        "hours_to_paper": _since(one.entry.ts, paper),
    }


def _since(start: int, stamps: list[int]) -> float | None:
    """Return the hours to the first of some moments; None also where clocks contradict the order of the entries."""
    return _rounded((min(stamps) - start) / NS / HOUR_S) if stamps and min(stamps) >= start else None


def _promotion(book: Book, move: Move) -> dict[str, Any]:
    """
    Return a promotion, and what it lacks: a dossier, a verdict that holds, or a part of its lineage.

    An admission to limited_live rests on the promotion that brought the policy into pilot, and on two persons.
    """
    body, lacks = move.body, []
    ways = [one for one in book.chain.stages.history if one.kind == "promotion" and one.seq <= move.seq]
    proof = [one for one in ways if one.body.policy_hash == body.policy_hash][-1]
    if not proof.body.dossier:
        lacks.append("no dossier")
    try:
        read_verdict(book.folder, book.entries[proof.seq])
    except LedgerError as error:
        lacks.append(str(error))
    if missing := gap(book, body.policy_hash, move.seq):
        lacks.append(missing)
    return {
        "seq": move.seq, "ts": when(move.ts), "policy_hash": body.policy_hash, "to": body.to,
        "by": ", ".join([move.key, *(one.second for one in book.chain.permits.all if one.seq == move.seq)]),
        "lacks": lacks,
    }  # fmt: skip


def _retreat(move: Move) -> dict[str, Any]:
    noticed = move.body.noticed
    return {
        "seq": move.seq, "ts": when(move.ts), "policy_hash": move.body.policy_hash, "kind": move.kind,
        "from": move.body.origin, "to": move.body.to, "by": move.key, "why": move.body.why,
        "seconds": _rounded((move.ts - int(noticed)) / NS) if noticed else None,
    }  # fmt: skip


def people(book: Book) -> list[Week]:
    """
    Return who made how many experiments in which week.

    A trial belongs to the person who signed it; one that a service signed, to the person who signed the search, else
    to the person that the service works for by the roster. Where neither is told it belongs to nobody that is known.
    """
    found: dict[tuple[str, str], list[Counted]] = {}
    for trial in book.trials:
        found.setdefault((week_of(trial.entry.ts), _person(book, trial)), []).append(trial)
    started: dict[tuple[str, str], int] = {}
    for one in book.searches.values():
        place = week_of(one.entry.ts), _human(book, one.entry.key)
        started[place] = started.get(place, 0) + 1
    rows = []
    for week, person in sorted(found.keys() | started.keys()):
        trials = found.get((week, person), [])
        rows.append(Week(week, person, len(trials), sum(one.faulty for one in trials), started.get((week, person), 0)))
    return rows


def _person(book: Book, trial: Counted) -> str:
    search = book.searches.get(trial.trial.search)
    member = book.chain.roster.named(trial.entry.key)
    if member is not None and member.role == "service" and search is not None:
        starter = book.chain.roster.named(search.entry.key)
        if starter is not None and starter.role == "person":
            return starter.name
    return _human(book, trial.entry.key)


def _human(book: Book, name: str) -> str:
    member = book.chain.roster.named(name)
    if member is None:
        return ""
    return member.name if member.role == "person" else member.of


# -- figures


def _rounded(value: float) -> float:
    return round(value, DIGITS)


def _told(values: Iterable[float | None]) -> tuple[list[float], int]:
    """Return the values that are known, and how many are not."""
    whole = list(values)
    known = [one for one in whole if one is not None]
    return known, len(whole) - len(known)


def _middle(known: Sequence[float], how: Callable[[Sequence[float]], float] = median) -> float | None:
    return _rounded(float(how(known))) if known else None


def _hours(what: str, values: list[float | None]) -> Figure:
    known, missing = _told(values)
    holds = max(known) <= LIMIT_H if known else None
    return Figure("K1", what, _middle(known), "h, median", f"at most {LIMIT_H:g}, each", holds, len(known), missing)


def _rate(searches: list[dict[str, Any]]) -> Figure:
    promoted = sum(one["hours_to_paper"] is not None for one in searches)
    rate = _rounded(promoted / len(searches)) if searches else None
    return Figure("M2.C", "searches from which a policy came to paper", rate, "share", "", None, len(searches), 0)


def _granted(search: Search) -> int | None:
    """Return how many trials a search may take: the founders' generation and its children's."""
    sizes = [search.spec.get(name) for name in ("parents", "children", "generations")]
    parents, children, generations = [size if type(size) is int and size >= 0 else -1 for size in sizes]
    if min(parents, children, generations) < 0:
        return None
    return max(parents, len(search.founders)) + children * generations or None


def _budget(searches: list[dict[str, Any]]) -> Figure:
    known, missing = _told(one["trials"] / one["budget"] if one["budget"] else None for one in searches)
    holds = max(known) <= 1 if known else None
    return Figure("M2.C", "trials over the search's budget", _middle(known), "share, median", "at most 1, each", holds,
                  len(known), missing)  # fmt: skip


def _latency(retreats: list[dict[str, Any]]) -> Figure:
    known, missing = _told(one["seconds"] for one in retreats)
    what = "from when it was noticed to the demotion or rollback"
    return Figure("M2.C", what, _middle(known), "s, median", "", None, len(known), missing)


def _integrity(promotions: list[dict[str, Any]]) -> Figure:
    sound = sum(not one["lacks"] for one in promotions)
    share = _rounded(sound / len(promotions)) if promotions else None
    holds = sound == len(promotions) if promotions else None
    what = "promotions with dossier, holding verdict and complete lineage"
    return Figure("K2", what, share, "share", "1", holds, len(promotions), 0)


def _experiments(weeks: list[Week]) -> list[Figure]:
    """Return experiments per person and week, and the share that is faulty, of the last week; they hold together."""
    known = [one for one in weeks if one.person and one.trials]
    nobody = sum(one.trials for one in weeks if not one.person)
    by_week = [[one for one in known if one.week == week] for week in sorted({one.week for one in known})]
    rates = [sum(one.trials for one in own) / len(own) for own in by_week]
    faults = [sum(one.faulty for one in own) / sum(one.trials for one in own) for own in by_week]
    several = len(by_week) > 1
    rising = rates[-1] > rates[-2] if several else None
    no_worse = faults[-1] <= faults[-2] if several else None
    n = sum(one.trials for one in by_week[-1]) if by_week else 0
    return [
        Figure("K5", "experiments per person, last week that has any", _middle(rates[-1:]), "trials",
               "more than the week before it", rising, n, nobody),
        Figure("K5", "of these failed, broke the law, or have no outcome", _middle(faults[-1:]), "share",
               "no more than the week before it", no_worse, n, nobody),
    ]  # fmt: skip
