"""What giving up hopeless candidates costs a search in results, and spares it in replays.

``python -m benchmarks.evolve --only racing [--races 8]``
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.evolve_place import Place
from benchmarks.evolve_worlds import LONG, SHIFTS, WORLD
from benchmarks.figures import Figure, figure

COMMAND = "make evolve-bench"
SEEDS = tuple(range(440_001, 440_101))
SEARCH = (
    *[word for word in WORLD if not word.startswith("search.")], *LONG, f"tape.schedule=[{SHIFTS}]",
    "grid.block_s=43200", "search.parents=8", "search.children=8", "search.generations=4", "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
)  # fmt: skip


class Searched(NamedTuple):
    """What one search came to."""

    replays: int
    fitness: float
    best: str
    stopped: int


def racing(seeds: int) -> list[Figure]:
    """Return how many replays races spare, and how much better or worse the best of a search is with them."""
    found: dict[str, list[Searched]] = {"none": [], "default": []}
    with tempfile.TemporaryDirectory(prefix="alphatrade-racing-") as folder:
        for seed in tqdm(SEEDS[:seeds], desc="racing", unit="pair", disable=None):
            for name, own in (("none", ("search.race=null",)), ("default", ())):
                place = Place(Path(folder) / f"{name}-{seed}")
                words = (*SEARCH, *own, f"tape.seed={seed}", f"search.seed={seed}")
                summary = place.run(*words)
                leaves = place.leaves()
                fitness = max(leaf["fitness"] for leaf in leaves if leaf["fitness"] is not None)
                stopped = sum(leaf["status"] == "stopped" for leaf in leaves)
                found[name].append(Searched(summary["replays"], fitness, summary["best"][0], stopped))
    pairs = list(zip(found["none"], found["default"], strict=True))
    same, n = sum(one.best == other.best for one, other in pairs), len(pairs)
    gained = [other.fitness - one.fitness for one, other in pairs]
    what = "default race: "
    return [
        figure("evolve.racing.spared", what + "share of the replays that it spares",
               [1 - other.replays / one.replays for one, other in pairs], "", command=COMMAND),
        figure("evolve.racing.stopped", what + "candidates given up, of 40",
               [float(other.stopped) for _, other in pairs], "", command=COMMAND),
        figure("evolve.racing.best", what + "fitness of the best, minus that without races", gained, "bps",
               command=COMMAND),
        figure("evolve.racing.plain", "fitness of the best without races", [one.fitness for one, _ in pairs], "bps",
               command=COMMAND),
        Figure("evolve.racing.same", f"searches of {n} with the same best candidate", same, "", "", None, n, None,
               COMMAND),
    ]  # fmt: skip
