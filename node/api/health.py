"""`/healthz`, `/readyz`, `/metrics`: is it alive, may it be used, what does it count.

Obeys DESIGN §7. Open to everybody who reaches a listener; `/metrics` only on the Unix socket and
on the loopback port of its own.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from node.api.context import Context, Here
from node.api.openapi import answers
from node.api.problems import problem
from node.environment import CLOCK_UNKNOWN
from node.metrics import CONTENT_TYPE
from protocol.errors import ConfigurationError, StoreError, TrucError

router = APIRouter(tags=["open"])


class ReadyView(TypedDict):
    """Whether the node does its work; every reason why it does not, and what an operator should know."""

    ready: bool
    reasons: list[dict[str, Any]]
    warnings: list[dict[str, Any]]


class AliveView(TypedDict):
    """The process answers."""

    alive: bool


@router.get("/healthz", responses=answers({200: AliveView}), operation_id="alive")
async def alive() -> JSONResponse:
    """The process answers; nothing more is said."""
    return JSONResponse({"alive": True})


@router.get("/readyz", responses=answers({200: ReadyView, 503: ReadyView}), operation_id="ready")
async def ready(here: Here) -> JSONResponse:
    """200 when documents can be handed in and fetched; 503 with every reason otherwise."""
    reasons = reasons_of(here)
    answer: ReadyView = {
        "ready": not reasons,
        "reasons": [problem(reason) for reason in reasons],
        "warnings": [problem(warning) for warning in warnings_of(here)],
    }
    return JSONResponse(answer, 503 if reasons else 200)


def reasons_of(here: Context) -> list[TrucError]:
    """Why the node cannot do its work now."""
    node = here.node
    reasons: list[TrucError] = []
    if here.stopping:
        reasons.append(ConfigurationError("stopping"))
    if node.pump.committer.read_only is not None:
        reasons.append(StoreError("store_read_only", reason=node.pump.committer.read_only.code))
    if not node.clock.trusted:
        reasons.append(ConfigurationError("clock_suspicious"))
    if node.directory.root_digest() is None:
        reasons.append(ConfigurationError("not_joined"))
    elif not node.access.hosted():
        reasons.append(ConfigurationError("nothing_hosted"))
    reasons += [trouble for agency, trouble in signer_troubles(here).items() if not agency]
    if node.room.freshness.stops and (old := node.room.freshness.trouble()) is not None:
        reasons.append(old)
    try:
        node.store.bodies.require_space(0)
    except StoreError as error:
        reasons.append(error)
    return reasons


def warnings_of(here: Context) -> list[TrucError]:
    """What does not stop the node but needs somebody."""
    warnings = [trouble for watch in here.watches if (trouble := watch()) is not None]
    if here.node.clock.quality == CLOCK_UNKNOWN:
        warnings.append(ConfigurationError("clock_unsynchronised"))
    freshness = here.node.room.freshness
    if not freshness.stops and (old := freshness.trouble()) is not None:
        warnings.append(old)
    warnings += [trouble for agency, trouble in signer_troubles(here).items() if agency]
    return [*warnings, *here.node.pki.problems]


def signer_troubles(here: Context) -> dict[str, TrucError]:
    """Whose signer cannot be asked: the centre's (under "") stops all that arrives, an agency's only what it sends."""
    presigner = here.node.presigner
    return {} if presigner is None else presigner.troubles()


@router.get("/metrics", response_class=Response, responses=answers({200: None}, 404), operation_id="metrics")
async def metrics(here: Here) -> Response:
    """The node's numbers in Prometheus' text form."""
    return Response(here.node.metrics.render(), media_type=CONTENT_TYPE)
