"""Takes in a heap of directory things, however large: read ahead by workers, judged in parts, each durable before the next.

Obeys `protocol/spec/directory.md` §7 and `protocol/spec/trust.md` §7: what is believed in the end is the same as
if the heap had been judged at once. First versions of records, nearly all of a nation, take the short way
(`protocol/directory_plain.py`); whatever is not as plain, the long one (`protocol/directory_import.py`). A crash in
the middle loses the part under way; the heap may come again, what is known costs a look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from node.committer import Ticket
from node.directory import Directory
from node.directory_reader import Read, Written
from node.directory_readers import Readers
from node.environment import Environment
from node.pump import Pump
from protocol.directory_import import Imported, Patience
from protocol.directory_plain import ROOTS, Place, Plain, PlainCourt, Proof, rows_of_plain
from protocol.entitlement import Registrar
from protocol.limits import DIRECTORY_PASSES_MAX
from protocol.record import Put
from protocol.step import Recorded

HEAP: Final = 4_096
"""Things read ahead and put into order at once: about six megabytes."""
STEP: Final = 64
"""Records in one step: two hundred writes, about a millisecond to hand over."""
STEPS_WAITING_MAX: Final = 16
"""Steps handed over and not yet durable; the committer writes several at once."""
JUDGED_AT_ONCE: Final = 16
"""Judged between two pauses: half a millisecond."""
PART: Final = 128
"""Things that take the long way, in one step."""
PROOFS_IN_WORKERS: Final = 8
"""Signatures from which on workers verify them; fewer take a millisecond."""

Judge = Callable[[Sequence[bytes], Patience | None], Awaitable[Imported]]
"""Judges things the long way and returns when what is believed is durable."""


@dataclass(slots=True)
class _Heap:
    """What came of a heap so far."""

    first: list[str] = field(default_factory=list)
    already: int = 0
    parts: list[Imported] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)
    patience: Patience = field(default_factory=Patience)
    rejected: Imported | None = None

    @property
    def progress(self) -> int:
        """Grows when something is believed."""
        return len(self.first) + sum(
            len(part.accepted) + len(part.checkpoints) + len(part.heartbeats) for part in self.parts
        )


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
        async for part, reads in self._read(await self._in_order(wires)):
            await self._take_part(part, reads, heap)
        rejected = await self._take_waiting(heap)
        return _together(heap, rejected)

    # --- order --------------------------------------------------------------------------------

    async def _in_order(self, wires: Sequence[bytes]) -> list[list[bytes]]:
        """The things in parts, by their dates and then from above; what cannot be read comes last."""
        if len(wires) <= HEAP:
            return [list(wires)]
        places: dict[Place, list[bytes]] = {}
        unreadable: list[bytes] = []
        for wire, place in zip(wires, await self._readers.places(wires), strict=True):
            (unreadable if place is None else places.setdefault(place, [])).append(wire)
        ordered = [wire for place in sorted(places) for wire in places[place]]
        return list(_cut([*ordered, *unreadable], HEAP))

    async def _read(self, parts: Sequence[list[bytes]]) -> AsyncParts:
        """Each part with what was read of it, while the part before is judged."""
        raise NotImplementedError
