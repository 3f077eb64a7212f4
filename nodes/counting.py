"""Manual replays are counted: one on the grid of a ledgered search is a trial, and over its held-out cells a look.

The entry comes before the replay, so that whatever somebody saw has been counted, however the replay ended; what came
of it is a second entry. A replay that is to be counted and cannot be is refused before it starts. The same run has the
same results and is counted once. What reads held-out cells without a replay, as a fit does, is a look alone.

A grid is concerned where a tape is that of the search, or is of the same instrument and of times that its cells have: a
tape with one row less has another hash. Only synthetic worlds, of which many have the same times, are told apart by
what they are: a part of a world counts where the whole of it is the tape of the search.
"""

import hashlib
import sys
from collections.abc import Sequence
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphatrade.evolution.fitness import Row
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.ledger_home import Home, existing, ledger_dir
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.worlds import make_world
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_bodies import Search
from alphatrade.reflection.ledger_chain import Entry
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.report_stats import sharpe
from alphatrade.reflection.trials import met
from alphatrade.strategies.policy import canonical

HOUR = 3_600 * 10**9
DIGITS = 12

Span = tuple[int, int]


class Count(NamedTuple):
    """A trial that was entered and whose outcome is not known yet; without an entry there is nothing to tell."""

    home: Home | None = None
    trial: str = ""

    def close_run(self, folder: Path, summary: dict[str, Any], tapes: Sequence[Tape], capital: float) -> None:
        """Enter what came of a run, from its folder and its summary."""
        if self.home is None:
            return
        curve = read_frame(folder / "equity.parquet", columns=["ts", "equity"])
        ts, equity = curve["ts"].to_numpy(), curve["equity"].astype(float).to_numpy()
        ratio = sharpe(ts, equity, capital, all(tape.instrument.asset == "equity" for tape in tapes))
        span = min(tape.span[0] for tape in tapes), max(tape.span[1] for tape in tapes)
        self._close(
            decisions=summary["decisions"], fills=summary["fills"], net_return=summary["return"], sharpe=ratio.value,
            drawdown=summary["max_drawdown"], killed=(summary["killed"] or "").partition(":")[0],
            returns=_hourly(ts, equity, capital, span),
        )  # fmt: skip

    def close_table(self, rows: Sequence[Row]) -> None:
        """Enter what came of a fitness table: over all cells, of which each starts with the whole capital."""
        found = [row.measured for row in rows if row.measured is not None]
        self._close(
            decisions=sum(one.decisions for one in found), fills=sum(one.fills for one in found),
            net_return=fsum([one.net_return for one in found]), sharpe=None,
            drawdown=max((one.drawdown for one in found), default=0.0),
            killed=next((one.killed for one in found if one.killed), ""),
            returns=[change for one in found for change in one.returns],
        )  # fmt: skip

    def _close(self, **figures: Any) -> None:
        if self.home is None:
            return
        self.home.append("outcome", {"trial": self.trial, **figures})


def counted(
    settings: Settings, tapes: Sequence[Tape], run_id: str, why: str, spans: Sequence[Span] | None = None
) -> Count:
    """
    Count a replay that is about to start.

    Parameters
    ----------
    settings : Settings
    tapes : sequence of Tape
        In the order of the run's tape specs.
    run_id : str
    why : str
        The verb.
    spans : sequence of (int, int), optional
        Parts that are replayed, UTC ns; none: all of every tape.

    Raises
    ------
    LedgerError
        If there is a ledger that is damaged, or this replay should be counted and cannot be.
    """
    folder = ledger_dir()
    if not (folder / FILE).is_file():
        return Count()
    chain, entries = Ledger(folder).read(whole=False)
    whole = list(spans) if spans is not None else _all_of(tapes)
    concerned = _concerned(settings, tapes, whole, entries)
    if not concerned:
        return Count()
    if spans is not None:
        run_id = hashlib.sha256(f"{run_id} {whole}".encode()).hexdigest()
    before = [one.hash for one in entries if one.kind == "trial" and one.body.get("run_id") == run_id]
    if before:
        return Count(existing(), before[-1]) if before[-1] in chain.open else Count()
    home, policy_hash, canary = existing(), settings.policy.policy_hash, settings.run.canary
    for flown in (policy_hash, *([] if canary is None else [canary.policy.policy_hash])):
        for look in _looks(flown, concerned, whole, why):
            home.append("look", look)
    genotype = None if settings.genotype is None else canonical(settings.genotype)
    entry = home.append("trial", {
        "search": "", "policy_hash": policy_hash, "tapes": {tape.instrument.id: tape.tape_hash for tape in tapes},
        "spans": _text(whole), "why": why, "run_id": run_id, "genotype": genotype,
        "concerns": sorted(search.search for search, _ in concerned),
    })  # fmt: skip
    number = home.ledger.chain.trials
    print(f"alphatrade: on the grid of a search: entered in the ledger as trial {number}", file=sys.stderr)
    return Count(home, entry.hash)


