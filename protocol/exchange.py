"""The exchange session: what two nodes say to each other on their one long-lived stream.

Obeys DESIGN §4 and §5; `spec/exchange.md` has the frames and the order in which they may
come. Pure: bytes in, frames out. What a frame means for the outbox and the inbox is decided
in `sending.py` and `receiving.py`; who may open the stream at all, in the transport.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from hashlib import sha256
from typing import Annotated, Any, Final

from protocol.encoding import Count, Digest, Extensions, Format, Id16, Key, Meta, TimeMs
from protocol.errors import FormatError, NetworkError
from protocol.framing import Decoder, encode_frame
from protocol.limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX, PARTS_MAX, STATEMENT_BYTES_MAX

PROTOCOL: Final = "/truc/exchange/1.0.0"
VERSION: Final = 1
"""The newest version of the exchange that this code speaks; it also reads VERSION - 1."""

HEADS_BYTES: Final = 32
HEADS_EXTENSION: Final = 128
"""Where hello, ping and pong carry the speaker's heads digest (`spec/reconcile.md` §1). An extension,
because a release that does not know it carries unknown keys from 128 on and goes on; an unknown key
below 128 would end its session, and count as a broken rule."""

CLOSED_BEFORE_HELLO_BYTES_MAX: Final = 16 * 1024
"""Nothing but a hello (with a node record) may come first, and it fits well into this."""


class FrameType(IntEnum):
    """First byte of a frame."""

    HELLO = 1
    OFFER = 2
    HOLDING = 3
    NOT_NOW = 4
    RETURN = 5
    ACK = 6
    PING = 7
    PONG = 8
    BYE = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First frame in each direction. Marks belong to the pair journal (DESIGN §6)."""

    version_min: Annotated[Count, Key(1)]
    version_max: Annotated[Count, Key(2)]
    centre: Annotated[str, Key(3), Meta(max_length=35)]
    incarnation: Annotated[Id16, Key(4)]
    given: Annotated[Count, Key(5)]
    """Highest journal number I ever gave to you."""
    held: Annotated[Count, Key(6)]
    """Highest of your journal numbers that I hold."""
    time_ms: Annotated[TimeMs, Key(7)]
    clock_quality: Annotated[Count, Key(8)] = 0
    node_record: Annotated[bytes, Key(9), Meta(max_length=8192)] = b""
    features: Annotated[tuple[str, ...], Key(10), Meta(max_length=64)] = ()
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A consignment with all that is needed to judge it. `inline` holds all sealed parts or none."""

    number: Annotated[Count, Key(1)]
    envelope: Annotated[bytes, Key(2), Meta(max_length=STATEMENT_BYTES_MAX + 8192)]
    consignment: Annotated[bytes, Key(3), Meta(max_length=8192)]
    key_id: Annotated[Digest, Key(4)]
    stanza: Annotated[bytes, Key(5), Meta(max_length=256)]
    epoch: Annotated[Count, Key(6)]
    header: Annotated[bytes, Key(7), Meta(max_length=HEADER_BYTES_MAX)]
    inline: Annotated[tuple[bytes, ...], Key(8), Meta(max_length=PARTS_MAX)] = ()
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The offer is being worked on: its bodies are pulled. Not an answer."""

    consignment: Annotated[Digest, Key(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNow:
    """Neither yes nor no. `subject` is a consignment id, or the digest of a returned thing; of what
    cannot be read, `unread_subject`."""

    subject: Annotated[Digest, Key(1)]
    code: Annotated[str, Key(2), Meta(max_length=64)]
    retry_ms: Annotated[Count, Key(3)]
    """Not before this many milliseconds from now."""
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A receipt or a refusal, owed until it is acknowledged."""

    number: Annotated[Count, Key(1)]
    thing: Annotated[bytes, Key(2), Meta(max_length=STATEMENT_BYTES_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """This returned thing is durable here."""

    thing: Annotated[Digest, Key(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Sign of life; carries the clock, so that nodes notice a wrong one."""

    time_ms: Annotated[TimeMs, Key(1)]
    clock_quality: Annotated[Count, Key(2)] = 0
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answer to a ping: the time it carried, and ours."""

    echo_ms: Annotated[TimeMs, Key(1)]
    time_ms: Annotated[TimeMs, Key(2)]
    clock_quality: Annotated[Count, Key(3)] = 0
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """Last frame before closing: why."""

    code: Annotated[str, Key(1), Meta(max_length=64)]


Frame = Hello | Offer | Holding | NotNow | Returned | Ack | Ping | Pong | Bye

FORMATS: Final[dict[FrameType, Format[Any]]] = {
    FrameType.HELLO: Format("truc/exchange/hello/1", Hello, bytes_max=CLOSED_BEFORE_HELLO_BYTES_MAX),
    FrameType.OFFER: Format("truc/exchange/offer/1", Offer, bytes_max=FRAME_BYTES_MAX),
    FrameType.HOLDING: Format("truc/exchange/holding/1", Holding, bytes_max=256),
    FrameType.NOT_NOW: Format("truc/exchange/not_now/1", NotNow, bytes_max=4096),
    FrameType.RETURN: Format("truc/exchange/return/1", Returned, bytes_max=STATEMENT_BYTES_MAX + 256),
    FrameType.ACK: Format("truc/exchange/ack/1", Ack, bytes_max=256),
    FrameType.PING: Format("truc/exchange/ping/1", Ping, bytes_max=4096),
    FrameType.PONG: Format("truc/exchange/pong/1", Pong, bytes_max=4096),
    FrameType.BYE: Format("truc/exchange/bye/1", Bye, bytes_max=256),
}

_TYPE_OF: Final = {known.statement: number for number, known in FORMATS.items()}


def frame_bytes(frame: Frame) -> bytes:
    """A frame as it goes on the wire."""
    number = _TYPE_OF[type(frame)]
    return encode_frame(number, FORMATS[number].encode(frame))


def unread_subject(octets: bytes) -> bytes:
    """What an answer names when what was offered or returned cannot be read: the bytes themselves."""
    return sha256(octets).digest()


def heads_extension(heads: bytes) -> dict[int, Any]:
    """Extensions that carry this heads digest; none while there is none to tell."""
    return {HEADS_EXTENSION: heads} if heads else {}


def heads_in(frame: Hello | Ping | Pong) -> bytes:
    """The heads digest that a frame carries; empty if it carries none that we understand."""
    found = frame.extensions.get(HEADS_EXTENSION)
    return found if isinstance(found, bytes) and len(found) == HEADS_BYTES else b""


class Phase(Enum):
    """Where a session stands."""

    GREETING = "greeting"
    OPEN = "open"
    OVER = "over"


class Session:
    """One side of one exchange stream, as a state machine over bytes.

    `expected_centre` is the peer that the transport has authenticated. A session that has
    raised is over; its stream is reset by the caller.
    """

    def __init__(self, expected_centre: str) -> None:
        self.expected_centre: Final = expected_centre
        self.phase = Phase.GREETING
        self.version = VERSION
        self._decoder = Decoder(FRAME_BYTES_MAX)

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes, all at once.

        Raises:
            FormatError, NetworkError: as `frames`; frames that stood before the bad one are lost.
        """
        return list(self.frames(data))

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes, each read when it is asked for, so that
        thousands of small ones need not be read in one go.

        Raises:
            FormatError: bytes that are no frame, or a frame that is no statement.
            NetworkError: `exchange_order` (anything before hello, a second hello, anything
                after bye), `exchange_wrong_centre`, `exchange_version`.
        """
        try:
            for number, body in self._decoder.feed(data):
                yield self._admit(number, body)
        except (FormatError, NetworkError):
            self.phase = Phase.OVER
            raise

    def check(self) -> None:
        """Whether something behind the last frame cannot be read; what stood before it came out first.

        Raises:
            FormatError: as `frames`.
        """
        for _ in self.frames(b""):
            raise AssertionError("frames of no bytes")

    def finish(self) -> None:
        """The stream ended cleanly; half a frame is an error."""
        self._decoder.finish()
        self.phase = Phase.OVER

    def _admit(self, number: int, body: bytes) -> Frame:
        try:
            known = FORMATS[FrameType(number)]
        except ValueError as error:
            raise FormatError("frame_unknown", type=number) from error
        if (self.phase is Phase.GREETING) != (number == FrameType.HELLO) or self.phase is Phase.OVER:
            raise NetworkError("exchange_order", frame=FrameType(number).name.lower())
        frame: Frame = known.decode(body)
        if isinstance(frame, Hello):
            self._greet(frame)
        elif isinstance(frame, Bye):
            self.phase = Phase.OVER
        return frame

    def _greet(self, hello: Hello) -> None:
        if hello.centre != self.expected_centre:
            raise NetworkError("exchange_wrong_centre", centre=hello.centre, expected=self.expected_centre)
        if hello.version_min > VERSION or hello.version_max < max(1, VERSION - 1):
            raise NetworkError("exchange_version", theirs=hello.version_max, ours=VERSION)
        self.version = min(VERSION, hello.version_max)
        self.phase = Phase.OPEN
