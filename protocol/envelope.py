"""The sealed, signed document: a statement for everyone, and a header only for the recipients.

Obeys `spec/envelope.md` (DESIGN §3, "Envelope"). The statement is the same for every recipient and
names sealed bytes only; names, keys and plain digests of the parts stand in the header, which the
content key seals. Leaves to others: sealing and opening (`protocol/sealing.py`), signing
(`protocol/signing.py`), metadata (`protocol/document.py`), who may send (`node/intake.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Final

from protocol import limits, sealing
from protocol.consignment import CodeText
from protocol.document import Metadata
from protocol.encoding import Count, Digest, Extensions, Format, Id16, Key, Meta, TimeMs
from protocol.errors import FormatError, RequestError
from protocol.part_name import check_part_names


class Lane(IntEnum):
    """Urgency class; a larger number goes first."""

    THUONG = 0
    KHAN = 1
    THUONG_KHAN = 2
    HOA_TOC = 3


class EnvelopeKind(IntEnum):
    """What the issuer wants done with what it refers to (`BussinessDocType`, and status 13)."""

    NEW = 0
    TAKE_BACK = 1
    REVOCATION = 2
    UPDATE = 3
    REPLACEMENT = 4


LANES: Final = frozenset(Lane)
KINDS: Final = frozenset(EnvelopeKind)

REQUEST_KINDS: Final = KINDS - {EnvelopeKind.NEW}
"""Kinds that the recipient answers with 15 or 16."""

REFERENCE_KINDS: Final = frozenset({EnvelopeKind.TAKE_BACK, EnvelopeKind.REVOCATION})
"""Kinds that say nothing without an earlier envelope, and may come without parts."""


@dataclass(frozen=True, slots=True)
class PartRef:
    """One sealed part: tree digest and size of the sealed bytes."""

    digest: Annotated[Digest, Key(1)]
    size: Annotated[Count, Key(2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the issuer signs. Sizes in bytes, all of sealed things."""

    envelope_id: Annotated[Id16, Key(1)]
    issuer: Annotated[CodeText, Key(2)]
    created_ms: Annotated[TimeMs, Key(3)]
    expires_ms: Annotated[TimeMs, Key(4)]
    lane: Annotated[int, Key(5), Meta(ge=0, le=255)]
    kind: Annotated[int, Key(6), Meta(ge=0, le=255)] = EnvelopeKind.NEW
    reference: Annotated[bytes, Key(7), Meta(max_length=32)] = b""
    commitment: Annotated[Digest, Key(8)]
    header_digest: Annotated[Digest, Key(9)]
    header_size: Annotated[Count, Key(10)]
    parts: Annotated[tuple[PartRef, ...], Key(11)] = ()
    extensions: Extensions = field(default_factory=dict)


