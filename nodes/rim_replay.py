"""Replays for the RIM: what a policy comes to on a part of a tape, and what the law had against it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from alphatrade.evolution.grid import Cell
from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.collector import settle
from alphatrade.nodes.counting import counted
from alphatrade.nodes.evaluate import MEMORY, per_period
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.settings import RunSpec, Settings
from alphatrade.nodes.sim import identity_of, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.risk.audit import audit
from alphatrade.strategies.policy import Policy

PERIOD_S = 3600.0
_HITS = ("denied", "breach", "kill", "tripwire", "frozen")


class Replayed(NamedTuple):
    """
    What came of a replay.

    Attributes
    ----------
    returns : tuple of float
        Net, in each whole hour, fractions of the capital.
    hits : int
        Denials, breaches and kills by the law, and what the auditor found.
    """

    returns: tuple[float, ...]
    hits: int


def resimulated(policy: Policy, run: RunSpec, tape: Tape, why: str) -> Replayed:
    """
    Replay a policy on a tape, in a folder that is thrown away; where that is a trial, it is counted.

    Parameters
    ----------
    policy : Policy
    run : RunSpec
        Of the run whose venue, seed and environment are used.
    tape : Tape
        The part that is replayed.
    why : str
        The verb.

    Raises
    ------
    InputError
        If the tape is too short for a decision, or the replay is to be counted and cannot be.
    """
    settle()
    quiet = run.output.model_copy(update={"diary": False, "stress": False, "report": False, "ack_fd": None})
    own = Settings(policy=policy, run=run.model_copy(update={"output": quiet}))
    identity = identity_of(own, [tape])
    count = counted(own, [tape], identity.run_id, why)
    capital = float(run.venue.starting_balance)
    with TemporaryDirectory(prefix="alphatrade-rim-", dir=MEMORY) as name:
        folder = Path(name)
        summary = run_into(Folder(folder), own, [tape], identity)
        count.close_run(folder, summary, [tape], capital)
        found = audit(folder)
        curve = read_frame(folder / "equity.parquet", columns=["ts", "equity"])
        kinds = read_frame(folder / "risk_events.parquet", columns=["kind"])["kind"]
    stamps, equity = curve["ts"].to_numpy(np.int64), curve["equity"].astype(float).to_numpy()
    cell = Cell(tape.instrument.id, "", tape.span[0], tape.span[1] + 1, True)
    hits = int(kinds.isin(_HITS).sum()) + len(found.violations) + len(found.integrity)
    return Replayed(per_period(stamps, equity / capital, cell, PERIOD_S), hits)
