"""How long each stage of a node takes, counted in histograms: what it takes in memory does not grow with a run."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from alphatrade.nodes.latency import Latency, Reached

STAGES = ("decision", "step", "ingest_signal", "signal_order", "order_ack")
BOUNDS_NS = (*(int(first * 10**power) for power in range(4, 10) for first in (1, 2.5, 5)), 10**10)  # 10 µs to 10 s


class Stages:
    """
    Takes the durations that perception and organisms have noted.

    Parameters
    ----------
    eyes, organisms : sequence
        Of one node.

    Attributes
    ----------
    latency : dict of str to Latency
        By stage: one decision without sending its orders; a step with them; from an event to the decision on it; from
        there to an order; from there to its first answer.
    """

    def __init__(self, eyes: Sequence[Any], organisms: Sequence[Any]) -> None:
        self._eyes, self._organisms = eyes, organisms
        self._steps = [0] * len(eyes)  # of each, counted so far
        self.latency = {name: Latency() for name in STAGES}

    def count(self) -> list[int]:
        """Count what is new, and have it forgotten; return how long each new decision took, ns, eye by eye."""
        thinking = self._thinking()
        self.latency["decision"].record(thinking)
        for name in STAGES[1:]:
            lists: list[list[int]] = [
                getattr(one, f"{name}_ns") for one in (self._eyes if name == "step" else self._organisms)
            ]
            self.latency[name].record(chain.from_iterable(lists))
            for samples in lists:
                samples.clear()
        return thinking

    def told(self) -> dict[str, dict[str, int]]:
        """Return count and quantiles of each stage, ns."""
        return {name: latency.quantiles() for name, latency in self.latency.items()}

    def reached(self) -> dict[str, Reached]:
        """Return how many durations of each stage are within each of `BOUNDS_NS`."""
        return {name: latency.reached(BOUNDS_NS) for name, latency in self.latency.items()}

    def _thinking(self) -> list[int]:
        sent: dict[str, Counter[int]] = {eye.config.instrument_id: Counter() for eye in self._eyes}
        for organism in self._organisms:
            sent[organism.config.instrument_id].update(organism.sending_ns)
            organism.sending_ns.clear()
        found = []
        for place, eye in enumerate(self._eyes):
            sending, first = sent[eye.config.instrument_id], self._steps[place]
            found += [spent - sending[step] for step, spent in enumerate(eye.step_ns, first)]
            self._steps[place] += len(eye.step_ns)
        return found
