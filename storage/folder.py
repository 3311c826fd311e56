"""The file-system seam under bodies, keystore and marks, and the real folder behind it.

Obeys DESIGN §6. `Folder` says exactly what is durable when, because the simulator's disk
forgets everything else at a crash. Names are relative paths of plain components joined by
`/`. Folders come into being with the first file in them and are durable from then on.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from protocol.errors import StoreError

_SAFE_NAME: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*(/[0-9A-Za-z_][0-9A-Za-z_.-]*)*")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class Folder(Protocol):
    """Files by name. Different threads use different names at a time, except for reading.

    After a crash a file has some state between its last `fdatasync` and the crash: any
    bytes written since may be there, missing or torn, and its size may be anything from the
    synced to the last one. A name (new, renamed or removed) is durable after
    `fsync_folder` of the folder it stands in; before that it may be there or not.

    Every method raises StoreError: `disk_full`, `store_io`; those that need an existing
    file also `store_file_missing`.
    """

    def create(self, name: str) -> None:
        """A new empty file; `store_file_exists` if there is one."""
        ...

    def append(self, name: str, content: bytes) -> None:
        """Write at the end of an existing file. After an error any part may have been written."""
        ...

    def pwrite(self, name: str, offset: int, content: bytes) -> None:
        """Write over bytes of an existing file, or behind its end."""
        ...

    def pread(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes in the file, synced or not; None when there is none."""
        ...

    def truncate(self, name: str, size: int) -> None:
        """Cut the file to `size` bytes (which it has)."""
        ...

    def fdatasync(self, name: str) -> None:
        """Make content and size durable. After an error nothing is known about bytes written
        since the last success: write them again, into another file."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Replace `new` by `old` at once."""
        ...

    def link(self, name: str, second: str) -> None:
        """Give a file a second name, in this folder tree; `store_file_exists` if it is taken."""
        ...

    def fsync_folder(self, folder: str) -> None:
        """Make the names in this folder durable; the root is the empty string."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names (last components) of the files in this folder, sorted; empty when there is none."""
        ...

    def free_bytes(self) -> int:
        """Space left for this user."""
        ...

    def release(self, name: str) -> None:
        """Nothing more will be written to this file for now. Says nothing about durability."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class OsFolder:
    """A `Folder` on the real disk: folders 0700, files 0600, no links followed out of names."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._open: Final[dict[str, int]] = {}
        with translated(""):
            self._make(path)

    def create(self, name: str) -> None:
        path = self._path(name)
        with translated(name):
            self._make(path.parent)
            self._open[name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)

    def append(self, name: str, content: bytes) -> None:
        with translated(name):
            handle = self._handle(name)
            _write_all(handle, os.lseek(handle, 0, os.SEEK_END), content)

    def pwrite(self, name: str, offset: int, content: bytes) -> None:
        with translated(name):
            _write_all(self._handle(name), offset, content)

    def pread(self, name: str, offset: int, length: int) -> bytes:
        with translated(name):
            handle = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read_all(handle, offset, length)
            finally:
                os.close(handle)

    def size(self, name: str) -> int | None:
        path = self._path(name)
        with translated(name):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                return None

    def truncate(self, name: str, size: int) -> None:
        with translated(name):
            os.ftruncate(self._handle(name), size)

    def fdatasync(self, name: str) -> None:
        with translated(name):
            os.fdatasync(self._handle(name))

    def rename(self, old: str, new: str) -> None:
        source, target = self._path(old), self._path(new)
        self.release(old)
        self.release(new)
        with translated(old):
            self._make(target.parent)
            source.replace(target)

    def link(self, name: str, second: str) -> None:
        source, target = self._path(name), self._path(second)
        with translated(second):
            self._make(target.parent)
            os.link(source, target)

    def fsync_folder(self, folder: str) -> None:
        path = self._path(folder) if folder else self.path
        with translated(folder):
            _fsync_path(path)

    def unlink(self, name: str) -> None:
        self.release(name)
        with translated(name):
            self._path(name).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        path = self._path(folder) if folder else self.path
        with translated(folder):
            try:
                with os.scandir(path) as entries:
                    return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
            except FileNotFoundError:
                return []

    def free_bytes(self) -> int:
        with translated(""):
            space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def release(self, name: str) -> None:
        handle = self._open.pop(name, None)
        if handle is not None:
            os.close(handle)

    def close(self) -> None:
        for name in list(self._open):
            self.release(name)

    def _path(self, name: str) -> Path:
        assert _SAFE_NAME.fullmatch(name), f"{name!r} is no name inside a folder"
        return self.path / name

    def _handle(self, name: str) -> int:
        handle = self._open.get(name)
        if handle is None:
            handle = self._open[name] = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        return handle

    def _make(self, path: Path) -> None:
        """Create a folder with its parents; each is durable before anything is put into it."""
        if path.is_dir():
            return
        self._make(path.parent)
        path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        _fsync_path(path.parent)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the system's errors into outcomes of the catalogue."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError("store_file_missing", file=name) from error
    except FileExistsError as error:
        raise StoreError("store_file_exists", file=name) from error
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError("disk_full") from error
        reason = errno.errorcode.get(error.errno or 0, "OSError")
        raise StoreError("store_io", file=name, reason=reason) from error


def _write_all(handle: int, offset: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(handle, rest, offset)
        rest, offset = rest[written:], offset + written


def _read_all(handle: int, offset: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length:
        piece = os.pread(handle, length, offset)
        if not piece:
            break
        pieces.append(piece)
        length, offset = length - len(piece), offset + len(piece)
    return b"".join(pieces)


def _fsync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
