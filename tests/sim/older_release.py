"""How a node of the release before this one shows itself on the wire.

That release knew neither the directory stream nor announcements, and said no heads digest: hello, pings and
pongs had no extensions (`protocol/spec/exchange.md`). A production node behind this transport is
one for all that others can see, and learns of the directory from its operator's imports alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from node.transport import ByteStream, Hear
from protocol import exchange, reconcile_frames
from protocol.encoding import decode, encode
from protocol.exchange import FrameType
from protocol.framing import Decoder, encode_frame
from protocol.limits import FRAME_BYTES_MAX
from tests.sim.network import PROTOCOLS, MemoryNetwork, MemoryStream, MemoryTransport

STRIPPED: Final = frozenset({FrameType.HELLO, FrameType.PING, FrameType.PONG})
EXTENSIONS_FROM: Final = 128


def older_transport(
    network: MemoryNetwork, peer_id: str, addresses: Sequence[str], *, centre: str = ""
) -> MemoryTransport:
    """As `MemoryNetwork.transport`, for a node of the older release."""
    spoken = frozenset(PROTOCOLS) - {reconcile_frames.PROTOCOL}
    return OlderTransport(network, peer_id, tuple(addresses), centre or peer_id, spoken)


class OlderTransport(MemoryTransport):
    """Filters what its node says and hears on exchange streams."""

    async def open_stream(self, centre: str, protocol: str) -> Any:
        """As of every transport."""
        stream = await super().open_stream(centre, protocol)
        return OlderStream(stream) if protocol == exchange.PROTOCOL else stream

    def announcements(self, hear: Hear) -> None:
        """Takes no part."""

    def announce(self, content: bytes) -> None:
        """Says nothing."""

    def accepted(self, stream: MemoryStream) -> ByteStream:
        """What the node gets of a stream that a peer opened."""
        return OlderStream(stream) if stream.protocol == exchange.PROTOCOL else stream


class OlderStream:
    """A `ByteStream` on which no extensions pass, in neither direction."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream: Final = stream
        self._said: Final = Decoder(FRAME_BYTES_MAX)
        self._heard: Final = Decoder(FRAME_BYTES_MAX)
        self._waiting = b""

    async def write(self, data: bytes) -> None:
        """As of every stream."""
        plain = self._stripped(self._said, data)
        if plain:
            await self._stream.write(plain)

    async def read(self, bytes_max: int) -> bytes:
        """As of every stream. Raises: FormatError, for what is no frame."""
        while not self._waiting:
            data = await self._stream.read(bytes_max)
            if not data:
                return b""
            self._waiting = self._stripped(self._heard, data)
        piece, self._waiting = self._waiting[:bytes_max], self._waiting[bytes_max:]
        return piece

    async def close(self) -> None:
        """As of every stream."""
        await self._stream.close()

    async def reset(self) -> None:
        """As of every stream."""
        await self._stream.reset()

    def _stripped(self, decoder: Decoder, data: bytes) -> bytes:
        return b"".join(encode_frame(kind, _plain(kind, body)) for kind, body in decoder.feed(data))


def _plain(kind: int, body: bytes) -> bytes:
    if kind not in STRIPPED:
        return body
    fields = decode(body, bytes_max=FRAME_BYTES_MAX)
    if not isinstance(fields, dict):
        return body
    return encode({key: value for key, value in fields.items() if key < EXTENSIONS_FROM})
