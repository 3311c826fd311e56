"""The digest that names a sealed body: a Merkle tree over its segments of 1 MiB.

Spec: `spec/sealing.md` §5. The tree lets a body be resumed, scrubbed and proved in part.
Sealing itself stands in `sealing.py`, where bodies lie in `storage/bodies.py`.
"""

from __future__ import annotations

from hashlib import sha256

from protocol.limits import SEGMENT_BYTES
from protocol.merkle import inner

Octets = bytes | bytearray | memoryview


class BodyHasher:
    """The digest of a sealed body while it streams by: a Merkle tree over leaves of 1 MiB.

    A leaf is SHA-256(0x00 ‖ segment); inner nodes and shape are those of `merkle.py`. Keeps
    one hash per level (spec/sealing.md §5). An empty body has one empty leaf.
    """

    def __init__(self) -> None:
        self._leaf = sha256(b"\x00")
        self._in_leaf = 0
        self._full: list[tuple[int, bytes]] = []
        self.size = 0
        """Bytes seen so far."""

    def update(self, sealed: Octets) -> None:
        """Take the next bytes."""
        self.size += len(sealed)
        if self._in_leaf + len(sealed) <= SEGMENT_BYTES:
            self._take(sealed)
            return
        view = memoryview(sealed)
        while view:
            room = SEGMENT_BYTES - self._in_leaf or SEGMENT_BYTES
            self._take(view[:room])
            view = view[room:]

    def digest(self) -> bytes:
        """The digest of everything seen so far; more may follow."""
        node = self._leaf.digest()
        for _, left in reversed(self._full):
            node = inner(left, node)
        return node

    def _take(self, octets: Octets) -> None:
        # The full leaf is closed only when another byte comes: the last leaf is never empty.
        if self._in_leaf == SEGMENT_BYTES and octets:
            self._close_leaf()
        self._leaf.update(octets)
        self._in_leaf += len(octets)

    def _close_leaf(self) -> None:
        level, node = 0, self._leaf.digest()
        while self._full and self._full[-1][0] == level:
            node = inner(self._full.pop()[1], node)
            level += 1
        self._full.append((level, node))
        self._leaf = sha256(b"\x00")
        self._in_leaf = 0


def body_digest(sealed: Octets) -> bytes:
    """The digest of a whole sealed body."""
    hasher = BodyHasher()
    hasher.update(sealed)
    return hasher.digest()
