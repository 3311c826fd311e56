"""`/v1/events`: what happened to documents of the caller's agencies, behind a cursor.

Obeys DECISIONS "Inbox and cursors": a sequence of its own, kept 35 days.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from node.access import require_right
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import EventPage, event_view
from node.boxes import PAGE_MAX, Page

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get("", responses=answers({200: EventPage}, 400, 401, 403, 410, 422), operation_id="listEvents")
async def listing(
    request: Request,
    here: Here,
    who: Who,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    wait: Annotated[int, Query(ge=0, le=3600, description="seconds to wait for the first event")] = 0,
) -> JSONResponse:
    """Events behind a cursor, in order."""
    require_right(who, "send", "receive", "report")

    async def look(wait_s: float) -> Page:
        return await here.node.services.boxes.events(who, after=after, limit=limit, wait_s=wait_s)

    page = await here.wait(request, look, wait)
    answer: EventPage = {"items": [event_view(item) for item in page.items], "next": page.cursor, "more": page.more}
    return JSONResponse(answer)
