"""The tiny recursive network: its gradient, its recursion, its halting, its averages."""

import numpy as np
import pytest

from alphatrade.reflection.rim import trm_kernel as kernel
from alphatrade.reflection.rim.engines import TrmSpec, fit
from alphatrade.reflection.rim.examples import check_inputs
from alphatrade.reflection.rim.linear import add_product, sigmoid, solve, surprise
from alphatrade.reflection.rim.trm import answers_taken, begin
from tests.reflection.make_examples import examples

SMALL = TrmSpec(width=8, hidden=12, latent_steps=2, cycles=2, supervision=3, epochs=3, batch=32, rate=5e-3, drop=0.0, folds=2)
SHAPE = (5, 6, 7)


def normal(shape, seed):
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def begun(rows):
    y, z = normal((2, rows, SHAPE[1]), 3)
    return kernel.State(np.zeros_like(y), y, z, np.zeros((rows, kernel.HEADS)))


def batch(rows=9):
    uplift = normal(rows, 4)
    return normal((rows, SHAPE[0]), 5), uplift, uplift > 0


def forward(theta, inputs, uplift, beat, steps, cycles, state, enough=0.6):
    tape, said = kernel.make_tape(SHAPE, steps + 1, len(inputs)), np.zeros_like(state.heads)
    kernel.embed(theta, SHAPE, inputs, state.x)
    kernel.think(theta, SHAPE, state, steps, cycles, tape)
    return kernel.slope(state.heads, uplift, beat, enough, said), tape, said


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_gradient_goes_through_the_whole_cycle(steps):
    inputs, uplift, beat = batch()
    theta = normal(kernel.size(SHAPE), 6) * 0.4
    state, grad = begun(len(inputs)), np.zeros(len(theta))
    _, tape, said = forward(theta, inputs, uplift, beat, steps, 1, state)
    kernel.learn_back(theta, SHAPE, inputs, state, said, steps, tape, grad)
    numeric = np.zeros_like(grad)
    for at in range(len(theta)):
        sides = []
        for move in (1e-5, -1e-5):
            moved = theta.copy()
            moved[at] += move
            sides.append(forward(moved, inputs, uplift, beat, steps, 1, begun(len(inputs)))[0])
        numeric[at] = (sides[0] - sides[1]) / 2e-5
    assert np.abs(grad - numeric).max() < 1e-7
    assert np.abs(grad).min() > 0, "every weight takes part"


def test_earlier_cycles_are_carried_on_without_their_gradient():
    inputs, uplift, beat = batch()
    theta = normal(kernel.size(SHAPE), 6) * 0.4
    whole, grad = begun(len(inputs)), np.zeros(len(theta))
    loss, tape, said = forward(theta, inputs, uplift, beat, 2, 2, whole)
    kernel.learn_back(theta, SHAPE, inputs, whole, said, 2, tape, grad)
    parted, last = begun(len(inputs)), np.zeros(len(theta))
    forward(theta, inputs, uplift, beat, 2, 1, parted)
    again, tape, said = forward(theta, inputs, uplift, beat, 2, 1, parted)
    kernel.learn_back(theta, SHAPE, inputs, parted, said, 2, tape, last)
    assert again == loss
    assert last.tobytes() == grad.tobytes()


def f(u, up, bias, down):
    for layer in range(kernel.LAYERS):
        a = u @ up[layer] + bias[layer]
        u = u + (a / 2 * (1 + a / (1 + np.abs(a)))) @ down[layer]
        u = u / np.sqrt((u**2).mean(axis=1, keepdims=True) + 1e-6)
    return u


