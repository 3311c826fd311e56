"""One yamux stream as a `node.transport.ByteStream`.

Obeys DESIGN §5. Reads what the connection's loop has put into the stream's buffer and grants the
peer room only as it is read; writes no more than the peer granted, so the library's five-second
limit on a full window never strikes. The protocols above carry lengths: a clean end that is
followed at once by the loss of the connection may look like a break, never the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from libp2p.io.exceptions import IOException
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE, YamuxStream

from node.libp2p.muxer import FRAME_BYTES, RECEIVE_WINDOW_BYTES, OneWriterYamux
from protocol.errors import NetworkError

RESET_S: Final = 1.0
"""To tell the peer; the frame only has to be queued."""


class Libp2pStream:
    """Used by one reading and one writing task at a time."""

    def __init__(
        self, centre: str, connection: OneWriterYamux, inner: YamuxStream, on_over: Callable[[], None]
    ) -> None:
        """`on_over` is called once, when the stream is over in both directions."""
        self._centre: Final = centre
        self._connection: Final = connection
        self._inner: Final = inner
        self._on_over: Final = on_over
        self._buffer: Final[bytearray] = connection.stream_buffers.get(inner.stream_id, bytearray())
        self._window: Final = connection.watch(inner)
        self._owed = 0
        self._at_end = False
        self._broken = False
        self._is_over = False

    def widen(self, *, bulk: bool) -> None:
        """The protocol is agreed: let the peer send more than a first window; say how urgent we are."""
        if bulk:
            self._connection.bulk.add(self._inner.stream_id)
        if not self._connection.is_over:
            self._connection.grant(self._inner, RECEIVE_WINDOW_BYTES - DEFAULT_WINDOW_SIZE)

    async def write(self, data: bytes) -> None:
        """As `ByteStream.write`. A cancelled write leaves whole frames, and the connection, intact."""
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            self._check_writable()
            size = min(self._inner.send_window, FRAME_BYTES, len(rest))
            if size <= 0:
                await self._window.wait()
                continue
            self._inner.send_window -= size
            try:
                await self._connection.send_content(self._inner.stream_id, rest[:size])
            except IOException as error:
                raise self._break() from error
            rest = rest[size:]

    async def read(self, bytes_max: int) -> bytes:
        """As `ByteStream.read`. What arrived before a break is given first."""
        assert bytes_max > 0
        await trio.lowlevel.checkpoint()
        while not self._buffer or self._broken:
            if self._has_ended():
                return b""
            await self._news()
        return self._take(bytes_max)

    async def close(self) -> None:
        """As `ByteStream.close`."""
        await trio.lowlevel.checkpoint()
        if self._is_over or self._inner.reset_received or self._connection.is_over:
            return
        try:
            await self._inner.close()
        except IOException:
            self._broken = True  # the connection ended this very moment; reading says so
        self._finish_if_over()

    async def reset(self) -> None:
        """As `ByteStream.reset`."""
        self._broken = True
        if self._is_over:
            await trio.lowlevel.checkpoint()
            return
        self._finish()
        with trio.CancelScope(shield=True), trio.move_on_after(RESET_S), suppress(IOException):
            await self._inner.reset()  # where the connection is over, so is the stream
        self._connection.forget(self._inner)

    # --- reading ------------------------------------------------------------------------------

    def _take(self, bytes_max: int) -> bytes:
        """Bytes out of the buffer; the peer is granted room when half a window was read. No await between."""
        if len(self._buffer) <= bytes_max:
            taken = bytes(self._buffer)
            self._buffer.clear()
        else:
            with memoryview(self._buffer) as view:
                taken = bytes(view[:bytes_max])
            del self._buffer[:bytes_max]
        self._owed += len(taken)
        if self._owed >= RECEIVE_WINDOW_BYTES // 2 and not self._inner.recv_closed:
            self._connection.grant(self._inner, self._owed)
            self._owed = 0
        return taken

    def _has_ended(self) -> bool:
        """Whether the peer closed cleanly and all was read.

        Raises:
            NetworkError: `stream_broken`.
        """
        if self._broken or self._inner.reset_received:
            raise self._break()
        if self._inner.recv_closed and not self._connection.is_over:
            self._at_end = True
        if self._at_end:
            self._finish_if_over()
            return True
        if self._connection.is_over or self._inner.stream_id not in self._connection.streams:
            raise self._break()
        return False

    async def _news(self) -> None:
        """Wait for bytes, an end, or a break. The loop sets the event after it changed any of them."""
        number, events = self._inner.stream_id, self._connection.stream_events
        if number not in events:
            raise self._break()
        if events[number].is_set():
            events[number] = trio.Event()
            await trio.lowlevel.checkpoint()
        else:
            await events[number].wait()

    # --- the end ------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._broken or self._inner.reset_received or self._connection.is_over:
            raise self._break()
        assert not self._inner.send_closed, "nothing is written after closing"

    def _break(self) -> NetworkError:
        self._broken = True
        self._finish()
        return NetworkError("stream_broken", centre=self._centre)

    def _finish_if_over(self) -> None:
        if self._broken or (self._at_end and self._inner.send_closed):
            self._finish()

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._window.ring()
            if self._inner.closed:
                self._connection.forget(self._inner)
            self._on_over()
