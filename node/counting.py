"""Turns what happened into numbers: document counts, peers, space, and how late the loop wakes.

Obeys DESIGN §1 (loop lag is a metric) and §7. Counts of documents follow the same events as the
log lines, so both tell one story; depths and space are read when somebody asks for the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from node.environment import Environment
from node.metrics import Metrics
from node.pump import Pump
from node.tasks import Ready
from protocol.delivery import RecipientState, SenderState
from protocol.record import Records
from protocol.records import IN, Queued
from protocol.step import Event, SendNotNow, StateChanged, Step

LAG_EVERY_S: Final = 10
"""One look at the loop's lag; a deadline of its own costs nothing in between."""
QUEUES_READ_MAX: Final = 10_000
"""Queues (recipient and lane) looked through for the depth; a node has some hundreds."""

_ARRIVED: Final = RecipientState.ARRIVED.name.lower()
_SETTLED: Final = {state.name.lower() for state in SenderState if state >= SenderState.REFUSED} | {
    SenderState.ARRIVED.name.lower()
}


class Counting:
    """Listens to the pump; asks the rest when scraped."""

    def __init__(
        self,
        *,
        pump: Pump,
        metrics: Metrics,
        records: Records,
        environment: Environment,
        peer_states: Callable[[], dict[str, int]],
        free_bytes: Callable[[], int],
        verifications: Callable[[], int],
    ) -> None:
        """`verifications` tells how many public-key operations were done so far to verify."""
        self._metrics: Final = metrics
        self._records: Final = records
        self._environment: Final = environment
        self._peer_states: Final = peer_states
        self._verifications: Final = verifications
        self._verified = 0
        pump.listeners.append(self._count)
        pump.after_batch.append(self._count_step)
        metrics.disk_free_bytes.set_function(free_bytes)
        for lane in range(4):
            metrics.queue_depth.labels(lane=lane).set_function(partial(self._depth, lane))
        for state in ("up", "connected", "dialling", "waiting", "down", "new"):
            metrics.peers.labels(state=state).set_function(partial(self._peers_in, state))

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Measure the loop's lag until cancelled."""
        task_status.started()
        while True:
            before_ms = self._environment.monotonic_ms()
            await trio.sleep(LAG_EVERY_S)
            late_ms = self._environment.monotonic_ms() - before_ms - LAG_EVERY_S * 1000
            self._metrics.loop_lag_seconds.observe(max(0, late_ms) / 1000)

    def _count(self, event: Event) -> None:
        if not isinstance(event, StateChanged):
            return
        if event.box == IN:
            self._count_incoming(event)
        elif event.state in _SETTLED and event.before != event.state:
            self._metrics.consignments_settled.labels(outcome=event.state).inc()
        if event.box != IN and event.code.isdigit():
            self._metrics.receipts_settled.labels(status=event.code).inc()

    def _count_incoming(self, event: StateChanged) -> None:
        if event.state == "refused":
            self._metrics.consignments_refused.labels(code=event.code).inc()
            return
        if event.state == _ARRIVED and not event.code:
            self._metrics.consignments_accepted.inc()
        self._metrics.receipts_made.labels(status=event.code or "01").inc()

    def _count_step(self, step: Step) -> None:
        verified = self._verifications()
        self._metrics.signatures.labels(operation="verify").inc(verified - self._verified)
        self._verified = verified
        for send in step.sends:
            if isinstance(send, SendNotNow):
                self._metrics.offers_deferred.labels(code=send.code).inc()

    def _peers_in(self, state: str) -> int:
        return self._peer_states().get(state, 0)

    def _depth(self, lane: int) -> int:
        queues = self._records.scan(Queued, limit=QUEUES_READ_MAX)
        return sum(queue.count for queue in queues if queue.lane == lane)
