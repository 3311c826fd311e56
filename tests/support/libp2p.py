"""Real libp2p transports on loopback, for the contract suite and the traps."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import trio

from node.environment import RealEnvironment
from node.libp2p.transport import Libp2pTransport
from node.logs import LineSink, Log, make_log
from node.metrics import Metrics
from node.peer_id import peer_id_of
from tests.support.tree import key_seed

CENTRES: Final = ("00.12.W00", "00.38.W00", "00.99.W00")


def seed_of(label: str) -> bytes:
    """An identity seed, always the same for a label."""
    return key_seed(0, f"libp2p {label}")


def free_port() -> int:
    """A port on 127.0.0.1 that nobody used a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Place:
    """A transport that can be run, with the numbers and the lines it makes."""

    def __init__(self, label: str, *, port: int | None = None) -> None:
        self.seed: Final = seed_of(label)
        self.peer_id: Final = peer_id_of(self.seed)
        self.port: Final = free_port() if port is None else port
        self.address: Final = f"/ip4/127.0.0.1/tcp/{self.port}"
        self.metrics: Final = Metrics()
        self.lines: Final = io.StringIO()
        self.log: Final[Log] = make_log(LineSink(self.lines), RealEnvironment())
        self.transport: Final = Libp2pTransport(
            identity_seed=self.seed, listen=[self.address], metrics=self.metrics, log=self.log
        )

    def refusals(self) -> list[str]:
        """Reasons of the latest refusals."""
        return [refused.reason for refused in self.transport.refused()]


def raw_sockets(port: int, count: int) -> Iterator[socket.socket]:
    """Plain TCP connections to a port of this machine, closed at the end."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            yield opened[-1]
    finally:
        for one in opened:
            one.close()


async def eventually(is_so: object, seconds: float = 10.0) -> None:
    """Wait until a callable answers true; fails after so many seconds."""
    assert callable(is_so)
    with trio.fail_after(seconds):
        while not is_so():  # noqa: ASYNC110  # what is waited for has no event
            await trio.sleep(0.01)
