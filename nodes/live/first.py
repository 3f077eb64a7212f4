"""Shim: what the journal of a run begins with: its first permit, what it takes over, when its account was seen."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from nautilus_trader.model.events import AccountState

from alphatrade.nodes.journal_file import Walk
from alphatrade.nodes.journal_folder import read_segments
from alphatrade.nodes.paper.inputs import BROKER, HANDOVER, PERMIT, event_of
from alphatrade.risk.handover import HandOver, hand_over_of
from alphatrade.risk.permit import Permit, permit_of


def first_permit(folder: Path) -> Permit | None:
    """
    Return the first permit in the journal in a folder; None: none, or no account was seen: nothing can have been sent.

    What was kept of a look at a ledger that could not be read has no capital and no beginning, and is not meant.
    """
    first: Permit | None = None
    for kind, payload in records(folder):
        if kind == PERMIT and first is None:
            permit = permit_of(msgspec.msgpack.decode(payload))
            first = permit if permit.entry and permit.capital and permit.begins else None
        elif kind == BROKER and first is not None:
            return first
    return None


def first_taken(folder: Path) -> HandOver | None:
    """
    Return what the run of the journal in a folder was to take over from another node; None: nothing.

    It is noted before the first permit, and before an exchange has said anything.
    """
    for kind, payload in records(folder):
        if kind == HANDOVER:
            return hand_over_of(msgspec.msgpack.decode(payload))
        if kind in (PERMIT, BROKER):
            break
    return None


def nothing_heard(folder: Path) -> bool:
    """Return whether the run of the journal in a folder has heard nothing of its account and orders: none was sent."""
    return all(kind != BROKER for kind, _ in records(folder))


def paid_since(folder: Path) -> int:
    """Return since when what the run of the journal in a folder holds was paid for, UTC ns; 0: nobody can say."""
    for kind, payload in records(folder):
        if kind == HANDOVER:
            return hand_over_of(msgspec.msgpack.decode(payload)).since
        if kind == BROKER and isinstance(event := event_of(payload), AccountState):
            return int(event.ts_init)
    return 0


def records(folder: Path) -> Iterator[tuple[int, bytes]]:
    """
    Return kind and payload of each record of the journal in a folder, in order; nothing where there is none.

    Raises
    ------
    JournalError
        If it is damaged.
    """
    for segment in read_segments(folder) if folder.is_dir() else ():
        for _, kind, payload in Walk(segment, segment.path.read_bytes()):
            yield kind, payload
