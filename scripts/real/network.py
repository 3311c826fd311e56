"""A small network of real nodes on this machine: made with `truc`, run as processes, killed and started again.

Obeys DECISIONS "Joining before gossip exists": `truc init` writes requests, `truc authority` answers
with a signed tree, `truc directory import` loads it. Everything is done by the commands that an
operator has. Used by the demo, the fault rounds and tests; it waits by asking the nodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.real.api import Api, Refused, Unreachable

ROOT: Final = Path(__file__).resolve().parents[2]
TRUC: Final = (sys.executable, "-m", "node.cli.main")
RUN = TRUC
READY_S: Final = 60
STOP_S: Final = 30
COMMAND_S: Final = 60
LOOK_S: Final = 0.05
SOCKET_CHARACTERS_MAX: Final = 100
"""The system takes 107 for a Unix socket's path."""
PORTS: Final = range(20_000, 32_000)
"""Below what systems give to outgoing connections: a port stays ours while its node is down."""


class Failed(Exception):
    """Something did not happen as it must; the demo or the round ends with it."""


@dataclass(frozen=True, slots=True)
class Agency:
    """An agency as it will stand in the directory."""

    code: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node that is to be."""

    name: str
    centre: str
    agencies: tuple[Agency, ...]


class RealNode:
    """One node: its folder, and its process while it runs."""

    def __init__(self, folder: Path, place: Place, *, address: str, peer_id: str) -> None:
        self.folder: Final = folder
        self.place: Final = place
        self.address: Final = address
        self.peer_id: Final = peer_id
        self.socket: Final = _socket_path(folder)
        self.config: Final = folder / "node.toml"
        self.log: Final = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def api(self, token: str = "") -> Api:
        """A new connection to the node; without a token as its administrator."""
        return Api(self.socket, token)

    def truc(self, *words: object) -> str:
        """What a command against this node prints. Raises: Failed."""
        return truc("--config", self.config, *words)

    def json(self, *words: object) -> Any:
        """As `truc`, for programs."""
        return json.loads(self.truc("--json", *words))

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; it is of use once it is `wait_ready`."""
        command = [*RUN, "--config", str(self.config), "run"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.folder / "pid").write_text(f"{self.pid} {born(self.pid)}\n")

    def wait_ready(self, *, joined: bool = True, seconds: float = READY_S) -> None:
        """Wait until it does its work; before it has a directory, until it answers at all. Raises: Failed."""
        wait_until(f"{self.place.name} ready", lambda: self._is_ready(joined), seconds)

    def _is_ready(self, joined: bool) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise Failed(f"the node {self.place.name} ended by itself; the end of {self.log}:\n{self.last_lines()}")
        api = self.api()
        try:
            api.get("/readyz" if joined else "/healthz")
        except (Unreachable, Refused):
            return False
        finally:
            api.close()
        return True

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def ask_to_stop(self) -> None:
        """SIGTERM, as a supervisor would."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> int:
        """Ask it to stop and wait; its exit code."""
        if self._process is None:
            return 0
        self.ask_to_stop()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line[:400] for line in lines[-count:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Nodes with one root, in one folder."""

    folder: Path
    nodes: tuple[RealNode, ...]
    root: str

    def node(self, name: str) -> RealNode:
        """The node of this name."""
        return next(node for node in self.nodes if node.place.name == name)

    @property
    def directory(self) -> Path:
        """The signed tree."""
        return self.folder / "authority" / "directory.truc"

    def start(self) -> None:
        """Start all nodes, give them the directory, and wait until each reaches every other. Raises: Failed."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(joined=False)
            node.truc("directory", "import", self.directory)
            node.wait_ready()
        for node in self.nodes:
            wait_until(f"{node.place.name} connected", partial(self.reaches_all, node), READY_S)

    def reaches_all(self, node: RealNode) -> bool:
        """Whether a node has a connection to every other."""
        api = node.api()
        try:
            peers: list[dict[str, Any]] = api.get("/v1/peers")["items"]
        finally:
            api.close()
        return sum(peer["state"] in {"up", "connected"} for peer in peers) >= len(self.nodes) - 1

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()


# --- making ---------------------------------------------------------------------------------


def make_network(folder: Path, places: Sequence[Place], tell: Callable[[str], None] = lambda _: None) -> Network:
    """Folders, keys, configurations and one signed tree for nodes that do not run yet. Raises: Failed."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "authority-passphrase"
    secret.write_text(random.SystemRandom().randbytes(20).hex() + "\n")
    secret.chmod(0o400)
    sign = ("--json", "authority", "--folder", folder / "authority", "--passphrase-file", secret)
    tell("truc authority init")
    root: str = json.loads(truc(*sign, "init"))["root_digest"]
    for place in places:
        tell(f"truc init --centre {place.centre}")
    with ThreadPoolExecutor() as at_once:
        nodes = tuple(at_once.map(partial(make_node, folder, root), places))
    tell("truc authority centre, agency")
    truc(*sign, "centre", *(node.folder / "centre-request.truc" for node in nodes))
    for place in places:
        for agency in place.agencies:
            truc(*sign, "agency", "--code", agency.code, "--name", agency.name, "--host", place.centre)
    for node in nodes:
        introduce(node, nodes)
    return Network(folder=folder, nodes=nodes, root=root)


