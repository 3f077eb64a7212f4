"""``alphatrade`` with a file of the drill as its anchor: ``python -m benchmarks.live.launch ANCHOR VERB WORDS…``."""

import sys
from pathlib import Path

from alphatrade.nodes.live import anchor

if __name__ == "__main__":
    anchor.PLACES = (Path(sys.argv.pop(1)).resolve(),)
    from alphatrade.nodes.app import command

    command()
