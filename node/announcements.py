"""What a node announces of the directory, and what it makes of what others announce.

Obeys `protocol/spec/announcement.md` §3 and §4, DESIGN §5 ("a hint, never the guarantee"). Things heard go through
the one door and are judged like all others; a gap leads to a comparison. Publishers of junk are ignored for a
time that grows; whoever passed it on is not blamed. How announcements travel is the transport's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import trio

from node.clock import ClockWatch
from node.conduct import FORGIVEN_MS, Allowance, Conducts
from node.directory_door import Door
from node.directory_index import DirectoryIndex
from node.directory_roads import News, Road, Taken
from node.environment import Environment
from node.logs import Log, log_failure
from node.metrics import Metrics
from node.tasks import Bell, Ready
from node.transport import Transport
from protocol.announcement import Announcement, LogMark, pack, read_announcement
from protocol.errors import FormatError, StoreError
from protocol.limits import ANNOUNCED_AGE_MAX_MS, ANNOUNCED_LOGS_MAX, HOUR_MS, MIB, SECOND_MS
from protocol.prefix_tree import EMPTY
from protocol.reconcile import is_junk

HEARD_AT_ONCE: Final = 64
HEARD_BACK_MS: Final = SECOND_MS
"""Announcements of one publisher that are looked at: so many at once, then one in a second."""
SAID_AT_ONCE: Final = 32
SAID_BACK_MS: Final = 2 * SECOND_MS
"""Announcements of ours: half of what others look at, so that none of them is dropped."""
WAITING_MAX: Final = 64
"""Announcements that wait to be judged, 4 MiB; more are passed on and dropped here."""
WAITING_OF_ONE_MAX: Final = 16
"""Of them, of one publisher: a whole row."""
PENDING_MAX: Final = 1_024
"""Things that wait to be announced: a row holds no more."""
PENDING_BYTES_MAX: Final = MIB
KNOWN_MAX: Final = 8_192
"""Things announced of late, by their hash: judged once, whoever repeats them."""
TOGETHER_MS: Final = 20
"""What is brought in one act goes into one announcement."""
SPREAD_FROM_MS: Final = 500
SPREAD_MS: Final = 1_500
"""What was learned from a peer waits so long, lest all who learned it announce it."""
IGNORED_FIRST_MS: Final = 10 * SECOND_MS
IGNORED_MAX_MS: Final = HOUR_MS

FROM_PEERS: Final = frozenset((Road.ANNOUNCED, Road.TOLD))
"""What came on these roads is not announced: everybody hears of it without us."""


class _Publisher:
    """One centre, as it has announced of late."""

    def __init__(self) -> None:
        self.allowance: Final = Allowance(HEARD_AT_ONCE, HEARD_BACK_MS)
        self.waiting = 0
        self.ignored_to_ms = 0
        self._times = 0

    def ignore(self, now_ms: int) -> int:
        """Ignore it from now on, for how long; longer each time, until an hour passed in which it was heard
        and there was nothing to object to."""
        is_again = self._times and now_ms - self.ignored_to_ms < FORGIVEN_MS
        self._times = self._times + 1 if is_again else 1
        pause_ms = min(IGNORED_FIRST_MS << min(self._times - 1, 20), IGNORED_MAX_MS)
        self.ignored_to_ms = now_ms + pause_ms
        return pause_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A thing that will be announced."""

    wire: bytes
    registrar: str
    due_ms: int


