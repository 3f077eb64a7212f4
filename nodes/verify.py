"""Verification of a dossier, as a stranger does it who has this code and public keys that he was told.

Each step is a row: what the dossier records, what was found here, whether that is the same. The first that differs ends
it. Nothing of the machine is used but the code: ledger, run folders and caches lie in a folder of their own that is
thrown away.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from alphatrade.nodes.verify_case import Asked, Case
from alphatrade.nodes.verify_steps import STEPS
from alphatrade.risk.errors import AlphaTradeError, ConfigError

__all__ = ["Asked", "Case", "Row", "outcome", "trusted", "verified"]

KEY = re.compile(r"\b[0-9a-f]{64}\b")


class Row(NamedTuple):
    """A step of a verification, with what came of it."""

    step: str
    recorded: str
    found: str
    holds: bool


def verified(case: Case, shown: bool = False) -> Iterator[Row]:
    """
    Yield the row of each step until one differs.

    Parameters
    ----------
    case : Case
    shown : bool, default False
        Show progress.
    """
    with tqdm(STEPS.items(), "verifying", unit="step", disable=not shown, leave=False) as bar:
        for name, step in bar:
            bar.set_postfix_str(name)
            try:
                row = Row(name, *step(case))
            except Exception as error:  # a dossier is foreign: whatever it makes fail is not as it should be
                words = str(error) if isinstance(error, AlphaTradeError) else f"{type(error).__name__}: {error}"
                row = Row(name, "unreadable", " ".join(words.split())[:300], False)
            yield row
            if not row.holds:
                return


def outcome(case: Case) -> str:
    """Return in one line what was verified."""
    told = case.file.manifest
    if told.promoted:
        return f"verified: promoted, {told.policy_hash}"
    reasons = [*case.verdict.refused, *(["kill drill"] if case.drill.wrong else [])]
    return f"verified: NOT promoted, refused by {', '.join(reasons)}; {told.policy_hash}"


def trusted(text: str) -> frozenset[str]:
    """
    Return public keys: of a file, one a line, or given one after the other, with commas.

    Raises
    ------
    ConfigError
        If there is none, or something that is none.
    """
    expected = "public keys, 64 hexadecimal digits, with commas between them, or a file with one a line"
    parts = text.split(",")
    if not all(KEY.fullmatch(part.strip()) for part in parts):
        try:
            lines = Path(text).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            raise ConfigError("--trust", text, expected) from None
        parts = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    keys = [KEY.findall(part) for part in parts]
    if not keys or any(len(found) != 1 for found in keys):
        raise ConfigError("--trust", text, expected)
    return frozenset(key for found in keys for key in found)
