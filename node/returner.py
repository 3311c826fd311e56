"""Brings receipts and refusals to the issuers' nodes until they are acknowledged.

Obeys DESIGN §4 ("stays owed, indexed by issuer code, until acked"). A new receipt leaves with
its own batch; this room goes through what is still owed when a peer comes up, or when receipts found no
room on their link, a bounded number at a time and a bounded piece between two turns of the
loop. Like the sender it keeps nothing that a restart could lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import trio

from node.pump import Pump
from node.tasks import Ready
from protocol.errors import StoreError
from protocol.records import Return
from protocol.sending import is_due
from protocol.step import Acked, Event, ReturnsDue

WINDOW: Final = 256
"""Returned things under way to one peer from here; a receipt is about half a kilobyte."""
SLICE: Final = 32
"""Owed things read at once: some hundred microseconds."""


class Returner:
    """Goes through what is owed to each reachable peer, once per connection."""

    def __init__(self, pump: Pump, host_of: Callable[[str], str | None]) -> None:
        """`host_of` tells the centre that hosts an agency now."""
        self._pump: Final = pump
        self._host_of: Final = host_of
        self._owed: dict[str, Iterator[Return | None]] = {}
        self._flying: dict[str, set[bytes]] = {}
        self._work = trio.Event()
        pump.listeners.append(self._listen)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Bring what is owed until cancelled."""
        task_status.started()
        while True:
            self._work = trio.Event()
            for centre in list(self._owed):
                await self._bring(centre)
            await self._work.wait()

    def peer_up(self, centre: str) -> None:
        """Begin with what is owed to issuers at this centre."""
        self._owed[centre] = self._all_for(centre)
        self._flying[centre] = set()
        self._work.set()

    def again(self, centre: str) -> None:
        """There is room again on the link of this centre, if it still has one."""
        if centre in self._flying:
            self.peer_up(centre)

    def peer_down(self, centre: str) -> None:
        """Forget how far we were; all of it is still owed."""
        self._owed.pop(centre, None)
        self._flying.pop(centre, None)

    def hosts_changed(self) -> None:
        """Issuers may have moved: look again at what is owed to whom."""
        for centre in list(self._flying):
            self.peer_up(centre)

    def _listen(self, event: Event) -> None:
        if isinstance(event, Acked) and event.centre in self._flying:
            self._flying[event.centre].discard(event.thing)
            if event.centre in self._owed:
                self._work.set()

    async def _bring(self, centre: str) -> None:
        """Fill one peer's window, one thing or one look at the index a turn."""
        while centre in self._owed and len(self._flying[centre]) < WINDOW:
            self._bring_next(centre, self._owed[centre])
            await self._pump.committer.room()
            await trio.lowlevel.checkpoint()

    def _bring_next(self, centre: str, walk: Iterator[Return | None]) -> None:
        try:
            owed = next(walk)
            if owed is not None:
                self._flying[centre].add(owed.thing)
                self._pump.put(ReturnsDue(issuer=owed.issuer, owed=((owed.consignment, owed.slot),)))
        except (StopIteration, StoreError):  # all is brought; or read-only, and a later link begins again
            del self._owed[centre]

    def _all_for(self, centre: str) -> Iterator[Return | None]:
        """What is owed to the issuers of a centre, issuer by issuer, in slices; None for a look at the
        index that found nothing to bring."""
        for issuer in self._issuers():
            yield None
            if self._host_of(issuer) != centre:
                continue
            after: tuple[bytes, int] | tuple[()] = ()
            while found := self._pump.view.records.scan(Return, issuer, after=after, limit=SLICE):
                after = (found[-1].consignment, found[-1].slot)
                now_ms = self._pump.here().now_ms
                yield from (owed if is_due(owed.retry_ms, now_ms) else None for owed in found)

    def _issuers(self) -> Iterator[str]:
        after: tuple[str, ...] = ()
        while found := self._pump.view.records.scan(Return, after=after, limit=1):
            after = (found[0].issuer,)
            yield found[0].issuer
