"""Proposals, rulings and what follows them, for tests: well-formed bodies that say little."""

from typing import Any

from alphatrade.reflection.rim.edits import Bounds, Reach
from alphatrade.reflection.rim.proposals import proposal_id
from alphatrade.strategies.policy import Policy
from tests.reflection.make_ledger import BTC, HOUR, NOW, digest
from tests.strategies.test_policy import composed

BOUNDS = Bounds(
    parameters={
        "taker_momentum": {"enter": Reach(0.5, 3.0), "leave": Reach(-1.0, 1.0), "hold_min": Reach(1, 120, True, True)},
        "passive_reversion": {"enter": Reach(0.5, 3.0), "hold_max": Reach(5, 240, True, True)},
        "breakout_stop": {"stop": Reach(2.0, 30.0, True)},
        "two_sided_maker": {"clips": Reach(0.1, 1.0), "max_clips": Reach(0.5, 3.0), "skew": Reach(0.0, 1.0)},
        "flat": {},
    },
    never={"two_sided_maker": ("down-high", "flat-high", "up-high")},
    smaller=frozenset({"two_sided_maker.clips", "two_sided_maker.max_clips"}),
)
SPEC = {
    "uplift_bps": 0.5, "level": 0.95, "periods": 8, "moved": 8, "embargo_s": 3600.0, "changes_per_day": 1, "flow": 0.1, "canary_share": 0.25,
    "stage": "paper", "shadow_periods": 4, "canary_periods": 8, "canary_loss_bps": 20.0, "drawdown": 0.02, "seed": 1,
}  # fmt: skip
PHASES = ("shadow", "canary", "full")


def make_policy(**parts: Any) -> Policy:
    """Return the default policy with some parts replaced, `router` key by key."""
    plain = composed()
    plain["router"] |= parts.pop("router", {})
    return Policy.model_validate(plain | parts)


def proposal(n: int = 0, target: int = 1, child: int = 2, **parts: Any) -> dict[str, Any]:
    """Return proposal `n` as plain values: of policy `child` instead of `target`."""
    pointer = {"run_id": "ab" * 32, "instrument": BTC, "first": 3, "last": 9, "start": str(NOW - HOUR), "end": str(NOW), "sha256": digest(7)}
    body = {
        "schema_version": 1, "edit": {"kind": "route_weight", "regime": "up-low", "tactic": "flat", "weight": 1.0},
        "target": digest(target), "child": digest(child), "rank": 1, "uplift": 0.5, "confidence": 0.75,
        "rationale": f"case {n}", "regimes": ["up-low"], "evidence": [pointer], "engine": "ridge",
        "model_hash": digest(3), "code_hash": digest(4), "config_hash": digest(5), "created": str(NOW),
    } | parts  # fmt: skip
    return body | {"id": proposal_id(body)}


def experiment(n: int = 0, target: int = 1) -> dict[str, Any]:
    """Return a proposal that changes nothing."""
    return proposal(n, target, target, edit={"kind": "experiment", "regime": "up-low", "topology": "flat"})


def ruling(of: dict[str, Any], outcome: str, **parts: Any) -> dict[str, Any]:
    """Return what governance says to a proposal, on figures that bear it out."""
    window = {"instrument": BTC, "tape_hash": digest(8), "start": str(NOW + HOUR), "end": str(NOW + 9 * HOUR)}
    why = [] if outcome in ("apply", "refer") else ["flag: governed_feedback is off"]
    body = {
        "proposal": of["id"], "outcome": outcome, "why": why, "window": window, "base": [0.0] * 8,
        "changed": [0.001] * 8, "hits": 0, "family": 1, "changes": 0, "flow": 0.2, "stage": "experiment", "spec": dict(SPEC),
        "code_hash": digest(4),
    }  # fmt: skip
    return body | parts


def signoff(of: dict[str, Any], approve: bool = True) -> dict[str, Any]:
    """Return a person's word."""
    return {"proposal": of["id"], "approve": approve, "why": "looked at it"}


def application(of: dict[str, Any], phase: str, **parts: Any) -> dict[str, Any]:
    """Return a step of a change, each on an hour more of data."""
    share, later = 0.25 if phase == "canary" else 0.0, PHASES.index(phase) if phase in PHASES else 0
    body = {
        "proposal": of["id"], "phase": phase, "target": of["target"], "child": of["child"], "share": share, "run_id": "ab" * 32,
        "until": str(NOW + (9 + later) * HOUR), "why": "granted",
    }  # fmt: skip
    return body | parts


def rollback(of: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return the end of a change."""
    body = {"proposal": of["id"], "target": of["target"], "child": of["child"], "cause": "drift", "why": "it drifts", "noticed": str(NOW)}
    return body | parts
