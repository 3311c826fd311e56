"""`/v1/access`: which systems may ask this node, for administrators.

Obeys DECISIONS "Access". The token of a new system stands in one answer and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from typing_extensions import TypedDict

from node.access import AGENCIES_MAX, PAGE, RIGHTS, Wish
from node.api.bodies import Model, body_doc, read_json
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import maybe_moment, moment
from protocol.records import System
from protocol.textid import from_text, to_text

router = APIRouter(prefix="/v1/access", tags=["access"])


class SystemIn(Model):
    """A new system: its agencies and what it may do for them."""

    name: str
    agencies: list[str] = Field(max_length=2 * AGENCIES_MAX)
    rights: list[str] = Field(max_length=2 * len(RIGHTS))


class SystemView(TypedDict):
    """A local software with its own credentials."""

    system: str
    name: str
    agencies: list[str]
    rights: list[str]
    created_at: str
    revoked_at: str | None


class GrantedView(SystemView):
    """A new system with its token, shown this once."""

    token: str


class SystemPage(TypedDict):
    """Some systems in the order of their ids."""

    items: list[SystemView]
    next: str
    more: bool


EXAMPLE: Final = {"name": "QLVB Bộ Tài chính", "agencies": ["G12"], "rights": ["send", "receive", "report"]}


@router.get("", responses=answers({200: SystemPage}, 400, 401, 403, 422), operation_id="listSystems")
async def listing(
    here: Here, who: Who, after: str = "", limit: Annotated[int, Query(ge=1, le=PAGE)] = 100
) -> JSONResponse:
    """All systems, revoked ones too."""
    place = from_text("sys", after, field="after") if after else b""
    found = here.node.access.systems(who, after=place, limit=limit)
    last = to_text("sys", found[-1].system) if found else after
    answer: SystemPage = {"items": [_view(system) for system in found], "next": last, "more": len(found) == limit}
    return JSONResponse(answer)


@router.post(
    "",
    status_code=201,
    responses=answers({201: GrantedView}, 400, 401, 403, 409, 413, 415, 422),
    openapi_extra=body_doc(SystemIn, EXAMPLE),
    operation_id="addSystem",
)
async def add(request: Request, here: Here, who: Who) -> JSONResponse:
    """Create a system. Its token is in this answer and cannot be read again."""
    given = await read_json(request, SystemIn)
    wish = Wish(name=given.name, agencies=tuple(given.agencies), rights=tuple(given.rights))
    granted = await here.node.access.add(who, wish)
    answer: GrantedView = {**_view(granted.system), "token": granted.token}
    return JSONResponse(answer, 201, {"Cache-Control": "no-store"})


@router.delete("/{system}", responses=answers({200: SystemView}, 400, 401, 403, 404), operation_id="revokeSystem")
async def revoke(here: Here, who: Who, system: str) -> JSONResponse:
    """Take a system's rights away, at once and for ever."""
    return JSONResponse(_view(await here.node.access.revoke(who, from_text("sys", system, field="system"))))


def _view(system: System) -> SystemView:
    return {
        "system": to_text("sys", system.system),
        "name": system.name,
        "agencies": list(system.agencies),
        "rights": list(system.rights),
        "created_at": moment(system.created_ms),
        "revoked_at": maybe_moment(system.revoked_ms),
    }
