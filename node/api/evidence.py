"""`/v1/evidence/{consignment}`: a proof that anybody can check off-line.

Obeys DESIGN §3 `truc/evidence/1`. What goes into the file is `node/proving.py`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from node.access import require_right
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.proving import evidence_of
from protocol.textid import from_text

router = APIRouter(prefix="/v1/evidence", tags=["evidence"])


@router.get(
    "/{consignment}",
    response_class=Response,
    responses={
        **answers({}, 400, 401, 403, 404, 410, 422),
        200: {
            "description": "A file of format truc/evidence/1.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
    operation_id="exportEvidence",
)
async def export(
    here: Here,
    who: Who,
    consignment: str,
    disclose: Annotated[bool, Query(description="with the content key: whoever has the file reads metadata")] = False,
) -> Response:
    """Envelope, consignment, receipts and the directory records that they were judged by."""
    require_right(who, "send", "receive", "report")
    file = evidence_of(here.node, who, from_text("csg", consignment, field="consignment"), disclose=disclose)
    name = f'attachment; filename="{consignment}.truc-evidence"'
    return Response(file, media_type="application/octet-stream", headers={"Content-Disposition": name})
