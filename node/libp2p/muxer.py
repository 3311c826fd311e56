"""The library's yamux with one writer per connection, bounds, and news for those who wait.

Obeys DESIGN §5 and hashicorp's yamux specification, whose reading side stays the library's. Every frame goes
through a queue to one task, so that a cancelled caller never leaves half a frame on the wire, urgent
frames overtake bodies, and the reading loop never waits for the writing one (two nodes that
fill each other's sockets would otherwise stop for ever). Streams are `stream.py`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_FIN,
    FLAG_RST,
    PROTOCOL_ID,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from node.libp2p.frame_queue import FrameQueue, Rank, Waiting
from protocol.limits import KIB, MIB

RECEIVE_WINDOW_BYTES: Final = 512 * KIB
"""What a peer may send on one stream before we have read it: 25 MB/s at 20 ms, four streams more."""
HELD_BYTES_MAX: Final = 32 * MIB
"""Received on one connection and not yet read. All windows together stay below it; the library
does not enforce windows, so a greedy peer is let go here."""
FRAME_BYTES: Final = 65_507
"""Content of one data frame: with its header exactly one noise message (LIBRARIES §libp2p)."""
GO_AWAY_S: Final = 0.5
"""To say goodbye on a line that may be full."""
DRAIN_S: Final = 1.0
"""For the reading loop to come to the end of what lies in the socket, when writing has failed."""
_HEADER: Final = struct.Struct(YAMUX_HEADER_FORMAT)


class WindowWatch:
    """Stands in for a stream's `window_lock`: whoever leaves it may have changed the window.

    Nothing awaits inside that lock, so it need not exclude anybody (trio switches tasks only at awaits).
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        self.ring()

    def ring(self) -> None:
        """Let the writer of the stream look again."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Until the next change."""
        await self._event.wait()


