"""LevelDB behind the `KeyValue` seam; the only door to plyvel.

What LIBRARIES says about it is obeyed here and nowhere else: every read verifies checksums,
a batch is a transaction and synced, opening is strict about damage in the log, and a
database is opened once in the life of the process, under the lock of `lock.py` (a failed
second open would drop LevelDB's own lock). After one failed write nothing more is written:
LevelDB would go on behind the hole in its log, acknowledge, and find nothing at the next start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import plyvel

from protocol.errors import StoreError
from protocol.limits import MIB
from storage.kv import Pairs, Reading

WRITE_BUFFER_BYTES: Final = 4 * MIB
"""Also bounds the log that is read again at start."""

CACHE_BYTES: Final = 8 * MIB
OPEN_FILES_MAX: Final = 256
BLOOM_BITS: Final = 10
"""One per cent of the look-ups of unknown ids touch a table."""

_FULL: Final = ("No space left on device", "Disk quota exceeded", "File too large")


class _LevelReading:
    """Reads of a database, or of a snapshot of it."""

    def __init__(self, source: Any) -> None:
        self._source: Final = source

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._source.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise outcome(error) from error
        return value

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """As promised by `KeyValue`. The raw iterator, because plyvel's other one takes damage in
        the last block that it reads for the end of the range."""
        found: list[tuple[bytes, bytes]] = []
        try:
            with self._source.raw_iterator(verify_checksums=True) as pairs:
                pairs.seek(start)
                while len(found) < limit and pairs.valid() and (pair := pairs.item())[0] < stop:
                    found.append(pair)
                    pairs.next()
        except plyvel.Error as error:
            raise outcome(error) from error
        return found


class LevelKeyValue(_LevelReading):
    """A `KeyValue` on disk."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open the database in this folder.

        Raises:
            StoreError: `store_damaged` (also when it should exist and does not), `store_io`,
                `disk_full`.
        """
        self._failed = False
        try:
            self._db: Final = plyvel.DB(
                str(path),
                create_if_missing=create,
                paranoid_checks=True,
                write_buffer_size=WRITE_BUFFER_BYTES,
                max_open_files=OPEN_FILES_MAX,
                lru_cache_size=CACHE_BYTES,
                bloom_filter_bits=BLOOM_BITS,
            )
        except plyvel.Error as error:
            raise outcome(error) from error
        super().__init__(self._db)

    def snapshot(self) -> Reading:
        """As promised by `KeyValue`; a later reader in another thread keeps it alive by itself."""
        return _LevelReading(self._db.snapshot())

    def write(self, pairs: Pairs) -> None:
        if self._failed:
            raise StoreError("store_stopped")
        self._failed = True
        try:
            with self._db.write_batch(transaction=True, sync=True) as batch:
                for key, value in pairs:
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except plyvel.Error as error:
            raise outcome(error) from error
        self._failed = False

    def close(self) -> None:
        self._db.close()


def outcome(error: plyvel.Error) -> StoreError:
    """What an error of LevelDB means. Beside damage and input/output there is only "invalid
    argument": a database that is missing, or files that do not belong together."""
    reason = _reason(error)
    if not isinstance(error, plyvel.IOError):
        return StoreError("store_damaged", reason=reason)
    if any(words in reason for words in _FULL):
        return StoreError("disk_full")
    return StoreError("store_io", file="db", reason=reason)


def _reason(error: Exception) -> str:
    """LevelDB's own words, which plyvel hands on as bytes."""
    words = error.args[0] if error.args else b""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)
