"""``make drills``: carry out drills and print what came of them; exit code 1 where one has failed.

``python -m benchmarks.drills [--only kill restart …] [--times 50]``
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from alphatrade.nodes.rules import check
from alphatrade.risk.errors import AlphaTradeError
from benchmarks.drills import alerts, direct, disk, drift, exchange, kill, restart, rollback, runaway
from benchmarks.drills.record import Drill, carried_out, shown
from benchmarks.drills.watching import RULES
from benchmarks.figures import ROOT

OUT = ROOT / "artifacts" / "drills" / "drills.json"
DRILLS = (
    Drill("kill", "alphatrade kill, market at its pace: flat, only the law's orders after the trip", kill.killed, 2),
    Drill("flood", "alphatrade kill, more orders than can be sent: none leaves after the trip", kill.flooded, 2),
    Drill("runaway", "orders without end beside the policy: the law keeps its pace; another halts", runaway.held, 1),
    Drill("exchange", "alphatrade kill, a node at an exchange: nothing open or held there", exchange.killed, 1),
    Drill("hung", "alphatrade kill --direct, the trader stopped: nothing open or held there", direct.hung, 2),
    Drill("dead", "alphatrade kill --direct, the trader killed -9: nothing open or held there", direct.dead, 2),
    Drill("feed", "five seconds of silence: no order on a stale price, the gap on record, then on", exchange.lost, 1),
    Drill("restart", "kill -9 and on: position and cash as booked, the same files in the end", restart.restarted, 2),
    Drill("restore", "the state copied elsewhere: it goes on there where it was, the same files", restart.restored, 1),
    Drill("disk", "a full disk: trading stops, what was kept stays, a start is refused until release", disk.full, 1),
    Drill("rollback", "a policy is taken back: the one before is in charge, and flies", rollback.rolled_back, 1),
    Drill("drift", "the market turns: an alarm, which the next decision heeds and the metrics tell", drift.alarmed, 1),
    Drill("reconcile", "kill -9 at an exchange, filled meanwhile: its books, to a digit", exchange.reconciled, 1),
    Drill("rotate", "another key, the old one withdrawn: it trades on, by the exchange's books", exchange.rotated, 1),
    Drill("alerts", "a cause for each alert: it arrives, is acknowledged; a dead channel is noticed", alerts.fired, 1),
)


def main() -> int:
    """Carry out the chosen drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [drill.name for drill in DRILLS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--times", type=int, default=0, help="of each drill; 0: as often as make drills does")
    parser.add_argument("--out", type=Path, default=OUT, help="file of what came of them")
    args = parser.parse_args()
    if "alerts" in args.only:
        try:
            check(RULES)  # now, and not when Prometheus has been silent for minutes
        except AlphaTradeError as error:
            print(f"alphatrade: {error}", file=sys.stderr)
            return 2
    with TemporaryDirectory(prefix="alphatrade-drills-") as root:
        chosen = [drill for drill in DRILLS if drill.name in args.only]
        came = [carried_out(drill, args.times or drill.times, Path(root)) for drill in chosen]
    return int(not shown(came, args.out))


if __name__ == "__main__":
    sys.exit(main())
