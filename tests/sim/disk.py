"""A disk that forgets: `Folder` and `KeyValue` in memory, with exactly the durability they promise.

Implements `storage.folder.Folder` and `storage.kv.KeyValue` (DESIGN §8). `Disk.crash` leaves
one of the states that a power cut may leave: unsynced bytes kept, lost or torn, unsynced names
there or not. A handle belongs to one life of a node; after a crash the old one only fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from protocol.errors import StoreError
from storage.kv import MemoryKeyValue, Pairs, Reading

CAPACITY_BYTES: Final = 1 << 40


@dataclass(slots=True)
class _File:
    """Content as the running system sees it, and how to go back to what was synced."""

    content: bytearray = field(default_factory=bytearray)
    synced_size: int = 0
    overwritten: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def is_dirty(self) -> bool:
        return bool(self.overwritten) or len(self.content) != self.synced_size

    def write(self, offset: int, piece: bytes) -> None:
        if offset > len(self.content):
            self.content.extend(bytes(offset - len(self.content)))
        if offset < self.synced_size:
            self.overwritten.append((offset, bytes(self.content[offset : offset + len(piece)])))
        self.content[offset : offset + len(piece)] = piece

    def cut(self, size: int) -> None:
        if size < self.synced_size:
            self.overwritten.append((size, bytes(self.content[size : self.synced_size])))
        del self.content[size:]

    def sync(self) -> None:
        self.synced_size = len(self.content)
        self.overwritten.clear()

    def crash(self, chance: Random) -> None:
        """Some state between the last sync and now."""
        written = len(self.content)
        for offset, old in reversed(self.overwritten):
            if chance.random() < 0.5:
                self.content[offset : offset + len(old)] = old
        size = chance.randint(min(self.synced_size, written), max(self.synced_size, written))
        if size > self.synced_size and chance.random() < 0.5:  # the size reached the disk, the bytes did not
            start = chance.randint(self.synced_size, size)
            self.content[start:size] = bytes(size - start)
        del self.content[max(size, 0) :]
        self.sync()

    def copy(self) -> _File:
        return _File(bytearray(self.content), self.synced_size, list(self.overwritten))


class Disk:
    """One node's disk through all its lives. `struck` counts what was really damaged or refused.

    `full` makes every growing write fail; without `admits_being_full` free space is told as
    before, as under a quota. `fail_commit_in = n` fails the n-th commit from now
    on (1 is the next) with `fail_code`; `store_io` then stays until the store is opened anew,
    as a failed sync does in LevelDB, and whether that batch is durable shows only then.
    """

    def __init__(self, chance: Random) -> None:
        self.chance: Final = chance
        self.pairs = MemoryKeyValue()
        self.names: dict[str, _File] = {}
        self.durable_names: dict[str, _File] = {}
        self.full = False
        self.admits_being_full = True
        self.fail_commit_in = 0
        self.fail_code = "store_io"
        self.commits = 0
        self.syncs = 0
        self.written_bytes = 0
        self.struck: Final[Counter[str]] = Counter()
        self.damaged: Final[set[bytes]] = set()
        """Digests of the bodies in which the world has flipped a bit."""
        self.decoded: Final[dict[bytes, tuple[bytes, Any]]] = {}
        """What the oracle has read of the records, by key; see `durable.py`."""
        self.in_doubt: list[Pairs] = []
        self.on_commit: Callable[[], None] = lambda: None
        """Called when a batch has just become durable, before anybody learns of it."""
        self.on_new_file: Callable[[str], None] = lambda _name: None
        """Called when a file was made, whose name is not durable yet: a good moment for a crash."""
        self.life = 0

    def folder(self) -> MemoryFolder:
        """The files, for the present life."""
        return MemoryFolder(self)

    def key_value(self) -> CrashKeyValue:
        """The records, for the present life; opening decides what became of batches in doubt."""
        for pairs in self.in_doubt:
            if self.chance.random() < 0.5:
                self.pairs.write(pairs)
        self.in_doubt.clear()
        return CrashKeyValue(self)

    def stop(self) -> None:
        """The process ends but the machine goes on: everything written stays; old handles fail."""
        self.life += 1

    def crash(self) -> None:
        """The machine loses power."""
        self.life += 1
        for file in {id(file): file for file in (*self.names.values(), *self.durable_names.values())}.values():
            if file.is_dirty:
                self.struck["unsynced_bytes"] += 1
                file.crash(self.chance)
        self.names = self._names_after_crash()
        self.durable_names = dict(self.names)

    def flip_bit(self, prefix: str = "") -> str | None:
        """Damage one bit of one file; its name, or None when there is nothing to damage."""
        names = sorted(name for name, file in self.names.items() if name.startswith(prefix) and file.content)
        if not names:
            return None
        name = self.chance.choice(names)
        content = self.names[name].content
        content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
        self.struck["bit_flip"] += 1
        return name

    def flip_bit_in(self, name: str, offset: int, length: int) -> bool:
        """Damage one bit in this range of a file, if it is there."""
        file = self.names.get(name)
        if file is None or len(file.content) < offset + length or not length:
            return False
        file.content[offset + self.chance.randrange(length)] ^= 1 << self.chance.randrange(8)
        return True

    def snapshot(self) -> Disk:
        """A copy of everything, synced or not, as an image of the disk would hold it."""
        twin = Disk(self.chance)
        twin.pairs = self.pairs.copy()
        files = {id(file): file.copy() for file in (*self.names.values(), *self.durable_names.values())}
        twin.names = {name: files[id(file)] for name, file in self.names.items()}
        twin.durable_names = {name: files[id(file)] for name, file in self.durable_names.items()}
        return twin

    def roll_back(self, older: Disk) -> None:
        """Become what the disk was when this snapshot was taken."""
        self.life += 1
        again = older.snapshot()
        self.pairs, self.names, self.durable_names = again.pairs, again.names, again.durable_names
        self.in_doubt.clear()
        self.struck["roll_back"] += 1

    def durable_bytes(self, name: str, offset: int, length: int) -> bytes | None:
        """These bytes of a file, if a crash could not touch them."""
        file = self.durable_names.get(name)
        if file is None or offset + length > min(file.synced_size, len(file.content)):
            return None
        if any(start < offset + length and offset < start + len(old) for start, old in file.overwritten):
            return None
        return bytes(file.content[offset : offset + length])

    def used_bytes(self) -> int:
        """Bytes in files."""
        return sum(len(file.content) for file in self.names.values())

    def everything(self) -> list[tuple[str, bytes]]:
        """All that an owner of this disk could read: files by name, and values by hexadecimal key."""
        files = [(name, bytes(file.content)) for name, file in sorted(self.names.items())]
        return [*files, *((f"db {at.hex()}", value) for at, value in self.pairs.pairs.items())]

    def _names_after_crash(self) -> dict[str, _File]:
        after: dict[str, _File] = {}
        for name in sorted({*self.names, *self.durable_names}):
            now, durable = self.names.get(name), self.durable_names.get(name)
            if now is not durable:
                self.struck["unsynced_name"] += 1
            file = now if now is durable or self.chance.random() < 0.5 else durable
            if file is not None:
                after[name] = file
        kept = {id(file) for file in after.values()}
        current = {id(file) for file in self.names.values()}
        lost = {name for name, file in self.durable_names.items() if id(file) in current and id(file) not in kept}
        return {**after, **{name: self.durable_names[name] for name in lost}}  # a rename loses at most one name


class MemoryFolder:
    """`Folder` on a `Disk`."""

    def __init__(self, disk: Disk) -> None:
        self._disk: Final = disk
        self._life: Final = disk.life

    def create(self, name: str) -> None:
        names = self._names(name)
        self._check_room(name)
        if name in names:
            raise StoreError("store_file_exists", file=name)
        names[name] = _File()
        self._disk.on_new_file(name)

    def append(self, name: str, content: bytes) -> None:
        file = self._file(name)
        self._write(name, file, len(file.content), content)

    def pwrite(self, name: str, offset: int, content: bytes) -> None:
        self._write(name, self._file(name), offset, content)

    def pread(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self._file(name).content[offset : offset + length])

    def size(self, name: str) -> int | None:
        file = self._names(name).get(name)
        return None if file is None else len(file.content)

    def truncate(self, name: str, size: int) -> None:
        file = self._file(name)
        assert size <= len(file.content)
        file.cut(size)

    def fdatasync(self, name: str) -> None:
        file = self._file(name)
        self._disk.syncs += 1
        file.sync()

    def rename(self, old: str, new: str) -> None:
        names = self._names(old)
        names[new] = self._file(old)
        del names[old]

    def link(self, name: str, second: str) -> None:
        names = self._names(second)
        if second in names:
            raise StoreError("store_file_exists", file=second)
        names[second] = self._file(name)

    def fsync_folder(self, folder: str) -> None:
        names, durable = self._names(folder), self._disk.durable_names
        self._disk.syncs += 1
        for name in [name for name in durable if _parent(name) == folder and name not in names]:
            del durable[name]
        durable.update({name: file for name, file in names.items() if _parent(name) == folder})

    def unlink(self, name: str) -> None:
        self._names(name).pop(name, None)

    def list(self, folder: str) -> list[str]:
        return sorted(name.rpartition("/")[2] for name in self._names(folder) if _parent(name) == folder)

    def free_bytes(self) -> int:
        self._names("")
        if self._disk.full and self._disk.admits_being_full:
            self._disk.struck["disk_full"] += 1
            return 0
        return CAPACITY_BYTES - self._disk.used_bytes()

    def release(self, name: str) -> None:
        pass

    def close(self) -> None:
        pass

    def _write(self, name: str, file: _File, offset: int, content: bytes) -> None:
        if offset + len(content) > len(file.content):
            try:
                self._check_room(name)
            except StoreError:
                file.write(offset, content[: self._disk.chance.randint(0, len(content))])
                raise
        file.write(offset, content)
        self._disk.written_bytes += len(content)

    def _check_room(self, name: str) -> None:
        if self._disk.full:
            self._disk.struck["disk_full"] += 1
            raise StoreError("disk_full")

    def _file(self, name: str) -> _File:
        file = self._names(name).get(name)
        if file is None:
            raise StoreError("store_file_missing", file=name)
        return file

    def _names(self, name: str) -> dict[str, _File]:
        if self._life != self._disk.life:
            raise StoreError("store_io", file=name, reason="the machine is off")
        return self._disk.names


class _Snapshot:
    """A snapshot that dies with its machine."""

    def __init__(self, kv: CrashKeyValue, reading: Reading) -> None:
        self._kv: Final = kv
        self._reading: Final = reading

    def get(self, key: bytes) -> bytes | None:
        self._kv.check()
        return self._reading.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self._kv.check()
        return self._reading.scan(start, stop, limit)


class CrashKeyValue:
    """`KeyValue` on a `Disk`: batches are atomic and synced, reads cost nothing."""

    def __init__(self, disk: Disk) -> None:
        self._disk: Final = disk
        self._life: Final = disk.life
        self._poisoned = False

    def get(self, key: bytes) -> bytes | None:
        self.check()
        return self._disk.pairs.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self.check()
        return self._disk.pairs.scan(start, stop, limit)

    def snapshot(self) -> Reading:
        self.check()
        return _Snapshot(self, self._disk.pairs.snapshot())

    def write(self, pairs: Pairs) -> None:
        self.check()
        disk = self._disk
        if self._poisoned:
            raise StoreError("store_io", file="db", reason="an earlier write failed")
        if disk.full:
            disk.struck["disk_full"] += 1
            raise StoreError("disk_full")
        disk.commits += 1
        if disk.fail_commit_in:
            disk.fail_commit_in -= 1
            if not disk.fail_commit_in:
                self._fail(pairs)
        disk.syncs += 1
        disk.written_bytes += sum(len(key) + len(value or b"") for key, value in pairs)
        disk.pairs.write(pairs)
        disk.on_commit()

    def close(self) -> None:
        pass

    def _fail(self, pairs: Pairs) -> None:
        disk = self._disk
        disk.struck[f"failed_commit {disk.fail_code}"] += 1
        if disk.fail_code != "disk_full":
            self._poisoned = True
            disk.in_doubt.append(list(pairs))
        raise StoreError(disk.fail_code, file="db", reason="simulated")

    def check(self) -> None:
        if self._life != self._disk.life:
            raise StoreError("store_io", file="db", reason="the machine is off")


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
