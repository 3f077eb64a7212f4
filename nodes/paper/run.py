"""``alphatrade paper``: a policy on paper, from its settings to a finished run folder."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import move
from typing import Any

from alphatrade.nodes.artifacts import writing
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.identity import Identity
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.mirror import Mirror
from alphatrade.nodes.paper.node import Flight, fly
from alphatrade.nodes.paper.settings import PaperSettings
from alphatrade.nodes.replay import Replay, ReplayOutput
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.sessions import Sessions
from alphatrade.nodes.sim import identity_of, load_tapes, published
from alphatrade.nodes.status_line import StatusView
from alphatrade.nodes.tape import Tape
from alphatrade.risk.disk import write_whole
from alphatrade.risk.kill import latch_dir, status
from alphatrade.risk.losses import LOSSES

ENV = "paper"
FORMAT = 1


def paper(own: PaperSettings) -> RunResult:
    """
    Run a policy on paper, or go on with a run that was killed; write the run folder.

    Parameters
    ----------
    own : PaperSettings

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If a tape or a folder cannot be used, or the journal that lies there is of something else.
    LatchedError
        While the kill switch of the account is latched.
    """
    settings = taken_up(own.settings)
    run, sessions = settings.run, Sessions(own.sessions)
    tapes = load_tapes(run)
    identity = replace(identity_of(settings, tapes), entry=own.entry)
    folder = latch_dir(run.paths.state, ENV, own.account)
    kept = folder / "journal"
    with _mirror(own) as mirror, _journal(own, kept, tapes, identity) as journal:

        def run_it(what: Replay, run_dir: Path) -> ReplayOutput:
            with StatusView() as view:
                flight = Flight(own.feed.pace, run.paths.state, own.account, journal, sessions, view, say, mirror)
                return fly(what, run_dir, flight)

        result = published(settings, tapes, identity, ENV, run_it)
    if own.journal:
        move(kept, result.path / "journal")  # it belongs to what it made
    return result


def _mirror(own: PaperSettings) -> AbstractContextManager[Mirror | None]:
    return nullcontext() if own.cache.backend == "memory" else Mirror(own.cache, ENV, own.account, say)


@contextmanager
def _journal(
    own: PaperSettings, folder: Path, tapes: list[Tape], identity: Identity
) -> Iterator[Journal | None]:
    if not own.journal:
        yield None
        return
    with Journal.open(folder, head(own, tapes, identity)) as journal:
        _losses_as_then(folder, journal.count > 0)
        yield journal


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
    """Say a line about the node to whoever reads its log."""
    print(f"alphatrade: {line}", file=sys.stderr, flush=True)


def head(own: PaperSettings, tapes: list[Tape], identity: Identity) -> Mapping[str, Any]:
    """Return whose journal it is: with another of these, the same inputs would make other decisions."""
    return {
        "format": FORMAT,
        "account": own.account,
        "policy": identity.policy_hash,
        "code": identity.code_hash,
        "run": identity.run_id,
        "instruments": sorted(tape.instrument.id for tape in tapes),
        "tapes": [tape.tape_hash for tape in tapes],
        "sessions": own.sessions.model_dump(mode="json"),
        "releases": status(own.settings.run.paths.state, ENV, own.account).releases,  # before one, it ends in a trip
    }
