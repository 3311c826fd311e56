"""Turns what a step wants sent into frames, reading the records at the moment the frame leaves.

Obeys DESIGN §1 ("sends name records, read when the effect leaves") and §3 (stanzas are made at
offer time, for the sealing key that the directory names now). A record that is gone, or a
recipient that has moved, makes no frame: the record still owes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol import limits
from protocol.exchange import VERSION, Ack, Frame, Hello, Holding, NotNow, Offer, Returned, heads_extension
from protocol.records import Document, Outgoing, SealedHeader, Thing
from protocol.sealing import stanza_info, vault_open, wrap_stanza
from protocol.sending import content_key_context
from protocol.step import Here, Party, Send, SendAck, SendHello, SendHolding, SendNotNow, SendOffer, SendReturn, View
from storage.store import Store


class FrameMaker:
    """Reads records and bodies; keeps nothing."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        here: Callable[[], Here],
        node_record: Callable[[], bytes],
        heads: Callable[[], bytes] = bytes,
    ) -> None:
        """`node_record` gives the wire bytes of this node's newest record, empty when it has none;
        `heads` the digest of its directory's heads, empty while there is none."""
        self._store: Final = store
        self._view: Final = view
        self._here: Final = here
        self._node_record: Final = node_record
        self._heads: Final = heads

    def frame(self, send: Send) -> Frame | None:
        """The frame for a send, or None when there is nothing to say any more.

        Raises:
            StoreError: a record or body cannot be read.
            TrustError: a wrapped key cannot be opened.
        """
        match send:
            case SendHello():
                return self._hello(send)
            case SendOffer():
                return self._offer(send.consignment)
            case SendReturn():
                thing = self._store.committed.get(Thing, send.thing)
                return None if thing is None else Returned(number=send.number, thing=thing.wire)
            case SendAck():
                return Ack(thing=send.thing)
            case SendNotNow():
                return NotNow(subject=send.subject, code=send.code, retry_ms=send.retry_ms)
            case SendHolding():
                return Holding(consignment=send.consignment)

    def _hello(self, send: SendHello) -> Hello:
        here = self._here()
        return Hello(
            version_min=VERSION,
            version_max=VERSION,
            centre=here.centre,
            incarnation=here.incarnation,
            given=send.given,
            held=send.held,
            time_ms=here.now_ms,
            clock_quality=here.clock_quality,
            node_record=self._node_record(),
            extensions=heads_extension(self._heads()),
        )

    def _offer(self, consignment: bytes) -> Offer | None:
        here, records = self._here(), self._store.committed
        entry = records.get(Outgoing, consignment)
        document = None if entry is None else records.get(Document, entry.envelope_id)
        if entry is None or document is None or entry.settled_ms or not document.wrapped_key:
            return None
        party = self._view.directory.party(entry.recipient, at_ms=here.now_ms)
        envelope, statement = records.get(Thing, entry.envelope), records.get(Thing, entry.statement)
        header = records.get(SealedHeader, entry.envelope)
        if party is None or party.centre != entry.centre or party.sealing is None:
            return None
        if envelope is None or statement is None or header is None:
            return None
        key_id, stanza = self._stanza(here, entry, document, party, party.sealing)
        return Offer(
            number=entry.number,
            envelope=envelope.wire,
            consignment=statement.wire,
            key_id=key_id,
            stanza=stanza,
            epoch=party.epoch,
            header=header.sealed,
            inline=self._inline(document) if party.centre != here.centre else (),
        )

    def _stanza(
        self, here: Here, entry: Outgoing, document: Document, party: Party, sealing: tuple[bytes, bytes]
    ) -> tuple[bytes, bytes]:
        key_id, raw = sealing
        context = content_key_context(document.envelope_id)
        content_key = vault_open(here.vault_key, context, document.wrapped_key)
        info = stanza_info(key_id, entry.consignment, entry.envelope, party.code, party.epoch)
        return key_id, wrap_stanza(content_key, raw, info)

    def _inline(self, document: Document) -> tuple[bytes, ...]:
        """All bodies when they are small enough to travel in the offer, else none."""
        if sum(part.size for part in document.parts) > limits.INLINE_BYTES_MAX:
            return ()
        bodies: list[bytes] = []
        for part in document.parts:
            source = self._store.find_body(part.digest)
            if source is None:
                return ()  # pulling will say precisely what is missing
            bodies.append(self._store.read_body(source, 0, part.size))
        return tuple(bodies)
