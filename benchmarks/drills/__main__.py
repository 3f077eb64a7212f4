"""``make drills``: carry out drills and print what came of them; exit code 1 where one has failed.

``python -m benchmarks.drills [--only kill restart …] [--times 50]``
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.drills.direct import dead, hung
from benchmarks.drills.kill import flooded, killed
from benchmarks.drills.record import Drill, carried_out, shown
from benchmarks.drills.restart import restarted
from benchmarks.figures import ROOT

OUT = ROOT / "artifacts" / "drills" / "drills.json"
DRILLS = (
    Drill("kill", "alphatrade kill, market at its pace: flat, only the law's own orders after the trip", killed, 3),
    Drill("flood", "alphatrade kill, more orders than can be sent: none of them leaves after the trip", flooded, 3),
    Drill("hung", "alphatrade kill --direct, the trader stopped: nothing open or held in the books", hung, 3),
    Drill("dead", "alphatrade kill --direct, the trader killed -9: nothing open or held in the books", dead, 3),
    Drill("restart", "kill -9 and on: position and cash as booked, the same files in the end", restarted, 3),
)


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