class Announcements:
    """Belongs to the loop. Takes no part unless `enabled`; what is counted is counted all the same."""

    def __init__(
        self,
        *,
        transport: Transport,
        index: DirectoryIndex,
        door: Door,
        on_heads: Callable[[str, bytes], None],
        conducts: Conducts,
        clock: ClockWatch,
        environment: Environment,
        metrics: Metrics,
        log: Log,
        own: str,
        enabled: bool,
    ) -> None:
        """`on_heads` is told of a publisher that knows more than we, and the digest of its heads."""
        self._transport: Final = transport
        self._index: Final = index
        self._door: Final = door
        self._on_heads: Final = on_heads
        self._conducts: Final = conducts
        self._clock: Final = clock
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._own: Final = own
        self._enabled: Final = enabled
        self._publishers: Final[dict[str, _Publisher]] = {}
        self._heard: Final[deque[tuple[str, Announcement]]] = deque()
        self._heard_bell: Final = Bell()
        self._known: Final[dict[bytes, None]] = {}
        self._pending: Final[dict[bytes, _Pending]] = {}
        self._pending_bytes = 0
        self._left_out: Final[dict[str, int]] = {}
        """Registrars of things that had no room, and when their logs are to be announced."""
        self._pending_bell: Final = Bell()
        self._allowance: Final = Allowance(SAID_AT_ONCE, SAID_BACK_MS)
        door.on_taken.append(self.taken)
        if enabled:
            transport.announcements(self.hear)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Judge what is heard and announce what is new until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._enabled:
                nursery.start_soon(self._judge_all)
                nursery.start_soon(self._announce_all)
            task_status.started()

    def keep(self, centres: Collection[str]) -> None:
        """Only these are admitted; the others are forgotten."""
        for centre in set(self._publishers).difference(centres):
            del self._publishers[centre]

    # --- hearing ------------------------------------------------------------------------------

    def hear(self, centre: str, content: bytes) -> bool:
        """As `node.transport.Hear`."""
        if centre == self._own:
            return False
        publisher = self._publishers.setdefault(centre, _Publisher())
        outcome = self._look_at(centre, publisher, content)
        self._metrics.announcements.labels(outcome=outcome).inc()
        return outcome in {"heard", "dropped"}

    def _look_at(self, centre: str, publisher: _Publisher, content: bytes) -> str:
        now_ms = self._environment.monotonic_ms()
        if now_ms < publisher.ignored_to_ms:
            return "ignored"
        if not publisher.allowance.take(now_ms):
            return "too_many"
        try:
            value = read_announcement(content)
        except FormatError as error:
            if is_junk(error):
                self._blame(centre, error.code)
            return "junk"
        if self._is_stale(value):
            return "stale"
        for wire in value.things:
            self._withdraw(_name(wire))
        if len(self._heard) >= WAITING_MAX or publisher.waiting >= WAITING_OF_ONE_MAX:
            return "dropped"
        publisher.waiting += 1
        self._heard.append((centre, value))
        self._heard_bell.ring()
        return "heard"

    def _is_stale(self, value: Announcement) -> bool:
        """Made long ago, or not yet; not asked while our own clock may be wrong."""
        age_ms = abs(self._environment.now_ms() - value.created_ms)
        return self._clock.trusted and age_ms > ANNOUNCED_AGE_MAX_MS

    async def _judge_all(self) -> None:
        await self._index.built.wait()
        while True:
            news = self._heard_bell.next
            if not self._heard:
                await news.wait()
                continue
            centre, value = self._heard.popleft()
            publisher = self._publishers.get(centre)
            if publisher is None:
                continue  # no longer admitted
            publisher.waiting -= 1
            if self._environment.monotonic_ms() >= publisher.ignored_to_ms:
                await self._judge(centre, value)

    async def _judge(self, centre: str, value: Announcement) -> None:
        try:
            await self._take(centre, [wire for wire in value.things if _name(wire) not in self._known])
        except StoreError as error:
            self._log.info("not_taken", centre=centre, code=error.code)
        except Exception as error:  # noqa: BLE001  # the outermost frame of one announcement; the next may be sound
            log_failure(self._log, "announcement_failed", error, centre=centre)
        else:
            self._compare(centre, value)

    async def _take(self, centre: str, wires: list[bytes]) -> None:
        if not wires:
            return
        errors = await self._door.take_given(wires, road=Road.ANNOUNCED)
        for wire in wires:
            self._remember(_name(wire))
        await self._index.caught_up()
        junk = next((error for error in errors if is_junk(error)), None)
        if junk is not None:
            self._blame(centre, junk.code)

    def _compare(self, centre: str, value: Announcement) -> None:
        """Whoever claims to know more of a log than we do is asked; his digest is only looked at then."""
        if value.heads != EMPTY and self._index.is_ready and any(map(self._is_behind, value.logs)):
            self._metrics.announcements.labels(outcome="gap").inc()
            self._on_heads(centre, value.heads)

    def _is_behind(self, mark: LogMark) -> bool:
        log = self._index.log(mark.registrar)
        return mark.is_beyond(None if log is None else log.head())

    def _blame(self, centre: str, code: str) -> None:
        """The publisher signed it, and could have known."""
        pause_ms = self._publishers[centre].ignore(self._environment.monotonic_ms())
        self._conducts.of(centre).struck(code)
        self._log.warning("announcements_ignored", centre=centre, code=code, seconds=pause_ms // 1_000)

    # --- announcing ---------------------------------------------------------------------------

    def taken(self, taken: Taken) -> None:
        """Things are durable that this node did not know, or signatures of them."""
        self._metrics.directory_things.labels(road=taken.road.value).inc(len(taken.news) + taken.unnamed)
        if not self._enabled:
            return
        for item in taken.news:
            self._plan(taken.road, item)
        if taken.unnamed and taken.road is Road.BROUGHT:
            self._leave_out([log.registrar for log in self._index.logs()])

    def _plan(self, road: Road, item: News) -> None:
        name = _name(item.wire)
        if road in FROM_PEERS or name in self._known:
            self._remember(name)
            return
        now_ms = self._environment.monotonic_ms()
        if road is not Road.ASKED:
            self._put(name, item, now_ms + TOGETHER_MS, is_ours=True)
        elif self._environment.now_ms() - item.created_ms <= ANNOUNCED_AGE_MAX_MS:
            wait_ms = SPREAD_FROM_MS + int(self._environment.jitter() * SPREAD_MS)
            self._put(name, item, now_ms + wait_ms, is_ours=False)

    def _put(self, name: bytes, item: News, due_ms: int, *, is_ours: bool) -> None:
        if len(self._pending) < PENDING_MAX and self._pending_bytes + len(item.wire) <= PENDING_BYTES_MAX:
            self._withdraw(name)
            self._pending[name] = _Pending(wire=item.wire, registrar=item.registrar, due_ms=due_ms)
            self._pending_bytes += len(item.wire)
        elif is_ours and item.registrar:
            self._leave_out([item.registrar])
        self._pending_bell.ring()

    def _leave_out(self, registrars: Sequence[str]) -> None:
        """There is no room for things of these logs; how far they are known will be announced."""
        due_ms = self._environment.monotonic_ms() + TOGETHER_MS
        for registrar in registrars[:ANNOUNCED_LOGS_MAX]:
            self._left_out.setdefault(registrar, due_ms)
        self._pending_bell.ring()

    def _withdraw(self, name: bytes) -> _Pending | None:
        """It is announced, by us or by somebody else."""
        pending = self._pending.pop(name, None)
        if pending is not None:
            self._pending_bytes -= len(pending.wire)
        return pending

    async def _announce_all(self) -> None:
        await self._index.built.wait()
        while True:
            news = self._pending_bell.next
            times = [pending.due_ms for pending in self._pending.values()] + list(self._left_out.values())
            wait_ms = min(times, default=float("inf")) - self._environment.monotonic_ms()
            if wait_ms <= 0:
                await self._announce_due()
            else:
                with trio.move_on_after(wait_ms / 1000):
                    await news.wait()

    async def _announce_due(self) -> None:
        await self._index.caught_up()
        now_ms = self._environment.monotonic_ms()
        due = [(name, item) for name, item in self._pending.items() if item.due_ms <= now_ms]
        registrars = {item.registrar for _, item in due if item.registrar}
        registrars.update(name for name, due_ms in self._left_out.items() if due_ms <= now_ms)
        for name, _ in due:
            self._withdraw(name)
            self._remember(name)
        for registrar in registrars:
            self._left_out.pop(registrar, None)
        marks = [mark for mark in map(self._mark, sorted(registrars)) if mark is not None]
        wires = [item.wire for _, item in due]
        row = pack(wires, created_ms=self._environment.now_ms(), heads=self._index.digest() or EMPTY, logs=marks)
        self._send(row)

    def _mark(self, registrar: str) -> LogMark | None:
        log = self._index.log(registrar)
        if log is None:
            return None
        head = log.head()
        return LogMark(registrar=registrar, generation=head.generation, number=head.number)

    def _send(self, row: tuple[bytes, ...]) -> None:
        """As much of a row as may be said now; of the last, which tells the heads, rather than of the first."""
        left = self._allowance.left(self._environment.monotonic_ms())
        for content in row[max(0, len(row) - left) :]:
            self._allowance.take(self._environment.monotonic_ms())
            self._transport.announce(content)
            self._metrics.announcements.labels(outcome="sent").inc()

    def _remember(self, name: bytes) -> None:
        self._known[name] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]


def _name(wire: bytes) -> bytes:
    """Of the whole thing: the same thing with a further signature is news."""
    return sha256(wire).digest()
