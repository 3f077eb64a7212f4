"""Alerts of a live node: a line of a file for each, that whoever audits it finds, and counts for its metrics."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

FILE = "alerts.jsonl"
HELD = "held"  # a node has ended, and something is left at the exchange
KINDS = (
    "reconcile", "stranger", "unread", "unreachable", "permit", "preflight", "filters", "rejected", "guard", "handover",
    HELD,
)  # fmt: skip


class Alerts:
    """
    What is given is written and told.

    Parameters
    ----------
    folder : Path
        Of the account in the state folder.
    clock : callable
        Returns the time, UTC ns.
    tell : callable
        Takes a line for whoever reads the node's log.

    Attributes
    ----------
    counts : Counter
        By kind.
    unwritten : int
        How many could not be written; they were told all the same.
    """

    def __init__(self, folder: Path, clock: Callable[[], int], tell: Callable[[str], object]) -> None:
        self._path, self._clock, self._tell = folder / FILE, clock, tell
        self.counts = Counter[str](dict.fromkeys(KINDS, 0))
        self.unwritten = 0

    def say(self, words: str) -> None:
        """Tell something that is no alert."""
        self._tell(words)

    def give(self, kind: str, words: str) -> None:
        """Give an alert; what cannot be written never stops the node."""
        self.counts[kind] += 1
        line = json.dumps({"ts": self._clock(), "kind": kind, "words": words[:2000]}, separators=(",", ":")) + "\n"
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.write(handle, line.encode()) != len(line.encode()):
                    raise OSError("no space for a whole line")
            finally:
                os.close(handle)
        except OSError as error:
            self.unwritten += 1
            self._tell(f"ALERT {kind} could not be written: {error}")
        self._tell(f"ALERT {kind}: {words}")
