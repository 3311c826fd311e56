"""Takes in a heap of directory things, however large: read ahead by workers, judged and durable part by part.

Obeys `protocol/spec/directory.md` §7 and `protocol/spec/trust.md` §7: what is believed in the end is the same as
if the heap had been judged at once. First versions of records, nearly all of a nation, take the short way
(`protocol/directory_plain.py`); whatever is not as plain, the long one (`protocol/directory_import.py`). A crash in
the middle loses the part under way; the heap may come again, what is known costs a look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import trio

from node.committer import Ticket
from node.directory import Directory
from node.directory_reader import Read, Written
from node.directory_readers import Readers
from node.environment import BODY_THREADS, Environment
from node.pump import Pump
from node.tasks import in_slices
from protocol.court import Accepted
from protocol.directory_import import Imported, Patience, Rejected
from protocol.directory_plain import ROOTS, Place, Plain, PlainCourt, Proof, rows_of_plain
from protocol.entitlement import Registrar
from protocol.errors import StoreError
from protocol.limits import DIRECTORY_PASSES_MAX
from protocol.record import Put
from protocol.step import Recorded

HEAP: Final = 1_024
"""Things read ahead and put into order at once, while as many are judged: about three megabytes."""
SHORT_WAY: Final = 256
"""Things from which on first versions take the short way, as most pages of a registrar's log do; below it everything
is told one by one."""
STEP_CHANGES: Final = 200
"""Writes in one step: sixty records, about a millisecond to hand over."""
STEPS_WAITING_MAX: Final = 16
"""Steps handed over and not yet durable; the committer writes several at once."""
JUDGED_AT_ONCE: Final = 16
"""Judged between two pauses: half a millisecond."""
PART: Final = 128
"""Things that take the long way, in one step."""
PROOFS_IN_WORKERS: Final = 8
"""Signatures from which on workers verify them; fewer take a millisecond."""

TOLD_MAX: Final = 1_000
"""Accepted things that are given back whole, with what they say; of further ones the names."""

T = TypeVar("T")
Wanted = tuple[str, Registrar, Proof]
Judge = Callable[[Sequence[bytes], Patience | None], Awaitable[Imported]]
"""Judges things the long way and returns when what is believed is durable."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Things, and what was read of them as if they were believed at `now_ms`."""

    wires: Sequence[bytes]
    reads: Sequence[Read]
    now_ms: int


@dataclass(slots=True)
class _Heap:
    """What came of a heap so far. `first` names the records of which a first version was believed."""

    first: list[str] = field(default_factory=list)
    already: int = 0
    parts: list[Imported] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)
    patience: Patience = field(default_factory=Patience)

    @property
    def progress(self) -> int:
        """Grows when something is believed."""
        return len(self.first) + sum(
            len(part.accepted) + len(part.again) + len(part.checkpoints) + len(part.heartbeats) for part in self.parts
        )

    def note(self, imported: Imported) -> None:
        """One more part was judged; what was believed only in passing is kept by name."""
        names = tuple(f"{item.subject.name.lower()} {item.code}".strip() for item in imported.accepted)
        if sum(len(part.accepted) for part in self.parts) >= TOLD_MAX:
            self.first += names
            imported = replace(imported, accepted=())
        self.parts.append(replace(imported, changes=()))


