"""The numbers that an engine sees of an edit: the edit itself, the aggregates that it bears on, and the last rows.

Aggregates are taken per tactic and regime over the whole slice, and put together over the places that an edit touches
(:func:`~alphatrade.reflection.rim.edits.touched`). All are of order one, whatever the market. Sums are exact
(``math.fsum``), so that the numbers are the same on every CPU.
"""

from collections.abc import Sequence
from math import fsum, sqrt

import numpy as np

from alphatrade.reflection.rim.edits import (
    Bounds,
    DisableTactic,
    Edit,
    RouteWeight,
    TacticParameter,
    TightenRisk,
    parameter,
    touched,
)
from alphatrade.reflection.rim.paper import Floats, Paper
from alphatrade.reflection.rim.slices import ROWS, Slice
from alphatrade.strategies.policy import Policy
from alphatrade.strategies.topologies import BUILT_IN

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
BLOCKS = 8  # of the last rows
PARTS = 12  # of the slice, to see how steady something is
KINDS = ("route_weight", "tactic_parameter", "tighten_risk", "disable_tactic")
TOPOLOGIES = tuple(BUILT_IN)
PAPER = ("gain", "steady", "wins", "early", "late", "own", "edited", "trades_own", "trades_edited")
REAL = ("filled", "markout", "markout_t", "cost")
MARKET = ("trending_5", "trending_20", "follows", "drift_t", "spread", "confidence")
STEP = ("weight", "up", "down")
COLUMNS = (
    *[f"edit_{kind}" for kind in KINDS], *[f"to_{kind}" for kind in TOPOLOGIES],
    *[f"from_{kind}" for kind in TOPOLOGIES],
    "rows", "flow", *STEP, *[f"paper_{name}" for name in PAPER], *[f"real_{name}" for name in REAL], *MARKET,
)  # fmt: skip
ROW_COLUMNS = ("return", "move", "here", "filled", "outcome", "gain", "spread", "confidence")
MOST = 8.0  # beyond which a number says no more


def inputs(paper: Paper, edit: Edit, child: Policy, bounds: Bounds) -> tuple[Floats, Floats]:
    """
    Return what an engine sees of one edit.

    Parameters
    ----------
    paper : Paper
        Of the slice.
    edit : Edit
    child : Policy
        What it makes of the slice's policy.
    bounds : Bounds
        In whose spans a parameter is measured.

    Returns
    -------
    ndarray, shape (len(COLUMNS),)
    ndarray, shape (BLOCKS, len(ROW_COLUMNS))
        The last rows, averaged in blocks, the last block at the end.
    """
    rows, policy = paper.part.rows, paper.part.policy
    here = _here(paper.part, edit)
    gain = paper.policy(child) - paper.policy(policy)
    notional = rows["notional"].tolist()
    total = fsum(notional)
    flow = fsum(rows["notional"].to_numpy()[here].tolist()) / total if total else 0.0
    found = [
        *_edit(policy, edit, child), _mean(here.astype(np.float64)), flow,
        *_step(policy, edit, bounds), *_on_paper(paper, child, gain), *_real(paper, here), *_market(paper, here),
    ]  # fmt: skip
    return np.clip(np.array(found), -MOST, MOST), _last(paper, gain, here)


def flow_share(part: Slice, edit: Edit) -> float:
    """Return the share of the slice's traded notional that an edit bears on; of a slice without trades, all."""
    notional = part.rows["notional"].to_numpy()
    total = fsum(notional.tolist())
    return fsum(notional[_here(part, edit)].tolist()) / total if total else 1.0


def _here(part: Slice, edit: Edit) -> Mask:
    """Return which rows lie in a place that the edit touches."""
    regimes = {regime for _, regime in touched(part.policy, edit)}
    here: Mask = part.rows["regime"].isin(regimes).to_numpy()
    return here


def _edit(policy: Policy, edit: Edit, child: Policy) -> list[float]:
    """Return what is done, by which topology and instead of which, one-hot."""
    places = touched(policy, edit)
    before = {policy.topologies[tactic].kind for tactic, _ in places}
    after = {child.topologies[child.router.table[regime]].kind for _, regime in places}
    kinds = [float(edit.kind == kind) for kind in KINDS]
    return kinds + [float(kind in after) for kind in TOPOLOGIES] + [float(kind in before) for kind in TOPOLOGIES]


def _step(policy: Policy, edit: Edit, bounds: Bounds) -> list[float]:
    """Return how far the edit goes: weight, and how far up or down in the span of a parameter."""
    if isinstance(edit, RouteWeight):
        return [edit.weight, 0.0, 0.0]
    if isinstance(edit, TacticParameter):
        reach = bounds.parameters[policy.topologies[edit.tactic].kind][edit.parameter]
        moved = (edit.value - parameter(policy, edit.tactic, edit.parameter)) / (reach.high - reach.low)
        return [1.0, max(moved, 0.0), max(-moved, 0.0)]
    return [0.0 if isinstance(edit, DisableTactic | TightenRisk) else 1.0, 0.0, 0.0]


