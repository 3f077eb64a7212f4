"""What watching costs the node that trades: the same run with beats, trail and metrics that are scraped, and with none.

``python -m benchmarks.watch [--pairs 7]``
"""

import argparse
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.metrics_server import Watched, served
from alphatrade.nodes.paper import node, pulse
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
    "output.flush_ms=500",  # so that a console has curves to draw within these ten seconds
)  # fmt: skip
SPEED = 2_160.0  # six hours in ten seconds
EVERY_S = 1.0  # between two scrapes
QUANTILES = ("p50_ns", "p99_ns")


@contextmanager
def scraped(folder: Path) -> Iterator[Watched]:
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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Watch nothing: no beats are written, no trail, and nobody's requests are looked for."""
    with patch.object(pulse, "BeatWriter", return_value=None), patch.object(node, "Desk", return_value=None):
        yield


def run(watching: Callable[[Path], AbstractContextManager[Watched | None]]) -> dict[str, int]:
    """Return the quantiles of the time of a decision, ns; `watching` is given the state folder of the node."""
    own = compose_settings(WORDS)
    what = Replay(own.policy, load_tapes(own.run), own.run)
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        place = Path(folder) / "run"
        place.mkdir()
        with Journal.open(place / "journal", {"format": 1}) as journal, watching(Path(folder)) as watched:
            flight = Flight(speed=SPEED, state=Path(folder), journal=journal, watched=watched)
            return fly(what, place, flight).latency["step"]


def cost(
    pairs: int, watching: Callable[[Path], AbstractContextManager[Watched | None]], name: str, what: str, command: str
) -> list[Figure]:
    """Return by how much a decision, its orders included, takes longer where the node is watched."""
    run(watching)  # pays for what is compiled and loaded
    found = interleave({"on": lambda: run(watching), "off": lambda: run(alone)}, pairs, name)
    rows = []
    for quantile, target in zip(QUANTILES, ("<= 1.05", ""), strict=True):
        on, off = ([float(one[quantile]) for one in found[side]] for side in ("on", "off"))
        short = quantile.removesuffix("_ns")
        told = f"a decision with its orders, {short}: {what}, over none"
        rows.append(figure(f"{name}.decision.{short}", told, ratios(on, off), "x", target, command=command))
        lone = f"the same without, {short}"
        rows.append(figure(f"{name}.alone.{short}", lone, [one / 1e3 for one in off], "us", command=command))
    return rows


def main() -> int:
    """Measure and publish; exit code 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="of interleaved runs, 20 s each")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    what = "beats, trail, and metrics served and scraped once a second"
    return measured(TARGET, {"cost": lambda: cost(args.pairs, scraped, TARGET, what, COMMAND)}, args.out)


if __name__ == "__main__":
    sys.exit(main())
