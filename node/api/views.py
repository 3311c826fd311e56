"""What the API shows, as JSON: times in RFC 3339 UTC, ids with their prefix, digests in hexadecimal.

Obeys DESIGN §2 for the words and §7. Within /v1 only optional fields are added. The classes are
the schemas of the OpenAPI document; whether an absent thing is null stands in their types.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from typing_extensions import TypedDict

from node.api.problems import problem
from node.boxes import Delivery, Received, SentDocument
from node.reading import OpenedDocument
from protocol.acting import ReceiptMade
from protocol.delivery import RecipientState
from protocol.document import FOREIGN_EDXML, Metadata
from protocol.envelope import Lane
from protocol.errors import TrucError
from protocol.records import Audit, Happening, Link, StoredPart
from protocol.status import status_name
from protocol.textid import to_text


class Texts(TypedDict):
    """The same in both languages."""

    vi: str
    en: str


class ReceiptView(TypedDict):
    """One link of a receipt chain. `code` 100 is the node's own: collected."""

    sequence: int
    code: int
    name: Texts
    at: str
    recorded_at: str
    flag: str
    reason: str
    staff_name: str
    staff_position: str
    digest: str


class PartView(TypedDict):
    """One file of a document."""

    number: int
    name: str
    media_type: str
    size: int
    sha256: str


class DeliveryView(TypedDict):
    """One recipient of a document."""

    recipient: str
    consignment: str
    state: str
    final: bool
    waiting: str
    offered_at: str | None
    retry_at: str | None
    settled_at: str | None
    refusal: str
    receipts: list[ReceiptView]


class DocumentView(TypedDict):
    """A document that was sent. Without its content (`metadata`, `parts`) when that is no longer kept,
    or when it is damaged, which `problem` tells."""

    id: str
    issuer: str
    lane: str
    created_at: str
    expires_at: str
    metadata: dict[str, Any] | None
    parts: list[PartView] | None
    problem: dict[str, Any] | None
    recipients: list[DeliveryView]


class DocumentPage(TypedDict):
    """Some documents in the order in which they were handed in."""

    items: list[DocumentView]
    next: str
    more: bool


class ConsignmentView(TypedDict):
    """A document that arrived. Without its content (`metadata`, `parts`) when that is no longer kept,
    or when it is damaged, which `problem` tells."""

    consignment: str
    document: str
    issuer: str
    recipient: str
    lane: str
    state: str
    arrived_at: str
    collected_at: str | None
    metadata: dict[str, Any] | None
    parts: list[PartView] | None
    problem: dict[str, Any] | None
    receipts: list[ReceiptView]


class InboxPage(TypedDict):
    """Some arrivals in order; `next` is the cursor behind them."""

    items: list[ConsignmentView]
    next: str
    more: bool


class ReceiptMadeView(TypedDict):
    """The link that a collect or an answer made, or had made before (`repeated`)."""

    consignment: str
    sequence: int
    code: int
    name: Texts
    flag: str
    repeated: bool


class EventView(TypedDict):
    """Something that happened to a document of the caller's agencies."""

    sequence: int
    at: str
    agency: str
    what: str
    consignment: str | None
    document: str | None
    code: int
    detail: str


class EventPage(TypedDict):
    """Some events in order; `next` is the cursor behind them."""

    items: list[EventView]
    next: str
    more: bool


class AuditView(TypedDict):
    """One writing call."""

    sequence: int
    at: str
    system: str
    actor: str
    operation: str
    agency: str
    subject: str


class AuditPage(TypedDict):
    """Some writing calls in order."""

    items: list[AuditView]
    next: str
    more: bool


# --- making them ------------------------------------------------------------------------------


def moment(time_ms: int) -> str:
    """A time as text."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_moment(time_ms: int) -> str | None:
    """A time as text; None for a time that has not come."""
    return moment(time_ms) if time_ms else None


def maybe_problem(error: TrucError | None) -> dict[str, Any] | None:
    """What is wrong with a thing, as problem details; None when nothing is."""
    return None if error is None else problem(error)


def lane_name(lane: int) -> str:
    """The lane's name in requests and answers."""
    return Lane(lane).name.lower()


def code_name(code: int) -> Texts:
    """A receipt's code in words."""
    return {"vi": status_name(code, "vi"), "en": status_name(code, "en")}


