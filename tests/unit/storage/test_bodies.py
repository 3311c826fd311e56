"""Large bodies: arriving, surviving a restart, leaving; and the account of space."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import StoreError
from protocol.record import STAGED_SEGMENT, Body, Place
from storage.bodies import COMMIT_RESERVE_BYTES, SYNC_BYTES, BodyStore, body_name, partial_name
from storage.folder import OsFolder
from storage.segments import Segments
from tests.support.errors import expects
from tests.support.store_kinds import FaultyFolder

TOKEN, OTHER = b"\x01" * 16, b"\x02" * 16
DIGEST = b"\xab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> FaultyFolder:
    return FaultyFolder(OsFolder(tmp_path))


@pytest.fixture
def bodies(folder: FaultyFolder) -> BodyStore:
    return again(folder)


def again(folder: FaultyFolder, *, floor_bytes: int = 0) -> BodyStore:
    return BodyStore(folder, Segments(folder, segment=1, end=0), floor_bytes=floor_bytes)


def arrive(bodies: BodyStore, content: bytes, digest: bytes = DIGEST) -> Body:
    writer = bodies.writer(TOKEN)
    writer.write(content)
    return Body(digest=digest, size=len(content), place=writer.finish(digest))


def test_a_large_body_becomes_a_file_under_its_digest(bodies: BodyStore, folder: FaultyFolder) -> None:
    body = arrive(bodies, b"sealed bytes")
    assert body.place == Place(segment=0, offset=0, length=12)
    assert folder.list("bodies/ab") == ["ab" * 32]
    assert folder.list("partial") == []
    assert bodies.read(body, 7, 5) == b"bytes"


def test_a_body_may_keep_its_partial_name_until_its_record_is_durable(bodies: BodyStore, folder: FaultyFolder) -> None:
    writer = bodies.writer(TOKEN)
    writer.write(b"sealed bytes")
    place = writer.finish(DIGEST, keep_partial=True)
    assert (bodies.partial_tokens(), bodies.read_partial(TOKEN, 0, 12)) == ([TOKEN], b"sealed bytes")
    bodies.drop_partial(TOKEN)
    assert bodies.partial_tokens() == []
    assert bodies.read(Body(digest=DIGEST, size=12, place=place), 0, 12) == b"sealed bytes"


def test_the_bytes_are_synced_before_the_name_and_the_name_before_the_answer(tmp_path: Path) -> None:
    order: list[str] = []

    class Ordered(OsFolder):
        def fdatasync(self, name: str) -> None:
            order.append(f"sync {name.partition('/')[0]}")
            super().fdatasync(name)

        def rename(self, old: str, new: str) -> None:
            order.append("rename")
            super().rename(old, new)

        def fsync_folder(self, folder: str) -> None:
            order.append(f"folder {folder}")
            super().fsync_folder(folder)

    folder = Ordered(tmp_path)
    arrive(BodyStore(folder, Segments(folder, segment=1, end=0), floor_bytes=0), b"x")
    assert order == ["sync partial", "rename", "folder bodies/ab"]


def test_every_eight_mebibytes_become_durable_on_the_way(bodies: BodyStore, folder: FaultyFolder) -> None:
    writer = bodies.writer(TOKEN)
    half = b"x" * (SYNC_BYTES // 2)
    sizes = []
    for _ in range(5):
        writer.write(half)
        sizes.append(writer.durable_size)
    assert sizes == [0, SYNC_BYTES, SYNC_BYTES, 2 * SYNC_BYTES, 2 * SYNC_BYTES]
    assert folder.calls["fdatasync"] == 2
    writer.abandon()
    assert folder.list("partial") == []


def test_an_arrival_goes_on_where_it_was_durable(bodies: BodyStore, folder: FaultyFolder) -> None:
    writer = bodies.writer(TOKEN)
    writer.write(b"durable")
    writer.pause()
    folder.append(partial_name(TOKEN), b"torn")
    resumed = again(folder).resume(TOKEN, 7)
    resumed.write(b" bytes")
    assert resumed.size == 13
    place = resumed.finish(DIGEST)
    assert bodies.read(Body(digest=DIGEST, size=13, place=place), 0, 13) == b"durable bytes"


def test_an_arrival_that_lost_its_bytes_begins_again(bodies: BodyStore) -> None:
    with expects("store_file_missing", StoreError):
        bodies.resume(TOKEN, 0)
    bodies.writer(TOKEN).write(b"abc")
    with expects("body_short", StoreError):
        bodies.resume(TOKEN, 4)


def test_a_token_is_used_once(bodies: BodyStore) -> None:
    bodies.writer(TOKEN)
    with expects("store_file_exists", StoreError):
        bodies.writer(TOKEN)


def test_arriving_bytes_can_be_read_again(bodies: BodyStore) -> None:
    bodies.writer(TOKEN).write(b"sealed bytes")
    assert bodies.read_partial(TOKEN, 7, 5) == b"bytes"
    with expects("body_short", StoreError):
        bodies.read_partial(TOKEN, 7, 6)


def test_the_size_of_what_arrived_is_known_and_of_what_did_not_is_not(bodies: BodyStore) -> None:
    bodies.writer(TOKEN).write(b"sealed bytes")
    assert (bodies.partial_size(TOKEN), bodies.partial_size(OTHER)) == (12, None)


def test_arrivals_that_nobody_remembers_are_found_and_dropped(bodies: BodyStore, folder: FaultyFolder) -> None:
    bodies.writer(TOKEN)
    bodies.writer(OTHER)
    for foreign in ("partial/notes.txt", "partial/abc"):
        folder.create(foreign)
    assert bodies.partial_tokens() == [TOKEN, OTHER]
    bodies.drop_partial(TOKEN)
    assert bodies.partial_tokens() == [OTHER]


def test_small_bodies_are_read_from_their_segment(bodies: BodyStore) -> None:
    (place,) = bodies.segments.append([b"small"])
    assert bodies.read(Body(digest=DIGEST, size=5, place=place), 1, 3) == b"mal"


def test_reading_what_is_not_there(bodies: BodyStore, folder: FaultyFolder) -> None:
    body = arrive(bodies, b"sealed bytes")
    for offset, length in ((0, 13), (-1, 1)):
        with pytest.raises(AssertionError):
            bodies.read(body, offset, length)
    with pytest.raises(AssertionError):
        bodies.read(Body(digest=DIGEST, size=1, place=Place(segment=STAGED_SEGMENT, offset=0, length=1)), 0, 1)
    folder.truncate(body_name(DIGEST), 6)
    with expects("body_short", StoreError):
        bodies.read(body, 0, 12)
    folder.unlink(body_name(DIGEST))
    with expects("store_file_missing", StoreError):
        bodies.read(body, 0, 12)


# --- leaving ----------------------------------------------------------------------------------


def test_a_body_that_waits_for_its_record_is_not_removed(bodies: BodyStore) -> None:
    arrive(bodies, b"x")
    assert list(bodies.file_digests()) == []
    assert not bodies.delete_file(DIGEST, lambda: False)
    bodies.claim(DIGEST)
    assert list(bodies.file_digests()) == [[DIGEST]]
    assert not bodies.delete_file(DIGEST, lambda: True)
    assert bodies.delete_file(DIGEST, lambda: False)
    assert list(bodies.file_digests()) == []


def test_a_body_that_arrives_while_its_old_copy_is_removed_is_told_to_try_again(bodies: BodyStore) -> None:
    arrive(bodies, b"old")
    bodies.claim(DIGEST)
    writer = bodies.writer(OTHER)
    writer.write(b"old")

    def arrive_now() -> bool:
        with expects("body_leaving", StoreError):
            writer.finish(DIGEST)
        return False

    assert bodies.delete_file(DIGEST, arrive_now)
    place = writer.finish(DIGEST)
    assert bodies.read(Body(digest=DIGEST, size=3, place=place), 0, 3) == b"old"


def test_orphans_come_in_slices(folder: FaultyFolder, bodies: BodyStore) -> None:
    digests = [bytes([first]) + bytes([last]) * 31 for first in (0, 255) for last in range(5)]
    for digest in digests:
        folder.create(body_name(digest))
    slices = list(bodies.file_digests(slice_size=2))
    assert [len(part) for part in slices] == [2, 2, 1, 2, 2, 1]
    assert [digest for part in slices for digest in part] == digests


# --- space ------------------------------------------------------------------------------------


def test_reservations_count_against_each_other_and_against_the_floor(folder: FaultyFolder) -> None:
    bodies = again(folder, floor_bytes=100)
    folder.free = 1000
    bodies.reserve(TOKEN, 500)
    with expects("disk_floor", StoreError):
        bodies.reserve(OTHER, 401)
    with expects("disk_full", StoreError):
        bodies.reserve(OTHER, 501)
    bodies.reserve(OTHER, 400)
    assert bodies.reserved_bytes == 900
    bodies.release(TOKEN)
    bodies.release(TOKEN)
    bodies.require_space(500)
    assert bodies.reserved_bytes == 400


def test_a_batch_is_refused_before_the_last_space_is_used(folder: FaultyFolder) -> None:
    bodies = again(folder)
    folder.free = COMMIT_RESERVE_BYTES + 100
    bodies.require_commit_space(100)
    with expects("disk_full", StoreError):
        bodies.require_commit_space(101)


def test_written_bytes_are_no_longer_reserved(folder: FaultyFolder) -> None:
    bodies = again(folder)
    folder.free = 1000
    bodies.reserve(TOKEN, 600)
    writer = bodies.writer(TOKEN)
    writer.write(b"x" * 200)
    assert bodies.reserved_bytes == 400
    folder.free = 800
    bodies.reserve(TOKEN, 600)  # a resumed body asks for the rest only
    writer.write(b"x" * 500)
    assert bodies.reserved_bytes == 0
    writer.finish(DIGEST)
    assert bodies.reserved_bytes == 0


@pytest.mark.parametrize("method", ["append", "fdatasync"])
def test_a_body_that_the_disk_cannot_take_is_abandoned(bodies: BodyStore, folder: FaultyFolder, method: str) -> None:
    bodies.reserve(TOKEN, 10)
    writer = bodies.writer(TOKEN)
    folder.fail(method)
    with expects("disk_full", StoreError):
        writer.write(b"x" * 10)
        writer.sync()
    writer.abandon()
    assert (bodies.partial_tokens(), bodies.reserved_bytes) == ([], 0)
