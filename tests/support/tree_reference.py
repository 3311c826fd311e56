"""The prefix tree again, as its definition reads: recursion over the bits, nothing remembered."""

from __future__ import annotations

from hashlib import sha256

Leaves = dict[bytes, bytes]


def bit(key: bytes, place: int) -> int:
    """The bit of a key at this place, the most significant first."""
    return key[place // 8] >> (7 - place % 8) & 1


def tree(leaves: Leaves, depth: int = 0) -> bytes:
    """The tree over these leaves, whose keys agree in the first `depth` bits."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        ((key, digest),) = leaves.items()
        return sha256(b"\x00" + key + digest).digest()
    left, right = (tree(_half(leaves, depth, side), depth + 1) for side in (0, 1))
    if bytes(32) in {left, right}:
        return max(left, right)
    return sha256(b"\x01" + left + right).digest()


def _half(leaves: Leaves, depth: int, side: int) -> Leaves:
    return {key: digest for key, digest in leaves.items() if bit(key, depth) == side}


def below(leaves: Leaves, bits: int, number: int) -> Leaves:
    """The leaves whose keys begin with this prefix."""
    return {key: digest for key, digest in leaves.items() if int.from_bytes(key, "big") >> (256 - bits) == number}
