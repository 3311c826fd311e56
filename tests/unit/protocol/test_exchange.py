"""The exchange session: frames against their vectors, and the order in which they may come."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, NetworkError, TrucError
from protocol.exchange import (
    CLOSED_BEFORE_HELLO_BYTES_MAX,
    FORMATS,
    HEADS_EXTENSION,
    VERSION,
    Bye,
    Frame,
    FrameType,
    Hello,
    Offer,
    Phase,
    Ping,
    Pong,
    Session,
    frame_bytes,
    heads_extension,
    heads_in,
    unread_subject,
)
from protocol.framing import encode_frame
from protocol.limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX, INLINE_BYTES_MAX
from tests.support.errors import expects, record
from tests.support.exchange_vectors import BAD, CENTRE, GOOD, HELLO, OFFER, failure
from tests.support.statement_vectors import plain
from tests.support.vectors import load

ALL = load("exchange")
STOPPED_BY_FRAMING = ("frame_empty", "frame_too_large")
_GOOD = [pytest.param(vector, id=vector["name"]) for vector in ALL if "error" not in vector]


def opened() -> Session:
    session = Session(CENTRE)
    session.receive(frame_bytes(HELLO))
    return session


@pytest.mark.parametrize("vector", _GOOD)
def test_a_frame_reads_and_writes_back(vector: dict[str, Any]) -> None:
    stream = bytes.fromhex(vector["hex"])
    hello = vector["type"] == FrameType.HELLO
    (frame,) = (Session(CENTRE) if hello else opened()).receive(stream)
    assert plain(frame) == vector["fields"]
    assert frame_bytes(frame) == stream
    assert stream[4] == vector["type"]


@pytest.mark.parametrize(("name", "code", "stream"), BAD, ids=[name for name, _, _ in BAD])
def test_what_must_not_come_ends_the_session_with_its_code(name: str, code: str, stream: bytes) -> None:
    family = NetworkError if code.startswith("exchange_") else FormatError
    error = failure(stream)
    assert isinstance(error, family)
    assert error.code == code
    record(code)
    session = Session(CENTRE)
    with suppress(TrucError):
        session.receive(stream)
    assert session.phase is Phase.OVER or code in STOPPED_BY_FRAMING


@pytest.mark.parametrize("heads", [b"", bytes(range(32))])
def test_hello_ping_and_pong_carry_the_heads_of_the_directory(heads: bytes) -> None:
    extensions = heads_extension(heads)
    frames: tuple[Frame, ...] = (
        replace(HELLO, extensions=extensions),
        Ping(time_ms=1, extensions=extensions),
        Pong(echo_ms=1, time_ms=2, extensions=extensions),
    )
    read = Session(CENTRE).receive(b"".join(map(frame_bytes, frames)))
    assert [heads_in(frame) for frame in read if isinstance(frame, Hello | Ping | Pong)] == [heads] * 3


@pytest.mark.parametrize("found", [0, "text", b"", bytes(31), bytes(33), [bytes(32)], {1: bytes(32)}, True])
def test_something_else_in_the_place_of_heads_is_ignored(found: Any) -> None:
    (frame,) = opened().receive(frame_bytes(Ping(time_ms=1, extensions={HEADS_EXTENSION: found})))
    assert isinstance(frame, Ping)
    assert heads_in(frame) == b""


def test_every_frame_type_has_a_format_and_a_vector() -> None:
    assert set(FORMATS) == set(FrameType)
    assert {vector["type"] for vector in ALL if "error" not in vector} == {int(kind) for kind in FrameType}


def test_a_session_begins_with_hello_and_then_takes_everything() -> None:
    session = Session(CENTRE)
    phases = [session.phase]
    stream = b"".join(frame_bytes(frame) for name, frame in GOOD if not isinstance(frame, Hello))
    frames = session.receive(frame_bytes(HELLO) + stream)
    assert frames == [HELLO, *(frame for _, frame in GOOD if not isinstance(frame, Hello))]
    phases.append(session.phase)
    assert phases == [Phase.GREETING, Phase.OVER], "bye was the last"
    session.finish()


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=40))
def test_bytes_in_any_pieces_give_the_same_frames(cuts: list[int]) -> None:
    stream = frame_bytes(HELLO) + frame_bytes(OFFER) + frame_bytes(Ping(time_ms=5))
    session, frames, start = Session(CENTRE), [], 0
    for size in (*cuts, len(stream)):
        frames += session.receive(stream[start : start + size])
        start = min(start + size, len(stream))
    assert frames == [HELLO, OFFER, Ping(time_ms=5)]
    assert session.phase is Phase.OPEN


@given(st.binary(max_size=200))
def test_no_bytes_of_a_peer_lead_to_anything_but_frames_or_an_outcome(octets: bytes) -> None:
    session = opened()
    try:
        session.receive(octets)
        session.finish()
    except (FormatError, NetworkError):
        return
    assert session.phase is Phase.OVER


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (1, 1), (1, 9)])
def test_sessions_agree_on_the_newest_version_of_both(lowest: int, highest: int) -> None:
    hello = Hello(
        version_min=lowest, version_max=highest, centre=CENTRE, incarnation=bytes(16), given=0, held=0, time_ms=0
    )
    session = Session(CENTRE)
    session.receive(frame_bytes(hello))
    assert session.version == VERSION == 1
    assert session.phase is Phase.OPEN


def test_a_version_that_we_do_not_speak_is_told_with_ours() -> None:
    error = failure(next(stream for name, _, stream in BAD if name == "only newer versions"))
    assert error.detail == {"theirs": 1, "ours": 1}
    wrong = failure(next(stream for name, _, stream in BAD if name == "the hello of another centre"))
    assert wrong.detail == {"centre": "00.38.W00", "expected": CENTRE}
    order = failure(frame_bytes(OFFER))
    assert order.detail == {"frame": "offer"}


def test_a_stream_that_ends_inside_a_frame_is_an_error() -> None:
    session = opened()
    session.receive(frame_bytes(Ping(time_ms=5))[:-1])
    with expects("frame_truncated", FormatError):
        session.finish()


def test_a_stream_that_ends_between_frames_is_over() -> None:
    session = opened()
    session.finish()
    assert session.phase is Phase.OVER


def test_an_oversized_frame_is_refused_before_its_bytes_come() -> None:
    session = opened()
    with expects("frame_too_large", FormatError):
        session.receive((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        session.receive(b"")


def test_the_largest_honest_offer_fits_into_a_frame() -> None:
    offer = Offer(
        number=1,
        envelope=bytes(40_000),
        consignment=bytes(8_192),
        key_id=bytes(32),
        stanza=bytes(256),
        epoch=1,
        header=bytes(HEADER_BYTES_MAX),
        inline=(bytes(INLINE_BYTES_MAX),),
    )
    assert len(frame_bytes(offer)) < FRAME_BYTES_MAX
    assert opened().receive(frame_bytes(offer)) == [offer]


def test_a_hello_fits_well_into_what_may_come_first() -> None:
    hello = Hello(
        version_min=1,
        version_max=1,
        centre=CENTRE,
        incarnation=bytes(16),
        given=2**63 - 1,
        held=2**63 - 1,
        time_ms=HELLO.time_ms,
        node_record=bytes(8_192),
    )
    assert len(frame_bytes(hello)) < CLOSED_BEFORE_HELLO_BYTES_MAX
    assert Session(CENTRE).receive(frame_bytes(hello)) == [hello]


def test_frames_are_read_one_by_one_and_come_out_before_what_is_wrong() -> None:
    for wrong, code in ((bytes(4), "frame_empty"), (encode_frame(77, b""), "frame_unknown")):
        session, seen = opened(), list[Frame]()
        with expects(code, FormatError):
            for frame in session.frames(frame_bytes(Ping(time_ms=1)) + frame_bytes(Ping(time_ms=2)) + wrong):
                seen.append(frame)
            session.check()
        assert seen == [Ping(time_ms=1), Ping(time_ms=2)]
        assert session.phase is Phase.OVER
    session = opened()
    session.check()
    assert session.phase is Phase.OPEN


def test_what_cannot_be_read_is_named_by_its_digest() -> None:
    assert unread_subject(b"\xc1") == hashlib.sha256(b"\xc1").digest()


def test_frames_before_a_wrong_one_in_the_same_bytes_are_lost_with_the_stream() -> None:
    session = opened()
    with expects("frame_unknown", FormatError):
        session.receive(frame_bytes(Ping(time_ms=1)) + encode_frame(77, b""))
    with expects("exchange_order", NetworkError):
        session.receive(frame_bytes(Bye(code="x")))
