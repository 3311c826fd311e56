"""`/v1/uploads`: parts as raw bytes, streamed and resumable.

Obeys DESIGN §7 and `protocol/spec/uploads.md`. Sealing and durability are `node/uploads.py`.
"""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from node.api.bodies import pieces_of, raw_doc
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.uploads import Progress
from protocol.errors import RequestError

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

DIGITS_MAX = 16
"""A length has fewer: 2⁴⁰ is the largest part."""


class UploadView(TypedDict):
    """Where an upload stands: durable bytes, and the SHA-256 of the whole when it is complete."""

    upload_id: str
    offset: int
    length: int
    complete: bool
    sha256: str | None


@router.put(
    "/{upload_id}",
    responses=answers({200: UploadView}, 400, 401, 403, 404, 409, 413, 422, 429, 507),
    openapi_extra=raw_doc("The bytes from Upload-Offset on."),
    operation_id="putUpload",
)
async def put(request: Request, here: Here, who: Who, upload_id: str) -> JSONResponse:
    """Bring bytes of a part. `Upload-Offset` (default 0) says where they go; `Upload-Length`, or else
    the Content-Length of the first request, how long the part is. Answered when the bytes are
    durable; go on from the `Upload-Offset` of the answer.
    """
    offset = _number(request, "Upload-Offset") or 0
    total = _number(request, "Upload-Length")
    declared = _number(request, "Content-Length")
    if total is None and offset == 0 and not _is_known(here, who, upload_id):
        total = declared
    async with aclosing(pieces_of(request)) as content:
        progress = await here.node.uploads.put(
            who, upload_id, offset=offset, total=total, declared=declared, content=content
        )
    return JSONResponse(_view(progress), headers=_headers(progress))


@router.head("/{upload_id}", responses=answers({200: None}, 400, 401, 403, 404), operation_id="headUpload")
async def head(here: Here, who: Who, upload_id: str) -> Response:
    """Where to go on: `Upload-Offset` and `Upload-Length`."""
    return Response(headers=_headers(here.node.uploads.progress(who, upload_id)))


def _is_known(here: Here, who: Who, upload_id: str) -> bool:
    try:
        here.node.uploads.progress(who, upload_id)
    except RequestError:
        return False
    return True


def _number(request: Request, name: str) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > DIGITS_MAX:
        raise RequestError("upload_offset_malformed", field=name)
    return int(text)


def _headers(progress: Progress) -> dict[str, str]:
    return {"Upload-Offset": str(progress.offset), "Upload-Length": str(progress.total), "Cache-Control": "no-store"}


def _view(progress: Progress) -> UploadView:
    return {
        "upload_id": progress.upload_id,
        "offset": progress.offset,
        "length": progress.total,
        "complete": bool(progress.plain_digest),
        "sha256": progress.plain_digest.hex() or None,
    }
