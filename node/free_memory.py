"""Gives memory back to the system that the allocator keeps after many small pieces of work.

What a handshake needs for a moment is freed in places from which the allocator does not return it by itself;
after ninety peers that is 26 MiB of an idle node. Asking costs milliseconds of a worker, so it is done once
for so many of them.
"""

from __future__ import annotations

from typing import Final

import trio

from node.environment import Environment, return_free_memory
from node.tasks import Bell, Ready


class FreeMemory:
    """Belongs to the loop."""

    def __init__(self, environment: Environment, every: int) -> None:
        self._environment: Final = environment
        self._every: Final = every
        self._count = 0
        self._many: Final = Bell()

    def used(self) -> None:
        """Something was done that leaves free memory behind."""
        self._count += 1
        if self._count % self._every == 0:
            self._many.ring()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Give back after every so many, until cancelled."""
        task_status.started()
        done = 0
        while True:
            news = self._many.next
            if self._count - done >= self._every:
                done = self._count
                await self._environment.run_document(return_free_memory)
            else:
                await news.wait()