def make_node(folder: Path, root: str, place: Place) -> RealNode:
    """A node's folder, keys and configuration, under the root with this digest."""
    home, address = folder / place.name, f"/ip4/127.0.0.1/tcp/{free_port()}"
    made = truc(
        "--json", "init", "--folder", home, "--centre", place.centre, "--name", place.agencies[0].name,
        "--root-digest", root, "--listen", address, "--announce", address, "--tcp", "", "--make-passphrase",
    )  # fmt: skip
    return RealNode(home, place, address=address, peer_id=json.loads(made)["peer_id"])


def introduce(node: RealNode, nodes: Sequence[RealNode]) -> None:
    """First contacts and the socket, as an operator writes them into the configuration."""
    text = node.config.read_text()
    text = text.replace("[api]\n", f"[api]\nunix_socket = {json.dumps(str(node.socket))}\n", 1)
    text += "\n[delivery]\nbackoff_max_seconds = 2  # trying out: nobody wants to wait for a node that was down\n"
    for other in nodes:
        if other is not node:
            text += f'\n[[peers]]\ncentre = "{other.place.centre}"\npeer_id = "{other.peer_id}"\n'
            text += f'addresses = ["{other.address}"]\n'
    node.config.write_text(text)


def _socket_path(folder: Path) -> Path:
    """In the node's folder, unless that lies too deep for the system."""
    path = folder / "data" / "api.sock"
    if len(os.fsencode(path)) <= SOCKET_CHARACTERS_MAX:
        return path
    return Path(tempfile.mkdtemp(prefix="truc-")) / "api.sock"


def free_port() -> int:
    """A TCP port of this machine that nobody uses."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed("no free TCP port")


def truc(*words: object) -> str:
    """Run a command; what it prints. Raises: Failed."""
    command = [*TRUC, *map(str, words)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if ran.returncode:
        raise Failed(f"truc {' '.join(map(str, words))}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


# --- processes and waiting ------------------------------------------------------------------


def wait_until(what: str, look: Callable[[], bool], seconds: float, *, every_s: float = LOOK_S) -> None:
    """Look again and again until it is so. Raises: Failed, when it is not so in time."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(every_s)


def stop_left_over(folder: Path) -> list[str]:
    """End the nodes that an earlier run left in this folder; exactly the processes it noted. Their names."""
    stopped = []
    for note in sorted(folder.glob("*/pid")):
        pid, when = (int(word) for word in note.read_text().split())
        if born(pid) == when:
            os.kill(pid, signal.SIGTERM)
            wait_until(f"{note.parent.name} stopped", partial(_is_gone, pid, when), STOP_S)
            stopped.append(note.parent.name)
        note.unlink()
    return stopped


def _is_gone(pid: int, when: int) -> bool:
    return born(pid) != when


def born(pid: int) -> int:
    """When a process was started, in ticks; 0 for one that is no more. Ids are used again, pairs are not."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if words[0] == "Z" else int(words[19])


def obey_sigterm() -> None:
    """SIGTERM ends this program as an exception does: what it started is ended on the way."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
