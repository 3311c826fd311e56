"""Pulls the bodies of offers that are too large to travel in the offer.

Obeys DESIGN §4 and §6. Each body is hashed and opened on its way to the disk, so that what ends
as `BodiesDurable` is durable, whole and readable. A pull goes on from its last whole MiB after a
broken stream or a restart. An envelope is pulled once from a peer, however many of its consignments
are offered; the others are judged again when the first one is kept. Nothing that one peer does,
or lets hang, hinders the pulls from another, even of the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from node.arriving import Arriving
from node.committer import Ticket
from node.environment import Environment
from node.logs import Log
from node.metrics import Metrics
from node.pull_space import PullSpace
from node.pump import Pump
from node.streams import StreamReader
from node.tasks import Ready
from node.transport import ByteStream, Transport
from protocol import body_exchange
from protocol.body_exchange import FRAME_BYTES_MAX, BodyAsked, ask, read_given
from protocol.envelope import total_size
from protocol.errors import FormatError, NetworkError, NotNow, StoreError, TrucError
from protocol.limits import HELD_OFFERS_MAX, MIB
from protocol.step import BodiesDurable, BodiesFailed, BodyRequest, OfferArrived, VerifiedBody
from storage.bodies import SMALL_BODY_BYTES_MAX
from storage.store import Store

STREAMS_PER_PEER: Final = 4
"""DESIGN §5."""
READ_BYTES: Final = MIB
"""Bytes gathered before they go to a worker: a thread hop costs as much as sealing 200 KiB."""
STALL_S: Final = 60
"""A body stream that brings nothing for so long is given up; the offer is repeated."""


@dataclass(slots=True)
class _Envelope:
    """One envelope that is being pulled, and the other offers of it that wait for the outcome."""

    request: BodyRequest
    others: dict[bytes, BodyRequest] = field(default_factory=dict)


class Puller:
    """Takes body requests of the pump; at most four at once per peer, the rest in line."""

    def __init__(
        self,
        *,
        pump: Pump,
        store: Store,
        transport: Transport,
        environment: Environment,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._pump: Final = pump
        self._store: Final = store
        self._transport: Final = transport
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._envelopes: dict[tuple[str, bytes], _Envelope] = {}
        self._limits: dict[str, trio.CapacityLimiter] = {}
        self._held: Counter[str] = Counter()
        self._space: Final = PullSpace(pump=pump, store=store, environment=environment, log=log)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Pull until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def pull(self, request: BodyRequest) -> None:
        """Begin to pull, or wait for the same envelope's pull to end."""
        assert self._nursery is not None
        key = (request.centre, request.envelope.header_digest)
        known = self._envelopes.get(key)
        if self._held[request.centre] >= 2 * HELD_OFFERS_MAX:
            self._put(BodiesFailed(centre=request.centre, offer=request.offer, code="busy"))
            return
        if known is None:
            self._held[request.centre] += 1
            self._envelopes[key] = _Envelope(request)
            self._nursery.start_soon(self._one, key)
        elif known.request.consignment != request.consignment and request.consignment not in known.others:
            self._held[request.centre] += 1
            known.others[request.consignment] = request

    async def _one(self, key: tuple[str, bytes]) -> None:
        request = self._envelopes[key].request
        limit = self._limits.setdefault(request.centre, trio.CapacityLimiter(STREAMS_PER_PEER))
        bodies: tuple[VerifiedBody, ...] = ()
        given: BodiesDurable | BodiesFailed
        try:
            async with limit:
                bodies = await self._bodies(request)
            given = BodiesDurable(centre=request.centre, offer=request.offer, bodies=bodies)
        except TrucError as error:
            self._log.info("pull_failed", centre=request.centre, code=error.code)
            given = BodiesFailed(centre=request.centre, offer=request.offer, code=_code_for_peer(error))
        others = self._envelopes.pop(key).others
        self._held[request.centre] -= 1 + len(others)
        outcome = self._put(given)
        for other in others.values():
            self._put(OfferArrived(centre=other.centre, offer=other.offer))
        if bodies:
            await self._space.settle(bodies, outcome)
        else:
            await self._space.broken(request)

    def _put(self, given: BodiesDurable | BodiesFailed | OfferArrived) -> Ticket | None:
        try:
            return self._pump.put(given)
        except StoreError as error:  # read-only: the peer keeps owing and offers again
            self._log.info("not_taken", code=error.code)
            return None

    # --- one envelope -------------------------------------------------------------------------

    async def _bodies(self, request: BodyRequest) -> tuple[VerifiedBody, ...]:
        with _patience():
            stream = await self._transport.open_stream(request.centre, body_exchange.PROTOCOL)
        self._metrics.streams_opened.labels(protocol="body").inc()
        try:
            with ExitStack() as held:
                arrived = await self._arrive(request, stream, held)
                await stream.close()
                return await self._space.place(arrived)
        finally:
            with trio.CancelScope(shield=True):
                await stream.reset()

    async def _arrive(self, request: BodyRequest, stream: ByteStream, held: ExitStack) -> list[Arriving]:
        """All bodies of an envelope, one after the other, in memory or in partial files that stay
        ours until `held` is closed."""
        small = total_size(request.envelope.parts) <= SMALL_BODY_BYTES_MAX
        reader, arrived = StreamReader(stream), list[Arriving]()
        for ref, secret in zip(request.envelope.parts, request.header.parts, strict=True):
            arriving = Arriving(request, ref, secret)
            arrived.append(arriving)
            if small:
                await self._receive(arriving, stream, reader, self._into_memory)
                arriving.check()
            else:
                held.enter_context(self._space.reserved(arriving))
                await self._space.resume(arriving)
                await self._into_file(arriving, stream, reader)
        return arrived

    async def _into_memory(self, arriving: Arriving, piece: bytes) -> None:
        await self._environment.run_body(arriving.keep, piece)

    async def _into_file(self, arriving: Arriving, stream: ByteStream, reader: StreamReader) -> None:
        try:
            await self._receive(arriving, stream, reader, self._space.keep)
        except (NetworkError, NotNow, FormatError):
            await self._environment.run_body(arriving.pause)  # the next attempt goes on from here
            raise
        try:
            arriving.check()
        except TrucError:
            await self._environment.run_body(arriving.abandon)  # the next attempt begins from nothing
            raise
        if arriving.request.envelope.parts[-1] != arriving.ref:
            await self._environment.run_body(arriving.pause)  # until the last part is there

    async def _receive(
        self,
        arriving: Arriving,
        stream: ByteStream,
        reader: StreamReader,
        keep: Callable[[Arriving, bytes], Awaitable[None]],
    ) -> None:
        ref = arriving.ref
        asked = BodyAsked(consignment=arriving.request.consignment, body=ref.digest, offset=arriving.size)
        frame = None
        with _patience():
            await stream.write(ask(asked))
            frame = await reader.frame(FRAME_BYTES_MAX)
        if frame is None:
            raise NetworkError("stream_ended")
        given = read_given(*frame)
        if given.code:
            raise NotNow(CODE_OF_GIVEN.get(given.code, "body_damaged"))
        if given.size != ref.size - arriving.size:
            raise FormatError("body_size", field="size", size=given.size)
        while arriving.size < ref.size:
            piece = await self._piece(reader, ref.size - arriving.size)
            await keep(arriving, piece)
            self._metrics.network_bytes.labels(direction="in").inc(len(piece))

    async def _piece(self, reader: StreamReader, left: int) -> bytes:
        gathered = bytearray()
        wanted = min(READ_BYTES, left)
        while len(gathered) < wanted:
            with _patience():
                gathered += await reader.some(wanted - len(gathered))
        return bytes(gathered)


@contextmanager
def _patience() -> Iterator[None]:
    """A deadline around one wait for the peer."""
    try:
        with trio.fail_after(STALL_S):
            yield
    except trio.TooSlowError as error:
        raise NetworkError("stream_stalled", seconds=STALL_S) from error


CODE_OF_GIVEN: Final = {"busy": "busy", "body_gone": "body_gone", "not_yours": "record_stale"}
"""What a peer that gives nothing is answered: it has lost the body, or knows another host than us."""


def _code_for_peer(error: TrucError) -> str:
    """What the offer is answered: only bytes that the issuer signed can lead to a refusal."""
    if error.code == "part_damaged":
        return "part_mismatch"
    if error.code in ("disk_full", "disk_floor"):
        return "disk_floor"
    if isinstance(error, NotNow):
        return error.code
    return "busy" if isinstance(error, NetworkError | StoreError) else "body_damaged"
