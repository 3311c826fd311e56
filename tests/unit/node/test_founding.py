"""What `truc init` and `truc keys` leave on the disk, and what they refuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import load_config
from node.environment import RealEnvironment
from node.founding import (
    CONFIG_NAME,
    CREDENTIALS_VARIABLE,
    PASSPHRASE_FILE_VARIABLE,
    REQUEST_NAME,
    Founded,
    Plan,
    back_up_keys,
    find_passphrase,
    found_node,
    keystore_digests,
    make_passphrase,
    open_keyring,
    restore_keys,
    write_new,
)
from node.peer_id import peer_id_of
from protocol.directory_file import read_file
from protocol.errors import ConfigurationError, RequestError, StoreError
from protocol.requests import check_centre_request
from protocol.signing import Signed, Verifier
from storage.keystore import Cost
from tests.support.errors import expects

CHEAP = Cost(memory_kib=64, passes=1)
NOW_MS = 1_780_000_000_000
entropy = RealEnvironment().entropy


def plan(folder: Path, **changes: object) -> Plan:
    return replace(Plan(folder=folder, centre="00.22.W00", name_vi="Văn phòng Chính phủ"), **changes)  # type: ignore[arg-type]


def found(folder: Path) -> Founded:
    return found_node(plan(folder), b"open sesame", entropy=entropy, now_ms=NOW_MS, cost=CHEAP)


def test_a_new_node_has_a_configuration_that_loads_and_keys_that_open(tmp_path: Path) -> None:
    made = found(tmp_path)
    config = load_config(made.config)
    keyring = open_keyring(config, b"open sesame")
    assert config.node.centre == "00.22.W00"
    assert made.peer_id == peer_id_of(keyring.identity_seed)
    assert config.node.root_digest is None


def test_only_its_own_user_can_read_what_was_made(tmp_path: Path) -> None:
    made = found(tmp_path)
    keystore = made.data / "keys" / "keystore.1"
    assert [path.stat().st_mode & 0o777 for path in (made.config, made.request, keystore)] == [0o600] * 3


def test_the_request_proves_that_the_keys_are_here(tmp_path: Path) -> None:
    made = found(tmp_path)
    [wire] = read_file(made.request.read_bytes())
    request = check_centre_request(Signed.from_wire(wire, bytes_max=65_536), Verifier())
    assert (request.code, request.names.vi, request.peer_id) == ("00.22.W00", "Văn phòng Chính phủ", made.peer_id)


@pytest.mark.parametrize("name", [CONFIG_NAME, REQUEST_NAME])
def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with expects("file_exists", ConfigurationError):
        found(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "data").exists()


def test_keys_that_are_there_are_not_replaced(tmp_path: Path) -> None:
    made = found(tmp_path)
    before = keystore_digests(made.data)
    made.config.unlink()
    made.request.unlink()
    with expects("keystore_exists", StoreError):
        found(tmp_path)
    assert keystore_digests(made.data) == before


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with expects("centre_code_malformed", RequestError):
        found_node(plan(tmp_path, centre="G22"), b"x", entropy=entropy, now_ms=NOW_MS, cost=CHEAP)
    wrong = plan(tmp_path, listen=("nonsense",), root_digest="abc", tcp="0.0.0.0:80")
    with expects("config_invalid", ConfigurationError) as caught:
        found_node(wrong, b"x", entropy=entropy, now_ms=NOW_MS, cost=CHEAP)
    assert caught[0].detail["count"] == 3
    assert list(tmp_path.iterdir()) == []


def test_words_with_quotes_stay_words(tmp_path: Path) -> None:
    listen = plan(tmp_path, credential=tmp_path / 'a "b" \\ c')
    found_node(listen, b"x", entropy=entropy, now_ms=NOW_MS, cost=CHEAP)
    assert load_config(tmp_path / CONFIG_NAME).keystore.credential_file == tmp_path / 'a "b" \\ c'


# --- passphrases ----------------------------------------------------------------------------


def nobody() -> Callable[[], str] | None:
    return None


def test_a_made_passphrase_is_long_secret_and_made_once(tmp_path: Path) -> None:
    path = make_passphrase(tmp_path / "node", entropy=entropy)
    assert path.stat().st_mode & 0o777 == 0o400
    assert len(find_passphrase(path, {}, nobody())) == 40
    with expects("file_exists", ConfigurationError):
        make_passphrase(tmp_path / "node", entropy=entropy)


def test_the_passphrase_is_looked_for_where_an_unattended_start_can_have_it(tmp_path: Path) -> None:
    def secret(name: str, content: str) -> Path:
        path = tmp_path / name
        write_new(path, content.encode(), mode=0o400)
        return path

    configured, named = secret("configured", "one"), secret("named", "two")
    secret("passphrase", "three")
    variables = {CREDENTIALS_VARIABLE: str(tmp_path)}
    assert find_passphrase(None, {}, lambda: "typed") == b"typed"
    assert find_passphrase(None, variables, nobody()) == b"three"
    variables[PASSPHRASE_FILE_VARIABLE] = str(named)
    assert find_passphrase(None, variables, nobody()) == b"two"
    assert find_passphrase(configured, variables, nobody()) == b"one"


def test_nobody_to_ask_is_an_outcome_and_not_a_wait() -> None:
    with expects("passphrase_needed", ConfigurationError):
        find_passphrase(None, {}, nobody())


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    made = found(tmp_path)
    with expects("keystore_passphrase", ConfigurationError):
        open_keyring(load_config(made.config), b"open barley")


def test_opening_keys_makes_no_folder(tmp_path: Path) -> None:
    made = found(tmp_path)
    config = load_config(made.config).model_copy(update={"data_dir": tmp_path / "elsewhere"})
    with expects("keystore_missing", StoreError):
        open_keyring(config, b"x")
    assert not (tmp_path / "elsewhere").exists()


# --- backup ---------------------------------------------------------------------------------


def test_a_backup_brings_the_same_node_back(tmp_path: Path) -> None:
    made = found(tmp_path / "a")
    config, backup = load_config(made.config), tmp_path / "keys.backup"
    count = back_up_keys(config, b"open sesame", backup, b"other", entropy=entropy, now_ms=NOW_MS)
    assert count == 4
    fresh = config.model_copy(update={"data_dir": tmp_path / "b"})
    restore_keys(fresh, backup, b"other", b"new words", entropy=entropy, now_ms=NOW_MS)
    assert peer_id_of(open_keyring(fresh, b"new words").identity_seed) == made.peer_id


def test_the_mark_of_a_backup_names_the_keystore_as_it_was(tmp_path: Path) -> None:
    made = found(tmp_path)
    back_up_keys(load_config(made.config), b"open sesame", tmp_path / "k", b"o", entropy=entropy, now_ms=NOW_MS)
    noted = json.loads((made.data / "keys" / "backup-made.json").read_text())
    assert noted == {"time_ms": NOW_MS, "keystores": keystore_digests(made.data)}


def test_a_backup_is_not_written_over_another_file(tmp_path: Path) -> None:
    made = found(tmp_path)
    with expects("file_exists", ConfigurationError):
        back_up_keys(load_config(made.config), b"open sesame", made.config, b"o", entropy=entropy, now_ms=NOW_MS)
    assert not (made.data / "keys" / "backup-made.json").exists()


def test_keys_are_restored_only_where_there_are_none(tmp_path: Path) -> None:
    made = found(tmp_path)
    config, backup = load_config(made.config), tmp_path / "keys.backup"
    back_up_keys(config, b"open sesame", backup, b"other", entropy=entropy, now_ms=NOW_MS)
    with expects("keystore_exists", StoreError):
        restore_keys(config, backup, b"other", b"new", entropy=entropy, now_ms=NOW_MS)
    with expects("keystore_passphrase", ConfigurationError):
        restore_keys(config, backup, b"wrong", b"new", entropy=entropy, now_ms=NOW_MS)
    with expects("key_backup_damaged", ConfigurationError):
        restore_keys(config, made.config, b"other", b"new", entropy=entropy, now_ms=NOW_MS)
    with expects("file_unreadable", ConfigurationError):
        restore_keys(config, tmp_path / "none", b"other", b"new", entropy=entropy, now_ms=NOW_MS)


def test_a_place_that_cannot_be_written_is_an_outcome(tmp_path: Path) -> None:
    with expects("file_unwritable", ConfigurationError):
        write_new(tmp_path / "no" / "such" / "folder", b"")
    with expects("file_unwritable", ConfigurationError):
        make_passphrase(Path(os.devnull) / "x", entropy=entropy)
