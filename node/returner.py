"""Brings receipts and refusals to the issuers' nodes until they are acknowledged.

Obeys DESIGN §4 ("stays owed, indexed by issuer code, until acked"). A new receipt leaves with
its own batch; this room only goes through what is still owed when a peer comes up, a bounded
number at a time. Like the sender it keeps nothing that a restart could lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from node.pump import Pump
from protocol.errors import StoreError
from protocol.records import Return
from protocol.sending import is_due
from protocol.step import Acked, Event, ReturnsDue

WINDOW: Final = 256
"""Returned things under way to one peer from here; a receipt is about half a kilobyte."""


class Returner:
    """Goes through what is owed to each reachable peer, once per connection."""

    def __init__(self, pump: Pump, host_of: Callable[[str], str | None]) -> None:
        """`host_of` tells the centre that hosts an agency now."""
        self._pump: Final = pump
        self._host_of: Final = host_of
        self._owed: dict[str, Iterator[Return]] = {}
        self._flying: dict[str, set[bytes]] = {}
        pump.listeners.append(self._listen)

    def peer_up(self, centre: str) -> None:
        """Begin with what is owed to issuers at this centre."""
        self._owed[centre] = self._all_for(centre)
        self._flying[centre] = set()
        self._fill(centre)

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
            self._fill(event.centre)

    def _fill(self, centre: str) -> None:
        flying = self._flying[centre]
        while centre in self._owed and len(flying) < WINDOW:
            owed = next(self._owed[centre], None)
            if owed is None:
                del self._owed[centre]
                return
            flying.add(owed.thing)
            try:
                self._pump.put(ReturnsDue(issuer=owed.issuer, owed=((owed.consignment, owed.slot),)))
            except StoreError:  # read-only; a link made after that begins again
                self._owed.pop(centre, None)

    def _all_for(self, centre: str) -> Iterator[Return]:
        """What is owed to the issuers of a centre, issuer by issuer, in slices."""
        for issuer in self._issuers():
            if self._host_of(issuer) != centre:
                continue
            after: tuple[bytes, int] | tuple[()] = ()
            while found := self._pump.view.records.scan(Return, issuer, after=after, limit=WINDOW):
                after = (found[-1].consignment, found[-1].slot)
                now_ms = self._pump.here().now_ms
                yield from (owed for owed in found if is_due(owed.retry_ms, now_ms))

    def _issuers(self) -> Iterator[str]:
        after: tuple[str, ...] = ()
        while found := self._pump.view.records.scan(Return, after=after, limit=1):
            after = (found[0].issuer,)
            yield found[0].issuer
