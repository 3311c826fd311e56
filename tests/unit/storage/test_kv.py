"""One contract for every key-value store; LevelDB's own traps."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import plyvel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import StoreError
from storage.kv import KeyValue, MemoryKeyValue, Pairs, Published
from storage.leveldb import LevelKeyValue, outcome
from tests.support.errors import expects

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["memory", "leveldb"])
def kv(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    store: KeyValue = MemoryKeyValue() if request.param == "memory" else LevelKeyValue(tmp_path / "db", create=True)
    yield store
    store.close()


def test_a_written_value_is_read_back_and_a_deleted_one_is_gone(kv: KeyValue) -> None:
    kv.write([(b"a", b"1"), (b"b", b"2")])
    kv.write([(b"a", None), (b"never", None)])
    assert (kv.get(b"a"), kv.get(b"b"), kv.get(b"never")) == (None, b"2", None)


def test_the_later_pair_of_one_key_wins(kv: KeyValue) -> None:
    kv.write([(b"a", b"1"), (b"a", None), (b"a", b"2"), (b"b", b"1"), (b"b", None)])
    assert kv.scan(b"", b"\xff", 10) == [(b"a", b"2")]


def test_a_scan_runs_in_key_order_from_start_to_before_stop(kv: KeyValue) -> None:
    kv.write([(bytes([n]), b"") for n in (5, 1, 9, 3, 7)])
    assert [key[0] for key, _ in kv.scan(b"\x03", b"\x09", 10)] == [3, 5, 7]
    assert [key[0] for key, _ in kv.scan(b"\x03", b"\x09", 2)] == [3, 5]
    assert kv.scan(b"\x0a", b"\xff", 10) == []
    assert kv.scan(b"\x09", b"\x03", 10) == []


pairs = st.lists(st.tuples(st.binary(max_size=2), st.none() | st.binary(max_size=3)), max_size=12)


@given(st.lists(pairs, max_size=6), st.binary(max_size=2), st.binary(max_size=2), st.integers(1, 8))
def test_the_memory_store_agrees_with_a_dictionary(batches: list[Pairs], start: bytes, stop: bytes, limit: int) -> None:
    kv, model = MemoryKeyValue(), dict[bytes, bytes]()
    for batch in batches:
        kv.write(batch)
        for key, value in batch:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    expected = [(key, model[key]) for key in sorted(model) if start <= key < stop]
    assert kv.scan(start, stop, limit) == expected[:limit]
    assert {key: kv.get(key) for key in model} == model


def test_a_copy_of_the_memory_store_does_not_follow_the_original() -> None:
    kv = MemoryKeyValue({b"a": b"1"})
    copy = kv.copy()
    kv.write([(b"a", b"2")])
    assert copy.get(b"a") == b"1"


def test_leveldb_finds_everything_again_after_it_was_closed(tmp_path: Path) -> None:
    first = LevelKeyValue(tmp_path / "db", create=True)
    first.write([(b"a", b"1")])
    first.close()
    second = LevelKeyValue(tmp_path / "db", create=False)
    assert second.get(b"a") == b"1"
    second.close()


def test_a_database_that_should_exist_and_does_not_is_damage(tmp_path: Path) -> None:
    with expects("store_damaged", StoreError):
        LevelKeyValue(tmp_path / "db", create=False)


def test_a_database_that_cannot_be_opened_at_all_is_an_input_output_error(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("a file where the folder should be")
    with expects("store_io", StoreError):
        LevelKeyValue(tmp_path / "db", create=True)


def test_a_flipped_byte_of_the_log_refuses_the_database(tmp_path: Path) -> None:
    kv = LevelKeyValue(tmp_path / "db", create=True)
    for number in range(5):
        kv.write([(bytes([number]), b"v" * 50)])
    kv.close()
    (log,) = (tmp_path / "db").glob("*.log")
    content = bytearray(log.read_bytes())
    content[100] ^= 0x10
    log.write_bytes(content)
    with expects("store_damaged", StoreError):
        LevelKeyValue(tmp_path / "db", create=False)


@pytest.mark.parametrize("read", ["get", "scan"])
def test_a_flipped_byte_of_a_table_is_noticed_when_it_is_read(tmp_path: Path, read: str) -> None:
    # One block, so that it is the last of every scan; its content cannot be compressed.
    value = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(10))
    kv = LevelKeyValue(tmp_path / "db", create=True)
    kv.write([(b"key", value)])
    kv.close()
    LevelKeyValue(tmp_path / "db", create=False).close()  # turns the log into a table
    (table,) = (tmp_path / "db").glob("*.ldb")
    content = bytearray(table.read_bytes())
    content[content.index(value[100:120])] ^= 0x10
    table.write_bytes(content)
    kv = LevelKeyValue(tmp_path / "db", create=False)
    with expects("store_damaged", StoreError):
        kv.get(b"key") if read == "get" else kv.scan(b"", b"\xff", 1000)
    kv.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (plyvel.IOError(b"IO error: db/000003.log: No space left on device"), "disk_full"),
        (plyvel.IOError(b"IO error: db/000003.log: Disk quota exceeded"), "disk_full"),
        (plyvel.IOError(b"IO error: db/000003.log: Input/output error"), "store_io"),
        (plyvel.IOError("words"), "store_io"),
        (plyvel.CorruptionError(b"Corruption: checksum mismatch"), "store_damaged"),
        (plyvel.Error(), "store_damaged"),
    ],
)
def test_each_error_of_leveldb_has_an_outcome(error: Exception, code: str) -> None:
    with expects(code, StoreError):
        raise outcome(error)


FILL = """
import resource, sys
from pathlib import Path
from protocol.errors import StoreError
from storage.leveldb import LevelKeyValue
kv = LevelKeyValue(Path(sys.argv[1]), create=True)
written = []
def write(name, size):
    try:
        kv.write([(name, b"x" * size)])
        written.append(name.decode())
    except StoreError as error:
        print(error.code)
