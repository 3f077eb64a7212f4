"""The sparse code: what it keeps, in which order, and that its bytes depend on nothing but its input."""

import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding as llvm
from numba import njit

from alphatrade.actors.belief import CLIP, Encoder, Standardiser, _standardise, sign_matrix
from alphatrade.actors.compiled import OPTIONS

ROOT = Path(__file__).parents[2]
D, N, K = 6, 128, 16
ENCODER = Encoder(D, N, K, 3)  # compiled here, not within the deadline of an example


def test_the_matrix_is_signs_and_follows_its_seed() -> None:
    a, b, c = sign_matrix(D, N, 1), sign_matrix(D, N, 1), sign_matrix(D, N, 2)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert set(np.unique(a)) == {-1.0, 0.0, 1.0}
    assert np.mean(a == 0) == pytest.approx(2 / 3, abs=0.06)


# What the standardiser returns: multiples of 2**-32 in [-4, 4].
lattice = st.integers(-(4 << 32), 4 << 32).map(lambda k: k / 2**32)


@given(st.lists(lattice, min_size=D, max_size=D))
def test_the_code_is_the_k_strongest_positive_units_in_exact_arithmetic(z: list[float]) -> None:
    idx, val = ENCODER.encode(np.array(z))
    signs = sign_matrix(D, N, 3)
    drive = [sum(Fraction(weight) * int(sign) for weight, sign in zip(z, column, strict=True)) for column in signs.T]
    want = sorted((i for i in range(N) if drive[i] > 0), key=lambda i: (-drive[i], i))[:K]
    assert idx.tolist() == sorted(want)
    assert np.all(val > 0)
    assert val.tolist() == [float(drive[i]) * math.sqrt(3.0 / D) for i in idx]


def test_what_the_standardiser_returns_adds_up_alike_in_every_order() -> None:
    rng = np.random.default_rng(0)
    s = Standardiser(64, 50)
    for row in rng.standard_t(2, (300, 64)):
        z = s.update(row).tolist()
        forwards, backwards = sum(z), sum(reversed(z))
        assert forwards == backwards == math.fsum(z)


def test_no_operation_is_fused() -> None:
    """A fused multiply-add rounds once instead of twice: other bytes than on a CPU without it."""

    def fused(**options: bool | str) -> bool:
        kernel = njit(**options)(_standardise.py_func)  # afresh: cached machine code cannot be read
        kernel(np.zeros(D), np.zeros(D), np.ones(D), 0.0, np.empty(D))
        (text,) = kernel.inspect_asm().values()
        return "fmadd" in text or "fmsub" in text

    assert not fused(**OPTIONS)
    if "+fma," in llvm.get_host_cpu_features().flatten():
        assert fused(**OPTIONS | {"fastmath": True}), "the check must be able to fail"


def test_losers_stay_zero_whatever_they_were() -> None:
    idx, _ = ENCODER.encode(np.zeros(D))
    assert len(idx) == 0


def test_standardising_uses_only_the_past() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(5.0, 3.0, (2000, 2))
    s = Standardiser(2, 200)
    z = np.array([s.update(row) for row in rows])
    assert np.abs(z[1000:].mean(axis=0)).max() < 0.2
    assert np.abs(z[1000:].std(axis=0) - 1.0).max() < 0.2
    again = Standardiser(2, 200)
    changed = rows.copy()
    changed[1500:] = 99.0
    assert np.array_equal(z[:1500], np.array([again.update(row) for row in changed])[:1500])
    assert np.abs(z).max() <= CLIP


def test_a_damaged_cache_of_machine_code_stops_nothing(tmp_path: Path) -> None:
    program = "from alphatrade.actors.belief import Encoder; import numpy as np; print(Encoder(2, 8, 2, 1).encode(np.ones(2)))"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    cached = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert {path.suffix for path in cached} == {".nbi", ".nbc"}
    for suffix in (".nbi", ".nbc"):
        for path in tmp_path.rglob(f"*{suffix}"):
            path.write_bytes(path.read_bytes()[:20])
        assert run() == first
