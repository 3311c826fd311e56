"""One HTTP/1.1 connection on Hypercorn's pieces, with the patience and the bounds that are ours.

Obeys DESIGN §7 and LIBRARIES §HTTP. Hypercorn parses and speaks ASGI; here are deadlines for slow
headers and for clients that stop reading, answers in our words where no route is reached, and who
the other side of a Unix socket is. No HTTP/2, no upgrade to it.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import h11
import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from node.api.listeners import Kind
from node.api.problems import MEDIA_TYPE, problem
from node.config import ApiLimits
from protocol.catalogue import entry_of
from protocol.errors import RequestError
from protocol.limits import KIB, MIB

RECEIVE_BYTES: Final = 64 * KIB
SEND_STALL_S: Final = 60
"""A client that takes no byte for so long is gone."""
LINGER_S: Final = 2
LINGER_BYTES_MAX: Final = 8 * MIB
"""What a client still sends after its last answer is read away, or it would never see the answer."""
PEER_CREDENTIALS: Final = struct.Struct("3i")


class Protocol(H11Protocol):
    """HTTP/1.1 that answers in our words when no route is reached."""

    limits: ApiLimits
    refused = False

    async def refuse(self, error: RequestError) -> None:
        """Answer a request that no route will see, and close."""
        self.refused = True
        connection: Any = self.connection
        if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status, head, body = refusal(error)
            await self._send_h11_event(h11.Response(headers=head, status_code=status))
            await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())
        await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        """What Hypercorn says about bytes that are no request."""
        if self.refused:
            return
        if status_code == 431:
            error = RequestError("header_too_long", limit=self.limits.header_bytes_max)
        else:
            error = RequestError("request_malformed")
        await self.refuse(error)

    async def _send_h11_event(self, event: Any) -> None:
        """With a reason phrase: naive parsers trip over a status line without one."""
        if isinstance(event, h11.Response) and not event.reason:
            event = h11.Response(
                status_code=event.status_code, headers=event.headers, reason=phrase(event.status_code).encode()
            )
        await super()._send_h11_event(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """No upgrade to HTTP/2: the request is answered as it came (RFC 9110 §7.8)."""

    def header_begun(self) -> bool:
        """Some bytes of a request are here, but not its whole head."""
        connection: Any = self.connection
        return connection.their_state is h11.IDLE and bool(connection.trailing_data[0])


def phrase(status: int) -> str:
    """The reason phrase of a status (RFC 9110 §15)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def refusal(error: RequestError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an answer that ends its connection."""
    body = json.dumps(problem(error), ensure_ascii=False).encode()
    head = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    return entry_of(error).status, head, body


def refusal_bytes(error: RequestError) -> bytes:
    """The same as it goes on the wire, for connections that get no protocol at all."""
    status, head, body = refusal(error)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in head)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, phrase(status).encode(), lines, body)


class Connection(TCPServer):
    """Serves one client until either side has enough."""

    def __init__(
        self,
        app: Any,
        config: ServerConfig,
        context: Any,
        *,
        kind: Kind,
        limits: ApiLimits,
        stream: Any,
        monotonic_ms: Callable[[], int],
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)
        self._kind: Final = kind
        self._limits: Final = limits
        self._monotonic_ms: Final = monotonic_ms
        self._header_since_ms: int | None = None
        self._broken = False
        self._http: Protocol

    async def run(self) -> None:
        """Serve; never raises for what a client does."""
        try:
            if self._kind == "tls":
                with trio.fail_after(self._limits.header_timeout_seconds):
                    await self.stream.do_handshake()
            await self._serve(self._socket())
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the client is gone, or speaks no TLS
        finally:
            await self._close()

    def _socket(self) -> Any:
        stream: Any = self.stream
        return stream.transport_stream.socket if self._kind == "tls" else stream.socket

    async def _serve(self, sock: Any) -> None:
        state: dict[str, Any] = {"listener": self._kind}
        if sock.family == socket.AF_UNIX:
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
            state["user"] = PEER_CREDENTIALS.unpack(raw)
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())
        async with TaskGroup() as group:
            self._task_group = group
            self._http = Protocol(
                self.app, self.config, self.context, group, ConnectionState(state), self._kind == "tls", client, server,
                self.protocol_send,
            )  # fmt: skip
            self._http.limits = self._limits
            self.protocol = self._http  # type: ignore[assignment]
            await self.idle_task.restart(group, self._idle_timeout)
            await self._read_data()
            await self.idle_task.stop()  # it would keep a connection that is gone for its whole patience

    async def protocol_send(self, event: Event) -> None:
        """Bytes to the client; one that stops reading is cut off, not waited for."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            if await self._sent(event.data):
                return
        await self._http.handle(Closed())

    async def _sent(self, data: bytes) -> bool:
        if self._broken:
            return False
        self._broken = True  # what is cancelled in the middle of a write cannot go on
        try:
            with trio.fail_after(SEND_STALL_S):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            await trio.aclose_forcefully(self.stream)
            return False
        self._broken = False
        return True

    async def _read_data(self) -> None:
        while True:
            try:
                with trio.fail_after(self._patience_s()):
                    data = await self.stream.receive_some(RECEIVE_BYTES)
            except trio.TooSlowError:
                seconds = self._limits.header_timeout_seconds
                await self._http.refuse(RequestError("header_slow", seconds=seconds))
                break
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            await self._http.handle(RawData(bytes(data)))
            if data == b"" or self._http.refused:
                break
            self._note_header()
        await self._http.handle(Closed())

    def _note_header(self) -> None:
        if not self._http.header_begun():
            self._header_since_ms = None
        elif self._header_since_ms is None:
            self._header_since_ms = self._monotonic_ms()

    def _patience_s(self) -> float:
        """How long the rest of a begun head may take; how long a client is silent between two
        requests is the idle task's business, and within a body the gate's."""
        if self._header_since_ms is None:
            return math.inf
        spent_s = (self._monotonic_ms() - self._header_since_ms) / 1000
        return max(0.0, self._limits.header_timeout_seconds - spent_s)

    async def _close(self) -> None:
        """Say goodbye so that the client sees what was said before."""
        if self._broken:
            await trio.aclose_forcefully(self.stream)
            return
        if getattr(self, "_http", None) is not None and self._http.refused:
            await self._linger()
        with trio.move_on_after(LINGER_S):
            await super()._close()

    async def _linger(self) -> None:
        """Half-close, and read away what is still under way."""
        stream: Any = self.stream
        transport = stream.transport_stream if self._kind == "tls" else stream
        left = LINGER_BYTES_MAX
        with trio.move_on_after(LINGER_S):
            try:
                await transport.send_eof()
                while left > 0 and (data := await transport.receive_some(RECEIVE_BYTES)):
                    left -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                return
