"""Proposing: list the edits that a slice gives reason to think of, let an engine judge them, and say the best."""

from collections.abc import Iterator
from math import exp, log
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from alphatrade.actors.regime import REGIMES
from alphatrade.reflection.rim.edits import (
    FLAT,
    Bounds,
    DisableTactic,
    Edit,
    Experiment,
    Reach,
    RouteWeight,
    TacticParameter,
    TightenRisk,
    apply_edit,
    describe,
    parameter,
    touched,
)
from alphatrade.reflection.rim.engines import Engine
from alphatrade.reflection.rim.examples import Inputs, Prediction
from alphatrade.reflection.rim.inputs import inputs
from alphatrade.reflection.rim.paper import Paper
from alphatrade.reflection.rim.proposals import Proposal, sealed_proposal
from alphatrade.reflection.rim.slices import Slice
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Policy, Spec

STEPS = (-0.5, -0.25, 0.25, 0.5)  # of a parameter, share of its span
TIGHTER = ("order_notional_max", "daily_loss_max", "drawdown_max")  # halved
DIGITS = 4


class RimSpec(Spec):
    """
    How the RIM proposes.

    Attributes
    ----------
    engine : {"ridge", "trm"}
        What judges edits.
    most : int
        Proposals of one slice.
    least : int
        Decisions of a regime below which nothing is proposed for it.
    confidence : float
        Below which nothing is proposed.
    """

    engine: Literal["ridge", "trm"] = "ridge"
    most: Annotated[int, Field(ge=1, le=100)] = 5
    least: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.5


class Made(NamedTuple):
    """Where proposals come from: hashes of the code and of the job's configuration."""

    code_hash: str
    config_hash: str


class Option(NamedTuple):
    """An edit that can be made, and the policy that it makes."""

    edit: Edit
    child: Policy


def options(part: Slice, bounds: Bounds, least: int) -> list[Option]:
    """Return every edit that a slice gives reason to think of, and that can be made; in a fixed order."""
    found: list[Option] = []
    seen = {part.policy.policy_hash}
    for edit in _thinkable(part, bounds, least):
        try:
            child = apply_edit(part.policy, edit, bounds)
        except ConfigError:  # out of bounds, or it would change nothing
            continue
        if child.policy_hash not in seen:
            seen.add(child.policy_hash)
            found.append(Option(edit, child))
    return found


def seen_of(paper: Paper, found: list[Option], bounds: Bounds) -> Inputs:
    """Return what an engine sees of some options."""
    pairs = [inputs(paper, option.edit, option.child, bounds) for option in found]
    return Inputs(np.array([edit for edit, _ in pairs]), np.array([rows for _, rows in pairs]))


def ranked(told: Prediction, least: float) -> list[int]:
    """Return the places of edits that are expected to gain, with `least` confidence; what promises most is first."""
    order = np.argsort(-told.uplift, kind="stable").tolist()
    return [at for at in order if told.uplift[at] > 0.0 and told.confidence[at] >= least]


def propose(part: Slice, bounds: Bounds, engine: Engine, spec: RimSpec, made: Made) -> tuple[Proposal, ...]:
    """
    Return the proposals of a slice, what promises most first; the same slice and engine make the same bytes.

    Parameters
    ----------
    part : Slice
    bounds : Bounds
    engine : Engine
    spec : RimSpec
    made : Made
    """
    found = options(part, bounds, spec.least)
    chosen: list[tuple[Option, float, float]] = []
    if found:
        paper = Paper(part)
        told = engine.predict(seen_of(paper, found, bounds))
        worth = ranked(told, spec.confidence)
        chosen = [(found[at], float(told.uplift[at]), float(told.confidence[at])) for at in worth]
    pointer = part.pointer()
    plain = [
        _plain(part, option, up, sure) for option, up, sure in chosen[: spec.most]
    ] or [_plain(part, option, 0.0, 0.0) for option in _experiments(part, bounds, spec.least)[: spec.most]]
    return tuple(
        [
            sealed_proposal(
                one
                | {"rank": rank, "evidence": [pointer.model_dump()], "engine": engine.name, "created": pointer.end}
                | {"model_hash": engine.model_hash, **made._asdict()}
            )
            for rank, one in enumerate(plain, 1)
        ]
    )


def _plain(part: Slice, option: Option, up: float, sure: float) -> dict[str, object]:
    regimes = sorted({regime for _, regime in touched(part.policy, option.edit)} & set(part.rows["regime"]))
    told = f"{describe(option.edit)}: expected {up:+.3f} bps an hour, {sure:.0%} sure that it beats doing nothing"
    if isinstance(option.edit, Experiment):
        regimes, told = [option.edit.regime], f"{describe(option.edit)}: it loses there, and no edit is likely to help"
    rows = f"; from {len(part.rows)} decisions in {part.hours:.1f} hours of {part.instrument}"
    return {
        "schema_version": 1, "edit": option.edit.model_dump(), "target": part.policy.policy_hash,
        "child": option.child.policy_hash, "uplift": up, "confidence": sure, "rationale": told + rows,
        "regimes": regimes,
    }  # fmt: skip


def _thinkable(part: Slice, bounds: Bounds, least: int) -> Iterator[Edit]:
    policy, counts = part.policy, part.rows["regime"].value_counts()
    here = [regime for regime in REGIMES if counts.get(regime, 0) >= least]
    leads = sorted({policy.router.table[regime] for regime in here})
    for regime in here:
        lead = policy.router.table[regime]
        for tactic in sorted(policy.topologies):
            yield RouteWeight(regime=regime, tactic=tactic, weight=1.0)
        if policy.topologies[lead].kind != FLAT:
            weight = policy.router.weights.get(regime, {}).get(lead, 1.0)
            yield RouteWeight(regime=regime, tactic=lead, weight=0.5 * weight)
    for tactic in leads:
        kind = policy.topologies[tactic].kind
        for name, reach in sorted(bounds.parameters.get(kind, {}).items()):
            now = parameter(policy, tactic, name)
            for step in STEPS:
                yield TacticParameter(tactic=tactic, parameter=name, value=moved(reach, now, step))
        yield DisableTactic(tactic=tactic)
    for limit in TIGHTER:
        yield TightenRisk(limit=limit, value=0.5 * float(getattr(policy.risk, limit)))


def moved(reach: Reach, now: float, step: float) -> float:
    """Return a parameter a share of its span away from where it is, within the span."""
    low, high = (log(reach.low), log(reach.high)) if reach.log else (reach.low, reach.high)
    place = (log(max(now, reach.low)) if reach.log else now) + step * (high - low)
    value = exp(min(high, max(low, place))) if reach.log else min(high, max(low, place))
    value = min(reach.high, max(reach.low, float(f"{value:.{DIGITS}g}")))
    return float(round(value)) if reach.whole else value


def _experiments(part: Slice, bounds: Bounds, least: int) -> list[Option]:
    """Return what evolution might try in the regimes that lose, where no edit of this policy is likely to help."""
    policy, rows = part.policy, part.rows
    primary = f"markout_{policy.expost.primary}"
    worth = (rows[primary].fillna(0.0) * rows["notional"]).groupby(rows["regime"]).sum()
    counts = rows["regime"].value_counts()
    losing = sorted([regime for regime in worth.index if worth[regime] < 0.0 and counts[regime] >= least])
    own = {spec.kind for spec in policy.topologies.values()}
    found = []
    for regime in losing:
        for kind in sorted(set(bounds.parameters) - own):
            edit = Experiment(regime=regime, topology=kind)
            try:
                found.append(Option(edit, apply_edit(policy, edit, bounds)))
            except ConfigError:
                continue
    return found
