"""Compiled arithmetic of the tiny recursive network: thinking forward, the gradient back, one step of AdamW.

One network f serves both updates: ``z <- f(x + y + z)``, n times, then ``y <- f(y + z)``; with n = 0 there is no z, and
``y <- f(x + y)``. It has two layers, each ``u <- norm(u + D·act(U·u + b))`` with the root mean square as the norm, and
``act(a) = a/2 · (1 + a/(1 + |a|))``, which has the shape of SiLU and needs no exponential.

Source: Jolicoeur-Martineau 2025, "Less is More: Recursive Reasoning with Tiny Networks", arXiv 2510.04871, figure 3.
"""

import math
from typing import NamedTuple

import numpy as np

from alphatrade.actors.compiled import compiled
from alphatrade.reflection.rim.linear import (
    Bools,
    Floats,
    Matrix,
    Vector,
    add_columns,
    add_product,
    sigmoid,
    surprise,
)

LAYERS = 2
UPLIFT, BEAT, HALT = 0, 1, 2  # heads
HEADS = 3
_TINY = 1e-6  # under the root of a norm
_HALTING = 0.5  # weight of the halting head's loss, as in the paper


class Tape(NamedTuple):
    """What one cycle of up to B examples leaves for its gradient; e counts its evaluations of f, l the layers of f."""

    inputs: Floats  # (e, l, B, width)
    before: Floats  # (e, l, B, hidden), before the activation
    after: Floats  # (e, l, B, hidden)
    outputs: Floats  # (e, l, B, width)
    scale: Floats  # (e, l, B), by which the norm has multiplied


class State(NamedTuple):
    """Of B examples: embedded input, answer and thought (B, width), and what the heads say (B, HEADS)."""

    x: Matrix
    y: Matrix
    z: Matrix
    heads: Matrix


Shape = tuple[int, int, int]  # inputs, width, hidden
Parts = tuple[Matrix, Vector, Floats, Matrix, Floats, Matrix, Vector]


def make_tape(shape: Shape, evaluations: int, rows: int) -> Tape:
    """Return room for `evaluations` of f on `rows` examples."""
    _, width, hidden = shape
    each = (evaluations, LAYERS, rows)
    wide, deep = (*each, width), (*each, hidden)
    return Tape(np.empty(wide), np.empty(deep), np.empty(deep), np.empty(wide), np.empty(each))


def size(shape: Shape) -> int:
    """Return the number of parameters."""
    inputs, width, hidden = shape
    return inputs * width + width + LAYERS * (2 * width * hidden + hidden) + width * HEADS + HEADS


@compiled
def parts(theta: Vector, shape: Shape) -> Parts:
    """Return views of the parameters: embedding and its bias, up and its bias, down, heads and their bias."""
    inputs, width, hidden = shape
    a = inputs * width
    b = a + width
    c = b + LAYERS * width * hidden
    d = c + LAYERS * hidden
    e = d + LAYERS * hidden * width
    f = e + width * HEADS
    return (
        theta[:a].reshape((inputs, width)),
        theta[a:b],
        theta[b:c].reshape((LAYERS, width, hidden)),
        theta[c:d].reshape((LAYERS, hidden)),
        theta[d:e].reshape((LAYERS, hidden, width)),
        theta[e:f].reshape((width, HEADS)),
        theta[f:],
    )


@compiled
def _spread(bias: Vector, out: Matrix) -> None:
    """Fill every row of `out` with `bias`."""
    for i in range(out.shape[0]):
        for j in range(bias.size):
            out[i, j] = bias[j]


