"""Answers peers that ask what this node knows of the directory.

Obeys `protocol/spec/reconcile.md` §4: a few streams at once and some sessions an hour for each peer, and no
patience with one that neither asks nor takes. What is answered is `protocol/reconcile_answer.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import trio

from node.directory_index import DirectoryIndex
from node.environment import Environment
from node.metrics import Metrics
from node.transport import ByteStream
from protocol.errors import NetworkError, NotNow
from protocol.limits import KIB, RECONCILE_STALL_MS
from protocol.reconcile_answer import Answerer, Kept, Turns
from protocol.reconcile_frames import Introduced, Question

READ_BYTES: Final = 64 * KIB
LINGER_S: Final = 5
LINGER_MAX: Final = 4
"""Streams of one peer that are being told `busy`; further ones are reset without a word."""
STALL_S: Final = RECONCILE_STALL_MS / 1000


class DirectoryServer:
    """Serves `/truc/directory/1.0.0`."""

    def __init__(self, *, kept: Kept, index: DirectoryIndex, environment: Environment, metrics: Metrics) -> None:
        self._kept: Final = kept
        self._index: Final = index
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._turns: Final = Turns()
        self._open: Final[Counter[str]] = Counter()
        self._lingering: Final[Counter[str]] = Counter()

    def keep(self, centres: Collection[str]) -> None:
        """Only these are admitted: how often others came is forgotten, once their streams are over."""
        for centre in [one for one, count in self._open.items() if not count and one not in centres]:
            del self._open[centre]
            del self._lingering[centre]
            self._turns.forget(centre)

    async def serve(self, centre: str, stream: ByteStream) -> None:
        """Answer one stream's questions, one after the other, until it ends.

        Raises:
            FormatError, NetworkError: the peer broke the rules, or the stream.
        """
        answerer = Answerer(self._kept)
        try:
            if not self._index.is_ready:
                raise NotNow("busy")
            self._turns.enter(centre, self._environment.monotonic_ms())
        except NotNow as error:
            await self._decline(centre, stream, answerer.done(error.code))
            return
        self._open[centre] += 1
        try:
            await self._serve(stream, answerer)
        finally:
            self._open[centre] -= 1
            self._turns.leave(centre)

    async def _decline(self, centre: str, stream: ByteStream, frame: bytes) -> None:
        if self._lingering[centre] >= LINGER_MAX:
            await stream.reset()
            return
        self._lingering[centre] += 1
        try:
            await self._say_last(stream, frame)
        finally:
            self._lingering[centre] -= 1

    async def _serve(self, stream: ByteStream, answerer: Answerer) -> None:
        while await self._answered(stream, answerer):
            pass

    async def _answered(self, stream: ByteStream, answerer: Answerer) -> bool:
        """Whether one more question came and was answered."""
        question: Question | None = None
        with trio.move_on_after(STALL_S) as patience:
            while question is None:
                data = await stream.read(READ_BYTES)
                if not data:
                    answerer.finish()
                    await stream.close()
                    return False
                question = answerer.receive(data)
        if patience.cancelled_caught:
            return False
        if isinstance(question, Introduced):  # who is admitted is known already
            await self._say_last(stream, answerer.done())
            return False
        for frame in answerer.answer():
            await self._write(stream, frame)
        return True

    async def _say_last(self, stream: ByteStream, frame: bytes) -> None:
        """A last frame, and the time to read it: what is reset at once may not arrive."""
        await self._write(stream, frame)
        await stream.close()
        with trio.move_on_after(LINGER_S), suppress(NetworkError):
            while await stream.read(READ_BYTES):
                pass

    async def _write(self, stream: ByteStream, frame: bytes) -> None:
        try:
            with trio.fail_after(STALL_S):
                await stream.write(frame)
        except trio.TooSlowError as error:
            raise NetworkError("stream_stalled", seconds=int(STALL_S)) from error
        self._metrics.network_bytes.labels(direction="out").inc(len(frame))
        await trio.lowlevel.checkpoint()
