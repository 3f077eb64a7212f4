"""Compiled arithmetic: one way to compile a kernel, so that every kernel keeps the contract of determinism.

No ``fastmath``: LLVM then neither reorders sums nor fuses a product into one, and the result is what IEEE 754 says on
every CPU. No threads. Machine code is cached beside the module, or in the user's cache folder where that cannot be
written. A cache that cannot be read or written costs a second of compiling, and stops nothing.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from numba import njit
from numba.core.caching import FunctionCache

OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}


class _Cache(FunctionCache):
    """Numba's cache of one function; a damaged or full one is as good as none."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return machine code for the types `sig`; None: it has to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever a damaged pickle raises
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code for the next process, if that is possible."""
        with suppress(Exception):
            super().save_overload(sig, data)


def compiled[F: Callable[..., Any]](kernel: F) -> F:
    """
    Return `kernel` compiled at its first call, for the types of that call.

    Parameters
    ----------
    kernel : callable
        Loops over numbers and NumPy arrays; no Python objects.
    """
    done = njit(**OPTIONS)(kernel)
    with suppress(RuntimeError):  # no folder to cache in
        done._cache = _Cache(kernel)
    return cast("F", done)
