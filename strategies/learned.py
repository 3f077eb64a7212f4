"""What an organism has learnt, as bytes: saved at the end of a run, taken up by the next, the same to the last bit.

The bytes say for which policy and instrument they were learnt, and carry their own digest. Anything else, a damaged
file, another policy, arrays of another shape, is refused as a whole: nothing is taken up half.
"""

import hashlib
from typing import Any

import msgspec
import numpy as np

from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.adaptation import Adaptation

MAGIC = b"alphatrade learned 1\n"
FIELD = "learned"


class _Array(msgspec.Struct):
    """One array: NumPy dtype, shape and bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _State(msgspec.Struct):
    """Everything that was learnt, by mechanism and name."""

    policy_hash: str
    instrument: str
    arrays: dict[str, _Array]


def pack(adaptation: Adaptation, policy_hash: str, instrument: str) -> bytes:
    """Return what was learnt; empty where nothing learns."""
    arrays = adaptation.arrays()
    if not arrays:
        return b""
    kept = {name: _Array(array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(arrays.items())}
    body = msgspec.msgpack.encode(_State(policy_hash, instrument, kept))
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack(data: bytes, adaptation: Adaptation, policy_hash: str, instrument: str) -> None:
    """
    Take up what was learnt.

    Parameters
    ----------
    data : bytes
        From :func:`pack`.
    adaptation : Adaptation
        Of the same policy; filled in.
    policy_hash, instrument : str
        Whose it must be.

    Raises
    ------
    ConfigError
        If it is damaged, or was learnt by another policy, for another instrument or in another shape.
    """
    state = _checked(data)
    for name, got, wanted in (
        ("policy", state.policy_hash, policy_hash),
        ("instrument", state.instrument, instrument),
    ):
        if got != wanted:
            raise ConfigError(f"{FIELD}.{name}", got, f"what was learnt for {wanted}")
    arrays = adaptation.arrays()
    if sorted(state.arrays) != sorted(arrays):
        raise ConfigError(f"{FIELD}.arrays", sorted(state.arrays), f"{', '.join(sorted(arrays)) or 'none'}")
    for name, array in arrays.items():
        kept = state.arrays[name]
        if (kept.dtype, kept.shape) != (array.dtype.str, array.shape) or len(kept.data) != array.nbytes:
            raise ConfigError(f"{FIELD}.{name}", f"{kept.dtype} {kept.shape}", f"{array.dtype.str} {array.shape}")
        if not np.isfinite(np.frombuffer(kept.data, array.dtype)).all():
            raise ConfigError(f"{FIELD}.{name}", "a number that is not finite", "finite numbers")
    for name, array in arrays.items():
        array[...] = np.frombuffer(state.arrays[name].data, array.dtype).reshape(array.shape)
    adaptation.restored()


def _checked(data: bytes) -> Any:
    head, digest, body = data[: len(MAGIC)], data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if head != MAGIC:
        raise ConfigError(FIELD, f"{len(data)} bytes", "the file of a run's learned/ folder")
    if hashlib.sha256(body).digest() != digest:
        raise ConfigError(FIELD, f"{len(data)} bytes", "bytes as they were written: their digest does not match")
    try:
        return msgspec.msgpack.decode(body, type=_State)
    except msgspec.MsgspecError as error:
        raise ConfigError(FIELD, f"{len(data)} bytes", f"a state that can be read ({error})") from error
