"""`truc run` as an operator starts it: the real network, the real API, signals, a port that is taken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.conftest import ROOT, free_port, truc

READY_S = 60


def founded(folder: Path, port: int) -> Path:
    """A node's configuration that listens on this port of the loopback."""
    words = ("--centre", "00.22.W00", "--name", "x", "--make-passphrase", "--tcp", "")
    listen = f"/ip4/127.0.0.1/tcp/{port}"
    return Path(truc("--json", "init", "--folder", folder, *words, "--listen", listen).json["config"])


@contextmanager
def running(config: Path, notify: Path) -> Iterator[subprocess.Popen[str]]:
    """`truc run`, ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(notify))
        ears.settimeout(READY_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "node.cli.main", "--config", str(config), "run"],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "NOTIFY_SOCKET": str(notify)},
        )  # fmt: skip
        try:
            assert ears.recv(100) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def test_a_node_runs_answers_and_stops_at_a_signal(tmp_path: Path) -> None:
    config = founded(tmp_path / "a", free_port())
    with running(config, tmp_path / "notify") as process:
        assert truc("--config", config, "--json", "node").json["joined"] is False
        assert "not_joined" in truc("--config", config, "--json", "doctor", expect=1).out
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        events = [json.loads(line)["event"] for line in process.stderr]
    assert events[-2:] == ["stopping", "stopped"]
    truc("--config", config, "node", expect=3)


def test_a_port_that_another_daemon_has_is_told_with_its_address(tmp_path: Path) -> None:
    port = free_port()
    first, second = founded(tmp_path / "a", port), founded(tmp_path / "b", port)
    with running(first, tmp_path / "notify"):
        ran = subprocess.run(
            [sys.executable, "-m", "node.cli.main", "--config", str(second), "run"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert truc("--config", first, "--json", "node").json["centre"] == "00.22.W00"
    assert ran.returncode == 4
    last = json.loads(ran.stderr.splitlines()[-1])
    assert (last["event"], last["code"]) == ("start_failed", "address_taken")
    assert str(port) in last["en"]
