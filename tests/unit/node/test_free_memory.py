"""Memory is given back once for many pieces of work, and not for fewer."""

from __future__ import annotations

from random import Random

import trio
from trio.testing import MockClock

from node.free_memory import FreeMemory
from node.tasks import start
from tests.sim.environment import SimEnvironment


async def _rest(environment: SimEnvironment) -> int:
    """How often a worker was asked, once everything is at rest."""
    await trio.sleep(10)
    return environment.hops["document"]


async def test_free_memory_is_given_back_once_for_so_many_pieces_of_work(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    environment = SimEnvironment(Random(1))
    memory = FreeMemory(environment, 3)
    await start(nursery, memory.run)
    asked = []
    for _ in range(6):
        memory.used()
        asked.append(await _rest(environment))
    assert asked == [0, 0, 1, 1, 1, 2]


async def test_what_came_before_it_ran_counts(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    environment = SimEnvironment(Random(1))
    memory = FreeMemory(environment, 3)
    for _ in range(7):
        memory.used()
    await start(nursery, memory.run)
    assert await _rest(environment) == 1
