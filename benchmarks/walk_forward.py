"""Walk-forward on real tapes: in each window a small search on the first part, and the best of it before the real gate.

``python -m benchmarks.walk_forward [--tapes btcusd_1m_2018 …] [--windows 3] [--candidates 12]``

Each window is cut into cells of a day. The last third of them is held out: the search never sees it, and the
gate judges the best candidate there. Each tape has a ledger of its own over all its windows, so that trials
add up and whoever is promoted is the incumbent of the next window. Needs the shared tapes (``ALPHATRADE_TAPES``).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from benchmarks.evolve_place import Place
from benchmarks.figures import Figure, figure, publish
from benchmarks.learn_worlds import TAPES

COMMAND = "python -m benchmarks.walk_forward"
# At every fifth minute a day would have 276 steps, of which the warm-up takes 240: too few decisions to count.
_EVERY = ("genotype.cadence.kind=seconds", "genotype.cadence.n=120")
READ: dict[str, tuple[str, ...]] = {
    "btcusd_1m_2018": ("tape.kind=bars", "tape.instrument=BTC/USD", *_EVERY),
    "ethusd_1m_2018": ("tape.kind=bars", "tape.instrument=ETH/USD", *_EVERY),
    "usdjpy_1m_2013": ("tape.kind=bidask_bars", "tape.instrument=USD/JPY", *_EVERY),
}
DAYS = 21  # of a window; its last third is held out


def windows(name: str, count: int) -> list[tuple[str, str]]:
    """Return windows spread evenly over a tape, none of them overlapping another, as ISO dates."""
    stamps = pd.read_parquet(TAPES / name / "data.parquet", columns=["ts"])["ts"]
    first, last = (pd.Timestamp(edge) for edge in (stamps.iloc[0], stamps.iloc[-1]))
    room = (last - first).days // count
    if room < DAYS:
        raise SystemExit(f"--windows: got {count}, expected windows of {DAYS} days that do not overlap")
    starts = [first.normalize() + pd.Timedelta(f"{1 + at * room}D") for at in range(count)]
    return [(f"{start:%Y-%m-%d}", f"{start + pd.Timedelta(f'{DAYS}D'):%Y-%m-%d}") for start in starts]


def judged(folder: str) -> None:
    """Bring the best of a search before the gate and print what it said, as JSON: in a process of its own."""
    from alphatrade.nodes.judge import judge_search

    found = judge_search(Path(folder), "", "default", sign=True)
    checks = {check.name: check.figure for check in found.verdict.checks}
    told = {
        "policy_hash": found.verdict.policy_hash, "promoted": found.verdict.promoted, "moved": found.moved,
        "refused": list(found.verdict.refused), "checks": checks,
        "why": {check.name: check.why for check in found.verdict.checks if not check.holds},
    }  # fmt: skip
    print(json.dumps(told))


def window(place: Place, state: Path, name: str, start: str, end: str, candidates: int) -> dict[str, Any]:
    """Search in the first part of a window, judge on the rest, and return what came of both."""
    place.env["ALPHATRADE_STATE"] = str(state)
    summary = place.run(
        "tape=file",
        f"tape.path={TAPES / name / 'data.parquet'}", *READ[name], f"tape.start={start}", f"tape.end={end}",
        "search.race=null", f"search.parents={candidates}", f"search.children={candidates}", "search.generations=1",
        "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    leaves = place.leaves()
    scored = [leaf["fitness"] for leaf in leaves if leaf["fitness"] is not None]
    row = {"tape": name, "start": start, "end": end, "trials": summary["trials"], "best": max(scored, default=None)}
    if not scored:  # nothing that could be judged: that is no promotion
        return row | {"promoted": False, "refused": ["no scored trial"], "checks": {}, "why": {}}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.walk_forward", "--judge", str(place.folder)]
    done = subprocess.run(command, env=place.env, cwd=place.root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"judge {name} {start}: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return row | json.loads(done.stdout.strip().splitlines()[-1])


def rows_of(found: list[dict[str, Any]]) -> list[Figure]:
    """Return the held-out profit at twice the costs in each window, and whether it was promoted and why not."""
    rows = []
    for one in found:
        said = "promoted" if one["promoted"] else f"not promoted: {', '.join(one['refused'])}"
        best = "none" if one["best"] is None else f"{one['best']:+.2f} bps"
        what = f"{one['tape']} {one['start']}: best of {one['trials']} {best} in the search; held out, costs x2; {said}"
        net = one["checks"].get("net")
        value = float(net) if isinstance(net, int | float) else float("nan")
        rows.append(figure(f"walk_forward.{one['tape']}.{one['start']}", what, value, "bps", command=COMMAND))
    promoted = sum(one["promoted"] for one in found)
    what = f"walk-forward, promotions of {len(found)} windows"
    return [*rows, figure("walk_forward.promoted", what, promoted, "", command=COMMAND)]


def walk_forward(names: list[str], count: int = 3, candidates: int = 12, log: Path | None = None) -> list[Figure]:
    """
    Return the figures of every window.

    Parameters
    ----------
    names : list of str
        Of tapes.
    count : int
        Windows of each.
    candidates : int
        Of the first generation, and of the second.
    log : Path, optional
        Gets the whole verdict of each window as a JSON line as soon as it is there.
    """
    jobs = [(name, *span) for name in names for span in windows(name, count)]
    found = []
    with tempfile.TemporaryDirectory(prefix="alphatrade-walk-") as folder:
        for name, start, end in tqdm(jobs, desc="walk-forward", unit="window", disable=None):
            root = Path(folder) / name
            found.append(window(Place(root / start), root / "state", name, start, end, candidates))
            if log is not None:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    return rows_of(found)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tapes", nargs="+", choices=READ, default=list(READ))
    parser.add_argument("--windows", type=int, default=3, help="of each tape")
    parser.add_argument("--candidates", type=int, default=12, help="of each of the two generations")
    parser.add_argument("--out", type=Path, help="folder of the figures instead of artifacts/bench")
    parser.add_argument("--log", type=Path, help="file that gets each window's verdict as it comes")
    parser.add_argument("--judge", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.judge:
        judged(args.judge)
        return
    publish("walk-forward", walk_forward(args.tapes, args.windows, args.candidates, args.log), args.out)


if __name__ == "__main__":
    main()