class Bulk:
    """Belongs to the loop. `lock` is that of the door: held for one part at a time."""

    def __init__(
        self,
        *,
        pump: Pump,
        directory: Directory,
        readers: Readers,
        environment: Environment,
        lock: trio.Lock,
        judge: Judge,
    ) -> None:
        self._pump: Final = pump
        self._directory: Final = directory
        self._readers: Final = readers
        self._environment: Final = environment
        self._lock: Final = lock
        self._judge: Final = judge

    async def take(self, wires: Sequence[bytes]) -> Imported:
        """Take in all of it.

        Raises:
            StoreError: the disk does not take it; what was durable before stays.
        """
        heap = _Heap()
        roots, others = await self._in_order(wires)
        await self._judge_long(roots, heap)
        if len(others) < SHORT_WAY:
            await self._judge_long(others, heap)
        else:
            await self._take_parts(list(_cut(others, HEAP)), heap)
        return _together(heap, await self._take_waiting(heap))

    # --- order --------------------------------------------------------------------------------

    async def _in_order(self, wires: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """The roots, and all else by its date and then from above; what cannot be read comes last."""
        places: dict[Place, list[bytes]] = {ROOTS: []}
        unreadable: list[bytes] = []
        for number, (wire, place) in enumerate(zip(wires, await self._readers.places(wires), strict=True)):
            (unreadable if place is None else places.setdefault(place, [])).append(wire)
            if number % HEAP == 0:
                await trio.lowlevel.checkpoint()
        roots = places.pop(ROOTS)
        return roots, [*(wire for place in sorted(places) for wire in places[place]), *unreadable]

    async def _take_parts(self, parts: Sequence[Sequence[bytes]], heap: _Heap) -> None:
        """Judge each part while the next one is read."""
        failed: StoreError | None = None
        give, take = trio.open_memory_channel[_Part](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_parts, parts, give)
            async for part in take:
                try:
                    await self._take_part(part, heap)
                except StoreError as error:
                    failed = error
                    nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _read_parts(self, parts: Sequence[Sequence[bytes]], give: trio.MemorySendChannel[_Part]) -> None:
        async with give:
            for wires in parts:
                now_ms = self._environment.now_ms()
                await give.send(_Part(wires, await self._readers.read(wires, now_ms), now_ms))

    # --- the short way ------------------------------------------------------------------------

    async def _take_part(self, part: _Part, heap: _Heap) -> None:
        """What is plain, then the rest, in the order of the heap."""
        rest = [wire for wire, read in zip(part.wires, part.reads, strict=True) if read is None]
        plain = [(*read, wire) for wire, read in zip(part.wires, part.reads, strict=True) if read is not None]
        plain.sort(key=lambda item: item[0].order)
        async with self._lock:
            rest += await self._take_plain(plain, part.now_ms, heap)
        await self._judge_long(rest, heap)

    async def _take_plain(self, plain: Sequence[tuple[Plain, Written, bytes]], now_ms: int, heap: _Heap) -> list[bytes]:
        """Take the first versions among these; the others are returned."""
        court = self._directory.plain_court(now_ms)
        await self._prove(court, [item for item, _, _ in plain])
        steps = _Steps(self._pump)
        rest: list[bytes] = []
        for number, (item, written, wire) in enumerate(plain):
            found = None if (item.format, item.code) in heap.patience.held else court.take(item)
            if found is not None:
                heap.first.append(f"{item.subject.name.lower()} {item.code}")
                rows = rows_of_plain(item, wire, now_ms)
                steps.add([*(Put(row, pair) for row, pair in zip(rows, written, strict=True)), *found])
                await steps.go_on(at_once=item.delegates)
            elif court.is_known(item):
                heap.already += 1
            else:
                rest.append(wire)
            if number % JUDGED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        await steps.finish()
        return rest

    async def _prove(self, court: PlainCourt, plain: Sequence[Plain]) -> None:
        """Have many signatures verified on both cores; a batch of thousands is one of them."""
        wanted = await in_slices(court.unproved(plain), JUDGED_AT_ONCE)
        if len(wanted) < PROOFS_IN_WORKERS:
            return

        async def verify(part: Sequence[Wanted]) -> None:
            court.note(await self._environment.run_body(court.verify, part))

        async with trio.open_nursery() as nursery:
            for part in _cut(wanted, max(1, -(-len(wanted) // BODY_THREADS))):
                nursery.start_soon(verify, part)

    # --- the long way -------------------------------------------------------------------------

    async def _judge_long(self, wires: Sequence[bytes], heap: _Heap) -> None:
        """Judge these once, in order, and keep those that may be believed later."""
        for part in _cut(wires, PART):
            imported = await self._judge(part, heap.patience)
            heap.note(imported)
            heap.waiting += [item.wire for item in imported.rejected if not item.is_final]

    async def _take_waiting(self, heap: _Heap) -> list[Rejected]:
        """As long as something is believed, judge again what was not; what is left in the end."""
        left: list[Rejected] = []
        for patient in (True, False):
            for _ in range(DIRECTORY_PASSES_MAX if heap.waiting else 0):
                before, waiting = heap.progress, heap.waiting
                heap.patience, heap.waiting, left = Patience(patient=patient), [], []
                for part in _cut(waiting, PART):
                    imported = await self._judge(part, heap.patience)
                    heap.note(imported)
                    left += [item for item in imported.rejected if not item.is_final]
                heap.waiting = [item.wire for item in left]
                if heap.progress == before:
                    break
        return left


class _Steps:
    """Hands over records in steps, so many of them on their way to the disk at once."""

    def __init__(self, pump: Pump) -> None:
        self._pump: Final = pump
        self._changes: list[Put] = []
        self._tickets: deque[Ticket] = deque()

    def add(self, changes: Sequence[Put]) -> None:
        """The changes of one record."""
        self._changes += changes

    async def go_on(self, *, at_once: bool) -> None:
        """Hand over what is enough for a step, or what others rest on. Raises: StoreError."""
        if at_once or len(self._changes) >= STEP_CHANGES:
            self._hand_over()
            while len(self._tickets) > STEPS_WAITING_MAX:
                await self._tickets.popleft().wait()

    async def finish(self) -> None:
        """Return when everything is durable. Raises: StoreError."""
        if self._changes:
            self._hand_over()
        while self._tickets:
            await self._tickets.popleft().wait()

    def _hand_over(self) -> None:
        changes, self._changes = tuple(self._changes), []
        self._tickets.append(self._pump.file(Recorded(changes=changes, why="directory")))


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _still_pending(parts: Sequence[Imported]) -> tuple[Accepted, ...]:
    """What a later part ended the waiting of does not wait."""
    over = {item.signed.digest for part in parts for item in part.again}
    return tuple(item for part in parts for item in part.pending if item.signed.digest not in over)


def _together(heap: _Heap, left: Sequence[Rejected]) -> Imported:
    parts = heap.parts
    return Imported(
        changes=(),
        accepted=tuple(item for part in parts for item in part.accepted),
        already=heap.already + sum(part.already for part in parts),
        rejected=(*(item for part in parts for item in part.rejected if item.is_final), *left),
        checkpoints=tuple(item for part in parts for item in part.checkpoints),
        heartbeats=tuple(item for part in parts for item in part.heartbeats),
        ended=tuple(item for part in parts for item in part.ended),
        again=tuple(item for part in parts for item in part.again),
        pending=_still_pending(parts),
        first=tuple(heap.first),
    )
