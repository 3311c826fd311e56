"""What was acknowledged is there after a kill at any moment, and damage never passes for content."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import StoreError
from protocol.record import Body, Delete, Put
from storage.folder import OsFolder
from storage.leveldb import LevelKeyValue
from storage.store import Store, create_on, create_store, open_on, open_store
from tests.support.store_kinds import INCARNATION, Letter, WatchedKeyValue, put_body

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from protocol.record import Put
from storage.store import open_store
from tests.support.store_kinds import Letter, put_body
store = open_store(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    store.write([Put(Letter(agency="H38", number=number)), put_body(b"%d " % number * 200)])
    print(number, flush=True)
"""


def blob(number: int) -> bytes:
    return b"%d " % number * 200


def check(store: Store, acknowledged: int) -> int:
    """Everything up to `acknowledged` is there with its body; returns how many there are."""
    letters = store.view.scan(Letter, limit=10**6)
    assert [letter.number for letter in letters] == list(range(len(letters)))
    assert len(letters) >= acknowledged
    for letter in letters:
        source = store.find_body(put_body(blob(letter.number)).digest)
        assert isinstance(source, Body)
        assert store.read_body(source, 0, source.size) == blob(letter.number)
    return len(letters)


def test_whatever_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_store(data, incarnation=INCARNATION).close()
    present = 0
    for wanted in (1, 40, 90):
        command = [sys.executable, "-c", WRITER, str(data), str(present)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(wanted):
                writer.stdout.readline()
            writer.kill()
            numbers = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        acknowledged = (numbers[-1] if numbers else present + wanted - 1) + 1
        store = open_store(data)
        present = check(store, acknowledged)
        assert present <= acknowledged + 1
        store.close()


def test_a_folder_copied_at_any_moment_of_a_batch_opens_with_all_older_batches(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    copies: list[Path] = []

    def copy() -> None:
        target = tmp_path / f"copy{len(copies)}"
        shutil.copytree(tmp_path / "data", target)
        copies.append(target)

    kv = WatchedKeyValue(LevelKeyValue(tmp_path / "data" / "db", create=True))
    store = create_on(kv, OsFolder(tmp_path / "data"), incarnation=INCARNATION, roll_bytes=1500)
    kv.before, kv.after = copy, copy
    for number in range(6):
        store.write([Put(Letter(agency="H38", number=number)), put_body(blob(number))])
    store.close()
    for index, copied in enumerate(copies):
        folder = OsFolder(copied)
        segments = folder.path / "segments"
        torn = max(segments.iterdir())
        torn.write_bytes(torn.read_bytes() + b"torn")
        again = open_on(LevelKeyValue(copied / "db", create=False), folder, roll_bytes=1500)
        present = check(again, 0)
        assert present == (index + 1) // 2
        again.write([Put(Letter(agency="H38", number=present)), put_body(blob(present))])
        check(again, present + 1)
        again.close()


def test_a_log_cut_anywhere_loses_nothing_silently(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = create_store(data, incarnation=INCARNATION)
    for number in range(4):
        store.write([Put(Letter(agency="H38", number=number)), put_body(blob(number))])
    store.close()
    (log,) = (data / "db").glob("*.log")
    size = log.stat().st_size
    for cut in range(0, size, 23):
        copied = tmp_path / f"cut{cut}"
        shutil.copytree(data, copied)
        with (copied / "db" / log.name).open("r+b") as file:
            file.truncate(cut)
        with pytest.raises(StoreError) as caught:
            open_store(copied)
        assert caught.value.code in {"store_behind", "store_missing"}
        (copied / "commit_mark").unlink()  # as after a real power cut in the last batch
        if cut > size - 100:
            again = open_store(copied)
            assert check(again, 3) == 3
            again.close()
        shutil.rmtree(copied)


def make_damageable(data: Path) -> None:
    """A store with a table, a log, two segments and a large body."""
    store = create_store(data, incarnation=INCARNATION)
    for number in range(10):
        store.write([Put(Letter(agency="H38", number=number)), put_body(blob(number))])
    store.close()
    store = open_store(data)  # the log becomes a table
    writer = store.bodies.writer(b"\x01" * 16)
    writer.write(b"large" * 10)
    digest = hashlib.sha256(b"\x00" + b"large" * 10).digest()
    store.write([Put(Body(digest=digest, size=50, place=writer.finish(digest)))])
    store.write([Put(Letter(agency="H38", number=10)), put_body(blob(10)), Delete(Letter, ("H38", 99))])
    store.close()


def look(data: Path) -> tuple[object, ...]:
    """Everything that can be read. A body counts with its bytes only if they match its digest:
    bodies are verified by whoever uses them."""
    store = open_store(data)
    try:
        bodies = store.view.scan(Body)
        sound = []
        for body in bodies:
            content = store.read_body(body, 0, body.size)
            sound.append(hashlib.sha256(b"\x00" + content).digest() == body.digest)
        return store.head, store.incarnation, store.view.scan(Letter), bodies, sound
    finally:
        store.close()


def test_a_flipped_bit_in_any_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_damageable(data)
    pristine = tmp_path / "pristine"
    shutil.copytree(data, pristine)
    good = look(data)
    struck: set[str] = set()
    for path in sorted(path for path in pristine.rglob("*") if path.is_file() and path.stat().st_size):
        name = path.relative_to(pristine)
        size = path.stat().st_size
        for position in range(size // 3, size, max(1, size // 9)):
            shutil.rmtree(data)
            shutil.copytree(pristine, data)
            content = bytearray(path.read_bytes())
            content[position] ^= 1 << position % 8
            (data / name).write_bytes(content)
            try:
                found = look(data)
            except StoreError:
                struck.add(name.suffix or name.parts[0])
                continue
            assert found[:4] == good[:4], f"{name} at {position}"
            if found != good:
                struck.add("body")
                assert name.parts[0] in {"segments", "bodies"}
    assert {"body", "db", ".ldb", ".log"} <= struck
