"""``python -m benchmarks.drills.stalled paper …``: alphatrade, whose loop stands still for ten minutes on SIGUSR1."""

import signal
import sys
import time
from typing import Any

from alphatrade.nodes.app import command


def stand(*_: Any) -> None:
    """Do nothing, on the thread that trades."""
    time.sleep(600)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, stand)
    sys.argv[0] = "alphatrade"
    command()
