"""Announcements over GossipSub: a stream to each neighbour and one from him, and what he may cost.

Obeys `protocol/spec/announcement.md` §2 and §4, DESIGN §5 ("a hint, never the guarantee"). Everything here may
lose what it holds. Only admitted peers are neighbours, and only what admitted peers published is taken
in; whether the content is worth passing on is asked of `node/announcements.py`, at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from google.protobuf.message import DecodeError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from node.conduct import Allowance, Conduct
from node.environment import Environment
from node.libp2p.admission import Admission
from node.libp2p.gossip import FRAME_BYTES_MAX, HEARTBEAT_S, MESSAGES_FRAME_MAX, PROTOCOLS, Router, Topic
from node.logs import Log, log_failure
from node.metrics import Metrics
from node.tasks import Bell, Ready
from node.transport import ByteStream, Hear
from protocol.announcement import TOPIC
from protocol.errors import FormatError, NetworkError, NotNow, TrucError
from protocol.limits import KIB, MINUTE_MS

READ_BYTES: Final = 64 * KIB
LENGTH_BYTES_MAX: Final = 4
"""A frame's length in seven bits a byte; more is above any bound."""
WAITING_MAX: Final = 32
"""Announcements of ours that wait to be signed; more are lost."""
FRAMES_AT_ONCE: Final = 256
FRAME_BACK_MS: Final = 20
"""Frames of one neighbour: a heartbeat a second, and what is announced; a busy night stays far below."""
STREAMS_MAX: Final = 2
"""From one neighbour: an old one that dies, and its successor."""
BAR_MAX_MS: Final = 5 * MINUTE_MS
PAUSE_FIRST_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
"""Before a stream that broke is opened again while the connection stands."""
STEADY_MS: Final = 2 * MINUTE_MS
"""A stream that stood so long was a good one: the next pause begins small again."""
WRITE_S: Final = 10.0
"""A neighbour that takes nothing for so long is not written to for a while."""

FLOOD: Final = "announcement_flood"

OpenStream = Callable[[str, str], Awaitable[ByteStream]]


class Neighbour:
    """What one admitted centre has sent of late."""

    def __init__(self, environment: Environment) -> None:
        self.frames: Final = Allowance(FRAMES_AT_ONCE, FRAME_BACK_MS)
        self.conduct: Final = Conduct(environment, bar_max_ms=BAR_MAX_MS)
        self.streams = 0
        self.news: Final = Bell()
        """A connection to it was taken up."""


