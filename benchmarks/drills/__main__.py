"""``make drills``: carry out drills and print what came of them; exit code 1 where one has failed.

``python -m benchmarks.drills [--only kill restart …] [--times 50]``
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.drills.kill import flooded, killed
from benchmarks.drills.record import Drill, carried_out, shown
from benchmarks.figures import ROOT

OUT = ROOT / "artifacts" / "drills" / "drills.json"
DRILLS = (
    Drill("kill", "alphatrade kill, the node at the pace of its market: flat, nothing but the law's orders after the trip", killed, 3),
    Drill("flood", "alphatrade kill, the node at full speed under more orders than it can send: none leaves after the trip", flooded, 3),
)  # fmt: skip


def main() -> int:
    """Carry out the chosen drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [drill.name for drill in DRILLS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--times", type=int, default=0, help="of each drill; 0: as often as make drills does")
    parser.add_argument("--out", type=Path, default=OUT, help="file of what came of them")
    args = parser.parse_args()
    with TemporaryDirectory(prefix="alphatrade-drills-") as root:
        chosen = [drill for drill in DRILLS if drill.name in args.only]
        came = [carried_out(drill, args.times or drill.times, Path(root)) for drill in chosen]
    return int(not shown(came, args.out))


if __name__ == "__main__":
    sys.exit(main())
