"""Evidence files of consignments that this node sent or holds.

Obeys DESIGN §3: receipt chain, consignment, envelope, and the directory records from the root to
the keys, in every version this node has believed, so that old signatures can be judged by what
was true then. Checking such a file is `protocol/evidence.py`.
"""

from __future__ import annotations

from typing import Final

from node.daemon import Node
from node.tracing import thing_of
from protocol import receiving, sending
from protocol.errors import RequestError, StoreError
from protocol.evidence import build_evidence
from protocol.evidence_records import collect_records
from protocol.records import IN, OUT, Document, Incoming, Link, Outgoing, SealedHeader
from protocol.sealing import vault_open
from protocol.signing import Signed
from protocol.step import Caller

LINKS_MAX: Final = 10_000


def evidence_of(node: Node, caller: Caller, consignment: bytes, *, disclose: bool = False) -> bytes:
    """The bytes of an evidence file.

    Raises:
        RequestError: `consignment_unknown`, `part_gone` (to be disclosed, and no longer kept).
        StoreError: `content_damaged`.
    """
    records = node.store.committed
    sent, held = records.get(Outgoing, consignment), records.get(Incoming, consignment)
    if sent is not None and sent.issuer in caller.agencies:
        entry: Outgoing | Incoming = sent
        box, refusal = OUT, thing_of(node, sent.refusal) if sent.refusal else None
    elif held is not None and held.recipient in caller.agencies:
        entry, box, refusal = held, IN, None
    else:
        raise RequestError("consignment_unknown", field="consignment")
    links = records.scan(Link, box, consignment, limit=LINKS_MAX)
    header, key = _disclosed(node, entry) if disclose else (b"", b"")
    return build_evidence(
        envelope=_required(node, entry.envelope),
        consignment=_required(node, entry.statement),
        receipts=[_required(node, link.receipt) for link in links],
        refusal=refusal,
        directory=collect_records(node.directory, (entry.issuer, entry.recipient)),
        header=header,
        content_key=key,
    )


def _required(node: Node, digest: bytes) -> Signed:
    """What a record names is stored, or else damaged."""
    signed = thing_of(node, digest)
    if signed is None:
        raise StoreError("content_damaged", reason=digest.hex()[:16])
    return signed


def _disclosed(node: Node, entry: Outgoing | Incoming) -> tuple[bytes, bytes]:
    sealed = node.store.committed.get(SealedHeader, entry.envelope)
    if isinstance(entry, Outgoing):
        document = node.store.committed.get(Document, entry.envelope_id)
        wrapped = b"" if document is None else document.wrapped_key
        context = sending.content_key_context(entry.envelope_id)
    else:
        wrapped, context = entry.wrapped_key, receiving.content_key_context(entry.consignment)
    if sealed is None or not wrapped:
        raise RequestError("part_gone")
    return sealed.sealed, vault_open(node.keyring.vault_key, context, wrapped)