@compiled
def _copy(a: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = a[i, j]


@compiled
def _turn(a: Matrix, out: Matrix) -> None:
    """Fill `out` with the transposed `a`."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = a[j, i]


@compiled
def _meet(x: Matrix, y: Matrix, z: Matrix, with_x: bool, with_z: bool, out: Matrix) -> None:
    """Fill `out` with y, and x and z where they take part."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = y[i, j]
            if with_x:
                out[i, j] += x[i, j]
            if with_z:
                out[i, j] += z[i, j]


@compiled
def _layer(u: Matrix, up: Matrix, bias: Vector, down: Matrix, a: Matrix, s: Matrix, out: Matrix, scale: Vector) -> None:
    rows, width = u.shape
    _spread(bias, a)
    add_product(u, up, a)
    for i in range(rows):
        raw, done = a[i], s[i]
        for j in range(raw.size):
            done[j] = 0.5 * raw[j] * (1.0 + raw[j] / (1.0 + abs(raw[j])))
    _copy(u, out)
    add_product(s, down, out)
    for i in range(rows):
        total, row = 0.0, out[i]
        for j in range(width):
            total += row[j] * row[j]
        scale[i] = 1.0 / math.sqrt(total / width + _TINY)
        for j in range(width):
            row[j] *= scale[i]


@compiled
def _layer_back(
    du: Matrix, da: Matrix, u: Matrix, a: Matrix, s: Matrix, out: Matrix, scale: Vector,
    up_turned: Matrix, down_turned: Matrix, up: Matrix, bias: Vector, down: Matrix,
) -> None:  # fmt: skip
    """Turn `du`, the gradient of a layer's output, into that of its input; add to those of `up`, `bias` and `down`."""
    rows, width = u.shape
    for i in range(rows):
        total, row, final = 0.0, du[i], out[i]
        for j in range(width):
            total += row[j] * final[j]
        total /= width
        for j in range(width):
            row[j] = scale[i] * (row[j] - final[j] * total)
    for i in range(rows):
        for j in range(da.shape[1]):
            da[i, j] = 0.0
    add_product(du, down_turned, da)
    for i in range(rows):
        raw, row = a[i], da[i]
        for j in range(raw.size):
            share = 1.0 / (1.0 + abs(raw[j]))
            row[j] *= 0.5 * (1.0 + raw[j] * share * (1.0 + share))
    add_product(s.T, du, down)
    add_product(u.T, da, up)
    add_columns(da, bias)
    add_product(da, up_turned, du)


@compiled
def embed(theta: Vector, shape: Shape, inputs: Matrix, x: Matrix) -> None:
    """Fill in `x`, the embedding of the standardised inputs (B, inputs)."""
    net = parts(theta, shape)
    _spread(net[1], x)
    add_product(inputs, net[0], x)


@compiled
def think(theta: Vector, shape: Shape, state: State, steps: int, cycles: int, tape: Tape) -> None:
    """Improve the answers `cycles` times, with `steps` thoughts before each; the tape keeps the last cycle."""
    _, _, up, bias, down, heads, heads_bias = parts(theta, shape)
    x, y, z, said = state
    rows = x.shape[0]
    for _ in range(cycles):
        for at in range(steps + 1):
            u = tape.inputs[at, 0, :rows]
            _meet(x, y, z, at < steps or steps == 0, steps > 0, u)
            for layer in range(LAYERS):
                before, after = tape.before[at, layer, :rows], tape.after[at, layer, :rows]
                out, scale = tape.outputs[at, layer, :rows], tape.scale[at, layer, :rows]
                _layer(u, up[layer], bias[layer], down[layer], before, after, out, scale)
                if layer + 1 < LAYERS:
                    u = tape.inputs[at, layer + 1, :rows]
                    _copy(out, u)
            _copy(tape.outputs[at, LAYERS - 1, :rows], z if at < steps else y)
    _spread(heads_bias, said)
    add_product(y, heads, said)


@compiled
def losses(said: Matrix, uplift: Vector, beat: Bools, out: Vector) -> None:
    """Fill `out` with each example's loss: half the squared error of its uplift, and the surprise at its beat."""
    for i in range(out.size):
        miss = said[i, UPLIFT] - uplift[i]
        out[i] = 0.5 * miss * miss + surprise(said[i, BEAT], beat[i])


@compiled
def slope(said: Matrix, uplift: Vector, beat: Bools, enough: float, out: Matrix) -> float:
    """
    Fill `out` with the gradient of the mean loss by what the heads say, and return that loss.

    The halting head learns whether an example's loss is at most `enough`.
    """
    rows = uplift.size
    each = np.empty(rows)
    losses(said, uplift, beat, each)
    total = 0.0
    for i in range(rows):
        met = each[i] <= enough
        total += each[i] + _HALTING * surprise(said[i, HALT], met)
        out[i, UPLIFT] = (said[i, UPLIFT] - uplift[i]) / rows
        out[i, BEAT] = (sigmoid(said[i, BEAT]) - (1.0 if beat[i] else 0.0)) / rows
        out[i, HALT] = _HALTING * (sigmoid(said[i, HALT]) - (1.0 if met else 0.0)) / rows
    return total / rows


@compiled
def learn_back(
    theta: Vector, shape: Shape, inputs: Matrix, state: State, dsaid: Matrix, steps: int, tape: Tape, grad: Vector
) -> None:
    """Fill `grad` with the gradient through the whole last cycle: all n + 1 evaluations of f, and the embedding."""
    grad.fill(0.0)
    _, _, up, _, down, heads, _ = parts(theta, shape)
    to_embed, to_embed_bias, to_up, to_bias, to_down, to_heads, to_heads_bias = parts(grad, shape)
    rows, (_, width, hidden) = inputs.shape[0], shape
    add_product(state.y.T, dsaid, to_heads)
    add_columns(dsaid, to_heads_bias)
    up_turned, down_turned = np.empty((LAYERS, hidden, width)), np.empty((LAYERS, width, hidden))
    for layer in range(LAYERS):
        _turn(up[layer], up_turned[layer])
        _turn(down[layer], down_turned[layer])
    heads_turned, du, da = np.empty((HEADS, width)), np.zeros((rows, width)), np.empty((rows, hidden))
    _turn(heads, heads_turned)
    dx = np.zeros((rows, width))
    add_product(dsaid, heads_turned, du)
    for at in range(steps, -1, -1):
        for layer in range(LAYERS - 1, -1, -1):
            _layer_back(
                du, da, tape.inputs[at, layer, :rows], tape.before[at, layer, :rows], tape.after[at, layer, :rows],
                tape.outputs[at, layer, :rows], tape.scale[at, layer, :rows], up_turned[layer], down_turned[layer],
                to_up[layer], to_bias[layer], to_down[layer],
            )  # fmt: skip
        if at < steps or steps == 0:
            _meet(dx, dx, du, False, True, dx)
    add_product(inputs.T, dx, to_embed)
    add_columns(dx, to_embed_bias)


@compiled
def adamw(
    theta: Vector, grad: Vector, first: Vector, second: Vector, fades: Vector, rate: float, decay: float
) -> None:
    """
    Take one step of AdamW (Loshchilov & Hutter 2019) with β = (0.9, 0.95).

    `first` and `second` are its moments, `fades` (2,) the powers of β so far, 1 before the first step.
    """
    fades[0] *= 0.9
    fades[1] *= 0.95
    for at in range(theta.size):
        first[at] = 0.9 * first[at] + 0.1 * grad[at]
        second[at] = 0.95 * second[at] + 0.05 * grad[at] * grad[at]
        step = (first[at] / (1.0 - fades[0])) / (math.sqrt(second[at] / (1.0 - fades[1])) + 1e-8)
        theta[at] -= rate * (step + decay * theta[at])


@compiled
def follow(average: Vector, theta: Vector, keep: float) -> None:
    """Move the average weights towards `theta`, of which `keep` is left out."""
    for at in range(theta.size):
        average[at] += (1.0 - keep) * (theta[at] - average[at])