@pytest.mark.parametrize(("steps", "cycles"), [(0, 1), (3, 2)])
def test_the_recursion_is_that_of_the_paper(steps, cycles):
    inputs, uplift, beat = batch()
    theta, state = normal(kernel.size(SHAPE), 6), begun(len(inputs))
    embed, embed_bias, up, bias, down, heads, heads_bias = kernel.parts(theta, SHAPE)
    x, y, z = inputs @ embed + embed_bias, state.y.copy(), state.z.copy()
    for _ in range(cycles):
        for _ in range(steps):
            z = f(x + y + z, up, bias, down)
        y = f(y + z, up, bias, down) if steps else f(x + y, up, bias, down)
    forward(theta, inputs, uplift, beat, steps, cycles, state)
    assert np.allclose(state.y, y, atol=1e-12)
    assert np.allclose(state.heads, y @ heads + heads_bias, atol=1e-12)


def test_sums_are_added_in_one_order():
    a, b = normal((3, 11), 1), normal((11, 5), 2)
    out, want = np.zeros((3, 5)), np.zeros((3, 5))
    add_product(a, b, out)
    for k in range(11):
        want += a[:, k : k + 1] * b[k]
    assert out.tobytes() == want.tobytes()


def test_the_solver_solves():
    a, right, out = normal((9, 4), 1), normal(4, 2), np.zeros(4)
    gram = a.T @ a
    solve(gram, right, 0.5, np.zeros((4, 4)), out)
    assert np.allclose(out, np.linalg.solve(gram + 0.5 * np.eye(4), right), atol=1e-12)


def test_probabilities_at_the_ends():
    assert (sigmoid(800.0), sigmoid(-800.0), sigmoid(0.0)) == (1.0, 0.0, 0.5)
    assert surprise(0.0, True) == pytest.approx(np.log(2), abs=1e-15)
    assert surprise(-900.0, True) == pytest.approx(900.0)
    assert surprise(2.0, False) == pytest.approx(np.log1p(np.exp(2.0)), rel=1e-14)


def test_the_default_network_has_between_10_and_50_thousand_weights():
    spec = TrmSpec()
    for seen in (8, 60 + 8 * 8, 500):
        assert 10_000 <= kernel.size((seen, spec.width, spec.hidden)) <= 50_000


def test_the_first_weights_have_the_size_they_should():
    theta = begin((100, 40, 80), np.random.Generator(np.random.PCG64(1)))
    _, embed_bias, up, _, down, heads, _ = kernel.parts(theta, (100, 40, 80))
    assert up.std() == pytest.approx(40**-0.5, rel=0.05)
    assert down.std() == pytest.approx(80**-0.5, rel=0.05)
    assert not embed_bias.any()
    assert not heads.any()


def steps_taken(spec):
    inputs, labels, _ = examples(24, 20, 1)
    model = fit("trm", inputs, labels, spec, 1)
    return answers_taken(check_inputs(inputs, model.columns), model.arrays, model.spec)


def test_it_halts_where_its_answer_is_good_enough():
    taken = steps_taken(SMALL.model_copy(update={"epochs": 16}))
    assert set(taken.tolist()) <= {1, 2, 3}
    assert (taken < 3).mean() > 0.1
    assert (taken == 3).mean() > 0.1
    assert (steps_taken(SMALL.model_copy(update={"enough": 0.0})) == 3).all(), "nothing is good enough"
    assert (steps_taken(SMALL.model_copy(update={"enough": 10.0})) == 1).all(), "everything is"


@pytest.mark.parametrize("change", [{"ema": 0.0}, {"decay": 0.0}, {"drop": 0.4}, {"latent_steps": 0}, {"cycles": 1}, {"supervision": 1}])
def test_each_part_takes_part(change):
    inputs, labels, _ = examples(8, 20, 1)
    spec = SMALL.model_copy(update={"epochs": 1})
    one = fit("trm", inputs, labels, spec, 1)
    other = fit("trm", inputs, labels, spec.model_copy(update=change), 1)
    assert one.arrays["theta"].tobytes() != other.arrays["theta"].tobytes()


def test_more_epochs_than_help_are_not_learnt():
    inputs, labels, _ = examples(8, 20, 1, signal=0.0)
    model = fit("trm", inputs, labels, SMALL.model_copy(update={"epochs": 20}), 1)
    assert model.arrays["epochs"][0] < 20
