"""Adaptation: all that learns in one organism, in the order in which a step needs it.

What has become known is learnt, fast weights shape the belief, the router decides on it, and hindsight notes the
decision. Nothing is learnt before the event time at which it was known. A mechanism that fails is switched off, with
the reason; the others, and the table, go on.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import pyarrow as pa

from alphatrade.actors.belief import Encoder
from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.strategies.attention import Attention
from alphatrade.strategies.exploring import Explorer
from alphatrade.strategies.fast_weights import FastWeights
from alphatrade.strategies.hindsight import Experience, Hindsight
from alphatrade.strategies.learning import Learner, LearningRouter
from alphatrade.strategies.messages import Lesson, Synapses
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
    cap : float
        Largest outcome that is learnt, bps.

    Attributes
    ----------
    explorer : Explorer or None
        Puts another tactic in charge now and then; none where nothing is explored.
    faults : dict of str to str
        Why a mechanism is off, by its flag.
    without : str
        The same in words, to append to an explanation.
    synapses : Synapses or None
        State of the fast weights at the last decision.
    lesson : Lesson or None
        What was learnt just before the last decision.
    """

    def __init__(
        self,
        router: TableRouter,
        hindsight: Hindsight | None = None,
        weights: FastWeights | None = None,
        encoder: Encoder | None = None,
        cap: float = 500.0,
    ) -> None:
        self.router = router
        self.hindsight, self.weights, self._encoder = hindsight, weights, encoder
        self._cap = cap
        self.explorer: Explorer | None = None
        self.faults: dict[str, str] = {}
        self.without = ""
        self.synapses: Synapses | None = None
        self.lesson: Lesson | None = None
        self._waiting: list[Experience] = []
        self._before: BeliefSnapshot | None = None
        self._frozen = False

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What learns, by its flag, also where it is off by now."""
        learner = (self.router.learner.name,) if isinstance(self.router, LearningRouter) else ()
        weights = ("fast_weights",) if self.weights is not None else ()
        return tuple(dict.fromkeys((*learner, *weights, *self.faults)))

    def take(self, experience: Experience) -> None:
        """Take an experience; it is used from the moment on at which it is known."""
        self._waiting.append(experience)

    def synapse_table(self) -> pa.Table | None:
        """Return the synapses as rows ``pre, post, weight``; None without fast weights."""
        if self.weights is None:
            return None
        dense = self.weights.dense()
        post, pre = dense.nonzero()
        columns = {"pre": pre.astype("int16"), "post": post.astype("int16"), "weight": dense[post, pre]}
        return pa.table(columns).replace_schema_metadata({"n": str(len(dense))})

    def arrays(self) -> dict[str, Any]:
        """Return all that was learnt, by mechanism and name; the arrays themselves, empty where nothing learns."""
        found: dict[str, Any] = {}
        if isinstance(self.router, LearningRouter):
            learner = self.router.learner
            found |= {f"{learner.name}.{name}": array for name, array in learner.arrays().items()}
        if self.weights is not None:
            found |= {f"fast_weights.{name}": array for name, array in self.weights.arrays().items()}
        return found

    def restored(self) -> None:
        """Take up what follows from the arrays, after they have been filled in."""
        if self.weights is not None:
            self.weights.restored()

    def refuse(self, reason: str) -> None:
        """Go on without what learns, because of what it was told to start from."""
        if isinstance(self.router, LearningRouter):
            self.router.off = reason
            self._fault(self.router.learner.name, reason)
        if self.weights is not None:
            self.weights = self.synapses = None
            self._fault("fast_weights", reason)

    def _fault(self, mechanism: str, reason: str) -> None:
        self.faults[mechanism] = reason
        self.without += f"; {mechanism} off: {reason}"

    def freeze(self) -> None:
        """Learn and explore no more: what comes is not trading but closing."""
        self._frozen = True
        if self.explorer is not None:
            self.explorer.freeze("only closing")

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
        self.lesson = None
        if self.hindsight is None or self._frozen:
            return belief, self._route(belief, own, notional)
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
        route = self._route(belief, own, notional)
        self.hindsight.note(belief, self.router.candidates.index(route.tactic), own, notional)
        return belief, route

    def _route(self, belief: BeliefSnapshot, own: float, notional: float) -> Route:
        route = self.router.route(belief)
        return route if self.explorer is None else self.explorer.route(belief, route, own, notional)

    def _absorb(self, experience: Experience) -> None:
        router, weights, cap = self.router, self.weights, self._cap
        e = experience
        if (max(e.values) > cap or min(e.values) < -cap) and all(map(isfinite, e.values)):
            e = msgspec.structs.replace(e, values=tuple([max(-cap, min(cap, value)) for value in e.values]))
        self.lesson = Lesson(e.step, e.values, e.real)
        if isinstance(router, LearningRouter):
            router.absorb(e)
            if router.off and router.learner.name not in self.faults:
                self._fault(router.learner.name, router.off)
        if weights is not None and e.values[e.chosen] != 0.0:  # who holds nothing has no outcome to learn from
            try:
                weights.learn(e.values[e.chosen], e.idx, e.val, e.before_idx, e.before_val)
            except ValueError as error:
                self.weights = self.synapses = None
                self._fault("fast_weights", str(error))

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
        load_topology(f"policy.topologies.{name}", str(spec["kind"]), dict(spec["params"]), features)
        for name, spec in sorted(topologies.items())
    ]
    hindsight = Hindsight([Shadow(tactic, costs, long_only) for tactic in tactics], horizon)
    above, cap = LearningRouter(*table, names, router["allowed"], learner), float(learning["outcome_cap_bps"])
    if not flags["fast_weights"]:
        return Adaptation(above, hindsight, cap=cap)
    f = learning["fast_weights"]
    weights = FastWeights(
        n, int(belief["k"]), int(f["rank"]), int(f["halflife"]), float(f["eta"]), float(f["clip"]), float(f["bound"])
    )
    encoder = Encoder(len(features), n, int(belief["k"]), int(belief["seed"]))
    return Adaptation(above, hindsight, weights, encoder, cap)
