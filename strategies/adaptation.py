"""Adaptation: all that learns in one organism, in the order in which a step needs it.

What has become known is learnt, fast weights shape the belief, the router decides on it, and hindsight notes the
decision. Nothing is learnt before the event time at which it was known. A mechanism that fails is switched off, with
the reason; the others, and the table, go on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alphatrade.actors.belief import Encoder
from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.strategies.attention import Attention
from alphatrade.strategies.fast_weights import FastWeights
from alphatrade.strategies.hindsight import Experience, Hindsight
from alphatrade.strategies.learning import Learner, LearningRouter
from alphatrade.strategies.messages import Synapses
from alphatrade.strategies.rivals import Ewma, LinUCB
from alphatrade.strategies.router import Route, TableRouter
from alphatrade.strategies.shadow import Costs, Shadow
from alphatrade.strategies.topologies import load_topology


class Adaptation:
    """
    Router, hindsight and fast weights of one organism.

    Parameters
    ----------
    router : TableRouter
        A :class:`LearningRouter` learns if there is a `hindsight`.
    hindsight : Hindsight, optional
    weights : FastWeights, optional
        With an `encoder` of the policy's belief.

    Attributes
    ----------
    faults : dict of str to str
        Why a mechanism is off, by its flag.
    synapses : Synapses or None
        State of the fast weights at the last decision.
    """

    def __init__(
        self,
        router: TableRouter,
        hindsight: Hindsight | None = None,
        weights: FastWeights | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.router = router
        self.hindsight, self.weights, self._encoder = hindsight, weights, encoder
        self.faults: dict[str, str] = {}
        self.synapses: Synapses | None = None
        self._waiting: list[Experience] = []
        self._before: BeliefSnapshot | None = None

    def take(self, experience: Experience) -> None:
        """Take an experience; it is used from the moment on at which it is known."""
        self._waiting.append(experience)

    def decide(self, belief: BeliefSnapshot, own: float, notional: float) -> tuple[BeliefSnapshot, Route]:
        """
        Return who is in charge, and the belief that this was decided on.

        Parameters
        ----------
        belief : BeliefSnapshot
            As perceived.
        own, notional : float
            Worth of the real book, and value of one clip, quote currency.
        """
        if self.hindsight is None:
            return belief, self.router.route(belief)
        experience = self.hindsight.look(belief, own)
        if experience is not None:
            self._waiting.append(experience)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if each.known <= belief.ts:
                    self._absorb(each)
                else:
                    self._waiting.append(each)
        if self.weights is not None:
            belief = self._pushed(belief, self.weights)
        route = self.router.route(belief)
        self.hindsight.note(belief, self.router.candidates.index(route.tactic), own, notional)
        return belief, route

    def _absorb(self, experience: Experience) -> None:
        router, weights, e = self.router, self.weights, experience
        if isinstance(router, LearningRouter):
            router.absorb(e)
            if router.off and not self.faults:
                self.faults[router.learner.name] = router.off
        if weights is not None:
            try:
                weights.learn(e.values[e.chosen], e.idx, e.val, e.before_idx, e.before_val)
            except ValueError as error:
                self.faults["fast_weights"] = str(error)
                self.weights = self.synapses = None

    def _pushed(self, belief: BeliefSnapshot, weights: FastWeights) -> BeliefSnapshot:
        before = self._before
        if before is not None:
            assert self._encoder is not None
            idx, val = self._encoder.encode(belief.z, weights.push(before.idx, before.val))
            belief = msgspec.structs.replace(belief, idx=idx, val=val)
        self._before = belief
        self.synapses = Synapses(weights.norm, weights.rank, *weights.top)
        return belief


def adaptation(
    router: Mapping[str, Any],
    flags: Mapping[str, bool],
    learning: Mapping[str, Any],
    belief: Mapping[str, int],
    topologies: Mapping[str, Mapping[str, Any]],
    features: Sequence[str],
    horizon: int,
    costs: Costs,
    long_only: bool,
) -> Adaptation:
    """
    Return the adaptation that a policy describes.

    Parameters
    ----------
    router, flags, learning, belief, topologies : mapping
        These parts of the policy, as plain values.
    features : sequence of str
        Feature names in vector order.
    horizon : int
        The primary horizon, decision steps.
    costs : Costs
        Of the instrument.
    long_only : bool
        Shadows may not be short either.
    """
    table = (router["table"], int(router["min_hold"]), float(router["min_confidence"]))
    names, n = sorted(topologies), int(belief["n"])
    learner: Learner
    if flags["linear_attention"]:
        spec = learning["attention"]
        learner = Attention(n, len(names), horizon, int(spec["halflife"]), float(spec["prior"]), float(spec["caution"]))
    elif router["kind"] == "linucb":
        learner = LinUCB(n, len(names), float(learning["linucb"]["ridge"]), float(learning["linucb"]["width"]))
    elif router["kind"] == "ewma":
        learner = Ewma(len(names), int(learning["ewma"]["halflife"]))
    else:
        return Adaptation(TableRouter(*table))
    tactics = [
        load_topology(name, str(topologies[name]["kind"]), dict(topologies[name]["params"]), features) for name in names
    ]
    hindsight = Hindsight([Shadow(tactic, costs, long_only) for tactic in tactics], horizon)
    above = LearningRouter(*table, names, router["allowed"], learner)
    if not flags["fast_weights"]:
        return Adaptation(above, hindsight)
    f = learning["fast_weights"]
    weights = FastWeights(
        n, int(belief["k"]), int(f["rank"]), int(f["halflife"]), float(f["eta"]), float(f["clip"]), float(f["bound"])
    )
    return Adaptation(above, hindsight, weights, Encoder(len(features), n, int(belief["k"]), int(belief["seed"])))
