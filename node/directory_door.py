"""The one door through which anything enters the directory: judged a little at a time, then durable.

Obeys DESIGN §1 and §3. One at a time, so that a heap can be judged with pauses while nothing else
changes the directory: imports of operators, what reconciliation brings, what a hello tells, and
pending versions whose day is over. Judging itself is `protocol/directory_import.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from node.clock import ClockWatch
from node.directory import Directory
from node.environment import Environment
from node.logs import Log
from node.pump import Pump
from node.tasks import Ready, in_slices
from protocol.checkpoint import Fork, check_fork, read_fork
from protocol.directory_file import read_file
from protocol.directory_import import KEPT_IN_LOG, Imported
from protocol.directory_pending import Due
from protocol.errors import StoreError, TrucError
from protocol.record import Change
from protocol.step import Recorded

THINGS_AT_ONCE: Final = 3
"""Judged between two pauses: about a millisecond."""
TOLD_MAX: Final = 1_000
"""Node records that peers told and that wait to be judged; more are dropped, reconciliation brings them."""


class Door:
    """Belongs to the loop."""

    def __init__(
        self, *, pump: Pump, directory: Directory, clock: ClockWatch, environment: Environment, log: Log
    ) -> None:
        self._pump: Final = pump
        self._directory: Final = directory
        self._clock: Final = clock
        self._environment: Final = environment
        self._log: Final = log
        self._lock: Final = trio.Lock()
        self._told_in, self._told_out = trio.open_memory_channel[tuple[str, bytes]](TOLD_MAX)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Take in what peers told, until cancelled."""
        task_status.started()
        async for centre, wire in self._told_out:
            try:
                await self.take([wire])
            except StoreError as error:
                self._log.info("not_taken", centre=centre, code=error.code)

    def tell(self, centre: str, wire: bytes) -> None:
        """A peer told its node record; go on at once."""
        try:
            self._told_in.send_nowait((centre, wire))
        except trio.WouldBlock:
            self._log.info("not_taken", centre=centre, code="busy")

    async def take(
        self, wires: Sequence[bytes], *, more: Callable[[Imported], Sequence[Change]] | None = None
    ) -> Imported:
        """Judge signed things, and return when what is believed is durable. `more` is committed with it.

        Raises:
            StoreError: the disk does not take it.
        """
        async with self._lock:
            imported = await self._judge(wires)
            changes = (*imported.changes, *(() if more is None else more(imported)))
            if changes:
                await self._pump.ask(Recorded(changes=changes, why="directory"))
        return imported

    async def take_file(self, file: bytes, *, more: Callable[[Imported], Sequence[Change]]) -> Imported:
        """As `take`, for the bytes of a directory file. Raises: also FormatError, as `read_file`."""
        return await self.take(read_file(file), more=more)

    async def take_given(self, wires: Sequence[bytes]) -> list[TrucError]:
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
                    await self._take_fork(proof)
            except StoreError:
                raise
            except TrucError as error:
                errors.append(error)
        imported = await self.take(things)
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

    async def _judge(self, wires: Sequence[bytes]) -> Imported:
        now_ms, trusted = self._environment.now_ms(), self._clock.trusted
        return await in_slices(self._directory.take_steps(wires, now_ms, clock_trusted=trusted), THINGS_AT_ONCE)

    async def _take_fork(self, proof: Fork) -> None:
        claim = check_fork(proof)
        async with self._lock:
            changes = self._directory.take_fork(claim.first, claim.second, self._environment.now_ms())
            if changes:
                await self._pump.ask(Recorded(changes=changes, why="fork"))
