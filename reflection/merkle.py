"""Merkle trees: one hash that stands for many records (RFC 6962, section 2.1)."""

import hashlib
from collections.abc import Sequence


def merkle_root(leaves: Sequence[bytes]) -> str:
    """
    Return the root over records, 64 hexadecimal digits.

    Leaves and nodes are hashed with different prefixes, so that no node can pass for a record.
    """
    return _root([hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]).hex()


def _root(level: list[bytes]) -> bytes:
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        even = len(level) // 2 * 2
        pairs = zip(level[:even:2], level[1:even:2], strict=True)
        level = [hashlib.sha256(b"\x01" + one + other).digest() for one, other in pairs] + level[even:]
    return level[0]
