"""Where peers that are not admitted wait, each for one introduction: few, and not for long.

Obeys `protocol/spec/joining.md` §2 (DESIGN §5). Which connection it is, and what is said on it, is
the transport's and `node/introduction.py`'s; here is counted who may be in at all.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from node.conduct import Allowance
from node.transport import ByteStream, Meet
from protocol.limits import INTRODUCTION_AGAIN_MS, INTRODUCTION_MS, INTRODUCTIONS_MAX, INTRODUCTIONS_VAIN_MAX

VISIT_S: Final = INTRODUCTION_MS / 1000
HOSTS_MAX: Final = 1_024
"""Network addresses whose vain introductions are remembered; beyond, the oldest memory goes."""
NOT_ADMITTED: Final = "not_admitted"
TURNED_AWAY: Final = "introductions_in_vain"


class Visit:
    """One stranger: what came of it, and when it has to go."""

    def __init__(self, peer_id: str, host: str) -> None:
        self.peer_id: Final = peer_id
        self.host: Final = host
        self.scope: Final = trio.CancelScope()
        self.outcome = NOT_ADMITTED
        """Empty: admitted now."""
        self._streams = 0
        self.has_spoken = False

    def end(self) -> None:
        """It has to go."""
        self.scope.cancel()

    def opens(self, streams_max: int) -> bool:
        """One more stream; whether that is still within what a stranger may open."""
        self._streams += 1
        return self._streams <= streams_max

    def speaks(self) -> bool:
        """Whether this is the one introduction it has."""
        spoke, self.has_spoken = self.has_spoken, True
        return not spoke


class Lobby:
    """Belongs to the loop. Closed until somebody hears introductions."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms` is a monotonic clock."""
        self._now_ms: Final = now_ms
        self._visits: Final[dict[Visit, None]] = {}
        self._vain: Final[dict[str, Allowance]] = {}
        self._meet: Meet | None = None

    def open(self, meet: Meet) -> None:
        """From now on strangers are heard."""
        self._meet = meet

    def __len__(self) -> int:
        return len(self._visits)

    def refusal(self, address: str) -> str:
        """Why a stranger from this address may not even enter; empty if it may."""
        if self._meet is None:
            return NOT_ADMITTED
        return "" if self._allowance(host_of(address)).left(self._now_ms()) else TURNED_AWAY

    def admit(self, is_admitted: Callable[[str], bool]) -> None:
        """The directory changed: who need not introduce itself any more goes, and comes back as a peer."""
        for visit in list(self._visits):
            if is_admitted(visit.peer_id) and not visit.has_spoken:
                visit.outcome = ""
                self._end(visit)

    @contextmanager
    def visit(self, peer_id: str, address: str) -> Iterator[Visit]:
        """A stranger is here, until it is admitted or its time is over (the scope is cancelled)."""
        visit = Visit(peer_id, host_of(address))
        with trio.move_on_after(VISIT_S), visit.scope:
            self._visits[visit] = None
            if len(self._visits) > INTRODUCTIONS_MAX:
                self._end(self._crowded())
            try:
                yield visit
            finally:
                self._visits.pop(visit, None)
                if visit.outcome:
                    self._allowance(visit.host).take(self._now_ms())

    async def hear(self, visit: Visit, stream: ByteStream) -> None:
        """Its introduction, on the one stream it has for that; then it has to go."""
        assert self._meet is not None
        try:
            if visit.speaks():
                visit.outcome = await self._meet(visit.peer_id, stream)
        finally:
            visit.end()

    def _end(self, visit: Visit) -> None:
        """It does not count from this moment on, whenever its task comes to see that."""
        visit.end()
        del self._visits[visit]

    def _crowded(self) -> Visit:
        """The oldest visit from the address that has most of them: no address keeps another out."""
        count = Counter(visit.host for visit in self._visits)
        return max(self._visits, key=lambda visit: count[visit.host])  # the first of several is the oldest

    def _allowance(self, host: str) -> Allowance:
        known = self._vain.pop(host, None) or Allowance(INTRODUCTIONS_VAIN_MAX, INTRODUCTION_AGAIN_MS)
        self._vain[host] = known
        if len(self._vain) > HOSTS_MAX:
            del self._vain[next(iter(self._vain))]
        return known


def host_of(address: str) -> str:
    """Who is meant by an address like `/ip4/203.0.113.7/tcp/4601`; of IPv6 the network of 64 bits."""
    host = address.split("/")[2] if address.count("/") > 1 else address
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
