"""The simulator's disk promises what `storage.folder` and `storage.kv` say, and not more."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from protocol.errors import StoreError
from storage.store import create_on, open_on
from tests.sim.disk import Disk
from tests.support.errors import expects

INCARNATION = bytes(range(16))


def outcomes(prepare: Callable[[Disk], object], observe: Callable[[Disk], object]) -> set[object]:
    """What may be seen after a crash, over many seeds."""
    seen: set[object] = set()
    for seed in range(60):
        disk = Disk(Random(seed))
        prepare(disk)
        disk.crash()
        seen.add(observe(disk))
    return seen


def content(disk: Disk, name: str = "a/b") -> bytes | None:
    folder = disk.folder()
    size = folder.size(name)
    return None if size is None else folder.pread(name, 0, size)


def synced(disk: Disk, written: bytes = b"synced") -> None:
    folder = disk.folder()
    folder.create("a/b")
    folder.append("a/b", written)
    folder.fdatasync("a/b")
    folder.fsync_folder("a")


def test_what_was_synced_survives() -> None:
    assert outcomes(synced, content) == {b"synced"}


def test_a_tail_that_was_not_synced_is_kept_lost_or_torn() -> None:
    def prepare(disk: Disk) -> None:
        synced(disk)
        disk.folder().append("a/b", b"tail")

    seen = outcomes(prepare, content)
    assert {b"synced", b"syncedtail", b"syncedta", b"synced\0\0\0\0"} <= seen
    assert all(isinstance(one, bytes) and one.startswith(b"synced") and len(one) <= 10 for one in seen)


def test_bytes_written_over_synced_ones_may_be_either() -> None:
    def prepare(disk: Disk) -> None:
        synced(disk)
        disk.folder().pwrite("a/b", 0, b"SYNC")

    assert outcomes(prepare, content) == {b"synced", b"SYNCed"}


def test_a_cut_that_was_not_synced_may_be_undone() -> None:
    def prepare(disk: Disk) -> None:
        synced(disk)
        disk.folder().truncate("a/b", 2)

    seen = outcomes(prepare, content)
    assert {b"sy", b"synced"} <= seen


def test_a_name_is_durable_only_with_its_folder() -> None:
    def prepare(disk: Disk) -> None:
        folder = disk.folder()
        folder.create("a/b")
        folder.append("a/b", b"x")
        folder.fdatasync("a/b")

    assert outcomes(prepare, content) == {None, b"x"}


def test_a_rename_that_was_not_synced_leaves_one_of_the_names() -> None:
    def prepare(disk: Disk) -> None:
        synced(disk)
        disk.folder().rename("a/b", "c/d")

    seen = outcomes(prepare, lambda disk: (content(disk), content(disk, "c/d")))
    assert seen == {(b"synced", None), (None, b"synced"), (b"synced", b"synced")}


def test_a_removal_that_was_not_synced_may_be_undone() -> None:
    def prepare(disk: Disk) -> None:
        synced(disk)
        disk.folder().unlink("a/b")
        disk.folder().unlink("a/b")

    assert outcomes(prepare, content) == {None, b"synced"}


def test_folders_list_their_files() -> None:
    disk = Disk(Random(0))
    synced(disk)
    folder = disk.folder()
    folder.create("mark")
    assert (folder.list(""), folder.list("a"), folder.list("c")) == (["mark"], ["b"], [])


def test_missing_and_present_files_are_outcomes() -> None:
    disk = Disk(Random(0))
    synced(disk)
    with expects("store_file_missing", StoreError):
        disk.folder().pread("nothing", 0, 1)
    with expects("store_file_exists", StoreError):
        disk.folder().create("a/b")


def test_a_full_disk_refuses_growth_and_may_keep_a_piece() -> None:
    disk = Disk(Random(1))
    synced(disk)
    disk.full = True
    folder = disk.folder()
    growing: list[Callable[[], None]] = [lambda: folder.append("a/b", b"more"), lambda: folder.create("x")]
    for grow in growing:
        with expects("disk_full", StoreError):
            grow()
    with expects("disk_full", StoreError):
        disk.key_value().write([(b"k", b"v")])
    folder.pwrite("a/b", 0, b"S")
    assert folder.free_bytes() == 0 and disk.struck["disk_full"] == 4
    disk.admits_being_full = False
    assert folder.free_bytes() > 0


def test_a_handle_of_an_earlier_life_only_fails() -> None:
    disk = Disk(Random(0))
    kv, folder = disk.key_value(), disk.folder()
    disk.stop()
    uses: list[Callable[[], object]] = [
        lambda: kv.get(b"k"),
        lambda: kv.scan(b"a", b"z", 1),
        lambda: kv.write([]),
        lambda: folder.list(""),
        folder.free_bytes,
    ]
    for use in uses:
        with expects("store_io", StoreError):
            use()


def test_a_failed_commit_is_invisible_and_stays_in_doubt_until_the_store_is_opened_again() -> None:
    seen = set()
    for seed in range(20):
        disk = Disk(Random(seed))
        disk.fail_commit_in = 2
        kv = disk.key_value()
        kv.write([(b"a", b"1")])
        for _ in range(2):  # the second one fails because the first one did
            with expects("store_io", StoreError):
                kv.write([(b"b", b"2")])
        assert kv.get(b"b") is None
        seen.add(disk.key_value().get(b"b"))
        assert disk.struck["failed_commit store_io"] == 1
    assert seen == {None, b"2"}


def test_a_commit_that_finds_no_room_is_not_durable_and_the_next_may_succeed() -> None:
    disk = Disk(Random(0))
    disk.fail_commit_in, disk.fail_code = 1, "disk_full"
    kv = disk.key_value()
    with expects("disk_full", StoreError):
        kv.write([(b"a", b"1")])
    kv.write([(b"b", b"2")])
    assert disk.key_value().get(b"a") is None and disk.key_value().get(b"b") == b"2"


def test_a_flipped_bit_is_found_by_its_name() -> None:
    disk = Disk(Random(0))
    assert disk.flip_bit() is None
    synced(disk)
    assert disk.flip_bit("a/") == "a/b" and content(disk) != b"synced"


def test_a_snapshot_is_independent_and_can_be_gone_back_to() -> None:
    disk = Disk(Random(0))
    synced(disk)
    disk.key_value().write([(b"k", b"1")])
    older = disk.snapshot()
    disk.folder().append("a/b", b" and more")
    disk.key_value().write([(b"k", b"2")])
    disk.roll_back(older)
    assert content(disk) == b"synced" and disk.key_value().get(b"k") == b"1"
    assert disk.everything() == [("a/b", b"synced"), ("db 6b", b"1")]


@pytest.mark.parametrize("seed", range(8))
def test_a_store_opens_after_a_crash_at_any_moment(seed: int) -> None:
    disk = Disk(Random(seed))
    create_on(disk.key_value(), disk.folder(), incarnation=INCARNATION)
    disk.crash()
    assert open_on(disk.key_value(), disk.folder()).incarnation == INCARNATION