def receipt_view(link: Link) -> ReceiptView:
    """A link of a chain."""
    return {
        "sequence": link.sequence,
        "code": link.code,
        "name": code_name(link.code),
        "at": moment(link.time_ms),
        "recorded_at": moment(link.recorded_ms),
        "flag": link.flag,
        "reason": link.reason,
        "staff_name": link.staff_name,
        "staff_position": link.staff_position,
        "digest": link.receipt.hex(),
    }


_HIDDEN: Final = frozenset({"extensions"})


def plain(value: Any) -> Any:
    """A statement's fields as JSON; extensions are left out."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value) if item.name not in _HIDDEN}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def metadata_view(metadata: Metadata) -> dict[str, Any]:
    """Metadata; foreign edXML elements as the raw text that came."""
    shown: dict[str, Any] = plain(metadata)
    foreign = metadata.extensions.get(FOREIGN_EDXML)
    return {**shown, "foreign_edxml": foreign} if isinstance(foreign, str) else shown


def parts_view(opened: OpenedDocument, stored: Sequence[StoredPart]) -> list[PartView]:
    """The files of a document, counted from 0."""
    return [
        {
            "number": number,
            "name": secret.name,
            "media_type": secret.media_type,
            "size": secret.plain_size,
            "sha256": secret.plain_digest.hex(),
        }
        for number, (secret, _) in enumerate(zip(opened.header.parts, stored, strict=True))
    ]


def delivery_view(delivery: Delivery) -> DeliveryView:
    """One recipient of a document."""
    entry = delivery.entry
    return {
        "recipient": entry.recipient,
        "consignment": to_text("csg", entry.consignment),
        "state": delivery.state.name.lower(),
        "final": bool(entry.settled_ms),
        "waiting": entry.waiting,
        "offered_at": maybe_moment(entry.offered_ms),
        "retry_at": maybe_moment(entry.retry_ms),
        "settled_at": maybe_moment(entry.settled_ms),
        "refusal": entry.refusal_code,
        "receipts": [receipt_view(link) for link in delivery.links],
    }


def document_view(sent: SentDocument) -> DocumentView:
    """A document that was sent."""
    document, opened = sent.document, sent.opened
    return {
        "id": to_text("doc", document.envelope_id),
        "issuer": document.issuer,
        "lane": lane_name(document.lane),
        "created_at": moment(document.created_ms),
        "expires_at": moment(document.expires_ms),
        "metadata": None if opened is None else metadata_view(opened.header.metadata),
        "parts": None if opened is None else parts_view(opened, document.parts),
        "problem": maybe_problem(sent.damage),
        "recipients": [delivery_view(delivery) for delivery in sent.deliveries],
    }


def consignment_view(received: Received) -> ConsignmentView:
    """A document that arrived."""
    entry, opened = received.entry, received.opened
    return {
        "consignment": to_text("csg", entry.consignment),
        "document": to_text("doc", entry.envelope_id),
        "issuer": entry.issuer,
        "recipient": entry.recipient,
        "lane": lane_name(entry.lane),
        "state": RecipientState(entry.state).name.lower(),
        "arrived_at": moment(entry.arrived_ms),
        "collected_at": maybe_moment(entry.collected_ms),
        "metadata": None if opened is None else metadata_view(opened.header.metadata),
        "parts": None if opened is None else parts_view(opened, entry.parts),
        "problem": maybe_problem(received.damage),
        "receipts": [receipt_view(link) for link in received.links],
    }


def made_view(made: ReceiptMade) -> ReceiptMadeView:
    """What a collect or an answer made."""
    return {
        "consignment": to_text("csg", made.consignment),
        "sequence": made.sequence,
        "code": made.code,
        "name": code_name(made.code),
        "flag": made.flag,
        "repeated": made.repeated,
    }


def event_view(event: Happening) -> EventView:
    """An event."""
    return {
        "sequence": event.sequence,
        "at": moment(event.time_ms),
        "agency": event.agency,
        "what": event.what,
        "consignment": to_text("csg", event.consignment) if event.consignment else None,
        "document": to_text("doc", event.envelope_id) if event.envelope_id else None,
        "code": event.code,
        "detail": event.detail,
    }


def audit_view(entry: Audit) -> AuditView:
    """A writing call."""
    return {
        "sequence": entry.sequence,
        "at": moment(entry.time_ms),
        "system": to_text("sys", entry.system),
        "actor": entry.actor,
        "operation": entry.operation,
        "agency": entry.agency,
        "subject": entry.subject,
    }


def names_view(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names by language, without empty ones."""
    return {language: name for language, name in names if name}
