"""What waits for the one writer of a connection, in order of urgency.

Obeys DESIGN §5 ("one connection's only writer takes from a two-class queue"): the muxer's own
control frames, then frames of the exchange stream, then body frames one at a time. A stream has at
most one frame here, so streams of one class take turns. Knows nothing of sockets or of libp2p.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final

import trio

from node.tasks import Bell

CHUNK_BYTES: Final = 65_519
"""One noise message: frames are joined up to here, a full body frame fills it exactly."""
CONTROL_FRAMES_MAX: Final = 4_096
"""Answers to a peer that asks (pings, new streams) and does not read; above it, it is a flood."""


class Rank(IntEnum):
    """Who goes first."""

    CONTROL = 0
    EXCHANGE = 1
    BODY = 2


class Waiting:
    """A frame that is on its way; `sent` is set when it was written or never will be."""

    __slots__ = ("failed", "frame", "sent")

    def __init__(self, frame: bytes) -> None:
        self.frame: Final = frame
        self.sent: Final = trio.Event()
        self.failed = False


class FrameQueue:
    """Frames by rank. Putting never waits; whoever wants to be held back waits for `sent`."""

    def __init__(self) -> None:
        self._ranks: Final[tuple[deque[Waiting], ...]] = tuple(deque() for _ in Rank)
        self._bell: Final = Bell()
        self._over = False

    def __len__(self) -> int:
        return sum(len(rank) for rank in self._ranks)

    @property
    def is_flooded(self) -> bool:
        """More control frames wait than an honest peer ever causes."""
        return len(self._ranks[Rank.CONTROL]) > CONTROL_FRAMES_MAX

    def put(self, frame: bytes, rank: Rank) -> Waiting:
        """Queue a frame; after `end` it fails at once."""
        waiting = Waiting(frame)
        if self._over:
            waiting.failed = True
            waiting.sent.set()
        else:
            self._ranks[rank].append(waiting)
            self._bell.ring()
        return waiting

    async def some(self) -> None:
        """Return when something waits."""
        news = self._bell.next
        while not len(self):
            await news.wait()
            news = self._bell.next

    def take(self) -> list[Waiting]:
        """The most urgent frames that fit one chunk; a longer frame goes alone. A body frame is
        taken only when nothing of a higher rank waits any more."""
        taken: list[Waiting] = []
        size = 0
        for rank in self._ranks:
            while rank and (not taken or size + len(rank[0].frame) <= CHUNK_BYTES):
                size += len(rank[0].frame)
                taken.append(rank.popleft())
            if rank:
                break
        return taken

    def end(self) -> None:
        """Nothing will be written any more."""
        self._over = True
        for rank in self._ranks:
            for waiting in rank:
                waiting.failed = True
                waiting.sent.set()
            rank.clear()
