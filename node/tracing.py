"""The story of a document on this node: durable changes of state, and receipts verified anew.

Obeys DESIGN §2 "trace" and §7: only what the caller's agencies sent or got. Joining both sides is
the reader's business; each side tells its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from node.daemon import Node
from protocol.delivery import RecipientState, SenderState
from protocol.directory_view import WIRE_BYTES_MAX
from protocol.errors import FormatError, RequestError, TrucError
from protocol.receipt import RECEIPT, ChainHead
from protocol.records import IN, OUT, Document, Incoming, Link, Outgoing, Thing
from protocol.refusal import REFUSAL
from protocol.sending import consignments_of
from protocol.signing import Signed, thing_digest
from protocol.speaking import signing_key
from protocol.step import Caller
from protocol.textid import from_text

LINKS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One durable change. `code` is a receipt's; `verified` tells of receipts and refusals."""

    time_ms: int
    box: str
    what: str
    agency: str
    peer_agency: str = ""
    consignment: bytes = b""
    code: int | None = None
    detail: str = ""
    reason: str = ""
    staff_name: str = ""
    staff_position: str = ""
    digest: bytes = b""
    verified: bool | None = None


def trace_of(node: Node, caller: Caller, text: str) -> list[Moment]:
    """Everything durable about `doc_…` or `csg_…`, by time.

    Raises:
        RequestError: `id_malformed`, `trace_unknown` (also for what belongs to others).
    """
    if text.startswith("doc_"):
        moments = list(_document(node, caller, from_text("doc", text)))
    else:
        moments = list(_consignment(node, caller, from_text("csg", text)))
    if not moments:
        raise RequestError("trace_unknown", field="id")
    return sorted(moments, key=lambda moment: moment.time_ms)


def _document(node: Node, caller: Caller, envelope_id: bytes) -> Iterator[Moment]:
    document = node.store.committed.get(Document, envelope_id)
    if document is None or document.issuer not in caller.agencies:
        return
    yield Moment(
        time_ms=document.created_ms,
        box="outbox",
        what="submitted",
        agency=document.issuer,
        detail=", ".join(document.recipients),
        digest=document.envelope,
    )
    for consignment in consignments_of(document):
        yield from _consignment(node, caller, consignment)


def _consignment(node: Node, caller: Caller, consignment: bytes) -> Iterator[Moment]:
    records = node.store.committed
    sent, held = records.get(Outgoing, consignment), records.get(Incoming, consignment)
    if sent is not None and sent.issuer in caller.agencies:
        yield from _sent(node, sent)
    if held is not None and held.recipient in caller.agencies:
        yield from _held(node, held)


def _sent(node: Node, entry: Outgoing) -> Iterator[Moment]:
    about = _about("outbox", entry.consignment, entry.issuer, entry.recipient)
    story = [(entry.created_ms, "queued", ""), (entry.offered_ms, "offered", entry.centre)]
    if entry.waiting:
        story.append((entry.offered_ms, "waiting", entry.waiting))
    if entry.settled_ms and entry.state >= SenderState.REFUSED:
        story.append((entry.settled_ms, SenderState(entry.state).name.lower(), entry.refusal_code))
    for time_ms, what, detail in story:
        if time_ms:
            verified = _refusal_holds(node, entry) if what == "refused" else None
            digest = entry.refusal if what == "refused" else b""
            yield replace(about, time_ms=time_ms, what=what, detail=detail, digest=digest, verified=verified)
    yield from _links(node, OUT, entry, about)


def _held(node: Node, entry: Incoming) -> Iterator[Moment]:
    about = _about("inbox", entry.consignment, entry.recipient, entry.issuer)
    yield from _links(node, IN, entry, about)
    if entry.state in (RecipientState.RECALLED, RecipientState.DESTROYED):
        what = RecipientState(entry.state).name.lower()
        yield replace(about, time_ms=entry.collected_ms, what=what)


def _about(box: str, consignment: bytes, agency: str, peer_agency: str) -> Moment:
    return Moment(time_ms=0, box=box, what="", agency=agency, peer_agency=peer_agency, consignment=consignment)


def _links(node: Node, box: int, entry: Outgoing | Incoming, about: Moment) -> Iterator[Moment]:
    head: ChainHead | None = ChainHead(
        consignment=entry.consignment,
        envelope=entry.envelope,
        issuer=entry.issuer,
        recipient=entry.recipient,
        sequence=0,
        previous=entry.statement,
        epoch=0,
        collected=False,
    )
    for link in node.store.committed.scan(Link, box, entry.consignment, limit=LINKS_MAX):
        head = _extended(node, head, link)
        yield replace(
            about,
            time_ms=link.recorded_ms,
            what="receipt",
            code=link.code,
            detail=link.flag,
            reason=link.reason,
            staff_name=link.staff_name,
            staff_position=link.staff_position,
            digest=link.receipt,
            verified=head is not None,
        )


# --- verifying again --------------------------------------------------------------------------


def _extended(node: Node, head: ChainHead | None, link: Link) -> ChainHead | None:
    """The chain with one more link; None from the first link on that does not verify."""
    signed = thing_of(node, link.receipt)
    if head is None or signed is None:
        return None
    try:
        receipt = RECEIPT.decode(signed.statement)
        _verify(node, signed, receipt.recipient)
        return head.extend(receipt, signed.digest)
    except TrucError:
        return None


def _refusal_holds(node: Node, entry: Outgoing) -> bool:
    signed = thing_of(node, entry.refusal)
    if signed is None:
        return False
    try:
        refusal = REFUSAL.decode(signed.statement)
        _verify(node, signed, entry.recipient)
    except TrucError:
        return False
    return refusal.consignment == entry.consignment


def _verify(node: Node, signed: Signed, agency: str) -> None:
    """By any key that was ever listed for the agency: which one counted was judged when the statement
    came, once, and a key that was revoked since does not undo that.

    Raises:
        TrucError: none of those keys has signed.
    """
    key = signing_key(signed, node.directory.listed_keys(agency))
    if key is None:
        raise RequestError("trace_unknown")
    node.verifier.verify(signed, key)


def thing_of(node: Node, digest: bytes) -> Signed | None:
    """A stored thing with this digest; None when there is none, or something else lies there."""
    thing = node.store.committed.get(Thing, digest)
    if thing is None:
        return None
    try:
        signed = Signed.from_wire(thing.wire, bytes_max=WIRE_BYTES_MAX)
    except FormatError:
        return None
    return signed if thing_digest(signed.format, signed.statement) == digest else None
