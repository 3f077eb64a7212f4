"""
``alphatrade`` with a file of the drill as its anchor: ``python -m benchmarks.live.launch ANCHOR VERB WORDS…``.

It ends with the drill that has started it.
"""

import os
import sys
from pathlib import Path
from typing import Any

from alphatrade.nodes.live import anchor
from tests.venue.tied import tied


def anchored(place: Path) -> None:
    """Make a file the anchor of this process, and of what it becomes when it starts again."""
    anchor.PLACES, become = (place,), os.execv

    def execv(path: str, words: Any) -> None:
        python, safe, dash, _, *own = words
        become(path, [python, safe, dash, "benchmarks.live.launch", str(place), *own])

    os.execv = execv  # type: ignore[assignment]


if __name__ == "__main__":
    tied()
    anchored(Path(sys.argv.pop(1)).resolve())
    from alphatrade.nodes.app import command

    command()
