"""Serves the API in a nursery of ours, on listeners of ours, and ends when it is told to.

Obeys DESIGN §7 and LIBRARIES §HTTP. Everything about one connection is `connection.py`, about
sockets `listeners.py`. Shutdown: no new connections, idle ones closed, waiting ones answered; then
the grace period; then whatever is left is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as ServerConfig
from hypercorn.trio.worker_context import WorkerContext

from node.api.app import make_app
from node.api.connection import RECEIVE_BYTES, Connection, refusal_bytes
from node.api.context import Context
from node.api.listeners import CertificateWatch, Listening, listen_tcp, listen_tls, listen_unix
from node.config import ApiLimits, Config
from node.config_values import SocketAddress
from node.daemon import Node
from node.logs import Log, log_failure
from node.tasks import TaskStatus
from protocol.errors import RequestError

REQUESTS_PER_CONNECTION: Final = 10**9
"""Hypercorn would close a connection after 1,000 requests, in the middle of a client's batch."""
REFUSE_S: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where the API can be reached; 0 where there is no such listener."""

    unix_socket: Path
    tcp_port: int
    tls_port: int
    metrics_port: int


class _QuietLogger:
    """Hypercorn's own log: failures of a request are logged by the gate, with their cause."""

    def __init__(self, _config: ServerConfig) -> None:
        pass

    async def access(self, *_args: Any) -> None:
        """Requests are counted, not listed."""

    async def nothing(self, *_args: Any, **_more: Any) -> None:
        """Said elsewhere."""

    critical = error = warning = info = debug = exception = log = nothing


def server_config(limits: ApiLimits) -> ServerConfig:
    """What Hypercorn has to know."""
    config = ServerConfig()
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.keep_alive_timeout = limits.keep_alive_seconds
    # A head is refused while it is incomplete: the last piece received may not carry it past its bound.
    config.h11_max_incomplete_size = max(limits.header_bytes_max // 2, limits.header_bytes_max - RECEIVE_BYTES)
    config.include_server_header = False
    config.logger_class = _QuietLogger  # type: ignore[assignment]
    return config


class Server:
    """Accepts and serves until it is stopped."""

    def __init__(self, app: Any, limits: ApiLimits, log: Log, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms: Final = monotonic_ms
        self._app: Final = ASGIWrapper(app)
        self._limits: Final = limits
        self._log: Final = log
        self._config: Final = server_config(limits)
        self._context: Final = WorkerContext(None)
        self._streams: Final[set[trio.abc.Stream]] = set()
        self._none_left = trio.Event()

    async def run(self, listening: list[Listening], stop: trio.Event, context: Context) -> None:
        """Serve on these listeners until `stop`; returns when the last connection is closed."""
        async with trio.open_nursery() as connections:
            try:
                async with trio.open_nursery() as accepting:
                    for item in listening:
                        accepting.start_soon(self._accept, item, connections)
                    await stop.wait()
                    accepting.cancel_scope.cancel()
                await self._end(context)
            finally:
                connections.cancel_scope.cancel()

    async def _accept(self, item: Listening, connections: trio.Nursery) -> None:
        await trio.serve_listeners(partial(self._one, item), [item.listener], handler_nursery=connections)

    async def _one(self, item: Listening, stream: trio.SocketStream) -> None:
        if len(self._streams) >= self._limits.connections_max:
            await self._refuse(item, stream)
            return
        self._streams.add(stream)
        whole: Any = stream if item.tls is None else trio.SSLStream(
            stream, item.tls, server_side=True, https_compatible=True
        )  # fmt: skip
        try:
            await Connection(
                self._app,
                self._config,
                self._context,
                kind=item.kind,
                limits=self._limits,
                stream=whole,
                monotonic_ms=self._monotonic_ms,
            ).run()
        except Exception as error:  # noqa: BLE001  # the outermost frame of one connection, not of the node
            log_failure(self._log, "connection_failed", error, listener=item.kind)
        finally:
            stream.socket.close()
            self._streams.discard(stream)
            if not self._streams:
                self._none_left.set()

    async def _refuse(self, item: Listening, stream: trio.SocketStream) -> None:
        """Say that there are too many; over TLS that cannot be said cheaply."""
        with trio.move_on_after(REFUSE_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if item.tls is None:
                await stream.send_all(
                    refusal_bytes(RequestError("connections_too_many", limit=self._limits.connections_max))
                )
                await stream.send_eof()
        await trio.aclose_forcefully(stream)

    async def _end(self, context: Context) -> None:
        """Let those finish who can within the grace period."""
        context.stop()
        await self._context.terminated.set()
        self._none_left = trio.Event()
        if self._streams:
            with trio.move_on_after(self._limits.shutdown_grace_seconds):
                await self._none_left.wait()


async def serve_api(
    node: Node,
    config: Config,
    *,
    stop: trio.Event | None = None,
    task_status: TaskStatus[Bound] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API of a running node until `stop` is set, or until cancelled; tells where it listens.

    Set `stop` and wait for the return before the node itself is cancelled, so that whoever was
    promised an answer gets it.

    Raises:
        ConfigurationError: `socket_in_use`, `socket_unusable`, `socket_group`, `tls_unusable`,
            `config_plain_listener`.
    """
    app = make_app(node, config.api)
    context: Context = app.state.context
    listening = await _open_all(config)
    try:
        _watch_certificate(config, listening, context)
        ports = {item.kind: item.port for item in listening}
        bound = Bound(
            unix_socket=config.unix_socket,
            tcp_port=ports.get("tcp", 0),
            tls_port=ports.get("tls", 0),
            metrics_port=ports.get("metrics", 0),
        )
        node.log.info("api_ready", unix=str(bound.unix_socket), tcp=bound.tcp_port, tls=bound.tls_port)
        task_status.started(bound)
        server = Server(app, config.api.limits, node.log, node.environment.monotonic_ms)
        await server.run(listening, trio.Event() if stop is None else stop, context)
    finally:
        _close_all(config, listening)


async def _open_all(config: Config) -> list[Listening]:
    listening: list[Listening] = []
    try:
        listening.append(listen_unix(config.unix_socket, config.api))
        if config.api.tcp is not None:
            listening.append(await listen_tcp(config.api.tcp))
        if config.metrics.loopback_port:
            address = SocketAddress("127.0.0.1", config.metrics.loopback_port)
            listening.append(await listen_tcp(address, "metrics"))
        if config.api.tls is not None:
            listening.append(await listen_tls(config.api.tls))
    except BaseException:
        _close_all(config, listening)
        raise
    return listening


def _close_all(config: Config, listening: list[Listening]) -> None:
    for item in listening:
        item.listener.socket.close()
        if item.kind == "unix":
            config.unix_socket.unlink(missing_ok=True)


def _watch_certificate(config: Config, listening: list[Listening], context: Context) -> None:
    """An expired certificate stops no delivery: it is told, loudly, in the log and by `/readyz`."""
    node = context.node
    for item in listening:
        if config.api.tls is not None and item.tls is not None:
            watch = CertificateWatch(config.api.tls, item.tls, node.environment.monotonic_ms)
            context.watches.append(watch.trouble)
            trouble = watch.trouble()
            if trouble is not None:
                node.log.error("certificate", code=trouble.code, reason=str(trouble.detail.get("reason", "")))
