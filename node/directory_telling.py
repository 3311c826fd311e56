"""Tells linked peers soon that this node knows something new of the directory.

Obeys DESIGN §5 ("pings carrying directory heads") and `protocol/spec/exchange.md` §5. Announcements are a hint that
may be lost or switched off; without this a change would wait for a ping interval at every node on its way. Who is
told asks for himself (`directory_sync.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from node.directory_index import DirectoryIndex
from node.environment import Environment
from node.tasks import Ready

FIRST_MS: Final = 500
"""At most so long after a change: what one act brings comes in several batches."""
PAUSE_MS: Final = 5_000
"""Between two times of telling: a long import costs every peer twelve pings a minute, and no more."""


class DirectoryTelling:
    """Run one for each node."""

    def __init__(
        self,
        *,
        index: DirectoryIndex,
        at_rest: Callable[[], Awaitable[None]],
        tell: Callable[[], None],
        environment: Environment,
    ) -> None:
        """`tell` pings every peer that has not heard our digest as it is now. It waits for `at_rest` a while: what
        a session brings next would make the digest old at once."""
        self._index: Final = index
        self._at_rest: Final = at_rest
        self._tell: Final = tell
        self._environment: Final = environment

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
            await trio.sleep(self._environment.jitter() * FIRST_MS / 1000)
            with trio.move_on_after(PAUSE_MS / 1000):
                await self._at_rest()
            told = self._index.digest()
            self._tell()
            await trio.sleep(PAUSE_MS / 1000)