class Announcer:
    """One node's part in the topic. Runs as long as its transport."""

    def __init__(
        self,
        *,
        host: Any,
        admission: Admission,
        open_stream: OpenStream,
        is_connected: Callable[[str], bool],
        disconnected: Callable[[str], Awaitable[None]],
        hear: Hear,
        environment: Environment,
        metrics: Metrics,
        log: Log,
    ) -> None:
        """`hear` is told what other centres announce, and answers whether to pass it on."""
        self._admission: Final = admission
        self._open_stream: Final = open_stream
        self._is_connected: Final = is_connected
        self._disconnected: Final = disconnected
        self._hear: Final = hear
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._router: Final = Router(lambda: self._count("lost"))
        self._topic: Final = Topic(host, self._router, self._take)
        self._neighbours: Final[dict[str, Neighbour]] = {}
        self._kept: Final[set[str]] = set()
        self._given, self._taken = trio.open_memory_channel[bytes](WAITING_MAX)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled."""
        await self._router.join(TOPIC)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._beat)
            nursery.start_soon(self._publish)
            task_status.started()

    def announce(self, content: bytes) -> None:
        """Tell everybody, in a moment; lost if too much waits already."""
        try:
            self._given.send_nowait(content)
        except trio.WouldBlock:
            self._count("lost")

    def keep(self) -> None:
        """The admission changed: forget whoever has gone."""
        for centre in [one for one, its in self._neighbours.items() if not its.streams and one not in self._kept]:
            if self._admission.peer_id_of(centre) is None:
                del self._neighbours[centre]

    def connected(self, centre: str) -> None:
        """A connection to an admitted centre was taken up."""
        self._neighbour(centre).news.ring()
        if centre not in self._kept and self._nursery is not None:
            self._kept.add(centre)
            self._nursery.start_soon(self._keep, centre)

    # --- what neighbours say ------------------------------------------------------------------

    async def serve(self, centre: str, stream: ByteStream) -> None:
        """Read a stream that a neighbour opened, until it ends or he is too much.

        Raises:
            FormatError, NetworkError, NotNow: what ended it; the caller resets it.
        """
        neighbour = self._neighbour(centre)
        if neighbour.conduct.barred_ms or neighbour.streams >= STREAMS_MAX:
            raise NotNow("busy")
        peer = self._peer(centre)
        neighbour.streams += 1
        try:
            await self._read(peer, neighbour, stream)
        except TrucError as error:
            if isinstance(error, FormatError) or error.code == FLOOD:
                neighbour.conduct.broke(error.code)
                self._admission.refuse(str(peer), "", error.code)
            raise
        finally:
            neighbour.streams -= 1
            if not neighbour.streams:
                self._topic.forget(peer)

    async def _read(self, peer: ID, neighbour: Neighbour, stream: ByteStream) -> None:
        frames = Frames()
        while data := await stream.read(READ_BYTES):
            self._metrics.network_bytes.labels(direction="in").inc(len(data))
            for frame in frames.feed(data):
                if not neighbour.frames.take(self._environment.monotonic_ms()):
                    raise NetworkError(FLOOD, limit=FRAMES_AT_ONCE)
                await self._receive(peer, frame)
                await trio.lowlevel.checkpoint()

    async def _receive(self, peer: ID, content: bytes) -> None:
        frame = rpc_pb2.RPC()
        try:
            frame.ParseFromString(content)
        except DecodeError as error:
            raise FormatError("format_malformed", reason="protobuf") from error
        for message in frame.publish[:MESSAGES_FRAME_MAX]:
            if not await self._topic.take_message(peer, message):
                self._count("unsigned")
            await trio.lowlevel.checkpoint()
        await self._topic.received(peer, frame)

    def _take(self, _forwarder: ID, publisher: ID, content: bytes) -> bool:
        """Whether to pass on what somebody published."""
        centre = self._admission.centre_of(str(publisher))
        if centre is None:
            self._count("stranger")
            return False
        return self._hear(centre, content)

    # --- what we say --------------------------------------------------------------------------

    async def _publish(self) -> None:
        async for content in self._taken:
            try:
                await self._topic.publish(content, self._environment.now_ms())
            except Exception as error:  # noqa: BLE001  # the library's router: a lost announcement, not the node
                log_failure(self._log, "announcement_failed", error)

    async def _beat(self) -> None:
        """The router's heartbeat never returns; when it breaks, it begins again."""
        while True:
            try:
                await self._router.heartbeat()
            except Exception as error:  # noqa: BLE001  # the library's router: lost hints, not the node
                log_failure(self._log, "announcement_failed", error)
            await trio.sleep(HEARTBEAT_S)

    async def _keep(self, centre: str) -> None:
        """Keep a stream to a neighbour while a connection stands, unless he does not take part."""
        neighbour, pause_s = self._neighbour(centre), PAUSE_FIRST_S
        try:
            while self._is_connected(centre):
                news, began_ms = neighbour.news.next, self._environment.monotonic_ms()
                try:
                    await self._speak(centre)
                except TrucError as error:
                    if error.code == "protocol_unknown":
                        return
                with trio.move_on_after(pause_s):
                    await news.wait()
                stood = self._environment.monotonic_ms() - began_ms >= STEADY_MS
                pause_s = PAUSE_FIRST_S if stood else min(2 * pause_s, PAUSE_MAX_S)
        except Exception as error:  # noqa: BLE001  # outermost frame of a neighbour; the others go on
            log_failure(self._log, "announcement_failed", error, centre=centre)
        finally:
            self._kept.discard(centre)

    async def _speak(self, centre: str) -> None:
        """Say what there is to say until the stream is over.

        Raises:
            NetworkError: it could not be opened.
        """
        peer = self._peer(centre)
        stream, protocol = await self._open(centre)
        try:
            await stream.write(framed(self._topic.hello()))
            queue = await self._topic.can_write(peer, protocol)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, centre, stream, nursery.cancel_scope)
                while (frame := await queue.pop()) is not None:
                    await self._write(stream, framed(frame))
                nursery.cancel_scope.cancel()
        except* NetworkError:
            pass  # it stood for a while; whether the connection still does is asked next
        finally:
            self._topic.cannot_write(peer)
            with trio.CancelScope(shield=True):
                await stream.reset()

    async def _write(self, stream: ByteStream, data: bytes) -> None:
        with trio.move_on_after(WRITE_S) as patience:
            await stream.write(data)
        if patience.cancelled_caught:
            raise NetworkError("stream_stalled", seconds=int(WRITE_S))
        self._metrics.network_bytes.labels(direction="out").inc(len(data))

    async def _watch(self, centre: str, stream: ByteStream, scope: trio.CancelScope) -> None:
        """End our stream when the neighbour resets it or goes; that he says nothing on it is as it should be."""
        try:
            while await stream.read(READ_BYTES):
                pass
            await self._disconnected(centre)
        except NetworkError:
            pass  # what was waited for
        scope.cancel()

    async def _open(self, centre: str) -> tuple[ByteStream, str]:
        for protocol in PROTOCOLS[:-1]:
            try:
                return await self._open_stream(centre, protocol), protocol
            except NetworkError as error:
                if error.code != "protocol_unknown":
                    raise
        return await self._open_stream(centre, PROTOCOLS[-1]), PROTOCOLS[-1]

    # --- who ----------------------------------------------------------------------------------

    def _neighbour(self, centre: str) -> Neighbour:
        known = self._neighbours.get(centre)
        if known is None:
            known = self._neighbours[centre] = Neighbour(self._environment)
        return known

    def _peer(self, centre: str) -> ID:
        peer_id = self._admission.peer_id_of(centre)
        if peer_id is None:
            raise NetworkError("unreachable", centre=centre, reason="not admitted")
        return ID.from_string(peer_id)

    def _count(self, outcome: str) -> None:
        self._metrics.announcements.labels(outcome=outcome).inc()


class Frames:
    """Frames out of a neighbour's bytes, each behind its length (LEB128)."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now.

        Raises:
            FormatError: `frame_too_large`.
        """
        self._held += data
        frames: list[bytes] = []
        at = 0
        while (place := self._next(at)) is not None:
            start, at = place
            frames.append(bytes(self._held[start:at]))
        del self._held[:at]
        return frames

    def _next(self, at: int) -> tuple[int, int] | None:
        """Where the frame whose length stands here begins and ends; None if more is to come."""
        size = 0
        for index, byte in enumerate(self._held[at : at + LENGTH_BYTES_MAX]):
            size |= (byte & 0x7F) << (7 * index)
            if size > FRAME_BYTES_MAX:
                break
            if byte < 0x80:
                start = at + index + 1
                return (start, start + size) if len(self._held) >= start + size else None
        if size > FRAME_BYTES_MAX or len(self._held) >= at + LENGTH_BYTES_MAX:
            raise FormatError("frame_too_large", size=size, limit=FRAME_BYTES_MAX)
        return None


def framed(frame: Any) -> bytes:
    """A frame behind its length."""
    content: bytes = frame.SerializeToString()
    size, length = len(content), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + content