class OneWriterYamux(Yamux):
    """A connection's muxer. Call `attach` before it is started."""

    def __init__(self, conn: ISecureConn, peer_id: ID) -> None:
        super().__init__(conn, peer_id, is_initiator=conn.is_initiator)
        self.bulk: Final[set[int]] = set()
        """Stream numbers whose frames let all others go first."""
        self.why_over = ""
        self.held_bytes_max = HELD_BYTES_MAX
        """Lower for a peer that is not admitted."""
        self._frames: Final = FrameQueue()
        self._watches: Final[dict[int, WindowWatch]] = {}
        self.socket: Any = None
        """The TCP socket under the connection."""
        self._on_over: Callable[[], None] = lambda: None

    def attach(self, socket: Any, on_over: Callable[[], None]) -> None:
        """The socket under this connection, and whom to tell when it is no longer usable."""
        self.socket, self._on_over = socket, on_over

    @property
    def is_over(self) -> bool:
        """No stream of this connection moves any more."""
        return bool(self.event_shutting_down.is_set())

    def abort(self) -> None:
        """Close the socket under the library; the loop reads an end."""
        if self.socket is not None:
            self.socket.close()

    # --- what streams use ---------------------------------------------------------------------

    def watch(self, stream: YamuxStream) -> WindowWatch:
        """News of a stream's send window, its reset, and the connection's end."""
        watch = self._watches.get(stream.stream_id)
        if watch is None:
            watch = self._watches[stream.stream_id] = WindowWatch()
            stream.window_lock = watch  # type: ignore[assignment]
        return watch

    async def send_content(self, number: int, content: memoryview) -> None:
        """Queue one data frame and wait until it was written. Cancelling waits no longer, the frame goes out.

        Raises:
            ConnectionClosedError: the connection is over.
        """
        frame = _HEADER.pack(0, TYPE_DATA, 0, number, len(content)) + content
        await _sent(self._put(frame, Rank.BODY if number in self.bulk else Rank.EXCHANGE))

    def grant(self, stream: YamuxStream, size: int) -> None:
        """Allow the peer to send this many bytes more."""
        stream.recv_window += size
        self._put(_HEADER.pack(0, TYPE_WINDOW_UPDATE, 0, stream.stream_id, size), Rank.CONTROL)

    def forget(self, stream: YamuxStream) -> None:
        """Drop what is held for a stream that is over."""
        number = stream.stream_id
        self.bulk.discard(number)
        self.streams.pop(number, None)
        self.stream_buffers.pop(number, None)
        self.stream_events.pop(number, None)
        self._watches.pop(number, None)

    # --- the library's hooks ------------------------------------------------------------------

    async def start(self) -> None:
        """Serve until the connection ends; never raises, for an exception would end the host."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_queued)
                nursery.start_soon(self._tell_when_over)
                await super().start()
                nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001  # outermost frame of a connection; the host has to outlive it
            self.why_over = self.why_over or type(error).__name__
        finally:
            self.event_shutting_down.set()
            self._tell_over()
            with trio.CancelScope(shield=True), trio.move_on_after(GO_AWAY_S):
                await self._cleanup_on_error()
            self.event_closed.set()

    async def _write_frame(self, data: bytes) -> None:
        """Every frame the library makes comes through here."""
        _, kind, flags, number, _ = _HEADER.unpack_from(data)
        in_stream = kind == TYPE_DATA or flags & (FLAG_FIN | FLAG_RST)  # behind what was written before
        rank = Rank.CONTROL if not in_stream else Rank.BODY if number in self.bulk else Rank.EXCHANGE
        waiting = self._put(data, rank)
        if kind == TYPE_DATA:
            await _sent(waiting)
        elif kind == TYPE_GO_AWAY:
            with trio.move_on_after(GO_AWAY_S):
                await waiting.sent.wait()
        elif waiting.failed:
            raise ConnectionClosedError("the connection is over", transport="tcp")
        else:
            await trio.lowlevel.checkpoint()

    async def _read_data_body(self, length: int) -> bytes:
        held = sum(len(buffer) for buffer in self.stream_buffers.values())
        if held + length > self.held_bytes_max:
            self.why_over = "window_exceeded"
            raise trio.TooSlowError  # the library closes the connection for this one
        return bytes(await super()._read_data_body(length))

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)
        watch = self._watches.get(stream.stream_id)
        if watch is not None:
            watch.ring()

    # --- writing ------------------------------------------------------------------------------

    def _put(self, frame: bytes, rank: Rank) -> Waiting:
        waiting = self._frames.put(frame, rank)
        if self._frames.is_flooded:
            self.why_over = "flooded"
            self._frames.end()
            self.abort()
        return waiting

    async def _write_queued(self) -> None:
        try:
            while True:
                await self._frames.some()
                await trio.lowlevel.wait_writable(self.socket)  # decide late what is most urgent
                await self._write_chunk(self._frames.take())
        except (IOException, OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # ValueError: what a closed socket's number, -1, is called
            self.why_over = self.why_over or type(error).__name__
            self._frames.end()
            with trio.move_on_after(DRAIN_S):
                await self.event_shutting_down.wait()  # what the peer sent before it went is still read
            await self._cleanup_on_error()

    async def _write_chunk(self, taken: list[Waiting]) -> None:
        failed = True
        try:
            await self.secured_conn.write(b"".join([waiting.frame for waiting in taken]))
            failed = False
        finally:
            for waiting in taken:
                waiting.failed = failed
                waiting.sent.set()

    async def _tell_when_over(self) -> None:
        await self.event_shutting_down.wait()
        self._tell_over()

    def _tell_over(self) -> None:
        self._frames.end()
        for watch in self._watches.values():
            watch.ring()
        self._on_over()


async def _sent(waiting: Waiting) -> None:
    await waiting.sent.wait()
    if waiting.failed:
        raise ConnectionClosedError("the connection is over", transport="tcp")


class OneMuxer(MuxerMultistream):
    """Offers yamux only, as the class above. `muxer_opt` cannot do it: the library ignores it for yamux."""

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on yamux and wrap the secured connection."""
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        assert protocol == PROTOCOL_ID, protocol
        muxed: IMuxedConn = self._annotate_connection(OneWriterYamux(conn, peer_id), conn, protocol)
        return muxed


def one_muxer(negotiate_s: int) -> OneMuxer:
    """The selector that replaces the library's."""
    return OneMuxer({PROTOCOL_ID: OneWriterYamux}, negotiate_s)  # type: ignore[dict-item]
