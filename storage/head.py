"""The records by which a store knows itself, and the mark beside them. Obeys DESIGN §6.

The head is written with every batch, so the last durable batch says where records and
segments end. Losing the *last* batches to a damaged log looks to LevelDB like a crash
during their writing; the commit mark, a small file that is written after each batch and
never synced, tells the two apart: it may be behind the records, never ahead of them.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final

from protocol.encoding import Count, Id16, Key
from protocol.errors import StoreError
from protocol.record import kind
from storage.folder import Folder

MARK_NAME: Final = "commit_mark"
_COMMIT_BYTES: Final = 8
_MARK_BYTES: Final = _COMMIT_BYTES + 16 + 4


@kind(200)
@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which store this is: drawn at creation and after a restore from a backup."""

    incarnation: Annotated[Id16, Key(1)]


@kind(201)
@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last batch: its number, the store's term, and how far the active segment is durable."""

    commit: Annotated[Count, Key(1)]
    term: Annotated[Count, Key(2)]
    segment: Annotated[Count, Key(3)]
    segment_end: Annotated[Count, Key(4)]


@kind(202, "segment")
@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentUse:
    """How many bytes of a segment belong to bodies that still have a record."""

    segment: Annotated[Count, Key(1)]
    live: Annotated[Count, Key(2)]


def create_mark(folder: Folder, commit: int, incarnation: bytes) -> None:
    """A fresh mark, durable.

    Raises:
        StoreError: `disk_full`, `store_io`.
    """
    folder.unlink(MARK_NAME)
    folder.create(MARK_NAME)
    folder.append(MARK_NAME, _mark(commit, incarnation))
    folder.fdatasync(MARK_NAME)
    folder.fsync_folder("")


def write_mark(folder: Folder, commit: int, incarnation: bytes) -> None:
    """Note a durable batch. The batch *is* durable, so a mark that cannot be written is no error."""
    with suppress(StoreError):
        folder.pwrite(MARK_NAME, 0, _mark(commit, incarnation))


def take_up_mark(folder: Folder, commit: int, incarnation: bytes) -> None:
    """Refuse records that end before a batch which is known to have been durable. A mark that is
    missing proves nothing, and is made anew if the disk allows.

    Raises:
        StoreError: `store_behind` with both commit numbers, `store_io`.
    """
    if folder.size(MARK_NAME) is None:
        with suppress(StoreError):
            create_mark(folder, commit, incarnation)
        return
    mark = folder.pread(MARK_NAME, 0, _MARK_BYTES)
    noted = int.from_bytes(mark[:_COMMIT_BYTES], "big")
    if mark == _mark(noted, incarnation) and noted > commit:
        raise StoreError("store_behind", found=commit, expected=noted)


def _mark(commit: int, incarnation: bytes) -> bytes:
    content = commit.to_bytes(_COMMIT_BYTES, "big") + incarnation
    return content + zlib.crc32(content).to_bytes(4, "big")
