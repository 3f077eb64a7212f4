"""``alphatrade paper``: a policy on paper, from its settings to a finished run folder."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from shutil import move
from typing import TYPE_CHECKING, Any, NamedTuple

from alphatrade.nodes.artifacts import writing
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.identity import Identity
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.journal_folder import head_of
from alphatrade.nodes.paper.assembly import Flight, LiveParts
from alphatrade.nodes.paper.exchange_facts import markets
from alphatrade.nodes.paper.feeds import LiveFeedSpec
from alphatrade.nodes.paper.mirror import Mirror
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.paper.settings import PaperSettings
from alphatrade.nodes.replay import Replay, ReplayOutput
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.sessions import Sessions
from alphatrade.nodes.sim import identity_of, load_tapes, published, require_joint
from alphatrade.nodes.status_line import StatusView
from alphatrade.nodes.tape import InstrumentSpec, LiveMarket, Market
from alphatrade.risk.disk import FolderLock, sync, write_whole
from alphatrade.risk.errors import ConfigError, StoppedError
from alphatrade.risk.kill import latch_dir, status
from alphatrade.risk.losses import LOSSES

if TYPE_CHECKING:
    from alphatrade.nodes.metrics_server import Watched

FORMAT = 1


class Launch(NamedTuple):
    """
    What a node with real orders adds to one on paper.

    Attributes
    ----------
    verb : str
        Names the run.
    parts : callable
        Returns what makes its orders real, given its markets, its identity and the folder of its journal; raises what
        it must not start for. Nothing has been written by then.
    """

    verb: str
    parts: Callable[[Sequence[Market], Identity, Path], LiveParts]


def paper(own: PaperSettings, launch: Launch | None = None) -> RunResult:
    """
    Run a policy on paper, or go on with a run that was killed; write the run folder.

    Parameters
    ----------
    own : PaperSettings
    launch : Launch, optional
        Of a node with real orders.

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If a tape, an exchange, a folder or a port cannot be used, or the journal that lies there is of something else.
    LatchedError
        While the kill switch of the account is latched.
    StoppedError
        If a signal came before the first decision.
    """
    with _served(own) as watched:  # first of all: a port that is taken is found before anything is written
        return _paper(own, watched, launch)


def _paper(own: PaperSettings, watched: "Watched | None", launch: Launch | None) -> RunResult:
    settings = taken_up(own.settings)
    run, sessions = settings.run, Sessions(own.sessions)
    folder = latch_dir(run.paths.state, run.env.name, own.account)
    kept = folder / "journal"
    put_by(own)
    if own.broker.kind != "simulated":
        Secrets(own.broker.secrets_dir).read(own.broker.keys)  # before anything is asked or written
    live = own.feed if isinstance(own.feed, LiveFeedSpec) else None
    tapes = load_tapes(run) if live is None else heard(live, kept if own.journal else None)
    identity = replace(identity_of(settings, tapes), entry=own.entry)
    if watched is not None:
        watched.begin(about(own, identity))
    real = None if launch is None else launch.parts(tapes, identity, kept)
    with _mirror(own) as mirror, _journal(own, kept, tapes, identity) as journal:

        def run_it(what: Replay, run_dir: Path) -> ReplayOutput:
            stops = list[asyncio.Event]()
            with StatusView() as view:
                pace = 1.0 if isinstance(own.feed, LiveFeedSpec) else own.feed.pace
                flight = Flight(
                    pace, run.paths.state, own.account, journal, sessions, view, say, live, mirror,
                    lambda parts: stops.append(parts.stop), own.broker, watched, real,
                )  # fmt: skip
                output = fly(what, run_dir, flight)
            if stops[0].is_set() and not output.decisions and not output.fills:
                begun = f"{output.steps} steps of a warm-up of {output.warmup}"
                more = "; the next start goes on from here" if own.journal else ""
                raise StoppedError(f"stopped before its first decision ({begun}): there is no run to write{more}")
            return output

        source = None if live is None else live.model_dump(mode="json")
        verb = "paper" if launch is None else launch.verb
        result = published(settings, tapes, identity, verb, run_it, source)
    if own.journal:
        move(kept, result.path / "journal")  # it belongs to what it made
    return result


def _served(own: PaperSettings) -> AbstractContextManager["Watched | None"]:
    if not own.metrics.enabled:
        return nullcontext()
    try:
        from alphatrade.nodes.metrics_server import served
    except ImportError:
        expected = "the extra paper: pip install 'alphatrade[paper]'; or metrics.enabled=false"
        raise ConfigError("prometheus_client", "not installed", expected) from None
    return served(own.metrics.host, own.metrics.port, say)


def about(own: PaperSettings, identity: Identity) -> Mapping[str, str]:
    """Return what the metrics of a node say of what runs."""
    return {
        "policy": identity.policy_hash,
        "code": identity.code_hash,
        "run": identity.run_id,
        "env": own.settings.run.env.name,
        "account": own.account,
    }


def heard(spec: LiveFeedSpec, journal: Path | None) -> list[LiveMarket]:
    """
    Return the markets of a feed: those that a node which goes on began with, else what the exchange says of them now.

    Parameters
    ----------
    spec : LiveFeedSpec
    journal : Path, optional
        Folder of its journal.

    Raises
    ------
    ConfigError
        If the exchange cannot be asked, or its markets cannot be traded together.
    """
    known = None if journal is None else head_of(journal)
    if known is not None and "markets" in known:
        return [LiveMarket(**one | {"instrument": InstrumentSpec(**one["instrument"])}) for one in known["markets"]]
    found = markets(spec)
    require_joint(found)
    return found


def _mirror(own: PaperSettings) -> AbstractContextManager[Mirror | None]:
    if own.cache.backend == "memory":
        return nullcontext()
    return Mirror(own.cache, own.settings.run.env.name, own.account, say)


@contextmanager
def _journal(own: PaperSettings, folder: Path, tapes: Sequence[Market], identity: Identity) -> Iterator[Journal | None]:
    if not own.journal:
        yield None
        return
    with Journal.open(folder, head(own, tapes, identity)) as journal:
        _losses_as_then(folder, journal.count > 0)
        yield journal


def put_by(own: PaperSettings) -> Path | None:
    """Put a journal from before a release of the kill switch beside its place, as it is over; return where it is."""
    run = own.settings.run
    if not own.journal:
        return None
    folder = latch_dir(run.paths.state, run.env.name, own.account)
    return _put_by(folder / "journal", status(run.paths.state, run.env.name, own.account).releases)


def _put_by(folder: Path, releases: int) -> Path | None:
    """
    Put a journal from before that many releases of the kill switch beside its place.

    It ends in the trip that was released, and to read it on would end in the same. A rename: whole or not at all.
    """
    found = head_of(folder)
    if found is None or found.get("releases", releases) >= releases:
        return None
    beside = folder.with_name(f"journal-until-release-{releases}")
    with FolderLock(folder, use="process {} keeps this journal"), writing(folder.parent):
        folder.rename(beside)
        sync(folder.parent)
    say(f"the run before the release of the kill switch is over: its journal is now {beside}, the book begins flat")
    return beside


def _losses_as_then(folder: Path, again: bool) -> None:
    """Keep what losses were counted from when a journal begins; where it is read again, count from there again."""
    now, then = folder.parent / LOSSES, folder / LOSSES
    source, target = (then, now) if again else (now, then)
    with writing(folder):
        if source.exists():
            write_whole(target, source.read_bytes())
        else:
            target.unlink(missing_ok=True)


def say(line: str) -> None:
    """Say a line about the node to whoever reads its log; never a reason to stop, also where a terminal is gone."""
    with suppress(OSError):
        print(f"alphatrade: {line}", file=sys.stderr, flush=True)


def head(own: PaperSettings, tapes: Sequence[Market], identity: Identity) -> Mapping[str, Any]:
    """Return whose journal it is: with another of these, the same inputs would make other decisions."""
    run = own.settings.run
    live = [asdict(tape) for tape in tapes if isinstance(tape, LiveMarket)]
    fed = {} if not isinstance(own.feed, LiveFeedSpec) else {"feed": own.feed.identity(), "markets": live}
    return {
        "format": FORMAT,
        "account": own.account,
        "policy": identity.policy_hash,
        "code": identity.code_hash,
        "run": identity.run_id,
        "instruments": sorted(tape.instrument.id for tape in tapes),
        "tapes": [tape.tape_hash for tape in tapes],
        "broker": own.broker.place,
        "sessions": own.sessions.model_dump(mode="json"),
        "releases": status(run.paths.state, run.env.name, own.account).releases,  # before one, it ends in a trip
        **fed,
    }
