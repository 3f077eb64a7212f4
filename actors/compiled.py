"""Compiled arithmetic: one way to compile a kernel, so that every kernel keeps the contract of determinism.

No ``fastmath``: LLVM then neither reorders sums nor fuses a product into one, and the result is what IEEE 754 says on
every CPU. No threads. Machine code is cached beside the module, or in the user's cache folder where that cannot be
written; a stale or foreign entry is compiled anew.
"""

from collections.abc import Callable
from typing import Any, cast

from numba import njit

OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}


def compiled[F: Callable[..., Any]](kernel: F) -> F:
    """
    Return `kernel` compiled at its first call, for the types of that call.

    Parameters
    ----------
    kernel : callable
        Loops over numbers and NumPy arrays; no Python objects.
    """
    try:
        done = njit(cache=True, **OPTIONS)(kernel)
    except RuntimeError:  # no folder to cache in: a second of compiling in every process
        done = njit(**OPTIONS)(kernel)
    return cast("F", done)
