"""Frames: whatever pieces the bytes come in, the same frames and the same error come out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError
from protocol.framing import Decoder, Frame, encode_frame
from tests.support.errors import expects
from tests.support.vectors import load


def decoded(pieces: list[bytes], frame_bytes_max: int) -> tuple[list[Frame], str]:
    """All frames of a stream in these pieces, and the code of the error that ended it."""
    decoder = Decoder(frame_bytes_max)
    frames: list[Frame] = []
    try:
        for piece in pieces:
            frames += decoder.feed(piece)
        decoder.finish()
    except FormatError as error:
        return frames, error.code
    return frames, ""


@pytest.mark.parametrize("row", load("framing"), ids=lambda row: row["name"])
def test_a_stream_gives_the_frames_and_the_error_of_its_vector(row: dict[str, Any]) -> None:
    octets = bytes.fromhex(row["hex"])
    wanted = [(kind, bytes.fromhex(body)) for kind, body in row["frames"]]
    for pieces in ([octets], [octets[n : n + 1] for n in range(len(octets))]):
        assert decoded(pieces, row["frame_bytes_max"]) == (wanted, row.get("error", ""))


FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=6)


@given(FRAMES, st.lists(st.integers(0, 250), max_size=8))
def test_frames_read_back_however_the_stream_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    octets = b"".join(encode_frame(kind, body) for kind, body in frames)
    bounds = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(bounds)]
    assert decoded(pieces, 41) == (frames, "")


@given(st.binary(max_size=80), st.integers(1, 20))
def test_any_bytes_give_the_same_outcome_one_by_one_as_at_once(octets: bytes, frame_bytes_max: int) -> None:
    singly = [octets[n : n + 1] for n in range(len(octets))]
    assert decoded([octets], frame_bytes_max) == decoded(singly, frame_bytes_max)


def test_a_frame_too_large_is_refused_as_soon_as_its_length_is_known() -> None:
    decoder = Decoder(10)
    assert decoder.feed(b"\x00\x00\x00") == []
    with expects("frame_too_large", FormatError) as caught:
        decoder.feed(b"\x0b")
    assert caught[0].detail == {"size": 11, "limit": 10}
    assert decoder.held_bytes == 0


def test_good_frames_before_a_bad_one_come_out_before_the_error() -> None:
    decoder = Decoder(10)
    assert decoder.feed(encode_frame(1, b"x") + bytes(4)) == [(1, b"x")]
    for call in (lambda: decoder.feed(encode_frame(1, b"y")), decoder.finish, lambda: decoder.feed(b"")):
        with expects("frame_empty", FormatError):
            call()


def test_an_unfinished_frame_is_all_that_is_held() -> None:
    decoder = Decoder(1000)
    decoder.feed(encode_frame(1, bytes(500)) * 3 + encode_frame(2, bytes(999))[:-1])
    assert decoder.held_bytes == 1003
    assert decoder.feed(b"\x00") == [(2, bytes(999))]
    assert decoder.held_bytes == 0


def test_the_stream_may_end_only_between_frames() -> None:
    decoder = Decoder(10)
    decoder.finish()
    decoder.feed(encode_frame(1, b"abc")[:-1])
    with expects("frame_truncated", FormatError):
        decoder.finish()


def test_a_large_frame_in_small_pieces_is_not_looked_at_piece_by_piece() -> None:
    frame = encode_frame(9, bytes(4_000_000))
    decoder = Decoder(4_000_001)
    frames = [found for at in range(0, len(frame), 997) for found in decoder.feed(frame[at : at + 997])]
    assert frames == [(9, bytes(4_000_000))]


@pytest.mark.parametrize("kind", [-1, 256])
def test_a_type_is_one_byte(kind: int) -> None:
    with pytest.raises(OverflowError):
        encode_frame(kind, b"")


def test_a_decoder_without_room_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Decoder(0)
