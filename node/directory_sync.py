"""Sees to it that this node knows what its peers know: whom to ask, when, and whom not again.

Obeys DESIGN §5 ("Directory guarantee") and `protocol/spec/reconcile.md`. Peers tell the digest of their
heads in hello and pings; where it differs from ours, they are asked, two at a time (slow ones beside them), with a
back-off that belongs to the peer; those that failed least come first. Digests may differ for ever (forks, things that
only some believe), so what was asked in vain is remembered. One session is `directory_session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import trio

from node.conduct import Allowance, Conducts
from node.directory_index import DirectoryIndex
from node.directory_session import DirectorySession
from node.environment import Environment
from node.logs import Log, log_failure
from node.tasks import Bell, Ready
from protocol.directory_kinds import DirectoryPending
from protocol.errors import FormatError, StoreError, TrucError
from protocol.limits import HOUR_MS, MINUTE_MS, RECONCILE_SESSIONS_HOUR_MAX, SECOND_MS
from protocol.reconcile import Over
from protocol.record import Delete
from protocol.step import Step

AT_ONCE: Final = 2
"""Sessions in which this node asks at the same time; a third would bring the same things again."""
SLOW_MS: Final = 20 * SECOND_MS
"""A session that takes longer makes room for another one: two peers that answer drop by drop must not keep
this node from all others."""
SESSIONS_MAX: Final = 8
"""Sessions at once, slow ones included; each holds one frame of an answer."""
SPREAD_MS: Final = SECOND_MS
"""Within which a peer is asked that says something new: everybody hears of a change at the same time."""
BACKOFF_FIRST_MS: Final = 2 * SECOND_MS
BACKOFF_MAX_MS: Final = 5 * MINUTE_MS
BUSY_MS: Final = MINUTE_MS
"""A peer that is busy is left alone for as long."""
BURST: Final = RECONCILE_SESSIONS_HOUR_MAX // 2
"""Sessions with one peer at once; as many more in an hour, and it is never asked more often than it answers."""
AGAIN_MS: Final = HOUR_MS
"""After so long a peer is asked again for things that could not be believed yet."""
LIES: Final = frozenset(
    ("peer_withholds", "peer_contradicts", "peer_endless", "peer_sends_junk", "reconcile_order")
)
"""What no honest peer does; counted, and shown with the peer."""


@dataclass(slots=True)
class _Peer:
    """One centre as it was heard and asked. `done` is the digest that held nothing more for us; where
    something of it could not be believed yet, only while ours is `done_own`, and until `done_until_ms`."""

    said: bytes = b""
    asking_since_ms: int | None = None
    failures: int = 0
    not_before_ms: int = 0
    done: bytes = b""
    done_own: bytes = b""
    done_until_ms: int = 0
    failed: TrucError | None = None
    failed_ms: int = 0
    sessions: Allowance = field(default_factory=lambda: Allowance(BURST, HOUR_MS // BURST))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedWith:
    """What came of comparing with one peer, for `/v1/peers`. `level`: it has nothing for us."""

    level: bool = False
    failures: int = 0
    """In a row."""
    error: TrucError | None = None
    """Why the last one failed that did; what came after it may have been in order."""
    failed_ms: int = 0
    """When that was; wall clock."""


class DirectorySync:
    """Whom to ask. `on_level` is told the wall-clock time at which we knew all that some peer knew."""

    def __init__(
        self,
        *,
        index: DirectoryIndex,
        session: DirectorySession,
        is_connected: Callable[[str], bool],
        conducts: Conducts,
        environment: Environment,
        log: Log,
        own: str,
        on_level: Callable[[int], None],
    ) -> None:
        self._index: Final = index
        self._session: Final = session
        self._is_connected: Final = is_connected
        self._conducts: Final = conducts
        self._environment: Final = environment
        self._log: Final = log
        self._own: Final = own
        self._on_level: Final = on_level
        self._peers: dict[str, _Peer] = {}
        self._bell: Final = Bell()

    # --- what is heard ------------------------------------------------------------------------

    def heard(self, centre: str, digest: bytes) -> None:
        """A peer said the digest of its heads."""
        if not digest or centre == self._own:
            return
        peer = self._peers.setdefault(centre, _Peer())
        if peer.said != digest:
            peer.said = digest
            soon_ms = self._environment.monotonic_ms() + int(self._environment.jitter() * SPREAD_MS)
            peer.not_before_ms = max(peer.not_before_ms, soon_ms)
        own = self._index.digest()
        self._note_level(own)
        if own and self._has_nothing(peer, own):
            self._on_level(self._environment.now_ms())
        else:
            self._bell.ring()

    def notice(self, step: Step) -> None:
        """A step is durable, and not yet in the index: whoever is level now has nothing for us afterwards either.

        What was pending counts now, or never: peers may have what rests on it.
        """
        self._note_level(self._index.digest())
        if any(isinstance(change, Delete) and change.record is DirectoryPending for change in step.changes):
            for peer in self._peers.values():
                peer.done = b"" if peer.done_own else peer.done
            self._bell.ring()

    def keep(self, centres: Collection[str]) -> None:
        """Only these are admitted; the others are forgotten."""
        for centre in set(self._peers).difference(centres):
            del self._peers[centre]

    def says(self, centre: str) -> bytes:
        """The digest of its heads that a peer said last; empty where it said none."""
        peer = self._peers.get(centre)
        return b"" if peer is None else peer.said

    @property
    def levels(self) -> dict[str, bool]:
        """Of each peer that was heard, whether it has nothing for us."""
        own = self._index.digest()
        return {centre: self._has_nothing(peer, own) for centre, peer in sorted(self._peers.items())}

    def compared_with(self, centre: str) -> ComparedWith:
        """What came of it; of a peer that said nothing yet, nothing."""
        peer = self._peers.get(centre)
        if peer is None:
            return ComparedWith()
        return ComparedWith(
            level=bool(peer.said) and self._has_nothing(peer, self._index.digest()),
            failures=peer.failures,
            error=peer.failed,
            failed_ms=peer.failed_ms,
        )

    def _note_level(self, own: bytes) -> None:
        """A digest that is ours holds nothing more, whatever we learn later: those that stay behind ask us."""
        for peer in self._peers.values():
            if own and peer.said == own:
                peer.done, peer.done_own = own, b""

    def _has_nothing(self, peer: _Peer, own: bytes) -> bool:
        if peer.said == own:
            return True
        if peer.said != peer.done:
            return False
        return not peer.done_own or (
            peer.done_own == own and self._environment.monotonic_ms() < peer.done_until_ms
        )

    async def at_rest(self) -> None:
        """Return when no session of ours is running."""
        while self._running():
            await self._bell.next.wait()

    # --- asking -------------------------------------------------------------------------------

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled, once it is known what is known here."""
        task_status.started()
        await self._index.built.wait()
        async with trio.open_nursery() as nursery:
            while True:
                news = self._bell.next
                centre, wait_ms = self._choose()
                if centre is not None:
                    peer = self._peers[centre]
                    peer.asking_since_ms = self._environment.monotonic_ms()
                    nursery.start_soon(self._meet, centre, peer)
                else:
                    with trio.move_on_after(wait_ms / 1000):
                        await news.wait()

    def _running(self) -> list[int]:
        """Since when each session runs."""
        return [peer.asking_since_ms for peer in self._peers.values() if peer.asking_since_ms is not None]

    def _choose(self) -> tuple[str | None, float]:
        """Whom to ask now, or how long nobody is to be asked."""
        own, now_ms = self._index.digest(), self._environment.monotonic_ms()
        full_ms = self._full_ms(now_ms)
        if not own or full_ms:
            return None, full_ms if own else float("inf")
        open_ms: dict[str, int] = {
            centre: peer.not_before_ms
            for centre, peer in self._peers.items()
            if peer.said and peer.asking_since_ms is None and not self._has_nothing(peer, own)
            if self._is_connected(centre)
        }
        ready = sorted(centre for centre, at_ms in open_ms.items() if at_ms <= now_ms)
        if ready:
            fewest = min(self._peers[centre].failures for centre in ready)
            best = [centre for centre in ready if self._peers[centre].failures == fewest]
            return self._environment.shuffled(best)[0], 0
        return None, max(0, min(open_ms.values()) - now_ms) if open_ms else float("inf")

    def _full_ms(self, now_ms: int) -> float:
        """How long it is until one more session may begin, if none ends; 0 when it may."""
        running = self._running()
        if len(running) >= SESSIONS_MAX:
            return float("inf")
        young = [since_ms for since_ms in running if now_ms < since_ms + SLOW_MS]
        return min(young) + SLOW_MS - now_ms if len(young) >= AT_ONCE else 0

    async def _meet(self, centre: str, peer: _Peer) -> None:
        """One session, and what is remembered of it."""
        theirs, began_ms = peer.said, self._environment.now_ms()
        peer.sessions.take(self._environment.monotonic_ms())
        try:
            over = await self._session.ask(centre)
        except TrucError as error:
            self._failed(centre, peer, error)
        except Exception as error:  # noqa: BLE001  # the outermost frame of a session: one peer, not the node
            log_failure(self._log, "session_failed", error, centre=centre)
            self._back_off(peer, BACKOFF_MAX_MS, StoreError("internal"))
        else:
            self._met(centre, peer, theirs, over)
            if over.settled:
                self._on_level(began_ms)
        finally:
            peer.asking_since_ms = None
            self._bell.ring()

    def _met(self, centre: str, peer: _Peer, theirs: bytes, over: Over) -> None:
        now_ms = self._environment.monotonic_ms()
        peer.failures = 0
        peer.done = theirs if over.settled else b""
        peer.done_own = self._index.digest() if over.untaken or over.skipped else b""
        peer.done_until_ms = now_ms + AGAIN_MS
        if not over.settled or not peer.sessions.left(now_ms):
            peer.not_before_ms = now_ms + self._jittered(HOUR_MS // BURST)
        if over.things or not over.settled:
            self._log.info(
                "directory_compared",
                centre=centre,
                things=over.things,
                untaken=over.untaken,
                settled=over.settled,
            )

    def _failed(self, centre: str, peer: _Peer, error: TrucError) -> None:
        self._back_off(peer, BUSY_MS if error.code == "busy" else 0, error)
        if error.code in LIES or isinstance(error, FormatError):
            self._conducts.of(centre).struck(error.code)
        self._log.info("directory_not_compared", centre=centre, code=error.code)

    def _back_off(self, peer: _Peer, least_ms: int, error: TrucError) -> None:
        peer.failures += 1
        peer.failed, peer.failed_ms = error, self._environment.now_ms()
        grown_ms = min(BACKOFF_FIRST_MS << min(peer.failures - 1, 20), BACKOFF_MAX_MS)
        peer.not_before_ms = self._environment.monotonic_ms() + self._jittered(max(grown_ms, least_ms))

    def _jittered(self, pause_ms: int) -> int:
        return int(pause_ms * (0.5 + self._environment.jitter() / 2))
