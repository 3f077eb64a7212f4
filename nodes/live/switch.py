"""A request that a live node ends and starts again under the policy that the ledger has in charge then.

It ends flat, or hands over what it holds.

A file in the folder of the account, as a request to freeze is; the node takes it away when it has taken it.
"""

import json
from pathlib import Path
from typing import NamedTuple

from alphatrade.risk.disk import write_whole, writing

REQUEST = "switch.request"


class Switch(NamedTuple):
    """Who asks for it, and why; `ts` is UTC ns. `hand_over`: what is held is kept, for the node that starts then."""

    ts: int
    who: str
    why: str
    hand_over: bool = False

    @property
    def words(self) -> str:
        """For the record."""
        return f"operator: {self.why} (by {self.who})"


def request_switch(folder: Path, asked: Switch) -> None:
    """
    Ask the node of an account to start again.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with writing(folder):
        write_whole(folder / REQUEST, json.dumps(asked._asdict()))


def pending(folder: Path) -> bool:
    """Return whether a request has not been taken yet."""
    return (folder / REQUEST).exists()


def take_switch(folder: Path) -> Switch | None:
    """Return a pending request, and take it away; None: there is none, or it cannot be read or taken."""
    path = folder / REQUEST
    try:
        told = Switch(**json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
    except (OSError, ValueError, TypeError):
        return None
    return told._replace(hand_over=told.hand_over is True)
