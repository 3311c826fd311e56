"""One daemon per data folder: our own `flock`, held as long as the process lives (DESIGN §6).

LevelDB's lock is not enough: a failed second open in one process drops it. The lock file
names the holder's process id for people; only the lock itself decides.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from protocol.errors import StoreError
from storage.folder import translated

LOCK_NAME: Final = "lock"
_PID_BYTES_MAX: Final = 20


class FolderLock:
    """Holds a data folder for this process."""

    def __init__(self, path: Path) -> None:
        """Take the lock of an existing folder, at once or not at all.

        Raises:
            StoreError: `store_locked` with the holder's `pid`, `store_io`.
        """
        with translated(LOCK_NAME):
            self._handle = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._handle, _PID_BYTES_MAX, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise StoreError("store_locked", pid=holder or "?", path=str(path)) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the folder go. The file stays: removing it would open a race."""
        os.close(self._handle)
