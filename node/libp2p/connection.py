"""One live connection to a peer: its streams, inbound and outbound, and its end.

Obeys DESIGN §5. Every inbound stream is guarded here: the library lets an exception of a stream's
handler end the whole host. Which connection is used, and who may have one, is `transport.py`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.abc import ReadWriteCloser
from libp2p.protocol_muxer.exceptions import MultiselectClientError, ProtocolNotSupportedError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from node.libp2p import gossip
from node.libp2p.host import NEGOTIATE_S
from node.libp2p.muxer import OneWriterYamux
from node.libp2p.stream import Libp2pStream
from protocol import body_exchange
from protocol.errors import NetworkError

STREAMS_INBOUND_MAX: Final = 32
"""Of one connection at once: an exchange stream and its successor, bodies, directory, identify."""
STREAMS_HELD_MAX: Final = 512
"""Half-closed ones included, of both directions; a peer that leaves more behind is let go."""
OPEN_S: Final = 8.0
"""To open a stream and agree on its protocol: three round trips."""
TAKE_UP_S: Final = 5.0
"""For the library to register a connection; nothing in it waits for the network."""
CLOSE_S: Final = 2.0
"""To say goodbye; then the socket is closed under the library."""

BULK: Final = frozenset((body_exchange.PROTOCOL, *gossip.PROTOCOLS))
"""Protocols whose frames let those of all others go first."""

Arrived = Callable[[str, Libp2pStream], Awaitable[None]]
"""Called with (protocol, stream) for an inbound stream of one of our protocols."""


class Connection:
    """A secured, multiplexed connection that the library's swarm knows as well."""

    def __init__(self, *, peer_id: str, centre: str, address: str, host: Any, muxed: OneWriterYamux) -> None:
        self.peer_id: Final = peer_id
        self.centre: Final = centre
        self.address: Final = address
        self.muxed: Final = muxed
        self.swarm_conn: Any = None
        """The library's view; set once it has taken the connection up."""
        self._host: Final = host
        self._inbound = 0
        self._closing = False

    @property
    def is_up(self) -> bool:
        """Streams can be opened."""
        return not self._closing and not self.muxed.is_over

    @property
    def why_over(self) -> str:
        """Why it ended, in a word or two for the log."""
        return self.muxed.why_over or ("let go" if self._closing else "closed by peer")

    async def register(self, direction: str) -> None:
        """Have the library take the connection up; `swarm_conn` stays None if it ended meanwhile."""
        with trio.CancelScope(shield=True), trio.move_on_after(TAKE_UP_S), suppress(Exception):
            # All that the swarm can say by an exception is that the connection ended.
            self.swarm_conn = await self._host.get_network().add_conn(self.muxed, direction)

    def retire(self) -> None:
        """From now on it does not count; `close` follows in a task of its own."""
        self._closing = True

    async def open_stream(self, protocol: str) -> Libp2pStream:
        """A new stream that speaks this protocol.

        Raises:
            NetworkError: `stream_broken`, `protocol_unknown`.
        """
        if self.muxed.stream_backlog_semaphore.value == 0:
            raise NetworkError("stream_broken", centre=self.centre, reason="too many streams")
        with trio.move_on_after(OPEN_S):
            try:
                net_stream = await self.swarm_conn.new_stream()
            except BaseLibp2pError as error:
                raise NetworkError("stream_broken", centre=self.centre) from error
            stream = self._wrap(net_stream)
            await self._agree(stream, protocol)
            return stream
        raise NetworkError("stream_broken", centre=self.centre, reason="silent")

    async def serve(self, net_stream: Any, arrived: Arrived, *, library: bool = True) -> None:
        """Agree on an inbound stream's protocol and hand it on; it is reset when that returns. `library`:
        the library may answer what is not ours (identify, ping)."""
        if len(self.muxed.streams) > STREAMS_HELD_MAX:
            self.muxed.why_over = "too many streams"
            self.muxed.abort()
            return
        stream = self._wrap(net_stream)
        self._inbound += 1
        said_all = False
        try:
            if self._inbound <= STREAMS_INBOUND_MAX:
                said_all = await self._serve(net_stream, stream, arrived, library)
        finally:
            self._inbound -= 1
            if not said_all:
                await stream.reset()

    async def close(self) -> None:
        """End the connection and all its streams; bounded, never raises."""
        self._closing = True
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
            if self.swarm_conn is not None:
                await self.swarm_conn.close()
        self.muxed.abort()

    # --- streams ------------------------------------------------------------------------------

    def _wrap(self, net_stream: Any) -> Libp2pStream:
        def over() -> None:
            if self.swarm_conn is not None:
                self.swarm_conn.remove_stream(net_stream)

        return Libp2pStream(self.centre, self.muxed, net_stream.muxed_stream, over)

    async def _agree(self, stream: Libp2pStream, protocol: str) -> None:
        client, communicator = self._host.multiselect_client, MultiselectCommunicator(_Talk(stream))
        agreed = False
        try:
            await client.handshake(communicator)
            await client.try_select(communicator, protocol)
            agreed = True
        except ProtocolNotSupportedError as error:
            raise NetworkError("protocol_unknown", centre=self.centre, protocol=protocol) from error
        except MultiselectClientError as error:
            raise NetworkError("stream_broken", centre=self.centre) from error
        finally:
            if not agreed:
                await stream.reset()
        stream.widen(bulk=protocol in BULK)

    async def _serve(self, net_stream: Any, stream: Libp2pStream, arrived: Arrived, library: bool) -> bool:
        """Whether the stream may end by itself: the library's handlers close it, and a reset could
        overtake what the peer has not read yet."""
        protocol, handler = await self._host.multiselect.negotiate(MultiselectCommunicator(_Talk(stream)), NEGOTIATE_S)
        if handler is ours:
            stream.widen(bulk=protocol in BULK)
            await arrived(str(protocol), stream)
        elif handler is not None and library:
            net_stream.set_protocol(protocol)
            await handler(net_stream)
            return bool(net_stream.muxed_stream.send_closed)
        return False


async def ours(_stream: Any) -> None:
    """Marks the protocols that `transport.py` serves; the host needs a handler to know a name."""
    raise AssertionError("streams of our protocols go to the node")


class _Talk(ReadWriteCloser):
    """A stream as the library's negotiation reads and writes it."""

    def __init__(self, stream: Libp2pStream) -> None:
        self._stream: Final = stream

    async def read(self, n: int | None = None) -> bytes:
        return await self._stream.read(65_536 if n is None else n) if n != 0 else b""

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None
