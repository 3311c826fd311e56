"""What local software sees: its outbox, its inbox, its events; each only of its own agencies.

Obeys DESIGN §7 and DECISIONS "Inbox and cursors". Another agency's things do not exist for the
caller, and nothing that is not durable is shown to anybody. Waiting is a hint, the cursor is
the truth: who waits looks again from its cursor.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

import trio

from node.cursors import read_cursor, write_cursor
from node.pump import Pump
from node.reading import OpenedDocument, Reader
from node.tasks import Bell
from protocol.delivery import SenderState
from protocol.errors import RequestError, StoreError
from protocol.record import Put
from protocol.records import (
    IN,
    OUT,
    Arrival,
    Document,
    Happening,
    Incoming,
    Link,
    Outgoing,
    Sent,
    Uncollected,
)
from protocol.sending import consignments_of
from protocol.step import Caller, Step
from storage.store import Store

PAGE_MAX: Final = 1_000
"""Items of one answer."""
OPENED_SLICE: Final = 8
"""Headers opened between two checkpoints."""
SCAN_SLICE: Final = 256
"""Events looked through between two checkpoints."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some items in order, and the cursor behind the last one looked at."""

    items: tuple[Any, ...]
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One recipient of a document: the outbox entry and its receipts."""

    entry: Outgoing
    links: tuple[Link, ...]

    @property
    def state(self) -> SenderState:
        """The state as a name."""
        return SenderState(self.entry.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentDocument:
    """A document with its recipients; `opened` is None when the content is no longer kept, or has
    the `damage` that is told."""

    document: Document
    deliveries: tuple[Delivery, ...]
    opened: OpenedDocument | None
    damage: StoreError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A consignment in the inbox; `opened` is None when the content is no longer kept, or has the
    `damage` that is told."""

    entry: Incoming
    links: tuple[Link, ...]
    opened: OpenedDocument | None
    damage: StoreError | None = None


