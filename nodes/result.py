"""What a finished run gives back to Python: its folder, its summary and its tables as data frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alphatrade.nodes.frames import read_frame


@dataclass(frozen=True, slots=True)
class RunResult:
    """
    A finished run.

    Attributes
    ----------
    path : Path
        Its folder.
    summary : dict
        The content of ``summary.json``.
    """

    path: Path
    summary: dict[str, Any]

    def _frame(self, name: str) -> pd.DataFrame:
        return read_frame(self.path / name)

    @property
    def decisions(self) -> pd.DataFrame:
        """The diary, one row per decision."""
        return self._frame("diary/decisions.parquet")

    @property
    def expost(self) -> pd.DataFrame:
        """Mark-outs and realised PnL, one row per decision."""
        return self._frame("diary/expost.parquet")

    @property
    def beliefs(self) -> pd.DataFrame:
        """Sparse beliefs, one row per step."""
        return self._frame("belief_snapshots/beliefs.parquet")

    @property
    def orders(self) -> pd.DataFrame:
        """One row per order event."""
        return self._frame("orders.parquet")

    @property
    def fills(self) -> pd.DataFrame:
        """One row per fill."""
        return self._frame("fills.parquet")

    @property
    def marks(self) -> pd.DataFrame:
        """Every reference price that the law used."""
        return self._frame("marks.parquet")

    @property
    def equity(self) -> pd.DataFrame:
        """Equity over time."""
        return self._frame("equity.parquet")

    @property
    def risk_events(self) -> pd.DataFrame:
        """Denials, near-misses and state changes."""
        return self._frame("risk_events.parquet")
