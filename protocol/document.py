"""What local software hands in about a document: its metadata, and the rules it must keep.

Obeys `spec/document.md` (DECISIONS, "Header metadata, version 1"; lengths of Decree 30/2020
annex VI). Leaves to others: names and media types of files (`protocol/part_name.py`), when two
documents are the same (`protocol/identity.py`), who may send to whom (`node/intake.py`), and what
a document type means: it is carried, never interpreted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Final

from protocol import limits
from protocol.encoding import Extensions, Key, Meta
from protocol.errors import Findings, RequestError

METADATA_VERSION: Final = 1
"""Fields are only added, below wire key 128; a field with another meaning would be version 2."""

SECRECY_NONE: Final = "none"
"""The only secrecy that may enter; state secrets travel by other means (Decision 28/2018)."""

FOREIGN_EDXML: Final = 128
"""Extension key of `Metadata`: edXML elements the node does not know, as raw text."""

PersonName = Annotated[str, Meta(max_length=limits.PERSON_CHARACTERS_MAX)]
PositionName = Annotated[str, Meta(max_length=limits.POSITION_CHARACTERS_MAX)]
DateText = Annotated[str, Meta(max_length=10)]
"""`yyyy-mm-dd`, Vietnam local time, or empty."""
AgencyText = Annotated[str, Meta(max_length=limits.CODE_CHARACTERS_MAX)]
ToPlace = Annotated[str, Meta(max_length=limits.TO_PLACE_CHARACTERS_MAX)]
TaskCode = Annotated[str, Meta(max_length=limits.TASK_CODE_CHARACTERS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed, in which competence (`TM.`, `KT.`), in the words of the paper."""

    competence: Annotated[PositionName, Key(1)] = ""
    position: Annotated[PositionName, Key(2)] = ""
    name: Annotated[PersonName, Key(3)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFor:
    """The older document that this one answers; `document` is its id in the sender's spelling."""

    code: Annotated[AgencyText, Key(1)] = ""
    number: Annotated[str, Key(2), Meta(max_length=limits.NUMBER_CHARACTERS_MAX)] = ""
    notation: Annotated[str, Key(3), Meta(max_length=limits.NOTATION_CHARACTERS_MAX)] = ""
    issued_on: Annotated[DateText, Key(4)] = ""
    document: Annotated[str, Key(5), Meta(max_length=limits.DOCUMENT_REFERENCE_CHARACTERS_MAX)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """The person at the issuer who can be asked."""

    name: Annotated[PersonName, Key(1)] = ""
    position: Annotated[PositionName, Key(2)] = ""
    contact: Annotated[str, Key(3), Meta(max_length=limits.CONTACT_CHARACTERS_MAX)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Metadata of a document, version 1. Compulsory: type, subject, secrecy."""

    type: Annotated[str, Key(1), Meta(max_length=limits.TYPE_CHARACTERS_MAX)]
    number: Annotated[str, Key(2), Meta(max_length=limits.NUMBER_CHARACTERS_MAX)] = ""
    notation: Annotated[str, Key(3), Meta(max_length=limits.NOTATION_CHARACTERS_MAX)] = ""
    issued_on: Annotated[DateText, Key(4)] = ""
    place: Annotated[str, Key(5), Meta(max_length=limits.PLACE_CHARACTERS_MAX)] = ""
    subject: Annotated[str, Key(6), Meta(max_length=limits.SUBJECT_CHARACTERS_MAX)]
    signers: Annotated[tuple[Signer, ...], Key(7), Meta(max_length=limits.SIGNERS_MAX)] = ()
    due_on: Annotated[DateText, Key(8)] = ""
    secrecy: Annotated[str, Key(9), Meta(max_length=limits.PERSON_CHARACTERS_MAX)]
    pages: Annotated[int, Key(10), Meta(ge=0, le=limits.PAGES_MAX)] = 0
    copies: Annotated[int, Key(11), Meta(ge=0, le=limits.PAGES_MAX)] = 0
    to_places: Annotated[tuple[ToPlace, ...], Key(12), Meta(max_length=limits.TO_PLACES_MAX)] = ()
    response_for: Annotated[tuple[ResponseFor, ...], Key(13), Meta(max_length=limits.RESPONSE_FOR_MAX)] = ()
    steering: Annotated[int, Key(14), Meta(ge=0, le=2)] = 0
    task_codes: Annotated[tuple[TaskCode, ...], Key(15), Meta(max_length=limits.TASK_CODES_MAX)] = ()
    sphere: Annotated[str, Key(16), Meta(max_length=limits.PLACE_CHARACTERS_MAX)] = ""
    staff: Annotated[Staff, Key(17)] = Staff()
    recipients: Annotated[tuple[AgencyText, ...], Key(18), Meta(max_length=limits.RECIPIENTS_MAX)] = ()
    extensions: Extensions = field(default_factory=dict)


_MARKINGS: Final = frozenset({"mat", "toimat", "tuyetmat"})
_MARKING_IN_FRONT: Final = re.compile(r"\W*(?:t[oố]i\s*m[aậ]t|tuy[eệ]t\s*m[aậ]t|m[aậ]t)\s*[])}:>]", re.IGNORECASE)
"""`(MẬT) Báo cáo …`, `Tối mật: …`: a marking set apart from the sentence behind it."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_UNREADABLE: Final = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]"
)
"""Controls other than tab and line ends, halves of surrogate pairs, and whatever turns the reading
direction. Zero-width characters occur in real data and are carried."""


_CHARACTERS_MAX: Final[dict[type, dict[str, int]]] = {
    Metadata: {
        "type": limits.TYPE_CHARACTERS_MAX,
        "number": limits.NUMBER_CHARACTERS_MAX,
        "notation": limits.NOTATION_CHARACTERS_MAX,
        "place": limits.PLACE_CHARACTERS_MAX,
        "subject": limits.SUBJECT_CHARACTERS_MAX,
        "secrecy": limits.PERSON_CHARACTERS_MAX,
        "sphere": limits.PLACE_CHARACTERS_MAX,
    },
    Signer: {
        "competence": limits.POSITION_CHARACTERS_MAX,
        "position": limits.POSITION_CHARACTERS_MAX,
        "name": limits.PERSON_CHARACTERS_MAX,
    },
    ResponseFor: {
        "code": limits.CODE_CHARACTERS_MAX,
        "number": limits.NUMBER_CHARACTERS_MAX,
        "notation": limits.NOTATION_CHARACTERS_MAX,
        "document": limits.DOCUMENT_REFERENCE_CHARACTERS_MAX,
    },
    Staff: {
        "name": limits.PERSON_CHARACTERS_MAX,
        "position": limits.POSITION_CHARACTERS_MAX,
        "contact": limits.CONTACT_CHARACTERS_MAX,
    },
}

_ITEMS_MAX: Final = {
    "signers": limits.SIGNERS_MAX,
    "to_places": limits.TO_PLACES_MAX,
    "response_for": limits.RESPONSE_FOR_MAX,
    "task_codes": limits.TASK_CODES_MAX,
    "recipients": limits.RECIPIENTS_MAX,
}

_ITEM_CHARACTERS_MAX: Final = {
    "to_places": limits.TO_PLACE_CHARACTERS_MAX,
    "task_codes": limits.TASK_CODE_CHARACTERS_MAX,
    "recipients": limits.CODE_CHARACTERS_MAX,
}

_NUMBER_MAX: Final = {"pages": limits.PAGES_MAX, "copies": limits.PAGES_MAX, "steering": 2}


def check_metadata(metadata: Metadata, field: str = "metadata") -> None:
    """Check everything that the rules demand of a document's metadata, at submit and at acceptance.

    Raises:
        Findings: every mistake at once, each at `field` + its path; secrecy comes first. Codes:
            `secrecy_missing`, `secrecy_marked`, `metadata_type_empty`, `metadata_subject_empty`,
            `metadata_too_long`, `metadata_too_many`, `metadata_out_of_range`,
            `metadata_character`, `metadata_date_invalid`.
    """
    findings = [
        *_secrecy(metadata, field),
        *_compulsory(metadata, field),
        *_bounds(metadata, field),
        *_dates(metadata, field),
    ]
    if findings:
        raise Findings(findings)


def is_marking(text: str) -> bool:
    """Whether a text is a secrecy marking: *mật*, *tối mật*, *tuyệt mật*, with or without accents,
    in any case, spacing, punctuation or Unicode form."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if character.isalpha()) in _MARKINGS


def _secrecy(metadata: Metadata, path: str) -> Iterator[RequestError]:
    if not metadata.secrecy.strip():
        yield RequestError("secrecy_missing", field=f"{path}.secrecy")
    elif metadata.secrecy != SECRECY_NONE:
        yield RequestError("secrecy_marked", field=f"{path}.secrecy")
    for name, text in (("type", metadata.type), ("subject", metadata.subject), ("sphere", metadata.sphere)):
        if is_marking(text) or _MARKING_IN_FRONT.match(unicodedata.normalize("NFC", text)):
            yield RequestError("secrecy_marked", field=f"{path}.{name}")


def _compulsory(metadata: Metadata, path: str) -> Iterator[RequestError]:
    if not metadata.type.strip():
        yield RequestError("metadata_type_empty", field=f"{path}.type")
    if not metadata.subject.strip():
        yield RequestError("metadata_subject_empty", field=f"{path}.subject")


def _bounds(metadata: Metadata, path: str) -> Iterator[RequestError]:
    yield from _texts(metadata, path)
    yield from _texts(metadata.staff, f"{path}.staff")
    for name, limit in _ITEMS_MAX.items():
        items = getattr(metadata, name)
        if len(items) > limit:
            yield RequestError("metadata_too_many", field=f"{path}.{name}", limit=limit)
        for index, item in enumerate(items[:limit]):
            yield from _item(name, item, f"{path}.{name}[{index}]")
    for name, limit in _NUMBER_MAX.items():
        if not 0 <= getattr(metadata, name) <= limit:
            yield RequestError("metadata_out_of_range", field=f"{path}.{name}", limit=limit)


def _item(name: str, item: str | Signer | ResponseFor, path: str) -> Iterator[RequestError]:
    if isinstance(item, str):
        yield from _text(item, _ITEM_CHARACTERS_MAX[name], path)
    else:
        yield from _texts(item, path)


def _texts(statement: Metadata | Signer | ResponseFor | Staff, path: str) -> Iterator[RequestError]:
    for name, limit in _CHARACTERS_MAX[type(statement)].items():
        yield from _text(getattr(statement, name), limit, f"{path}.{name}")


def _text(text: str, limit: int, path: str) -> Iterator[RequestError]:
    if len(text) > limit:
        yield RequestError("metadata_too_long", field=path, limit=limit)
    if _UNREADABLE.search(text):
        yield RequestError("metadata_character", field=path)


def _dates(metadata: Metadata, path: str) -> Iterator[RequestError]:
    dates = [("issued_on", metadata.issued_on), ("due_on", metadata.due_on)]
    dates += [(f"response_for[{index}].issued_on", item.issued_on) for index, item in enumerate(metadata.response_for)]
    for name, text in dates:
        if text and not is_date(text):
            yield RequestError("metadata_date_invalid", field=f"{path}.{name}")


def is_date(text: str) -> bool:
    """Whether a text is an existing day, written `yyyy-mm-dd`."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
