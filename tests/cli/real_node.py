"""`truc run` as an operator starts it, in a process of its own on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.conftest import ROOT, truc

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
            words(config), cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(notify)},
        )  # fmt: skip
        try:
            assert ears.recv(100) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def words(config: Path) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "node.cli.main", "--config", str(config), "run"]


def run_to_its_end(config: Path) -> subprocess.CompletedProcess[str]:
    """`truc run` that is expected to end by itself."""
    return subprocess.run(words(config), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
