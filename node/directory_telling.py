"""Tells linked peers soon that this node knows something new of the directory.

Obeys DESIGN §5 ("pings carrying directory heads"), `protocol/spec/exchange.md` §5 and `announcement.md` §5 there.
Announcements are a hint that may be lost or switched off; without this a change would wait for a ping interval at
every node on its way. Where they are on, they do the work: then few are told, later, and nobody of what an
announcement brought. Who is told asks for himself (`directory_sync.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

import trio

from node.directory_roads import Road, Taken
from node.environment import Environment
from node.tasks import Bell, Ready

FIRST_MS: Final = 500
"""At most so long after a change: what one act brings comes in several batches."""
PAUSE_MS: Final = 5_000
"""Between two times of telling: a long import costs every peer twelve pings a minute, and no more."""
ANNOUNCED_FROM_MS: Final = 2_000
ANNOUNCED_SPREAD_MS: Final = 2_000
"""Where announcements are on: longer than one takes to reach everybody, so that most have heard by then."""
ANNOUNCED_PEERS: Final = 8
"""Peers that are told where announcements are on; those tell as many, and everybody's next ping tells the rest. A
change at 95 nodes costs 8 pings where the announcement arrived, 760 where it was lost, instead of some 9,000."""

OWN_ROADS: Final = frozenset((Road.BROUGHT, Road.ASKED))
"""What came by these, others may not have heard of: an announcement has been everywhere, and who told us of himself
announces it."""


class Compared(Protocol):
    """What is known here, as it is compared with others: `DirectoryIndex`."""

    @property
    def built(self) -> trio.Event:
        """Everything was read."""
        ...

    @property
    def changed(self) -> Bell:
        """Rings when something durable was taken in."""
        ...

    def digest(self) -> bytes:
        """The heads digest."""
        ...


class DirectoryTelling:
    """Run one for each node."""

    def __init__(
        self,
        *,
        index: Compared,
        at_rest: Callable[[], Awaitable[None]],
        unaware: Callable[[], list[str]],
        says: Callable[[str], bytes],
        tell: Callable[[Collection[str]], None],
        environment: Environment,
        announced: bool,
    ) -> None:
        """`tell` pings these peers, of those that are `unaware` of our digest as it is now; one that `says` it himself
        needs not be told. It waits for `at_rest` a while: what a session brings next would make the digest old at
        once. `announced`: announcements are on."""
        self._index: Final = index
        self._at_rest: Final = at_rest
        self._unaware: Final = unaware
        self._says: Final = says
        self._tell: Final = tell
        self._environment: Final = environment
        self._announced: Final = announced
        self._is_ours = False

    def taken(self, taken: Taken) -> None:
        """Things are durable that this node did not know."""
        self._is_ours = self._is_ours or taken.road in OWN_ROADS

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Tell until cancelled."""
        task_status.started()
        await self._index.built.wait()
        told = self._index.digest()
        while True:
            news = self._index.changed.next
            if self._index.digest() == told:
                await news.wait()
                continue
            await trio.sleep(self._wait_ms() / 1000)
            with trio.move_on_after(PAUSE_MS / 1000):
                await self._at_rest()
            told = self._index.digest()
            self._tell(self._whom(told))
            self._is_ours = False
            await trio.sleep(PAUSE_MS / 1000)

    def _wait_ms(self) -> float:
        if not self._announced:
            return self._environment.jitter() * FIRST_MS
        return ANNOUNCED_FROM_MS + self._environment.jitter() * ANNOUNCED_SPREAD_MS

    def _whom(self, digest: bytes) -> list[str]:
        if not self._announced:
            return self._unaware()
        if not self._is_ours:
            return []
        others = sorted(centre for centre in self._unaware() if self._says(centre) != digest)
        return self._environment.shuffled(others)[:ANNOUNCED_PEERS]
