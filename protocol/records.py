"""The durable records of delivery: what a node owes, has accepted, has promised and remembers.

Obeys DESIGN §4 and §6; `spec/records.md` tells which record answers which question. One
record per class, found by its key fields. Two boxes exist on every node, because a
document may go to an agency of the same node: what we sent (`OUT`) and what we hold (`IN`).
Directory records have their own kinds in `protocol/directory_kinds.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from protocol.encoding import Count as Number
from protocol.encoding import Digest, Id16, Key, Meta, TimeMs
from protocol.limits import CODE_CHARACTERS_MAX, HEADER_BYTES_MAX
from protocol.record import kind

Code = Annotated[str, Meta(min_length=1, max_length=CODE_CHARACTERS_MAX)]
Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
MaybeDigest = Annotated[bytes, Meta(max_length=32)]
"""A digest, or nothing."""

OUT: Final = 0
IN: Final = 1
REFUSAL_SLOT: Final = 2**32
"""Stands where a returned receipt has its sequence: refusals are no part of the chain."""


class Due(IntEnum):
    """What falls due at a time."""

    EXPIRE = 1
    """An outgoing consignment reaches its document's expiry."""
    RETRY = 2
    """A peer's *not now* may be asked again."""
    RETIRE_OUT = 3
    """Bodies and key of a settled document are no longer kept for resending."""
    RETIRE_IN = 4
    """Bodies and key of a collected consignment are no longer kept."""
    RETURN = 5
    """A receipt that was answered *not now* may be sent again."""
    UPLOAD = 6
    """An upload that became no document is given up."""
    PULL = 7
    """Partly pulled bodies of an offer that nobody repeated are given up."""


@kind(1, "digest")
@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A signed thing, verbatim. Kept for ever: it is what proofs are made of."""

    digest: Annotated[Digest, Key(1)]
    wire: Annotated[bytes, Key(2)]


@kind(2, "envelope")
@dataclass(frozen=True, slots=True, kw_only=True)
class SealedHeader:
    """The sealed header of an envelope, as it travels."""

    envelope: Annotated[Digest, Key(1)]
    sealed: Annotated[bytes, Key(2), Meta(max_length=HEADER_BYTES_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A body of an envelope: digest and size of the sealed bytes."""

    digest: Annotated[Digest, Key(1)]
    size: Annotated[Number, Key(2)]


