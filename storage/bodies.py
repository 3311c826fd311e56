"""All bodies outside the records: segments for small ones, a file each for large ones (DESIGN §6).

A large body arrives in `partial/<token>`, is synced every 8 MiB, so that it survives a
restart up to its durable size, and becomes `bodies/ab/<digest>` by a rename; only then may
a record name it. Space is reserved before the first byte. Knows no records: whether a body
is still wanted is the caller's word, checked at the last moment. The digest is the
caller's too; checking it against the bytes is the business of `protocol/sealing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from protocol.errors import StoreError
from protocol.limits import MIB
from protocol.record import STAGED_SEGMENT, Body, Place
from storage.folder import Folder
from storage.segments import Segments

SYNC_BYTES: Final = 8 * MIB
"""Unsynced bytes of a large body: one final sync of a gigabyte would stall every commit."""

SMALL_BODY_BYTES_MAX: Final = MIB
"""Up to here a body goes into a segment (`PutBody`)."""

COMMIT_RESERVE_BYTES: Final = 32 * MIB
"""Free space that no batch touches: LevelDB's log, tables and rewriting, and the last words of logs."""

FILE_SEGMENT: Final = 0
"""The segment number of a body that has a file of its own."""

_PARTIAL: Final = "partial"
_BODIES: Final = "bodies"


