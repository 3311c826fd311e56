"""What the rest of the node may assume of the network, and nothing more.

Obeys DESIGN §5. Everything is keyed by centre code; peer ids live in centre records and in
`node/libp2p/`. Three things implement it and pass one contract suite: libp2p, the in-memory
network of the simulator, and, for agencies of this very node, `node/loopback.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from node.tasks import Ready


class ByteStream(Protocol):
    """A full-duplex stream of bytes to an authenticated, admitted centre."""

    async def write(self, data: bytes) -> None:
        """Hand bytes to the stream, waiting while the other side does not read. One task at a
        time; cancelling it may leave part of the bytes written, so reset afterwards.

        Raises:
            NetworkError: `stream_broken`.
        """
        ...

    async def read(self, bytes_max: int) -> bytes:
        """At least one byte and at most `bytes_max`; empty when the other side closed cleanly.

        Raises:
            NetworkError: `stream_broken` (reset, connection lost). What was received before a
                break may be lost.
        """
        ...

    async def close(self) -> None:
        """No more writing; what was written is still delivered."""
        ...

    async def reset(self) -> None:
        """Give the stream up in both directions at once. Never raises, may be repeated."""
        ...


Accept = Callable[[str, str, ByteStream], Awaitable[None]]
"""Called with (centre, protocol, stream) in a task of its own for every stream that an admitted
peer opens; the stream is reset when it returns or raises."""


Meet = Callable[[str, ByteStream], Awaitable[str]]
"""Called with (peer id, stream) for the one directory stream that a peer may open which is not
admitted; what comes of it: empty if it is admitted now, else why not. Bounded in number and time."""


Hear = Callable[[str, bytes], bool]
"""Called with (centre, content) for every announcement that an admitted centre made and that was not heard
before, whoever passed it on; whether it is worth passing on. Answers at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Somebody who was turned away. `peer_id` is empty when the handshake did not get so far."""

    peer_id: str
    address: str
    reason: str
    time_ms: int


class Transport(Protocol):
    """The network as one node sees it."""

    async def run(self, accept: Accept, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; started once the listening addresses are bound.

        Raises:
            NetworkError: `address_taken`, `address_unusable`.
        """
        ...

    def admit(self, peers: Mapping[str, str]) -> None:
        """From now on exactly these centres are admitted: centre code → peer id. Streams and
        connections of others are reset, at once and later."""
        ...

    def meet(self, meet: Meet) -> None:
        """From now on somebody hears the introductions of peers that are not admitted
        (`protocol/spec/joining.md` §2); until then they are turned away unheard."""
        ...

    def refused(self) -> Sequence[Refused]:
        """Who was turned away of late, oldest first, a bounded number; for `/v1/peers`."""
        ...

    def opens_exchange(self, centre: str) -> bool:
        """Whether this side opens the exchange stream of the pair (the smaller peer id does)."""
        ...

    def is_connected(self, centre: str) -> bool:
        """A connection to the admitted centre is up, whoever dialled."""
        ...

    async def dial(self, centre: str, address: str) -> None:
        """Connect to the centre at this address, if no connection is up already.

        Raises:
            NetworkError: `unreachable`, `wrong_peer`, `address_unusable`.
        """
        ...

    async def connected(self, centre: str) -> None:
        """Return when a connection to the centre is up."""
        ...

    async def disconnected(self, centre: str) -> None:
        """Return when no connection to the centre is up any more."""
        ...

    async def drop(self, centre: str) -> None:
        """Close the connections to the centre."""
        ...

    async def open_stream(self, centre: str, protocol: str) -> ByteStream:
        """A new stream over the connection that is up.

        Raises:
            NetworkError: `unreachable` (no connection), `stream_broken`, `protocol_unknown`.
        """
        ...

    def announcements(self, hear: Hear) -> None:
        """Take part in announcements (`protocol/spec/announcement.md`) from the next `run` on."""
        ...

    def announce(self, content: bytes) -> None:
        """Tell all who take part, at once; it may be lost, and nobody says so. Nothing happens for
        a node that takes no part, or is not running."""
        ...
