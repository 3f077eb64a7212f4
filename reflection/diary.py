"""The decision diary: buffers that take one row in microseconds and become Arrow tables elsewhere.

A buffer is filled on the trading path, handed whole to a :class:`~alphatrade.reflection.segment_writer.SegmentWriter`
and turned into a table on the writer's thread. It takes what a row needs out of the messages while they are at hand:
thousands of messages kept alive would push the trading path out of the processor's caches, and so would reading them
again.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from alphatrade.actors.messages import Array, BeliefSnapshot
from alphatrade.reflection.expost import Outcome
from alphatrade.reflection.probes import BUILT_IN
from alphatrade.strategies.exploring import Exploring
from alphatrade.strategies.messages import Decision, Lesson, Maker

_INT, _FLOAT, _TEXT = pa.int64(), pa.float64(), pa.string()
_SIGMA = (("sigma_norm", _FLOAT), ("sigma_rank", _FLOAT), ("sigma_post", pa.int16()), ("sigma_pre", pa.int16()))
_OFF = (None,) * len(_SIGMA)
# Only in a run that explores.
_EXPLORING = (
    ("explored", _TEXT), ("base_topo", _TEXT), ("propensity", _FLOAT), ("compared_step", _INT),
    ("compared_topo", _TEXT), ("compared_with", _TEXT), ("compared_own", _FLOAT), ("compared_base", _FLOAT),
)  # fmt: skip


class _Codes:
    """Sparse codes of one row after the other, as the two list columns they become: units and values."""

    __slots__ = ("_idx", "_lengths", "_val")

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self._idx, self._val = bytearray(), bytearray()

    def append(self, idx: Array, val: Array) -> None:
        """Take the code of one row: int16 and float64, shape (a,)."""
        self._lengths.append(len(idx))
        self._idx += idx.tobytes()
        self._val += val.tobytes()

    def columns(self) -> tuple[pa.Array, pa.Array]:
        """Return the units (int16) and the values (float32)."""
        ends = _ends(self._lengths)
        idx = pa.array(np.frombuffer(self._idx, np.int16))
        val = pa.array(np.frombuffer(self._val, np.float64).astype(np.float32))
        return pa.ListArray.from_arrays(ends, idx), pa.ListArray.from_arrays(ends, val)


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
        self._rows: list[tuple[Any, ...]] = []
        self._codes = _Codes()

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._rows)

    def append(self, belief: BeliefSnapshot) -> bool:
        """Take one belief; return whether the buffer is full now."""
        b, rows = belief, self._rows
        rows.append((b.step, b.ts, b.instrument, b.regime, b.confidence, b.cause))
        self._codes.append(b.idx, b.val)
        return len(rows) == self._capacity

    def table(self) -> pa.Table:
        """Return the rows as a table (``belief_snapshots``)."""
        step, ts, instrument, regime, confidence, cause = zip(*self._rows, strict=True)
        idx, val = self._codes.columns()
        return pa.table(
            {
                "row": _numbers(self._first, self.rows),
                "step": pa.array(step, _INT),
                "ts": pa.array(ts, _INT),
                "instrument": pa.array(instrument, _TEXT),
                "idx": idx,
                "val": val,
                "regime": pa.array(regime, _TEXT),
                "regime_confidence": pa.array(confidence, _FLOAT),
                "cause": pa.array(cause, _TEXT),
            }
        )


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
        Of the run's own policy; a canary's decisions tell theirs.
    """

    def __init__(
        self, capacity: int, first: int, features: Sequence[str], policy_hash: str, risk_template: str
    ) -> None:
        self._capacity = capacity
        self._first = first
        self._names = tuple(features)
        self._own = Maker(policy_hash, risk_template)
        self._makers: list[Maker | None] = []
        self._rows: list[tuple[Any, ...]] = []
        self._codes = _Codes()
        self._features = bytearray()
        self._probes: list[tuple[float, ...]] = []
        self._sigma: list[tuple[Any, ...]] = []
        self._lessons: list[Lesson | None] = []
        self._exploring: list[tuple[Any, ...]] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._rows)

    def append(self, decision: Decision, probes: tuple[float, ...]) -> bool:
        """Take one decision and the probes' values at its step; return whether the buffer is full now."""
        d, b, s, rows = decision, decision.belief, decision.synapses, self._rows
        high, low = (b.mid, b.mid) if b.facts is None else (b.facts.high, b.facts.low)
        rows.append(
            (
                d.decision, b.ts, b.instrument, b.step, b.mid, b.ask - b.bid, high, low, b.regime, b.confidence,
                d.tactic, d.candidates, d.scores, d.action, d.order_ids, d.verdict, d.explanation,
            )
        )  # fmt: skip
        self._codes.append(b.idx, b.val)
        self._features += b.features.tobytes()
        self._probes.append(probes)
        self._sigma.append(_OFF if s is None else (s.norm, s.rank, s.post, s.pre))
        self._lessons.append(d.lesson)
        self._makers.append(d.maker)
        if d.exploring is not None:
            self._exploring.append(_exploring(d.exploring))
        return len(rows) == self._capacity

    def table(self) -> pa.Table:
        """Return the rows as a table (``diary/decisions``)."""
        (
            decision, ts, instrument, step, mid, spread, high, low, regime, confidence, tactic,
            candidates, scores, action, order_ids, verdict, explanation,
        ) = zip(*self._rows, strict=True)  # fmt: skip
        n = self.rows
        policy_hash, risk_template = zip(*(maker or self._own for maker in self._makers), strict=True)
        idx, val = self._codes.columns()
        columns: dict[str, Any] = {
            "row": _numbers(self._first, n),
            "decision": pa.array(decision, _INT),
            "ts": pa.array(ts, _INT),
            "instrument": pa.array(instrument, _TEXT),
            "step": pa.array(step, _INT),
            "mid": pa.array(mid, _FLOAT),
            "spread": pa.array(spread, _FLOAT),
            "high": pa.array(high, _FLOAT),
            "low": pa.array(low, _FLOAT),
            "belief_idx": idx,
            "belief_val": val,
            "regime": pa.array(regime, _TEXT),
            "regime_confidence": pa.array(confidence, _FLOAT),
            "policy_hash": pa.array(policy_hash, _TEXT),
            "exec_topo": pa.array(tactic, _TEXT),
            "risk_template": pa.array(risk_template, _TEXT),
        }
        features = np.frombuffer(self._features, np.float64).reshape(n, len(self._names))
        for at, name in enumerate(self._names):
            columns[f"f_{name}"] = pa.array(features[:, at], from_pandas=True)
        for name, values in zip(BUILT_IN, zip(*self._probes, strict=True), strict=True):
            columns[f"p_{name}"] = pa.array(values, _FLOAT, from_pandas=True)
        for (name, kind), values in zip(_SIGMA, zip(*self._sigma, strict=True), strict=True):
            columns[name] = pa.array(values, kind)  # null where fast weights are off
        lessons = self._lessons  # null where nothing was learnt
        columns["learnt_step"] = pa.array([None if each is None else each.step for each in lessons], _INT)
        columns["learnt_real"] = pa.array([None if each is None else each.real for each in lessons], pa.bool_())
        columns["learnt"] = pa.array([None if each is None else each.values for each in lessons], pa.list_(_FLOAT))
        if self._exploring:
            for (name, kind), values in zip(_EXPLORING, zip(*self._exploring, strict=True), strict=True):
                columns[name] = pa.array(values, kind)
        columns |= {
            "candidates": _lists(candidates, _TEXT),
            "scores": _lists(scores, _FLOAT),
            "action": pa.array(action, _TEXT),
            "order_ids": _lists(order_ids, _TEXT),
            "verdict": pa.array(verdict, _TEXT),
            "explanation": pa.array(explanation, _TEXT),
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
        self._rows: list[tuple[Any, ...]] = []

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._rows)

    def append(self, outcome: Outcome) -> None:
        """Take one outcome."""
        o = outcome
        self._rows.append((o.decision, o.ts, o.fills, o.side, o.cost_bps, o.markouts, o.known))

    def table(self) -> pa.Table:
        """Return the rows as a table (``diary/expost``, without the realised PnL that is known at the end)."""
        decision, ts, fills, side, cost, markouts, known = zip(*self._rows, strict=True)
        columns: dict[str, Any] = {
            "row": _numbers(self.first, self.rows),
            "decision": pa.array(decision, _INT),
            "ts": pa.array(ts, _INT),
            "fills": pa.array(fills, pa.int32()),
            "side": pa.array(side, pa.int8()),
            "cost_bps": pa.array(cost, _FLOAT),
        }
        for horizon, worth, when in zip(
            self._horizons, zip(*markouts, strict=True), zip(*known, strict=True), strict=True
        ):
            columns[f"markout_{horizon}"] = pa.array(worth, _FLOAT)
            columns[f"known_{horizon}"] = pa.array(when, _INT)
        return pa.table(columns)


def _exploring(e: Exploring) -> tuple[Any, ...]:
    """Return the cells of :data:`_EXPLORING`."""
    c = e.compared
    compared = (None,) * 5 if c is None else (c.step, c.tactic, c.alternative, c.own, c.base)
    return e.tactic, e.base, e.propensity, *compared


def _numbers(first: int, rows: int) -> pa.Array:
    """Return the row numbers from `first` on."""
    return pa.array(np.arange(first, first + rows, dtype=np.int64))


def _ends(lengths: Sequence[int]) -> pa.Array:
    """Return where each list begins and the last one ends, for lists of these lengths end to end."""
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


def _lists(rows: Iterable[Sequence[object]], kind: pa.DataType) -> pa.Array:
    """Return a list column; Arrow takes much longer over nested Python lists."""
    rows = list(rows)
    flat = pa.array(list(chain.from_iterable(rows)), kind)
    return pa.ListArray.from_arrays(_ends([len(row) for row in rows]), flat)
