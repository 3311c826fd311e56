"""Merkle trees shaped as in RFC 6962: roots, inclusion paths, and roots from paths.

Spec: `spec/signing.md` §2 (signed batches) and `spec/sealing.md` §5 (body digests). A leaf
hash is made by the caller, because what it covers belongs to the format; only the inner
node, SHA-256(0x01 ‖ left ‖ right), stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from protocol.errors import FormatError
from protocol.limits import MERKLE_DEPTH_MAX


def inner(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over one or more leaf hashes."""
    assert leaf_hashes, "a tree has at least one leaf"
    return _levels(leaf_hashes)[-1][0]


def inclusion_paths(leaf_hashes: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """The path of every leaf, lowest sibling first; n leaves cost n inner hashes in all."""
    assert leaf_hashes, "a tree has at least one leaf"
    levels = _levels(leaf_hashes)
    return [_path(levels, index) for index in range(len(leaf_hashes))]


def root_from_path(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that this leaf would have at `index` in a tree of `size` leaves (RFC 9162 §2.1.3.2).

    Raises:
        FormatError: `merkle_path` (no such leaf, or a path of the wrong length).
    """
    if not 0 <= index < size or size > 1 << MERKLE_DEPTH_MAX:
        raise FormatError("merkle_path", reason="index")
    node, last, used = leaf_hash, size - 1, 0
    while last > 0:
        if index & 1 or index < last:  # a sibling stands beside this node
            if used == len(path):
                raise FormatError("merkle_path", reason="short")
            node = inner(path[used], node) if index & 1 else inner(node, path[used])
            used += 1
        index, last = index >> 1, last >> 1
    if used != len(path):
        raise FormatError("merkle_path", reason="long")
    return node


def _levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Every level from the leaves to the root. A node without a sibling rises unchanged, which
    gives the shape of RFC 6962: the left subtree is the largest full one."""
    level = list(leaf_hashes)
    levels = [level]
    while len(level) > 1:
        odd = level[-1:] if len(level) & 1 else []
        level = [inner(left, right) for left, right in zip(level[::2], level[1::2], strict=False)] + odd
        levels.append(level)
    return levels


def _path(levels: list[list[bytes]], index: int) -> tuple[bytes, ...]:
    path: list[bytes] = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return tuple(path)
