"""`/v1/trace/{id}`: the story of a document or consignment on this node.

Obeys DESIGN §2 "trace". What is told is durable; what is made of it is `node/tracing.py`.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from node.access import require_right
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import Texts, code_name, maybe_moment
from node.tracing import Moment, trace_of
from protocol.textid import to_text

router = APIRouter(prefix="/v1/trace", tags=["trace"])


class MomentView(TypedDict):
    """One durable change. `box` is outbox or inbox; `verified` is there for receipts and refusals:
    signature and chain were checked again for this answer."""

    at: str | None
    box: str
    what: str
    consignment: str | None
    agency: str
    peer_agency: str
    code: int | None
    name: Texts | None
    detail: str
    reason: str
    staff_name: str
    staff_position: str
    digest: str
    verified: bool | None


class TraceView(TypedDict):
    """All moments in the order of their times."""

    id: str
    items: list[MomentView]


@router.get("/{id}", responses=answers({200: TraceView}, 400, 401, 403, 404), operation_id="trace")
async def show(here: Here, who: Who, id: str) -> JSONResponse:  # noqa: A002  # the name in the route
    """The durable changes of state, and the receipts, of one document or consignment."""
    require_right(who, "send", "receive", "report")
    moments = trace_of(here.node, who, id)
    answer: TraceView = {"id": id, "items": [_view(moment) for moment in moments]}
    return JSONResponse(answer)


def _view(moment: Moment) -> MomentView:
    return {
        "at": maybe_moment(moment.time_ms),
        "box": moment.box,
        "what": moment.what,
        "consignment": to_text("csg", moment.consignment) if moment.consignment else None,
        "agency": moment.agency,
        "peer_agency": moment.peer_agency,
        "code": moment.code,
        "name": None if moment.code is None else code_name(moment.code),
        "detail": moment.detail,
        "reason": moment.reason,
        "staff_name": moment.staff_name,
        "staff_position": moment.staff_position,
        "digest": moment.digest.hex(),
        "verified": moment.verified,
    }
