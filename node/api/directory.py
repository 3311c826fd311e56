"""`/v1/directory`: listing and searching agencies, and loading signed records.

Obeys DESIGN §7. The directory is public: every caller may read all of it, and nobody but an administrator
adds to it. Single records are `directory_record.py`, following and exporting `directory_flow.py`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from node.access import require_right
from node.api.bodies import raw_doc, read_whole, require_raw
from node.api.callers import ANYBODY, Who
from node.api.conditional import UNCHANGED, is_known, tag_of, unchanged
from node.api.context import Context, Here
from node.api.directory_views import (
    AgencyPage,
    AgencyView,
    ImportedView,
    SearchPage,
    agency_view,
    damaged_view,
    imported_view,
)
from node.api.openapi import answers
from node.api.state import version
from node.cursors import read_place, write_place
from node.directory_search import Found
from node.directory_text import Question, folded, words_of
from node.tasks import in_slices
from protocol.agency_code import fold_code, is_new_form, is_old_form, parse_agency_code, parse_centre_code
from protocol.directory import RecordState
from protocol.directory_view import DirectoryView
from protocol.errors import RequestError, StoreError
from protocol.limits import CODE_CHARACTERS_MAX, MIB

router = APIRouter(prefix="/v1/directory", tags=["directory"])

PAGE_MAX: Final = 1_000
QUERY_CHARACTERS_MAX: Final = 200
"""As long as the longest name."""
VIEWS_AT_ONCE: Final = 8
"""Agencies shown between two pauses: about a millisecond."""
FILE_BYTES_MAX: Final = 128 * MIB
STATES: Final = {"active": RecordState.ACTIVE, "locked": RecordState.LOCKED, "closed": RecordState.CLOSED}

Words = Annotated[
    str, Query(description="in code, alias or name, at most 200 characters; accents, case and order do not matter")
]
Prefix = Annotated[str, Query(description="how the code begins, letter by letter: `H38.1` finds `H38.12`")]
Under = Annotated[str, Query(description="a code, in either form, that stands above it by whole components")]
State = Annotated[Literal["", "active", "locked", "closed"], Query()]
Host = Annotated[str, Query(description="the centre that hosts it")]
Kind = Annotated[str, Query(description="its kind; accents and case do not matter")]
Top = Annotated[bool, Query(description="only what has nothing above it")]
After = Annotated[str, Query(description="the cursor `next` of an earlier answer; empty: from the beginning")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


@router.get(
    "",
    dependencies=ANYBODY,
    responses={**answers({200: AgencyPage}, 400, 401, 403, 422), **UNCHANGED},
    operation_id="listDirectory",
)
async def listing(
    request: Request,
    here: Here,
    q: Words = "",
    prefix: Prefix = "",
    under: Under = "",
    state: State = "",
    host: Host = "",
    kind: Kind = "",
    top: Top = False,
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Agencies in the order of their codes; with filters, those for which all of them hold."""
    asked = _question(here, q, prefix=prefix, under=under, state=state, host=host, kind=kind, top=top)
    return await _page(request, here, asked, after, limit)


@router.get(
    "/search",
    dependencies=ANYBODY,
    responses={**answers({200: SearchPage}, 400, 401, 403, 422), **UNCHANGED},
    operation_id="searchDirectory",
)
async def search(
    request: Request,
    here: Here,
    q: Words,
    under: Under = "",
    state: State = "",
    host: Host = "",
    kind: Kind = "",
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Agencies in which all the words stand, in the order of their codes, and the one whose code was given."""
    if not words_of(q):
        raise RequestError("search_empty", field="q")
    asked = _question(here, q, prefix="", under=under, state=state, host=host, kind=kind, top=False)
    view = here.node.room.index.view
    return await _page(request, here, asked, after, limit, exact={"exact": _exact(view, q, here.node.settings.centre)})


def _question(
    here: Context, q: str, *, prefix: str, under: str, state: str, host: str, kind: str, top: bool
) -> Question:
    """What is looked for.

    Raises:
        RequestError: `search_too_long`, `agency_code_malformed`, `centre_code_malformed`.
    """
    for name, text in (("q", q), ("kind", kind)):
        if len(text) > QUERY_CHARACTERS_MAX:
            raise RequestError("search_too_long", field=name, size=len(text), limit=QUERY_CHARACTERS_MAX)
    if prefix and not _is_beginning(prefix):
        raise RequestError("agency_code_malformed", field="prefix", code=ascii(prefix[:CODE_CHARACTERS_MAX])[1:-1])
    if host:
        parse_centre_code(host, field="host")
    return Question(
        words=words_of(q),
        prefix=prefix,
        under=_primary(here.node.room.index.view, under, "under") if under else "",
        state=STATES.get(state),
        host=host,
        kind=folded(kind).encode(errors="replace"),
        top=top,
    )


def _is_beginning(text: str) -> bool:
    """Whether a code can begin like this."""
    allowed = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.")
    return len(text) <= CODE_CHARACTERS_MAX and set(text) <= allowed


def _primary(view: DirectoryView, code: str, field: str) -> str:
    """The primary code of whom a code or alias names; the code itself where nobody is registered under it."""
    parse_agency_code(code, field=field)
    try:
        return view.resolve(code, field=field).code
    except RequestError as error:
        if error.code != "agency_unknown":
            raise
        return code


async def _page(
    request: Request,
    here: Context,
    asked: Question,
    after: str,
    limit: int,
    exact: Mapping[str, AgencyView | None] | None = None,
) -> Response:
    room, centre = here.node.room, here.node.settings.centre
    changes = room.feed.now
    found = await room.search.find(asked, after=read_place(after), limit=limit)
    tag = _tag(request, here, found)
    if tag and is_known(request, tag):
        return unchanged(tag)
    items = await in_slices(_shown(room.index.view, found.codes, centre), VIEWS_AT_ONCE)
    rest: dict[str, Any] = {
        "next": write_place(found.codes[-1]) if found.codes else after,
        "more": found.more,
        "changes": changes,
        **(exact or {}),
    }
    body = b'{"items":[' + b",".join(items) + b"]," + _json(rest)[1:]
    return Response(body, media_type="application/json", headers={"ETag": tag} if tag else {})


def _tag(request: Request, here: Context, found: Found) -> str:
    """Says which directory, question and release an answer belongs to; none while changes are being taken in."""
    if not found.revision:
        return ""
    incarnation, asked = here.node.store.incarnation, str(request.url.query)
    return tag_of(version(), incarnation, str(found.revision), request.url.path, asked)


def _shown(view: DirectoryView, codes: Iterable[str], centre: str) -> Generator[None, None, list[bytes]]:
    """Agencies as JSON. A record that is damaged spoils no page."""
    made: list[bytes] = []
    for code in codes:
        made.append(_json(shown(view, code, centre)))
        yield
    return made


def shown(view: DirectoryView, code: str, centre: str) -> AgencyView:
    """An agency that is known to be there."""
    try:
        return agency_view(view.agency(code), view.state(code), centre)
    except StoreError as error:
        return damaged_view(code, error)


def _exact(view: DirectoryView, text: str, centre: str) -> AgencyView | None:
    code = fold_code(text)
    if not (is_old_form(code) or is_new_form(code)):
        return None
    try:
        return shown(view, view.resolve(code).code, centre)
    except RequestError:
        return None
    except StoreError as error:
        return damaged_view(code, error)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- loading ----------------------------------------------------------------------------------


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
    return JSONResponse(imported_view(imported))
