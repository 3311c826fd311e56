"""Where pulled bodies lie: space set aside, what broken pulls leave, and files that nobody will name.

Obeys DESIGN §4 and §6. No peer gets all of the space, neither by announcing large bodies and letting
them hang nor by breaking off again and again; a pull is remembered only while something of it is
on the disk. What is in the bodies is `arriving.py`, asking for them `puller.py`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from node.arriving import Arriving, pull_token
from node.committer import Ticket
from node.environment import Environment
from node.logs import Log
from node.pump import Pump
from protocol.errors import NotNow, StoreError, TrucError
from protocol.limits import SEGMENT_BYTES
from protocol.receiving import pull_goes_on, pull_left_nothing
from protocol.record import Body, Put, PutBody
from protocol.records import Pull
from protocol.step import BodyRequest, Recorded, VerifiedBody
from storage.store import Store

PEER_SHARE: Final = (4, 5)
"""Of the space that is free, what one peer's bodies on their way may take. Whoever announces more is
put off, and cannot keep the others out by letting it hang."""
LEFT_SHARE: Final = 4
"""What broken pulls of one peer leave for a day may take one part in so many; the oldest goes first."""
REMEMBERED_PER_LIFE: Final = 24
"""While bytes come, the day for which they are kept begins anew so many times in a day."""


class PullSpace:
    """Belongs to the puller."""

    def __init__(self, *, pump: Pump, store: Store, environment: Environment, log: Log) -> None:
        self._pump: Final = pump
        self._store: Final = store
        self._environment: Final = environment
        self._log: Final = log
        self._arriving: set[bytes] = set()
        self._reserved: Counter[str] = Counter()
        self._left: dict[str, OrderedDict[bytes, int]] = {}
        """Per peer: token and size of partial bodies that broken pulls have left, oldest first."""
        self._placed: Counter[bytes] = Counter()
        """Bodies that have their file and wait for their record."""

    @contextmanager
    def reserved(self, arriving: Arriving) -> Iterator[None]:
        """Space for one body; its partial file is nobody else's meanwhile.

        Raises:
            NotNow: `busy` (another pull writes this file), `disk_floor` (more than one peer's share).
            StoreError: as `BodyStore.reserve`.
        """
        token, centre, bodies = arriving.token, arriving.request.centre, self._store.bodies
        if token in self._arriving:
            raise NotNow("busy")
        own, needed = self._reserved[centre], arriving.ref.size - (bodies.partial_size(token) or 0)
        if (own + needed) * PEER_SHARE[1] > (self._free_bytes() + own) * PEER_SHARE[0]:
            raise NotNow("disk_floor")
        bodies.reserve(token, arriving.ref.size)
        self._arriving.add(token)
        self._reserved[centre] += needed
        self._left.get(centre, OrderedDict[bytes, int]()).pop(token, None)
        try:
            yield
        finally:
            self._reserved[centre] -= needed
            self._arriving.discard(token)
            bodies.release(token)

    def _free_bytes(self) -> int:
        bodies = self._store.bodies
        return bodies.free_bytes() - bodies.reserved_bytes

    # --- partial files ------------------------------------------------------------------------

    async def resume(self, arriving: Arriving) -> None:
        """Go on where the last attempt stopped, at a whole MiB; what is there is hashed and opened again."""
        bodies, token = self._store.bodies, arriving.token
        held = bodies.partial_size(token)
        durable = min(held or 0, arriving.ref.size - 1) // SEGMENT_BYTES * SEGMENT_BYTES
        if not durable:
            if held is not None:
                await self._environment.run_body(bodies.drop_partial, token)
            return
        await self._remember(arriving)
        for offset in range(0, durable, SEGMENT_BYTES):
            piece = await self._environment.run_body(bodies.read_partial, token, offset, SEGMENT_BYTES)
            await self._environment.run_body(arriving.take, piece)
        arriving.writer = await self._environment.run_body(bodies.resume, token, durable)

    async def keep(self, arriving: Arriving, piece: bytes) -> None:
        """Write the next piece. The file is made when its first bytes have come, and remembered before."""
        patience_ms = self._pump.here().settings.pull_patience_ms
        since_ms = self._environment.monotonic_ms() - arriving.remembered_ms
        if arriving.writer is None or since_ms >= patience_ms // REMEMBERED_PER_LIFE:
            await self._remember(arriving)
        if arriving.writer is None:
            arriving.writer = await self._environment.run_body(self._store.bodies.writer, arriving.token)
        await self._environment.run_body(arriving.write, piece)

    async def _remember(self, arriving: Arriving) -> None:
        """Have the partial bodies of this pull kept for a day from now on.

        Raises:
            StoreError: the disk takes nothing.
        """
        arriving.remembered_ms = self._environment.monotonic_ms()
        changes = pull_goes_on(self._pump.view, self._pump.here(), arriving.request)
        await self._pump.ask(Recorded(changes=changes, why="pull goes on"))

    async def broken(self, request: BodyRequest) -> None:
        """A pull broke off. One that left nothing needs no record; what is left is bounded."""
        if self._pump.view.records.get(Pull, request.consignment) is None:
            return
        tokens = [pull_token(request.centre, ref.digest) for ref in request.envelope.parts]
        with self._logged():
            left = await self._environment.run_body(self._sizes, tokens)
            await self._trim(request.centre, left)
            if not left:
                changes = pull_left_nothing(self._pump.view, self._pump.here(), request.consignment)
                self._pump.put(Recorded(changes=changes, why="pull left nothing"))

    def _sizes(self, tokens: Sequence[bytes]) -> dict[bytes, int]:
        """Which of these partial bodies are on the disk. In a worker."""
        found = {token: self._store.bodies.partial_size(token) for token in tokens}
        return {token: size for token, size in found.items() if size is not None}

    async def _trim(self, centre: str, left: dict[bytes, int]) -> None:
        known = self._left.setdefault(centre, OrderedDict())
        for token, size in left.items():
            known[token] = size
            known.move_to_end(token)
        while len(known) > 1 and sum(known.values()) * LEFT_SHARE > self._free_bytes() + sum(known.values()):
            token, _ = known.popitem(last=False)
            if token not in self._arriving:
                await self._environment.run_body(self._store.bodies.drop_partial, token)

    # --- whole files --------------------------------------------------------------------------

    async def place(self, arrived: Sequence[Arriving]) -> tuple[VerifiedBody, ...]:
        """Everything of the envelope has come: bodies get their names.

        Raises:
            StoreError: the disk failed; none of them has one.
        """
        placed: list[VerifiedBody] = []
        try:
            for arriving in arrived:
                body = await self._place(arriving)
                placed.append(body)
        except StoreError:
            await self.settle(placed, None)
            raise
        return tuple(placed)

    async def _place(self, arriving: Arriving) -> VerifiedBody:
        ref = arriving.ref
        if arriving.writer is None:
            return arriving.verified(PutBody(ref.digest, arriving.whole()))
        place = await self._environment.run_body(arriving.writer.finish, ref.digest)
        self._placed[ref.digest] += 1
        return arriving.verified(Put(Body(digest=ref.digest, size=ref.size, place=place)))

    async def settle(self, bodies: Sequence[VerifiedBody], outcome: Ticket | None) -> None:
        """Bodies that were pulled and then not kept (the offer expired meanwhile, the agency moved,
        the disk failed) have files that no record will ever name: they go at once."""
        if outcome is not None:
            with suppress(TrucError):
                await outcome.wait()
        for body in bodies:
            if isinstance(body.put, Put):
                self._placed[body.digest] -= 1
                if not self._placed[body.digest]:
                    del self._placed[body.digest]
                    await self._drop_unnamed(body.digest)

    async def _drop_unnamed(self, digest: bytes) -> None:
        if self._pump.view.records.get(Body, digest) is None:
            self._store.bodies.claim(digest)
            with self._logged():
                await self._environment.run_body(self._store.discard, digest)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """What cannot be swept now is swept within the hour."""
        try:
            yield
        except StoreError as error:
            self._log.warning("sweep_failed", code=error.code)
