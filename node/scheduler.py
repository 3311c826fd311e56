"""One task that sleeps to the least durable deadline and hands over what has fallen due.

Obeys DESIGN §4 ("one scheduler task sleeps to the least deadline"). What is due stands in the
`Deadline` index; what it means is decided in `protocol/retention.py`. What follows from records
that are no deadlines of a consignment asks to be called (`at`): it is asked for again after a start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from node.environment import Environment
from node.pump import Pump
from node.tasks import Ready
from protocol.errors import StoreError
from protocol.record import Put
from protocol.records import Deadline
from protocol.step import DeadlineReached, Step

DUE_MAX: Final = 256
"""Deadlines decided in one step."""
SLEEP_MAX_S: Final = 3_600
"""The wall clock may be set while we sleep on the monotonic one."""
READ_ONLY_PAUSE_S: Final = 10


class Scheduler:
    """Wakes for the earliest deadline, and earlier when a step brings an earlier one."""

    def __init__(self, pump: Pump, environment: Environment) -> None:
        self._pump: Final = pump
        self._environment: Final = environment
        self._earlier = trio.Event()
        self._next_ms = 0
        self._calls: dict[str, tuple[int, Callable[[], None]]] = {}
        pump.after_batch.append(self._notice)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Decide what falls due until cancelled."""
        task_status.started()
        while True:
            self._earlier = trio.Event()
            due = self._due()
            if due:
                await self._decide(due)
            else:
                await self._sleep()

    def at(self, name: str, at_ms: int, call: Callable[[], None]) -> None:
        """Call this at that moment (wall clock), on the loop; in the place of what had this name."""
        self._calls[name] = (at_ms, call)
        if at_ms < self._next_ms:
            self._earlier.set()

    def _call(self, now_ms: int) -> None:
        """What others wanted to be called for by now."""
        due = [name for name, (at_ms, _) in self._calls.items() if at_ms <= now_ms]
        for name in due:
            self._calls.pop(name)[1]()

    def _due(self) -> tuple[tuple[int, int, bytes], ...]:
        records, now_ms = self._pump.view.records, self._environment.now_ms()
        self._call(now_ms)
        first = records.scan(Deadline, limit=1)
        least_ms = first[0].at_ms if first else 2**63
        self._next_ms = min((least_ms, *(at_ms for at_ms, _ in self._calls.values())))
        if least_ms > now_ms:
            return ()  # asked with almost every document: nothing else is read
        found = records.scan(Deadline, limit=DUE_MAX)
        return tuple((entry.at_ms, entry.what, entry.subject) for entry in found if entry.at_ms <= now_ms)

    async def _decide(self, due: tuple[tuple[int, int, bytes], ...]) -> None:
        try:
            await self._pump.ask(DeadlineReached(due=due))
        except StoreError:
            await trio.sleep(READ_ONLY_PAUSE_S)  # the disk takes nothing; what is due stays due

    async def _sleep(self) -> None:
        wait_s = max(0.0, (self._next_ms - self._environment.now_ms()) / 1000)
        with trio.move_on_after(min(wait_s, SLEEP_MAX_S)):
            await self._earlier.wait()

    def _notice(self, step: Step) -> None:
        for change in step.changes:
            if isinstance(change, Put) and isinstance(change.record, Deadline) and change.record.at_ms < self._next_ms:
                self._earlier.set()
                return
