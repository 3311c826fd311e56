"""Real nodes in a made-up nation: started empty, given a directory, looked at until they know all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from protocol.directory_file import read_file, write_file
from protocol.signing import Signed
from scripts.benchmarks.load import ask
from scripts.benchmarks.nation import Made
from scripts.benchmarks.probe import Counters
from scripts.real.network import ROOT, Agency, Failed, Place, RealNode, introduce, make_node, wait_until

LONG_S: Final = 900
LOOK_S: Final = 0.5
"""Between two looks at a node that is waited for; one costs it some milliseconds."""


def local_places(count: int) -> list[Place]:
    """Centres and agencies beside those of the nation, for real nodes."""
    return [
        Place(name=f"n{n:02}", centre=f"90.{n:02}.W00", agencies=(Agency(f"K{n:02}", f"Cơ quan đo {n:02} (hư cấu)"),))
        for n in range(count)
    ]


@dataclass(slots=True)
class NationBed:
    """Nodes that do not run yet, and the signed things that make them part of the nation."""

    made: Made
    folder: Path
    nodes: list[RealNode]
    extra: list[Signed]
    light: subprocess.Popen[bytes] | None = None
    started: dict[str, float] = field(default_factory=dict)

    @property
    def everything(self) -> bytes:
        """The whole directory as a file."""
        return write_file([*read_file(self.made.directory.read_bytes()), *(s.to_wire() for s in self.extra)])

    @property
    def seed(self) -> bytes:
        """Root and centres: enough to connect."""
        return write_file([*read_file(self.made.seed.read_bytes()), *(s.to_wire() for s in self.extra)])

    def pids(self) -> dict[str, int]:
        """The daemons that run, the light peers, and this process, by name."""
        found = {node.place.name: node.pid for node in self.nodes if node.place.name in self.started}
        if self.light is not None:
            found["light"] = self.light.pid
        return {**found, "bench": os.getpid()}

    def start(self, node: RealNode) -> float:
        """Start a node; when its program was begun."""
        begun = self.started[node.place.name] = time.monotonic()
        node.start()
        return begun

    def stop(self) -> None:
        """Stop everything that runs."""
        if self.light is not None:
            self.light.terminate()
            self.light.wait(30)
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()

    def start_light(self, at: RealNode, count: int) -> None:
        """So many light peers that connect to a node, in one process."""
        words = ["--count", count, "--at", at.place.centre, "--address", at.address, "--peer-id", at.peer_id]
        words += ["--seed", self.folder / "light.truc", "--folder", self.folder / "light"]
        (self.folder / "light.truc").write_bytes(self.seed)
        command = [sys.executable, "-m", "scripts.benchmarks.light_peers", *map(str, words)]
        with (self.folder / "light.log").open("wb") as log:
            self.light = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@contextmanager
def nation_bed(made: Made, folder: Path, count: int) -> Iterator[NationBed]:
    """So many nodes of the nation, in a fresh folder that is gone afterwards."""
    home = folder / f"nation-{time.monotonic_ns()}"
    home.mkdir(parents=True)
    places = local_places(count)
    root = made.nation.anchor.hex()
    nodes = [make_node(home, root, place) for place in places]
    for node in nodes:
        introduce(node, nodes)
    requests = [(node.folder / "centre-request.truc").read_bytes() for node in nodes]
    extra = made.nation.register(requests, {place.centre: place.agencies[0].code for place in places})
    bed = NationBed(made, home, nodes, extra)
    try:
        yield bed
    finally:
        bed.stop()
        shutil.rmtree(home, ignore_errors=True)


# --- asking nodes ---------------------------------------------------------------------------


def request(method: str, path: str, content: bytes = b"") -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    return f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content


def get(node: RealNode, path: str) -> Any:
    """What a node says."""
    return json.loads(ask(node.socket, request("GET", path)))


def bring(node: RealNode, file: bytes) -> dict[str, Any]:
    """Have a node import a directory file; what came of it."""
    came: dict[str, Any] = json.loads(ask(node.socket, request("POST", "/v1/directory/import", file)))
    if came["rejected"]:
        raise Failed(f"{node.place.name} does not believe: {came['rejected'][:3]}")
    return came


def counters(node: RealNode) -> Counters:
    """What a node counts now."""
    return Counters(ask(node.socket, request("GET", "/metrics")).decode())


def state(node: RealNode) -> dict[str, Any]:
    """The state of a node's directory."""
    found: dict[str, Any] = get(node, "/v1/node")["directory"]
    return found


def wait_level(node: RealNode, other: RealNode, *, every_s: float = LOOK_S) -> None:
    """Until two nodes say that they know the same. Raises: Failed."""

    def is_level() -> bool:
        heads = state(node)["heads"]
        return bool(heads) and heads == state(other)["heads"]

    wait_until(f"{node.place.name} level with {other.place.name}", is_level, LONG_S, every_s=every_s)


def wait_up(node: RealNode, peers: int) -> None:
    """Until a node has so many peers. Raises: Failed."""
    wait_until(f"{peers} peers of {node.place.name}", lambda: get(node, "/v1/node")["peers_up"] >= peers, LONG_S)
