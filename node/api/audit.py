"""`/v1/audit`: who changed what on this node, for administrators.

Obeys DECISIONS "Access": one record per writing call, in the batch of the change itself.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from node.access import require_right
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import AuditPage, audit_view
from node.boxes import PAGE_MAX
from node.cursors import read_cursor, write_cursor
from protocol.records import Audit

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", responses=answers({200: AuditPage}, 400, 401, 403, 410, 422), operation_id="listAudit")
async def listing(
    here: Here, who: Who, after: str = "", limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100
) -> JSONResponse:
    """Writing calls in order, oldest first."""
    require_right(who, "admin")
    store = here.node.store
    start = read_cursor(after, store.incarnation)
    found = store.committed.scan(Audit, after=(start,), limit=limit)
    last = found[-1].sequence if found else start
    answer: AuditPage = {
        "items": [audit_view(entry) for entry in found],
        "next": write_cursor(store.incarnation, last),
        "more": len(found) == limit,
    }
    return JSONResponse(answer)
