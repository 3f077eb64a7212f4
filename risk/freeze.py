"""A request to freeze exploration, left for a running node in the folder of its kill switch: ``freeze.request``.

The node takes it as an input of its run and removes it. One freeze lasts for the run; with no node running the next
run begins with it. One that cannot be read is a request as well: to explore less is the safe side.
"""

import json
from pathlib import Path
from typing import NamedTuple

from alphatrade.risk.disk import write_whole, writing
from alphatrade.risk.kill import latch_dir

REQUEST = "freeze.request"


class Freeze(NamedTuple):
    """Since when nothing is to be explored (UTC ns), who asks for it, and why."""

    ts: int
    who: str
    why: str

    @property
    def words(self) -> str:
        """For the record."""
        return f"operator: {self.why} (by {self.who})"


def request_freeze(state_dir: str | Path, env: str, account: str, who: str, why: str, ts: int) -> None:
    """
    Ask a running node, or the next one, to explore nothing.

    Parameters
    ----------
    ts : int
        UTC ns.

    Raises
    ------
    InputError
        If there can be no such account, or its folder cannot be written.
    """
    folder = latch_dir(state_dir, env, account)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / REQUEST, json.dumps(Freeze(ts, who, why)._asdict()))


def read_freeze(folder: Path) -> Freeze | None:
    """Return the pending request in a folder; None: there is none."""
    path = folder / REQUEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        found = Freeze(plain["ts"], plain["who"], plain["why"])
        if list(map(type, found)) != [int, str, str]:
            raise ValueError("not the content of a request")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Freeze(0, "law", f"{REQUEST} cannot be read: {error}")


def clear_freeze(folder: Path) -> None:
    """Remove a request that was taken."""
    (folder / REQUEST).unlink(missing_ok=True)
