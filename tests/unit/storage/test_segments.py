"""Small bodies in segment files: appended, synced, cut, swept."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import StoreError
from storage.folder import OsFolder
from storage.segments import Segments, Sweep, segment_name
from tests.support.errors import expects
from tests.support.store_kinds import FaultyFolder


@pytest.fixture
def folder(tmp_path: Path) -> FaultyFolder:
    return FaultyFolder(OsFolder(tmp_path))


def fresh(folder: FaultyFolder, *, roll_bytes: int = 100) -> Segments:
    return Segments(folder, segment=1, end=0, roll_bytes=roll_bytes)


def test_bodies_lie_one_behind_the_other(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    first, second = segments.append([b"one", b"second"])
    (third,) = segments.append([b"x"])
    segments.sync()
    assert [(place.segment, place.offset, place.length) for place in (first, second, third)] == [
        (1, 0, 3),
        (1, 3, 6),
        (1, 9, 1),
    ]
    assert [segments.read(place, 0, place.length) for place in (first, second, third)] == [b"one", b"second", b"x"]
    assert segments.read(second, 2, 3) == b"con"


def test_a_batch_costs_one_sync_and_a_new_file_one_more(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    for _ in range(3):
        segments.append([b"a", b"b"])
        segments.sync()
    assert (folder.calls["append"], folder.calls["fdatasync"], folder.calls["fsync_folder"]) == (3, 3, 1)


def test_a_full_segment_is_followed_by_the_next(folder: FaultyFolder) -> None:
    segments = fresh(folder, roll_bytes=5)
    places = [segments.append([b"abc"])[0] for _ in range(5)]
    segments.sync()
    assert [(place.segment, place.offset) for place in places] == [(1, 0), (1, 3), (2, 0), (2, 3), (3, 0)]
    assert [segments.read(place, 0, 3) for place in places] == [b"abc"] * 5


def test_reading_outside_a_body_is_our_own_mistake(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    (place,) = segments.append([b"abc"])
    for offset, length in ((0, 4), (2, 2), (-1, 1), (1, -1)):
        with pytest.raises(AssertionError):
            segments.read(place, offset, length)


def test_what_lies_behind_the_committed_end_is_cut(folder: FaultyFolder) -> None:
    segments = fresh(folder, roll_bytes=8)
    (kept,) = segments.append([b"kept"])
    segments.sync()
    segments.append([b"torn"])
    segments.append([b"in the next"])
    segments.sync()
    again = Segments(folder, segment=1, end=4, roll_bytes=8)
    assert folder.list("segments") == ["00000001"]
    assert folder.size(segment_name(1)) == 4
    (place,) = again.append([b"new"])
    assert (place.segment, place.offset) == (1, 4)
    assert again.read(kept, 0, 4) == b"kept"


def test_a_segment_shorter_than_its_committed_end_is_damage(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    segments.append([b"four"])
    with expects("store_damaged", StoreError):
        Segments(folder, segment=1, end=5)
    with expects("store_damaged", StoreError):
        Segments(folder, segment=2, end=1)


def test_a_failed_append_leaves_no_trace(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    folder.fail("append")
    with expects("disk_full", StoreError):
        segments.append([b"lost"])
    (place,) = segments.append([b"kept"])
    assert (place.segment, place.offset, folder.size(segment_name(1))) == (1, 0, 4)


def test_a_torn_append_is_taken_back(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    segments.append([b"kept"])
    folder.inner.append(segment_name(1), b"half of ")  # what the failing call wrote before it failed
    folder.fail("append")
    with expects("disk_full", StoreError):
        segments.append([b"half of it"])
    (place,) = segments.append([b"next"])
    assert (place.offset, segments.read(place, 0, 4)) == (4, b"next")


def test_an_append_that_cannot_be_taken_back_closes_the_segment(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    segments.append([b"kept"])
    folder.fail("append")
    folder.fail("truncate", error=StoreError("store_io", file="x", reason="EIO"))
    with expects("disk_full", StoreError):
        segments.append([b"lost"])
    assert segments.append([b"next"])[0].segment == 2


def test_a_file_that_cannot_be_created_leaves_no_trace(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    folder.fail("create")
    with expects("disk_full", StoreError):
        segments.append([b"lost"])
    assert segments.append([b"next"])[0].segment == 1


@pytest.mark.parametrize("method", ["fdatasync", "fsync_folder"])
def test_a_failed_sync_closes_the_segment(folder: FaultyFolder, method: str) -> None:
    segments = fresh(folder)
    segments.append([b"lost"])
    folder.fail(method, error=StoreError("store_io", file="x", reason="EIO"))
    with expects("store_io", StoreError):
        segments.sync()
    (place,) = segments.append([b"next"])
    segments.sync()
    assert (place.segment, place.offset) == (2, 0)


def test_closed_segments_are_judged_by_what_lives_in_them(folder: FaultyFolder) -> None:
    segments = fresh(folder, roll_bytes=10)
    for _ in range(5):
        segments.append([b"0123456789"])
    assert segments.sweep({1: 4, 2: 5, 4: 10}) == Sweep(empty=(3,), sparse=(1,))
    segments.remove(3)
    assert segments.sweep({1: 4, 2: 5, 4: 10}) == Sweep(empty=(), sparse=(1,))


def test_the_active_segment_is_never_removed(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    segments.append([b"x"])
    assert segments.sweep({}) == Sweep(empty=(), sparse=())
    with pytest.raises(AssertionError):
        segments.remove(1)


def test_a_body_whose_bytes_are_gone_is_told_from_a_moved_one(folder: FaultyFolder) -> None:
    segments = fresh(folder)
    (place,) = segments.append([b"0123456789"])
    folder.truncate(segment_name(1), 5)
    with expects("body_short", StoreError):
        segments.read(place, 2, 4)
    folder.unlink(segment_name(1))
    with expects("store_file_missing", StoreError):
        segments.read(place, 2, 4)
