"""Files that come and go by the command line: safe names, nothing written over, checksums, progress.

Obeys DESIGN §7 (`fetch` compares every file with what the issuer sealed). Names were checked by both
nodes; here they are checked again, because this is where they become files. What is fetched
becomes visible only when it is complete, durable and right.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from node.cli.desk import Desk
from protocol.errors import ConfigurationError
from protocol.part_name import check_part_names

PIECE_BYTES: Final = 256 * 1024
_ANY_TYPE: Final = "application/octet-stream"


class Progress:
    """One line on a terminal that tells how far a file is; silent in JSON mode and in pipes."""

    def __init__(self, desk: Desk, key: str, name: str, total: int, *, done: int = 0) -> None:
        self._line: Final = desk.word(key, name=name)
        self._total: Final = total
        self._done = done
        self._shown = -1
        self._loud: Final = sys.stderr.isatty() and not desk.as_json

    def add(self, count: int) -> None:
        """So many more bytes are through."""
        self._done += count
        percent = 100 if self._total == 0 else self._done * 100 // self._total
        if self._loud and percent != self._shown:
            self._shown = percent
            click.echo(f"\r{self._line} {percent:3d} %", nl=False, err=True)

    def end(self) -> None:
        """The line is complete."""
        if self._loud and self._shown >= 0:
            click.echo(err=True)


def read_pieces(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The bytes of a file from an offset on. Raises: ConfigurationError `file_unreadable`."""
    with reading(path), path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            yield piece


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises: ConfigurationError `file_unreadable`."""
    found = hashlib.sha256()
    for piece in read_pieces(path):
        found.update(piece)
    return found.hexdigest()


# --- writing --------------------------------------------------------------------------------


def safe_targets(folder: Path, names: Iterable[str]) -> list[Path]:
    """Where the parts of these names go: directly into the folder, never hidden, never an option.

    Raises:
        RequestError: `part_name_*`.
    """
    told = tuple(names)
    check_part_names([(name, _ANY_TYPE) for name in told])
    marked = [f"_{name}" if name[0] in ".-~" else name for name in told]
    check_part_names([(name, _ANY_TYPE) for name in marked])  # marking must not make two names one
    return [folder / name for name in marked]


def is_there(target: Path, sha256: str) -> bool:
    """Whether exactly this content lies there already.

    Raises:
        ConfigurationError: `file_exists` (something else does), `file_unreadable`.
    """
    if not target.is_symlink() and not target.exists():
        return False
    if target.is_symlink() or not target.is_file() or digest_of(target) != sha256:
        raise ConfigurationError("file_exists", path=str(target))
    return True


def write_checked(target: Path, pieces: Iterable[bytes], sha256: str, progress: Progress) -> None:
    """Write a file that appears under its name only when its checksum is right.

    Raises:
        ConfigurationError: `part_differs`, `file_exists`, `file_unwritable`.
    """
    fresh = target.with_name(f".truc-{sha256[:16]}-{os.getpid()}.part")
    try:
        with writing(target):
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with os.fdopen(handle, "wb") as file:
            found = hashlib.sha256()
            for piece in pieces:
                found.update(piece)
                with writing(target):
                    file.write(piece)
                progress.add(len(piece))
            with writing(target):
                file.flush()
                os.fsync(file.fileno())
        if found.hexdigest() != sha256:
            raise ConfigurationError("part_differs", name=target.name)
        with writing(target):
            os.link(fresh, target)  # fails if the name has been taken meanwhile
    finally:
        fresh.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder for what is fetched. Raises: ConfigurationError `file_unwritable`, `file_exists`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises: ConfigurationError `file_unwritable`."""
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """The system's errors become `file_unreadable`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unreadable", path=str(path), reason=reason) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """The system's errors become `file_exists` and `file_unwritable`."""
    try:
        yield
    except FileExistsError as error:
        raise ConfigurationError("file_exists", path=str(path)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unwritable", path=str(path), reason=reason) from error
