"""What every request passes: host, size and patience of its body, outcomes of all exceptions, counts.

Obeys DESIGN §7. Pure ASGI around the routes. An answer given before the body was read drains what
is left of it, or closes the connection: otherwise the client and we would wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.api.context import Context
from node.api.problems import internal_error, outcome_of, problem_answer
from node.logs import log_failure
from protocol.catalogue import entry_of
from protocol.errors import RequestError
from protocol.limits import MIB

DRAIN_BYTES_MAX: Final = 16 * MIB
"""An unread body up to this size is read and thrown away, so that the connection lives on."""
DRAIN_S: Final = 5
METRICS_PATHS: Final = frozenset({"/metrics", "/healthz"})
"""What the listener for Prometheus alone serves."""


class Gate:
    """ASGI middleware; inside Starlette's outermost frame, outside everything else."""

    def __init__(self, app: ASGIApp, context: Callable[[], Context]) -> None:
        self._app: Final = app
        self._context: Final = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = self._context()
        passage = _Passage(context, scope, receive, send)
        try:
            _check_listener(scope)
            _check_host(context, scope)
            await self._app(scope, passage.receive, passage.send)
        except Exception as error:  # noqa: BLE001  # the outermost frame of a request
            await self._fail(context, scope, passage, error)
        finally:
            context.node.metrics.api_requests.labels(status=str(passage.status)).inc()

    async def _fail(self, context: Context, scope: Scope, passage: _Passage, error: Exception) -> None:
        if isinstance(error, ClientDisconnect):
            return
        outcome = outcome_of(error)
        if outcome is None or entry_of(outcome).status == 500:
            log_failure(context.node.log, "request_failed", error, route=str(scope["path"])[:100])
            outcome = internal_error()
        if passage.status:  # the answer has begun: it must not end as if it were whole
            context.node.log.warning("answer_cut", code=outcome.code, route=str(scope["path"])[:100])
            raise _Cut from error
        await problem_answer(outcome)(scope, passage.receive, passage.send)


class _Cut(Exception):
    """Ends a half-given answer: the server closes the connection before the promised length."""


class _Passage:
    """The body and the answer of one request on their way through the gate."""

    def __init__(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        self._timeout_s: Final = context.config.limits.body_timeout_seconds
        self._receive: Final = receive
        self._send: Final = send
        self._left: Final = _declared(scope)
        self._read = 0
        self._body_over = self._left == 0
        self.status = 0

    async def receive(self) -> Message:
        """The next piece of the body; a silent client is not waited for.

        Raises:
            RequestError: `body_slow`.
        """
        if self._body_over:
            return await self._receive()
        try:
            with trio.fail_after(self._timeout_s):
                return self._noted(await self._receive())
        except trio.TooSlowError as error:
            self._body_over = True  # nothing more is waited for; the connection is closed
            raise RequestError("body_slow", seconds=self._timeout_s) from error

    def _noted(self, message: Message) -> Message:
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._body_over = not message.get("more_body", False)
        else:
            self._body_over = True
        return message

    async def send(self, message: Message) -> None:
        """Let a piece of the answer out; before the last one the body is drained."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._body_over and not self._drainable():
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and not self._body_over:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _drainable(self) -> bool:
        return self._left is not None and self._left - self._read <= DRAIN_BYTES_MAX

    async def _drain(self) -> None:
        """Read and throw away, within bounds."""
        bound = self._read + DRAIN_BYTES_MAX
        with trio.move_on_after(DRAIN_S):
            while not self._body_over and self._read <= bound:
                self._noted(await self._receive())


def _declared(scope: Scope) -> int | None:
    """Bytes that the body will have; None when the client does not say."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


def _check_listener(scope: Scope) -> None:
    listener = scope.get("state", {}).get("listener", "")
    path = str(scope["path"])
    if (listener == "metrics" and path not in METRICS_PATHS) or (listener in ("tcp", "tls") and path == "/metrics"):
        raise RequestError("route_unknown")


def _check_host(context: Context, scope: Scope) -> None:
    """A browser that was lured to this machine under another name gets nothing (DNS rebinding)."""
    if scope.get("state", {}).get("listener", "") == "unix":
        return
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = _name_of(headers.get(b"host", b"").decode("latin-1").lower())
    if host not in _names(context):
        raise RequestError("host_unknown", field="Host", host=host[:100])


def _names(context: Context) -> set[str]:
    tls = context.config.tls
    own = {"localhost", "127.0.0.1", "::1"}
    return own | set(context.config.hosts) | ({tls.address.host} if tls is not None else set())


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
