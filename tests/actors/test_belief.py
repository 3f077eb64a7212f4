"""The sparse code: what it keeps, in which order, and that its bytes depend on nothing but its input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrade.actors.belief import CLIP, Encoder, Standardiser, sign_matrix

D, N, K = 6, 128, 16


def test_the_matrix_is_signs_and_follows_its_seed() -> None:
    a, b, c = sign_matrix(D, N, 1), sign_matrix(D, N, 1), sign_matrix(D, N, 2)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert set(np.round(np.unique(a * np.sqrt(D / 3.0)), 12)) == {-1.0, 0.0, 1.0}
    assert np.mean(a == 0) == pytest.approx(2 / 3, abs=0.06)


@given(st.lists(st.floats(-4, 4), min_size=D, max_size=D))
def test_the_code_is_the_k_strongest_positive_units(z: list[float]) -> None:
    encoder = Encoder(D, N, K, 3)
    idx, val = encoder.encode(np.array(z))
    drive = np.zeros(N)
    for row, weight in zip(sign_matrix(D, N, 3), z, strict=True):
        drive = drive + row * weight
    want = sorted((i for i in range(N) if drive[i] > 0), key=lambda i: (-drive[i], i))[:K]
    assert idx.tolist() == sorted(want)
    assert np.all(val > 0)
    assert np.array_equal(val, drive[idx])


def test_losers_stay_zero_whatever_they_were() -> None:
    encoder = Encoder(D, N, K, 3)
    idx, _ = encoder.encode(np.zeros(D))
    assert len(idx) == 0


def test_standardising_uses_only_the_past() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(5.0, 3.0, (2000, 2))
    s = Standardiser(2, 200)
    z = np.array([s.update(row.tolist()) for row in rows])
    assert np.abs(z[1000:].mean(axis=0)).max() < 0.2
    assert np.abs(z[1000:].std(axis=0) - 1.0).max() < 0.2
    again = Standardiser(2, 200)
    changed = rows.copy()
    changed[1500:] = 99.0
    assert np.array_equal(z[:1500], np.array([again.update(row.tolist()) for row in changed])[:1500])
    assert np.abs(z).max() <= CLIP
