"""Opens what lies sealed in the store: headers, and parts chunk by chunk.

Obeys DESIGN §3 (everything opened is checked against commitment, header and plain digest) and
§6. For the two boxes alike; who may read is decided by the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from node.environment import Environment
from protocol import receiving, sending
from protocol.envelope import ENVELOPE, HEADER, Envelope, Header, PartSecret
from protocol.errors import RequestError, StoreError, TrucError
from protocol.limits import CHUNK_BYTES, TAG_BYTES
from protocol.records import Document, Incoming, SealedHeader, StoredPart, Thing
from protocol.sealing import PartOpener, committed_header_key, open_header, vault_open
from protocol.signing import Signed
from storage.store import Store

PIECE_BYTES: Final = 4 * (CHUNK_BYTES + TAG_BYTES)
"""Sealed bytes read, opened and handed on at once: four chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedDocument:
    """An envelope with its header, as a holder of the key reads it."""

    envelope: Envelope
    header: Header


class Reader:
    """Opens headers and parts of both boxes."""

    def __init__(self, vault_key: bytes, store: Store, environment: Environment) -> None:
        self._vault_key: Final = vault_key
        self._store: Final = store
        self._environment: Final = environment

    def incoming(self, entry: Incoming) -> OpenedDocument | None:
        """An accepted consignment; None when its content is no longer kept.

        Raises:
            StoreError: `content_damaged`: what lies on the disk is not what was accepted.
        """
        context = receiving.content_key_context(entry.consignment)
        return self._open(entry.envelope, context, entry.wrapped_key)

    def outgoing(self, document: Document) -> OpenedDocument | None:
        """A document we sent; None when its content is no longer kept.

        Raises:
            StoreError: `content_damaged`: what lies on the disk is not what was submitted.
        """
        context = sending.content_key_context(document.envelope_id)
        return self._open(document.envelope, context, document.wrapped_key)

    def _open(self, envelope_digest: bytes, context: bytes, wrapped_key: bytes) -> OpenedDocument | None:
        try:
            return self._opened(envelope_digest, context, wrapped_key)
        except TrucError as error:
            raise StoreError("content_damaged", reason=error.code) from error

    def _opened(self, envelope_digest: bytes, context: bytes, wrapped_key: bytes) -> OpenedDocument | None:
        records = self._store.committed
        thing, sealed = records.get(Thing, envelope_digest), records.get(SealedHeader, envelope_digest)
        if thing is None or sealed is None or not wrapped_key:
            return None
        envelope = ENVELOPE.decode(Signed.from_wire(thing.wire, bytes_max=len(thing.wire)).statement)
        content_key = vault_open(self._vault_key, context, wrapped_key)
        key = committed_header_key(content_key, envelope.envelope_id, envelope.commitment)
        return OpenedDocument(envelope=envelope, header=HEADER.decode(open_header(key, sealed.sealed)))

    async def part(self, stored: StoredPart, secret: PartSecret) -> AsyncIterator[bytes]:
        """The plain bytes of a part, in pieces; the last piece comes only after the whole was
        found to be what the issuer signed.

        Raises:
            RequestError: `part_gone`.
            StoreError: `body_damaged`.
            TrustError: `part_damaged`.
        """
        source = self._store.find_body(stored.digest)
        if source is None:
            raise RequestError("part_gone")
        opener = PartOpener(secret.key)
        offset, held = 0, b""
        while offset < stored.size:
            if held:
                yield held
            length = min(PIECE_BYTES, stored.size - offset)
            sealed = await self._environment.run_body(self._store.read_body, source, offset, length)
            offset += length
            held = opener.feed(sealed)
        last = held + opener.finish()
        if opener.plain_digest != secret.plain_digest:
            raise StoreError("body_damaged", digest=stored.digest.hex())
        yield last
