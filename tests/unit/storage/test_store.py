"""One data folder: creating, opening, batches with bodies, segments swept, large bodies discarded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, StoreError
from protocol.limits import MIB
from protocol.record import Body, Change, Delete, Place, Put, PutBody
from storage.folder import OsFolder
from storage.head import MARK_NAME, Head, SegmentUse
from storage.keyspace import key, write_record
from storage.kv import MemoryKeyValue
from storage.lock import FolderLock
from storage.migrations import SCHEMA_VERSION, version_pair
from storage.store import Store, create_on, create_store, open_on, open_store
from tests.support.errors import expects
from tests.support.store_kinds import INCARNATION, Counted, FaultyFolder, Letter, WatchedKeyValue, put_body

ROOT = Path(__file__).parents[3]


class Parts:
    """A store on parts that a test can look into, damage, and open again."""

    def __init__(self, path: Path, *, roll_bytes: int = 100) -> None:
        self.folder = FaultyFolder(OsFolder(path))
        self.memory = MemoryKeyValue()
        self.kv = WatchedKeyValue(self.memory)
        self.roll_bytes = roll_bytes
        self.store = create_on(self.kv, self.folder, incarnation=INCARNATION, roll_bytes=roll_bytes)

    def reopen(self) -> Store:
        self.store = open_on(self.kv, self.folder, roll_bytes=self.roll_bytes)
        return self.store

    def put(self, *blobs: bytes) -> list[bytes]:
        bodies = [put_body(blob) for blob in blobs]
        self.store.write(bodies)
        return [body.digest for body in bodies]

    def content(self, digest: bytes) -> bytes:
        source = self.store.find_body(digest)
        assert source is not None
        return self.store.read_body(source, 0, len(source) if isinstance(source, bytes) else source.size)

    def live(self) -> dict[int, int]:
        return {use.segment: use.live for use in self.store.view.scan(SegmentUse)}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    create_store(tmp_path / "data", incarnation=INCARNATION).close()
    return tmp_path / "data"


# --- creating and opening ---------------------------------------------------------------------


def test_a_store_is_created_once_and_opened_again(tmp_path: Path) -> None:
    store = create_store(tmp_path / "data", incarnation=INCARNATION)
    store.write([Put(Counted(value=7)), put_body(b"sealed")])
    store.close()
    with expects("store_exists", StoreError):
        create_store(tmp_path / "data", incarnation=INCARNATION)
    again = open_store(tmp_path / "data")
    assert (again.incarnation, again.head.commit, again.head.term) == (INCARNATION, 2, 1)
    assert again.view.get(Counted) == Counted(value=7)
    source = again.find_body(put_body(b"sealed").digest)
    assert source is not None
    assert again.read_body(source, 2, 3) == b"ale"
    again.close()


def test_opening_makes_nothing_where_nothing_is(tmp_path: Path) -> None:
    with expects("store_missing", StoreError):
        open_store(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    (tmp_path / "data" / "db").mkdir(parents=True)
    with expects("store_missing", StoreError):
        open_store(tmp_path / "data")


def test_an_interrupted_creation_is_taken_up(tmp_path: Path) -> None:
    folder, kv = OsFolder(tmp_path), WatchedKeyValue(MemoryKeyValue())

    def crash() -> None:
        raise StoreError("disk_full")

    kv.before = crash
    with expects("disk_full", StoreError):
        create_on(kv, folder, incarnation=INCARNATION)
    with expects("store_missing", StoreError):
        open_on(kv, folder)
    kv.before = lambda: None
    assert create_on(kv, folder, incarnation=bytes(16)).incarnation == bytes(16)


def test_a_folder_is_used_by_one_store_at_a_time(disk: Path) -> None:
    store = open_store(disk)
    with expects("store_locked", StoreError) as caught:
        open_store(disk)
    assert caught[0].detail["pid"] == (disk / "lock").read_text().strip()
    store.write([Put(Counted(value=1))])
    store.close()
    open_store(disk).close()


def test_another_process_is_kept_out(disk: Path) -> None:
    store = open_store(disk)
    program = (
        "import sys; from pathlib import Path; from storage.store import open_store\n"
        "from protocol.errors import StoreError\n"
        "try: open_store(Path(sys.argv[1]))\n"
        "except StoreError as error: print(error.code, error.detail['pid'])"
    )
    command = [sys.executable, "-c", program, str(disk)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["store_locked", (disk / "lock").read_text().strip()]
    store.close()


def test_a_lock_file_without_a_number_still_locks(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / "lock").write_text("")
    with expects("store_locked", StoreError) as caught:
        FolderLock(tmp_path)
    assert caught[0].detail["pid"] == "?"
    lock.release()
    FolderLock(tmp_path).release()


def test_a_store_that_cannot_be_opened_gives_the_lock_back(disk: Path) -> None:
    (disk / "db" / "CURRENT").write_bytes(b"rubbish\n")
    with expects("store_damaged", StoreError):
        open_store(disk)
    FolderLock(disk).release()


def test_a_newer_store_is_refused(parts: Parts) -> None:
    parts.memory.write([version_pair(SCHEMA_VERSION + 1)])
    with expects("store_newer", StoreError):
        parts.reopen()


def test_a_store_without_its_head_is_damaged(parts: Parts) -> None:
    parts.memory.write([(key(Head), None)])
    with expects("store_damaged", StoreError):
        parts.reopen()


def test_records_that_end_before_a_durable_commit_are_refused(parts: Parts) -> None:
    parts.store.write([Put(Counted(value=1))])
    older = parts.memory.copy()
    parts.store.write([Put(Counted(value=2))])
    parts.kv.inner = older
    with expects("store_behind", StoreError) as caught:
        parts.reopen()
    assert caught[0].detail == {"found": 2, "expected": 3}


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 28])
def test_a_damaged_or_missing_mark_proves_nothing(parts: Parts, content: bytes) -> None:
    parts.folder.truncate(MARK_NAME, 0)
    parts.folder.append(MARK_NAME, content)
    assert parts.reopen().head.commit == 1
    parts.folder.unlink(MARK_NAME)
    assert parts.reopen().head.commit == 1
    assert parts.folder.size(MARK_NAME) == 28
    older = parts.memory.copy()
    assert parts.store.write([Put(Counted(value=1))]).commit == 2
    parts.kv.inner = older
    with expects("store_behind", StoreError):
        parts.reopen()


def test_a_missing_mark_that_cannot_be_made_is_no_error(parts: Parts) -> None:
    parts.folder.unlink(MARK_NAME)
    parts.folder.fail("create")
    assert parts.reopen().head.commit == 1


def test_a_restored_store_is_another_one_and_its_mark_begins_anew(parts: Parts) -> None:
    older = parts.memory.copy()
    parts.store.write([Put(Counted(value=2))])
    parts.folder.unlink(MARK_NAME)
    parts.kv.inner = older
    parts.reopen().renew(b"\x99" * 16)
    assert parts.reopen().incarnation == b"\x99" * 16
    assert parts.store.head.commit == 2


def test_a_term_is_raised_durably(parts: Parts) -> None:
    assert parts.store.raise_term() == 2
    assert parts.store.raise_term() == 3
    assert parts.reopen().head.term == 3
    parts.store.write([Put(Counted(value=1))])
    assert parts.reopen().head.term == 3


# --- batches ----------------------------------------------------------------------------------


def test_a_batch_has_a_number_and_is_all_or_nothing(parts: Parts) -> None:
    letters = [Letter(agency="H38", number=number) for number in range(3)]
    assert parts.store.write([Put(letter) for letter in letters]).commit == 2
    assert parts.store.write([Delete(Letter, ("H38", 1)), Put(Counted(value=1))]).commit == 3
    assert parts.reopen().view.scan(Letter) == [letters[0], letters[2]]


def test_what_a_worker_writes_is_shown_when_the_loop_says_so(parts: Parts) -> None:
    """A page is made of several reads; a batch that became durable between two of them would be half on it,
    and the cursor behind the page would pass over the other half for ever."""
    parts.store.write([Put(Counted(value=1))])
    parts.store.write([Put(Counted(value=2))], publish=False)
    assert parts.store.committed.get(Counted) == Counted(value=1)
    assert parts.store.view.get(Counted) == Counted(value=2)
    parts.store.publish()
    assert parts.store.committed.get(Counted) == Counted(value=2)


def test_a_batch_without_changes_reaches_the_disk(parts: Parts) -> None:
    parts.folder.free = 0
    with expects("disk_full", StoreError):
        parts.store.write([])
    parts.folder.free = None
    assert parts.store.write([]).commit == 2
    assert parts.reopen().head.commit == 2


def test_a_full_disk_is_noticed_before_anything_is_written(parts: Parts) -> None:
    parts.folder.free = 1000
    calls = parts.folder.calls["append"], parts.folder.calls["create"]
    with expects("disk_full", StoreError):
        parts.put(b"lost")
    assert (parts.folder.calls["append"], parts.folder.calls["create"]) == calls
    assert parts.store.head.commit == 1


def test_bodies_of_a_batch_cost_one_sync_beside_the_batch(parts: Parts) -> None:
    parts.put(b"first")
    before = parts.folder.calls["fdatasync"]
    written = parts.store.write([put_body(b"one"), put_body(b"two"), Put(Counted(value=1))])
    assert (parts.folder.calls["fdatasync"] - before, written.syncs) == (1, 2)
    assert parts.store.write([Put(Counted(value=2))]).syncs == 1


def test_bodies_are_durable_before_the_batch_that_names_them(parts: Parts) -> None:
    synced = []
    parts.kv.before = lambda: synced.append(parts.folder.calls["fdatasync"])
    before = parts.folder.calls["fdatasync"]
    (digest,) = parts.put(b"sealed")
    assert synced == [before + 1]
    assert parts.content(digest) == b"sealed"


def test_a_body_handed_over_is_readable_before_during_and_after_the_commit(parts: Parts) -> None:
    body = put_body(b"sealed")
    ticket = parts.store.view.stage([body])
    staged = parts.store.find_body(body.digest)
    assert staged == b"sealed"
    parts.store.write([body])
    assert parts.content(body.digest) == b"sealed"
    parts.store.view.settle(ticket)
    assert parts.content(body.digest) == b"sealed"
    assert parts.store.read_body(staged, 1, 2) == b"ea"
    assert parts.store.find_body(bytes(32)) is None


def test_a_body_that_is_there_is_not_written_again(parts: Parts) -> None:
    (digest,) = parts.put(b"once")
    end = parts.store.head.segment_end
    parts.store.write([PutBody(digest, b"once"), PutBody(digest, b"once"), Put(Counted(value=1))])
    assert parts.store.head.segment_end == end
    parts.store.write([Delete(Body, (digest,)), PutBody(digest, b"once")])
    assert (parts.store.head.segment_end, parts.live()) == (2 * end, {1: 4})
    parts.store.write([PutBody(digest, b"once"), Delete(Body, (digest,))])
    assert (parts.store.find_body(digest), parts.live()) == (None, {1: 0})


def test_a_body_above_one_mebibyte_does_not_go_through_a_batch(parts: Parts) -> None:
    with pytest.raises(AssertionError):
        parts.store.write([put_body(bytes(MIB + 1))])


def test_nobody_else_gives_places_in_segments(parts: Parts) -> None:
    place = Place(segment=1, offset=0, length=1)
    with pytest.raises(AssertionError):
        parts.store.write([Put(Body(digest=bytes(32), size=1, place=place))])


def test_a_record_that_breaks_its_format_stops_the_batch_before_anything_is_written(parts: Parts) -> None:
    with expects("format_too_large", FormatError):
        parts.store.write([put_body(b"sealed"), Put(Letter(agency="H38", number=1, text="x" * MIB))])
    assert (parts.folder.size("segments/00000001"), parts.store.head.commit) == (None, 1)


@pytest.mark.parametrize("method", ["create", "append", "fdatasync"])
def test_a_disk_that_cannot_take_the_bodies_fails_the_batch_and_the_next_one_passes(parts: Parts, method: str) -> None:
    parts.folder.fail(method)
    with expects("disk_full", StoreError):
        parts.put(b"lost")
    assert (parts.store.find_body(put_body(b"lost").digest), parts.store.head.commit) == (None, 1)
    (digest,) = parts.put(b"kept")
    parts.reopen()
    assert parts.content(digest) == b"kept"


def test_bytes_of_a_batch_that_may_be_durable_are_never_written_over(parts: Parts) -> None:
    """The batch fails after it reached the disk: the store opened again must find its bodies."""

    def fails() -> None:
        raise StoreError("store_io", file="db", reason="EIO")

    parts.kv.after = fails
    with expects("store_io", StoreError):
        parts.put(b"perhaps")
    parts.kv.after = lambda: None
    parts.reopen()
    assert parts.content(put_body(b"perhaps").digest) == b"perhaps"


def test_a_batch_that_failed_leaves_a_hole_that_the_next_one_skips(parts: Parts) -> None:
    def fails() -> None:
        raise StoreError("store_io", file="db", reason="EIO")

    parts.kv.before = fails
    with expects("store_io", StoreError):
        parts.put(b"perhaps")
    parts.kv.before = lambda: None
    (digest,) = parts.put(b"next")
    assert parts.store.head.segment_end == 11
    assert parts.content(digest) == b"next"


def test_a_mark_that_cannot_be_written_does_not_fail_a_durable_batch(parts: Parts) -> None:
    parts.folder.fail("pwrite")
    assert parts.store.write([Put(Counted(value=1))]).commit == 2
    assert parts.reopen().head.commit == 2


@given(st.lists(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=6), max_size=8))
def test_living_bytes_per_segment_are_always_right(batches: list[list[tuple[int, bool]]]) -> None:
    parts = Parts(_fresh_folder(), roll_bytes=12)
    blobs = [bytes([number]) * (number + 1) for number in range(7)]
    wanted: set[int] = set()
    for batch in batches:
        changes: list[Change] = []
        for number, keep in batch:
            body = put_body(blobs[number])
            changes.append(body if keep else Delete(Body, (body.digest,)))
            (wanted.add if keep else wanted.discard)(number)
        parts.store.write(changes)
        records = parts.store.view.scan(Body)
        assert sorted(record.size for record in records) == sorted(number + 1 for number in wanted)
        expected = dict.fromkeys(parts.live(), 0)
        for record in records:
            expected[record.place.segment] += record.size
            assert set(parts.content(record.digest)) == {record.size - 1}
        assert parts.live() == expected
        for segment in parts.store.sweep_segments():
            assert parts.store.compact(segment) is None
        parts.store.sweep_segments()
        parts.reopen()


_FOLDERS: list[Path] = []


@pytest.fixture(autouse=True)
def _folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    _FOLDERS[:] = [tmp_path_factory.mktemp("examples")]


def _fresh_folder() -> Path:
    """A folder for one example of a property; fixtures last for all of them."""
    return _FOLDERS[0] / str(sum(1 for _ in _FOLDERS[0].iterdir()))


# --- segments swept and rewritten -------------------------------------------------------------


def test_an_empty_segment_is_deleted_and_a_sparse_one_rewritten(parts: Parts) -> None:
    digests = [parts.put(letter * 60)[0] for letter in (b"a", b"b", b"c", b"d", b"e")]
    assert parts.live() == {1: 120, 2: 120, 3: 60}
    parts.store.write([Delete(Body, (digests[0],)), Delete(Body, (digests[2],)), Delete(Body, (digests[3],))])
    parts.put(b"x")
    assert parts.store.sweep_segments() == ()  # half of segment 1 still lives
    assert parts.folder.list("segments") == ["00000001", "00000003"]
    assert parts.live() == {1: 60, 3: 61}
    old = parts.store.find_body(digests[1])
    assert old is not None
    assert parts.store.compact(1) is None
    assert parts.store.sweep_segments() == ()
    assert parts.folder.list("segments") == ["00000003"]
    assert parts.content(digests[1]) == b"b" * 60
    assert parts.store.read_body(old, 0, 60) == b"b" * 60  # a reader that still holds the old place
    parts.reopen()
    assert parts.content(digests[1]) == b"b" * 60


def test_a_sparse_segment_is_reported(parts: Parts) -> None:
    digests = parts.put(b"a" * 70, b"b" * 30)
    parts.put(b"c")
    assert parts.store.sweep_segments() == ()
    parts.store.write([Delete(Body, (digests[0],))])
    assert parts.store.sweep_segments() == (1,)


def test_a_body_that_does_not_match_its_digest_is_not_moved(parts: Parts) -> None:
    good, bad, short = parts.put(b"good", b"spoilt", b"at the end")
    parts.put(b"x" * 100)
    parts.put(b"next segment")
    parts.folder.pwrite("segments/00000001", 5, b"!")
    parts.store.write([Delete(Body, (put_body(b"x" * 100).digest,))])
    parts.folder.truncate("segments/00000001", 15)
    assert parts.store.compact(1) is None
    places = [parts.store.view.get(Body, digest) for digest in (good, bad, short)]
    assert [body.place.segment for body in places if body] == [2, 1, 1]


def test_compacting_stops_where_the_disk_fails(parts: Parts) -> None:
    parts.put(b"x" * 100)
    parts.put(b"y")
    parts.folder.fail("pread", error=StoreError("store_io", file="x", reason="EIO"))
    with expects("store_io", StoreError):
        parts.store.compact(1)


def test_compacting_goes_on_where_it_stopped(tmp_path: Path) -> None:
    parts = Parts(tmp_path, roll_bytes=12 * MIB)
    digests = parts.put(*(bytes([number]) * MIB for number in range(12)))
    small = [put_body(b"small %d" % number) for number in range(300)]
    parts.store.write(small)
    after, rounds = parts.store.compact(1), 1
    while after is not None:
        after, rounds = parts.store.compact(1, after), rounds + 1
    assert rounds >= 2
    parts.store.sweep_segments()
    assert parts.folder.list("segments") == ["00000002"]
    assert [parts.content(digest)[:1] for digest in digests] == [bytes([number]) for number in range(12)]


def test_compacting_where_nothing_lives_writes_nothing(parts: Parts) -> None:
    parts.put(b"x" * 100)
    parts.put(b"y")
    before = parts.store.head
    assert parts.store.compact(7) is None
    assert parts.store.head == before


def test_compacting_moves_a_bounded_number_of_bytes_at_once(tmp_path: Path) -> None:
    parts = Parts(tmp_path, roll_bytes=12 * MIB)
    parts.put(*(bytes([number]) * MIB for number in range(12)))
    parts.put(b"the next segment")
    after = parts.store.compact(1)
    assert after is not None
    assert parts.live() == {1: 4 * MIB, 2: 8 * MIB + 16}
    assert parts.store.compact(1, after) is None
    assert parts.live() == {1: 0, 2: 12 * MIB + 16}


def test_an_empty_segment_without_a_count_is_deleted_too(parts: Parts) -> None:
    (digest,) = parts.put(b"x" * 100)
    parts.put(b"y")
    parts.store.write([Delete(Body, (digest,)), Delete(SegmentUse, (1,))])
    parts.memory.write([(key(SegmentUse, 1), None)])
    parts.store.sweep_segments()
    assert parts.folder.list("segments") == ["00000002"]


# --- large bodies -----------------------------------------------------------------------------

DIGEST = b"\xcd" * 32


def arrive(parts: Parts) -> Body:
    writer = parts.store.bodies.writer(b"\x01" * 16)
    writer.write(b"a large body")
    return Body(digest=DIGEST, size=12, place=writer.finish(DIGEST))


def test_a_large_body_lives_as_long_as_its_record(parts: Parts) -> None:
    body = arrive(parts)
    assert not parts.store.discard(DIGEST)  # it waits for its record
    assert parts.store.write([Put(body)]).discarded == ()
    assert parts.content(DIGEST) == b"a large body"
    assert not parts.store.discard(DIGEST)
    assert parts.store.write([Delete(Body, (DIGEST,)), Put(body)]).discarded == ()
    assert parts.store.write([Delete(Body, (DIGEST,))]).discarded == (DIGEST,)
    assert parts.store.discard(DIGEST)
    with expects("body_missing", StoreError):
        parts.store.read_body(body, 0, 12)


def test_an_orphan_is_removed_after_a_restart(parts: Parts) -> None:
    arrive(parts)
    parts.reopen()
    assert list(parts.store.bodies.file_digests()) == [[DIGEST]]
    assert parts.store.discard(DIGEST)
    assert list(parts.store.bodies.file_digests()) == []


def test_a_body_that_returns_before_its_old_file_is_discarded_is_kept(parts: Parts) -> None:
    parts.store.write([Put(arrive(parts))])
    (digest,) = parts.store.write([Delete(Body, (DIGEST,))]).discarded
    parts.store.write([Put(arrive(parts))])
    assert not parts.store.discard(digest)
    assert parts.content(DIGEST) == b"a large body"


def test_a_file_whose_body_lives_in_a_segment_is_an_orphan(parts: Parts) -> None:
    parts.store.write([Put(arrive(parts))])
    written = parts.store.write([Delete(Body, (DIGEST,)), PutBody(DIGEST, b"a large body")])
    assert written.discarded == (DIGEST,)
    assert parts.store.discard(DIGEST)
    assert parts.content(DIGEST) == b"a large body"


def test_damage_met_while_reading_a_body_is_told_as_it_is(parts: Parts) -> None:
    (digest,) = parts.put(b"sealed")
    parts.folder.truncate("segments/00000001", 3)
    with expects("body_short", StoreError):
        parts.content(digest)


def test_reading_outside_a_staged_body_is_our_own_mistake(parts: Parts) -> None:
    for offset, length in ((0, 4), (3, 1), (-1, 1)):
        with pytest.raises(AssertionError):
            parts.store.read_body(b"abc", offset, length)


def test_the_floor_of_the_operator_is_kept(tmp_path: Path) -> None:
    store = create_store(tmp_path / "data", incarnation=INCARNATION, floor_bytes=2**62)
    with expects("disk_floor", StoreError):
        store.bodies.reserve(b"\x01" * 16, 1)
    store.close()


def test_a_value_of_another_kind_of_damage_is_noticed_at_the_first_read(parts: Parts) -> None:
    at, value = write_record(Counted(value=5))
    parts.memory.write([(at, value[:-1] + b"\x06")])
    with expects("record_damaged", StoreError):
        parts.store.view.get(Counted)
