"""A node's start with governed feedback: the policy that is in force by the ledger, and the canary beside it.

A running policy never changes. What was applied is taken up here, once, from the ledger alone: each edit on the way
from the policy of the configuration to the one in force is made again, and has to give the policy that its entry names.
"""

from typing import NamedTuple

from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.settings import CanarySpec, Settings
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.rim.edits import apply_edit
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.risk.exploration import LOCKED
from alphatrade.strategies.policy import Policy


class InForce(NamedTuple):
    """The policy in force for a base policy, what led to it, and the change that is a canary now, if one is."""

    policy: Policy
    path: tuple[Case, ...]
    canary: Policy | None
    share: float


def in_force(base: Policy, feedback: Feedback) -> InForce:
    """
    Return what a node with the policy `base` starts with.

    Raises
    ------
    LedgerError
        If an edit of the ledger does not make the policy that its entry names.
    """
    policy, path = base, feedback.path(base.policy_hash)
    for case in path:
        policy = made(policy, case)
    under_way = feedback.under_way(policy.policy_hash)
    if under_way is None or under_way.phase != "canary":
        return InForce(policy, path, None, 0.0)
    return InForce(policy, path, made(policy, under_way), under_way.applied[-1][2].share)


def made(policy: Policy, case: Case) -> Policy:
    """
    Return the policy that a case makes of another.

    Raises
    ------
    LedgerError
        If it is not the one that the ledger names.
    """
    name = f"proposal {case.proposal.id[:12]}"
    try:
        child = apply_edit(policy, case.proposal.edit, None)
    except ConfigError as error:
        raise LedgerError(name, str(error), "an edit that can be made") from None
    if child.policy_hash != case.proposal.child:
        raise LedgerError(name, f"the policy {child.policy_hash}", f"{case.proposal.child}, which its entry names")
    return child


def taken_up(settings: Settings) -> Settings:
    """
    Return the settings with which a run really starts.

    Raises
    ------
    LedgerError
        If the flag governed_feedback is on and the ledger cannot be read, or does not bear out what it says.
    ConfigError
        If it is on in live: what trades real money is the policy that two persons have signed, and no other.
    """
    if settings.run.governed_feedback and settings.run.env.name in LOCKED:
        raise ConfigError("governed_feedback", True, "false in live: a permit is for one policy, as it was signed")
    folder = ledger_dir()
    if not settings.run.governed_feedback or not (folder / FILE).is_file():
        return settings
    now = in_force(settings.policy, Ledger(folder).chain.feedback)
    if now.canary is None and not now.path:
        return settings
    canary = None if now.canary is None else CanarySpec(policy=now.canary, share=now.share)
    run = settings.run.model_copy(update={"canary": canary})
    genotype = None if now.path else settings.genotype
    return Settings(policy=now.policy, run=run, genotype=genotype)