ENVELOPE: Final = Format("truc/envelope/1", Envelope, bytes_max=limits.STATEMENT_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSecret:
    """What the header says about the part in the same place: how to open it, and what it then is."""

    key: Annotated[Digest, Key(1)]
    name: Annotated[str, Key(2), Meta(max_length=limits.PART_NAME_BYTES_MAX)]
    media_type: Annotated[str, Key(3), Meta(max_length=limits.MEDIA_TYPE_CHARACTERS_MAX)]
    plain_size: Annotated[Count, Key(4)]
    plain_digest: Annotated[Digest, Key(5)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What only the recipients read. `idempotency_key` and `system` let a restored sender know
    its own documents again."""

    metadata: Annotated[Metadata, Key(1)]
    idempotency_key: Annotated[str, Key(2), Meta(max_length=limits.IDEMPOTENCY_KEY_CHARACTERS_MAX)]
    system: Annotated[Id16, Key(3)]
    parts: Annotated[tuple[PartSecret, ...], Key(4), Meta(max_length=limits.PARTS_MAX)] = ()
    extensions: Extensions = field(default_factory=dict)


HEADER_PLAIN_BYTES_MAX: Final = limits.HEADER_BYTES_MAX - 2 * limits.TAG_BYTES
"""The sealed header of two chunks then just fits its bound."""

HEADER: Final = Format("truc/header/1", Header, bytes_max=HEADER_PLAIN_BYTES_MAX)


def encode_header(header: Header) -> bytes:
    """The plain bytes of a header, ready to be sealed.

    Raises:
        RequestError: `header_too_large` (very many parts with very long names).
    """
    try:
        return HEADER.encode(header)
    except FormatError as error:
        if error.code != "format_too_large":
            raise
        raise RequestError("header_too_large", field="parts", limit=HEADER_PLAIN_BYTES_MAX) from error


def check_envelope(envelope: Envelope) -> None:
    """What the shape alone does not say; the same at submit and at every acceptance.

    Raises:
        FormatError: `envelope_lane_unknown`, `envelope_kind_unknown`, `envelope_expiry`,
            `envelope_reference`, `envelope_parts_missing`, `envelope_too_many_parts`,
            `envelope_part_repeated`, `envelope_part_size`, `envelope_header_size`.
    """
    _check_times(envelope)
    _check_kind(envelope)
    _check_header_size(envelope.header_size)
    _check_parts(envelope)


def _check_times(envelope: Envelope) -> None:
    if envelope.lane not in LANES:
        raise FormatError("envelope_lane_unknown", field="lane", lane=envelope.lane)
    life_ms = envelope.expires_ms - envelope.created_ms
    if not 0 < life_ms <= limits.EXPIRY_MAX_MS:
        days = limits.EXPIRY_MAX_MS // limits.DAY_MS
        raise FormatError("envelope_expiry", field="expires_ms", days=days)


def _check_kind(envelope: Envelope) -> None:
    if envelope.kind not in KINDS:
        raise FormatError("envelope_kind_unknown", field="kind", kind=envelope.kind)
    kind, size = EnvelopeKind(envelope.kind), len(envelope.reference)
    if size not in (0, 32) or (size and kind is EnvelopeKind.NEW) or (not size and kind in REFERENCE_KINDS):
        raise FormatError("envelope_reference", field="reference")
    if not envelope.parts and kind not in REFERENCE_KINDS:
        raise FormatError("envelope_parts_missing", field="parts")


def _check_header_size(size: int) -> None:
    if size > limits.HEADER_BYTES_MAX or _plain_size(size) is None:
        raise FormatError("envelope_header_size", field="header_size", size=size)


def _check_parts(envelope: Envelope) -> None:
    if len(envelope.parts) > limits.PARTS_MAX:
        raise FormatError("envelope_too_many_parts", field="parts", limit=limits.PARTS_MAX)
    if len({part.digest for part in envelope.parts}) != len(envelope.parts):
        raise FormatError("envelope_part_repeated", field="parts")
    for index, part in enumerate(envelope.parts):
        if _plain_size(part.size) is None:
            raise FormatError("envelope_part_size", field=f"parts[{index}].size", size=part.size)


def _plain_size(sealed_size: int) -> int | None:
    """The plain size behind a sealed one; None where no plain text seals to it."""
    try:
        return sealing.plain_size(sealed_size)
    except FormatError:
        return None


def check_header(header: Header, envelope: Envelope) -> None:
    """Whether an opened header belongs to its envelope, part by part.

    Raises:
        FormatError: `header_parts_differ`, `header_key_repeated`.
        RequestError: the `part_*` codes of `protocol/part_name.py`.
    """
    if len(header.parts) != len(envelope.parts):
        raise FormatError("header_parts_differ", field="parts")
    for index, (secret, part) in enumerate(zip(header.parts, envelope.parts, strict=True)):
        if _plain_size(part.size) != secret.plain_size:
            raise FormatError("header_parts_differ", field=f"parts[{index}].plain_size")
    if len({secret.key for secret in header.parts}) != len(header.parts):  # no key seals two streams
        raise FormatError("header_key_repeated", field="parts")
    check_part_names([(secret.name, secret.media_type) for secret in header.parts])


def total_size(parts: Sequence[PartRef]) -> int:
    """Sealed bytes of all parts together."""
    return sum(part.size for part in parts)
