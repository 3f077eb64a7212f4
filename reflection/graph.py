"""Health of the graph that fast weights span: degrees, Gini, modularity, core and periphery, collapse, over-smoothing.

The graph: belief units, joined where one of the strongest synapses lies that together carry most of the absolute
weight; direction, sign and a unit's synapse on itself are left out. A figure on so small a graph proves nothing by
itself, so each has a z-score against seeded random graphs. Modularity, core and the Gini of strengths are compared with
graphs of the same degrees (edge swaps, Maslov and Sneppen 2002; weights dealt anew); the highest over the mean degree,
which those cannot change, with graphs of the same number of edges (Erdos and Renyi 1959). At 32 to 128 units nothing
can be said about a power law ("scale-free"), and nothing is.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alphatrade.risk.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Band = tuple[float | None, float | None]
Share = Annotated[float, Field(gt=0, lt=1)]

SWAPS = 10  # tries of a swap for each edge of a null graph
LEAST_EDGES = 10  # below, a z-score means nothing
_DIGITS = 9
FIGURES = ("gini", "max_over_mean", "modularity", "core")


class GraphSpec(BaseModel):
    """How the graph is measured, and what is an alert; see ``conf/graph.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Share = 0.9
    nulls: Annotated[int, Field(ge=100, le=100_000)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    bound: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    collapse: Share = 0.01
    variation: Annotated[float, Field(ge=0, le=100)] = 0.5
    concentration: Annotated[float, Field(gt=0, le=1)] = 0.99
    bands: dict[Literal["gini", "max_over_mean", "modularity_z", "core_z"], Band] = {}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in self.bands.items():
            if low is not None and high is not None and low > high:
                raise ConfigError(f"graph.bands.{name}", [low, high], "low before high")
        return self


class Measure(NamedTuple):
    """A figure beside the mean and standard deviation of its null graphs; `z` is None where it means nothing."""

    value: float
    null_mean: float | None
    null_std: float | None
    z: float | None
    null: str


class Health(NamedTuple):
    """
    What is known of one graph.

    Attributes
    ----------
    n, synapses, loops : int
        Belief units, synapses that are not zero, and those of a unit on itself.
    norm, bound : float
        Frobenius norm of the synapses, and the largest that it may have.
    variation : float
        Standard deviation over mean of the absolute weights between the units that have any.
    concentration : float
        Share of the squared norm in the first singular value.
    units, edges : int
        Units with an edge, and edges of the graph.
    threshold : float
        Smallest absolute weight kept.
    degrees, strengths : tuple
        Edges, and absolute weight of all synapses, of each of the n units.
    groups : tuple of int
        Community of each unit (Leiden); -1 without an edge.
    measures : dict of str to Measure
    alerts : tuple of str
    """

    n: int
    synapses: int
    loops: int
    norm: float
    bound: float
    variation: float
    concentration: float
    units: int
    edges: int
    threshold: float
    degrees: tuple[int, ...]
    strengths: tuple[float, ...]
    groups: tuple[int, ...]
    measures: dict[str, Measure]
    alerts: tuple[str, ...]


def diagnose(sigma: Floats, spec: GraphSpec) -> Health:
    """
    Measure and judge one matrix of synapses.

    Parameters
    ----------
    sigma : ndarray of float64, shape (n, n)
        Post x pre.
    spec : GraphSpec

    Raises
    ------
    ConfigError
        If igraph is not installed.
    """
    size = np.abs(sigma)
    bare = size - np.diag(np.diag(size))
    strengths = bare.sum(axis=0) + bare.sum(axis=1)
    pairs, weights, threshold = backbone(bare, spec.keep)
    norm = float(np.sqrt((sigma * sigma).sum()))
    measures, groups = _measured(len(sigma), pairs, weights, spec) if len(pairs) else ({}, [-1] * len(sigma))
    degrees = np.bincount(pairs.ravel(), minlength=len(sigma))
    found = Health(
        n=len(sigma),
        synapses=int((size > 0).sum()),
        loops=int((np.diag(size) > 0).sum()),
        norm=_round(norm),
        bound=spec.bound,
        variation=_round(variation(bare)),
        concentration=_round(concentration(sigma)),
        units=int((degrees > 0).sum()),
        edges=len(pairs),
        threshold=threshold,
        degrees=tuple(degrees.tolist()),
        strengths=tuple(map(_round, strengths.tolist())),
        groups=tuple(groups),
        measures=measures,
        alerts=(),
    )
    return found._replace(alerts=tuple(alerts(found, spec)))


def backbone(bare: Floats, keep: float) -> tuple[Ints, Floats, float]:
    """
    Return the edges that carry most of the weight.

    Parameters
    ----------
    bare : ndarray, shape (n, n)
        Absolute weights, zeros in the diagonal.
    keep : float
        Share of the absolute weight that the kept synapses carry at least; the strongest first, and
        those that are equal to the weakest of them.

    Returns
    -------
    pairs : ndarray of int64, shape (m, 2)
        Lower unit first, each pair once.
    weights : ndarray of float64, shape (m,)
        Of all synapses between the two.
    threshold : float
        Smallest absolute weight kept; 0 without any.
    """
    n, flat = len(bare), bare.ravel()
    order = np.argsort(-flat, kind="stable")
    order = order[flat[order] > 0.0]
    if not len(order):
        return np.empty((0, 2), np.int64), np.empty(0), 0.0
    carried = np.cumsum(flat[order])
    threshold = float(flat[order[int(np.searchsorted(carried, keep * carried[-1]))]])
    kept = np.flatnonzero(flat >= threshold)
    ends = np.sort(np.column_stack((kept // n, kept % n)), axis=1)
    pairs = np.unique(ends, axis=0).astype(np.int64)
    both = bare + bare.T
    return pairs, both[pairs[:, 0], pairs[:, 1]], threshold


def variation(bare: Floats) -> float:
    """Return standard deviation over mean of the weights between units that have any; 0 without weights."""
    live = np.flatnonzero(bare.any(axis=0) | bare.any(axis=1))
    if len(live) < 2:
        return 0.0
    block = bare[np.ix_(live, live)][~np.eye(len(live), dtype=bool)]
    return float(block.std() / block.mean())


def concentration(sigma: Floats) -> float:
    """Return the share of the squared norm in the first singular value, in [0, 1]; 0 without weights."""
    values = np.linalg.svd(sigma, compute_uv=False) ** 2
    return float(values[0] / values.sum()) if values.sum() > 0.0 else 0.0


def gini(values: Floats) -> float:
    """Return the Gini coefficient of values >= 0: 0 where all are equal, near 1 where one has all (Gini 1912)."""
    ordered, count = np.sort(values), len(values)
    total = float(ordered.sum())
    if total <= 0.0:
        return 0.0
    return float(((2.0 * np.arange(1, count + 1) - count - 1.0) * ordered).sum() / (count * total))


def coreness(n: int, pairs: Ints, degrees: Ints) -> float:
    """
    Return how well the best core and periphery fit (Borgatti and Everett 2000), a correlation in [-1, 1].

    Ideal: every two units of the core are joined, no two of the periphery are; what joins the two does not count.
    Cores tried are the k units of highest degree for every k: those with the fewest misfits of their size (Lip 2011).
    """
    rank = np.empty(n, np.int64)
    rank[np.argsort(-degrees, kind="stable")] = np.arange(n)
    ends = rank[pairs]
    sizes = np.arange(2, n - 1)  # two at least on each side
    inner = np.searchsorted(np.sort(ends.max(axis=1)), sizes, "left").astype(float)  # edges within the core
    outer = len(ends) - np.searchsorted(np.sort(ends.min(axis=1)), sizes, "left").astype(float)
    core, rest = sizes * (sizes - 1) / 2.0, (n - sizes) * (n - sizes - 1) / 2.0
    joined, all_pairs = inner + outer, core + rest
    under = core * rest * joined * (all_pairs - joined)
    over = inner * (rest - outer) - (core - inner) * outer
    fit = np.where(under > 0.0, over / np.sqrt(np.maximum(under, 1.0)), -1.0)
    return float(fit.max()) if len(fit) else 0.0


def alerts(found: Health, spec: GraphSpec) -> Iterator[str]:
    """Yield what is wrong with a graph, a line each."""
    if found.norm < spec.collapse * found.bound:
        yield f"collapse: norm {found.norm:.3g}, below {spec.collapse:g} of its bound {found.bound:g}"
        return  # of a graph that is not there nothing more can be said
    if found.variation < spec.variation:
        yield f"over-smoothing: variation of the weights {found.variation:.3g}, below {spec.variation:g}"
    if found.concentration > spec.concentration:
        share = f"{found.concentration:.4g} of the squared norm in one direction"
        yield f"over-smoothing: {share}, above {spec.concentration:g}"
    for name, (low, high) in sorted(spec.bands.items()):
        measure = found.measures.get(name.removesuffix("_z"))
        value = None if measure is None else measure.z if name.endswith("_z") else measure.value
        if value is None:
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            ends = " to ".join("open" if end is None else f"{end:g}" for end in (low, high))
            yield f"{name}: {value:.3g}, outside {ends}"


def _measured(n: int, pairs: Ints, weights: Floats, spec: GraphSpec) -> tuple[dict[str, Measure], list[int]]:
    """Return each figure beside its null graphs, and the communities."""
    try:
        import igraph
    except ImportError:
        raise ConfigError("igraph", "not installed", "the extra learn: pip install 'alphatrade[learn]'") from None
    live = np.unique(pairs)  # a unit without an edge is in no graph, or chance would be compared with another one
    whole, n, pairs = n, len(live), np.searchsorted(live, pairs)
    graph = igraph.Graph(n=n, edges=pairs.tolist())
    with _seeded(igraph, spec.seed):
        groups = _leiden(graph)
        degrees = np.array(graph.degree(), np.int64)
        own = {
            "gini": gini(_strengths(n, pairs, weights)),
            "max_over_mean": float(degrees.max() / degrees.mean()),
            "modularity": float(graph.modularity(groups)),
            "core": coreness(n, pairs, degrees),
        }
        nulls: dict[str, list[float]] = {name: [] for name in own}
        dealer = np.random.Generator(np.random.PCG64(spec.seed))
        for _ in range(spec.nulls if len(pairs) >= LEAST_EDGES else 0):
            other = graph.copy()
            other.rewire(SWAPS * len(pairs))
            ends = np.array(other.get_edgelist(), np.int64)
            nulls["gini"].append(gini(_strengths(n, ends, dealer.permutation(weights))))
            nulls["modularity"].append(float(other.modularity(_leiden(other))))
            nulls["core"].append(coreness(n, ends, degrees))
            chance = np.array(igraph.Graph.Erdos_Renyi(n=n, m=len(pairs)).degree())
            nulls["max_over_mean"].append(float(chance.max() / chance.mean()))
    of = dict.fromkeys(own, "degrees") | {"max_over_mean": "number of edges"}
    community = np.full(whole, -1)
    community[live] = groups
    return {name: _beside(own[name], nulls[name], of[name]) for name in FIGURES}, community.tolist()


def _leiden(graph: Any) -> list[int]:
    found: list[int] = graph.community_leiden(objective_function="modularity", n_iterations=10).membership
    return found


def _strengths(n: int, pairs: Ints, weights: Floats) -> Floats:
    return np.bincount(pairs.ravel(), np.repeat(weights, 2), n)


def _beside(value: float, nulls: list[float], null: str) -> Measure:
    if not nulls:
        return Measure(_round(value), None, None, None, null)
    mean, std = float(np.mean(nulls)), float(np.std(nulls, ddof=1))
    z = _round((value - mean) / std) if std > 1e-9 else None
    return Measure(_round(value), _round(mean), _round(std), z, null)


@contextmanager
def _seeded(igraph: Any, seed: int) -> Iterator[None]:
    """Let igraph draw from a generator of our own, and give it back its usual one."""
    igraph.set_random_number_generator(random.Random(seed))
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)


def _round(value: float) -> float:
    return round(float(value), _DIGITS)
