"""The one door through which anything enters the directory: judged a little at a time, then durable.

Obeys DESIGN §1 and §3. One at a time, so that a heap can be judged with pauses while nothing else
changes the directory: imports of operators, what reconciliation brings, what a hello tells, and
pending versions whose day is over. Judging itself is `protocol/directory_import.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

import trio

from node.clock import ClockWatch
from node.directory import Directory
from node.directory_bulk import Bulk
from node.directory_readers import InlineReaders, Readers
from node.directory_roads import OnTaken, Road, Taken, news_of, news_of_fork
from node.environment import Environment
from node.logs import Log
from node.pump import Pump
from node.tasks import Ready, in_slices
from protocol.checkpoint import FORK, Fork, check_fork, read_fork
from protocol.directory_file import read_file
from protocol.directory_import import KEPT_IN_LOG, Imported, Patience, Rejected
from protocol.directory_pending import Due
from protocol.errors import FormatError, StoreError, TrucError
from protocol.record import Change
from protocol.step import Recorded

THINGS_AT_ONCE: Final = 3
"""Judged between two pauses: about a millisecond."""
HEAP_MIN: Final = 128
"""Things from which on a heap is taken in parts, each durable before the next."""
TOLD_AT_ONCE: Final = 16
"""New things written out for those who pass them on, between two pauses."""
TOLD_MAX: Final = 1_000
"""Node records that peers told and that wait to be judged; more are dropped, reconciliation brings them."""


class Door:
    """Belongs to the loop."""

    def __init__(
        self,
        *,
        pump: Pump,
        directory: Directory,
        clock: ClockWatch,
        environment: Environment,
        log: Log,
        readers: Readers | None = None,
    ) -> None:
        """`readers` read large heaps ahead; None: on the loop."""
        self._pump: Final = pump
        self._directory: Final = directory
        self._clock: Final = clock
        self._environment: Final = environment
        self._log: Final = log
        self._lock: Final = trio.Lock()
        self._bulk: Final = Bulk(
            pump=pump,
            directory=directory,
            readers=InlineReaders() if readers is None else readers,
            environment=environment,
            lock=self._lock,
            judge=self._take_at_once,
        )
        self.on_taken: Final[list[OnTaken]] = []
        """Told of what is new here, when it is durable."""
        self._told_in, self._told_out = trio.open_memory_channel[tuple[str, bytes]](TOLD_MAX)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Take in what peers told, until cancelled."""
        task_status.started()
        async for centre, wire in self._told_out:
            try:
                is_ours = centre == self._directory.own_centre
                await self.take([wire], road=Road.BROUGHT if is_ours else Road.TOLD)
            except StoreError as error:
                self._log.info("not_taken", centre=centre, code=error.code)

    @property
    def waiting(self) -> int:
        """Things that were told and are not judged yet."""
        return self._told_in.statistics().current_buffer_used

    def tell(self, centre: str, wire: bytes) -> None:
        """A peer told its node record; go on at once."""
        try:
            self._told_in.send_nowait((centre, wire))
        except trio.WouldBlock:
            self._log.info("not_taken", centre=centre, code="busy")

    async def take(
        self,
        wires: Sequence[bytes],
        *,
        more: Callable[[Imported], Sequence[Change]] | None = None,
        road: Road = Road.BROUGHT,
    ) -> Imported:
        """Judge signed things, and return when what is believed is durable. `more` is committed with it.

        Raises:
            StoreError: the disk does not take it.
        """
        if len(wires) > HEAP_MIN:
            imported = await self._bulk.take(wires)
            changes = () if more is None else tuple(more(imported))
            if changes:
                await self._pump.ask(Recorded(changes=changes, why="directory"))
        else:
            imported = await self._take_at_once(wires, more=more)
        news = await in_slices(news_of(imported), TOLD_AT_ONCE)
        self._tell(Taken(road=road, news=news, unnamed=len(imported.first)))
        return imported

    async def _take_at_once(
        self,
        wires: Sequence[bytes],
        patience: Patience | None = None,
        *,
        more: Callable[[Imported], Sequence[Change]] | None = None,
    ) -> Imported:
        """Judge a few things and make what is believed durable in one step."""
        async with self._lock:
            imported = await self._judge(wires, patience)
            changes = (*imported.changes, *(() if more is None else more(imported)))
            if changes:
                await self._pump.ask(Recorded(changes=changes, why="directory"))
        return imported

    async def take_file(self, file: bytes, *, more: Callable[[Imported], Sequence[Change]]) -> Imported:
        """As `take`, for the bytes of a directory file, in which fork proofs may be. Raises: also FormatError,
        as `read_file`."""
        things: list[bytes] = []
        forks: list[tuple[bytes, Fork]] = []
        for wire in read_file(file):
            proof = _fork_in(wire)
            if proof is None:
                things.append(wire)
            else:
                forks.append((wire, proof))
        imported = await self.take(things, more=more)
        rejected = [found for wire, proof in forks if (found := await self._not_taken(wire, proof)) is not None]
        return replace(imported, rejected=(*imported.rejected, *rejected))

    async def _not_taken(self, wire: bytes, proof: Fork) -> Rejected | None:
        try:
            await self._take_fork(proof, Road.BROUGHT)
        except StoreError:
            raise
        except TrucError as error:
            return Rejected(about=FORK.name, digest=sha256(wire).digest(), error=error)
        return None

    async def take_given(self, wires: Sequence[bytes], *, road: Road = Road.ASKED) -> list[TrucError]:
        """As `take`, for things and fork proofs that a peer gave; the errors of what is not kept.

        Raises:
            StoreError: the disk does not take it.
        """
        errors: list[TrucError] = []
        things: list[bytes] = []
        for wire in wires:
            try:
                proof = read_fork(wire)
                if proof is None:
                    things.append(wire)
                else:
                    await self._take_fork(proof, road)
            except StoreError:
                raise
            except TrucError as error:
                errors.append(error)
        imported = await self.take(things, road=road)
        return [*errors, *(item.error for item in imported.rejected if item.error.code not in KEPT_IN_LOG)]

    async def due(self, heard_ms: int) -> Due:
        """Let pending versions come into force whose day is over.

        Raises:
            StoreError: the disk does not take it.
        """
        async with self._lock:
            now_ms, trusted = self._environment.now_ms(), self._clock.trusted
            due = self._directory.due(now_ms, clock_trusted=trusted, heard_ms=heard_ms)
            if due.changes:
                await self._pump.ask(Recorded(changes=due.changes, why="directory due"))
        return due

    async def _judge(self, wires: Sequence[bytes], patience: Patience | None) -> Imported:
        now_ms, trusted = self._environment.now_ms(), self._clock.trusted
        steps = self._directory.take_steps(wires, now_ms, clock_trusted=trusted, patience=patience)
        return await in_slices(steps, THINGS_AT_ONCE)

    async def _take_fork(self, proof: Fork, road: Road) -> None:
        claim = check_fork(proof)
        async with self._lock:
            changes = self._directory.take_fork(claim.first, claim.second, self._environment.now_ms())
            if changes:
                await self._pump.ask(Recorded(changes=changes, why="fork"))
        if changes:
            self._tell(Taken(road=road, news=(news_of_fork(proof, self._environment.now_ms()),)))

    def _tell(self, taken: Taken) -> None:
        if taken.news or taken.unnamed:
            for listener in self.on_taken:
                listener(taken)


def _fork_in(wire: bytes) -> Fork | None:
    """The fork proof that this is; None for anything else, unreadable proofs among it."""
    try:
        return read_fork(wire)
    except FormatError:
        return None