@kind(3, "envelope_id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document that local software handed in. `unsettled` counts its open consignments."""

    envelope_id: Annotated[Id16, Key(1)]
    envelope: Annotated[Digest, Key(2)]
    issuer: Annotated[Code, Key(3)]
    system: Annotated[Id16, Key(4)]
    created_ms: Annotated[TimeMs, Key(5)]
    expires_ms: Annotated[TimeMs, Key(6)]
    lane: Annotated[Number, Key(7)]
    recipients: Annotated[tuple[Code, ...], Key(8)]
    parts: Annotated[tuple[StoredPart, ...], Key(9)]
    unsettled: Annotated[Number, Key(10)]
    wrapped_key: Annotated[bytes, Key(11)] = b""
    sequence: Annotated[Number, Key(12)] = 0


@kind(4, "consignment")
@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One consignment that we owe or owed: the outbox entry."""

    consignment: Annotated[Digest, Key(1)]
    statement: Annotated[Digest, Key(2)]
    envelope: Annotated[Digest, Key(3)]
    envelope_id: Annotated[Id16, Key(4)]
    issuer: Annotated[Code, Key(5)]
    recipient: Annotated[Code, Key(6)]
    lane: Annotated[Number, Key(7)]
    sequence: Annotated[Number, Key(8)]
    created_ms: Annotated[TimeMs, Key(9)]
    expires_ms: Annotated[TimeMs, Key(10)]
    state: Annotated[Number, Key(11)]
    centre: Annotated[str, Key(12)] = ""
    number: Annotated[Number, Key(13)] = 0
    epoch: Annotated[Number, Key(14)] = 0
    offered_ms: Annotated[TimeMs, Key(15)] = 0
    waiting: Annotated[str, Key(16)] = ""
    retry_ms: Annotated[TimeMs, Key(17)] = 0
    head: Annotated[MaybeDigest, Key(18)] = b""
    next_receipt: Annotated[Number, Key(19)] = 0
    codes: Annotated[tuple[Number, ...], Key(20)] = ()
    settled_ms: Annotated[TimeMs, Key(21)] = 0
    refusal: Annotated[MaybeDigest, Key(22)] = b""
    refusal_code: Annotated[str, Key(23)] = ""
    unsure: Annotated[bool, Key(24)] = False
    """An earlier offer got no answer: the recipient may have the document."""
    put_offs: Annotated[Number, Key(25)] = 0
    """How often the answer was *not now*; the waits grow with it."""


@kind(5, "recipient", "urgency", "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The queue: urgency 0 goes first. Survives a change of the recipient's host untouched."""

    recipient: Annotated[Code, Key(1)]
    urgency: Annotated[Number, Key(2)]
    sequence: Annotated[Number, Key(3)]
    consignment: Annotated[Digest, Key(4)]
    since_ms: Annotated[TimeMs, Key(5)]
    bytes: Annotated[Number, Key(6)]


@kind(6, "at_ms", "what", "subject")
@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Something falls due. The owner of the subject decides again when it does."""

    at_ms: Annotated[TimeMs, Key(1)]
    what: Annotated[Number, Key(2)]
    subject: Annotated[Digest, Key(3)]


@kind(7, "consignment")
@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A consignment that we accepted: the inbox entry, and the proof that we have seen it."""

    consignment: Annotated[Digest, Key(1)]
    statement: Annotated[Digest, Key(2)]
    envelope: Annotated[Digest, Key(3)]
    envelope_id: Annotated[Id16, Key(4)]
    issuer: Annotated[Code, Key(5)]
    recipient: Annotated[Code, Key(6)]
    epoch: Annotated[Number, Key(7)]
    lane: Annotated[Number, Key(8)]
    state: Annotated[Number, Key(9)]
    sequence: Annotated[Number, Key(10)]
    arrived_ms: Annotated[TimeMs, Key(11)]
    parts: Annotated[tuple[StoredPart, ...], Key(12)]
    head: Annotated[Digest, Key(13)]
    next_receipt: Annotated[Number, Key(14)]
    codes: Annotated[tuple[Number, ...], Key(15)]
    judged_by: Annotated[tuple[Digest, ...], Key(16)]
    wrapped_key: Annotated[bytes, Key(17)] = b""
    collected_ms: Annotated[TimeMs, Key(18)] = 0


@kind(8, "agency", "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What arrived for an agency, in the order of the whole store."""

    agency: Annotated[Code, Key(1)]
    sequence: Annotated[Number, Key(2)]
    consignment: Annotated[Digest, Key(3)]


@kind(9, "agency", "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Uncollected:
    """The part of `Arrival` that local software has not safely taken yet."""

    agency: Annotated[Code, Key(1)]
    sequence: Annotated[Number, Key(2)]
    consignment: Annotated[Digest, Key(3)]


@kind(10, "box", "consignment", "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One receipt of a chain: issued by us (`IN`) or received from the recipient (`OUT`)."""

    box: Annotated[Number, Key(1)]
    consignment: Annotated[Digest, Key(2)]
    sequence: Annotated[Number, Key(3)]
    receipt: Annotated[Digest, Key(4)]
    code: Annotated[Number, Key(5)]
    time_ms: Annotated[TimeMs, Key(6)]
    recorded_ms: Annotated[TimeMs, Key(7)]
    flag: Annotated[str, Key(8)] = ""
    reason: Annotated[str, Key(9)] = ""
    staff_name: Annotated[str, Key(10)] = ""
    staff_position: Annotated[str, Key(11)] = ""


@kind(11, "issuer", "consignment", "slot")
@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A receipt or refusal that we owe to an issuer until its node acknowledges it."""

    issuer: Annotated[Code, Key(1)]
    consignment: Annotated[Digest, Key(2)]
    slot: Annotated[Number, Key(3)]
    thing: Annotated[Digest, Key(4)]
    centre: Annotated[str, Key(5)] = ""
    number: Annotated[Number, Key(6)] = 0
    retry_ms: Annotated[TimeMs, Key(7)] = 0
    waiting: Annotated[str, Key(8)] = ""
    put_offs: Annotated[Number, Key(9)] = 0


@kind(12, "centre", "number")
@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The pair journal: what became due at which centre under which number."""

    centre: Annotated[Code, Key(1)]
    number: Annotated[Number, Key(2)]
    thing: Annotated[Digest, Key(3)]
    consignment: Annotated[Digest, Key(4)]


@kind(13, "centre")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both marks of a pair: the highest number given to the centre, and the highest held from it."""

    centre: Annotated[Code, Key(1)]
    given: Annotated[Number, Key(2)] = 0
    held: Annotated[Number, Key(3)] = 0
    incarnation: Annotated[bytes, Key(4), Meta(max_length=16)] = b""


@kind(14, "consignment")
@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A consignment that we refused: the same signed no, for ever."""

    consignment: Annotated[Digest, Key(1)]
    refusal: Annotated[Digest, Key(2)]
    code: Annotated[str, Key(3)]
    issuer: Annotated[Code, Key(4)]
    recipient: Annotated[Code, Key(5)]
    time_ms: Annotated[TimeMs, Key(6)]


@kind(15, "system", "operation", "key")
@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A writing call that succeeded under an idempotency key."""

    system: Annotated[Id16, Key(1)]
    operation: Annotated[Word, Key(2)]
    key: Annotated[Word, Key(3)]
    request: Annotated[Digest, Key(4)]
    answer: Annotated[bytes, Key(5)]


@kind(16, "index", "envelope_id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """(issuer, year, number, notation) under a keyed hash → documents that carry it."""

    index: Annotated[Digest, Key(1)]
    envelope_id: Annotated[Id16, Key(2)]
    content: Annotated[Digest, Key(3)]


@kind(17, "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something local software may want to know; read behind a cursor."""

    sequence: Annotated[Number, Key(1)]
    agency: Annotated[Code, Key(2)]
    what: Annotated[Word, Key(3)]
    time_ms: Annotated[TimeMs, Key(4)]
    consignment: Annotated[MaybeDigest, Key(5)] = b""
    envelope_id: Annotated[bytes, Key(6), Meta(max_length=16)] = b""
    code: Annotated[Number, Key(7)] = 0
    detail: Annotated[str, Key(8)] = ""


@kind(18, "system", "upload_id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A part on its way in. `taken` plain bytes are durable under `wrapped_key`; a finished
    upload (`plain_digest` set) names its sealed body."""

    system: Annotated[Id16, Key(1)]
    upload_id: Annotated[Word, Key(2)]
    total: Annotated[Number, Key(3)]
    taken: Annotated[Number, Key(4)]
    started_ms: Annotated[TimeMs, Key(5)]
    wrapped_key: Annotated[bytes, Key(6)]
    token: Annotated[Id16, Key(7)]
    body: Annotated[MaybeDigest, Key(8)] = b""
    plain_digest: Annotated[MaybeDigest, Key(9)] = b""


@kind(19, "recipient", "lane")
@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """How many consignments are owed to a recipient in a lane; kept so that no start scans."""

    recipient: Annotated[Code, Key(1)]
    lane: Annotated[Number, Key(2)]
    count: Annotated[Number, Key(3)]


@kind(20, "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One writing call: who did what, in the same batch as the change itself."""

    sequence: Annotated[Number, Key(1)]
    time_ms: Annotated[TimeMs, Key(2)]
    system: Annotated[Id16, Key(3)]
    actor: Annotated[Word, Key(4)]
    operation: Annotated[Word, Key(5)]
    agency: Annotated[str, Key(6)] = ""
    subject: Annotated[str, Key(7)] = ""


@kind(21, "name")
@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A number that only grows: the last value given out."""

    name: Annotated[Word, Key(1)]
    value: Annotated[Number, Key(2)]


@kind(22, "system")
@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One local software with its own credentials, agencies and rights."""

    system: Annotated[Id16, Key(1)]
    name: Annotated[Word, Key(2)]
    agencies: Annotated[tuple[Code, ...], Key(3)]
    rights: Annotated[tuple[Word, ...], Key(4)]
    created_ms: Annotated[TimeMs, Key(5)]
    token: Annotated[MaybeDigest, Key(6)] = b""
    revoked_ms: Annotated[TimeMs, Key(7)] = 0


@kind(23, "token")
@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Hash of a system's token → the system."""

    token: Annotated[Digest, Key(1)]
    system: Annotated[Id16, Key(2)]


@kind(24, "body", "box", "agency", "holder")
@dataclass(frozen=True, slots=True, kw_only=True)
class BodyUse:
    """Somebody needs this body: an envelope we sent, a consignment we hold, an upload."""

    body: Annotated[Digest, Key(1)]
    box: Annotated[Number, Key(2)]
    agency: Annotated[Code, Key(3)]
    holder: Annotated[Digest, Key(4)]


@kind(25, "consignment")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """An offer whose bodies are being pulled; its partial bodies survive a restart for a day."""

    consignment: Annotated[Digest, Key(1)]
    centre: Annotated[Code, Key(2)]
    started_ms: Annotated[TimeMs, Key(3)]
    parts: Annotated[tuple[StoredPart, ...], Key(4)]


@kind(26, "agency", "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What an agency sent, in the order of the whole store."""

    agency: Annotated[Code, Key(1)]
    sequence: Annotated[Number, Key(2)]
    envelope_id: Annotated[Id16, Key(3)]
