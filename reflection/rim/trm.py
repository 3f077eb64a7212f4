"""The tiny recursive network (TRM): one small net that improves its answer again and again, and says when to stop.

An example is an edit and the decision rows before it. The answer y is turned into an uplift, the logit that the edit
beats no-op, and the logit of having answered well enough. Learning is deeply supervised: a batch is answered several
times, with a step of the optimiser after each, and y and the thought z are carried on without their gradient; an
example that the network would halt on leaves the batch. The average weights (EMA) are the model. How many epochs it
learns is decided out of fold, as the ridge's penalty is.

Source: Jolicoeur-Martineau 2025, arXiv 2510.04871; here in plain NumPy around :mod:`trm_kernel`, in one thread.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from alphatrade.reflection.rim import trm_kernel as kernel
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
from alphatrade.reflection.rim.linear import Bools, Floats, Ints, Matrix, Vector
from alphatrade.strategies.policy import Spec

Arrays = dict[str, Floats]
WARM = 0.05  # share of the learning over which the rate rises; it falls to 0 over the rest
CHUNK = 64  # examples answered at a time


class TrmSpec(Spec):
    """
    Shape of the network, and how it learns.

    Attributes
    ----------
    width, hidden : int
        Numbers in x, y and z; units of a layer.
    latent_steps, cycles : int
        n and T: thoughts before an answer, answers before one counts. ``latent_steps=0, cycles=1, supervision=1`` is
        a plain net of two layers.
    supervision : int
        Times that a batch is answered at most, in learning and in use.
    epochs, batch : int
        Of learning, at most; examples at a time.
    rate, decay : float
        Of AdamW: peak learning rate, weight decay.
    drop : float
        Share of the inputs that a batch does not see (dropout, Srivastava et al. 2014): many inputs tell nothing, and
        uplifts are mostly noise. Without it, the network soon knows its examples by heart.
    ema : float
        What the average weights keep of themselves at a step; 0: the last weights are the model.
    enough : float
        Loss of an example at which the network may halt; knowing nothing costs about 1.2.
    folds : int
        Of groups, for the epochs and the calibration.
    winsor : float
        Share of the uplifts cut at either end.
    """

    width: Annotated[int, Field(ge=4, le=256)] = 40
    hidden: Annotated[int, Field(ge=4, le=512)] = 80
    latent_steps: Annotated[int, Field(ge=0, le=16)] = 3
    cycles: Annotated[int, Field(ge=1, le=8)] = 2
    supervision: Annotated[int, Field(ge=1, le=16)] = 3
    epochs: Annotated[int, Field(ge=1, le=1000)] = 24
    batch: Annotated[int, Field(ge=1, le=4096)] = 64
    rate: Annotated[float, Field(gt=0, le=0.1, allow_inf_nan=False)] = 1e-3
    decay: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    drop: Annotated[float, Field(ge=0, le=0.9)] = 0.4
    ema: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.995
    enough: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.6
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    winsor: Annotated[float, Field(ge=0, le=0.25)] = 0.01


def _shape(seen: int, spec: TrmSpec) -> kernel.Shape:
    return seen, spec.width, spec.hidden


def _design(inputs: Inputs, scale: Scale) -> Matrix:
    """Return what the network sees of each example, (n, d + b·c)."""
    edit, rows = standard(inputs, scale)
    flat = rows.reshape(len(rows), rows.shape[1] * rows.shape[2])
    return np.ascontiguousarray(np.concatenate([edit, flat], axis=1))


def _normal(rng: np.random.Generator, count: int) -> Vector:
    """Return about standard normal numbers: sums of twelve 16-bit uniforms, the same on every CPU."""
    total = np.zeros(count, np.int64)
    for _ in range(12):
        total += rng.integers(0, 65_536, count, dtype=np.int64)
    return (total - 6 * 65_535) / 65_536.0


def begin(shape: kernel.Shape, rng: np.random.Generator) -> Vector:
    """Return first weights: normal with variance 1 / inputs of a unit (LeCun), biases and heads 0."""
    theta = np.zeros(kernel.size(shape))
    embed, _, up, _, down, _, _ = kernel.parts(theta, shape)
    for part in (embed, up, down):
        part[:] = _normal(rng, part.size).reshape(part.shape) / np.sqrt(float(part.shape[-2]))
    return theta


class _Learner:
    """A network on its way: weights, their average, the optimiser's memory, and a generator for the order."""

    def __init__(self, seen: Matrix, uplift: Vector, beat: Bools, spec: TrmSpec, seed: tuple[int, int]) -> None:
        self.seen, self.uplift, self.beat, self.spec = seen, uplift, beat, spec
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.shape = _shape(seen.shape[1], spec)
        self.theta = begin(self.shape, self.rng)
        self.start = _normal(self.rng, 2 * spec.width).reshape(2, spec.width)
        self.average = self.theta.copy()
        self.first, self.second = np.zeros_like(self.theta), np.zeros_like(self.theta)
        self.grad, self.fades, self.steps = np.zeros_like(self.theta), np.ones(2), 0
        self.tape = kernel.make_tape(self.shape, spec.latent_steps + 1, min(spec.batch, len(seen)))

    def epochs(self) -> Iterator[Vector]:
        """Learn from all examples in a drawn order, again and again; yield the average weights after each epoch."""
        count, size = len(self.seen), self.spec.batch
        batches = -(-count // size)
        for epoch in range(self.spec.epochs):
            order = self.rng.permutation(count)
            for at in range(batches):
                done = (epoch * batches + at) / (self.spec.epochs * batches)
                self._batch(order[at * size : (at + 1) * size], min(1.0, (done + 1e-3) / WARM) * (1.0 - done))
            yield self.average

    def _batch(self, places: Ints, share: float) -> None:
        """Answer one batch up to `supervision` times, and learn after each answer."""
        spec = self.spec
        inputs, uplift, beat = self._glance(places), self.uplift[places], self.beat[places]
        state = _begin(len(places), self.start)
        for _ in range(spec.supervision):
            said = np.zeros_like(state.heads)
            kernel.embed(self.theta, self.shape, inputs, state.x)
            kernel.think(self.theta, self.shape, state, spec.latent_steps, spec.cycles, self.tape)
            kernel.slope(state.heads, uplift, beat, spec.enough, said)
            kernel.learn_back(self.theta, self.shape, inputs, state, said, spec.latent_steps, self.tape, self.grad)
            self._step(spec.rate * share)
            on = state.heads[:, kernel.HALT] <= 0.0
            if not on.any():
                return
            inputs, uplift, beat = inputs[on], uplift[on], beat[on]
            state = kernel.State(*(part[on] for part in state))

    def _glance(self, places: Ints) -> Matrix:
        """Return the inputs of a batch, some of them dropped and the others enlarged to make up for it."""
        seen, drop = self.seen[places], self.spec.drop
        if drop == 0.0:
            return seen
        kept = self.rng.integers(0, 65_536, seen.shape, dtype=np.int64) >= int(65_536 * drop)
        return seen * kept / (1.0 - drop)

    def _step(self, rate: float) -> None:
        kernel.adamw(self.theta, self.grad, self.first, self.second, self.fades, rate, self.spec.decay)
        self.steps += 1
        keep = min(self.spec.ema, self.steps / (9.0 + self.steps))  # the first weights are soon forgotten
        kernel.follow(self.average, self.theta, keep)


def _begin(rows: int, start: Matrix) -> kernel.State:
    """Return the state of `rows` examples before the first thought: the same answer and thought for all."""
    y, z = np.repeat(start[:, None, :], rows, axis=1)
    return kernel.State(np.zeros_like(y), y, z, np.zeros((rows, kernel.HEADS)))


def _say(seen: Matrix, start: Matrix, theta: Vector, spec: TrmSpec) -> tuple[Matrix, Ints]:
    """Return what the heads say when the network halts, (n, HEADS), and after how many answers that was, (n,)."""
    shape = _shape(seen.shape[1], spec)
    tape = kernel.make_tape(shape, spec.latent_steps + 1, CHUNK)
    said, taken = np.zeros((len(seen), kernel.HEADS)), np.zeros(len(seen), np.int64)
    for first in range(0, len(seen), CHUNK):
        places = np.arange(first, min(first + CHUNK, len(seen)))
        state = _begin(len(places), start)
        kernel.embed(theta, shape, seen[places], state.x)
        for _ in range(spec.supervision):
            kernel.think(theta, shape, state, spec.latent_steps, spec.cycles, tape)
            said[places] = state.heads
            taken[places] += 1
            on = state.heads[:, kernel.HALT] <= 0.0
            places, state = places[on], kernel.State(*(part[on] for part in state))
            if len(places) == 0:
                break
    return said, taken


def learn(inputs: Inputs, labels: Labels, fold: Ints, spec: TrmSpec, seed: int) -> tuple[Arrays, Vector]:
    """
    Learn from checked examples.

    Returns
    -------
    dict of ndarray
        The model's arrays, as :func:`answer` takes them.
    ndarray of float64, shape (n,)
        Out-of-fold scores, for the calibration.
    """
    score, miss = np.zeros((spec.epochs, len(fold))), np.zeros((spec.epochs, len(fold)))
    for out in np.unique(fold).tolist():
        held, rest = fold == out, fold != out
        scale, target = fit_scale(take(inputs, rest)), fit_target(labels.uplift[rest], spec.winsor)
        seen = _design(take(inputs, held), scale)
        goal = scaled(labels.uplift[held], target)
        learner = _Learner(
            _design(take(inputs, rest), scale), scaled(labels.uplift[rest], target), labels.beat[rest], spec,
            (seed, 1 + out),
        )  # fmt: skip
        for epoch, theta in enumerate(learner.epochs()):
            said, _ = _say(seen, learner.start, theta, spec)
            each = np.zeros(len(goal))
            kernel.losses(said, goal, labels.beat[held], each)
            score[epoch, held], miss[epoch, held] = said[:, kernel.BEAT], each
    mean = np.zeros(spec.epochs)
    for place in range(len(fold)):
        mean += miss[:, place]
    best = int(np.argmin(mean))
    scale, target = fit_scale(inputs), fit_target(labels.uplift, spec.winsor)
    learner = _Learner(_design(inputs, scale), scaled(labels.uplift, target), labels.beat, spec, (seed, 0))
    for epoch, _ in enumerate(learner.epochs()):
        if epoch == best:
            break
    arrays = {
        "scale_edit": scale.edit, "scale_rows": scale.rows, "target": np.array(target), "start": learner.start,
        "theta": learner.average, "epochs": np.array([1.0 + best]),
    }  # fmt: skip
    return arrays, score[best]


def _seen(inputs: Inputs, arrays: Arrays) -> Matrix:
    return _design(inputs, Scale(arrays["scale_edit"], arrays["scale_rows"]))


def answer(inputs: Inputs, arrays: Arrays, spec: TrmSpec) -> tuple[Vector, Vector]:
    """Return the expected uplift (n,), bps per hour, and the raw score (n,) of checked inputs."""
    said, _ = _say(_seen(inputs, arrays), arrays["start"], arrays["theta"], spec)
    target = Target(*arrays["target"].tolist())
    return target.mean + target.spread * said[:, kernel.UPLIFT], np.ascontiguousarray(said[:, kernel.BEAT])


def answers_taken(inputs: Inputs, arrays: Arrays, spec: TrmSpec) -> Ints:
    """Return how often the network answered each example before it halted, from 1 to `supervision`, (n,)."""
    return _say(_seen(inputs, arrays), arrays["start"], arrays["theta"], spec)[1]


def shapes(edit: int, blocks: int, wide: int, spec: TrmSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's arrays."""
    return {
        "scale_edit": (2, edit), "scale_rows": (2, wide), "target": (4,), "epochs": (1,), "start": (2, spec.width),
        "theta": (kernel.size(_shape(edit + blocks * wide, spec)),),
    }  # fmt: skip