for number in range(20):
    write(b"n%d" % number, 1000)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, limits[1]))
write(b"too large", 10_000)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
for number in range(20, 60):
    write(b"n%d" % number, 1000)
print(kv.get(b"too large"), *written)
"""


def test_after_a_write_that_the_disk_could_not_take_leveldb_writes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    """Without this the forty batches behind the hole are acknowledged and lost."""
    command = [sys.executable, "-c", FILL, str(tmp_path / "db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    first, *stopped, last = done.stdout.splitlines()
    assert (first, set(stopped)) == ("disk_full", {"store_stopped"})
    failed, *written = last.split()
    assert (failed, len(written)) == ("None", 20)
    kv = LevelKeyValue(tmp_path / "db", create=False)
    assert [key.decode() for key, _ in kv.scan(b"", b"\xff", 100)] == sorted(written)
    kv.close()


def test_leveldb_refuses_to_write_after_any_failed_write(tmp_path: Path) -> None:
    kv = LevelKeyValue(tmp_path / "db", create=True)
    with pytest.raises(TypeError):
        kv.write([(b"a", b"1"), (b"b", "no bytes")])  # type: ignore[list-item]
    with expects("store_stopped", StoreError):
        kv.write([(b"c", b"1")])
    assert kv.scan(b"", b"\xff", 9) == []
    kv.close()


def test_a_snapshot_is_of_its_moment(kv: KeyValue) -> None:
    kv.write([(b"a", b"1"), (b"b", b"2"), (b"d", b"4")])
    before = kv.snapshot()
    kv.write([(b"a", b"new"), (b"b", None), (b"c", b"3")])
    after = kv.snapshot()
    kv.write([(b"a", None), (b"b", b"again")])
    assert before.scan(b"a", b"z", 9) == [(b"a", b"1"), (b"b", b"2"), (b"d", b"4")]
    assert before.scan(b"a", b"z", 2) == [(b"a", b"1"), (b"b", b"2")]
    assert before.scan(b"b", b"d", 9) == [(b"b", b"2")]
    assert [before.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"2", None, b"4"]
    assert after.scan(b"a", b"z", 9) == [(b"a", b"new"), (b"c", b"3"), (b"d", b"4")]
    assert kv.scan(b"a", b"z", 9) == [(b"b", b"again"), (b"c", b"3"), (b"d", b"4")]


def test_reads_stay_at_what_was_published(kv: KeyValue) -> None:
    kv.write([(b"a", b"1")])
    shown = Published(kv)
    kv.write([(b"a", b"2"), (b"b", b"3")])
    assert (shown.get(b"a"), shown.scan(b"a", b"z", 9)) == (b"1", [(b"a", b"1")])
    shown.publish()
    assert (shown.get(b"a"), shown.scan(b"a", b"z", 9)) == (b"2", [(b"a", b"2"), (b"b", b"3")])
