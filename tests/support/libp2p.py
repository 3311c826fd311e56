"""Real libp2p transports on loopback, for the contract suite and the traps."""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair as new_identity

from node.environment import RealEnvironment
from node.libp2p.admission import Admission
from node.libp2p.handshake import Handshakes
from node.libp2p.host import make_host
from node.libp2p.muxer import OneWriterYamux
from node.libp2p.transport import Libp2pTransport
from node.logs import LineSink, Log, make_log
from node.metrics import Metrics
from node.peer_id import peer_id_of
from node.tasks import start
from node.transport import Accept
from tests.interop.contract import EXCHANGE, echo, exchange
from tests.support.ports import free_port
from tests.support.tree import key_seed

CENTRES: Final = ("00.12.W00", "00.38.W00", "00.99.W00")


def seed_of(label: str) -> bytes:
    """An identity seed, always the same for a label."""
    return key_seed(0, f"libp2p {label}")


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
        self.transport = Libp2pTransport(
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


@asynccontextmanager
async def running(*places: Place, accept: Accept | None = None) -> AsyncIterator[None]:
    """All places serve and admit each other."""
    async with trio.open_nursery() as nursery:
        for place in places:
            place.transport.admit({other.peer_id: other.peer_id for other in places if other is not place})
            await start(nursery, place.transport.run, echo if accept is None else accept)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair(accept: Accept | None = None) -> AsyncIterator[tuple[Place, Place]]:
    """Two connected places that know each other by peer id; the second serves `accept`, else echoes."""
    a, b = Place("a"), Place("b")
    async with running(a, b, accept=accept):
        await a.transport.dial(b.peer_id, b.address)
        await b.transport.connected(a.peer_id)
        yield a, b


async def still_works(a: Place, b: Place) -> None:
    """A connection from one to the other echoes, dialled anew if it must be."""
    with trio.fail_after(10):
        await a.transport.dial(b.peer_id, b.address)
        stream = await a.transport.open_stream(b.peer_id, EXCHANGE)
        assert await exchange(stream, b"still here") == b"still here"
        await stream.reset()


def identity_of(seed: bytes) -> Any:
    """The library's key pair of an identity seed."""
    return new_identity(seed)


@asynccontextmanager
async def stock_host(seed: bytes, security: Mapping[Any, Any]) -> AsyncIterator[Any]:
    """A host of the library as it comes, with these security protocols; it listens nowhere."""
    host: Any = new_host(key_pair=identity_of(seed), sec_opt=dict(security))
    async with host.run([]):
        yield host


@asynccontextmanager
async def guest(seed: bytes, target: Place) -> AsyncIterator[OneWriterYamux]:
    """A secured connection to a place on which nothing reads or writes but the test."""
    admission = Admission(environment=RealEnvironment(), metrics=Metrics(), log=target.log)
    host = make_host(seed, [])
    stream = await trio.open_tcp_stream("127.0.0.1", target.port)
    try:
        secured = await Handshakes(host.get_network().upgrader, admission).outbound(stream, "?", target.peer_id)
        yield secured.muxed
    finally:
        await trio.aclose_forcefully(stream)
