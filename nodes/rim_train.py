"""Training of the RIM: slices of worlds, edits of their policies, and what each came to on the window that follows.

A label is counterfactual: the edit is replayed on the next window, an embargo after the slice, and so is the policy as
it was; the difference of what they earn is the uplift. No label is of a row that the slice has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.collector import settle
from alphatrade.nodes.evaluate import MEMORY
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.rim_replay import PERIOD_S
from alphatrade.nodes.rim_worlds import World
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, load_tapes, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.rim.edits import Bounds
from alphatrade.reflection.rim.engines import Model, RidgeSpec, TrmSpec, fit, save
from alphatrade.reflection.rim.examples import Columns, Inputs, Labels
from alphatrade.reflection.rim.inputs import BLOCKS, COLUMNS, ROW_COLUMNS
from alphatrade.reflection.rim.paper import Paper
from alphatrade.reflection.rim.propose import Option, options, seen_of
from alphatrade.reflection.rim.slices import Slice, read_slice
from alphatrade.strategies.policy import Policy

INPUT = Columns(edit=COLUMNS, rows=ROW_COLUMNS, blocks=BLOCKS)
EMBARGO_S = 3600.0
LEAST = 50
BPS = 1e4
FIRST, WORLDS, MOST, SEED = 510_001, 240, 12, 1  # of the models that come with this version


class Cut(NamedTuple):
    """A world's tape: the part whose diary is read, and the part after it and an embargo."""

    first: Tape
    second: Tape


class Examples(NamedTuple):
    """Edits of one slice, what an engine sees of them, and what they came to."""

    options: tuple[Option, ...]
    inputs: Inputs
    uplift: tuple[float, ...]


def halves(tape: Tape, share: float = 0.5, embargo_s: float = EMBARGO_S) -> Cut:
    """Return both parts of a tape."""
    start, end = tape.span
    middle = start + int(share * (end - start))
    return Cut(tape.slice(start, middle), tape.slice(middle + int(embargo_s * 1e9), end + 1))


def diary_of(settings: Settings, tape: Tape) -> Slice:
    """Return the whole diary of a run as a slice; the run itself is thrown away."""
    with TemporaryDirectory(prefix="alphatrade-rim-", dir=MEMORY) as name:
        folder = Path(name)
        run_into(Folder(folder), settings, [tape], identity_of(settings, [tape]))
        return read_slice(folder)


def earned(policy: Policy, settings: Settings, tape: Tape) -> float:
    """Return what a policy earns on a tape, bps of the capital an hour."""
    settle()
    capital = float(settings.run.venue.starting_balance)
    came = replay(Replay(policy, [tape], settings.run), None)
    hours = (tape.span[1] - tape.span[0]) / (PERIOD_S * 1e9)
    return BPS * (float(came.equity) - capital) / capital / hours


def labelled(world: World, bounds: Bounds, most: int, seed: int) -> Examples | None:
    """
    Return some edits of a world's policy with their labels; None where there is nothing to think of.

    Parameters
    ----------
    world : World
    bounds : Bounds
    most : int
        Edits, drawn where there are more.
    seed : int
        Of drawing them.
    """
    own = world.settings
    cut = halves(load_tapes(own.run)[0])
    part = diary_of(own, cut.first)
    found = options(part, bounds, LEAST)
    if not found:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = [found[at] for at in sorted(rng.permutation(len(found))[:most].tolist())]
    base = earned(part.policy, own, cut.second)
    uplift = tuple([earned(option.child, own, cut.second) - base for option in chosen])
    return Examples(tuple(chosen), seen_of(Paper(part), chosen, bounds), uplift)


def _one(make: Callable[[int], World], bounds: Bounds, most: int, seed: int) -> Examples | None:
    return labelled(make(seed), bounds, most, seed)


def gathered(
    make: Callable[[int], World], seeds: Sequence[int], bounds: Bounds, most: int, workers: int, label: str
) -> Iterator[tuple[int, Examples]]:
    """Yield the examples of each seed's world, in the order of the seeds; with a progress bar."""
    job = partial(_one, make, bounds, most)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for seed, found in zip(seeds, tqdm(pool.map(job, seeds), label, len(seeds), disable=None), strict=True):
            if found is not None:
                yield seed, found


def stacked(found: Iterable[tuple[int, Examples]]) -> tuple[Inputs, Labels]:
    """Return examples of many slices as one table."""
    told = list(found)
    uplift = np.array([one for _, each in told for one in each.uplift])
    group = np.array([seed for seed, each in told for _ in each.uplift], np.int64)
    edit, rows = (np.concatenate([getattr(each.inputs, name) for _, each in told]) for name in ("edit", "rows"))
    return Inputs(edit, rows), Labels(uplift, uplift > 0.0, group)


def learnt(folder: Path, found: tuple[Inputs, Labels], seed: int) -> dict[str, Model]:
    """Fit both engines and write their models, ``<folder>/ridge.json`` and ``trm.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "ridge": fit("ridge", *found, RidgeSpec(), seed, INPUT),
        "trm": fit("trm", *found, TrmSpec(), seed, INPUT),
    }
    for name, model in models.items():
        save(model, folder / f"{name}.json")
    return models