def looked(settings: Settings, tapes: Sequence[Tape], why: str) -> None:
    """
    Enter the looks of what reads tapes whole and replays no policy; once for the same policy, tapes and reason.

    Parameters
    ----------
    settings : Settings
        Their policy is the one that is meant to learn from it.
    tapes : sequence of Tape
    why : str
        The verb.

    Raises
    ------
    LedgerError
        If there is a ledger that is damaged, or a look at held-out cells should be entered and cannot be.
    """
    folder = ledger_dir()
    if not (folder / FILE).is_file():
        return
    _, entries = Ledger(folder).read(whole=False)
    whole = _all_of(tapes)
    known = [entry.body for entry in entries if entry.kind == "look"]
    looks = _looks(settings.policy.policy_hash, _concerned(settings, tapes, whole, entries), whole, why)
    for look in looks:
        if look not in known:
            existing().append("look", look)
            print(f"alphatrade: {why}: a look at held-out cells is entered in the ledger", file=sys.stderr)


def _all_of(tapes: Sequence[Tape]) -> list[Span]:
    return [(tape.span[0], tape.span[1] + 1) for tape in tapes]


def _looks(
    policy_hash: str, concerned: Sequence[tuple[Search, list[str]]], spans: Sequence[Span], why: str
) -> list[dict[str, Any]]:
    return [
        {"policy_hash": policy_hash, "tapes": {instrument: tape_hash}, "spans": _text(parts), "why": why}
        for tape_hash, (instrument, parts) in _held(concerned, spans).items()
    ]


def _concerned(
    settings: Settings, tapes: Sequence[Tape], spans: Sequence[Span], entries: Sequence[Entry]
) -> list[tuple[Search, list[str]]]:
    """Return the searches whose grid the tapes touch, each with the instruments that do."""
    found: dict[str, tuple[Search, list[str]]] = {}
    for entry in entries:
        if entry.kind != "search" or entry.body["search"] in found:
            continue
        search = Search.model_validate(entry.body)
        touched = []
        for tape, spec in zip(tapes, settings.run.all_tapes, strict=True):
            name = tape.instrument.id
            cells = [[cell.start, cell.end] for cell in search.cells if cell.instrument == name]
            if met(cells, spans) and _same(tape, spec, search.tapes[name]):
                touched.append(name)
        if touched:
            found[search.search] = search, touched
    return list(found.values())


def _same(tape: Tape, spec: Any, tape_hash: str) -> bool:
    if tape.tape_hash == tape_hash or not isinstance(spec, WorldTape):
        return True
    return make_world(spec.model_copy(update={"start": None, "end": None})).tape_hash == tape_hash


def _held(
    concerned: Sequence[tuple[Search, list[str]]], spans: Sequence[Span]
) -> dict[str, tuple[str, list[Span]]]:
    """Return the held-out parts that are replayed, by the hash of the search's tape, with its instrument."""
    found: dict[str, tuple[str, list[Span]]] = {}
    for search, names in concerned:
        for cell in search.cells:
            if not cell.holdout or cell.instrument not in names:
                continue
            parts = found.setdefault(search.tapes[cell.instrument], (cell.instrument, []))[1]
            for start, end in spans:
                part = max(start, int(cell.start)), min(end, int(cell.end))
                if part[0] < part[1] and part not in parts:
                    parts.append(part)
    return {tape_hash: one for tape_hash, one in found.items() if one[1]}


def _hourly(ts: Any, equity: Any, capital: float, span: Span) -> list[float]:
    """Return the change of equity over the capital in each whole hour from the first event on."""
    edges = span[0] + HOUR * np.arange(1, (span[1] - span[0]) // HOUR + 1)
    levels = np.concatenate(([capital], equity))[np.searchsorted(ts, edges, "right")]
    changes = np.diff(np.concatenate(([capital], levels))) / capital
    return [round(one, DIGITS) for one in changes.tolist()]


def _text(spans: Sequence[Span]) -> list[list[str]]:
    return [[str(start), str(end)] for start, end in spans]
