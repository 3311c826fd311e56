"""Secrets survive damage of one copy and a crash at any moment, and nobody without the passphrase."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError, StoreError
from storage import keystore as ks
from storage.folder import OsFolder
from storage.keystore import Cost, create_keystore, open_keystore, open_secrets, read_credential, seal_secrets
from tests.support.errors import expects
from tests.support.store_kinds import FaultyFolder

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
COPIES = ("keystore.1", "keystore.2")


def entropy_from(seed: str) -> Callable[[int], bytes]:
    numbers = count()
    return lambda size: sha256(f"{seed} {next(numbers)}".encode()).digest()[:size]


ENTROPY = entropy_from("test")


@pytest.fixture
def folder(tmp_path: Path) -> FaultyFolder:
    return FaultyFolder(OsFolder(tmp_path))


def filled(folder: FaultyFolder) -> None:
    store = create_keystore(folder, b"mat khau", entropy=ENTROPY, cost=CHEAP)
    store.put({"signing": b"\x01" * 32, "vault": b"\x02" * 32}, entropy=ENTROPY)


def copies(folder: FaultyFolder) -> list[bytes]:
    return [folder.pread(f"keys/{name}", 0, 2**20) for name in COPIES]


def spoil(folder: FaultyFolder, name: str, content: bytes) -> None:
    folder.truncate(f"keys/{name}", 0)
    folder.append(f"keys/{name}", content)
    folder.release(f"keys/{name}")


def test_secrets_are_found_again_under_their_names(folder: FaultyFolder) -> None:
    filled(folder)
    store = open_keystore(folder, b"mat khau")
    assert store.names() == ("signing", "vault")
    assert (store.get("signing"), store.get("other")) == (b"\x01" * 32, None)


def test_a_secret_is_replaced_and_removed(folder: FaultyFolder) -> None:
    filled(folder)
    store = open_keystore(folder, b"mat khau")
    store.put({"vault": b"new"}, entropy=ENTROPY)
    store.remove("signing", entropy=ENTROPY)
    store.remove("never", entropy=ENTROPY)
    again = open_keystore(folder, b"mat khau")
    assert (again.names(), again.get("vault")) == (("vault",), b"new")


def test_no_secret_lies_in_clear_and_no_two_saves_look_alike(folder: FaultyFolder) -> None:
    filled(folder)
    first = copies(folder)
    open_keystore(folder, b"mat khau").put({}, entropy=ENTROPY)
    assert first[0] == first[1]
    assert b"\x01" * 8 not in first[0] and b"signing" not in first[0]
    assert copies(folder)[0][-40:] != first[0][-40:]


def test_a_wrong_passphrase_is_told_from_damage(folder: FaultyFolder) -> None:
    filled(folder)
    with expects("keystore_passphrase", ConfigurationError):
        open_keystore(folder, b"mat khau ")


def test_each_flipped_bit_of_one_copy_is_healed_from_the_other(folder: FaultyFolder) -> None:
    filled(folder)
    good = copies(folder)[0]
    for name in COPIES:
        for at in range(0, len(good), 3):
            spoil(folder, name, good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            assert open_keystore(folder, b"mat khau").get("vault") == b"\x02" * 32
            assert copies(folder) == [good, good]


@pytest.mark.parametrize("name", COPIES)
def test_a_missing_or_cut_copy_is_healed(folder: FaultyFolder, name: str) -> None:
    filled(folder)
    good = copies(folder)[0]
    folder.unlink(f"keys/{name}")
    open_keystore(folder, b"mat khau")
    assert copies(folder) == [good, good]
    spoil(folder, name, good[:50])
    open_keystore(folder, b"mat khau")
    assert copies(folder) == [good, good]


def test_a_copy_that_the_disk_cannot_read_is_healed(folder: FaultyFolder) -> None:
    filled(folder)
    folder.fail("pread", error=StoreError("store_io", file="keys/keystore.1", reason="EIO"))
    assert open_keystore(folder, b"mat khau").get("vault") == b"\x02" * 32


def test_two_damaged_copies_are_an_outcome(folder: FaultyFolder) -> None:
    filled(folder)
    for name in COPIES:
        spoil(folder, name, b"\x00" * 100)
    with expects("keystore_damaged", StoreError):
        open_keystore(folder, b"mat khau")


def test_where_there_is_none_there_is_none(folder: FaultyFolder) -> None:
    with expects("keystore_missing", StoreError):
        open_keystore(folder, b"mat khau")


def test_a_keystore_is_never_written_over(folder: FaultyFolder) -> None:
    filled(folder)
    folder.unlink("keys/keystore.1")
    with expects("keystore_exists", StoreError):
        create_keystore(folder, b"x", entropy=ENTROPY, cost=CHEAP)


@pytest.mark.parametrize("method", ["create", "append", "fdatasync", "rename", "fsync_folder"])
@pytest.mark.parametrize("copy", [1, 2])
def test_a_save_that_fails_anywhere_leaves_the_old_or_the_new_secrets(
    folder: FaultyFolder, method: str, copy: int
) -> None:
    filled(folder)
    store = open_keystore(folder, b"mat khau")
    folder.fail(method, after=copy - 1)
    with expects("disk_full", StoreError):
        store.put({"vault": b"new"}, entropy=ENTROPY)
    assert store.get("vault") == b"\x02" * 32
    found = open_keystore(folder, b"mat khau")
    assert found.get("vault") in (b"\x02" * 32, b"new")
    assert found.get("signing") == b"\x01" * 32
    store.put({"vault": b"newer"}, entropy=ENTROPY)
    assert open_keystore(folder, b"mat khau").get("vault") == b"newer"


@pytest.mark.parametrize("name", COPIES)
def test_of_two_sound_copies_the_newer_one_counts(folder: FaultyFolder, name: str) -> None:
    filled(folder)
    old = copies(folder)[0]
    open_keystore(folder, b"mat khau").put({"vault": b"new"}, entropy=ENTROPY)
    new = copies(folder)[0]
    generations = [ks.KEYSTORE.decode(copy[32:]).generation for copy in (old, new)]
    assert generations == [2, 3]
    spoil(folder, name, old)
    assert open_keystore(folder, b"mat khau").get("vault") == b"new"
    assert copies(folder) == [new, new]


def test_the_passphrase_can_be_changed(folder: FaultyFolder) -> None:
    filled(folder)
    store = open_keystore(folder, b"mat khau")
    store.change_passphrase(b"moi", entropy=ENTROPY)
    store.put({"vault": b"later"}, entropy=ENTROPY)
    assert open_keystore(folder, b"moi").get("vault") == b"later"
    with expects("keystore_passphrase", ConfigurationError):
        open_keystore(folder, b"mat khau")


def test_an_interrupted_change_of_passphrase_leaves_one_that_opens(folder: FaultyFolder) -> None:
    filled(folder)
    old = copies(folder)[1]
    open_keystore(folder, b"mat khau").change_passphrase(b"moi", entropy=ENTROPY, cost=CHEAP)
    new = copies(folder)[0]
    spoil(folder, "keystore.2", old)
    assert open_keystore(folder, b"mat khau").names() == ("signing", "vault")
    assert copies(folder) == [old, old]
    spoil(folder, "keystore.1", new)
    assert open_keystore(folder, b"moi").names() == ("signing", "vault")
    assert copies(folder) == [new, new]


def test_the_cost_of_a_guess_is_the_one_decided() -> None:
    assert Cost() == Cost(memory_kib=65_536, passes=3, lanes=1)
    blob = seal_secrets({"a": b"1"}, b"mat khau", entropy=ENTROPY)
    assert open_secrets(blob, b"mat khau") == {"a": b"1"}


def test_a_backup_opens_under_its_own_passphrase_and_is_no_keystore(folder: FaultyFolder) -> None:
    filled(folder)
    store = open_keystore(folder, b"mat khau")
    blob = store.export_backup(b"giay", entropy=ENTROPY)
    assert open_secrets(blob, b"giay") == {"signing": b"\x01" * 32, "vault": b"\x02" * 32}
    assert open_secrets(store.export_backup(b"b", entropy=ENTROPY, cost=CHEAP), b"b").keys() == {"signing", "vault"}
    with expects("keystore_passphrase", ConfigurationError):
        open_secrets(blob, b"mat khau")
    for name in COPIES:
        spoil(folder, name, blob)
    with expects("keystore_passphrase", ConfigurationError):
        open_keystore(folder, b"giay")


def test_a_damaged_backup_is_an_outcome() -> None:
    blob = seal_secrets({"a": b"1"}, b"p", entropy=ENTROPY, cost=CHEAP)
    for bad in (b"", blob[:-1], blob + b"\x00", bytes([blob[0] ^ 1]) + blob[1:]):
        with expects("key_backup_damaged", ConfigurationError):
            open_secrets(bad, b"p")


def with_sum(content: bytes) -> bytes:
    return sha256(content).digest() + content


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_kib": 2**40},
        {"memory_kib": 7},
        {"passes": 0},
        {"passes": 2**30},
        {"lanes": 0},
        {"lanes": 1000, "memory_kib": 100_000},
        {"nonce": b"short"},
    ],
)
def test_a_backup_with_a_senseless_cost_is_refused_before_anything_is_derived(changes: dict[str, int | bytes]) -> None:
    fields: dict[str, object] = {"memory_kib": 8, "passes": 1, "lanes": 1, "nonce": bytes(12), **changes}
    box = ks.Box(salt=bytes(16), generation=0, sealed=bytes(20), **fields)  # type: ignore[arg-type]
    with expects("key_backup_damaged", ConfigurationError):
        open_secrets(with_sum(ks.KEY_BACKUP.encode(box)), b"p")


def test_a_sound_checksum_over_something_else_is_damage() -> None:
    with expects("key_backup_damaged", ConfigurationError):
        open_secrets(with_sum(b"\x80"), b"p")


# --- credential files -------------------------------------------------------------------------


def credential(tmp_path: Path, content: bytes, mode: int = 0o400) -> Path:
    path = tmp_path / "credential"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"mat khau", b"mat khau\n", b"mat khau\r\n", b"mat khau\nnote\n"])
def test_the_first_line_of_a_credential_file_is_the_passphrase(tmp_path: Path, content: bytes) -> None:
    assert read_credential(credential(tmp_path, content)) == b"mat khau"


def test_a_credential_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    for mode in (0o440, 0o404, 0o620):
        with expects("credential_open", ConfigurationError):
            read_credential(credential(tmp_path, b"x", mode))


def test_an_empty_and_a_missing_credential_file_are_refused(tmp_path: Path) -> None:
    with expects("credential_empty", ConfigurationError):
        read_credential(credential(tmp_path, b"\nlater\n"))
    with expects("credential_missing", ConfigurationError):
        read_credential(tmp_path / "none")


def test_a_credential_file_that_is_a_folder_is_an_input_output_error(tmp_path: Path) -> None:
    with expects("store_io", StoreError):
        read_credential(tmp_path)
