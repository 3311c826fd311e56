"""One real node per run of the suite: made, registered, started and filled by the commands themselves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.cli.main import main
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
START_S = 60
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Ran:
    """What one call of `truc` did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


def truc(*words: object, expect: int = 0) -> Ran:
    """Run a command in this process, through the same `main` as the installed program."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    ran = Ran(code, out.getvalue(), err.getvalue())
    assert code == expect, ran
    return ran


@dataclass(frozen=True, slots=True)
class World:
    """A running node of centre 00.22.W00 with the agencies G22 and G22.99."""

    folder: Path
    config: Path
    root: str
    log: Path
    port: int

    def truc(self, *words: object, expect: int = 0) -> Ran:
        """A command against this node, in Vietnamese."""
        return truc("--config", self.config, "--lang", "vi", *words, expect=expect)

    def json(self, *words: object, expect: int = 0) -> Any:
        """The JSON answer of a command."""
        return truc("--config", self.config, "--json", *words, expect=expect).json


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A node's folder, registered with an authority of its own; not running yet."""
    return make_world(tmp_path_factory.mktemp("truc"))


def make_world(folder: Path) -> World:
    """As `founded`, for a module that changes the directory and needs a node for itself."""
    home, authority, secret = folder / "node", folder / "authority", folder / "secret"
    port = free_port()
    secret.write_text("the authority's passphrase\n")
    secret.chmod(0o400)
    truc("init", "--folder", home, "--centre", "00.22.W00", "--name", "Văn phòng Chính phủ", "--make-passphrase",
         "--tcp", f"127.0.0.1:{port}", "--listen", "/ip4/127.0.0.1/tcp/0")  # fmt: skip
    sign = ("authority", "--folder", authority, "--passphrase-file", secret, "--json")
    root = truc(*sign, "init").json["root_digest"]
    truc(*sign, "centre", home / "centre-request.truc")
    for code, name in (("G22", "Văn phòng Chính phủ"), ("G22.99", "Vụ Thử nghiệm")):
        truc(*sign, "agency", "--code", code, "--name", name, "--host", "00.22.W00", "--kind", "cơ quan")
    config = home / "node.toml"
    config.write_text(config.read_text().replace('root_digest = ""', f'root_digest = "{root}"'))
    return World(folder, config, root, folder / "log", port)


@pytest.fixture(scope="session")
def world(founded: World) -> Iterator[World]:
    """The node runs in a process of its own and knows its directory."""
    with started(founded):
        founded.truc("directory", "import", founded.folder / "authority" / "directory.truc")
        yield founded


@contextlib.contextmanager
def started(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """Start the node's process, wait until it tells systemd that it is ready, stop it in the end."""
    notify = world.folder / "notify"
    notify.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, world.log.open("ab") as log:
        ready.bind(str(notify))
        ready.settimeout(START_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.node_process", str(world.config)],
            cwd=ROOT, stderr=log, env={**os.environ, "NOTIFY_SOCKET": str(notify)},
        )  # fmt: skip
        try:
            assert _heard(ready, process) == b"READY=1", world.log.read_text()
            yield process
        finally:
            process.terminate()
            process.wait(STOP_S)
            process.kill()


def _heard(ready: socket.socket, process: subprocess.Popen[bytes]) -> bytes:
    """The first word of the process; nothing if it ends without one."""
    for _ in range(START_S * 4):
        ready.settimeout(0.25)
        with contextlib.suppress(TimeoutError):
            return ready.recv(100)
        if process.poll() is not None:
            return b""
    return b""
