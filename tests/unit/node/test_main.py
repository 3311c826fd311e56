"""The real start of a node: order, conflicts, signals, and one line of log when it cannot start."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from node.config import Config
from node.daemon import Node
from node.environment import RealEnvironment
from node.founding import Plan, found_node, write_new
from node.keyring import Keyring
from node.logs import Log
from node.main import Notifier, Seams, check_packages, run
from node.metrics import Metrics
from node.tasks import TaskStatus
from protocol.errors import ConfigurationError, NetworkError
from protocol.records import Document
from storage.keystore import Cost
from storage.store import open_store
from tests.cli.node_process import NullTransport, make_null_transport
from tests.support.errors import expects, record

CHEAP = Cost(memory_kib=64, passes=1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's folder with a passphrase that it finds by itself."""
    environment = RealEnvironment()
    write_new(tmp_path / "secret", b"open sesame\n", mode=0o400)
    plan = Plan(folder=tmp_path, centre="00.22.W00", name_vi="x", credential=tmp_path / "secret", tcp="")
    found_node(plan, b"open sesame", entropy=environment.entropy, now_ms=environment.now_ms(), cost=CHEAP)
    return tmp_path


class Api:
    """Stands where the API stands; notes what it saw."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then
        self.seen: list[str] = []

    async def __call__(
        self,
        running: Node,
        config: Config,
        *,
        stop: trio.Event,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()
        self.seen.append(running.settings.centre)
        self.then()
        await stop.wait()
        running.store.view.get(Document, bytes(16))  # the store is still open: nodes stop after their API
        self.seen.append("stopped first")


def start(home: Path, then: Callable[[], object], **seams: Any) -> tuple[int, Api]:
    api = Api(then)
    code = run(home / "node.toml", Seams(make_transport=make_null_transport, serve_api=api, **seams))
    return code, api


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_node_starts_in_order_and_stops_in_reverse_at_a_signal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, api = start(home, terminate)
    assert code == 0
    assert api.seen == ["00.22.W00", "stopped first"]
    background = {"directory_text"}  # its moment is nobody's promise
    events = [line["event"] for line in lines(capsys) if line["event"] not in background]
    assert events[:4] == ["store_created", "starting", "not_joined", "node_ready"]
    assert set(events[4:-1]) == {"not_registered", "ready", "stopping"}
    assert events[-1] == "stopped"
    open_store(home / "data").close()


def test_the_second_start_finds_the_store_of_the_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(home, terminate)
    incarnation = lines(capsys)[0]["incarnation"]
    start(home, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert "store_created" not in [line["event"] for line in lines(capsys)]
    store = open_store(home / "data")
    assert store.incarnation.hex() == incarnation
    store.close()


def test_an_echo_of_the_signal_does_not_break_the_orderly_stop(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def thrice() -> None:
        terminate()
        terminate()
        os.kill(os.getpid(), signal.SIGINT)

    code, api = start(home, thrice)
    assert code == 0
    assert api.seen[-1] == "stopped first"


def test_a_store_that_was_used_is_never_replaced_by_an_empty_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(home, terminate)
    start(home, terminate)
    capsys.readouterr()
    store = open_store(home / "data")
    store.write(())
    store.close()
    shutil.rmtree(home / "data" / "db")
    code, _ = start(home, terminate)
    assert code == 4
    assert lines(capsys)[-1]["code"] == "store_missing"


def test_systemd_is_told(home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        start(home, terminate, variables={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert {ears.recv(100), ears.recv(100)} == {b"READY=1", b"STOPPING=1"}


def test_nobody_listening_for_the_notice_is_no_error(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "none")).say("READY=1")
    Notifier("@truc-nobody-listens").say("READY=1")


# --- conflicts ------------------------------------------------------------------------------


def test_all_mistakes_of_a_configuration_are_told_at_once_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (home / "node.toml").read_text()
    text = text.replace("data_dir", "data_dri").replace('centre = "00.22.W00"', 'centre = "G22"')
    (home / "node.toml").write_text(text.replace('tcp = ""', 'tcp = "0.0.0.0:80"'))
    assert start(home, terminate)[0] == 4
    [line] = lines(capsys)
    assert line["code"] == "config_invalid"
    assert len(line["mistakes"]) == 3
    assert "3" in line["en"]


def test_a_second_daemon_on_one_folder_is_refused_by_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def again() -> None:
        assert start(home, terminate)[0] == 4
        terminate()

    assert start(home, again)[0] == 0
    [line] = [line for line in lines(capsys) if line["event"] == "start_failed"]
    assert line["code"] == "store_locked"
    assert str(os.getpid()) in line["en"]


def test_a_folder_without_keys_is_no_node(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "data").rename(home / "elsewhere")
    assert start(home, terminate)[0] == 4
    assert lines(capsys)[-1]["code"] == "keystore_missing"
    assert not (home / "data").exists()


def test_a_wrong_passphrase_ends_with_its_code_and_the_lock_is_given_back(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "secret").unlink()
    write_new(home / "secret", b"open barley\n", mode=0o400)
    assert start(home, terminate)[0] == 4
    assert lines(capsys)[-1]["code"] == "keystore_passphrase"
    open_store(home / "data").close()


def test_without_a_credential_a_person_is_asked_or_the_start_fails(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "node.toml"
    config.write_text(config.read_text().replace(json.dumps(str(home / "secret")), '""'))
    assert start(home, terminate, variables={})[0] == 4
    assert lines(capsys)[-1]["code"] == "passphrase_needed"
    assert start(home, terminate, variables={}, ask=lambda: "open sesame")[0] == 0
    assert start(home, terminate, variables={"TRUC_PASSPHRASE_FILE": str(home / "secret")})[0] == 0


class TakenPort(NullTransport):
    """A network whose address somebody else has."""

    async def run(self, accept: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await trio.lowlevel.checkpoint()
        raise NetworkError("address_taken", address="/ip4/127.0.0.1/tcp/4601")


def test_a_taken_port_is_a_clear_error_out_of_all_nurseries(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make(config: Config, keyring: Keyring, metrics: Metrics, log: Log) -> TakenPort:
        return TakenPort()

    assert run(home / "node.toml", Seams(make_transport=make, serve_api=Api(terminate))) == 4
    last = lines(capsys)[-1]
    assert (last["event"], last["code"]) == ("start_failed", "address_taken")
    record("address_taken")


def test_a_fault_of_ours_is_logged_with_its_place_and_exit_code_5(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    assert start(home, broken)[0] == 5
    last = lines(capsys)[-1]
    assert last["event"] == "failed"
    assert "ZeroDivisionError" in last["trace"]
    open_store(home / "data").close()


def test_a_log_file_gets_the_events_and_the_reason_of_a_failed_start(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "node.toml"
    config.write_text(config.read_text() + '\n[log]\nfile = "log/node.log"\n')
    assert start(home, terminate)[0] == 0
    assert lines(capsys) == []
    events = [json.loads(line)["event"] for line in (home / "log" / "node.log").read_text().splitlines()]
    assert events[-1] == "stopped"
    (home / "secret").unlink()
    assert start(home, terminate)[0] == 4
    assert lines(capsys)[-1]["code"] == "credential_missing"
    assert "credential_missing" in (home / "log" / "node.log").read_text()


def test_a_log_file_that_cannot_be_opened_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = home / "node.toml"
    (home / "log").write_text("a file")
    config.write_text(config.read_text() + '\n[log]\nfile = "log/node.log"\n')
    assert start(home, terminate)[0] == 4
    assert lines(capsys)[-1]["code"] == "file_unwritable"


# --- packages -------------------------------------------------------------------------------


def test_our_own_packages_are_ours() -> None:
    check_packages()


def test_a_package_of_somebody_else_under_our_name_is_told() -> None:
    for stranger in (importlib.import_module("json"), types.ModuleType("storage")):
        with expects("packages_shadowed", ConfigurationError) as caught:
            check_packages({"storage": stranger})
        assert caught[0].detail["package"] == "storage"
