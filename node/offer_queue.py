"""What is owed to one reachable peer, in the order in which it goes.

Obeys DESIGN §4: urgent lanes first, recipients in turn inside a lane, a consignment that waited
ten minutes counts one lane higher. The queue itself is the durable `Owed` index; this is a
position in it with a short read-ahead, so memory does not grow with what is queued, and a queue
that keeps up with its peer is never read from the disk at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from protocol import limits
from protocol.record import Records
from protocol.records import Owed

LANES: Final = 4
AGED_MS: Final = 10 * limits.MINUTE_MS
"""A consignment that waited this long counts one lane higher, never into hoa_toc (DECISIONS)."""
LOOK_AHEAD: Final = 64
"""Entries of one lane of one recipient held in memory."""


@dataclass(slots=True)
class _Lane:
    """One recipient's entries of one urgency."""

    read_to: int = 0
    """Sequence of the last entry that was read; those up to here were taken, or lie in `ahead`."""
    ahead: deque[Owed] = field(default_factory=deque)
    is_read_up: bool = False
    """There is nothing in the index behind `read_to`."""


class OfferQueue:
    """Positions in the queues of one peer's recipients."""

    def __init__(self, records: Records, now_ms: Callable[[], int]) -> None:
        """Nobody is looked at yet: `begin` names the recipients."""
        self._records: Final = records
        self._now_ms: Final = now_ms
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._turns: tuple[dict[str, None], ...] = tuple({} for _ in range(LANES))
        self._again: dict[bytes, Owed] = {}

    def __bool__(self) -> bool:
        """Something may be waiting."""
        return bool(self._again) or any(self._turns)

    def begin(self, recipient: str) -> None:
        """Look at all lanes of this recipient, from where they were read to."""
        for turn in self._turns:
            turn.setdefault(recipient)

    def is_clear(self, recipient: str) -> bool:
        """Nothing waits for this recipient, so an offer to it overtakes nobody."""
        return not self._again and all(recipient not in turn for turn in self._turns)

    def add(self, owed: Owed) -> None:
        """Something is newly owed, or may be offered again."""
        lane = self._lane(owed.recipient, owed.urgency)
        if owed.sequence <= lane.read_to:
            self._again[owed.consignment] = owed
            return
        if lane.is_read_up and len(lane.ahead) < LOOK_AHEAD:
            lane.ahead.append(owed)
            lane.read_to = owed.sequence
        else:
            lane.is_read_up = False
        self._turns[owed.urgency][owed.recipient] = None

    def passed(self, owed: Owed) -> None:
        """Something newly owed was offered already, with the batch that owes it."""
        lane = self._lane(owed.recipient, owed.urgency)
        if lane.is_read_up:
            lane.read_to = max(lane.read_to, owed.sequence)

    def next(self) -> Owed | None:
        """Take the entry that goes next; None when nothing waits."""
        for rank in range(LANES):
            found = self._next_again(rank) or self._next_of(rank)
            if found is not None:
                return found
        return None

    def _next_again(self, rank: int) -> Owed | None:
        for consignment, owed in self._again.items():
            if owed.urgency <= rank:
                del self._again[consignment]
                return owed
        return None

    def _next_of(self, rank: int) -> Owed | None:
        """Of a lane and of what counts into it by its age, whatever has waited longer."""
        own = self._head(rank)
        aged = self._head(rank + 1, waited_ms=AGED_MS) if 1 <= rank < LANES - 1 else None
        if own is None or (aged is not None and aged.since_ms < own.since_ms):
            return None if aged is None else self._take(aged)
        return self._take(own)

    def _head(self, urgency: int, *, waited_ms: int = 0) -> Owed | None:
        """The entry whose turn it is in a lane, if it has waited so long."""
        turn = self._turns[urgency]
        for recipient in list(turn):
            lane = self._lane(recipient, urgency)
            self._read_ahead(recipient, urgency, lane)
            if not lane.ahead:
                del turn[recipient]
            elif not waited_ms or lane.ahead[0].since_ms + waited_ms <= self._now_ms():
                return lane.ahead[0]
        return None

    def _take(self, owed: Owed) -> Owed:
        turn = self._turns[owed.urgency]
        del turn[owed.recipient]
        turn[owed.recipient] = None  # to the end of the line
        return self._lane(owed.recipient, owed.urgency).ahead.popleft()

    def _read_ahead(self, recipient: str, urgency: int, lane: _Lane) -> None:
        if lane.ahead or lane.is_read_up:
            return
        after = (urgency, lane.read_to)
        found = self._records.scan(Owed, recipient, after=after, limit=LOOK_AHEAD)
        mine = [owed for owed in found if owed.urgency == urgency]
        lane.ahead.extend(mine)
        lane.is_read_up = len(mine) < LOOK_AHEAD
        if mine:
            lane.read_to = mine[-1].sequence

    def _lane(self, recipient: str, urgency: int) -> _Lane:
        return self._lanes.setdefault((recipient, urgency), _Lane())
