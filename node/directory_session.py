"""One session of asking: a directory stream to a peer, until this node knows what the peer knows.

Obeys `protocol/spec/reconcile.md` §3 and its deadlines. What to ask, and what a peer cannot do, is
`protocol/reconcile.py`; whatever comes is judged and durable before the next frame is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from node.directory_door import Door
from node.directory_index import DirectoryIndex
from node.environment import Environment
from node.metrics import Metrics
from node.transport import ByteStream, Transport
from protocol.errors import NetworkError, TrucError
from protocol.limits import KIB, RECONCILE_ANSWER_MS, RECONCILE_SESSION_MS, RECONCILE_STALL_MS
from protocol.reconcile import Ask, Asker, Event, Known, Over, Things
from protocol.reconcile_frames import PROTOCOL

READ_BYTES: Final = 64 * KIB
OPEN_S: Final = 10
ANSWER_S: Final = RECONCILE_ANSWER_MS / 1000
WRITE_S: Final = RECONCILE_STALL_MS / 1000


class DirectorySession:
    """Run `ask` once for each."""

    def __init__(
        self,
        *,
        known: Known,
        index: DirectoryIndex,
        door: Door,
        transport: Transport,
        metrics: Metrics,
        environment: Environment,
    ) -> None:
        self._known: Final = known
        self._index: Final = index
        self._door: Final = door
        self._transport: Final = transport
        self._metrics: Final = metrics
        self._environment: Final = environment

    async def ask(self, centre: str) -> Over:
        """Ask until there is nothing more to ask.

        Raises:
            NetworkError, FormatError: the stream broke, or the peer broke a rule.
            NotNow: `busy`.
            StoreError: the disk does not take what is believed.
        """
        try:
            with trio.fail_after(OPEN_S):
                stream = await self._transport.open_stream(centre, PROTOCOL)
        except trio.TooSlowError as error:
            raise NetworkError("unreachable", centre=centre, reason="no_stream") from error
        self._metrics.streams_opened.labels(protocol="directory").inc()
        try:
            over = await self._run(stream, Asker(self._known))
            await stream.close()
        finally:
            with trio.CancelScope(shield=True):
                await stream.reset()
        return over

    async def _run(self, stream: ByteStream, asker: Asker) -> Over:
        events: Sequence[Event] = asker.start()
        until_ms = self._environment.monotonic_ms() + RECONCILE_SESSION_MS  # the next session goes on where it ends
        while True:
            over = await self._do(stream, asker, events)
            if over is not None:
                return over
            events = await self._next(stream, asker, until_ms)

    async def _do(self, stream: ByteStream, asker: Asker, events: Sequence[Event]) -> Over | None:
        """Do what is called for; the end, if this was it."""
        pending = list(events)
        while pending:
            event = pending.pop(0)
            if isinstance(event, Over):
                return event
            if isinstance(event, Ask):
                await self._write(stream, event.frame)
            else:
                pending += asker.judged(await self._judged(event))
        return None

    async def _judged(self, things: Things) -> list[TrucError]:
        """The errors of what is not believed; the rest is durable."""
        if not things.wires:
            await trio.lowlevel.checkpoint()
            return []
        errors = await self._door.take_given(things.wires)
        await self._index.caught_up()
        return errors

    async def _next(self, stream: ByteStream, asker: Asker, until_ms: int) -> Sequence[Event]:
        """What follows from the next whole frame. Only reading is cut short, never judging."""
        seen, events = asker.frames, list[Event]()
        try:
            left_s = (until_ms - self._environment.monotonic_ms()) / 1000
            with trio.fail_after(max(0, min(ANSWER_S, left_s))):
                while asker.frames == seen:
                    data = await stream.read(READ_BYTES)
                    if not data:
                        asker.finish()
                    self._metrics.network_bytes.labels(direction="in").inc(len(data))
                    events = asker.receive(data)
        except trio.TooSlowError as error:
            raise NetworkError("stream_stalled", seconds=int(ANSWER_S)) from error
        return events

    async def _write(self, stream: ByteStream, frame: bytes) -> None:
        try:
            with trio.fail_after(WRITE_S):
                await stream.write(frame)
        except trio.TooSlowError as error:
            raise NetworkError("stream_stalled", seconds=int(WRITE_S)) from error
        self._metrics.network_bytes.labels(direction="out").inc(len(frame))
