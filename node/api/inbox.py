"""`/v1/inbox`: what arrived for the caller's agencies, its files, collecting and answering.

Obeys DESIGN §7 and DECISIONS "Inbox and cursors", "Statuses". A file leaves piece by piece; if it
turns out damaged on the way, the connection is cut before the promised length.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from typing_extensions import TypedDict

from node.api.bodies import Model, body_doc, read_json
from node.api.callers import Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.problems import problem
from node.api.streaming import PieceResponse
from node.api.views import ConsignmentView, InboxPage, ReceiptMadeView, consignment_view, made_view
from node.boxes import PAGE_MAX, Page
from node.services import ACTIONS_MAX, COLLECT, Action
from protocol.acting import ReceiptMade
from protocol.errors import RequestError, TrucError
from protocol.limits import PERSON_CHARACTERS_MAX, POSITION_CHARACTERS_MAX, REASON_CHARACTERS_MAX
from protocol.textid import from_text

router = APIRouter(prefix="/v1/inbox", tags=["inbox"])

Reason = Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)]
StaffName = Annotated[str, Field(max_length=PERSON_CHARACTERS_MAX)]
StaffPosition = Annotated[str, Field(max_length=POSITION_CHARACTERS_MAX)]


class StatusIn(Model):
    """An answer: 2 returned (with a reason), 3 accepted, 4 assigned, 5 in progress, 6 finished, 15, 16."""

    status: int
    reason: Reason = ""
    staff_name: StaffName = ""
    staff_position: StaffPosition = ""


class ActionIn(Model):
    """A collect, or a status with an idempotency key of its own."""

    consignment: str
    action: Literal["collect", "status"]
    status: int = 0
    key: str = ""
    reason: Reason = ""
    staff_name: StaffName = ""
    staff_position: StaffPosition = ""


class ActionsIn(Model):
    """Up to 1,000 actions; each has its own outcome."""

    actions: list[ActionIn] = Field(max_length=2 * ACTIONS_MAX)


class ActionOutcome(TypedDict):
    """What became of one action: its receipt, or why not."""

    ok: bool
    receipt: ReceiptMadeView | None
    problem: dict[str, Any] | None


class ActionOutcomes(TypedDict):
    """The outcomes in the order of the actions."""

    items: list[ActionOutcome]


STATUS_EXAMPLE: Final = {"status": 3, "staff_name": "Trần Thị B", "staff_position": "Văn thư"}
ACTIONS_EXAMPLE: Final = {
    "actions": [
        {"consignment": "csg_…", "action": "collect"},
        {"consignment": "csg_…", "action": "status", "status": 3, "key": "vt-2026-000123-03"},
    ]
}


# --- reading ----------------------------------------------------------------------------------


@router.get("", responses=answers({200: InboxPage}, 400, 401, 403, 404, 410, 422), operation_id="listInbox")
async def listing(
    request: Request,
    here: Here,
    who: Who,
    after: Annotated[str, Query(description="the cursor `next` of an earlier answer; empty: from the beginning")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    wait: Annotated[int, Query(ge=0, le=3600, description="seconds to wait for the first arrival")] = 0,
    agency: str = "",
    state: Literal["uncollected", "all"] = "uncollected",
) -> JSONResponse:
    """Arrivals behind a cursor, in order. The cursor is the truth: 410 tells that this is another
    store, and from which cursor to begin again.
    """

    async def look(wait_s: float) -> Page:
        return await here.node.services.boxes.inbox(
            who, after=after, limit=limit, wait_s=wait_s, agency=agency, everything=state == "all"
        )

    page = await here.wait(request, look, wait)
    items = [consignment_view(item) for item in page.items]
    answer: InboxPage = {"items": items, "next": page.cursor, "more": page.more}
    return JSONResponse(answer)


@router.get("/{consignment}", responses=answers({200: ConsignmentView}, 400, 401, 403, 404), operation_id="showInbox")
async def show(here: Here, who: Who, consignment: str) -> JSONResponse:
    """One consignment."""
    return JSONResponse(consignment_view(here.node.services.boxes.received(who, _id(consignment))))


@router.get(
    "/{consignment}/parts/{number}",
    response_class=Response,
    responses={
        **answers({}, 400, 401, 403, 404, 410, 422),
        200: {
            "description": "The file's bytes; compare them with sha256 of the consignment before collecting.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
    operation_id="fetchPart",
)
async def part(here: Here, who: Who, consignment: str, number: int) -> Response:
    """The plain bytes of one file, counted from 0."""
    received, pieces = here.node.services.boxes.part(who, _id(consignment), number)
    assert received.opened is not None
    secret = received.opened.header.parts[number]
    first = await anext(pieces)  # a damaged small file ends here, before the answer has begun
    headers = {
        "Content-Length": str(secret.plain_size),
        "Content-Type": secret.media_type,
        "Content-Disposition": disposition(secret.name),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "no-store",
        "ETag": f'"{secret.plain_digest.hex()}"',
    }
    return PieceResponse(_with(first, pieces), headers)


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(cast("Any", rest)) as pieces:
        yield first
        async for piece in pieces:
            yield piece


def disposition(name: str) -> str:
    """The file's name for a client that saves it (RFC 6266, RFC 8187); never shown in place."""
    plain = "".join(character if character.isascii() and character.isprintable() else "_" for character in name)
    quoted = plain.replace("\\", "_").replace('"', "_").replace("%", "_")
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(name, safe='')}"


