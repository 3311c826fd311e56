"""Clock, entropy and worker threads: all that a node takes from the world besides disk and network.

Obeys DESIGN §1 (the only module that may import time, random, secrets or threading) and §8
(the simulator brings its own `Environment`: virtual clock, seeded chance, workers inline).
What is done with the time, judging, deadlines, back-off, is left to the callers.
"""

from __future__ import annotations

import ctypes
import random
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

COMMITTER_THREADS: Final = 1
BODY_THREADS: Final = 2
DOCUMENT_THREADS: Final = 1
"""DESIGN §1: one committer, two for bodies, one for XML, PDF and Argon2id."""

CLOCK_UNKNOWN: Final = 0
CLOCK_SYNCHRONISED: Final = 1
"""DECISIONS "Time"; 2, agreeing with peers, is found by whoever hears the peers."""

_TIMEX_BYTES: Final = 512
"""`struct timex` has 208 bytes on 64-bit Linux; the rest is room for other layouts."""
_TIME_ERROR: Final = 5
"""What adjtimex(2) answers for a clock that nobody disciplines."""


class Environment(Protocol):
    """The seam. Every method is called on the loop."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01T00:00:00Z; may jump."""

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary moment; never goes back."""

    def clock_quality(self) -> int:
        """0 unknown, 1 the system says that its clock is synchronised."""

    def entropy(self, size: int) -> bytes:
        """`size` bytes fit for keys and ids."""

    def jitter(self) -> float:
        """A number in [0, 1) that spreads deadlines; not for secrets."""

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The same items in another order; not for secrets."""

    async def run_committer(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a batch, with its signatures, fsync and write; one at a time, never cancelled half-way."""

    async def run_body(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a write, fsync, seal or bulk verification of bodies; two at a time."""

    async def run_document(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run XML, PDF or Argon2id work; one at a time."""

    def cpu_seconds(self) -> float:
        """Processor time of this process so far, user and system."""


def return_free_memory() -> None:
    """Give back to the system what the allocator keeps for later (malloc_trim(3)); where there is no such call,
    nothing. Takes some milliseconds: for a worker, after something large."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class RealEnvironment:
    """The machine's clock, the kernel's entropy, trio's worker threads.

    `on_hop` is told the worker's name (`committer`, `body`, `document`) once per call.
    """

    def __init__(
        self,
        on_hop: Callable[[str], object] = lambda _worker: None,
        *,
        libc: object = ctypes.CDLL(None),  # the C library of this process, loaded anyway
        synchronised_mark: Path = Path("/run/systemd/timesync/synchronized"),
    ) -> None:
        self._on_hop = on_hop
        self._adjtimex = getattr(libc, "adjtimex", None)
        self._synchronised_mark = synchronised_mark
        self._committer = trio.CapacityLimiter(COMMITTER_THREADS)
        self._body = trio.CapacityLimiter(BODY_THREADS)
        self._document = trio.CapacityLimiter(DOCUMENT_THREADS)
        self._chance = random.Random(secrets.token_bytes(32))  # noqa: S311  # spreads deadlines, nothing secret

    def now_ms(self) -> int:
        """Wall clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Monotonic clock in milliseconds."""
        return time.monotonic_ns() // 1_000_000

    def clock_quality(self) -> int:
        """Ask the kernel, then systemd; a few microseconds."""
        synchronised = self._kernel_is_synchronised() or self._synchronised_mark.exists()
        return CLOCK_SYNCHRONISED if synchronised else CLOCK_UNKNOWN

    def entropy(self, size: int) -> bytes:
        """Bytes from the kernel's generator."""
        return secrets.token_bytes(size)

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return self._chance.random()

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A shuffled copy."""
        return self._chance.sample(items, len(items))

    async def run_committer(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """In the committer's thread."""
        return await self._run("committer", self._committer, call, *args)

    async def run_body(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """In one of the body threads."""
        return await self._run("body", self._body, call, *args)

    async def run_document(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """In the document thread."""
        return await self._run("document", self._document, call, *args)

    def cpu_seconds(self) -> float:
        """Processor time of this process."""
        return time.process_time()

    async def _run(self, worker: str, limiter: trio.CapacityLimiter, call: Callable[[*Ts], T], *args: *Ts) -> T:
        self._on_hop(worker)
        return await trio.to_thread.run_sync(call, *args, limiter=limiter)

    def _kernel_is_synchronised(self) -> bool:
        """adjtimex(2) with no modes set only reads; a sandbox may forbid even that."""
        if self._adjtimex is None:
            return False
        state: int = self._adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        return 0 <= state < _TIME_ERROR
