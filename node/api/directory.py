"""`/v1/directory`: agencies and centres as this node believes them, and loading signed records.

Obeys DESIGN §3 and DECISIONS "Joining before gossip exists". The directory is public: every
caller may read all of it.
"""

from __future__ import annotations

from typing import Annotated, Final

import trio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from node.access import require_right
from node.api.bodies import raw_doc, read_whole, require_raw
from node.api.callers import ANYBODY, Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.problems import problem
from node.api.views import names_view
from node.directory import Directory
from protocol.agency_code import parse_centre_code, search_name
from protocol.directory import AgencyRecord, CentreRecord, Names
from protocol.directory_import import Imported
from protocol.errors import RequestError
from protocol.limits import MIB

router = APIRouter(prefix="/v1/directory", tags=["directory"])

PAGE_MAX: Final = 1_000
SEARCHED_MAX: Final = 20_000
"""Agencies looked through for one answer; the cursor goes on behind them."""
SLICE: Final = 64
"""Agencies looked at between two checkpoints."""
FILE_BYTES_MAX: Final = 128 * MIB


class AgencyView(TypedDict):
    """An agency. `state` is active, locked or closed."""

    code: str
    aliases: list[str]
    names: dict[str, str]
    parent: str
    kind: str
    host: str
    hosted_here: bool
    epoch: int
    state: str
    successors: list[str]
    decision: str


class CentreView(TypedDict):
    """The operator of a node."""

    code: str
    names: dict[str, str]
    peer_id: str
    state: str


class AgencyPage(TypedDict):
    """Some agencies in the order of their codes."""

    items: list[AgencyView]
    next: str
    more: bool


class RejectedView(TypedDict):
    """A signed thing that was not taken, and why."""

    about: str
    digest: str
    problem: dict[str, object]


class ImportedView(TypedDict):
    """What came of a directory file."""

    accepted: list[str]
    already: int
    rejected: list[RejectedView]


@router.get(
    "", dependencies=ANYBODY, responses=answers({200: AgencyPage}, 400, 401, 403, 422), operation_id="listDirectory"
)
async def listing(
    here: Here,
    q: Annotated[str, Query(max_length=200, description="in code, alias or name; accents and case do not matter")] = "",
    after: Annotated[str, Query(max_length=35)] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> JSONResponse:
    """Agencies in the order of their codes."""
    found, last, more = await _search(here.node.directory, search_name(q), after, limit)
    centre = here.node.settings.centre
    items = [_agency(here.node.directory, record, centre) for record in found]
    answer: AgencyPage = {"items": items, "next": last, "more": more}
    return JSONResponse(answer)


async def _search(directory: Directory, wanted: str, after: str, limit: int) -> tuple[list[AgencyRecord], str, bool]:
    """Matching agencies, where the search stopped, and whether anything lies behind."""
    found: list[AgencyRecord] = []
    searched = 0
    while searched < SEARCHED_MAX:
        page = directory.agencies(after=after, limit=SLICE)
        for record in page:
            searched += 1
            after = record.code
            if _matches(record, wanted):
                found.append(record)
                if len(found) == limit:
                    return found, after, True
        if len(page) < SLICE:
            return found, after, False
        await trio.lowlevel.checkpoint()
    return found, after, True


def _matches(record: AgencyRecord, wanted: str) -> bool:
    if not wanted:
        return True
    texts = (record.code, *record.aliases, record.names.vi, record.names.en, record.names.short)
    return any(wanted in search_name(text) for text in texts)


@router.post(
    "/import",
    responses=answers({200: ImportedView}, 400, 401, 403, 413, 415, 422),
    openapi_extra=raw_doc("A .truc directory file."),
    operation_id="importDirectory",
)
async def take(request: Request, here: Here, who: Who) -> JSONResponse:
    """Load signed directory records; what cannot be believed is listed with the reason."""
    require_right(who, "admin")
    require_raw(request)
    file = await read_whole(request, FILE_BYTES_MAX)
    imported = await here.node.services.take_directory(who, file)
    return JSONResponse(_imported(imported))


@router.get(
    "/{code}",
    dependencies=ANYBODY,
    responses=answers({200: AgencyView | CentreView}, 400, 401, 403, 404, 409, 422),
    operation_id="showDirectory",
)
async def show(here: Here, code: str) -> JSONResponse:
    """One agency, by its code in either form or an alias; or a centre, by its code."""
    directory = here.node.directory
    if _is_centre(code):
        return JSONResponse(_centre(directory.centre(code)))
    return JSONResponse(_agency(directory, directory.resolve(code, field="code"), here.node.settings.centre))


def _is_centre(code: str) -> bool:
    try:
        parse_centre_code(code)
    except RequestError:
        return False
    return True


def _agency(directory: Directory, record: AgencyRecord, here: str) -> AgencyView:
    return {
        "code": record.code,
        "aliases": list(record.aliases),
        "names": _names(record.names),
        "parent": record.parent,
        "kind": record.kind,
        "host": record.host,
        "hosted_here": record.host == here,
        "epoch": record.epoch,
        "state": directory.state(record.code).name.lower(),
        "successors": list(record.successors),
        "decision": record.decision,
    }


def _centre(record: CentreRecord) -> CentreView:
    return {
        "code": record.code,
        "names": _names(record.names),
        "peer_id": record.peer_id,
        "state": record.state.name.lower(),
    }


def _names(names: Names) -> dict[str, str]:
    return names_view((("vi", names.vi), ("en", names.en), ("short", names.short)))


def _imported(imported: Imported) -> ImportedView:
    return {
        "accepted": [f"{item.subject.name.lower()} {item.code}".strip() for item in imported.accepted],
        "already": imported.already,
        "rejected": [
            {"about": item.about, "digest": item.digest.hex(), "problem": problem(item.error)}
            for item in imported.rejected
        ],
    }
