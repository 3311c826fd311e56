"""Exchange streams: one link per peer, with one reader and the only writer.

Obeys DESIGN §5. A link turns frames into inputs of the pump and sends into frames; it decides
nothing. Two classes wait for the writer: words (receipts, answers, pings) before offers. A link
that breaks a rule, or that the peer breaks, ends and is reset; what was owed stays owed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from node.environment import Environment
from node.frames import FrameMaker
from node.logs import Log
from node.metrics import Metrics
from node.pump import Pump
from node.transport import ByteStream
from protocol import judging
from protocol.errors import NetworkError, StoreError, TrucError
from protocol.exchange import (
    Ack,
    Bye,
    Frame,
    Hello,
    Holding,
    NotNow,
    Offer,
    Phase,
    Ping,
    Pong,
    Returned,
    Session,
    frame_bytes,
)
from protocol.limits import KIB
from protocol.receiving import RETRY_OF
from protocol.signing import Signed
from protocol.step import (
    Connected,
    OfferArrived,
    OfferPutOff,
    Send,
    SendHello,
    SendOffer,
    ThingAcked,
    ThingReturned,
)

READ_BYTES: Final = 256 * KIB
"""One read; small reads cost a window update each (LIBRARIES §libp2p)."""
FLUSH_BYTES: Final = 256 * KIB
"""Frames joined into one write."""
WRITE_S: Final = 300
"""A peer that takes nothing for so long is given up; even a slow line moves a chunk in this time."""
NEW_LINKS_MAX: Final = 4
"""Streams of one peer that have not said hello yet; a further one ends the oldest."""
WORDS_MAX: Final = 2_000
"""Answers waiting for the writer; above it nothing more is read from this peer."""


class Link:
    """One exchange stream with one centre."""

    def __init__(
        self,
        centre: str,
        stream: ByteStream,
        *,
        pump: Pump,
        frames: FrameMaker,
        environment: Environment,
        metrics: Metrics,
        log: Log,
        ping_s: float,
        dead_s: float,
        on_up: Callable[[Link, Hello], None],
        on_holding: Callable[[str, bytes], None],
        on_dropped: Callable[[str, bytes], None],
        on_time: Callable[[str, int], None],
    ) -> None:
        """`on_up` is told of the peer's hello, `on_holding` of offers whose bodies are pulled,
        `on_dropped` of offers that made no frame, `on_time` of what time it is there."""
        self.centre: Final = centre
        self.heard_ms = environment.monotonic_ms()
        self._stream: Final = stream
        self._pump: Final = pump
        self._frames: Final = frames
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._ping_s: Final = ping_s
        self._dead_s: Final = dead_s
        self._on_up: Final = on_up
        self._on_holding: Final = on_holding
        self._on_dropped: Final = on_dropped
        self._on_time: Final = on_time
        self._session: Final = Session(centre)
        self._words: deque[Send | Frame] = deque()
        self._offers: deque[SendOffer] = deque()
        self._greeted = False
        self._bye: Bye | None = None
        self._bye_said = False
        self.hello: Hello | None = None
        """What the peer said first; None until then."""
        self._wake = trio.Event()
        self._drained = trio.Event()
        self._scope = trio.CancelScope()
        self.why_over = ""
        self.told_twin = False

    @property
    def is_up(self) -> bool:
        """Both hellos have been said."""
        return self._greeted and self._session.phase is Phase.OPEN

    def send(self, send: Send) -> None:
        """Queue a send; before both hellos only the hello goes out."""
        if isinstance(send, SendHello):
            if self._greeted:
                return
            self._greeted = True
            self._words.append(send)
            if self._bye is not None:
                self._words.append(self._bye)
        elif not self.is_up:
            return  # the record still owes it
        elif isinstance(send, SendOffer):
            self._offers.append(send)
        else:
            self._words.append(send)
        self._wake.set()

    def end(self, why: str) -> None:
        """Give the link up."""
        self.why_over = self.why_over or why
        self._scope.cancel()

    def part(self, code: str) -> None:
        """Tell the peer why, then give the link up. Nothing may be said before our own hello."""
        self.why_over = code
        self._bye = Bye(code=code)
        if self._greeted:
            self._words.append(self._bye)
            self._wake.set()

    async def run(self) -> None:
        """Live until the stream ends, the peer falls silent, or a rule is broken."""
        with self._scope:
            try:
                await self._live()
            except* NetworkError as broken:
                self.why_over = self.why_over or _first(broken).code
            except* TrucError as wrong:
                error = _first(wrong)
                self.why_over = self.why_over or error.code
                self._log.warning("link_refused", centre=self.centre, code=error.code, field=error.field)
        with trio.CancelScope(shield=True):
            await self._stream.reset()

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._watch)
            self._pump.put(Connected(centre=self.centre))
            await self._read()
            nursery.cancel_scope.cancel()

    # --- writing ------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            chunk = self._next_chunk()
            if chunk:
                self._metrics.network_bytes.labels(direction="out").inc(len(chunk))
                await self._write_chunk(chunk)
                if self._bye_said:
                    await self._stream.close()
                    self._scope.cancel()
            elif not self._words and not self._offers:
                self._wake = trio.Event()
                await self._wake.wait()
            else:
                await trio.lowlevel.checkpoint()

    async def _write_chunk(self, chunk: bytes) -> None:
        try:
            with trio.fail_after(WRITE_S):
                await self._stream.write(chunk)
        except trio.TooSlowError as error:
            raise NetworkError("stream_stalled", seconds=WRITE_S) from error

    def _next_chunk(self) -> bytes:
        """Frames for one write: words first, then offers, up to the flush size."""
        chunk = bytearray()
        while len(chunk) < FLUSH_BYTES and (self._words or self._offers):
            item = self._words.popleft() if self._words else self._offers.popleft()
            frame = self._frame_of(item)
            self._bye_said = self._bye_said or isinstance(frame, Bye)
            if frame is not None:
                chunk += frame_bytes(frame)
        if len(self._words) <= WORDS_MAX // 2:
            self._drained.set()
        return bytes(chunk)

    def _frame_of(self, item: Send | Frame) -> Frame | None:
        if isinstance(item, Ping | Pong | Bye | NotNow):
            return item
        try:
            frame = self._frames.frame(item)  # type: ignore[arg-type]  # the other frames are never queued
        except TrucError as error:
            self._log.error("frame_not_made", centre=self.centre, code=error.code)
            frame = None
        if frame is None and isinstance(item, SendOffer):
            self._on_dropped(self.centre, item.consignment)
        return frame

    # --- reading ------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            data = await self._stream.read(READ_BYTES)
            self.heard_ms = self._environment.monotonic_ms()
            if not data:
                self._session.finish()
                self.why_over = self.why_over or "closed_by_peer"
                return
            self._metrics.network_bytes.labels(direction="in").inc(len(data))
            for frame in self._session.receive(data):
                self._take(frame)
                await trio.lowlevel.checkpoint()  # a frame may cost a signature or two
            await self._pump.committer.room()
            while len(self._words) > WORDS_MAX:
                self._drained = trio.Event()
                await self._drained.wait()

    def _take(self, frame: Frame) -> None:
        match frame:
            case Hello():
                self.hello = frame
                self._on_time(self.centre, frame.time_ms)
                self._on_up(self, frame)
            case Offer() | Returned() | Ack() | NotNow():
                self._hand_over(frame)
            case Holding():
                self._on_holding(self.centre, frame.consignment)
            case Ping():
                self._on_time(self.centre, frame.time_ms)
                here = self._pump.here()
                self._words.append(Pong(echo_ms=frame.time_ms, time_ms=here.now_ms, clock_quality=here.clock_quality))
                self._wake.set()
            case Pong():
                self._on_time(self.centre, frame.time_ms)
            case Bye():
                self.told_twin = frame.code == "twin"
                self.end(frame.code)

    def _hand_over(self, frame: Offer | Returned | Ack | NotNow) -> None:
        try:
            self._pump.put(self._input_of(frame))
        except StoreError as error:
            self._log.info("not_taken", centre=self.centre, code=error.code)
            self._decline(frame)

    def _decline(self, frame: Offer | Returned | Ack | NotNow) -> None:
        """A read-only node takes nothing and remembers nothing: the peer keeps owing."""
        if isinstance(frame, Offer):
            subject = judging.read(self.centre, frame).id
        elif isinstance(frame, Returned):
            subject = Signed.from_wire(frame.thing, bytes_max=len(frame.thing)).digest
        else:
            return
        self._words.append(NotNow(subject=subject, code="disk_floor", retry_ms=RETRY_OF["disk_floor"]))
        self._wake.set()

    def _input_of(
        self, frame: Offer | Returned | Ack | NotNow
    ) -> OfferArrived | ThingReturned | ThingAcked | OfferPutOff:
        match frame:
            case Offer():
                return OfferArrived(centre=self.centre, offer=frame)
            case Returned():
                return ThingReturned(centre=self.centre, returned=frame)
            case Ack():
                return ThingAcked(centre=self.centre, thing=frame.thing)
            case NotNow():
                return OfferPutOff(centre=self.centre, answer=frame)

    # --- watching -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ping a quiet peer; give up one that stays silent (there is no dead-peer detection below us)."""
        while True:
            await trio.sleep(self._ping_s)  # a deadline, not a poll: nothing is looked at in between
            silent_s = (self._environment.monotonic_ms() - self.heard_ms) / 1000
            if silent_s >= self._dead_s:
                raise NetworkError("peer_silent", centre=self.centre, seconds=int(silent_s))
            if silent_s >= self._ping_s / 2 and self.is_up:
                here = self._pump.here()
                self._words.append(Ping(time_ms=here.now_ms, clock_quality=here.clock_quality))
                self._wake.set()


