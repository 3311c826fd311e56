"""Sweeps what nobody needs any more, after the node is ready and then once an hour.

Obeys DESIGN §6 ("orphans swept after ready") and DECISIONS "Retention". Nothing here decides
that a body may go: that was decided with its record (`protocol/retention.py`); this room only
finds files, segments and partial bodies that no record names, and events that are too old.
"""

from __future__ import annotations

from typing import Final

import trio

from node.arriving import pull_token
from node.environment import Environment
from node.logs import Log
from node.pump import Pump
from node.tasks import Ready
from node.upload_stream import TOKEN_MARK
from protocol.errors import StoreError
from protocol.limits import DAY_MS
from protocol.record import Body, Delete
from protocol.records import Happening, Pull
from protocol.step import Recorded
from storage.store import Store

EVERY_S: Final = 3_600
EVENTS_KEPT_MS: Final = 35 * DAY_MS
"""DECISIONS: events are kept 35 days."""
SLICE: Final = 256
UNDER_WAY_MAX: Final = 100_000
"""Pulls under way; far above what windows and quotas let in."""


class Housekeeping:
    """One pass after the other, each in small slices."""

    def __init__(self, *, pump: Pump, store: Store, environment: Environment, log: Log) -> None:
        self._pump: Final = pump
        self._store: Final = store
        self._environment: Final = environment
        self._log: Final = log

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                self._log.warning("sweep_failed", code=error.code)
            await trio.sleep(EVERY_S)  # the hour is the deadline; nothing waits for a sweep

    async def sweep(self) -> None:
        """One pass.

        Raises:
            StoreError: the disk does not answer; the next pass begins anew.
        """
        await self._partial_bodies()
        await self._orphans()
        await self._old_events()
        await self._segments()

    async def _partial_bodies(self) -> None:
        """Partly arrived bodies that no pull remembers; those of uploads are `node/uploads.py`'s."""
        # Listed before the pulls are read: what begins in between has its record, and is not in the list.
        tokens = await self._environment.run_body(self._store.bodies.partial_tokens)
        pulls = self._pump.view.records.scan(Pull, limit=UNDER_WAY_MAX)
        known = {pull_token(pull.centre, part.digest) for pull in pulls for part in pull.parts}
        for token in tokens:
            if token not in known and not token.startswith(TOKEN_MARK):
                await self._environment.run_body(self._store.bodies.drop_partial, token)

    async def _orphans(self) -> None:
        """Files of large bodies that no record names: a crash came between file and record."""
        slices = self._store.bodies.file_digests(SLICE)
        while digests := await self._environment.run_body(next, slices, None):
            for digest in digests:
                if self._pump.view.records.get(Body, digest) is None:
                    await self._environment.run_body(self._store.discard, digest)

    async def _old_events(self) -> None:
        before_ms = self._pump.here().now_ms - EVENTS_KEPT_MS
        while self._pump.here().clock_trusted:
            found = self._pump.view.records.scan(Happening, limit=SLICE)
            old = [event for event in found if event.time_ms < before_ms]
            if old:
                changes = tuple(Delete(Happening, (event.sequence,)) for event in old)
                await self._pump.ask(Recorded(changes=changes, why="old events"))
            if len(old) < SLICE:
                return

    async def _segments(self) -> None:
        """Delete empty segments, move what lives in sparse ones; between two batches."""
        for segment in await self._environment.run_committer(self._store.sweep_segments):
            after: bytes | None = b""
            while after is not None:
                after = await self._environment.run_committer(self._store.compact, segment, after)
