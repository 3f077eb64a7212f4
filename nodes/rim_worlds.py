"""Worlds for the RIM to learn from and to be measured on: a market of one nature, and a policy that may be set wrong.

Four natures: prices come back, go on for hours, wander, or change between these. The policy trades three minutes at a
time. Of a *planted* world it is known what is wrong with the policy: who leads where nobody of that kind can earn, or
which number of a tactic is far from where it works. A *drawn* world has any policy, right or wrong, to learn from.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from alphatrade.actors.regime import REGIMES
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.reflection.rim.edits import DisableTactic, Edit, RouteWeight, TacticParameter
from alphatrade.strategies.policy import Policy, TacticSpec

HOURS = 48.0  # of the slice, and as much again after it
STEP_S = 60.0
_TAPE = (
    "tape=world", f"tape.step_s={STEP_S:g}", "tape.alpha=0", "tape.halts=0", "tape.gaps=0", "tape.bad_prints=0",
    "tape.stale_after_s=400",
)  # fmt: skip
_POLICY = (
    "policy.cadence.kind=events", "policy.regime.window=20", "policy.regime.vol_short=10",
    "policy.regime.vol_long=60", "policy.regime.vol_enter=2.0", "~policy.features.vol_ratio",
    "policy.drift.enabled=false",
)  # fmt: skip
_QUIET = ("output.stress=false", "output.report=false")
NATURES = ("revert", "trend", "wander", "mixed")
TACTICS: dict[str, TacticSpec] = {
    "breakout": TacticSpec(kind="breakout_stop", params={"signal": "range_60", "stop": 8.0, "hold_max": 60}),
    "flat": TacticSpec(kind="flat"),
    "maker": TacticSpec(kind="two_sided_maker", params={"half_spread": 2.0, "clips": 0.5, "max_clips": 1.5}),
    "momentum": TacticSpec(kind="taker_momentum", params={"signal": "ret_20", "enter": 1.0, "hold_min": 20}),
    "reversion": TacticSpec(
        kind="passive_reversion",
        params={"signal": "ret_1", "enter": 0.6, "offset": 0.25, "profit": 0.5, "hold_max": 8},
    ),
}
BEST = {"revert": "reversion", "trend": "momentum", "wander": "flat"}
LOSES = {"revert": ("breakout", "momentum"), "trend": ("reversion",), "wander": ("breakout", "momentum")}
FEES = (Decimal("0.00005"), Decimal("0.0002"), Decimal("0.0004"), Decimal("0.001"))  # a large taker's, …, a small one's
SPREADS, EVENTS = (1, 2, 4), (2, 3, 5)  # ticks; events of a decision step
WRONG = {  # numbers of the best tactic that keep it from earning
    "revert": {"enter": 2.6, "offset": 4.0, "profit": 15.0},
    "trend": {"enter": 2.8},
}


class World(NamedTuple):
    """
    A world, and a policy in it.

    Attributes
    ----------
    name : str
        What is planted; ``drawn`` where nothing is known.
    settings : Settings
        Of a run over the whole tape.
    right : callable
        Whether an edit is one that puts right what is planted; of a drawn world, none is.
    """

    name: str
    settings: Settings
    right: Callable[[Edit], bool]


FAULTS = ("wrong_tactic", "wrong_number", "no_edge")


def planted(fault: str, seed: int) -> World:
    """
    Return a world in which one thing is wrong with the policy.

    Parameters
    ----------
    fault : {"wrong_tactic", "wrong_number", "no_edge"}
        In the regimes of the world leads a tactic that cannot earn there, while another could; leads the best, with a
        number far from where it works; or leads one that only pays costs, as nobody could earn.
    seed : int
        Of the world and of what is drawn.
    """
    rng = np.random.Generator(np.random.PCG64([seed, FAULTS.index(fault)]))
    nature = "wander" if fault == "no_edge" else ("revert", "trend")[int(rng.integers(2))]
    best, tactics = BEST[nature], dict(TACTICS)
    if fault == "wrong_number":
        names = sorted(WRONG[nature])
        number = names[int(rng.integers(len(names)))]
        far = WRONG[nature][number]
        spec = tactics[best]
        tactics[best] = TacticSpec(kind=spec.kind, params=dict(spec.params) | {number: far})
        lead = best

        def right(edit: Edit) -> bool:
            if not isinstance(edit, TacticParameter):
                return False
            return (edit.tactic, edit.parameter) == (best, number) and edit.value < far

    else:
        lead = LOSES[nature][int(rng.integers(len(LOSES[nature])))]

        def right(edit: Edit) -> bool:
            routed = isinstance(edit, RouteWeight) and edit.tactic == best
            return routed or (nature == "wander" and isinstance(edit, DisableTactic) and edit.tactic == lead)

    costs: dict[str, Any] = {"taker_fee": FEES[-1]} if nature == "wander" else {}  # who trades pays for it
    return World(fault, _settings(nature, seed, rng, tactics, dict.fromkeys(REGIMES, lead), costs), right)


def drawn(seed: int) -> World:
    """Return a world of any nature, costs and pace, with any policy: other numbers, and anyone in charge anywhere."""
    rng = np.random.Generator(np.random.PCG64([seed, len(FAULTS)]))
    nature = NATURES[int(rng.integers(len(NATURES)))]
    tactics = {name: _changed(name, spec, rng) for name, spec in TACTICS.items()}
    names = sorted(tactics)
    lead = names[int(rng.integers(len(names)))]
    if nature in BEST and rng.random() < 0.3:
        lead = BEST[nature]
    table = {regime: lead if rng.random() < 0.7 else names[int(rng.integers(len(names)))] for regime in REGIMES}
    for regime in REGIMES:
        if regime.endswith("-high") and tactics[table[regime]].kind == "two_sided_maker":
            table[regime] = "flat"
    costs = {"taker_fee": FEES[int(rng.integers(len(FEES)))], "spread_ticks": SPREADS[int(rng.integers(len(SPREADS)))]}
    events = EVENTS[int(rng.integers(len(EVENTS)))]
    return World("drawn", _settings(nature, seed, rng, tactics, table, costs, events), lambda edit: False)


def null(seed: int) -> World:
    """
    Return a world that wanders, where trading costs next to nothing: nobody has an edge over anybody.

    Only takers are there: a resting order would be picked off where a price jumps a minute at a time.
    """
    rng = np.random.Generator(np.random.PCG64([seed, len(FAULTS) + 1]))
    names = ("breakout", "momentum")
    table = {regime: names[int(rng.integers(len(names)))] for regime in REGIMES}
    free = {"price": 1000.0, "spread_ticks": 1, "maker_fee": Decimal(0), "taker_fee": Decimal(0)}
    own = _settings("wander", seed, rng, {name: TACTICS[name] for name in (*names, "flat")}, table, free)
    run = own.run.model_copy(update={"venue": own.run.venue.model_copy(update={"prob_slippage": 0.0})})
    return World("null", Settings(policy=own.policy, run=run), lambda edit: False)


def _changed(name: str, spec: TacticSpec, rng: np.random.Generator) -> TacticSpec:
    """Return a tactic, perhaps with one number that was drawn anew."""
    numbers = sorted(key for key, value in spec.params.items() if not isinstance(value, str))
    if not numbers or rng.random() < 0.5:
        return spec
    number = numbers[int(rng.integers(len(numbers)))]
    value: Any = spec.params[number] * float(rng.choice([0.25, 0.5, 2.0, 4.0]))
    if name == "maker":
        value = min(value, 1.0 if number == "clips" else 20.0)
    if number == "enter":
        value = min(value, 3.0)
    whole = isinstance(spec.params[number], int)
    return TacticSpec(kind=spec.kind, params=dict(spec.params) | {number: max(1, round(value)) if whole else value})


def _schedule(nature: str, rng: np.random.Generator) -> str:
    """Return the regimes of twice `HOURS`, both halves alike in kind."""
    if nature == "revert":
        return "revert"
    if nature == "wander":
        return "calm"
    parts = []
    for _ in range(round(2 * HOURS / 4)):
        kinds = ("up", "down") if nature == "trend" else ("up", "down", "revert", "calm")
        parts.append(f"{kinds[int(rng.integers(len(kinds)))]}:{2 + int(rng.integers(5))}")
    return ",".join(parts)


@cache
def _base() -> Settings:
    return compose_settings([*_TAPE, *_POLICY, *_QUIET])


def _settings(
    nature: str,
    seed: int,
    rng: np.random.Generator,
    tactics: dict[str, TacticSpec],
    table: dict[str, str],
    costs: Mapping[str, Any],
    events: int = EVENTS[1],
) -> Settings:
    own, schedule = _base(), tuple(_schedule(nature, rng).split(","))
    told = {"seed": seed, "hours": 2 * HOURS, "schedule": schedule, **costs}
    tape = own.run.tape.model_copy(update=told)
    router = own.policy.router.model_copy(update={"table": table, "allowed": {}})
    parts = {name: getattr(own.policy, name) for name in Policy.model_fields}
    cadence = own.policy.cadence.model_copy(update={"n": events})
    policy = Policy.model_validate(parts | {"topologies": tactics, "router": router, "cadence": cadence})
    return Settings(policy=policy, run=own.run.model_copy(update={"tape": tape}))
