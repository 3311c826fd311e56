"""Pulls the bodies of offers that are too large to travel in the offer.

Obeys DESIGN §4 and §6. Each body is hashed and opened on its way to the disk, so that what ends
as `BodiesDurable` is durable, whole and readable. A pull goes on from its last whole MiB after a
broken stream or a restart. An envelope is pulled once, however many of its consignments are
offered; the others are judged again when the first one is kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from node.environment import Environment
from node.logs import Log
from node.metrics import Metrics
from node.pump import Pump
from node.streams import StreamReader
from node.tasks import Ready
from node.transport import ByteStream, Transport
from protocol import body_exchange
from protocol.body_exchange import FRAME_BYTES_MAX, BodyAsked, ask, read_given
from protocol.encoding import lp
from protocol.envelope import PartRef, PartSecret, total_size
from protocol.errors import FormatError, NetworkError, NotNow, StoreError, TrucError, TrustError
from protocol.limits import HELD_OFFERS_MAX, MIB, SEGMENT_BYTES
from protocol.record import Body, Put, PutBody
from protocol.sealing import BodyHasher, PartOpener
from protocol.step import BodiesDurable, BodiesFailed, BodyRequest, OfferArrived, VerifiedBody
from storage.bodies import SMALL_BODY_BYTES_MAX, BodyWriter
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


def pull_token(body: bytes) -> bytes:
    """The name of a partly pulled body: the same after a restart, for every consignment of its envelope."""
    return hashlib.sha256(lp("pull", body)).digest()[:16]


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
        self._envelopes: dict[bytes, _Envelope] = {}
        self._limits: dict[str, trio.CapacityLimiter] = {}
        self._held: Counter[str] = Counter()
        self._arriving: set[bytes] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Pull until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def pull(self, request: BodyRequest) -> None:
        """Begin to pull, or wait for the same envelope's pull to end."""
        assert self._nursery is not None
        key = request.envelope.header_digest
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

    async def _one(self, key: bytes) -> None:
        request = self._envelopes[key].request
        limit = self._limits.setdefault(request.centre, trio.CapacityLimiter(STREAMS_PER_PEER))
        given: BodiesDurable | BodiesFailed
        try:
            async with limit:
                bodies = await self._bodies(request)
            given = BodiesDurable(centre=request.centre, offer=request.offer, bodies=bodies)
        except TrucError as error:
            self._log.info("pull_failed", centre=request.centre, code=error.code)
            given = BodiesFailed(centre=request.centre, offer=request.offer, code=_code_for_peer(error))
        others = self._envelopes.pop(key).others
        self._held[request.centre] -= 1
        for other in others.values():
            self._held[other.centre] -= 1
        self._put(given)
        for other in others.values():
            self._put(OfferArrived(centre=other.centre, offer=other.offer))

    def _put(self, given: BodiesDurable | BodiesFailed | OfferArrived) -> None:
        try:
            self._pump.put(given)
        except StoreError as error:  # read-only: the peer keeps owing and offers again
            self._log.info("not_taken", code=error.code)

    # --- one envelope -------------------------------------------------------------------------

    async def _bodies(self, request: BodyRequest) -> tuple[VerifiedBody, ...]:
        small = total_size(request.envelope.parts) <= SMALL_BODY_BYTES_MAX
        with _patience():
            stream = await self._transport.open_stream(request.centre, body_exchange.PROTOCOL)
        self._metrics.streams_opened.labels(protocol="body").inc()
        try:
            reader = StreamReader(stream)
            bodies = [
                await self._body(request, ref, secret, stream, reader, small=small)
                for ref, secret in zip(request.envelope.parts, request.header.parts, strict=True)
            ]
            await stream.close()
            return tuple(bodies)
        finally:
            with trio.CancelScope(shield=True):
                await stream.reset()

    async def _body(
        self,
        request: BodyRequest,
        ref: PartRef,
        secret: PartSecret,
        stream: ByteStream,
        reader: StreamReader,
        *,
        small: bool,
    ) -> VerifiedBody:
        arriving = _Arriving(ref, secret)
        if small:
            await self._receive(request, ref, stream, reader, arriving, None)
            return arriving.verified(PutBody(ref.digest, arriving.whole()))
        token = pull_token(ref.digest)
        bodies = self._store.bodies
        if token in self._arriving:
            raise NotNow("busy")  # another envelope's pull of the same body, at this moment
        bodies.reserve(token, ref.size)
        self._arriving.add(token)
        try:
            writer = await self._writer(token, ref, arriving)
            await self._into_file(request, ref, stream, reader, arriving, writer)
            place = await self._environment.run_body(writer.finish, ref.digest)
        finally:
            self._arriving.discard(token)
            bodies.release(token)
        return arriving.verified(Put(Body(digest=ref.digest, size=ref.size, place=place)))

    async def _into_file(
        self,
        request: BodyRequest,
        ref: PartRef,
        stream: ByteStream,
        reader: StreamReader,
        arriving: _Arriving,
        writer: BodyWriter,
    ) -> None:
        try:
            await self._receive(request, ref, stream, reader, arriving, writer)
        except (NetworkError, NotNow, FormatError):
            await self._environment.run_body(writer.pause)  # the next attempt goes on from here
            raise
        try:
            arriving.check()
        except TrucError:
            await self._environment.run_body(writer.abandon)  # the next attempt begins from nothing
            raise

    async def _writer(self, token: bytes, ref: PartRef, arriving: _Arriving) -> BodyWriter:
        """Where the last attempt stopped, at a whole MiB; what is there is hashed and opened again."""
        bodies = self._store.bodies
        held = bodies.partial_size(token)
        durable = min(held or 0, ref.size - 1) // SEGMENT_BYTES * SEGMENT_BYTES
        if not durable:
            if held is not None:
                await self._environment.run_body(bodies.drop_partial, token)
            return await self._environment.run_body(bodies.writer, token)
        for offset in range(0, durable, SEGMENT_BYTES):
            piece = await self._environment.run_body(bodies.read_partial, token, offset, SEGMENT_BYTES)
            await self._environment.run_body(arriving.take, piece)
        return await self._environment.run_body(bodies.resume, token, durable)

    async def _receive(
        self,
        request: BodyRequest,
        ref: PartRef,
        stream: ByteStream,
        reader: StreamReader,
        arriving: _Arriving,
        writer: BodyWriter | None,
    ) -> None:
        asked = BodyAsked(consignment=request.consignment, body=ref.digest, offset=arriving.size)
        frame = None
        with _patience():
            await stream.write(ask(asked))
            frame = await reader.frame(FRAME_BYTES_MAX)
        if frame is None:
            raise NetworkError("stream_ended")
        given = read_given(*frame)
        if given.code:
            raise NotNow("body_damaged" if given.code != "busy" else "busy")
        if given.size != ref.size - arriving.size:
            raise FormatError("body_size", field="size", size=given.size)
        while arriving.size < ref.size:
            piece = await self._piece(reader, ref.size - arriving.size)
            await self._environment.run_body(_take, arriving, writer, piece)
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


