"""Everything that moves the directory, put together for one node and started in order.

Obeys DESIGN §5. The parts: the index of what is known, the door through which things enter, answers to
peers, whom to ask, days of pending versions, alarms, freshness. Each is a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import trio

from node.announcements import Announcements
from node.clock import ClockWatch
from node.conduct import Conducts
from node.directory import Directory
from node.directory_alarms import DirectoryAlarms
from node.directory_days import Days
from node.directory_door import Door
from node.directory_export import DirectoryExport
from node.directory_feed import DirectoryFeed
from node.directory_index import DirectoryIndex
from node.directory_known import DirectoryKnown
from node.directory_readers import ChildReaders
from node.directory_search import DirectorySearch
from node.directory_server import DirectoryServer
from node.directory_session import DirectorySession
from node.directory_sync import DirectorySync
from node.directory_telling import DirectoryTelling
from node.environment import Environment
from node.freshness import Freshness
from node.logs import Log
from node.metrics import Metrics
from node.pump import Pump
from node.scheduler import Scheduler
from node.tasks import Ready, start
from node.transport import Transport
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFork,
    DirectoryHistory,
    DirectoryNumber,
    DirectoryPending,
)
from protocol.record import Delete, Put
from protocol.step import Step
from storage.store import Store

WATCHED: Final = frozenset(
    {DirectoryNumber, DirectoryHistory, DirectoryFork, DirectoryAlias, DirectoryPending}
)
"""Kinds of records that the parts below keep in mind."""


class DirectoryRoom:
    """The parts, by name."""

    def __init__(
        self,
        *,
        pump: Pump,
        directory: Directory,
        store: Store,
        transport: Transport,
        scheduler: Scheduler,
        clock: ClockWatch,
        conducts: Conducts,
        environment: Environment,
        metrics: Metrics,
        log: Log,
        centre: str,
        stop_when_old: bool,
        announce: bool,
        unaware: Callable[[], list[str]],
        tell_heads: Callable[[Collection[str]], None],
        child_readers: bool = False,
    ) -> None:
        self.index: Final = DirectoryIndex(directory, store.committed, environment, log)
        self.readers: Final = ChildReaders(log, environment) if child_readers else None
        self.door: Final = Door(
            pump=pump, directory=directory, clock=clock, environment=environment, log=log, readers=self.readers
        )
        self.days: Final = Days(
            pump=pump, door=self.door, scheduler=scheduler, clock=clock, environment=environment, log=log
        )
        self.alarms: Final = DirectoryAlarms(
            directory=directory, records=store.committed, environment=environment, log=log, centre=centre
        )
        self.freshness: Final = Freshness(
            index=self.index,
            directory=directory,
            records=store.committed,
            environment=environment,
            centre=centre,
            stop_when_old=stop_when_old,
        )
        self.search: Final = DirectorySearch(store.committed, environment, log, self.index.built)
        self.feed: Final = DirectoryFeed(store)
        self.export: Final = DirectoryExport(store, environment)
        known = DirectoryKnown(self.index, directory, environment)
        self.server: Final = DirectoryServer(
            kept=known, index=self.index, environment=environment, metrics=metrics
        )
        self.sync: Final = DirectorySync(
            index=self.index,
            session=DirectorySession(
                known=known,
                index=self.index,
                door=self.door,
                transport=transport,
                metrics=metrics,
                environment=environment,
            ),
            is_connected=transport.is_connected,
            conducts=conducts,
            environment=environment,
            log=log,
            own=centre,
            on_level=self.days.level,
        )
        self.telling: Final = DirectoryTelling(
            index=self.index,
            at_rest=self.sync.at_rest,
            unaware=unaware,
            says=self.sync.says,
            tell=tell_heads,
            environment=environment,
            announced=announce,
        )
        self.door.on_taken.append(self.telling.taken)
        self.announcements: Final = Announcements(
            transport=transport,
            index=self.index,
            door=self.door,
            on_heads=self.sync.heard,
            conducts=conducts,
            clock=clock,
            environment=environment,
            metrics=metrics,
            log=log,
            own=centre,
            enabled=announce,
        )
        self._listeners: Final = (
            self.index.notice,
            self.days.notice,
            self.alarms.notice,
            self.sync.notice,
            self.search.notice,
            self.feed.notice,
        )
        pump.after_batch.append(self._notice)

    def _notice(self, step: Step) -> None:
        """A step is durable; almost none concerns the directory, so one look decides for all who listen."""
        if any(map(_concerns, step.changes)):
            for listener in self._listeners:
                listener(step)

    def keep(self, centres: Collection[str]) -> None:
        """Exactly these centres are admitted now."""
        self.sync.keep(centres)
        self.server.keep(centres)
        self.announcements.keep(centres)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Run all of them until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.readers is not None:
                await start(nursery, self.readers.run)
            await start(nursery, self.door.run)
            await start(nursery, self.index.run)
            await start(nursery, self.days.run)
            await start(nursery, self.sync.run)
            await start(nursery, self.announcements.run)
            await start(nursery, self.telling.run)
            await start(nursery, self.search.run)
            nursery.start_soon(self.alarms.build)
            task_status.started()


def _concerns(change: Any) -> bool:
    if isinstance(change, Put):
        return type(change.record) in WATCHED
    return isinstance(change, Delete) and change.record in WATCHED
