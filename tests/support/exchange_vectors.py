"""Makes the vectors of the frames of both exchanges (`protocol/spec/exchange.md`, `body_exchange.md`)."""

from __future__ import annotations

from typing import Any, Final

from protocol.body_exchange import (
    ANSWER,
    BODY_ASKED,
    BODY_GIVEN,
    REQUEST,
    BodyAsked,
    BodyGiven,
    give,
    read_asked,
    read_given,
)
from protocol.encoding import decode, encode
from protocol.errors import TrucError
from protocol.exchange import (
    FORMATS,
    HEADS_EXTENSION,
    Ack,
    Bye,
    Frame,
    FrameType,
    Hello,
    Holding,
    NotNow,
    Offer,
    Ping,
    Pong,
    Returned,
    Session,
    frame_bytes,
)
from protocol.framing import Decoder, encode_frame
from protocol.limits import FRAME_BYTES_MAX, SEGMENT_BYTES
from tests.support.statement_vectors import plain

Row = dict[str, Any]
CENTRE: Final = "00.12.W00"
TIME_MS: Final = 1_767_225_600_000

HELLO: Final = Hello(
    version_min=1, version_max=1, centre=CENTRE, incarnation=bytes(range(16)), given=7, held=9, time_ms=TIME_MS
)
OFFER: Final = Offer(
    number=7,
    envelope=b"envelope",
    consignment=b"consignment",
    key_id=bytes(range(32)),
    stanza=bytes(80),
    epoch=1,
    header=b"header",
)
_DIGEST: Final = bytes(range(32))

GOOD: Final[list[tuple[str, Frame]]] = [
    ("hello", HELLO),
    (
        "hello with a node record, features and an extension",
        Hello(
            version_min=1,
            version_max=2,
            centre=CENTRE,
            incarnation=bytes(16),
            given=0,
            held=0,
            time_ms=TIME_MS,
            clock_quality=2,
            node_record=b"record",
            features=("directory",),
            extensions={128: "later"},
        ),
    ),
    ("offer whose bodies are pulled", OFFER),
    (
        "offer with two parts inside",
        Offer(
            number=2**63 - 1,
            envelope=b"envelope",
            consignment=b"consignment",
            key_id=_DIGEST,
            stanza=bytes(80),
            epoch=2,
            header=b"header",
            inline=(b"one", b"two"),
        ),
    ),
    ("holding", Holding(consignment=_DIGEST)),
    ("not now", NotNow(subject=_DIGEST, code="busy", retry_ms=5_000)),
    ("returned", Returned(number=3, thing=b"receipt")),
    ("ack", Ack(thing=_DIGEST)),
    ("ping", Ping(time_ms=TIME_MS)),
    ("ping with the heads of the directory", Ping(time_ms=TIME_MS, extensions={HEADS_EXTENSION: _DIGEST})),
    ("pong", Pong(echo_ms=TIME_MS, time_ms=TIME_MS + 5, clock_quality=1)),
    ("bye", Bye(code="twin")),
]

_HELLO_BYTES: Final = frame_bytes(HELLO)


def _edited(frame: Frame, key: int, item: Any) -> bytes:
    number = next(kind for kind, form in FORMATS.items() if form.statement is type(frame))
    wire = decode(FORMATS[number].encode(frame), bytes_max=FRAME_BYTES_MAX)
    if item is None:
        del wire[key]
    else:
        wire[key] = item
    return encode_frame(number, encode(wire))


