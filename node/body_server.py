"""Gives bodies to recipients' nodes that pull them.

Obeys DESIGN §4: only bodies of the consignment's envelope, only to the recipient's present
host. Holding a digest proves nothing; being the host does.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import trio

from node.environment import Environment
from node.logs import Log
from node.metrics import Metrics
from node.pump import Pump
from node.streams import StreamReader
from node.transport import ByteStream
from protocol.body_exchange import FRAME_BYTES_MAX, BodyAsked, BodyGiven, give, read_asked
from protocol.errors import NetworkError
from protocol.records import Document, Outgoing
from storage.store import BodySource, Store

WRITE_BYTES: Final = 4 * 65_507
"""One read from the disk and one write to the stream: four frames that each fill one message of the
transport, and no fifth one for a rest."""
WRITE_S: Final = 300
"""A peer that takes no piece for so long is given up."""
STREAMS_MAX: Final = 8
"""Of one peer at once; an honest one opens four and may be replacing them."""
IDLE_S: Final = 120
"""A peer's idle body stream is closed; it opens another one when it needs one."""


class BodyServer:
    """Answers `/truc/body/1.0.0`."""

    def __init__(self, *, pump: Pump, store: Store, environment: Environment, metrics: Metrics, log: Log) -> None:
        self._pump: Final = pump
        self._store: Final = store
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._open: Counter[str] = Counter()

    async def serve(self, centre: str, stream: ByteStream) -> None:
        """Answer one stream's requests, one after the other, until it ends.

        Raises:
            FormatError, NetworkError: the peer broke the rules, or the stream.
        """
        if self._open[centre] >= STREAMS_MAX:
            await stream.reset()
            return
        self._open[centre] += 1
        try:
            await self._serve(centre, stream)
        finally:
            self._open[centre] -= 1

    async def _serve(self, centre: str, stream: ByteStream) -> None:
        reader = StreamReader(stream)
        while True:
            with trio.move_on_after(IDLE_S) as waiting:
                frame = await reader.frame(FRAME_BYTES_MAX)
            if waiting.cancelled_caught or frame is None:
                await stream.close()
                return
            await self._answer(centre, stream, read_asked(*frame))

    async def _answer(self, centre: str, stream: ByteStream, asked: BodyAsked) -> None:
        size = self._allowed(centre, asked)
        source = None if size is None else self._store.find_body(asked.body)
        if size is None or asked.offset > size:
            await _write(stream, give(BodyGiven(code="not_yours")))
        elif source is None:
            self._log.error("alarm", code="body_gone", centre=centre, subject=asked.consignment.hex())
            await _write(stream, give(BodyGiven(code="body_gone")))
        else:
            await _write(stream, give(BodyGiven(size=size - asked.offset)))
            await self._give(stream, source, asked.offset, size)

    def _allowed(self, centre: str, asked: BodyAsked) -> int | None:
        """The body's size, if this centre may have it."""
        records, here = self._store.committed, self._pump.here()
        entry = records.get(Outgoing, asked.consignment)
        document = None if entry is None else records.get(Document, entry.envelope_id)
        if entry is None or document is None:
            return None
        party = self._pump.view.directory.party(entry.recipient, at_ms=here.now_ms)
        if party is None or party.centre != centre:
            return None
        sizes = {part.digest: part.size for part in document.parts}
        return sizes.get(asked.body)

    async def _give(self, stream: ByteStream, source: BodySource, offset: int, size: int) -> None:
        while offset < size:
            length = min(WRITE_BYTES, size - offset)
            piece = await self._environment.run_body(self._store.read_body, source, offset, length)
            await _write(stream, piece)
            self._metrics.network_bytes.labels(direction="out").inc(length)
            offset += length


async def _write(stream: ByteStream, piece: bytes) -> None:
    try:
        with trio.fail_after(WRITE_S):
            await stream.write(piece)
    except trio.TooSlowError as error:
        raise NetworkError("stream_stalled", seconds=WRITE_S) from error
