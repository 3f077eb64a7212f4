"""What adaptation says: one decision per step that could lead to an order."""

from typing import NamedTuple

import msgspec

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.strategies.exploring import Exploring

DECISION_TOPIC = "alphatrade.decision"


class Synapses(msgspec.Struct, frozen=True, gc=False):
    """
    State of the fast weights at a decision.

    Attributes
    ----------
    norm : float
        Frobenius norm.
    rank : float
        Participation ratio of the factors.
    post, pre : int
        Units of the strongest synapse in the factor that weighed most at this step; -1: none did.
    """

    norm: float
    rank: float
    post: int
    pre: int


class Lesson(msgspec.Struct, frozen=True, gc=False):
    """
    What was learnt at a decision: the outcome of an earlier step, known now.

    Attributes
    ----------
    step : int
        The earlier decision step.
    values : tuple of float
        Outcome of each candidate, bps of a clip, as it was learnt.
    real : bool
        Whether that of the tactic in charge is of the real book; all others are shadow mark-outs.
    """

    step: int
    values: tuple[float, ...]
    real: bool


class Maker(NamedTuple):
    """Whose decision it is, where that is not the run's own policy: hash and risk template of a canary's."""

    policy_hash: str
    risk_template: str


class Decision(msgspec.Struct, gc=False):
    """
    One decision.

    Attributes
    ----------
    decision : int
        Id, unique in the run: step * number of organisms + index of this one.
    belief : BeliefSnapshot
        What was believed; with fast weights, as they shaped it.
    tactic : str
        Execution topology in charge, by its name in the policy.
    candidates : tuple of str
        Tactics that the router could choose from.
    scores : tuple of float
        The router's score of each candidate.
    action : str
        What was sent: ``none``, or the kinds of commands joined by ``+``.
    order_ids : list of str
        Client order ids submitted or modified by this decision.
    verdict : str
        Of the law, as far as it is known when the decision ends: ``none``, ``allow``, ``deny:<CODE>``.
    explanation : str
        One line in words.
    synapses : Synapses or None
        State of the fast weights, where they are on.
    lesson : Lesson or None
        What was learnt just before it.
    exploring : Exploring or None
        What is explored, with which propensity, and what came of it earlier; None in a run that does not explore.
    maker : Maker or None
        The canary that made it; None: the run's own policy.
    """

    decision: int
    belief: BeliefSnapshot
    tactic: str
    candidates: tuple[str, ...]
    scores: tuple[float, ...]
    action: str
    order_ids: list[str]
    verdict: str
    explanation: str
    synapses: Synapses | None = None
    lesson: Lesson | None = None
    exploring: Exploring | None = None
    maker: Maker | None = None
