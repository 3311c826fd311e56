"""The app: all routes over one node, ready for a server, a test or the simulator.

Obeys DESIGN §7. Everything is `async def`: FastAPI would run anything else in threads of its own
(LIBRARIES §HTTP). Listening is left to `node/api/server.py`.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from node.api import (
    access,
    audit,
    directory,
    directory_flow,
    directory_record,
    documents,
    events,
    evidence,
    health,
    inbox,
    openapi,
    state,
    trace,
    uploads,
)
from node.api.context import Context
from node.api.gate import Gate
from node.api.problems import findings_of, problem_answer
from node.config import ApiConfig
from node.daemon import Node
from protocol.errors import RequestError, TrucError

ROUTERS: Final = (
    documents.router,
    uploads.router,
    inbox.router,
    events.router,
    directory.router,
    directory_flow.router,
    directory_record.router,
    state.router,
    trace.router,
    evidence.router,
    access.router,
    audit.router,
    health.router,
)
BODIES: Final = (documents.DocumentIn, inbox.StatusIn, inbox.ActionsIn, access.SystemIn)


def make_app(node: Node, config: ApiConfig | None = None) -> FastAPI:
    """The ASGI app of a node; `app.state.context` is its `Context`."""
    context = Context(
        node=node, config=ApiConfig() if config is None else config, started_ms=node.environment.monotonic_ms()
    )
    app = FastAPI(
        title="truc",
        version=state.version(),
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        default_response_class=JSONResponse,
    )
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app, BODIES)
    app.add_exception_handler(TrucError, _outcome)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Gate, context=lambda: context)
    return app


async def _outcome(_request: Request, error: Any) -> JSONResponse:
    if error.code == "internal":
        raise error
    return problem_answer(error)


async def _invalid(_request: Request, error: Any) -> JSONResponse:
    """Paths and queries that break their types; the first part of each place says which of them."""
    return problem_answer(findings_of(error.errors(), skip=1))


async def _http(request: Request, error: Any) -> JSONResponse:
    if error.status_code == 405:
        return problem_answer(RequestError("method_unknown", method=request.method), error.headers)
    return problem_answer(RequestError("route_unknown"))
