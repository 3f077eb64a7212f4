"""What watching costs the node that trades: the same run with its metrics served and scraped, and without.

``python -m benchmarks.watch [--pairs 7]``
"""

import argparse
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.metrics_server import Watched, served
from alphatrade.nodes.paper.assembly import Flight
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.replay import Replay
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from benchmarks.figures import OUT, Figure, figure, interleave, measured, ratios

TARGET, COMMAND = "watch", "python -m benchmarks.watch"
WORDS = (
    "tape=world", "tape.hours=6", "policy.cadence.n=5", "policy.flags.linear_attention=true",
    "policy.flags.fast_weights=true", "output.stress=false", "output.report=false",
)  # fmt: skip
SPEED = 2_160.0  # six hours in ten seconds
EVERY_S = 1.0  # between two scrapes
QUANTILES = ("p50_ns", "p99_ns")


@contextmanager
def scraped() -> Iterator[Watched]:
    """Serve a node's metrics, and ask for them once a second."""
    told, over = list[str](), threading.Event()
    with served("127.0.0.1", 0, told.append) as watched:

        def ask() -> None:
            while not over.wait(EVERY_S):
                with urllib.request.urlopen(told[0].partition(": ")[2], timeout=5) as answer:
                    answer.read()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield watched
        finally:
            over.set()
            asking.join()


def run(watch: bool) -> dict[str, int]:
    """Return the quantiles of the time of a decision, ns."""
    own = compose_settings(WORDS)
    what = Replay(own.policy, load_tapes(own.run), own.run)
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        place = Path(folder) / "run"
        place.mkdir()
        with Journal.open(place / "journal", {"format": 1}) as journal:
            flight = {"speed": SPEED, "state": Path(folder), "journal": journal}
            if not watch:
                return fly(what, place, Flight(**flight)).latency["step"]
            with scraped() as watched:
                return fly(what, place, Flight(**flight, watched=watched)).latency["step"]


def cost(pairs: int) -> list[Figure]:
    """Return by how much a decision, its orders included, takes longer where the node is watched."""
    run(watch=True)  # pays for what is compiled and loaded
    found = interleave({"on": lambda: run(True), "off": lambda: run(False)}, pairs, TARGET)
    rows = []
    for name, target in zip(QUANTILES, ("<= 1.05", ""), strict=True):
        on, off = ([float(one[name]) for one in found[side]] for side in ("on", "off"))
        short = name.removesuffix("_ns")
        what = f"a decision with its orders, {short}: metrics served and scraped once a second, over none"
        rows.append(figure(f"watch.decision.{short}", what, ratios(on, off), "x", target, command=COMMAND))
        alone = f"the same without metrics, {short}"
        rows.append(figure(f"watch.alone.{short}", alone, [one / 1e3 for one in off], "us", command=COMMAND))
    return rows


def main() -> int:
    """Measure and publish; exit code 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="of interleaved runs, 20 s each")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    return measured(TARGET, {"cost": lambda: cost(args.pairs)}, args.out)


if __name__ == "__main__":
    sys.exit(main())
