"""Lets pending versions come into force when their day is over.

Obeys `protocol/spec/trust.md` §5: not by a clock that is not trusted, and not before this node, after the day,
found that it knows what some peer knows. Sleeps to the next moment; nothing polls. What becomes of
them is `protocol/directory_pending.py`.
"""

from __future__ import annotations

from typing import Final

import trio

from node.clock import SETTLED_MS, ClockWatch
from node.directory_door import Door
from node.environment import Environment
from node.logs import Log
from node.pump import Pump
from node.scheduler import READ_ONLY_PAUSE_S, Scheduler
from node.tasks import Bell, Ready
from protocol.directory_kinds import DirectoryDue, DirectoryPending
from protocol.directory_pending import Due
from protocol.errors import StoreError
from protocol.record import Put
from protocol.step import Step

NAME: Final = "pending versions"


class Days:
    """Belongs to the loop."""

    def __init__(
        self, *, pump: Pump, door: Door, scheduler: Scheduler, clock: ClockWatch, environment: Environment, log: Log
    ) -> None:
        self._pump: Final = pump
        self._door: Final = door
        self._scheduler: Final = scheduler
        self._clock: Final = clock
        self._environment: Final = environment
        self._log: Final = log
        self._bell: Final = Bell()
        self._waits_for_clock = False
        self._waits_for_peer = False
        self.heard_ms = 0
        """When this node last found that it knows what some peer knows; wall clock."""

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Let them come into force until cancelled."""
        task_status.started()
        while True:
            news = self._bell.next
            try:
                due = await self._door.due(self.heard_ms)
            except StoreError:
                await trio.sleep(READ_ONLY_PAUSE_S)  # the disk takes nothing; what is due stays due
                continue
            self._tell(due)
            if not self._is_more(due):
                await news.wait()

    def level(self, at_ms: int) -> None:
        """At this moment this node knew what some peer knew."""
        if self._clock.trusted and at_ms > self.heard_ms:
            self.heard_ms = at_ms
            if self._waits_for_peer:
                self._bell.ring()

    def time_heard(self) -> None:
        """A peer said what time it is: the clock may be trusted again."""
        if self._waits_for_clock and self._clock.trusted:
            self._bell.ring()

    def _is_more(self, due: Due) -> bool:
        """Whether to ask again at once; else what it waits for is arranged."""
        now_ms = self._environment.now_ms()
        if due.next_ms is not None and due.next_ms <= now_ms:
            return True
        waits = bool(self._pump.view.records.scan(DirectoryDue, limit=1))
        self._waits_for_clock = waits and not self._clock.trusted
        self._waits_for_peer = waits and due.next_ms is None and not self._waits_for_clock
        if due.next_ms is not None:
            self._scheduler.at(NAME, due.next_ms, self._bell.ring)
        elif self._waits_for_clock:  # where no peer is heard, the system may have settled it by then
            self._scheduler.at(NAME, now_ms + SETTLED_MS, self._bell.ring)
        return False

    def notice(self, step: Step) -> None:
        """A step is durable; perhaps something waits for its day now."""
        if any(isinstance(change, Put) and isinstance(change.record, DirectoryPending) for change in step.changes):
            self._bell.ring()

    def _tell(self, due: Due) -> None:
        for ended in due.ended:
            event = "pending_in_force" if ended.in_force else "pending_aside"
            self._log.warning(event, subject=ended.subject.name.lower(), code=ended.code, digest=ended.digest)