def _on_paper(paper: Paper, child: Policy, gain: Floats) -> list[float]:
    """Return how much the edit gains on paper, how steadily, and what both earn; in units of the market's moves."""
    unit = _unit(paper)
    parts = [fsum(part.tolist()) for part in np.array_split(gain, PARTS)]
    mean, half = fsum(parts) / PARTS, PARTS // 2
    spread = sqrt(fsum([(part - mean) ** 2 for part in parts]) / (PARTS - 1))
    own, edited = (paper.policy(policy) for policy in (paper.part.policy, child))
    scale = 1.0 / (unit * sqrt(len(gain)))
    return [
        fsum(parts) * scale, mean / spread * sqrt(PARTS) if spread > 0.0 else 0.0,
        fsum([float(part > 0.0) for part in parts]) / PARTS, fsum(parts[:half]) * scale, fsum(parts[half:]) * scale,
        fsum(own.tolist()) * scale, fsum(edited.tolist()) * scale,
        _mean((own != 0.0).astype(np.float64)), _mean((edited != 0.0).astype(np.float64)),
    ]  # fmt: skip


def _real(paper: Paper, here: Mask) -> list[float]:
    """Return what came of the fills in the places that are touched."""
    rows = paper.part.rows
    filled = here & (rows["fills"].to_numpy() > 0)
    outcome = rows[f"markout_{paper.part.policy.expost.primary}"].to_numpy()
    known = outcome[filled & ~np.isnan(outcome)].tolist()
    share = _mean(filled.astype(np.float64))
    step = 1e4 * _mean(np.abs(paper.returns)) or 1.0
    if len(known) < 2:
        return [share, 0.0, 0.0, 0.0]
    mean = fsum(known) / len(known)
    spread = sqrt(fsum([(one - mean) ** 2 for one in known]) / (len(known) - 1))
    cost = fsum(rows["cost_bps"].to_numpy()[filled].tolist()) / max(1, int(filled.sum()))
    return [share, mean / step, mean / spread * sqrt(len(known)) if spread > 0.0 else 0.0, cost / step]


def _market(paper: Paper, here: Mask) -> list[float]:
    """Return whether prices went on or came back in these rows, and what it costs to trade there."""
    returns, rows = paper.returns, paper.part.rows
    inside = returns[here]
    if len(inside) < 40:
        return [0.0] * len(MARKET)
    square = fsum((inside * inside).tolist())
    if square <= 0.0:
        return [0.0] * len(MARKET)
    moves = []
    for span in (5, 20):
        whole = inside[: len(inside) // span * span].reshape(-1, span)
        sums = [fsum(part) for part in whole.tolist()]
        moves.append(fsum([one * one for one in sums]) / square - 1.0)  # variance ratio less 1 (Lo & MacKinlay 1988)
    follows = fsum((inside[1:] * inside[:-1]).tolist()) / square
    drift = fsum(inside.tolist()) / sqrt(square)
    spread = _mean((rows["spread"] / rows["mid"]).to_numpy()[here]) / sqrt(square / len(inside))
    return [*moves, follows, drift, spread, _mean(rows["regime_confidence"].to_numpy()[here])]


def _last(paper: Paper, gain: Floats, here: Mask) -> Floats:
    """Return the last rows in blocks."""
    rows, n = paper.part.rows, min(ROWS, len(gain))
    scale = 1.0 / np.maximum(paper.vol, 1e-12)
    outcome = np.nan_to_num(rows[f"markout_{paper.part.policy.expost.primary}"].to_numpy())
    columns = [
        paper.returns * scale, np.abs(paper.returns) * scale, here.astype(np.float64),
        (rows["fills"].to_numpy() > 0).astype(np.float64), outcome / 1e4 * scale, gain / _unit(paper),
        (rows["spread"] / rows["mid"]).to_numpy() * scale, rows["regime_confidence"].to_numpy(),
    ]  # fmt: skip
    table = np.clip(np.column_stack(columns)[-n:], -MOST, MOST)
    return np.array([[_mean(column) for column in block.T] for block in np.array_split(table, BLOCKS)])


def _unit(paper: Paper) -> float:
    """Return what a full clip earns or loses when the price makes its usual move, bps of the capital."""
    return max(1e-9, 1e4 * sqrt(fsum((paper.returns * paper.clip) ** 2) / len(paper.returns)))


def _mean(values: Sequence[float] | Floats) -> float:
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return fsum(plain) / len(plain) if plain else 0.0
