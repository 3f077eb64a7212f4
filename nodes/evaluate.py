"""``alphatrade fitness``: a policy on the cells of a grid that a search may see, each replayed under law and audit."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from alphatrade.evolution.fitness import Measured, Row, table
from alphatrade.evolution.grid import Cell, GridSpec, cut
from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.counting import counted
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, load_tapes, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.report_stats import sharpe
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import TapeError
from alphatrade.strategies.policy import Policy


def reference(tape: Tape) -> NDArray[np.float64]:
    """Return the reference price of every row of a tape."""
    columns = tape.columns
    if tape.kind == "quotes":
        return (columns["bid"] + columns["ask"]) / 2e9
    return columns["close" if tape.kind == "bars" else "price"] / 1e9


def replays(settings: Settings, tapes: list[Tape]) -> Callable[[Policy, Cell], Measured]:
    """Return what measures a policy in a cell: a replay of that part of its tape, in a folder that is thrown away."""
    quiet = settings.run.output.model_copy(update={"stress": False, "report": False, "ack_fd": None})
    run = settings.run.model_copy(update={"output": quiet})
    by_name = {tape.instrument.id: tape for tape in tapes}

    def measure(policy: Policy, cell: Cell) -> Measured:
        try:
            part = [by_name[cell.instrument].slice(cell.start, cell.end)]
        except ValueError as error:
            raise TapeError("cell", str(error), "rows of the tape in it") from None
        own = Settings(policy=policy, run=run)
        with TemporaryDirectory(prefix="alphatrade-cell-") as folder:
            summary = run_into(Folder(Path(folder)), own, part, identity_of(own, part))
            found = audit(Path(folder))
            curve = pd.read_parquet(Path(folder) / "equity.parquet", columns=["ts", "equity"])
            fills = pd.read_parquet(Path(folder) / "fills.parquet", columns=["qty", "price"])
        capital = float(run.venue.starting_balance)
        equity = curve["equity"].astype(float).to_numpy()
        ratio = sharpe(curve["ts"].to_numpy(), equity, capital, part[0].instrument.asset == "equity")
        return Measured(
            decisions=summary["decisions"],
            fills=summary["fills"],
            violations=len(found.violations) + len(found.integrity),
            net_return=summary["return"],
            sharpe=ratio.value,
            drawdown=summary["max_drawdown"],
            turnover=float((fills["qty"] * fills["price"]).sum()) / capital,
            killed=(summary["killed"] or "").partition(":")[0],
        )

    return measure


def evaluate(settings: Settings, spec: GridSpec) -> list[Row]:
    """
    Return the fitness table of a policy on the cells that a search may see.

    Raises
    ------
    InputError
        If a tape cannot be used, is too short for the grid, or the replay has to be counted in the ledger and cannot.
    """
    tapes = load_tapes(settings.run)
    cells = [cell for tape in tapes for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), spec)]
    seen = [cell for cell in cells if not cell.holdout]
    run_id = identity_of(settings, tapes).run_id
    count = counted(settings, tapes, run_id, "fitness", [(cell.start, cell.end) for cell in seen])
    bar = tqdm(seen, desc="cells", unit="cell", disable=not sys.stderr.isatty())
    rows = table(settings.policy, bar, replays(settings, tapes), spec.least)
    count.close_table(rows)
    return rows