class Boxes:
    """Reads of both boxes, scoped to a caller."""

    def __init__(self, *, pump: Pump, store: Store, reader: Reader) -> None:
        self._store: Final = store
        self._records: Final = store.committed
        self._reader: Final = reader
        self._arrivals: Final = Bell()
        self._happenings: Final = Bell()
        pump.after_batch.append(self._notice)

    # --- outbox -------------------------------------------------------------------------------

    def document(self, caller: Caller, envelope_id: bytes) -> SentDocument:
        """One document with state and receipts per recipient.

        Raises:
            RequestError: `document_unknown`.
        """
        document = self._records.get(Document, envelope_id)
        if document is None or document.issuer not in caller.agencies:
            raise RequestError("document_unknown", field="document")
        return self._sent(document)

    def documents(self, caller: Caller, *, after: str = "", limit: int = 100, agency: str = "") -> Page:
        """Documents in the order in which they were handed in."""
        start = read_cursor(after, self._store.incarnation)
        rows = self._merged(Sent, _scope(caller, agency), start, limit)
        documents = [self._records.get(Document, row.envelope_id) for row in rows]
        items = tuple(self._sent(document) for document in documents if document is not None)
        return self._page(items, rows, start, limit)

    def _sent(self, document: Document) -> SentDocument:
        entries = (self._records.get(Outgoing, consignment) for consignment in consignments_of(document))
        deliveries = tuple(
            Delivery(entry=entry, links=self._links(OUT, entry.consignment)) for entry in entries if entry is not None
        )
        opened, damage = _opened(self._reader.outgoing, document)
        return SentDocument(document=document, deliveries=deliveries, opened=opened, damage=damage)

    # --- inbox --------------------------------------------------------------------------------

    async def inbox(
        self,
        caller: Caller,
        *,
        after: str = "",
        limit: int = 100,
        wait_s: float = 0,
        agency: str = "",
        everything: bool = False,
    ) -> Page:
        """Arrivals behind a cursor, uncollected ones unless `everything`; waits for the first.

        Raises:
            RequestError: `cursor_malformed`, `cursor_of_another_store`, `right_missing`.
        """
        _require(caller, "receive")
        start = read_cursor(after, self._store.incarnation)
        scope = _scope(caller, agency)
        index = Arrival if everything else Uncollected

        def look() -> list[Any]:
            return self._merged(index, scope, start, limit)

        rows = await _wait_for(look, self._arrivals, wait_s)
        items: list[Received] = []
        for row in rows:
            items.append(self._received(row.consignment))
            if len(items) % OPENED_SLICE == 0:
                await trio.lowlevel.checkpoint()
        return self._page(tuple(items), rows, start, limit)

    def received(self, caller: Caller, consignment: bytes) -> Received:
        """One consignment of the caller's agencies.

        Raises:
            RequestError: `consignment_unknown`, `right_missing`.
        """
        _require(caller, "receive")
        entry = self._records.get(Incoming, consignment)
        if entry is None or entry.recipient not in caller.agencies:
            raise RequestError("consignment_unknown", field="consignment")
        return self._received(consignment)

    def part(self, caller: Caller, consignment: bytes, number: int) -> tuple[Received, AsyncIterator[bytes]]:
        """The plain bytes of one part of a consignment, counted from 0.

        Raises:
            RequestError: `consignment_unknown`, `part_gone`, `part_unknown`.
            StoreError: `content_damaged`.
        """
        received = self.received(caller, consignment)
        if received.damage is not None:
            raise received.damage
        if received.opened is None:
            raise RequestError("part_gone")
        if not 0 <= number < len(received.entry.parts):
            raise RequestError("part_unknown", field="part")
        stored, secret = received.entry.parts[number], received.opened.header.parts[number]
        return received, self._reader.part(stored, secret)

    def _received(self, consignment: bytes) -> Received:
        entry = self._records.get(Incoming, consignment)
        assert entry is not None, "an index names an accepted consignment"
        opened, damage = _opened(self._reader.incoming, entry)
        return Received(entry=entry, links=self._links(IN, consignment), opened=opened, damage=damage)

    # --- events -------------------------------------------------------------------------------

    async def events(self, caller: Caller, *, after: str = "", limit: int = 100, wait_s: float = 0) -> Page:
        """What happened for the caller's agencies, behind a cursor of its own sequence.

        Raises:
            RequestError: `cursor_malformed`, `cursor_of_another_store`.
        """
        start = read_cursor(after, self._store.incarnation)
        seen = start

        def look() -> list[Happening]:
            nonlocal seen
            found: list[Happening] = []
            while len(found) < limit:
                slice_ = self._records.scan(Happening, after=(seen,), limit=SCAN_SLICE)
                for happening in slice_:
                    seen = happening.sequence
                    if happening.agency in caller.agencies:
                        found.append(happening)
                        if len(found) == limit:
                            return found
                if len(slice_) < SCAN_SLICE:
                    return found
            return found

        rows = await _wait_for(look, self._happenings, wait_s)
        return Page(items=tuple(rows), cursor=write_cursor(self._store.incarnation, seen), more=len(rows) == limit)

    # --- pieces -------------------------------------------------------------------------------

    def _merged(self, index: type[T], scope: Sequence[str], start: int, limit: int) -> list[T]:
        """Rows of several agencies in the one order of the store."""
        assert 1 <= limit <= PAGE_MAX

        def rows(agency: str) -> Iterator[T]:
            yield from self._records.scan(index, agency, after=(start,), limit=limit)

        merged = heapq.merge(*(rows(agency) for agency in scope), key=lambda row: row.sequence)  # type: ignore[attr-defined]
        return list(islice(merged, limit))

    def _links(self, box: int, consignment: bytes) -> tuple[Link, ...]:
        return tuple(self._records.scan(Link, box, consignment))

    def _page(self, items: tuple[Any, ...], rows: Sequence[Any], start: int, limit: int) -> Page:
        last = rows[-1].sequence if rows else start
        return Page(items=items, cursor=write_cursor(self._store.incarnation, last), more=len(rows) == limit)

    def _notice(self, step: Step) -> None:
        for change in step.changes:
            if isinstance(change, Put):
                if isinstance(change.record, Uncollected):
                    self._arrivals.ring()
                elif isinstance(change.record, Happening):
                    self._happenings.ring()


def _opened(read: Callable[[T], OpenedDocument | None], entry: T) -> tuple[OpenedDocument | None, StoreError | None]:
    """What can be read of an entry, or the damage: one bad sector must not hide a whole page."""
    try:
        return read(entry), None
    except StoreError as damage:
        return None, damage


def _require(caller: Caller, right: str) -> None:
    if right not in caller.rights:
        raise RequestError("right_missing", right=right)


def _scope(caller: Caller, agency: str) -> Sequence[str]:
    if agency and agency not in caller.agencies:
        raise RequestError("agency_unknown", field="agency", code=agency)
    return [agency] if agency else sorted(caller.agencies)


async def _wait_for(look: Callable[[], list[T]], bell: Bell, wait_s: float) -> list[T]:
    """What is there, or what comes within so many seconds."""
    rang = bell.next
    found = look()
    if found or wait_s <= 0:
        await trio.lowlevel.checkpoint()
        return found
    with trio.move_on_after(wait_s):
        while not found:
            await rang.wait()
            rang = bell.next
            found = look()
    return found