class _Arriving:
    """One body as far as it has come: hashed, opened, and, when small, kept."""

    def __init__(self, ref: PartRef, secret: PartSecret) -> None:
        self._ref: Final = ref
        self._opener: Final = PartOpener(secret.key)
        self._hasher: Final = BodyHasher()
        self._kept = bytearray()
        self._damage: TrustError | None = None
        self._checked = False
        self.size = 0

    def take(self, piece: bytes) -> None:
        """Hash and open one more piece. In a worker. A piece that does not open is remembered:
        whose fault it is shows when the digest of the whole is known."""
        self._hasher.update(piece)
        self.size += len(piece)
        if self._damage is None:
            try:
                self._opener.feed(piece)
            except TrustError as error:
                self._damage = error

    def keep(self, piece: bytes) -> None:
        """Keep a piece in memory."""
        self._kept += piece

    def whole(self) -> bytes:
        """All that was kept."""
        return bytes(self._kept)

    def check(self) -> None:
        """Whether what came is what was signed.

        Raises:
            NotNow: `body_damaged` (other bytes than the envelope names).
            TrustError: `part_damaged` (the issuer signed bytes that do not open).
        """
        if self._checked:
            return
        if self._hasher.digest() != self._ref.digest:
            raise NotNow("body_damaged")
        if self._damage is not None:
            raise self._damage
        self._opener.finish()
        self._checked = True

    def verified(self, put: Put | PutBody) -> VerifiedBody:
        """The proof for the step."""
        self.check()
        return VerifiedBody(
            digest=self._ref.digest,
            size=self._ref.size,
            plain_digest=self._opener.plain_digest,
            plain_size=self._opener.plain_size,
            put=put,
        )


def _take(arriving: _Arriving, writer: BodyWriter | None, piece: bytes) -> None:
    arriving.take(piece)
    if writer is None:
        arriving.keep(piece)
    else:
        writer.write(piece)


def _code_for_peer(error: TrucError) -> str:
    """What the offer is answered: only bytes that the issuer signed can lead to a refusal."""
    if error.code == "part_damaged":
        return "part_mismatch"
    if error.code in ("disk_full", "disk_floor"):
        return "disk_floor"
    return "busy" if isinstance(error, NetworkError) or error.code == "busy" else "body_damaged"
