"""The arms that learning is compared in: one policy, the same tapes and costs, another router in each.

Two of them do not exist in the product: an oracle that knows the truth of a planted world, and learners that are told
the outcomes of other moments.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.strategies import organism
from alphatrade.strategies.adaptation import Adaptation
from alphatrade.strategies.hindsight import Experience, Hindsight
from alphatrade.strategies.policy import Policy
from alphatrade.strategies.router import Route, TableRouter
from alphatrade.strategies.shadow import Costs, Shadow, seen
from alphatrade.strategies.topologies import load_topology

LEARNS = ("policy.flags.linear_attention=true",)
ARMS: dict[str, tuple[str, ...]] = {
    "table": (),
    "ewma": ("policy.router.kind=ewma",),
    "linucb": ("policy.router.kind=linucb",),
    "attention": LEARNS,
    "attention_sigma": (*LEARNS, "policy.flags.fast_weights=true"),
    "attention_shuffled": LEARNS,
    "attention_sigma_shuffled": (*LEARNS, "policy.flags.fast_weights=true"),
}
ORACLE = "oracle"


class Run(NamedTuple):
    """What an arm came to on one tape: bps of a full clip per decision, and turnover in clips."""

    arm: str
    outcome: float
    decisions: int
    fills: int
    turnover: float
    killed: str


class Oracle(TableRouter):
    """Knows what each step is, and which tactic earns most in steps like it on this very tape."""

    def __init__(self, names: tuple[str, ...], ts: np.ndarray[Any, Any], best: np.ndarray[Any, Any], hold: int) -> None:
        super().__init__({}, hold, 0.0)
        self.candidates = names
        self._ts, self._best = ts, best

    def route(self, belief: BeliefSnapshot) -> Route:
        """Return the tactic that pays at `belief`."""
        at = int(np.searchsorted(self._ts, belief.ts, "right")) - 1
        return self._settle(self.candidates[self._best[at]], 1.0, (0.0,) * len(self.candidates), "oracle")


class Shuffled(Hindsight):
    """Tells what came of another moment than it says."""

    def __init__(self, own: Hindsight, seed: int) -> None:
        super().__init__(own._shadows, own._horizon)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._past: list[tuple[float, ...]] = []

    def look(self, belief: BeliefSnapshot, own: float) -> Experience | None:
        """Live through a step, and return the outcomes of a random earlier one."""
        experience = super().look(belief, own)
        if experience is None:
            return None
        self._past.append(experience.values)
        values = self._past[int(self._rng.integers(0, len(self._past)))]
        return msgspec.structs.replace(experience, values=values)


def shadow_worth(tape: Tape, policy: Policy) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return stamps, shape (n,), and the worth of every tactic's shadow before each decision, shape (n, tactics)."""
    instrument = tape.instrument
    costs = Costs(float(instrument.taker_fee), float(instrument.maker_fee), 0.5 * float(instrument.tick))
    shadows = [
        Shadow(load_topology(f"policy.topologies.{name}", spec.kind, spec.params, sorted(policy.features)), costs)
        for name, spec in sorted(policy.topologies.items())
    ]
    stamps, worth = [], []
    for belief in walk(tape, policy):
        if belief.warm:
            stamps.append(belief.ts)
            worth.append([shadow.mark(belief) for shadow in shadows])
            idle = seen(belief)
            for shadow in shadows:
                shadow.act(belief, idle)
    return np.array(stamps), np.array(worth)


def oracle(tape: Tape, policy: Policy) -> Oracle:
    """Return the ceiling: per planted nature, the tactic whose shadow earned most in it on this tape."""
    assert tape.truth is not None, "only a world has a truth"
    ts, worth = shadow_worth(tape, policy)
    truth_ts, natures = tape.truth["ts"].to_numpy(), tape.truth["nature"].to_numpy()
    nature = natures[np.searchsorted(truth_ts, ts[:-1], "right") - 1]
    earned = np.diff(worth, axis=0)
    best = np.zeros(len(truth_ts), np.int64)
    for name in sorted(set(natures)):
        best[natures == name] = int(earned[nature == name].sum(axis=0).argmax())
    return Oracle(tuple(sorted(policy.topologies)), truth_ts, best, policy.router.min_hold)


@contextmanager
def _adapted(change: Callable[[Adaptation], Adaptation]) -> Iterator[None]:
    """Let every organism that starts meanwhile adapt in another way."""
    own = organism.adaptation
    organism.adaptation = lambda *given: change(own(*given))
    try:
        yield
    finally:
        organism.adaptation = own


def _shuffle(found: Adaptation) -> Adaptation:
    assert found.hindsight is not None
    found.hindsight = Shuffled(found.hindsight, 1)
    return found


def run_arm(arm: str, overrides: tuple[str, ...]) -> Run:
    """Replay one arm; nothing is written."""
    settings: Settings = compose_settings([*overrides, *ARMS.get(arm, ())])
    tapes = load_tapes(settings.run)
    policy = settings.policy
    what = Replay(policy, tapes, settings.run)
    if arm == ORACLE:
        router = oracle(tapes[0], policy)
        with _adapted(lambda _: Adaptation(router)):
            output = replay(what, None)
    elif arm.endswith("_shuffled"):
        with _adapted(_shuffle):
            output = replay(what, None)
    else:
        output = replay(what, None)
    capital = settings.run.venue.starting_balance
    clip = float(capital) * policy.sizing.fraction
    outcome = float(output.equity - capital) / clip * 1e4 / output.decisions
    killed = (output.killed or "").split(":")[0]
    return Run(arm, outcome, output.decisions, output.fills, float(output.turnover) / clip, killed)
