"""Group commit: steps become durable in the order they were made, and only then visible.

Obeys DESIGN §1. A batch starts when the last one ends and takes all that waits, up to its
bounds; there is no timer. The committer's worker signs the batch's statements, one signature
per format and signer, and writes. Effects leave in the order of the steps, each after its own
batch. What a step means is none of its business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import trio

from node.environment import Environment
from node.logs import Log
from node.metrics import Metrics
from node.tasks import Ready
from protocol.errors import StoreError, TrucError
from protocol.record import Change, Put, PutBody
from protocol.records import SealedHeader, Thing
from protocol.signing import Signer
from protocol.step import Step, ToSign
from protocol.step_signing import signed_changes
from storage.store import Store, Written

BATCH_STEPS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""DESIGN §1: what is handed over during one fsync stays well below both."""
BACKLOG_STEPS_MAX: Final = 4_000
BACKLOG_BYTES_MAX: Final = 4 * BATCH_BYTES_MAX
"""Readers of peers pause above either; local callers wait for their own steps anyway."""
GATHER_QUIET_TURNS: Final = 12
"""A request takes about five turns from the socket to its step; a turn without work costs 10 µs."""
GATHER_MS: Final = 50
"""A loop that never comes to rest writes as often as this: sixteen clients at 3 ms each."""
CAN_WAIT_S: Final = 0.1
"""How long a step that nobody waits for is kept for a batch that somebody does wait for. Without it
half of a recipient's batches only forget what was acknowledged, at one fsync each."""
READ_ONLY_PROBE_S: Final = 10
"""How often a node that went read-only tries whether the disk takes a batch again."""

SELF: Final = ""
"""The signer of statements that the centre signs itself."""


class Ticket:
    """A step on its way to the disk."""

    __slots__ = ("_done", "error", "reply", "size", "step", "ticket")

    def __init__(self, step: Step) -> None:
        self.ticket = 0
        self._done: trio.Event | bool = False
        self.stand_for(step)

    def stand_for(self, step: Step) -> None:
        """Be the ticket of this step; of another one than before when that was not handed over yet."""
        self.step = step
        self.size = sum(map(_size_of, step.changes))
        self.reply: Any = step.reply
        self.error: TrucError | None = step.error

    async def wait(self) -> Any:
        """The step's reply, once all that it was read from is durable.

        Raises:
            TrucError: the step's own error, or the `StoreError` that kept it from the disk.
        """
        if self._done is False:
            self._done = trio.Event()
        if self._done is not True:
            await self._done.wait()
        if self.error is not None:
            raise self.error
        return self.reply

    def resolve(self) -> None:
        """The step's batch is durable."""
        waiting, self._done = self._done, True
        if isinstance(waiting, trio.Event):
            waiting.set()

    def fail(self, error: TrucError) -> None:
        """The step's batch could not be written; nothing of it happened."""
        self.error = error
        self.resolve()