class BodyStore:
    """Reads bodies, takes large ones in, and keeps the account of space.

    `reserve`, `release` and `reserved_bytes` belong to the loop's thread; a writer belongs
    to whoever opened it; everything else may be called by any worker.
    """

    def __init__(self, folder: Folder, segments: Segments, *, floor_bytes: int) -> None:
        self._folder: Final = folder
        self.segments: Final = segments
        self._floor_bytes: Final = floor_bytes
        self._reserved: Final[dict[bytes, int]] = {}
        self._written: Final[dict[bytes, int]] = {}
        self._unclaimed: Final[set[bytes]] = set()
        self._leaving: Final[set[bytes]] = set()

    # --- space --------------------------------------------------------------------------------

    def reserve(self, token: bytes, size: int) -> None:
        """Set space aside for one body of `size` bytes before its first byte, or before it is
        resumed; the same token again replaces it.

        Raises:
            StoreError: `disk_full` (would not fit), `disk_floor` (would leave less than the
                operator wants free), `store_io`.
        """
        self.release(token)
        self.require_space(size - self._written.get(token, 0))
        self._reserved[token] = size

    def release(self, token: bytes) -> None:
        """Give the rest of a reservation back; nothing happens when there is none."""
        self._reserved.pop(token, None)

    def require_space(self, size: int) -> None:
        """Refuse now what would not fit beside all reservations.

        Raises:
            StoreError: as `reserve`.
        """
        free = self._folder.free_bytes() - self.reserved_bytes
        if free < size:
            raise StoreError("disk_full")
        if free - size < self._floor_bytes:
            raise StoreError("disk_floor", free=free, floor=self._floor_bytes)

    def require_commit_space(self, size: int) -> None:
        """Refuse a batch while it is harmless to do so: a write that fails for want of space
        half-way through stops the store until the next start.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        if self._folder.free_bytes() < size + COMMIT_RESERVE_BYTES:
            raise StoreError("disk_full")

    def has_space(self) -> bool:
        """Whether anything may still come in above the floor.

        Raises:
            StoreError: `store_io`.
        """
        return self._folder.free_bytes() - self.reserved_bytes >= max(self._floor_bytes, 1)

    def free_bytes(self) -> int:
        """Bytes that the disk has left, reservations not counted.

        Raises:
            StoreError: `store_io`.
        """
        return self._folder.free_bytes()

    @property
    def reserved_bytes(self) -> int:
        """Bytes set aside and not yet written."""
        reserved = list(self._reserved.items())
        return sum(max(0, size - self._written.get(token, 0)) for token, size in reserved)

    # --- reading ------------------------------------------------------------------------------

    def read(self, body: Body, offset: int, length: int) -> bytes:
        """Bytes of a durable body, exactly as many as asked for.

        Raises:
            StoreError: `store_file_missing`, `body_short`, `store_io`.
        """
        assert body.place.segment != STAGED_SEGMENT, "a staged body is read from the overlay"
        if body.place.segment != FILE_SEGMENT:
            return self.segments.read(body.place, offset, length)
        assert 0 <= offset <= offset + length <= body.place.length
        return self._read_exactly(body_name(body.digest), offset, length)

    def read_partial(self, token: bytes, offset: int, length: int) -> bytes:
        """Bytes of a body that is still arriving.

        Raises:
            StoreError: `store_file_missing`, `body_short`, `store_io`.
        """
        return self._read_exactly(partial_name(token), offset, length)

    def partial_size(self, token: bytes) -> int | None:
        """Bytes of a body that is still arriving, durable or not (so that after a crash they
        must be verified again before they count); None when none is.

        Raises:
            StoreError: `store_io`.
        """
        return self._folder.size(partial_name(token))

    # --- large bodies arriving ----------------------------------------------------------------

    def writer(self, token: bytes) -> BodyWriter:
        """Begin a large body under a fresh random token.

        Raises:
            StoreError: `store_file_exists`, `disk_full`, `store_io`.
        """
        self._folder.create(partial_name(token))
        return BodyWriter(self, self._folder, token, 0)

    def resume(self, token: bytes, durable_size: int) -> BodyWriter:
        """Go on with a body at the durable size that a record remembers; what lies behind is cut.

        Raises:
            StoreError: `store_file_missing`, `body_short` (begin again), `store_io`.
        """
        name = partial_name(token)
        size = self._folder.size(name)
        if size is None:
            raise StoreError("store_file_missing", file=name)
        if size < durable_size:
            raise StoreError("body_short", file=name, expected=durable_size, found=size)
        self._folder.truncate(name, durable_size)
        self._folder.fdatasync(name)
        return BodyWriter(self, self._folder, token, durable_size)

    def partial_tokens(self) -> list[bytes]:
        """The tokens of all bodies that began to arrive, for sweeping those nobody remembers."""
        return _unhex(self._folder.list(_PARTIAL))

    def drop_partial(self, token: bytes) -> None:
        """Remove an arriving body that nobody writes to any more.

        Raises:
            StoreError: `store_io`.
        """
        self._folder.unlink(partial_name(token))
        self._forget(token)

    # --- large bodies leaving -----------------------------------------------------------------

    def claim(self, digest: bytes) -> None:
        """A durable record names this file now, or nobody wants it any more: from here on the
        records decide its life. `Store.write` claims what it commits."""
        self._unclaimed.discard(digest)

    def delete_file(self, digest: bytes, named: Callable[[], bool]) -> bool:
        """Remove the file of a large body, unless it has just arrived and waits for its record,
        or `named()` finds a durable record of it.

        Raises:
            StoreError: `store_io`, and what `named` raises.
        """
        # The mark comes before the question here, and before the other question in `finish`:
        # of an arrival and a removal at the same moment, at least one sees the other.
        self._leaving.add(digest)
        try:
            if digest in self._unclaimed or named():
                return False
            self._folder.unlink(body_name(digest))
            return True
        finally:
            self._leaving.discard(digest)

    def file_digests(self, slice_size: int = 256) -> Iterator[list[bytes]]:
        """The digests of all files in slices, for sweeping orphans; new arrivals are left out."""
        for first in range(256):
            digests = _unhex(self._folder.list(f"{_BODIES}/{first:02x}"))
            kept = [digest for digest in digests if digest not in self._unclaimed]
            yield from (kept[start : start + slice_size] for start in range(0, len(kept), slice_size))

    # --- for the writer -----------------------------------------------------------------------

    def _announce(self, digest: bytes) -> None:
        self._unclaimed.add(digest)
        if digest in self._leaving:
            self._unclaimed.discard(digest)
            raise StoreError("body_leaving", digest=digest.hex())

    def _count(self, token: bytes, size: int) -> None:
        self._written[token] = size

    def _forget(self, token: bytes) -> None:
        self._reserved.pop(token, None)
        self._written.pop(token, None)

    def _read_exactly(self, name: str, offset: int, length: int) -> bytes:
        found = self._folder.pread(name, offset, length)
        if len(found) < length:
            raise StoreError("body_short", file=name, expected=length, found=len(found))
        return found


class BodyWriter:
    """One large body on its way in. After an error of `write` or `sync` only `abandon`,
    or `BodyStore.resume` at the durable size, makes sense."""

    def __init__(self, bodies: BodyStore, folder: Folder, token: bytes, durable_size: int) -> None:
        self._bodies: Final = bodies
        self._folder: Final = folder
        self._name: Final = partial_name(token)
        self._named = durable_size > 0
        self.token: Final = token
        self.size = durable_size
        self.durable_size = durable_size
        bodies._count(token, durable_size)

    def write(self, content: bytes) -> None:
        """Append; every 8 MiB become durable on the way.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        self._folder.append(self._name, content)
        self.size += len(content)
        self._bodies._count(self.token, self.size)
        if self.size - self.durable_size >= SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Make everything written so far durable, so that `durable_size` may be remembered.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        self._folder.fdatasync(self._name)
        if not self._named:
            self._folder.fsync_folder(_PARTIAL)
            self._named = True
        self.durable_size = self.size

    def finish(self, digest: bytes, *, keep_partial: bool = False) -> Place:
        """Make the whole body durable under its digest, which the caller has verified. The partial
        name may be kept until a record names the body: if that record is lost, the body can still
        be resumed; `drop_partial` ends it.

        Raises:
            StoreError: `body_leaving` (an old copy is being removed at this moment: call
                again), `disk_full`, `store_io`.
        """
        self._bodies._announce(digest)
        self._folder.fdatasync(self._name)
        target = body_name(digest)
        if keep_partial:
            self._folder.link(self._name, target)
        else:
            self._folder.rename(self._name, target)
        self._folder.fsync_folder(target.rpartition("/")[0])
        self.durable_size = self.size
        self._bodies._forget(self.token)
        return Place(segment=FILE_SEGMENT, offset=0, length=self.size)

    def pause(self) -> None:
        """Make what arrived durable and let the file go; `resume` goes on, even after a restart.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        self.sync()
        self._folder.release(self._name)

    def abandon(self) -> None:
        """Remove everything that arrived, and the reservation.

        Raises:
            StoreError: `store_io`.
        """
        self._bodies.drop_partial(self.token)


def body_name(digest: bytes) -> str:
    """The file of a large body."""
    name = digest.hex()
    return f"{_BODIES}/{name[:2]}/{name}"


def partial_name(token: bytes) -> str:
    """The file of a large body that is still arriving."""
    return f"{_PARTIAL}/{token.hex()}"


def _unhex(names: list[str]) -> list[bytes]:
    """Names that are hexadecimal; others are not ours and stay."""
    return [bytes.fromhex(name) for name in names if len(name) % 2 == 0 and set(name) <= set("0123456789abcdef")]
