"""Latency of stages: counted piece by piece it is what it is when counted at once, and nothing is kept."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from alphatrade.nodes.latency import Latency, quantiles
from alphatrade.nodes.stages import STAGES, Stages

ID = "A.SIM"


def node() -> tuple[Any, Any]:
    """Return an eye and an organism that have noted nothing yet."""
    of = SimpleNamespace(instrument_id=ID)
    organism = {"config": of, "sending_ns": {}, "ingest_signal_ns": [], "signal_order_ns": [], "order_ack_ns": []}
    return SimpleNamespace(config=of, step_ns=[]), SimpleNamespace(**organism)


def work(eye: Any, organism: Any, steps: range) -> None:
    """Note steps, of which each third sends an order."""
    for step in steps:
        eye.step_ns.append(1_000 * (step + 1))
        organism.ingest_signal_ns.append(10 * (step + 1))
        if step % 3 == 0:
            organism.sending_ns[step] = 500
            organism.signal_order_ns.append(step + 1)
            organism.order_ack_ns.append(7)


def test_stages_counted_as_they_come_are_those_counted_at_the_end() -> None:
    (eye, organism), (later, too) = node(), node()
    pieces, whole = Stages([eye], [organism]), Stages([later], [too])
    thinking: list[int] = []
    for start in (0, 40, 41, 90):
        end = {0: 40, 40: 41, 41: 90, 90: 100}[start]
        work(eye, organism, range(start, end))
        thinking += pieces.count()
        assert not eye.step_ns
        assert not organism.sending_ns
    work(later, too, range(100))
    assert thinking == whole.count()
    assert thinking[:2] == [500, 2_000], (
        "the sending of a step is no part of its decision, that of another changes none"
    )
    assert pieces.told() == whole.told()
    assert set(pieces.told()) == set(STAGES)
    assert pieces.told()["step"] == quantiles(1_000 * (step + 1) for step in range(100))


def test_what_came_since_is_counted_alone() -> None:
    latency, rng = Latency(), np.random.default_rng(1)
    first, then = rng.integers(1, 10**6, 500).tolist(), rng.integers(10**3, 10**8, 700).tolist()
    latency.record(first)
    counts = latency.counts
    latency.record(then)
    assert latency.quantiles(counts) == quantiles(then)
    assert latency.count == 1_200
    assert latency.quantiles(latency.counts) == quantiles([])