class Committer:
    """The only writer of a store."""

    def __init__(
        self,
        *,
        store: Store,
        environment: Environment,
        signers: Mapping[str, Signer],
        metrics: Metrics,
        log: Log,
        let_out: Callable[[Step], None],
        on_failure: Callable[[StoreError], None],
    ) -> None:
        """`let_out` is called with every step after its batch; `on_failure` after a batch was
        lost, when the overlay is already clean, and once more when the store takes batches again:
        sessions must be reset then, for what arrived in between was not taken."""
        self._store: Final = store
        self._environment: Final = environment
        self._signers: Final = signers
        self._metrics: Final = metrics
        self._log: Final = log
        self._let_out: Final = let_out
        self._on_failure: Final = on_failure
        self._waiting: deque[Ticket] = deque()
        self._work = trio.Event()
        self._room = trio.Event()
        self._waiting_bytes = 0
        self._urgent = False
        self._writing = False
        self._releasing = False
        self.read_only: StoreError | None = None

    def hand_over(self, step: Step, ticket: Ticket | None = None) -> Ticket:
        """Overlay the step's changes and queue it. Called in the same breath in which the step
        was computed, so that the next step reads what this one wrote. `ticket`: one that is out already.

        Raises:
            StoreError: `store_read_only`.
        """
        if ticket is None:
            ticket = Ticket(step)
        else:
            ticket.stand_for(step)
        if self.read_only is not None and step.changes:
            raise StoreError("store_read_only", reason=self.read_only.code)
        if not step.changes and not self._waiting and not self._writing and not self._releasing:
            self._release([ticket])  # nothing is under way that it could have been read from
            return ticket
        staged = [change for change in step.changes if not isinstance(change, ToSign)]
        ticket.ticket = self._store.view.stage(staged)
        self._waiting.append(ticket)
        self._waiting_bytes += ticket.size
        if not step.can_wait:
            self._urgent = True
        self._work.set()
        return ticket

    @property
    def backlog(self) -> int:
        """Steps handed over and not yet durable."""
        return len(self._waiting)

    async def room(self) -> None:
        """Return when the backlog is small enough to read more from peers."""
        while len(self._waiting) > BACKLOG_STEPS_MAX or self._waiting_bytes > BACKLOG_BYTES_MAX:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Write batches until cancelled."""
        task_status.started()
        while True:
            await self._wait_for_work()
            await self._gather()
            batch = self._take_batch()
            if batch or self.read_only is not None:
                await self._commit(batch)
            self._room.set()

    async def _wait_for_work(self) -> None:
        """Return when something should not wait, when what can wait has waited long enough, or when a
        read-only store is to be tried again."""
        if not self._waiting:
            with trio.move_on_after(READ_ONLY_PROBE_S if self.read_only is not None else float("inf")):
                await self._news()
        with trio.move_on_after(CAN_WAIT_S):
            while self._waiting and not self._urgent:
                await self._news()
        await trio.lowlevel.checkpoint()

    async def _news(self) -> None:
        """Return when a step is handed over."""
        self._work = trio.Event()
        await self._work.wait()

    async def _gather(self) -> None:
        """Let tasks that are ready to run hand over what they have, as long as they do. No timer: an
        idle node begins to write after a few empty turns of the loop. Without it a batch begins before
        the next document of the same breath was made, and most batches hold one step."""
        quiet, end_ms = 0, self._environment.monotonic_ms() + GATHER_MS
        while quiet < GATHER_QUIET_TURNS and self._environment.monotonic_ms() < end_ms:
            before = len(self._waiting)
            await trio.lowlevel.checkpoint()
            quiet = 0 if len(self._waiting) > before else quiet + 1

    def _take_batch(self) -> list[Ticket]:
        batch: list[Ticket] = []
        size = 0
        while self._waiting and len(batch) < BATCH_STEPS_MAX:
            size += self._waiting[0].size
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        self._waiting_bytes -= sum(ticket.size for ticket in batch)
        self._urgent = any(not ticket.step.can_wait for ticket in self._waiting)
        return batch

    async def _commit(self, batch: list[Ticket]) -> None:
        changes = [change for ticket in batch for change in ticket.step.changes]
        written: Written | None = None
        started_ms = self._environment.monotonic_ms()
        self._writing = True
        try:
            if changes or self.read_only is not None:
                written = await self._environment.run_committer(self._write, changes)
                self._count(written, batch, started_ms)
        except StoreError as error:
            self._writing = False
            self._lose(batch, error)
            return
        finally:
            self._writing = False
        self._settle(batch)
        if written is not None and written.discarded:
            await self._environment.run_body(self._discard, written.discarded)

    def _settle(self, batch: list[Ticket]) -> None:
        was_read_only, self.read_only = self.read_only, None
        self._store.publish()
        if batch:
            self._store.view.settle(batch[-1].ticket)
        self._release(batch)
        if was_read_only is not None:
            self._log.info("store_writable")
            self._on_failure(was_read_only)

    def _release(self, tickets: Sequence[Ticket]) -> None:
        """Let effects out in order; a step that they lead to waits until all of these are out."""
        self._releasing = True
        try:
            for ticket in tickets:
                self._let_out(ticket.step)
                ticket.resolve()
        finally:
            self._releasing = False

    def _lose(self, batch: list[Ticket], error: StoreError) -> None:
        """A batch was lost: so is every step behind it, for it was read from what is not so."""
        self._metrics.commits_failed.inc()
        lost = [*batch, *self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        self._urgent = False
        self._store.view.forget_all()
        news = self.read_only is None or bool(lost)
        self.read_only = error
        for ticket in lost:
            ticket.fail(StoreError("commit_failed", reason=error.code))
        if news:
            self._log.error("commit_failed", code=error.code, steps=len(lost))
            self._on_failure(error)

    def _count(self, written: Written, batch: Sequence[Ticket], started_ms: int) -> None:
        self._metrics.commits.inc()
        self._metrics.commit_steps.observe(len(batch))
        self._metrics.commit_seconds.observe((self._environment.monotonic_ms() - started_ms) / 1000)
        self._metrics.fsyncs.inc(written.syncs)

    # --- in the worker ------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change | ToSign]) -> Written:
        return self._store.write(self._signed(changes), publish=False)

    def _signed(self, changes: Sequence[Change | ToSign]) -> list[Change]:
        signed, signatures = signed_changes(changes, self._signers)
        self._metrics.signatures.labels(operation="sign").inc(signatures)
        return signed

    def _discard(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            self._store.discard(digest)


def _size_of(change: Change | ToSign) -> int:
    """The bytes of what may be large in a batch: bodies, headers, signed things and what is to be signed."""
    if isinstance(change, ToSign):
        return len(change.statement) + len(change.before)
    if isinstance(change, PutBody):
        return len(change.blob)
    record = change.record if isinstance(change, Put) else None
    if isinstance(record, SealedHeader):
        return len(record.sealed)
    return len(record.wire) if isinstance(record, Thing) else 0
