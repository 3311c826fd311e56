"""`/v1/documents`: handing documents in, and what became of them.

Obeys DESIGN §7. What a submit must keep is checked in `node/intake.py` and in the step itself;
here the JSON becomes a `Submission`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from typing_extensions import TypedDict

from node.access import require_right
from node.api.bodies import Model, body_doc, read_json
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import DocumentPage, DocumentView, document_view
from node.intake import PartGiven, Submission
from protocol import document as metadata_of
from protocol.envelope import Lane
from protocol.errors import RequestError
from protocol.limits import PARTS_MAX
from protocol.textid import from_text, to_text

router = APIRouter(prefix="/v1/documents", tags=["documents"])

PAGE_MAX: Final = 100
"""Each document of a page has its header opened."""
SHA256_BYTES: Final = 32
LIST_ITEMS_MAX: Final = 10_000
"""A structural bound; the rules have closer ones."""


class SignerIn(Model):
    """Who signed, in which competence."""

    competence: str = ""
    position: str = ""
    name: str = ""


class ResponseForIn(Model):
    """The older document that this one answers."""

    code: str = ""
    number: str = ""
    notation: str = ""
    issued_on: str = ""
    document: str = ""


class StaffIn(Model):
    """Who can be asked."""

    name: str = ""
    position: str = ""
    contact: str = ""


class MetadataIn(Model):
    """What the document says about itself. Compulsory: type, subject, secrecy (`none`)."""

    type: str = ""
    number: str = ""
    notation: str = ""
    issued_on: str = Field("", description="yyyy-mm-dd")
    place: str = ""
    subject: str = ""
    signers: list[SignerIn] = Field([], max_length=LIST_ITEMS_MAX)
    due_on: str = Field("", description="yyyy-mm-dd")
    secrecy: str = Field("", description="none; anything else must not enter the axis")
    pages: int = 0
    copies: int = 0
    to_places: list[str] = Field([], max_length=LIST_ITEMS_MAX)
    response_for: list[ResponseForIn] = Field([], max_length=LIST_ITEMS_MAX)
    steering: int = 0
    task_codes: list[str] = Field([], max_length=LIST_ITEMS_MAX)
    sphere: str = ""
    staff: StaffIn = StaffIn()
    recipients: list[str] = Field([], max_length=LIST_ITEMS_MAX)


class PartIn(Model):
    """A file: uploaded before, or small and here in base64."""

    name: str
    media_type: str = "application/octet-stream"
    upload_id: str = ""
    content_base64: str | None = None
    sha256: str = Field("", description="of the file as its author had it, in hexadecimal: one that differs is refused")


class DocumentIn(Model):
    """A document for one or many recipients; agency codes in either written form."""

    issuer: str
    recipients: list[str] = Field(max_length=LIST_ITEMS_MAX)
    lane: Literal["thuong", "khan", "thuong_khan", "hoa_toc"] = "thuong"
    metadata: MetadataIn
    parts: list[PartIn] = Field(max_length=2 * PARTS_MAX)
    expires_days: int = Field(0, description="0: the node's default")
    allow_number_reuse: str = Field("", description="the reason why a number that is taken may be used again")


class DocumentAcceptedView(TypedDict):
    """The document is durable here and owed to its recipients."""

    id: str
    repeated: bool


EXAMPLE: Final[dict[str, Any]] = {
    "issuer": "G22",
    "recipients": ["G12", "H38"],
    "lane": "khan",
    "metadata": {
        "type": "Công văn",
        "number": "123",
        "notation": "VPCP-KSTT",
        "issued_on": "2026-11-22",
        "subject": "V/v kết nối trục liên thông",
        "secrecy": "none",
        "signers": [{"position": "Phó Chủ nhiệm", "name": "Nguyễn Văn A"}],
    },
    "parts": [
        {"name": "cong-van.pdf", "media_type": "application/pdf", "upload_id": "cv-123"},
        {"name": "ghi-chu.txt", "media_type": "text/plain", "content_base64": "eGluIGNow6Bv"},
    ],
}


@router.post(
    "",
    status_code=201,
    responses=answers({201: DocumentAcceptedView, 200: DocumentAcceptedView}, 400, 401, 403, 409, 413, 415, 422, 507),
    openapi_extra=body_doc(DocumentIn, EXAMPLE),
    operation_id="submitDocument",
)
async def submit(
    request: Request,
    here: Here,
    who: Who,
    idempotency_key: Annotated[str, Header(description="1 to 200 visible ASCII characters; one per document")] = "",
) -> JSONResponse:
    """Hand a document in. 201 when it is durable; 200 when this key brought the same document before."""
    require_right(who, "send")
    given = await read_json(request, DocumentIn)
    accepted = await here.node.services.submit(who, idempotency_key, submission_of(given))
    document_id = to_text("doc", accepted.envelope_id)
    answer: DocumentAcceptedView = {"id": document_id, "repeated": accepted.repeated}
    headers = {"Location": f"/v1/documents/{document_id}"}
    here.node.metrics.documents_submitted.labels(lane=given.lane).inc(0 if accepted.repeated else 1)
    return JSONResponse(answer, 200 if accepted.repeated else 201, headers)


@router.get("", responses=answers({200: DocumentPage}, 400, 401, 403, 404, 410, 422), operation_id="listDocuments")
async def listing(
    here: Here,
    who: Who,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    agency: str = "",
) -> JSONResponse:
    """Documents of the caller's agencies in the order in which they were handed in."""
    require_right(who, "send", "report")
    page = here.node.services.boxes.documents(who, after=after, limit=limit, agency=agency)
    items = [document_view(item) for item in page.items]
    answer: DocumentPage = {"items": items, "next": page.cursor, "more": page.more}
    return JSONResponse(answer)


