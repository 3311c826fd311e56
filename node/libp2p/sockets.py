"""TCP sockets: listening without sharing a port, dialling one address, and options for both.

Obeys DESIGN §5. The library's own listener sets SO_REUSEPORT, so that two daemons share a port
without a word; ours are bound by trio and a taken port is an outcome. What is said over the
sockets is left to `handshake.py` and the muxer.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final

import trio

from node.libp2p.addresses import Address, read_address
from protocol.errors import NetworkError
from protocol.limits import KIB

NOT_SENT_BYTES: Final = 128 * KIB
"""What the kernel may hold back unsent: more would hide from urgent frames that they are urgent."""
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_EVERY_S: Final = 15
KEEPALIVE_TRIES: Final = 4
"""A machine that vanished is noticed after two minutes even if nobody pings it."""
BACKLOG: Final = 128


async def open_listeners(addresses: Sequence[str]) -> list[trio.SocketListener]:
    """Bind all addresses, or none.

    Raises:
        NetworkError: `address_taken`, `address_unusable`.
    """
    listeners: list[trio.SocketListener] = []
    try:
        for text in addresses:
            listeners += await _open(read_address(text), text)
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


async def _open(address: Address, text: str) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG))
    except OSError as error:
        code = "address_taken" if error.errno == errno.EADDRINUSE else "address_unusable"
        raise NetworkError(code, address=text, reason=_reason(error)) from error


async def connect(centre: str, address: Address) -> trio.SocketStream:
    """One attempt at one address; deadlines are the caller's.

    Raises:
        NetworkError: `unreachable`.
    """
    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise NetworkError("unreachable", centre=centre, reason=_reason(error)) from error
    tune(stream)
    return stream


def tune(stream: trio.SocketStream) -> None:
    """Options of every connection; trio has already switched Nagle's algorithm off."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TRIES),
    ):
        stream.setsockopt(level, option, value)


def _reason(error: OSError) -> str:
    """The kernel's words, also where trio gathered several attempts in a group."""
    inner: BaseException | None = error
    while isinstance(inner, BaseException) and getattr(inner, "errno", None) is None:
        group = inner.__cause__
        inner = group.exceptions[0] if isinstance(group, BaseExceptionGroup) else group
    number = getattr(inner, "errno", None)
    return errno.errorcode.get(number, str(number)) if number is not None else type(error).__name__
