"""Exchange streams: one link per peer, with one reader and the only writer.

Obeys DESIGN §5. A link turns frames into inputs of the pump and sends into frames; it decides
nothing. Two classes wait for the writer: words (receipts, answers, pings) before offers. A link
that breaks a rule, or that the peer breaks, ends and is reset; what was owed stays owed. A thing inside
a good frame that cannot be read or believed is answered, and the link goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from node.conduct import RESTRAINED_RETRY_MS, Conduct
from node.environment import Environment
from node.frames import FrameMaker
from node.logs import Log
from node.metrics import Metrics
from node.offer_line import OfferLine, Window
from node.pump import Pump
from node.transport import ByteStream
from protocol import judging
from protocol.errors import FormatError, NetworkError, StoreError, TrucError
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
    heads_extension,
    heads_in,
    unread_subject,
)
from protocol.limits import KIB
from protocol.receiving import RETRY_OF
from protocol.records import IN
from protocol.signing import Signed
from protocol.step import (
    Alarm,
    Connected,
    Event,
    OfferArrived,
    OfferPutOff,
    Send,
    SendHello,
    SendOffer,
    SendReturn,
    Settled,
    StateChanged,
    ThingAcked,
    ThingReturned,
)

READ_BYTES: Final = 256 * KIB
"""One read; small reads cost a window update each (LIBRARIES §libp2p)."""
FLUSH_BYTES: Final = 256 * KIB
"""Frames joined into one write."""
WRITE_S: Final = 300
"""A peer that takes nothing for so long is given up; even a slow line moves a chunk in this time."""
WORDS_MAX: Final = 2_000
"""Words waiting for the writer; above it nothing more is read from this peer, and receipts are left to
the returner, which brings them when there is room again."""
WORDS_HELD_MAX: Final = 8 * WORDS_MAX
"""What was read before and is answered now comes on top of that, a committer's backlog of it. A peer
that does not take even this is given up: what it has not heard is said on its next link."""
SAID_MAX: Final = 1_024
"""Bytes of things that were said last, by digest: all that a window may hold, twice."""
RULES: Final = frozenset({"exchange_order", "exchange_wrong_centre", "exchange_version"})
"""Rules of the session; who breaks them, or the rules of framing, is turned away for a while."""


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
        window: Window,
        on_holding: Callable[[str, bytes], bool],
        on_dropped: Callable[[str, bytes], None],
        on_time: Callable[[str, int], None],
        heads: Callable[[], bytes],
        on_heads: Callable[[str, bytes], None],
        on_skipped: Callable[[str], None],
        conduct: Conduct,
    ) -> None:
        """`on_up` is told of the peer's hello, `on_holding` of offers whose bodies are pulled (it
        says whether they leave the window), `on_dropped` of offers that made no frame, `on_time` of what
        time it is there, `on_heads` of the digest of its directory's heads (`heads` gives ours),
        `on_skipped` that there is room again for receipts that had none."""
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
        self._heads: Final = heads
        self._on_heads: Final = on_heads
        self._heads_said = b""
        self._on_skipped: Final = on_skipped
        self._conduct: Final = conduct
        self._session: Final = Session(centre)
        self._words: deque[Send | Frame] = deque()
        self._offers: Final = OfferLine(window)
        self._skipped = False
        self._said: dict[bytes, bytes] = {}
        self._greeted = False
        self._bye: Bye | None = None
        self._bye_said = False
        self.hello: Hello | None = None
        """What the peer said first; None until then."""
        self._wake = trio.Event()
        self._drained = trio.Event()
        self._scope = trio.CancelScope()
        self.over: Final = trio.Event()
        """Set by whoever ran it, when it has ended."""
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
            self._offers.add(send)
        elif isinstance(send, SendReturn) and len(self._words) >= WORDS_MAX:
            self._skipped = True  # still owed, and brought when the line is shorter
        elif len(self._words) >= WORDS_HELD_MAX:
            self.end("not_reading")
        else:
            self._words.append(send)
        self._wake.set()

    def end(self, why: str) -> None:
        """Give the link up."""
        self.why_over = self.why_over or why
        self._scope.cancel()

    @property
    def is_unaware(self) -> bool:
        """The peer has not heard of our directory as it is now."""
        return self.is_up and self._heads() != self._heads_said

    def tell_heads(self) -> None:
        """Ping a peer that is unaware."""
        if self.is_unaware:
            self._ping(self._heads())

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
                self._give_up(_first(broken))
            except* TrucError as wrong:
                error = _first(wrong)
                self._give_up(error)
                self._log.warning("link_refused", centre=self.centre, code=error.code, field=error.field)
        with trio.CancelScope(shield=True):
            await self._stream.reset()

    def _give_up(self, error: TrucError) -> None:
        self.why_over = self.why_over or error.code
        cut_short = error.code == "frame_truncated"  # the network does that, too
        if error.code in RULES or (isinstance(error, FormatError) and not cut_short):
            self._conduct.broke(error.code)

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
            item = self._words.popleft() if self._words else self._offers.next()
            frame = self._frame_of(item)
            self._bye_said = self._bye_said or isinstance(frame, Bye)
            if frame is not None:
                encoded = frame_bytes(frame)
                chunk += encoded
                if isinstance(item, SendOffer):
                    self._offers.written(item.consignment, len(encoded))
        if len(self._words) <= WORDS_MAX // 2:
            self._drained.set()
            if self._skipped:
                self._skipped = False
                self._on_skipped(self.centre)
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
        elif isinstance(frame, Offer) and isinstance(item, SendOffer):
            self._note_said(frame.consignment, item.consignment)
        elif isinstance(frame, Returned) and isinstance(item, SendReturn):
            self._note_said(frame.thing, item.thing)
        return frame

    def _note_said(self, octets: bytes, subject: bytes) -> None:
        """A peer that cannot read these bytes can name nothing but their digest."""
        self._said[unread_subject(octets)] = subject
        if len(self._said) > SAID_MAX:
            del self._said[next(iter(self._said))]

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
            for frame in self._session.frames(data):
                self._take(frame)
                await trio.lowlevel.checkpoint()  # a frame may cost a signature or two
                while len(self._words) > WORDS_MAX:
                    self._drained = trio.Event()
                    await self._drained.wait()
            self._session.check()
            await self._pump.committer.room()

    def _take(self, frame: Frame) -> None:
        match frame:
            case Hello():
                self.hello = frame
                self._on_time(self.centre, frame.time_ms)
                self._on_up(self, frame)
                self._on_heads(self.centre, heads_in(frame))
            case Offer() | Returned() | Ack() | NotNow():
                self._hand_over(frame)
            case Holding():
                if self._on_holding(self.centre, frame.consignment):
                    self._answered(frame.consignment)
            case Ping():
                self._on_time(self.centre, frame.time_ms)
                self._say(self._pong(frame))
                self._on_heads(self.centre, heads_in(frame))
            case Pong():
                self._on_time(self.centre, frame.time_ms)
                self._on_heads(self.centre, heads_in(frame))
            case Bye():
                self.told_twin = frame.code == "twin"
                self.end(frame.code)

    def _hand_over(self, frame: Offer | Returned | Ack | NotNow) -> None:
        if self._conduct.is_restrained and isinstance(frame, Offer | Returned):
            self._decline(frame, "busy", RESTRAINED_RETRY_MS)
            return
        try:
            ticket = self._pump.put(self._input_of(frame))
        except StoreError as error:
            self._log.info("not_taken", centre=self.centre, code=error.code)
            self._decline(frame, "disk_floor", RETRY_OF["disk_floor"])
        else:
            for event in ticket.step.events:
                self._heed(event)

    def _heed(self, event: Event) -> None:
        """What a step made of a frame, as far as it concerns this link."""
        if isinstance(event, Settled):
            self._answered(event.consignment)
        elif isinstance(event, Alarm):
            self._conduct.struck(event.code)
        elif isinstance(event, StateChanged) and event.box == IN:
            if event.state == "refused":
                self._conduct.struck(event.code)
            elif event.state == "arrived":
                self._conduct.earned()

    def _answered(self, consignment: bytes) -> None:
        """The peer has spoken about an offer: the next may be written. Nothing that could be seen
        follows from it before its own batch."""
        self._offers.answered(consignment)
        self._wake.set()

    def _decline(self, frame: Offer | Returned | Ack | NotNow, code: str, retry_ms: int) -> None:
        """Nothing is taken and nothing remembered: the peer keeps owing."""
        if isinstance(frame, Offer):
            subject = judging.subject_of(frame)
        elif isinstance(frame, Returned):
            subject = _subject_of(frame)
        else:
            return
        self._say(NotNow(subject=subject, code=code, retry_ms=retry_ms))

    def _pong(self, ping: Ping) -> Pong:
        here, heads = self._pump.here(), self._heads()
        self._heads_said = heads
        return Pong(
            echo_ms=ping.time_ms,
            time_ms=here.now_ms,
            clock_quality=here.clock_quality,
            extensions=heads_extension(heads),
        )

    def _say(self, frame: Pong | NotNow) -> None:
        """Answer at once; a peer that asks before our hello is out gets none, for hello comes first."""
        if self._greeted:
            self._words.append(frame)
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
                subject = self._said.get(frame.subject, frame.subject)
                return OfferPutOff(centre=self.centre, answer=replace(frame, subject=subject))

    # --- watching -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ping a quiet peer, and one that has not heard of our directory as it is now; give up one that
        stays silent (there is no dead-peer detection below us)."""
        while True:
            await trio.sleep(self._ping_s)  # a deadline, not a poll: nothing is looked at in between
            silent_s = (self._environment.monotonic_ms() - self.heard_ms) / 1000
            if silent_s >= self._dead_s:
                raise NetworkError("peer_silent", centre=self.centre, seconds=int(silent_s))
            heads = self._heads()
            if self.is_up and (silent_s >= self._ping_s / 2 or heads != self._heads_said):
                self._ping(heads)

    def _ping(self, heads: bytes) -> None:
        self._heads_said = heads
        here = self._pump.here()
        extensions = heads_extension(heads)
        self._words.append(Ping(time_ms=here.now_ms, clock_quality=here.clock_quality, extensions=extensions))
        self._wake.set()


def _subject_of(returned: Returned) -> bytes:
    """What an answer to a returned thing names."""
    try:
        return Signed.from_wire(returned.thing, bytes_max=len(returned.thing)).digest
    except FormatError:
        return unread_subject(returned.thing)


def _first(group: BaseExceptionGroup[TrucError]) -> TrucError:
    error = group.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