@router.get("/{document_id}", responses=answers({200: DocumentView}, 400, 401, 403, 404), operation_id="showDocument")
async def show(here: Here, who: Who, document_id: str) -> JSONResponse:
    """One document with its state and receipts per recipient."""
    require_right(who, "send", "report")
    envelope_id = from_text("doc", document_id, field="document_id")
    return JSONResponse(document_view(here.node.services.boxes.document(who, envelope_id)))


# --- JSON to a submission ---------------------------------------------------------------------


def submission_of(given: DocumentIn) -> Submission:
    """The body as the node's own value.

    Raises:
        RequestError: `field_wrong` (what is no base64).
    """
    return Submission(
        issuer=given.issuer,
        recipients=tuple(given.recipients),
        metadata=_metadata(given.metadata),
        parts=tuple(_part(part, f"parts[{index}]") for index, part in enumerate(given.parts)),
        lane=Lane[given.lane.upper()],
        expires_days=given.expires_days,
        reuse_reason=given.allow_number_reuse,
    )


def _metadata(given: MetadataIn) -> metadata_of.Metadata:
    simple = {name: getattr(given, name) for name in _SIMPLE}
    return metadata_of.Metadata(
        **simple,
        signers=tuple(metadata_of.Signer(**dict(signer)) for signer in given.signers),
        response_for=tuple(metadata_of.ResponseFor(**dict(older)) for older in given.response_for),
        staff=metadata_of.Staff(**dict(given.staff)),
        to_places=tuple(given.to_places),
        task_codes=tuple(given.task_codes),
        recipients=tuple(given.recipients),
    )


_SIMPLE: Final = (
    "type", "number", "notation", "issued_on", "place", "subject", "due_on", "secrecy", "pages", "copies",
    "steering", "sphere",
)  # fmt: skip


def _part(given: PartIn, field: str) -> PartGiven:
    content = None if given.content_base64 is None else _decoded(given.content_base64, f"{field}.content_base64")
    return PartGiven(
        name=given.name,
        media_type=given.media_type,
        content=content,
        upload_id=given.upload_id,
        sha256=_digest(given.sha256, f"{field}.sha256"),
    )


def _digest(text: str, field: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError as error:
        raise RequestError("field_wrong", field=field, reason="sha256") from error
    if len(digest) not in (0, SHA256_BYTES):
        raise RequestError("field_wrong", field=field, reason="sha256")
    return digest


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("field_wrong", field=field, reason="base64") from error
