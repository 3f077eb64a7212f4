"""The decision diary: columnar buffers that take one row in microseconds and become Arrow tables elsewhere.

A buffer is filled on the trading path, handed whole to a :class:`~alphatrade.reflection.segments.SegmentWriter`
and turned into a table on the writer's thread.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.reflection.expost import Outcome
from alphatrade.strategies.messages import Decision


class BeliefBuffer:
    """
    Sparse beliefs of up to `capacity` steps.

    Parameters
    ----------
    capacity : int
        Rows.
    first : int
        Row number of the first row.
    """

    def __init__(self, capacity: int, first: int) -> None:
        self._capacity = capacity
        self._first = first
        self._beliefs: list[BeliefSnapshot] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._beliefs)

    def append(self, belief: BeliefSnapshot) -> bool:
        """Take one belief; return whether the buffer is full now."""
        self._beliefs.append(belief)
        return len(self._beliefs) == self._capacity

    def table(self) -> pa.Table:
        """Return the rows as a table (``belief_snapshots``)."""
        rows = self._beliefs
        idx, val = _codes(rows)
        return pa.table(
            {
                "row": _numbers(self._first, len(rows)),
                "step": pa.array([b.step for b in rows], pa.int64()),
                "ts": pa.array([b.ts for b in rows], pa.int64()),
                "instrument": pa.array([b.instrument for b in rows], pa.string()),
                "idx": idx,
                "val": val,
                "regime": pa.array([b.regime for b in rows], pa.string()),
                "regime_confidence": pa.array([b.confidence for b in rows], pa.float64()),
                "cause": pa.array([b.cause for b in rows], pa.string()),
            }
        )


def _numbers(first: int, rows: int) -> pa.Array:
    """Return the row numbers from `first` on."""
    return pa.array(np.arange(first, first + rows, dtype=np.int64))


def _codes(beliefs: Sequence[BeliefSnapshot]) -> tuple[pa.Array, pa.Array]:
    """Return the sparse codes as two list columns: units (int16) and values (float32)."""
    ends = np.zeros(len(beliefs) + 1, np.int32)
    np.cumsum([len(b.idx) for b in beliefs], out=ends[1:])
    idx = np.concatenate([b.idx for b in beliefs]).astype(np.int16, copy=False)
    val = np.concatenate([b.val for b in beliefs]).astype(np.float32)
    return pa.ListArray.from_arrays(ends, pa.array(idx)), pa.ListArray.from_arrays(ends, pa.array(val))


class DecisionBuffer:
    """
    Diary rows of up to `capacity` decisions.

    Parameters
    ----------
    capacity, first : int
        As for :class:`BeliefBuffer`.
    features : sequence of str
        Names of the feature columns.
    policy_hash, risk_template : str
        The same in every row of a run.
    """

    def __init__(
        self, capacity: int, first: int, features: Sequence[str], policy_hash: str, risk_template: str
    ) -> None:
        self._capacity = capacity
        self._first = first
        self._names = tuple(features)
        self._policy_hash, self._risk_template = policy_hash, risk_template
        self._decisions: list[Decision] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._decisions)

    def append(self, decision: Decision) -> bool:
        """Take one decision; return whether the buffer is full now."""
        self._decisions.append(decision)
        return len(self._decisions) == self._capacity

    def table(self) -> pa.Table:
        """Return the rows as a table (``diary/decisions``)."""
        rows, n = self._decisions, self.rows
        beliefs = [d.belief for d in rows]
        idx, val = _codes(beliefs)
        columns: dict[str, Any] = {
            "row": _numbers(self._first, n),
            "decision": pa.array([d.decision for d in rows], pa.int64()),
            "ts": pa.array([b.ts for b in beliefs], pa.int64()),
            "instrument": pa.array([b.instrument for b in beliefs], pa.string()),
            "step": pa.array([b.step for b in beliefs], pa.int64()),
            "mid": pa.array([b.mid for b in beliefs], pa.float64()),
            "belief_idx": idx,
            "belief_val": val,
            "regime": pa.array([b.regime for b in beliefs], pa.string()),
            "regime_confidence": pa.array([b.confidence for b in beliefs], pa.float64()),
            "policy_hash": pa.repeat(self._policy_hash, n),
            "exec_topo": pa.array([d.tactic for d in rows], pa.string()),
            "risk_template": pa.repeat(self._risk_template, n),
        }
        features = np.concatenate([b.features for b in beliefs]).reshape(n, len(self._names))
        for at, name in enumerate(self._names):
            columns[f"f_{name}"] = pa.array(features[:, at], from_pandas=True)
        columns |= {
            "candidates": pa.array([d.candidates for d in rows], pa.list_(pa.string())),
            "scores": pa.array([d.scores for d in rows], pa.list_(pa.float64())),
            "action": pa.array([d.action for d in rows], pa.string()),
            "order_ids": pa.array([d.order_ids for d in rows], pa.list_(pa.string())),
            "verdict": pa.array([d.verdict for d in rows], pa.string()),
            "explanation": pa.array([d.explanation for d in rows], pa.string()),
        }
        return pa.table(columns)


class OutcomeBuffer:
    """
    Ex-post rows.

    Parameters
    ----------
    horizons : sequence of int
        Mark-out horizons in decision steps.
    first : int
        Row number of the first row.
    """

    def __init__(self, horizons: Sequence[int], first: int) -> None:
        self._horizons = tuple(horizons)
        self.first = first
        self._outcomes: list[Outcome] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._outcomes)

    def append(self, outcome: Outcome) -> None:
        """Take one outcome."""
        self._outcomes.append(outcome)

    def table(self) -> pa.Table:
        """Return the rows as a table (``diary/expost``, without the realised PnL that is known at the end)."""
        rows = self._outcomes
        columns: dict[str, Any] = {
            "row": _numbers(self.first, len(rows)),
            "decision": pa.array([o.decision for o in rows], pa.int64()),
            "ts": pa.array([o.ts for o in rows], pa.int64()),
            "fills": pa.array([o.fills for o in rows], pa.int32()),
            "side": pa.array([o.side for o in rows], pa.int8()),
            "cost_bps": pa.array([o.cost_bps for o in rows], pa.float64()),
        }
        for at, horizon in enumerate(self._horizons):
            columns[f"markout_{horizon}"] = pa.array([o.markouts[at] for o in rows], pa.float64())
            columns[f"known_{horizon}"] = pa.array([o.known[at] for o in rows], pa.int64())
        return pa.table(columns)
