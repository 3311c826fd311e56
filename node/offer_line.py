"""Offers of one link on their way to its writer: urgent first, and never too many unanswered.

Obeys DESIGN §4 (the window is what was *written* and is not answered). How much is prepared behind
it belongs to `sender.py`; here is what keeps an urgent offer from waiting behind more than one
window, on however slow a line.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from protocol import limits
from protocol.step import SendOffer

URGENCIES: Final = 4


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be written to a peer and not yet answered: offers, and bytes of offers. The
    operator may choose less than what the protocol allows."""

    offers: int = limits.WINDOW_OFFERS_MAX
    size: int = limits.WINDOW_BYTES_MAX


class OfferLine:
    """What waits for the writer, and what it has written."""

    def __init__(self, window: Window) -> None:
        self._window: Final = window
        self._waiting: tuple[deque[SendOffer], ...] = tuple(deque() for _ in range(URGENCIES))
        self._unanswered: dict[bytes, int] = {}
        self._size = 0

    def __bool__(self) -> bool:
        """There is an offer that may be written now."""
        return self._has_room() and any(self._waiting)

    def add(self, send: SendOffer) -> None:
        """An offer waits for the writer."""
        self._waiting[send.urgency].append(send)

    def next(self) -> SendOffer:
        """Take the most urgent.

        Raises:
            IndexError: nothing waits.
        """
        return next((line for line in self._waiting if line), self._waiting[-1]).popleft()

    def written(self, consignment: bytes, size: int) -> None:
        """The offer is on its way and takes `size` bytes of the window. A single one may exceed it."""
        self._size += size - self._unanswered.get(consignment, 0)
        self._unanswered[consignment] = size

    def answered(self, consignment: bytes) -> None:
        """The peer has said something about this offer: its place is free."""
        self._size -= self._unanswered.pop(consignment, 0)

    def _has_room(self) -> bool:
        return len(self._unanswered) < self._window.offers and self._size < self._window.size
