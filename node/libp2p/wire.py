"""The socket as the library reads and writes it, with one large read where the library makes two small ones.

The noise session asks for two bytes of length and then for the message; each would be a system call
and a turn of the scheduler (LIBRARIES §libp2p: "never `read(1)`"). Errors are told as the
library's own TCP stream tells them.
"""

from __future__ import annotations

from typing import Final

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError

from protocol.limits import KIB

READ_BYTES: Final = 256 * KIB
"""Asked of the kernel at once; at most this much is held here."""


class Wire(ReadWriteCloser):
    """One reader and one writer at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Final = stream
        self._held = b""
        self._next = 0
        try:
            name = stream.socket.getpeername()
            self._remote: tuple[str, int] | None = (str(name[0]), int(name[1]))
        except OSError:
            self._remote = None  # the peer has gone already; reading says so

    async def read(self, n: int | None = None) -> bytes:
        """At least one byte and at most `n`; empty at the end or after a close of our own."""
        if self._next >= len(self._held):
            self._held, self._next = await self._receive(), 0
        end = len(self._held) if n is None else self._next + n
        taken = self._held[self._next : end]
        self._next += len(taken)
        return taken

    async def write(self, data: bytes) -> None:
        """Everything, or an error; the connection is of no use after one."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("closed while writing", transport="tcp") from error

    async def close(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Host and port of the peer."""
        return self._remote

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except trio.BrokenResourceError as error:
            raise ConnectionClosedError("reset by the peer", transport="tcp") from error
        except trio.ClosedResourceError:
            return b""
