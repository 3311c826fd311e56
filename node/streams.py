"""Reading a byte stream in frames and in exact counts.

For the body and directory streams, where a small frame is followed by raw bytes; the exchange
stream has its own session (`protocol/exchange.py`).
"""

from __future__ import annotations

from typing import Final

from node.transport import ByteStream
from protocol.errors import FormatError, NetworkError
from protocol.limits import KIB

READ_BYTES: Final = 256 * KIB
_PREFIX: Final = 5
"""Four bytes of length, of type and body together, and the type (`protocol/spec/framing.md`)."""


class StreamReader:
    """A stream with what was read of it and not yet used."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream: Final = stream
        self._held = bytearray()

    async def frame(self, bytes_max: int) -> tuple[int, bytes] | None:
        """The next frame's type and body; None when the stream ended before one began.

        Raises:
            FormatError: `frame_too_large`, `frame_truncated`, `frame_empty`.
            NetworkError: `stream_broken`.
        """
        while len(self._held) < 4:
            if not await self._more():
                if self._held:
                    raise FormatError("frame_truncated", held=len(self._held))
                return None
        length = int.from_bytes(self._held[:4], "big")
        if length == 0:
            raise FormatError("frame_empty")
        if length > bytes_max:
            raise FormatError("frame_too_large", size=length, limit=bytes_max)
        whole = await self.exactly(4 + length)
        return whole[4], whole[_PREFIX:]

    async def some(self, bytes_max: int) -> bytes:
        """At least one byte, at most `bytes_max`.

        Raises:
            NetworkError: `stream_ended` before a byte came, `stream_broken`.
        """
        if not self._held and not await self._more():
            raise NetworkError("stream_ended")
        taken = bytes(self._held[:bytes_max])
        del self._held[:bytes_max]
        return taken

    async def exactly(self, size: int) -> bytes:
        """This many bytes; for small counts.

        Raises:
            NetworkError: `stream_ended`, `stream_broken`.
        """
        while len(self._held) < size:
            if not await self._more():
                raise NetworkError("stream_ended")
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    async def _more(self) -> bool:
        data = await self._stream.read(READ_BYTES)
        self._held += data
        return bool(data)
