"""What an engine learns from and answers: inputs, labels, predictions; checked, scaled and cut into folds."""

import hashlib
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from alphatrade.reflection.rim.linear import Bools, Floats, Ints, Matrix, Vector, add_columns
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

MOST = 6.0  # standard deviations: inputs are cut there, one wild number decides nothing
HUGE = 1e100  # and there before anything else: a square of it is still a number


class Inputs(NamedTuple):
    """
    What is known of n candidate edits.

    Attributes
    ----------
    edit : ndarray of float64, shape (n, d)
        What an edit is, and the aggregates that it bears on.
    rows : ndarray of float64, shape (n, b, c)
        The slice's last decision rows, pooled into b blocks of c numbers.
    """

    edit: Matrix
    rows: Floats


class Labels(NamedTuple):
    """
    What became of n edits on the next, embargoed window.

    Attributes
    ----------
    uplift : ndarray of float64, shape (n,)
        Net outcome with the edit less that without it, bps of capital per hour.
    beat : ndarray of bool, shape (n,)
        Whether that is above 0.
    group : ndarray of int64, shape (n,)
        Slice (or world) that an example is of; folds are cut between groups, never within one.
    """

    uplift: Vector
    beat: Bools
    group: Ints


class Prediction(NamedTuple):
    """
    What an engine expects of n edits.

    Attributes
    ----------
    uplift : ndarray of float64, shape (n,)
        Bps of capital per hour.
    confidence : ndarray of float64, shape (n,)
        Calibrated probability that an edit beats no-op, within (0, 1).
    """

    uplift: Vector
    confidence: Vector


class Columns(Spec):
    """Names of the numbers in `Inputs.edit` and in a block of `Inputs.rows`, number of blocks, and their version."""

    edit: Annotated[tuple[str, ...], Field(min_length=1, max_length=4096)]
    rows: Annotated[tuple[str, ...], Field(max_length=1024)] = ()
    blocks: Annotated[int, Field(ge=0, le=256)] = 0
    version: Annotated[int, Field(ge=0, le=2**31)] = 1


class Scale(NamedTuple):
    """Means and standard deviations of the columns of `Inputs.edit` (2, d), and of a block of `Inputs.rows` (2, c)."""

    edit: Matrix
    rows: Matrix


class Target(NamedTuple):
    """How an uplift is cut and scaled: lowest and highest, bps per hour; then mean and standard deviation."""

    low: float
    high: float
    mean: float
    spread: float


def name_columns(inputs: Inputs) -> Columns:
    """Return columns named after their places."""
    if np.ndim(inputs.edit) != 2 or np.ndim(inputs.rows) != 3 or inputs.edit.shape[1] == 0:
        found = [np.shape(part) for part in inputs]
        raise ConfigError("inputs", found, "edit (n, d), with d at least 1, and rows (n, b, c)")
    _, blocks, wide = inputs.rows.shape
    edit = tuple(f"edit{at}" for at in range(inputs.edit.shape[1]))
    return Columns(edit=edit, rows=tuple(f"row{at}" for at in range(wide)), blocks=blocks)


def check_inputs(inputs: Inputs, columns: Columns) -> Inputs:
    """
    Return `inputs` as arrays in C order, cut at `HUGE`, without negative zeros.

    Raises
    ------
    ConfigError
        If a width is not that of `columns`, or a number is not finite.
    """
    edit, rows = np.asarray(inputs.edit, np.float64), np.asarray(inputs.rows, np.float64)
    wanted = {"inputs.edit": (len(columns.edit),), "inputs.rows": (columns.blocks, len(columns.rows))}
    for (field, shape), found in zip(wanted.items(), (edit, rows), strict=True):
        if found.ndim == 0 or found.shape[1:] != shape or len(found) != len(edit):
            raise ConfigError(field, found.shape, f"shape {('n', *shape)}, the same n in both".replace("'", ""))
        if not np.isfinite(found).all():
            raise ConfigError(field, float(found[~np.isfinite(found)][0]), "finite numbers")
    edit, rows = (np.ascontiguousarray(np.clip(found, -HUGE, HUGE) + 0.0) for found in (edit, rows))
    return Inputs(edit, rows)


