"""Ridge regression on aggregates, the simple rival: one linear map to the uplift, another to whether no-op is beaten.

It sees the standardised numbers of an edit and, of the decision rows, the mean of each column. The penalties are
chosen by grouped cross-validation, each head its own.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from alphatrade.reflection.rim.examples import (
    Inputs,
    Labels,
    Scale,
    Target,
    fit_scale,
    fit_target,
    scaled,
    standard,
    take,
)
from alphatrade.reflection.rim.linear import Floats, Ints, Matrix, Vector, add_columns, add_product, solve
from alphatrade.strategies.policy import Positive, Spec

Arrays = dict[str, Floats]
HEADS = ("uplift", "beat")


class RidgeSpec(Spec):
    """
    How the ridge learns.

    Attributes
    ----------
    folds : int
        Of groups, for the penalties and the calibration.
    penalties : tuple of float
        Tried, per example, on inputs of unit variance; the largest leaves hardly more than the mean.
    winsor : float
        Share of the uplifts cut at either end.
    rows : bool
        Whether it sees the decision rows.
    """

    folds: Annotated[int, Field(ge=2, le=20)] = 5
    penalties: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=64)] = (
        0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0,
    )  # fmt: skip
    winsor: Annotated[float, Field(ge=0, le=0.25)] = 0.01
    rows: bool = True


def _design(inputs: Inputs, scale: Scale, spec: RidgeSpec) -> Matrix:
    """Return what the ridge sees of each example, (n, k)."""
    edit, rows = standard(inputs, scale)
    count, blocks, wide = rows.shape
    if not spec.rows or blocks * wide == 0:
        return edit
    pooled = np.zeros((count, wide))
    for block in range(blocks):
        pooled += rows[:, block]
    return np.ascontiguousarray(np.concatenate([edit, pooled / blocks], axis=1))


class _Fitted:
    """Ridges of all penalties on one set of examples; the columns are centred, so that the intercept is the mean."""

    def __init__(self, inputs: Inputs, labels: Labels, spec: RidgeSpec) -> None:
        self.spec, self.scale = spec, fit_scale(inputs)
        self.target = fit_target(labels.uplift, spec.winsor)
        design = _design(inputs, self.scale, spec)
        count, wide = design.shape
        goals = np.stack([scaled(labels.uplift, self.target), labels.beat.astype(np.float64)], axis=1)
        self.centre, means = np.zeros(wide), np.zeros(2)
        add_columns(design, self.centre)
        add_columns(goals, means)
        self.centre /= count
        means /= count
        apart = design - self.centre
        gram, right = np.zeros((wide, wide)), np.zeros((wide, 2))
        add_product(apart.T, apart, gram)
        add_product(apart.T, np.ascontiguousarray(goals - means), right)
        self.weights = np.zeros((len(spec.penalties), 1 + wide, 2))
        room, out = np.zeros((wide, wide)), np.zeros(wide)
        for at, penalty in enumerate(spec.penalties):
            for head in range(2):
                solve(gram / count, np.ascontiguousarray(right[:, head]) / count, penalty, room, out)
                self.weights[at, 0, head], self.weights[at, 1:, head] = means[head], out

    def say(self, inputs: Inputs) -> Floats:
        """Return what each penalty's ridge says of each example, (penalties, n, 2)."""
        design = _design(inputs, self.scale, self.spec) - self.centre
        return np.stack([_say(design, weights) for weights in self.weights])


def _say(apart: Matrix, weights: Matrix) -> Matrix:
    out = np.zeros((len(apart), 2))
    out += weights[0]
    add_product(apart, np.ascontiguousarray(weights[1:]), out)
    return out


def learn(inputs: Inputs, labels: Labels, fold: Ints, spec: RidgeSpec) -> tuple[Arrays, Vector]:
    """
    Learn from checked examples; nothing is drawn.

    Returns
    -------
    dict of ndarray
        The model's arrays, as :func:`answer` takes them.
    ndarray of float64, shape (n,)
        Out-of-fold scores, for the calibration.
    """
    said = np.zeros((len(spec.penalties), len(fold), 2))
    miss = np.zeros((len(spec.penalties), 2))
    for out in np.unique(fold).tolist():
        held, rest = fold == out, fold != out
        kept = Labels(labels.uplift[rest], labels.beat[rest], labels.group[rest])
        fitted = _Fitted(take(inputs, rest), kept, spec)
        said[:, held] = fitted.say(take(inputs, held))
        goals = np.stack([scaled(labels.uplift[held], fitted.target), labels.beat[held].astype(np.float64)], axis=1)
        for at in range(len(miss)):
            add_columns((said[at, held] - goals) ** 2, miss[at])
    best = [int(np.argmin(miss[:, head])) for head in range(2)]
    whole = _Fitted(inputs, labels, spec)
    arrays: Arrays = {
        "scale_edit": whole.scale.edit, "scale_rows": whole.scale.rows, "target": np.array(whole.target),
        "centre": whole.centre, "weights": np.stack([whole.weights[best[head], :, head] for head in range(2)], axis=1),
        "penalties": np.array([spec.penalties[at] for at in best]),
    }  # fmt: skip
    return arrays, np.ascontiguousarray(said[best[1], :, 1])


def answer(inputs: Inputs, arrays: Arrays, spec: RidgeSpec) -> tuple[Vector, Vector]:
    """Return the expected uplift (n,), bps per hour, and the raw score (n,) of checked inputs."""
    scale, target = Scale(arrays["scale_edit"], arrays["scale_rows"]), Target(*arrays["target"].tolist())
    said = _say(_design(inputs, scale, spec) - arrays["centre"], arrays["weights"])
    return target.mean + target.spread * said[:, 0], np.ascontiguousarray(said[:, 1])


def shapes(edit: int, blocks: int, wide: int, spec: RidgeSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's arrays."""
    seen = edit + (wide if spec.rows and blocks else 0)
    return {
        "scale_edit": (2, edit), "scale_rows": (2, wide), "target": (4,), "centre": (seen,),
        "weights": (1 + seen, 2), "penalties": (2,),
    }  # fmt: skip
