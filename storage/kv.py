"""The seam under all records: an ordered map of byte strings with atomic, synced batches.

Obeys DESIGN §6. Says nothing about what keys mean (`keyspace.py`) or who reads beside
whom (`view.py`). LevelDB stands behind it in production (`leveldb.py`), `MemoryKeyValue`
in unit tests and under the simulator's disk; a shared engine may one day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol
from weakref import WeakSet

from sortedcontainers import SortedDict

Pairs = Sequence[tuple[bytes, bytes | None]]
"""What a batch changes: a value to write under a key, or None to delete the key. When one
key stands twice, the later pair wins."""


class Reading(Protocol):
    """What can be read of an ordered map, in any thread."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None.

        Raises:
            StoreError: `store_damaged`, `store_io`.
        """
        ...

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with start ≤ key < stop, in the order of the keys' bytes, all
        as of one moment between two batches.

        Raises:
            StoreError: `store_damaged`, `store_io`.
        """
        ...


class KeyValue(Reading, Protocol):
    """An ordered map. One thread writes; any thread reads at any time."""

    def snapshot(self) -> Reading:
        """All pairs as of this moment, whatever is written later. Cheap; ends with its last reference."""
        ...

    def write(self, pairs: Pairs) -> None:
        """Apply all pairs or none, durable on return.

        After an error the batch is *not* visible through this object, but may turn out to
        be durable when the store is opened again; until then a store may refuse to write
        (`store_stopped`).

        Raises:
            StoreError: `disk_full`, `store_damaged`, `store_io`, `store_stopped`.
        """
        ...

    def close(self) -> None:
        """Give everything back; further calls are our own mistake."""
        ...


class Published:
    """A `KeyValue` as of the last time that somebody said so: several reads of one page belong to one
    moment, though a worker writes between them."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._now = kv.snapshot()

    def publish(self) -> None:
        """From here on reads see everything that is durable at this moment."""
        self._now = self._kv.snapshot()

    def get(self, key: bytes) -> bytes | None:
        """As `Reading.get`."""
        return self._now.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """As `Reading.scan`."""
        return self._now.scan(start, stop, limit)


class _MemorySnapshot:
    """What a `MemoryKeyValue` held when this was made: what was written since, undone."""

    def __init__(self, kv: MemoryKeyValue) -> None:
        self._kv = kv
        self._before: SortedDict[bytes, bytes | None] = SortedDict()

    def remember(self, key: bytes, value: bytes | None) -> None:
        """A pair is about to change."""
        self._before.setdefault(key, value)

    def get(self, key: bytes) -> bytes | None:
        now = self._kv.get(key)
        value: bytes | None = self._before.get(key, now)
        return value

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        undone = list(self._before.irange(start, stop, inclusive=(True, False)))
        found = dict(self._kv.scan(start, stop, limit + len(undone)))
        found.update({key: self._before[key] for key in undone})
        return [(key, found[key]) for key in sorted(found) if found[key] is not None][:limit]


class MemoryKeyValue:
    """A `KeyValue` in memory. `pairs` is for tests that look at or damage what is stored."""

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None) -> None:
        self.pairs: SortedDict[bytes, bytes] = SortedDict(pairs or {})
        self.closed = False
        self._snapshots: WeakSet[_MemorySnapshot] = WeakSet()

    def copy(self) -> MemoryKeyValue:
        """An independent store with the same pairs, as a disk image would hold them."""
        return MemoryKeyValue(self.pairs)

    def get(self, key: bytes) -> bytes | None:
        assert not self.closed
        value: bytes | None = self.pairs.get(key)
        return value

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        assert not self.closed
        keys = islice(self.pairs.irange(start, stop, inclusive=(True, False)), limit)
        return [(key, self.pairs[key]) for key in keys]

    def snapshot(self) -> Reading:
        assert not self.closed
        made = _MemorySnapshot(self)
        self._snapshots.add(made)
        return made

    def write(self, pairs: Pairs) -> None:
        assert not self.closed
        for key, value in pairs:
            for snapshot in self._snapshots:
                snapshot.remember(key, self.pairs.get(key))
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value

    def close(self) -> None:
        self.closed = True