# --- acting -----------------------------------------------------------------------------------


@router.post(
    "/actions",
    responses=answers({200: ActionOutcomes}, 400, 401, 403, 404, 413, 415, 422),
    openapi_extra=body_doc(ActionsIn, ACTIONS_EXAMPLE),
    operation_id="act",
)
async def act_all(request: Request, here: Here, who: Who) -> JSONResponse:
    """Up to 1,000 collects and answers at once; one that fails does not hinder the others."""
    given = await read_json(request, ActionsIn)
    actions = [_action(item, f"actions[{index}]") for index, item in enumerate(given.actions)]
    outcomes = await here.node.services.act_all(who, actions)
    answer: ActionOutcomes = {"items": [_outcome(outcome) for outcome in outcomes]}
    return JSONResponse(answer)


@router.post(
    "/{consignment}/collect",
    responses=answers({200: ReceiptMadeView}, 400, 401, 403, 404, 409),
    operation_id="collect",
)
async def collect(here: Here, who: Who, consignment: str) -> JSONResponse:
    """Say that the document is safely taken; any number of times. The issuer gets a receipt."""
    return JSONResponse(made_view(await here.node.services.collect(who, _id(consignment))))


@router.post(
    "/{consignment}/statuses",
    status_code=201,
    responses=answers({201: ReceiptMadeView, 200: ReceiptMadeView}, 400, 401, 403, 404, 409, 413, 415, 422),
    openapi_extra=body_doc(StatusIn, STATUS_EXAMPLE),
    operation_id="answer",
)
async def answer_status(
    request: Request, here: Here, who: Who, consignment: str, idempotency_key: Annotated[str, Header()] = ""
) -> JSONResponse:
    """Answer with a status; the issuer gets a signed receipt. 200 when this key brought it before."""
    given = await read_json(request, StatusIn)
    made = await here.node.services.act(
        who,
        Action(
            consignment=_id(consignment),
            code=_status(given.status, "status"),
            key=idempotency_key,
            reason=given.reason,
            staff_name=given.staff_name,
            staff_position=given.staff_position,
        ),
    )
    return JSONResponse(made_view(made), 200 if made.repeated else 201)


def _id(text: str, field: str = "consignment") -> bytes:
    return from_text("csg", text, field=field)


def _status(status: int, field: str) -> int:
    """100 is the node's own; a collect is no status."""
    if status == COLLECT:
        raise RequestError("status_not_yours", field=field, code_given=status)
    return status


def _action(given: ActionIn, field: str) -> Action:
    collects = given.action == "collect"
    return Action(
        consignment=_id(given.consignment, f"{field}.consignment"),
        code=COLLECT if collects else _status(given.status, f"{field}.status"),
        key=given.key,
        reason=given.reason,
        staff_name=given.staff_name,
        staff_position=given.staff_position,
    )


def _outcome(outcome: ReceiptMade | TrucError) -> ActionOutcome:
    if isinstance(outcome, TrucError):
        return {"ok": False, "receipt": None, "problem": problem(outcome)}
    return {"ok": True, "receipt": made_view(outcome), "problem": None}
