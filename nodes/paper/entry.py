"""A policy by its entry in the ledger: which one, whether it may be on paper, and the policy itself, byte for byte."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.evolution.rebuild import rebuild_strategy
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.stages import STAGES, Stages
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.strategies.policy import Policy

FIELD = "policy_entry"
_HASH = re.compile(r"[0-9a-f]{8,64}")
_WANTED = "a policy that is in stage paper or above; see: alphatrade stage show"


class Entered(NamedTuple):
    """A policy, and what a run says of the entry that it was taken from, as plain values."""

    policy: Policy
    entry: Mapping[str, Any]


def entered(name: object, folder: Path | None = None) -> Entered:
    """
    Return the policy of a hash, if the ledger is sound and lets it be on paper.

    Parameters
    ----------
    name : object
        policy_hash, or its first eight digits or more.
    folder : Path, optional
        Of the ledger; None: that of this machine.

    Raises
    ------
    ConfigError
        If it is no hash.
    LedgerError
        If the ledger is damaged, knows no such policy, or it is in stage experiment: never promoted, or taken down.
    """
    if not isinstance(name, str) or not _HASH.fullmatch(name):
        raise ConfigError(FIELD, name, "the policy_hash of a policy, or its first 8 digits or more")
    folder = folder or ledger_dir()
    found = verify(folder)
    if found.problems:
        raise LedgerError(f"{FIELD}, {folder}", found.problems[0], "a ledger in which nothing is wrong")
    ledger = Ledger(folder)
    entries = ledger.entries()
    stages = ledger.chain.stages
    policy_hash = _named(name, stages)
    move = next(one for one in reversed(stages.history) if policy_hash in (one.body.policy_hash, one.replaced))
    told = {
        "policy_hash": policy_hash,
        "stage": stages.stage_of(policy_hash),
        "seq": move.seq,
        "hash": entries[move.seq].hash,
        "ledger": found.fingerprint,
    }
    return Entered(rebuild_strategy(policy_hash, folder), told)


def _named(name: str, stages: Stages) -> str:
    """Return the one policy in a stage above experiment whose hash begins with `name`."""
    there = [one for stage in STAGES[1:] for one in stages.policies(stage) if one.startswith(name)]
    if len(there) == 1:
        return there[0]
    if there:
        raise LedgerError(FIELD, name, f"more digits: {', '.join(one[: len(name) + 4] for one in there)}")
    down = [move for move in stages.history if any(h.startswith(name) for h in (move.body.policy_hash, move.replaced))]
    if down:
        last = down[-1]
        raise LedgerError(FIELD, f"{name}, in stage experiment since entry {last.seq} ({last.body.why})", _WANTED)
    raise LedgerError(FIELD, name, _WANTED)
