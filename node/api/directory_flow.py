"""`/v1/directory/changes` and `/v1/directory/export`: following the directory, and taking all of it away.

Obeys DESIGN §7. A follower lists the directory once, keeps the list's `changes`, and asks for what came behind it;
410 tells to list again. An export is a file that anybody can verify from the root.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from node.api.callers import ANYBODY
from node.api.context import Here
from node.api.directory_views import ChangePage, change_view
from node.api.openapi import answers
from node.api.streaming import PieceResponse
from node.directory_feed import Changes

router = APIRouter(prefix="/v1/directory", tags=["directory"])

CHANGES_MAX: Final = 1_000


@router.get(
    "/changes",
    dependencies=ANYBODY,
    responses=answers({200: ChangePage}, 400, 401, 403, 410, 422),
    operation_id="directoryChanges",
)
async def changes(
    request: Request,
    here: Here,
    after: Annotated[str, Query(description="a list's `changes`, or an earlier answer's `next`")] = "",
    limit: Annotated[int, Query(ge=1, le=CHANGES_MAX)] = 100,
    wait: Annotated[int, Query(ge=0, le=3600, description="seconds to wait for the first change")] = 0,
) -> JSONResponse:
    """What changed behind a cursor, in order. 410: list the directory again, then go on from the cursor told."""

    async def look(wait_s: float) -> Changes:
        return await here.node.room.feed.after(after, limit=limit, wait_s=wait_s)

    found = await here.wait(request, look, wait)
    answer: ChangePage = {
        "items": [change_view(item) for item in found.items],
        "next": found.cursor,
        "more": found.more,
    }
    return JSONResponse(answer)


@router.get(
    "/export",
    dependencies=ANYBODY,
    response_class=Response,
    responses={
        **answers({}, 400, 401, 403, 404, 413, 422, 429),
        200: {
            "description": "A directory file (`.truc`) with the signed things, fork proofs included.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
    operation_id="exportDirectory",
)
async def export(
    here: Here,
    registrar: Annotated[str, Query(description="only what judges this registrar's log; empty: everything")] = "",
) -> Response:
    """All signed things that this node keeps, as they were signed, from the root down: node records and heartbeats
    aside, which tell of a day."""
    begun = await here.node.room.export.begin(registrar)
    headers = {
        "Content-Length": str(begun.size),
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="directory.truc"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "X-Truc-Things": str(begun.count),
    }
    return PieceResponse(begun.pieces, headers)
