"""The peer of a search: Hydra's optuna sweeper on Hydra's joblib launcher, the same tape, cells and budget.

It lives in a venv of its own, ``.venv-optuna``, made from the hash-pinned ``benchmarks/optuna.lock``: it needs
optuna 2. Its space is flat: the topology of each regime and numbers of the genotype, in the ranges of ``conf/domain``.
Both start from the default genotype; the best of each is then replayed in the held-out cells, which neither has seen.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

from alphatrade.evolution.fitness import fitness, table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.nodes.evaluate import replays
from alphatrade.nodes.evolve import SETTINGS, grid_of, settings_again, tapes_of
from benchmarks.evolve_place import Place
from benchmarks.figures import ROOT, Figure, figure, ratios
from benchmarks.peers import venv_python

COMMAND = "make evolve-bench"
CELLS, CANDIDATES = 6, 24
COMMON = (f"search.cells={CELLS}", "search.race=null", "hydra.launcher.n_jobs=2")


def space() -> list[str]:
    """Return what the sweeper may move, as overrides."""
    domain = yaml.safe_load((ROOT / "conf" / "domain" / "default.yaml").read_text("utf-8"))
    whole = yaml.safe_load((ROOT / "conf" / "genotype" / "default.yaml").read_text("utf-8"))
    words = []
    for regime in whole["topologies"]:
        kinds = [kind for kind, own in domain["topologies"].items() if regime not in own.get("never", [])]
        words.append(f"+kinds.{regime}=choice({','.join(kinds)})")
    spans = {f"{part}__{name}": own for part, inner in domain["tunables"].items() for name, own in inner.items()}
    for name, own in spans.items():
        span = f"{own['low']},{own['high']}" if own.get("whole") else f"{float(own['low'])},{float(own['high'])}"
        tags = "log, " if own.get("log") else ""
        inner = f"range({span})" if own.get("whole") else f"interval({span})"
        words.append(f"+numbers.{name}=" + (f"tag({tags}{inner})" if tags else inner))
    return words


def _peer(folder: Path, seed: int) -> tuple[Genotype, float]:
    """Return the best genotype of a study and its candidates a minute, from when both workers had one."""
    place = Place(folder)
    job = ROOT / "benchmarks" / "optuna_job.py"
    command = [
        venv_python("optuna"), "-W", "ignore", str(job), "--multirun", "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=tpe", "hydra/launcher=peer_joblib", "hydra.sweeper.direction=maximize",
        f"hydra.sweeper.n_trials={CANDIDATES}", "hydra.sweeper.n_jobs=2", f"hydra.sweeper.sampler.seed={seed}",
        f"hydra.sweep.dir={folder}/study", *COMMON, *space(),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=place.env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"optuna: exit {done.returncode}: {' | '.join(done.stderr.strip().splitlines()[-4:])}")
    files = sorted((folder / "study").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    told = [json.loads(path.read_bytes()) for path in files]
    if len(told) != CANDIDATES:
        raise RuntimeError(f"optuna: {len(told)} candidates, {CANDIDATES} expected")
    best = max(told, key=lambda one: one["fitness"])
    return Genotype.model_validate(best["genotype"]), _rate(files)


def _own(folder: Path, seed: int) -> tuple[Genotype, float, Path]:
    """Return the best genotype of a search, its candidates a minute, and its folder."""
    place = Place(folder)
    third = CANDIDATES // 3
    sizes = (f"search.parents={third}", f"search.children={third}", "search.generations=2", f"search.seed={seed}")
    summary = place.run("hydra/launcher=joblib", *COMMON, *sizes)
    best = next(leaf for leaf in place.leaves() if leaf["genotype_hash"] == summary["best"][0])
    return Genotype.model_validate(best["genotype"]), _rate(place.outcomes()), place.folder


def _rate(files: list[Path]) -> float:
    ended = sorted(path.stat().st_mtime_ns for path in files)
    return (len(ended) - 2) / ((ended[-1] - ended[1]) / 60e9)


def _held_out(genotype: Genotype, folder: Path) -> float:
    """Return the fitness of a genotype in the cells that no search may see."""
    own = settings_again(json.loads((folder / SETTINGS).read_bytes()), genotype)
    tapes = tapes_of(own.settings)
    cells = [cell for cell in grid_of(tapes, own.grid) if cell.holdout]
    return fitness(table(develop(genotype), cells, replays(own.settings, tapes, own.grid.period_s), own.grid.least))


def optuna(seeds: int = 3) -> list[Figure]:
    """Return fitness out of sample and candidates a minute of both, and over each other, in pairs by seed."""
    best: dict[str, list[float]] = {"search": [], "optuna": []}
    rate: dict[str, list[float]] = {"search": [], "optuna": []}
    with tempfile.TemporaryDirectory(prefix="alphatrade-optuna-") as root:
        for seed in range(1, seeds + 1):
            began = time.monotonic()
            genotype, fast, folder = _own(Path(root) / f"search-{seed}", seed)
            other, peer = _peer(Path(root) / f"optuna-{seed}", seed)
            for name, one, speed in (("search", genotype, fast), ("optuna", other, peer)):
                best[name].append(_held_out(one, folder))
                rate[name].append(speed)
            print(f"   optuna: seed {seed} of {seeds}, {time.monotonic() - began:.0f} s", flush=True)
    rows = []
    for name, label in (("search", "alphatrade evolve"), ("optuna", "Hydra's optuna sweeper (TPE) on joblib")):
        what = f"{label}: fitness of the best of {CANDIDATES} in the held-out cells"
        rows.append(figure(f"evolve.peer.{name}.fitness", what, best[name], "bps", command=COMMAND))
        what = f"{label}: candidates a minute on two workers"
        rows.append(figure(f"evolve.peer.{name}.rate", what, rate[name], "/min", command=COMMAND))
    what = "candidates a minute over those of Hydra's optuna sweeper"
    rows.append(figure("evolve.peer.ratio", what, ratios(rate["search"], rate["optuna"]), "x", command=COMMAND))
    return rows
