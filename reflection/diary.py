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
    k : int
        Largest number of active units.
    first : int
        Row number of the first row.
    """

    def __init__(self, capacity: int, k: int, first: int) -> None:
        self.first = first
        self.rows = 0
        self.capacity = capacity
        self._idx = np.empty(capacity * k, np.int16)
        self._val = np.empty(capacity * k, np.float32)
        self._ends = np.zeros(capacity + 1, np.int32)
        self._instrument: list[str] = []
        self._regime: list[str] = []
        self._numbers: list[tuple[int, int, float]] = []

    def append(self, belief: BeliefSnapshot) -> bool:
        """Take one belief; return whether the buffer is full now."""
        self.put_code(belief)
        self._instrument.append(belief.instrument)
        self._regime.append(belief.regime)
        self._numbers.append((belief.step, belief.ts, belief.confidence))
        return self.rows == self.capacity

    def put_code(self, belief: BeliefSnapshot) -> None:
        """Copy the sparse code of one belief into the next row."""
        start = self._ends[self.rows]
        end = start + len(belief.idx)
        self._idx[start:end] = belief.idx
        self._val[start:end] = belief.val
        self.rows += 1
        self._ends[self.rows] = end

    def code_columns(self, idx: str, val: str) -> dict[str, pa.Array]:
        """Return the sparse codes as two list columns."""
        ends = self._ends[: self.rows + 1]
        used = ends[-1]
        return {
            idx: pa.ListArray.from_arrays(ends, pa.array(self._idx[:used])),
            val: pa.ListArray.from_arrays(ends, pa.array(self._val[:used])),
        }

    def table(self) -> pa.Table:
        """Return the rows as a table (``belief_snapshots``)."""
        step, ts, confidence = zip(*self._numbers, strict=True)
        return pa.table(
            {
                "row": pa.array(range(self.first, self.first + self.rows), pa.int64()),
                "step": pa.array(step, pa.int64()),
                "ts": pa.array(ts, pa.int64()),
                "instrument": pa.array(self._instrument, pa.string()),
                **self.code_columns("idx", "val"),
                "regime": pa.array(self._regime, pa.string()),
                "regime_confidence": pa.array(confidence, pa.float64()),
            }
        )


class DecisionBuffer:
    """
    Diary rows of up to `capacity` decisions.

    Parameters
    ----------
    capacity, k, first : int
        As for :class:`BeliefBuffer`.
    features : sequence of str
        Names of the feature columns.
    policy_hash, risk_template : str
        The same in every row of a run.
    """

    def __init__(
        self, capacity: int, k: int, first: int, features: Sequence[str], policy_hash: str, risk_template: str
    ) -> None:
        self._code = BeliefBuffer(capacity, k, first)
        self._names = tuple(features)
        self._features = np.empty((capacity, len(self._names)))
        self._same = {"policy_hash": policy_hash, "risk_template": risk_template}
        self._decisions: list[Decision] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return self._code.rows

    def append(self, decision: Decision) -> bool:
        """Take one decision; return whether the buffer is full now."""
        code, belief = self._code, decision.belief
        self._features[code.rows] = belief.features
        code.put_code(belief)
        self._decisions.append(decision)
        return code.rows == code.capacity

    def table(self) -> pa.Table:
        """Return the rows as a table (``diary/decisions``)."""
        rows, n = self._decisions, self.rows
        first = self._code.first
        beliefs = [d.belief for d in rows]
        columns: dict[str, Any] = {
            "row": pa.array(range(first, first + n), pa.int64()),
            "decision": pa.array([d.decision for d in rows], pa.int64()),
            "ts": pa.array([b.ts for b in beliefs], pa.int64()),
            "instrument": pa.array([b.instrument for b in beliefs], pa.string()),
            "step": pa.array([b.step for b in beliefs], pa.int64()),
            "mid": pa.array([b.mid for b in beliefs], pa.float64()),
            **self._code.code_columns("belief_idx", "belief_val"),
            "regime": pa.array([b.regime for b in beliefs], pa.string()),
            "regime_confidence": pa.array([b.confidence for b in beliefs], pa.float64()),
            "policy_hash": pa.array([self._same["policy_hash"]] * n, pa.string()),
            "exec_topo": pa.array([d.tactic for d in rows], pa.string()),
            "risk_template": pa.array([self._same["risk_template"]] * n, pa.string()),
        }
        for at, name in enumerate(self._names):
            columns[f"f_{name}"] = pa.array(self._features[:n, at], from_pandas=True)
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
            "row": pa.array(range(self.first, self.first + len(rows)), pa.int64()),
            "decision": pa.array([o.decision for o in rows], pa.int64()),
            "ts": pa.array([o.ts for o in rows], pa.int64()),
            "side": pa.array([o.side for o in rows], pa.int8()),
            "cost_bps": pa.array([o.cost_bps for o in rows], pa.float64()),
        }
        for at, horizon in enumerate(self._horizons):
            columns[f"markout_{horizon}"] = pa.array([o.markouts[at] for o in rows], pa.float64())
            columns[f"known_{horizon}"] = pa.array([o.known[at] for o in rows], pa.int64())
        return pa.table(columns)
