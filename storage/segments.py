"""Small bodies, appended to segment files: one `fdatasync` for a whole batch (DESIGN §6).

A segment is a file `segments/<number>` of bodies one behind the other, without headers:
the records say what lies where. Only the highest segment grows. What lies behind the last
committed end after a crash is named by no record and is cut off. Written by the
committer's worker alone, read by any thread. Which bodies live is the caller's knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.errors import StoreError
from protocol.limits import MIB
from protocol.record import Place
from storage.folder import Folder

ROLL_BYTES: Final = 64 * MIB
"""A segment that has grown to this is closed. Small enough to rewrite within a second."""

SEGMENT_FOLDER: Final = "segments"
FIRST_SEGMENT: Final = 1
"""0 means "in a file of its own"."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Closed segments that nothing lives in, and those of which less than half still lives."""

    empty: tuple[int, ...]
    sparse: tuple[int, ...]


class Segments:
    """The segment files of one store, from a known durable end onwards."""

    def __init__(self, folder: Folder, *, segment: int, end: int, roll_bytes: int = ROLL_BYTES) -> None:
        """Take up writing at the end that the last committed batch names; cut what lies behind.

        Raises:
            StoreError: `store_damaged` (the segment is shorter than that), `store_io`.
        """
        self._folder: Final = folder
        self._roll_bytes: Final = roll_bytes
        self.segment = segment
        self.end = end
        self.durable_end = end
        self._cut_torn_tail()
        for number in self._numbers():
            if number > segment:
                folder.unlink(segment_name(number))
        self._named = folder.size(segment_name(segment)) is not None
        self._created = self._named

    def append(self, blobs: Sequence[bytes]) -> list[Place]:
        """Write bodies behind the active segment's end; durable after `sync`.

        Raises:
            StoreError: `disk_full`, `store_io`; nothing was appended then.
        """
        if self.end >= self._roll_bytes:
            self._roll()
        places: list[Place] = []
        end = self.end
        for blob in blobs:
            places.append(Place(segment=self.segment, offset=end, length=len(blob)))
            end += len(blob)
        try:
            if not self._created:
                self._folder.create(segment_name(self.segment))
                self._created = True
            self._folder.append(segment_name(self.segment), b"".join(blobs))
        except StoreError:
            self._take_back()
            raise
        self.end = end
        return places

    def sync(self) -> None:
        """Make everything appended durable. After an error it is lost, and the segment closed.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        try:
            self._folder.fdatasync(segment_name(self.segment))
            if not self._named:
                self._folder.fsync_folder(SEGMENT_FOLDER)
                self._named = True
            self.durable_end = self.end
        except StoreError:
            self._roll()  # what a failed sync left in the page cache is never trusted again
            raise

    def read(self, place: Place, offset: int, length: int) -> bytes:
        """Bytes of one body, from `offset` within it.

        Raises:
            StoreError: `store_file_missing`, `body_short`, `store_io`.
        """
        assert 0 <= offset <= offset + length <= place.length
        found = self._folder.pread(segment_name(place.segment), place.offset + offset, length)
        if len(found) < length:
            raise StoreError("body_short", file=segment_name(place.segment), expected=length, found=len(found))
        return found

    def sweep(self, live: Mapping[int, int]) -> Sweep:
        """Judge the closed segments by the bytes that live in each (absent: none)."""
        empty: list[int] = []
        sparse: list[int] = []
        for number in self._numbers():
            if number >= self.segment:
                continue
            living, size = live.get(number, 0), self._folder.size(segment_name(number)) or 0
            if not living:
                empty.append(number)
            elif 2 * living < size:
                sparse.append(number)
        return Sweep(tuple(empty), tuple(sparse))

    def remove(self, number: int) -> None:
        """Delete a closed segment that no durable record names.

        Raises:
            StoreError: `store_io`.
        """
        assert number < self.segment
        self._folder.unlink(segment_name(number))

    def _roll(self) -> None:
        self._folder.release(segment_name(self.segment))
        self.segment, self.end, self.durable_end = self.segment + 1, 0, 0
        self._created = self._named = False

    def _take_back(self) -> None:
        """Cut off what a failed append may have written; if even that fails, go on elsewhere."""
        try:
            if self._created:
                self._folder.truncate(segment_name(self.segment), self.end)
        except StoreError:
            self._roll()

    def _cut_torn_tail(self) -> None:
        name = segment_name(self.segment)
        size = self._folder.size(name) or 0
        if size < self.end:
            raise StoreError("store_damaged", reason=f"{name} has {size} of {self.end} bytes")
        if size > self.end:
            self._folder.truncate(name, self.end)
            self._folder.fdatasync(name)

    def _numbers(self) -> list[int]:
        return [int(name) for name in self._folder.list(SEGMENT_FOLDER) if name.isdecimal()]


def segment_name(number: int) -> str:
    """The file of a segment; eight digits and more, so that lists sort."""
    return f"{SEGMENT_FOLDER}/{number:08d}"
