"""What a simulated node takes from the world: virtual time, seeded chance, workers inline.

Implements `node.environment.Environment` (DESIGN §8). A worker call happens at once, between
two short virtual waits: a crash that falls into the first one finds that the call never
happened, one that falls into the second that it happened and nobody learnt of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar, TypeVarTuple

import trio

from tests.support.tree import TREE_READY_MS

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH_MS: Final = TREE_READY_MS
"""When every simulated world begins: the sample directory is a day old."""

COMMIT_SECONDS: Final = 0.004
BODY_SECONDS: Final = 0.002


class SimEnvironment:
    """One life of one node. `hops` counts worker calls by name."""

    def __init__(self, chance: Random, *, offset_ms: int = 0, clock_quality: int = 1) -> None:
        self._chance: Final = chance
        self.offset_ms = offset_ms
        self.hops: Final[Counter[str]] = Counter()
        self.slow_down = 1.0
        self._clock_quality: Final = clock_quality
        self._committer: Final = trio.CapacityLimiter(1)
        self._body: Final = trio.CapacityLimiter(2)
        self._document: Final = trio.CapacityLimiter(1)
        self._finishing: Final[set[trio.CancelScope]] = set()
        self._killed = False

    # --- the seam -----------------------------------------------------------------------------

    def now_ms(self) -> int:
        return EPOCH_MS + self.monotonic_ms() + self.offset_ms

    def monotonic_ms(self) -> int:
        return virtual_ms()

    def clock_quality(self) -> int:
        return self._clock_quality

    def entropy(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    def jitter(self) -> float:
        return self._chance.random()

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self._chance.sample(items, len(items))

    async def run_committer(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        return await self._run("committer", self._committer, COMMIT_SECONDS, call, *args)

    async def run_body(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        return await self._run("body", self._body, BODY_SECONDS, call, *args)

    async def run_document(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        return await self._run("document", self._document, BODY_SECONDS, call, *args)

    def cpu_seconds(self) -> float:
        return trio.current_time()

    # --- for the world ------------------------------------------------------------------------

    def step_clock(self, by_ms: int) -> None:
        """Move the wall clock; the monotonic one goes on."""
        self.offset_ms += by_ms

    def kill(self) -> None:
        """The process dies: calls that have happened are not reported to anybody any more."""
        self._killed = True
        for scope in self._finishing:
            scope.shield = False

    async def _run(
        self, worker: str, limiter: trio.CapacityLimiter, seconds: float, call: Callable[[*Ts], T], *args: *Ts
    ) -> T:
        self.hops[worker] += 1
        async with limiter:
            await trio.sleep(self._wait(seconds))
            try:
                return call(*args)
            finally:
                await self._finish(self._wait(seconds))

    async def _finish(self, seconds: float) -> None:
        """As with a real thread, a cancelled caller waits for the end; unless the process is killed."""
        with trio.CancelScope(shield=not self._killed) as scope:
            self._finishing.add(scope)
            try:
                await trio.sleep(seconds)
            finally:
                self._finishing.discard(scope)

    def _wait(self, seconds: float) -> float:
        return seconds * self.slow_down * (0.25 + 0.5 * self._chance.random())


def virtual_ms() -> int:
    """Virtual milliseconds since the world began; a sleep to a millisecond ends in it, not just before."""
    return int(trio.current_time() * 1000 + 0.001)
