"""What the console shows: read from a node's files and asked of its metrics and an Alertmanager; nothing is written."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families

from alphatrade.nodes.alarms import NEAR, alarms
from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.console.asked import Asked
from alphatrade.nodes.console.running import Running, RunSeen, told
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.metrics import PREFIX
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.rim.edits import describe
from alphatrade.risk.errors import AlphaTradeError, InputError
from alphatrade.risk.kill import KillStatus, latch_dir, status

EVERY_S, SLOW_S = 0.4, 2.0  # between two looks: at files that grow, and at what changes seldom
STALE_S = 5.0  # a beat, and what metrics and Alertmanager said, is not of now after that
READ_S = 30.0  # in which a run of many days is read
MOST = 40  # entries, proposals
METRICS_BYTES = 2**20

type Metrics = Mapping[str, tuple[tuple[Mapping[str, str], float], ...]]


class Proposed(NamedTuple):
    """A proposal: its id, what it would change, its rationale, and whether it waits for a person."""

    id: str
    words: str
    why: str
    waits: bool


class Measured(NamedTuple):
    """Metrics; or whose they are, where it is not the node that is looked at."""

    metrics: Metrics
    stranger: str = ""


class Kept(NamedTuple):
    """What the ledger has: its latest entries and proposals, the latest first."""

    ledger: tuple[tuple[int, str, str], ...] = ()
    proposals: tuple[Proposed, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What is known now.

    Attributes
    ----------
    looked : bool
        Whether there was time to look for a beat; without, `beat` tells nothing.
    beat : Beat or None
        The latest, whenever that was.
    latch : KillStatus or None
        None: it cannot be read.
    run : RunSeen
    metrics : mapping
        Of now; empty where `no_metrics` says why.
    stranger : str
        Whose the metrics are, where they are of another node; `metrics` has none of them.
    alarms : tuple of Alarm or None
        Of now; None where `no_alarms` says why.
    ledger, proposals : tuple
    trouble : str
        What could not be read just now; what is shown of it is older.
    """

    looked: bool = False
    beat: Beat | None = None
    latch: KillStatus | None = None
    run: RunSeen = field(default_factory=RunSeen)
    metrics: Metrics = field(default_factory=dict)
    no_metrics: str = ""
    stranger: str = ""
    alarms: tuple[Any, ...] | None = None
    no_alarms: str = ""
    ledger: tuple[tuple[int, str, str], ...] = ()
    proposals: tuple[Proposed, ...] = ()
    trouble: str = ""


class Watch:
    """
    Looks at a node again and again while it is entered; `seen` is what is known.

    Parameters
    ----------
    place : Place
    metrics : str
        Address of the node's metrics; empty: the one that the node itself has told.
    """

    def __init__(self, place: Place, metrics: str) -> None:
        self._place, self._metrics = place, metrics
        self._folder = folder = latch_dir(place.state, place.env, place.account)
        self._beat = Asked(lambda: (last_beat(folder),), EVERY_S, STALE_S, keep=True)
        self._latch = Asked(lambda: status(place.state, place.env, place.account), EVERY_S, STALE_S, keep=False)
        self._run = Asked(Running(folder), EVERY_S, READ_S, keep=True)
        self._ledger = Asked(_Keeper(), SLOW_S, READ_S, keep=True)
        self._measured = Asked(self._measure, SLOW_S, STALE_S, keep=False)
        self._alarms = Asked(lambda: tuple(alarms(place.alertmanager)), SLOW_S, STALE_S, keep=False)
        self._all: list[Asked[Any]] = [self._beat, self._latch, self._run, self._ledger, self._measured]
        self._all += [self._alarms] if place.alertmanager else []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=one.go, args=(self._end,), daemon=True) for one in self._all]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; whoever is still waited for goes with the process."""
        self._end.set()
        until = time.monotonic() + 2.0
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def look(self) -> Seen:
        """Ask for all of it at once, and return what is known then."""
        for one in self._all:
            one.look()
        return self.seen

    @property
    def seen(self) -> Seen:
        """What is known now."""
        beat, latch, run, kept = self._beat.answer, self._latch.answer, self._run.answer, self._ledger.answer
        measured, firing = self._measured.answer, self._alarms.answer
        ledger, own, found = kept.value or Kept(), run.value or RunSeen(), measured.value or Measured({})
        troubles = {"heartbeat": beat.why, "kill switch": latch.why, "run": run.why or own.trouble, "ledger": kept.why}
        return Seen(
            beat.value is not None, beat.value[0] if beat.value else None, latch.value, own,
            found.metrics, measured.why, found.stranger, firing.value, firing.why, ledger.ledger, ledger.proposals,
            "; ".join([f"{name} is not read: {why}" for name, why in troubles.items() if why]),
        )  # fmt: skip

    def _measure(self) -> Measured:
        address = self._metrics or str(told(self._folder).get("metrics", ""))
        if not address:
            raise AlphaTradeError("no node has said where its metrics are, or it was told to serve none")
        with NEAR.open(address, timeout=SLOW_S) as answer:
            text = answer.read(METRICS_BYTES).decode()
        found: dict[str, Any] = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                found.setdefault(one.name, []).append((one.labels, one.value))
        whose = next((f"{labels['env']}/{labels['account']}" for labels, _ in found.get(f"{PREFIX}info", ())), "")
        if whose and whose != f"{self._place.env}/{self._place.account}":
            return Measured({}, whose)
        at = next((value for _, value in found.get(f"{PREFIX}beat_timestamp_seconds", ())), None)
        if at is not None and (age := time.time() - at) > STALE_S:  # they are served, but nobody renews them
            raise InputError(address, f"metrics of {age:.0f} s ago", "a node whose loop goes on")
        return Measured({name: tuple(rows) for name, rows in found.items()})


class _Keeper:
    """Reads the ledger where it has changed."""

    def __init__(self) -> None:
        self._size, self._kept = -1, Kept()

    def __call__(self) -> Kept:
        file = ledger_dir() / FILE
        size = file.stat().st_size if file.is_file() else 0
        if size != self._size:
            self._kept, self._size = _ledger() if size else Kept(), size
        return self._kept


def _ledger() -> Kept:
    """Return the latest entries and proposals of the ledger, the latest first; of one that is damaged, why it is."""
    from alphatrade.reflection.ledger import Ledger

    try:
        chain, entries = Ledger(ledger_dir()).read(whole=False)
    except AlphaTradeError as error:
        return Kept(((-1, "damaged", str(error)),))
    cases = list(chain.feedback.cases.values())[: -MOST - 1 : -1]
    return Kept(
        tuple([(one.seq, one.kind, _words(one.body)) for one in entries[: -MOST - 1 : -1]]),
        tuple([_proposal(case) for case in cases]),
    )


def _proposal(case: Case) -> Proposed:
    waits = case.open and case.ruling is not None
    if case.rollback is not None:
        became = "taken back"
    elif waits or case.ruling is None:
        became = "waits for a person" if waits else "not ruled on"
    else:
        became = case.phase or ("signed off" if case.granted else "refused")
    own = case.proposal
    return Proposed(own.id, f"{own.id[:8]} {became}: {describe(own.edit)}", own.rationale, waits)


def _words(body: Mapping[str, Any]) -> str:
    return ", ".join([f"{name} {value}" for name, value in body.items() if isinstance(value, str | int | float)])[:300]
