"""One data folder as a whole: records, overlay, bodies, lock, schema, incarnation, term.

Obeys DESIGN §6 and the writing half of §1: `Store.write` is what "the node commits the
records in one batch" means. It runs in the committer's worker, one call at a time; the
view belongs to the loop. Grouping steps, signing and letting effects out are the
business of `node/committer.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from protocol.errors import StoreError
from protocol.limits import MIB
from protocol.record import Body, Change, Delete, KeyPart, Put, PutBody
from storage.bodies import FILE_SEGMENT, SMALL_BODY_BYTES_MAX, BodyStore
from storage.folder import Folder, OsFolder, translated
from storage.head import Head, Identity, SegmentUse, create_mark, take_up_mark, write_mark
from storage.keyspace import full_key, key_of, key_range, read_record, write_record
from storage.kv import KeyValue, Published
from storage.leveldb import LevelKeyValue
from storage.lock import FolderLock
from storage.migrations import SCHEMA_VERSION, migrate, stored_version, version_pair
from storage.segments import FIRST_SEGMENT, ROLL_BYTES, Segments
from storage.view import OverlayView

R = TypeVar("R")

BodySource = bytes | Body
"""Where the bytes of a body can be had: in memory, or at a place."""

COMPACT_BYTES_MAX: Final = 8 * MIB
"""Moved in one go between two batches: about 30 ms."""

COMPACT_RECORDS: Final = 256
DB_NAME: Final = "db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A durable batch. `discarded`: digests of large bodies whose record it deleted; hand each
    to `Store.discard` in a worker (what a crash forgets, the sweep of orphans finds)."""

    commit: int
    syncs: int = 0
    discarded: tuple[bytes, ...] = ()


