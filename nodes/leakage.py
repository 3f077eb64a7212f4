"""Leakage in real replays: the tape whole, ending earlier, and with another future."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from alphatrade.evolution.leakage import DECISIONS, Found, LeakageSpec, Stream, look, shuffle
from alphatrade.nodes.replay import Replay
from alphatrade.nodes.replay import replay as run_replay
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.tape import Tape
from alphatrade.risk.errors import TapeError
from alphatrade.strategies.policy import Policy


def leaks(policy: Policy, tape: Tape, run: RunSpec, spec: LeakageSpec) -> tuple[Found, ...]:
    """
    Look for leakage in the decisions of a policy on one tape: one replay, and two per cut.

    Decisions and orders are compared. The house's own closing of positions before a tape's end is off: it is the one
    thing that may know where that end is.

    Parameters
    ----------
    policy : Policy
    tape : Tape
        Such as a cell of a grid.
    run : RunSpec
        Venue and seed.
    spec : LeakageSpec

    Raises
    ------
    TapeError
        If there are too few decisions to show anything.
    """
    quiet = run.output.model_copy(update={"diary": True, "report": False, "stress": False, "ack_fd": None})
    own = run.model_copy(update={"output": quiet, "flat_at_end": False})

    def replayed(test: str, until: int) -> Stream:
        if test == "truncation":
            changed = tape.slice(None, until + 1)
        else:
            changed = tape if test == "whole" else other_future(tape, until, spec.seed)
        with TemporaryDirectory(prefix="alphatrade-leakage-") as folder:
            run_replay(Replay(policy, [changed], own), Path(folder))
            return _stream(Path(folder))

    return look(tape.instrument.id, replayed, spec)


def other_future(tape: Tape, until: int, seed: int) -> Tape:
    """Return a tape that is the same up to a moment (UTC ns) and another market afterwards; see `shuffle`."""
    first = int(np.searchsorted(tape.columns["ts"], until, "right"))
    columns = shuffle(tape.columns, first, int(Decimal(tape.instrument.tick) * 10**9), seed)
    return replace(tape, columns=columns, truth=None, catalog=None)


def _stream(folder: Path) -> Stream:
    """Return what was decided and sent, with the position that each decision was made in."""
    decisions = pq.read_table(folder / "diary" / "decisions.parquet").to_pydict()
    orders = pq.read_table(folder / "orders.parquet").to_pydict()
    fills = pq.read_table(folder / "fills.parquet", columns=["ts", "position_after"]).to_pydict()
    if not decisions["ts"]:
        raise TapeError("leakage", "no decisions", "a tape that is longer than the warm-up")
    at = np.searchsorted(fills["ts"], decisions["ts"], "right") if fills["ts"] else np.zeros(len(decisions["ts"]), int)
    held = [0.0, *(float(each) for each in fills["position_after"])]
    decisions["position"] = [held[int(place)] for place in at]
    return {DECISIONS: decisions, "orders": orders}
