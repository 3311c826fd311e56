"""The stream of a node to itself: what is written is what is read.

Obeys DESIGN §5: a recipient hosted here is reached through the same frames and the same receiver,
no shortcut. One link stands at both ends of this stream; its peer is its own centre.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from protocol.errors import NetworkError
from protocol.limits import MIB

HELD_BYTES_MAX: Final = 4 * MIB
"""The writer waits above this, as it would for a peer that does not read."""


class EchoStream:
    """A `ByteStream` whose two ends are one."""

    def __init__(self) -> None:
        self._held: deque[bytes] = deque()
        self._size = 0
        self._over = False
        self._broken = False
        self._changed = trio.Event()

    async def write(self, data: bytes) -> None:
        """As `ByteStream.write`."""
        while self._size > HELD_BYTES_MAX and not self._broken:
            await self._wait()
        if self._over or self._broken:
            raise NetworkError("stream_broken")
        self._held.append(data)
        self._size += len(data)
        self._wake()
        await trio.lowlevel.checkpoint()

    async def read(self, bytes_max: int) -> bytes:
        """As `ByteStream.read`."""
        while not self._held and not self._over and not self._broken:
            await self._wait()
        if self._broken:
            raise NetworkError("stream_broken")
        await trio.lowlevel.checkpoint()
        if not self._held:
            return b""
        data = self._held.popleft()
        if len(data) > bytes_max:
            self._held.appendleft(data[bytes_max:])
            data = data[:bytes_max]
        self._size -= len(data)
        self._wake()
        return data

    async def close(self) -> None:
        """As `ByteStream.close`."""
        self._over = True
        self._wake()
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """As `ByteStream.reset`."""
        self._broken = True
        self._held.clear()
        self._wake()
        await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
