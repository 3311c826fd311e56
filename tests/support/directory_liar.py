"""A peer that lies on its directory streams: a real node whose answers are replaced.

What it says of itself in hello and pings is replaced as well, so that the others ask it. Everything else of it
(deliveries, its own questions) is honest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import trio

from node.transport import ByteStream
from protocol.heads import Heads, LogHead
from protocol.prefix_tree import PrefixTree
from protocol.reconcile_answer import Answerer, Kept
from protocol.reconcile_frames import PROTOCOL
from tests.support.directory_nodes import DirectoryNodes

READ_BYTES = 2**16
Behaviour = Callable[[ByteStream], Awaitable[None]]


class Lying:
    """Gives away what an honest node keeps, but for what a test replaces."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.claims: dict[str, Any] = {}
        """Of the heads as a whole."""
        self.claims_of: dict[str, dict[str, Any]] = {}
        """Of single logs, by registrar."""
        self.hidden: set[bytes] = set()
        """Digests of things that are shown and not given."""
        self.rows: list[tuple[int, bytes]] | None = None
        self.root_wires: list[bytes] | None = None
        self.trees: dict[str, PrefixTree] = {}
        self.given: dict[bytes, bytes] = {}

    def heads(self) -> Heads:
        true = self.kept.heads()
        logs = {log.registrar: log for log in true.logs}
        for name, changes in self.claims_of.items():
            known = logs.get(name, LogHead(registrar=name, generation=1, number=0))
            logs[name] = replace(known, **changes)
        return replace(true, logs=tuple(logs[name] for name in sorted(logs)), **self.claims)

    def roots(self, version: int) -> Iterable[bytes]:
        return self.kept.roots(version) if self.root_wires is None else self.root_wires

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterable[tuple[int, bytes]]:
        if self.rows is None:
            return self.kept.log(registrar, generation, first, last)
        return [row for row in self.rows if first <= row[0] <= last]

    def wire(self, digest: bytes) -> bytes | None:
        if digest in self.hidden:
            return None
        return self.given.get(digest) or self.kept.wire(digest)

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        return self.trees.get(registrar) or self.kept.tree(registrar, generation)


class Liar:
    """One node of the network as a liar."""

    def __init__(self, nodes: DirectoryNodes, centre: str) -> None:
        self.nodes = nodes
        self.centre = centre
        self.asked: list[float] = []
        """When it was asked."""
        room: Any = nodes.nodes[centre].room
        self._server = room.server
        self.honest: Kept = room.server._kept

    def behaves(self, behaviour: Behaviour) -> None:
        """From now on every directory stream to it is served like this."""

        async def serve(_centre: str, stream: ByteStream) -> None:
            self.asked.append(trio.current_time())
            await behaviour(stream)

        self._server.serve = serve

    def gives(self, lying: Lying) -> None:
        """From now on it answers by the rules, out of this."""

        async def behaviour(stream: ByteStream) -> None:
            answerer = Answerer(lying)
            while data := await stream.read(READ_BYTES):
                if answerer.receive(data) is not None:
                    for frame in answerer.answer():
                        await stream.write(frame)
            await stream.close()

        self.behaves(behaviour)

    def says(self, to: str, digest: bytes = b"\x01" * 32) -> None:
        """It tells this digest of its heads."""
        self.nodes.nodes[to].room.sync.heard(self.centre, digest)

    async def asks(self, of: str) -> ByteStream:
        """A directory stream that it opens."""
        transport: Any = self.nodes.nodes[self.centre].peers._transport
        stream: ByteStream = await transport.open_stream(of, PROTOCOL)
        return stream

    # --- what it came to ----------------------------------------------------------------------

    def failures(self, at: str) -> list[str]:
        """How the sessions of a node with it ended."""
        lines = self.nodes.events(at, "directory_not_compared")
        return [line["code"] for line in lines if line["centre"] == self.centre]

    def unsettled(self, at: str) -> int:
        """How many sessions of a node with it were left over for another time."""
        lines = self.nodes.events(at, "directory_compared")
        return sum(line["centre"] == self.centre and not line["settled"] for line in lines)

    async def until(self, at: str, condition: Callable[[], Any], *, seconds: float = 120) -> None:
        """Until this holds, while it says something new again and again (its real pings do not)."""

        def look() -> Any:
            self.says(at)
            return condition()

        await self.nodes.until(look, seconds=seconds)

    async def until_asked(self, by: str) -> None:
        """Until a node has opened a stream to it."""
        await self.until(by, lambda: self.asked)

    async def failure(self, at: str) -> str:
        """How the first session with it ended."""
        await self.until(at, lambda: self.failures(at))
        return self.failures(at)[0]
