"""Starts that must fail: `truc run` as a process ends with exit code 4 and one line that says why, nothing is
changed, and when the mistake is mended the same folder starts."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.catalogue import CATALOGUE
from storage.leveldb import LevelKeyValue
from storage.lock import FolderLock
from storage.migrations import SCHEMA_VERSION, version_pair
from tests.cli.conftest import truc
from tests.cli.real_node import founded, run_to_its_end, running
from tests.support.errors import record
from tests.support.ports import free_port

LAN = "192.0.2.7"
"""An address of nobody (RFC 5737)."""


def why(config: Path) -> dict[str, Any]:
    """The last line of a start that failed, complete in both languages."""
    ran = run_to_its_end(config)
    last: dict[str, Any] = json.loads(ran.stderr.splitlines()[-1])
    assert (ran.returncode, last["event"]) == (4, "start_failed"), ran.stderr
    entry = CATALOGUE[last["code"]]
    assert last["vi"] and last["en"]
    assert last["vi"] != last["en"]
    assert last["next_step"].partition("{")[0] == entry.next_vi.partition("{")[0]
    assert "Traceback" not in ran.stderr
    record(last["code"])
    return last


@contextmanager
def changed(file: Path, change: Callable[[str], str]) -> Iterator[None]:
    """A file with other content, put right afterwards."""
    before, mode = file.read_text(), file.stat().st_mode
    file.chmod(0o600)
    file.write_text(change(before))
    file.chmod(mode)
    yield
    file.chmod(0o600)
    file.write_text(before)
    file.chmod(mode)


def with_api(line: str) -> Callable[[str], str]:
    """The configuration with another TCP listener or TLS section."""
    return lambda text: text.replace('tcp = ""', line)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node's configuration."""
    return founded(tmp_path / "node", free_port())


def mends(config: Path, notify: Path) -> None:
    """The node starts and answers."""
    with running(config, notify):
        assert truc("--config", config, "--json", "node").json["centre"] == "00.22.W00"


def test_five_mistakes_of_a_configuration_are_one_line_with_five_places(config: Path, tmp_path: Path) -> None:
    def spoil(text: str) -> str:
        text = text.replace('centre = "00.22.W00"', 'centre = "G22"').replace('tcp = ""', f'tcp = "{LAN}:4680"')
        text = text.replace("data_dir", "data_dri")
        return text + '\n[delivery]\nretention_days = -1\n[log]\nlevel = "loud"\n'

    with changed(config, spoil):
        told = why(config)
    assert told["code"] == "config_invalid"
    assert sorted(mistake.partition(":")[0] for mistake in told["mistakes"]) == [
        "api.tcp", "data_dri", "delivery.retention_days", "log.level", "node.centre",
    ]  # fmt: skip
    mends(config, tmp_path / "notify")


def test_plain_http_for_others_and_a_certificate_that_is_none_stop_the_start(config: Path, tmp_path: Path) -> None:
    with changed(config, with_api(f'tcp = "{LAN}:4680"')):
        (mistake,) = why(config)["mistakes"]
    assert mistake.startswith("api.tcp: ")
    assert CATALOGUE["config_plain_listener"].en.partition("{")[0] in mistake
    tls = f'tcp = ""\ntls = {{ address = "127.0.0.1:0", certificate = "{tmp_path}/none.pem", key = "{tmp_path}/k" }}'
    with changed(config, with_api(tls)):
        assert why(config)["code"] == "tls_unusable"
    mends(config, tmp_path / "notify")


def test_a_wrong_passphrase_opens_nothing(config: Path, tmp_path: Path) -> None:
    with changed(config.parent / "passphrase", lambda _text: "not the passphrase\n"):
        assert why(config)["code"] == "keystore_passphrase"
    mends(config, tmp_path / "notify")


def set_schema(data: Path, version: int) -> None:
    """Let a store say that it is of this version."""
    lock, store = FolderLock(data), LevelKeyValue(data / "db", create=False)
    try:
        store.write([version_pair(version)])
    finally:
        store.close()
        lock.release()


def test_a_data_folder_of_a_newer_version_is_left_alone(config: Path, tmp_path: Path) -> None:
    data = config.parent / "data"
    incarnation = incarnation_of(config, tmp_path / "first")
    set_schema(data, SCHEMA_VERSION + 1)
    for _ in range(2):  # the first refusal must not have changed what the second one sees
        told = why(config)
        assert told["code"] == "store_newer"
        assert str(SCHEMA_VERSION + 1) in told["vi"] and str(SCHEMA_VERSION) in told["vi"]
    set_schema(data, SCHEMA_VERSION)  # as if the newer program were back
    assert incarnation_of(config, tmp_path / "second") == incarnation


def incarnation_of(config: Path, notify: Path) -> str:
    """Which store the running node has."""
    with running(config, notify):
        told: dict[str, Any] = truc("--config", config, "--json", "node").json
        return str(told["store"]["incarnation"])


def test_a_port_or_a_socket_that_somebody_has_stops_the_start_and_not_the_other(config: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with changed(config, with_api(f'tcp = "{address}"')):
            told = why(config)
    assert (told["code"], address in told["en"]) == ("socket_in_use", True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(config.parent / "data" / "api.sock"))
        other.listen()
        assert why(config)["code"] == "socket_in_use"
    with running(config, tmp_path / "notify"):
        assert why(config)["code"] == "store_locked", "two daemons on one folder"
        assert truc("--config", config, "--json", "node").json["centre"] == "00.22.W00"
