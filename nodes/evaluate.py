"""What a policy comes to in one cell of a grid: a replay under law and audit, in a folder that is thrown away."""

import os
from collections.abc import Callable
from math import fsum
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from alphatrade.evolution.fitness import Measured
from alphatrade.evolution.grid import NS, Cell
from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.collector import settle
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.report_stats import sharpe
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import TapeError
from alphatrade.strategies.policy import Policy

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # what is thrown away need not be synced to a disk


def reference(tape: Tape) -> NDArray[np.float64]:
    """Return the reference price of every row of a tape."""
    columns = tape.columns
    if tape.kind == "quotes":
        return (columns["bid"] + columns["ask"]) / 2e9
    return columns["close" if tape.kind == "bars" else "price"] / 1e9


def replays(settings: Settings, tapes: list[Tape], period_s: float) -> Callable[[Policy, Cell], Measured]:
    """
    Return what measures a policy in a cell: a replay of that part of its tape, in a folder that is thrown away.

    Parameters
    ----------
    settings : Settings
        Their run spec; the policy is handed in each time.
    tapes : list of Tape
    period_s : float
        Length of a period of `Measured.returns`, seconds.
    """
    settle()
    quiet = settings.run.output.model_copy(update={"diary": False, "stress": False, "report": False, "ack_fd": None})
    run = settings.run.model_copy(update={"output": quiet})
    by_name = {tape.instrument.id: tape for tape in tapes}

    def measure(policy: Policy, cell: Cell) -> Measured:
        try:
            part = [by_name[cell.instrument].slice(cell.start, cell.end)]
        except ValueError as error:
            raise TapeError("cell", str(error), "rows of the tape in it") from None
        own = Settings(policy=policy, run=run)
        with TemporaryDirectory(prefix="alphatrade-cell-", dir=MEMORY) as folder:
            summary = run_into(Folder(Path(folder)), own, part, identity_of(own, part))
            found = audit(Path(folder))
            curve = read_frame(Path(folder) / "equity.parquet", columns=["ts", "equity", "exposure"])
            fills = read_frame(Path(folder) / "fills.parquet", columns=["qty", "price", "liquidity"])
        capital = float(run.venue.starting_balance)
        stamps, equity = curve["ts"].to_numpy(np.int64), curve["equity"].astype(float).to_numpy()
        ratio = sharpe(stamps, equity, capital, part[0].instrument.asset == "equity", interval=False)
        notional = (fills["qty"] * fills["price"]).astype(float).to_numpy()
        turnover, made = fsum(notional), fsum(notional[(fills["liquidity"] == "MAKER").to_numpy()])
        return Measured(
            decisions=summary["decisions"],
            fills=summary["fills"],
            violations=len(found.violations) + len(found.integrity),
            net_return=summary["return"],
            sharpe=ratio.value,
            drawdown=summary["max_drawdown"],
            turnover=turnover / capital,
            killed=(summary["killed"] or "").partition(":")[0],
            returns=per_period(stamps, equity / capital, cell, period_s),
            exposure=fsum(curve["exposure"].astype(float)) / capital / len(curve) if len(curve) else 0.0,
            passive=made / turnover if turnover else 0.0,
        )

    return measure


def per_period(ts: NDArray[np.int64], equity: NDArray[np.float64], cell: Cell, period_s: float) -> tuple[float, ...]:
    """
    Return the change of equity in each whole period of a cell.

    Parameters
    ----------
    ts : ndarray of int64, shape (n,)
        UTC ns, ascending.
    equity : ndarray of float64, shape (n,)
        At `ts`, as a fraction of the capital; before the first it is 1.
    cell : Cell
    period_s : float
        Seconds.
    """
    edges = np.arange(cell.start, cell.end + 1, int(period_s * NS))
    at = np.searchsorted(ts, edges, side="right")
    marks = np.concatenate(([1.0], equity))[at]
    return tuple([float(change) for change in np.diff(marks)])