class Store:
    """An open store. Made by `create_store` and `open_store`, or on given parts by
    `create_on` and `open_on`."""

    def __init__(self, kv: KeyValue, folder: Folder, *, floor_bytes: int = 0, roll_bytes: int = ROLL_BYTES) -> None:
        """Take up a store of the present schema.

        Raises:
            StoreError: `store_damaged`, `store_behind`, `record_damaged`, `store_io`.
        """
        self._kv: Final = kv
        self._folder: Final = folder
        self.view: Final = OverlayView(kv)
        self._published: Final = Published(kv)
        self.committed: Final = OverlayView(self._published)
        """What is durable, as of the last `publish`: for everything that is shown to somebody. Nothing of
        a batch is seen while a page is read of which another part was read before it."""
        head, identity = self.view.get(Head), self.view.get(Identity)
        if head is None or identity is None:
            raise StoreError("store_damaged", reason="head")
        take_up_mark(folder, head.commit, identity.incarnation)
        self.head = head
        self.incarnation = identity.incarnation
        segments = Segments(folder, segment=head.segment, end=head.segment_end, roll_bytes=roll_bytes)
        self.bodies: Final = BodyStore(folder, segments, floor_bytes=floor_bytes)
        self._closing: Final = ExitStack()
        self._closing.callback(kv.close)
        self._closing.callback(folder.close)

    # --- the committer's worker ---------------------------------------------------------------

    def write(self, changes: Sequence[Change], *, publish: bool = True) -> Written:
        """Make the changes of many steps durable in one batch: small bodies into the active
        segment, one `fdatasync`, then one synced batch of records with the new head.

        Without changes the batch holds the head alone: so a node that has stopped taking
        documents tries whether the disk is well again. After an error nothing of the batch
        is visible; whether it is durable is known when the store is opened again. A writer in
        another thread than the readers' leaves it to them to `publish`.

        Raises:
            StoreError: `disk_full` (nothing was written), `store_stopped` (only a restart
                helps), `store_damaged`, `store_io`, `record_damaged`.
            FormatError: a record that breaks its own format; nothing was written.
        """
        written = self._commit(self._resolve(changes))
        if publish:
            self.publish()
        return written

    def publish(self) -> None:
        """Show what is durable now in `committed`. On the loop."""
        self._published.publish()

    def frozen(self) -> OverlayView:
        """What is durable at this moment, whatever is written later: for what takes long to give away."""
        return OverlayView(self._kv.snapshot())

    def raise_term(self) -> int:
        """Begin a new term, in which no batch of an older one counts; at a take-over.

        Raises:
            StoreError: as `write`.
        """
        self._commit({}, term=self.head.term + 1)
        return self.head.term

    def renew(self, incarnation: bytes) -> None:
        """Become another store: after a restore, before anything else is written.

        Raises:
            StoreError: as `write`.
        """
        identity = Identity(incarnation=incarnation)
        self._commit({key_of(identity): identity})
        self.incarnation = incarnation
        create_mark(self._folder, self.head.commit, incarnation)

    def sweep_segments(self) -> tuple[int, ...]:
        """Delete closed segments in which nothing lives; returns the sparse ones for `compact`.

        Raises:
            StoreError: as `write`.
        """
        uses = self._scan(SegmentUse, (), 2**32)
        sweep = self.bodies.segments.sweep({use.segment: use.live for use in uses})
        gone = set(sweep.empty) & {use.segment for use in uses}
        if gone:
            self._commit({full_key(SegmentUse, (number,)): None for number in sorted(gone)})
        for number in sweep.empty:
            self.bodies.segments.remove(number)
        return sweep.sparse

    def compact(self, segment: int, after: bytes = b"") -> bytes | None:
        """Move some of the bodies that live in a sparse segment into the active one. Call again
        with the returned digest until it is None; then `sweep_segments` deletes the segment.
        A body that does not match its digest stays where it is.

        Raises:
            StoreError: as `write`.
        """
        moved: dict[bytes, Any] = {}
        size = 0
        bodies = self._scan(Body, (after,) if after else (), COMPACT_RECORDS)
        for body in bodies:
            after = body.digest
            blob = self._sound_blob(body) if body.place.segment == segment else None
            if blob is not None:
                moved[key_of(body)] = PutBody(body.digest, blob)
                size += len(blob)
            if size >= COMPACT_BYTES_MAX:
                break
        if moved:
            self._commit(moved)
        at_end = not bodies or after == bodies[-1].digest
        return None if at_end and len(bodies) < COMPACT_RECORDS else after

    # --- bodies -------------------------------------------------------------------------------

    def find_body(self, digest: bytes) -> BodySource | None:
        """Where a body can be read, staged ones included; None when there is none. On the loop.

        Raises:
            StoreError: `record_damaged`, `store_damaged`, `store_io`.
        """
        blob = self.view.blob(digest)
        return self.view.get(Body, digest) if blob is None else blob

    def read_body(self, source: BodySource, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of a body. In any thread; follows a body that was moved meanwhile.

        Raises:
            StoreError: `body_missing`, `body_short`, `record_damaged`, `store_damaged`, `store_io`.
        """
        if isinstance(source, bytes):
            assert 0 <= offset <= offset + length <= len(source)
            return source[offset : offset + length]
        try:
            return self.bodies.read(source, offset, length)
        except StoreError as error:
            moved = self._stored(Body, source.digest)
            if error.code != "store_file_missing":
                raise
            if moved is None or moved.place == source.place:
                raise StoreError("body_missing", digest=source.digest.hex()) from error
            return self.bodies.read(moved, offset, length)

    def discard(self, digest: bytes) -> bool:
        """Remove the file of a large body unless a durable record names it, or will soon. In a
        body worker, after the batch that deleted the record, and for orphans.

        Raises:
            StoreError: `record_damaged`, `store_damaged`, `store_io`.
        """
        return self.bodies.delete_file(digest, lambda: _in_file(self._stored(Body, digest)))

    def close(self) -> None:
        """Give everything back, the lock last. Nothing is lost by not being called."""
        self._closing.close()

    def at_close(self, release: Callable[[], None]) -> None:
        """Have something else given back after everything of the store."""
        rest = self._closing.pop_all()
        self._closing.callback(release)
        self._closing.push(rest)

    # --- how a batch is made ------------------------------------------------------------------

    def _resolve(self, changes: Sequence[Change]) -> dict[bytes, Any]:
        """What lies under each changed key in the end: a record, a Put that was written ahead, a PutBody, or None."""
        final: dict[bytes, Any] = {}
        for change in changes:
            if isinstance(change, Delete):
                final[full_key(change.record, change.key)] = None
            elif isinstance(change, PutBody):
                assert len(change.blob) <= SMALL_BODY_BYTES_MAX
                at = full_key(Body, (change.digest,))
                present = final[at] if at in final else self._kv.get(at)
                if present is None:
                    final[at] = change
            else:
                record = change.record
                assert not isinstance(record, Body) or _in_file(record), "only the store gives places in segments"
                if change.written is None:
                    final[key_of(record)] = record
                else:
                    final[change.written[0]] = change
        return final

    def _commit(self, final: dict[bytes, Any], *, term: int | None = None) -> Written:
        before = {at: self._read(Body, at) for at in final if at[0] == _BODY_KIND}
        plain = [_pair(at, record) for at, record in final.items() if not isinstance(record, PutBody)]
        small = [change for change in final.values() if isinstance(change, PutBody)]
        written = sum(len(value) for _, value in plain if value) + sum(len(change.blob) for change in small)
        self.bodies.require_commit_space(written)
        placed = self._place(small)
        after = {at: placed[at] if at in placed else final[at] for at in before}
        uses = self._account(before, after)
        head = self._next_head(self.head.term if term is None else term)
        self._kv.write([*plain, *(write_record(record) for record in (*placed.values(), *uses, head))])
        self.head = head
        for body in after.values():
            if _in_file(body):
                self.bodies.claim(body.digest)
        write_mark(self._folder, head.commit, self.incarnation)
        lost = [body.digest for at, body in before.items() if body and _in_file(body) and not _in_file(after[at])]
        return Written(commit=head.commit, syncs=2 if placed else 1, discarded=tuple(lost))

    def _place(self, bodies: Sequence[PutBody]) -> dict[bytes, Body]:
        """Append the bytes of small bodies, durably; their records by key."""
        if not bodies:
            return {}
        places = self.bodies.segments.append([body.blob for body in bodies])
        self.bodies.segments.sync()
        records = [
            Body(digest=body.digest, size=len(body.blob), place=place)
            for body, place in zip(bodies, places, strict=True)
        ]
        return {key_of(record): record for record in records}

    def _account(self, before: dict[bytes, Body | None], after: dict[bytes, Body | None]) -> list[SegmentUse]:
        """The changed counts of living bytes per segment."""
        change: Counter[int] = Counter()
        for at, old in before.items():
            new = after[at]
            if old is not None:
                change[old.place.segment] -= old.place.length
            if new is not None:
                change[new.place.segment] += new.place.length
        del change[FILE_SEGMENT]
        return [self._use(segment, difference) for segment, difference in sorted(change.items()) if difference]

    def _use(self, segment: int, difference: int) -> SegmentUse:
        known = self._stored(SegmentUse, segment)
        return SegmentUse(segment=segment, live=(known.live if known else 0) + difference)

    def _sound_blob(self, body: Body) -> bytes | None:
        """The bytes of a small body, or None when they are not what its digest says."""
        try:
            blob = self.bodies.read(body, 0, body.size)
        except StoreError as error:
            if error.code != "body_short":
                raise
            return None
        return blob if _small_digest(blob) == body.digest else None

    def _next_head(self, term: int) -> Head:
        segments = self.bodies.segments
        return replace(
            self.head,
            commit=self.head.commit + 1,
            term=term,
            segment=segments.segment,
            segment_end=segments.durable_end,
        )

    # --- what is durable, without the overlay: for workers ------------------------------------

    def _stored(self, record: type[R], *parts: KeyPart) -> R | None:
        return self._read(record, full_key(record, parts))

    def _read(self, record: type[R], at: bytes) -> R | None:
        value = self._kv.get(at)
        return None if value is None else read_record(record, at, value)

    def _scan(self, record: type[R], after: tuple[KeyPart, ...], limit: int) -> list[R]:
        start, stop = key_range(record, (), after)
        return [read_record(record, at, value) for at, value in self._kv.scan(start, stop, limit)]


# --- creating and opening ---------------------------------------------------------------------


def create_on(
    kv: KeyValue, folder: Folder, *, incarnation: bytes, floor_bytes: int = 0, roll_bytes: int = ROLL_BYTES
) -> Store:
    """A new store on given parts; `incarnation` is 16 random bytes.

    Raises:
        StoreError: `store_exists`, `disk_full`, `store_io`.
    """
    if stored_version(kv) is not None:
        raise StoreError("store_exists")
    first = Head(commit=1, term=1, segment=FIRST_SEGMENT, segment_end=0)
    create_mark(folder, first.commit, incarnation)
    kv.write([version_pair(SCHEMA_VERSION), *_pairs([Identity(incarnation=incarnation), first])])
    return Store(kv, folder, floor_bytes=floor_bytes, roll_bytes=roll_bytes)


def open_on(kv: KeyValue, folder: Folder, *, floor_bytes: int = 0, roll_bytes: int = ROLL_BYTES) -> Store:
    """The store that lies on given parts, migrated if it is older.

    Raises:
        StoreError: `store_missing`, `store_newer`, `store_damaged`, `store_behind`,
            `record_damaged`, `disk_full`, `store_io`.
    """
    migrate(kv)
    return Store(kv, folder, floor_bytes=floor_bytes, roll_bytes=roll_bytes)


def create_store(path: Path, *, incarnation: bytes, floor_bytes: int = 0) -> Store:
    """A new store in this folder, which is made if there is none. A creation that was
    interrupted is taken up.

    Raises:
        StoreError: `store_exists`, `store_locked`, `disk_full`, `store_io`.
    """
    folder = OsFolder(path)
    with translated(DB_NAME):
        (path / DB_NAME).mkdir(mode=0o700, exist_ok=True)
    return _locked(
        path,
        folder,
        create=True,
        make=lambda kv: create_on(kv, folder, incarnation=incarnation, floor_bytes=floor_bytes),
    )


def open_store(path: Path, *, floor_bytes: int = 0) -> Store:
    """The store in this folder.

    Raises:
        StoreError: `store_missing`, `store_locked`, `store_newer`, `store_damaged`,
            `store_behind`, `record_damaged`, `disk_full`, `store_io`.
    """
    db = path / DB_NAME
    with translated(DB_NAME):
        begun = db.is_dir() and any(db.iterdir())
    if not begun:
        raise StoreError("store_missing")
    folder = OsFolder(path)
    return _locked(path, folder, create=False, make=lambda kv: open_on(kv, folder, floor_bytes=floor_bytes))


def _locked(path: Path, folder: OsFolder, *, create: bool, make: Callable[[KeyValue], Store]) -> Store:
    """Lock, then open the database, then make the store of it; all given back if one fails."""
    with ExitStack() as opened:
        lock = FolderLock(path)
        opened.callback(lock.release)
        kv = LevelKeyValue(path / DB_NAME, create=create)
        opened.callback(kv.close)
        opened.callback(folder.close)
        store = make(kv)
        store.at_close(lock.release)
        opened.pop_all()
        return store


def _pair(at: bytes, record: Any) -> tuple[bytes, bytes | None]:
    """What is written for a record, a `Put` that was written ahead, or None."""
    if isinstance(record, Put):
        assert record.written is not None
        return record.written
    return (at, None) if record is None else write_record(record)


def _pairs(records: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    return [write_record(record) for record in records]


def _in_file(body: Body | None) -> bool:
    return body is not None and body.place.segment == FILE_SEGMENT


def _small_digest(blob: bytes) -> bytes:
    """The body tree of at most one segment of 1 MiB is its single leaf (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + blob).digest()


_BODY_KIND: Final = full_key(Body, (bytes(32),))[0]
