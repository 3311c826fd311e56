"""The real folder keeps its promises and translates the system's errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from protocol.errors import StoreError
from storage.folder import OsFolder, translated
from tests.support.errors import expects


@pytest.fixture
def folder(tmp_path: Path) -> OsFolder:
    return OsFolder(tmp_path / "a" / "data")


def test_a_file_is_created_filled_cut_synced_and_read(folder: OsFolder) -> None:
    folder.create("x/y/file")
    folder.append("x/y/file", b"hello ")
    folder.append("x/y/file", b"world")
    folder.fdatasync("x/y/file")
    folder.fsync_folder("x/y")
    assert folder.pread("x/y/file", 3, 100) == b"lo world"
    folder.truncate("x/y/file", 5)
    folder.append("x/y/file", b"!")
    folder.pwrite("x/y/file", 0, b"J")
    assert folder.pread("x/y/file", 0, 100) == b"Jello!"
    assert folder.size("x/y/file") == 6


def test_a_released_file_can_be_written_again(folder: OsFolder) -> None:
    folder.create("file")
    folder.release("file")
    folder.release("file")
    folder.append("file", b"1")
    assert folder.size("file") == 1


def test_folders_and_files_are_for_their_owner_alone(folder: OsFolder) -> None:
    folder.create("x/file")
    modes = [path.stat().st_mode & 0o777 for path in (folder.path, folder.path / "x", folder.path / "x" / "file")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_rename_replaces_and_makes_the_folder(folder: OsFolder) -> None:
    for name in ("one", "new/two"):
        folder.create(name)
        folder.append(name, name.encode())
    folder.rename("one", "new/two")
    folder.rename("new/two", "other/three")
    assert (folder.size("one"), folder.size("new/two")) == (None, None)
    assert folder.pread("other/three", 0, 9) == b"one"


def test_a_second_name_is_the_same_file_and_outlives_the_first(folder: OsFolder) -> None:
    folder.create("one")
    folder.append("one", b"content")
    folder.link("one", "new/two")
    folder.unlink("one")
    assert (folder.size("one"), folder.pread("new/two", 0, 9)) == (None, b"content")
    folder.create("one")
    with expects("store_file_exists", StoreError):
        folder.link("one", "new/two")


def test_a_list_holds_files_only_and_a_missing_folder_is_empty(folder: OsFolder) -> None:
    for name in ("b", "a", "x/c"):
        folder.create(name)
    assert folder.list("") == ["a", "b"]
    assert folder.list("x") == ["c"]
    assert folder.list("nowhere") == []


def test_removing_twice_is_no_error(folder: OsFolder) -> None:
    folder.create("a")
    folder.unlink("a")
    folder.unlink("a")
    assert folder.list("") == []


def test_free_space_is_that_of_the_disk(folder: OsFolder) -> None:
    space = os.statvfs(folder.path)
    assert 0 < folder.free_bytes() <= space.f_blocks * space.f_frsize


def test_closing_gives_all_files_back(folder: OsFolder) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a", "b"):
        folder.create(name)
    folder.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "a/", ".hidden", "a\x00", "a\n", "a b"])
def test_a_name_outside_the_folder_is_our_own_mistake(folder: OsFolder, name: str) -> None:
    with pytest.raises(AssertionError):
        folder.create(name)


def test_a_missing_file_and_one_too_many_are_told_apart(folder: OsFolder) -> None:
    folder.create("a")
    with expects("store_file_exists", StoreError):
        folder.create("a")
    for call in (
        lambda: folder.pread("b", 0, 1),
        lambda: folder.append("b", b""),
        lambda: folder.pwrite("b", 0, b"x"),
        lambda: folder.truncate("b", 0),
        lambda: folder.fdatasync("b"),
        lambda: folder.rename("b", "c"),
        lambda: folder.link("b", "c"),
        lambda: folder.fsync_folder("b"),
    ):
        with expects("store_file_missing", StoreError):
            call()


def test_a_file_where_a_folder_should_be_is_an_input_output_error(folder: OsFolder) -> None:
    folder.create("a")
    with expects("store_io", StoreError) as caught:
        folder.size("a/b")
    assert caught[0].detail == {"file": "a/b", "reason": "ENOTDIR"}


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "store_io"), (None, "store_io")],
)
def test_each_error_of_the_system_has_an_outcome(number: int | None, code: str) -> None:
    with expects(code, StoreError), translated("file"):
        raise OSError(number, "words") if number else OSError("words")
