"""Finding a policy again: from its hash to the genotype that a ledger or a dossier has, and to the policy itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785
from pydantic import ValidationError

from alphatrade.evolution.dossier import plain, unpack
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import InputError, LedgerError
from alphatrade.strategies.policy import Policy, canonical

GENOTYPE = "genotype.json"  # in a dossier


def rebuild_strategy(policy_hash: str, ledger: Path | None = None, dossier: Path | None = None) -> Policy:
    """
    Return the policy of a hash.

    Parameters
    ----------
    policy_hash : str
        64 hexadecimal digits.
    ledger : Path, optional
        Folder of a ledger: the genotype is looked for in all its trials.
    dossier : Path, optional
        Zip file with ``genotype.json``; looked at first.

    Raises
    ------
    LedgerError
        If the ledger or the dossier is damaged, nothing of them has this policy, or what they say has it develops into
        another one here.
    """
    for where, told in _candidates(policy_hash, ledger, dossier):
        try:
            policy = develop(Genotype.model_validate(told))
        except (ValidationError, InputError) as error:
            words = str(error).splitlines()[0]
            raise LedgerError(where, words, f"a genotype that develops into {policy_hash}") from None
        if policy.policy_hash != policy_hash:
            raise LedgerError(where, policy.policy_hash, f"a genotype that develops into {policy_hash}")
        return policy
    places = " or ".join(str(place) for place in (dossier, ledger) if place is not None)
    raise LedgerError("policy_hash", policy_hash, f"the hash of a policy that was bred; {places or 'nothing'} has none")


def policy_file(policy: Policy) -> bytes:
    """Return a policy as the bytes of a file: canonical JSON (RFC 8785), whose sha256 is its ``policy_hash``."""
    return rfc8785.dumps(canonical(policy))


def _candidates(policy_hash: str, ledger: Path | None, dossier: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if dossier is not None:
        yield f"{dossier} {GENOTYPE}", _in_dossier(dossier)
    if ledger is not None:
        for one in read(Ledger(ledger)).trials:
            if one.trial.policy_hash == policy_hash and one.trial.genotype is not None:
                yield f"ledger entry {one.entry.seq}", one.trial.genotype


def _in_dossier(dossier: Path) -> dict[str, Any]:
    expected = f"a dossier: a zip file with {GENOTYPE}"
    try:
        found = plain(unpack(dossier.read_bytes()), GENOTYPE)
    except OSError as error:
        raise LedgerError(str(dossier), error.strerror or type(error).__name__, expected) from None
    except InputError as error:
        raise LedgerError(str(dossier), str(error), expected) from None
    if not isinstance(found, dict):
        raise LedgerError(str(dossier), "another file", expected)
    return found