BAD: Final[list[tuple[str, str, bytes]]] = [
    ("an offer before hello", "exchange_order", frame_bytes(OFFER)),
    ("a bye before hello", "exchange_order", frame_bytes(Bye(code="x"))),
    ("a second hello", "exchange_order", _HELLO_BYTES * 2),
    ("a ping after bye", "exchange_order", _HELLO_BYTES + frame_bytes(Bye(code="x")) + frame_bytes(Ping(time_ms=1))),
    ("the hello of another centre", "exchange_wrong_centre", _edited(HELLO, 3, "00.38.W00")),
    ("only newer versions", "exchange_version", _edited(HELLO, 1, 2)),
    ("only older versions", "exchange_version", _edited(HELLO, 2, 0)),
    ("frame type 0", "frame_unknown", _HELLO_BYTES + encode_frame(0, b"")),
    ("frame type 10", "frame_unknown", _HELLO_BYTES + encode_frame(10, b"")),
    ("an empty frame", "frame_empty", bytes(4)),
    ("a frame of half a gigabyte", "frame_too_large", b"\x20\x00\x00\x00"),
    ("bytes of another protocol", "frame_too_large", b"GET / HTTP/1.1\r\n"),
    ("a hello without a centre", "format_field", _edited(HELLO, 3, None)),
    ("a hello with an unknown key", "format_newer", _edited(HELLO, 99, 1)),
    ("a hello of 20 KiB", "format_too_large", _edited(HELLO, 9, bytes(20_000))),
    ("a not-now about 31 bytes", "format_field", _HELLO_BYTES + _edited(GOOD[5][1], 1, bytes(31))),
    ("a frame that is no map", "format_field", _HELLO_BYTES + encode_frame(FrameType.ACK, encode([1]))),
    ("a frame that is no value", "format_malformed", _HELLO_BYTES + encode_frame(FrameType.ACK, b"\xc1")),
]

BODY_GOOD: Final = [
    ("request from the beginning", REQUEST, BodyAsked(consignment=_DIGEST, body=bytes(32))),
    ("request from the second MiB", REQUEST, BodyAsked(consignment=_DIGEST, body=bytes(32), offset=SEGMENT_BYTES)),
    ("answer with a size", ANSWER, BodyGiven(size=5)),
    ("answer with a code", ANSWER, BodyGiven(code="body_gone")),
]


def _asked_at(offset: int) -> bytes:
    return encode_frame(REQUEST, encode({1: _DIGEST, 2: bytes(32), 3: offset}))


BODY_BAD: Final[list[tuple[str, str, str, bytes]]] = [
    ("request from the middle of a MiB", "request", "body_offset", _asked_at(1)),
    ("an answer where a request belongs", "request", "frame_unknown", give(BodyGiven(size=1))),
    ("a request where an answer belongs", "answer", "frame_unknown", _asked_at(SEGMENT_BYTES)),
    ("a request about nothing", "request", "format_field", encode_frame(REQUEST, encode({}))),
    ("an answer with a negative size", "answer", "format_field", encode_frame(ANSWER, encode({1: -1}))),
]


def failure(stream: bytes) -> TrucError:
    """What a session says to bytes that it must not take."""
    session = Session(CENTRE)
    try:
        session.receive(stream)
        session.receive(b"")
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


def body_failure(role: str, frame: bytes) -> TrucError:
    """What a reader of the body exchange says to a frame that it must not take."""
    ((number, body),) = Decoder(2048).feed(frame)
    try:
        read_asked(number, body) if role == "request" else read_given(number, body)
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


def exchange() -> list[Row]:
    """Frames of `/truc/exchange/1.0.0`."""
    good = [
        {"name": name, "type": frame_bytes(frame)[4], "hex": frame_bytes(frame).hex(), "fields": plain(frame)}
        for name, frame in GOOD
    ]
    bad = [
        {"name": name, "hex": stream.hex(), "error": code}
        for name, code, stream in BAD
        if len(stream) < 1_000  # the large ones are made by the tests
    ]
    return [*good, *bad]


def body_exchange() -> list[Row]:
    """Requests and answers of `/truc/body/1.0.0`."""
    good = [
        {
            "name": name,
            "hex": encode_frame(number, _body_form(number).encode(value)).hex(),
            "fields": plain(value),
        }
        for name, number, value in BODY_GOOD
    ]
    bad = [{"name": name, "role": role, "hex": frame.hex(), "error": code} for name, role, code, frame in BODY_BAD]
    return [*good, *bad]


def _body_form(number: int) -> Any:
    return BODY_ASKED if number == REQUEST else BODY_GIVEN
