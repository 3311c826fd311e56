"""Decides what is offered to whom and when: a window per reachable peer, urgent first.

Obeys DESIGN §4. The queue itself is durable (`Owed`, read through `offer_queue.py`); here are only
windows, made anew whenever a peer comes up. Back-off belongs to
the peer (`peers.py`); a *not now* has its own deadline. Offers leave through the pump, which
records `offered` before the offer is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from node.offer_line import Window
from node.offer_queue import OfferQueue
from node.pump import Pump
from node.tasks import Ready
from protocol import limits
from protocol.errors import StoreError
from protocol.exchange import NotNow
from protocol.records import Outgoing, Owed
from protocol.sending import is_due, urgency
from protocol.step import Event, Offering, OfferPutOff, Queued, Settled

BATCH_OFFERS: Final = 64
"""Offers marked in one step."""
AHEAD: Final = 4
"""Windows full of offers that may be recorded as offered: one is written, one on its way through
the committer before it may leave, one behind the line, one answered and on its way to the disk."""
DROPPED_AGAIN_MS: Final = limits.MINUTE_MS
"""An offer that could not be made is tried again after this."""


@dataclass(slots=True)
class _Peer:
    """What is under way to one reachable peer."""

    queue: OfferQueue
    window: Window
    flying: dict[bytes, int] = field(default_factory=dict)
    """Consignment → bytes, offered and not answered."""
    held: set[bytes] = field(default_factory=set)
    """Offers whose bodies the peer is pulling: outside the window."""
    size: int = 0
    walked: bool = False
    """The index of all recipients was gone through since the peer came up: what is not in the queue
    is not owed."""
    promised: int = 0
    promised_size: int = 0
    """Offers that will leave together with a document that is being owned at this moment."""

    def room(self) -> bool:
        offers, size = len(self.flying) + self.promised, self.size + self.promised_size
        return offers < self.window.offers and size < AHEAD * self.window.size

    def fly(self, consignment: bytes, size: int) -> None:
        self.size += size - self.flying.get(consignment, 0)
        self.flying[consignment] = size

    def land(self, consignment: bytes) -> None:
        self.size -= self.flying.pop(consignment, 0)
        self.held.discard(consignment)


class Promise:
    """Places in windows, kept for offers that leave with the batch that owes them."""

    def __init__(self, size: int) -> None:
        self._size: Final = size
        self._places: dict[str, _Peer] = {}

    @property
    def recipients(self) -> frozenset[str]:
        """For whom there was room."""
        return frozenset(self._places)

    def take(self, recipient: str, peer: _Peer) -> None:
        """Keep a place for an offer to this recipient."""
        self._places[recipient] = peer
        peer.promised += 1
        peer.promised_size += self._size

    def give_back(self) -> None:
        """The document is owned, and its offers fly by themselves; or it is not. Once."""
        for peer in self._places.values():
            peer.promised -= 1
            peer.promised_size -= self._size
        self._places.clear()


class Sender:
    """Fills the windows of all reachable peers."""

    def __init__(self, pump: Pump, host_of: Callable[[str], str | None], window: Window | None = None) -> None:
        """`host_of` tells the centre that hosts an agency now."""
        self._pump: Final = pump
        self._window: Final = Window() if window is None else window
        self._host_of: Final = host_of
        self._peers: dict[str, _Peer] = {}
        self._closing = False
        self._work = trio.Event()
        pump.listeners.append(self._listen)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Go through the recipients of what is owed whenever a peer comes up or hosts change, one
        look at the index a turn, until cancelled."""
        task_status.started()
        while True:
            self._work = trio.Event()
            begun = {centre: peer for centre, peer in self._peers.items() if not peer.walked}
            if not begun and not self._closing:
                await self._work.wait()
                continue
            await self._walk()
            for centre, peer in begun.items():
                peer.walked = True
                self._fill(centre)

    # --- peers --------------------------------------------------------------------------------

    def peer_up(self, centre: str) -> None:
        """Begin with this peer from the head of its queues, urgent first."""
        self._peers[centre] = _Peer(self._new_queue(), self._window)
        self._work.set()

    def peer_down(self, centre: str) -> None:
        """Forget what was under way; all of it is still owed."""
        self._peers.pop(centre, None)

    def hosts_changed(self) -> None:
        """Agencies may have moved or closed: look again where everything is to go."""
        for peer in self._peers.values():
            peer.queue, peer.walked = self._new_queue(), False
        self._closing = True
        self._work.set()

    def promise(self, recipients: Iterable[str], size: int) -> Promise:
        """Keep room for offers of `size` bytes to as many of these recipients as have it; the
        others wait in the queue. The promise must be given back."""
        promise = Promise(size)
        for recipient in recipients:
            peer = self._peer_of(recipient)
            if peer is not None and peer.walked and peer.room() and peer.queue.is_clear(recipient):
                promise.take(recipient, peer)
        return promise

    def holding(self, centre: str, consignment: bytes) -> bool:
        """The peer pulls the bodies of this offer: it leaves the window, but not the flight. Beyond
        so many it stays in the window, where small and urgent documents still pass it."""
        peer = self._peers.get(centre)
        if peer is not None and consignment in peer.flying and len(peer.held) < limits.HELD_OFFERS_MAX:
            peer.land(consignment)
            peer.held.add(consignment)
            self._fill(centre)
            return True
        return False

    def dropped(self, centre: str, consignment: bytes) -> None:
        """The offer made no frame, so the recipient has nothing of it: as after a *not now*, it is
        looked at again in a while."""
        peer = self._peers.get(centre)
        if peer is not None:
            peer.land(consignment)
        answer = NotNow(subject=consignment, code="busy", retry_ms=DROPPED_AGAIN_MS)
        with suppress(StoreError):  # read-only: links are made anew when that ends
            self._pump.put(OfferPutOff(centre=centre, answer=answer))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Per reachable centre: offers in the window, offers being pulled."""
        return {centre: (len(peer.flying), len(peer.held)) for centre, peer in self._peers.items()}

    # --- events -------------------------------------------------------------------------------

    def _listen(self, event: Event) -> None:
        if isinstance(event, Queued):
            self._queued(event)
        elif isinstance(event, Settled):
            peer = self._peers.get(event.centre)
            if peer is not None:
                peer.land(event.consignment)
                if peer.queue:
                    self._fill(event.centre)

    def _queued(self, event: Queued) -> None:
        centre = self._host_of(event.recipient)
        peer = None if centre is None else self._peers.get(centre)
        if centre is None or peer is None:
            return
        owed = self._owed(event.consignment)
        if owed is None:
            return
        if event.offered:
            peer.fly(event.consignment, owed.bytes)
            peer.queue.passed(owed)
        else:
            peer.queue.add(owed)
            self._fill(centre)

    def _owed(self, consignment: bytes) -> Owed | None:
        records = self._pump.view.records
        entry = records.get(Outgoing, consignment)
        return None if entry is None else records.get(Owed, entry.recipient, urgency(entry.lane), entry.sequence)

    # --- choosing -----------------------------------------------------------------------------

    def _fill(self, centre: str) -> None:
        """Offer while there is room; urgent first, recipients in turn. Before all recipients were looked
        at nobody knows what is most urgent."""
        peer = self._peers.get(centre)
        while peer is not None and peer.walked and peer.room():
            chosen = self._choose(peer)
            if not chosen:
                return
            for owed in chosen:
                peer.fly(owed.consignment, owed.bytes)
            try:
                self._pump.put(Offering(centre=centre, consignments=tuple(owed.consignment for owed in chosen)))
            except StoreError:  # read-only: everything stays owed, the next peer_up begins again
                self._peers[centre] = _Peer(self._new_queue(), self._window, walked=True)
                return

    def _choose(self, peer: _Peer) -> list[Owed]:
        """As many entries as there is room for, each taken from its queue."""
        chosen: list[Owed] = []
        size, now_ms = peer.size, self._now_ms()
        while len(chosen) < BATCH_OFFERS and (owed := peer.queue.next()) is not None:
            if self._is_due(peer, owed, now_ms):
                chosen.append(owed)
                size += owed.bytes
                if len(peer.flying) + len(chosen) >= self._window.offers or size >= AHEAD * self._window.size:
                    break
        return chosen

    def _is_due(self, peer: _Peer, owed: Owed, now_ms: int) -> bool:
        if owed.consignment in peer.flying or owed.consignment in peer.held:
            return False
        entry = self._pump.view.records.get(Outgoing, owed.consignment)
        return entry is not None and not entry.settled_ms and is_due(entry.retry_ms, now_ms)

    def _new_queue(self) -> OfferQueue:
        return OfferQueue(self._pump.view.records, self._now_ms)

    def _now_ms(self) -> int:
        return self._pump.here().now_ms

    # --- recipients ---------------------------------------------------------------------------

    async def _walk(self) -> None:
        """Put every recipient into the queue of its host. What is queued for a closed code ends, whether
        or not its last host can be reached."""
        closing, self._closing = self._closing, False
        for recipient in self._recipients():
            if closing and self._is_closed(recipient):
                with suppress(StoreError):  # read-only: the directory is looked at again when it changes
                    await self._close_queue(recipient)
            centre = self._host_of(recipient)
            peer = None if centre is None else self._peers.get(centre)
            if centre is not None and peer is not None and not peer.walked:
                peer.queue.begin(recipient)
            await trio.lowlevel.checkpoint()

    def _recipients(self) -> Iterator[str]:
        """All recipients with something queued: one step of the index each."""
        after: tuple[str, ...] = ()
        while found := self._pump.view.records.scan(Owed, after=after, limit=1):
            after = (found[0].recipient,)
            yield found[0].recipient

    def _is_closed(self, recipient: str) -> bool:
        party = self._pump.view.directory.party(recipient, at_ms=self._now_ms())
        return party is not None and party.state == "closed"

    async def _close_queue(self, recipient: str) -> None:
        after: tuple[int, int] | tuple[()] = ()
        while found := self._pump.view.records.scan(Owed, recipient, after=after, limit=BATCH_OFFERS):
            after = (found[-1].urgency, found[-1].sequence)
            self._pump.put(Offering(centre="", consignments=tuple(owed.consignment for owed in found)))
            await self._pump.committer.room()

    def _peer_of(self, recipient: str) -> _Peer | None:
        centre = self._host_of(recipient)
        return None if centre is None else self._peers.get(centre)