def check_labels(labels: Labels, count: int) -> Labels:
    """
    Return `labels` as arrays of their types.

    Raises
    ------
    ConfigError
        If there are not `count` of each, an uplift is not finite or absurd, or `beat` says something else than it.
    """
    for field, values in zip(Labels._fields, labels, strict=True):
        if np.shape(values) != (count,):
            raise ConfigError(f"labels.{field}", np.shape(values), f"one label for each of {count} examples")
    uplift = np.asarray(labels.uplift, np.float64) + 0.0
    beat, group = np.asarray(labels.beat), np.asarray(labels.group)
    if (absurd := ~(np.abs(uplift) <= HUGE)).any():
        raise ConfigError("labels.uplift", float(uplift[absurd][0]), f"finite numbers within {HUGE:g}")
    if beat.dtype != np.bool_ or not np.array_equal(beat, uplift > 0):
        raise ConfigError("labels.beat", beat.dtype.name, "bool, true where the uplift is above 0 and nowhere else")
    if not np.issubdtype(group.dtype, np.integer):
        raise ConfigError("labels.group", group.dtype.name, "integers")
    return Labels(uplift, beat, group.astype(np.int64))


def digest(inputs: Inputs, labels: Labels) -> str:
    """Return the sha256 of all examples, in hex."""
    whole = hashlib.sha256()
    for values in (*inputs, *labels):
        little = values.astype(values.dtype.newbyteorder("<"))
        whole.update(f"{little.dtype.str}{little.shape}".encode() + little.tobytes())
    return whole.hexdigest()


def take(inputs: Inputs, places: Ints | Bools) -> Inputs:
    """Return the examples at `places`."""
    return Inputs(inputs.edit[places], inputs.rows[places])


def cut(group: Ints, folds: int, seed: int) -> Ints:
    """
    Return the fold of each example, shape (n,); all of a group are in one, and folds are about equally large.

    Raises
    ------
    ConfigError
        If there are fewer groups than two: nothing could be judged out of sample.
    """
    names, sizes = np.unique(group, return_counts=True)
    if len(names) < 2:
        raise ConfigError("labels.group", len(names), "at least two groups, to judge one by the other")
    filled = [0] * min(folds, len(names))
    fold_of = np.zeros(len(names), np.int64)
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    for at in sorted(drawn.tolist(), key=lambda one: -int(sizes[one])):  # the largest first, equals as drawn
        fold_of[at] = filled.index(min(filled))
        filled[fold_of[at]] += int(sizes[at])
    return fold_of[np.searchsorted(names, group)]


def _moments(table: Matrix) -> Matrix:
    """Return mean and standard deviation of each column, (2, columns); 1 for one that never changes."""
    out = np.zeros((2, table.shape[1]))
    add_columns(table, out[0])
    out[0] /= max(1, len(table))
    add_columns((table - out[0]) ** 2, out[1])
    out[1] = np.sqrt(out[1] / max(1, len(table)))
    out[1][out[1] <= 1e-12 * np.maximum(1.0, np.abs(out[0]))] = 1.0
    return out


def fit_scale(inputs: Inputs) -> Scale:
    """Return the scale of `inputs`; a column means the same in every block, and has one."""
    wide = inputs.rows.shape[2]
    rows = np.ascontiguousarray(inputs.rows.reshape(len(inputs.rows) * inputs.rows.shape[1], wide))
    return Scale(_moments(inputs.edit), _moments(rows))


def standard(inputs: Inputs, scale: Scale) -> Inputs:
    """Return `inputs` in standard deviations from their means, cut at `MOST`."""
    edit = np.clip((inputs.edit - scale.edit[0]) / scale.edit[1], -MOST, MOST)
    return Inputs(edit, np.clip((inputs.rows - scale.rows[0]) / scale.rows[1], -MOST, MOST))


def fit_target(uplift: Vector, winsor: float) -> Target:
    """Return how uplifts are cut, a share of `winsor` at either end, and scaled."""
    ordered = np.sort(uplift)
    beyond = int(winsor * len(ordered))
    low, high = float(ordered[beyond]), float(ordered[-1 - beyond])
    mean, spread = _moments(np.clip(uplift, low, high)[:, None])[:, 0].tolist()
    return Target(low, high, mean, spread)


def scaled(uplift: Vector, target: Target) -> Vector:
    """Return uplifts as they are learnt: cut, in standard deviations from the mean."""
    return (np.clip(uplift, target.low, target.high) - target.mean) / target.spread
