"""What a disk would show if the power went out now: the oracle's own eyes, none of the node's.

Reads records and bodies straight from a `Disk`, by the key and value formats of
`storage/keyspace.py` alone, so that nothing a running node believes can mislead the oracle.
"""

from __future__ import annotations

from typing import Final, TypeVar

from protocol.record import Body, KeyPart
from storage.bodies import FILE_SEGMENT, body_name
from storage.keyspace import full_key, key_range, read_record
from storage.segments import segment_name
from tests.sim.disk import Disk

R = TypeVar("R")

ALL: Final = 1_000_000


class Durable:
    """Synced records and bodies of one disk, at the moment of asking."""

    def __init__(self, disk: Disk) -> None:
        self._disk: Final = disk

    def get(self, record: type[R], *key: KeyPart) -> R | None:
        """The record with this key."""
        at = full_key(record, key)
        value = self._disk.pairs.get(at)
        return None if value is None else self._read(record, at, value)

    def all(self, record: type[R], *prefix: KeyPart) -> list[R]:
        """Every record of a kind whose key begins so, in key order."""
        start, stop = key_range(record, prefix)
        return [self._read(record, at, value) for at, value in self._disk.pairs.scan(start, stop, ALL)]

    def _read(self, record: type[R], at: bytes, value: bytes) -> R:
        """The record; one whose bytes are the same as when they were last read is not read again."""
        known = self._disk.decoded.get(at)
        if known is not None and known[0] is value:
            same: R = known[1]
            return same
        read = read_record(record, at, value)
        self._disk.decoded[at] = (value, read)
        return read

    def has_body(self, digest: bytes) -> bool:
        """A record names the body, and all its bytes are synced under a synced name."""
        return self.body_bytes(digest) is not None

    def body_bytes(self, digest: bytes) -> bytes | None:
        """The bytes of a body that would survive; None when some would not."""
        body = self.get(Body, digest)
        if body is None:
            return None
        place = body.place
        name = body_name(digest) if place.segment == FILE_SEGMENT else segment_name(place.segment)
        return self._disk.durable_bytes(name, place.offset, place.length)