def _first(group: BaseExceptionGroup[TrucError]) -> TrucError:
    error = group.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Links:
    """The links of every peer: one that counts, and newer ones that have yet to say hello."""

    def __init__(self) -> None:
        self._by_centre: dict[str, Link] = {}
        self._new: dict[str, list[Link]] = {}

    def get(self, centre: str) -> Link | None:
        """The link to a centre that counts, if one stands."""
        return self._by_centre.get(centre)

    def route(self, send: Send) -> None:
        """Give a send to its peer's link; without one it is dropped, the record still owes it."""
        if isinstance(send, SendHello):
            for new in self._new.get(send.centre, []):
                new.send(send)
        link = self._by_centre.get(send.centre)  # a hello, too: the peer's may have come before ours left
        if link is not None:
            link.send(send)

    def add(self, link: Link) -> None:
        """A stream begins; it counts from the peer's hello on."""
        new = self._new.setdefault(link.centre, [])
        new.append(link)
        if len(new) > NEW_LINKS_MAX:
            new[0].end("too_many_streams")

    def promote(self, link: Link) -> None:
        """The peer has said hello on this link: it replaces the older one."""
        self._new[link.centre].remove(link)
        older = self._by_centre.get(link.centre)
        self._by_centre[link.centre] = link
        if older is not None:
            older.end("replaced")

    def remove(self, link: Link) -> bool:
        """Forget a link that is over; whether it was the one that counted."""
        if link in self._new.get(link.centre, []):
            self._new[link.centre].remove(link)
        if self._by_centre.get(link.centre) is not link:
            return False
        del self._by_centre[link.centre]
        return True

    def end_all(self, why: str) -> None:
        """Reset every stream: what the sessions had advanced to is no longer true."""
        for link in [*self._by_centre.values(), *(new for links in self._new.values() for new in links)]:
            link.end(why)
