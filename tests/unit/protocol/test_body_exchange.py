"""Requests and answers of the body exchange against their vectors."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.body_exchange import (
    ANSWER,
    FRAME_BYTES_MAX,
    REQUEST,
    BodyAsked,
    BodyGiven,
    ask,
    give,
    read_asked,
    read_given,
)
from protocol.errors import FormatError
from protocol.framing import Decoder
from protocol.limits import SEGMENT_BYTES
from tests.support.errors import expects
from tests.support.exchange_vectors import body_failure
from tests.support.statement_vectors import plain
from tests.support.vectors import load

ALL = load("body_exchange")
_GOOD = [pytest.param(vector, id=vector["name"]) for vector in ALL if "error" not in vector]
_BAD = [pytest.param(vector, id=vector["name"]) for vector in ALL if "error" in vector]


@pytest.mark.parametrize("vector", _GOOD)
def test_a_frame_reads_and_writes_back(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    ((number, body),) = Decoder(FRAME_BYTES_MAX).feed(frame)
    if number == REQUEST:
        asked = read_asked(number, body)
        assert (plain(asked), ask(asked)) == (vector["fields"], frame)
    else:
        given = read_given(number, body)
        assert (plain(given), give(given), number) == (vector["fields"], frame, ANSWER)


@pytest.mark.parametrize("vector", _BAD)
def test_a_wrong_frame_is_told_with_its_code(vector: dict[str, Any]) -> None:
    with expects(vector["error"], FormatError):
        raise body_failure(vector["role"], bytes.fromhex(vector["hex"]))


def test_a_wrong_offset_names_itself() -> None:
    vector = next(vector for vector in ALL if vector.get("error") == "body_offset")
    error = body_failure("request", bytes.fromhex(vector["hex"]))
    assert (error.field, error.detail) == ("offset", {"offset": 1})


def test_a_request_from_the_middle_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        ask(BodyAsked(consignment=bytes(32), body=bytes(32), offset=SEGMENT_BYTES - 1))


def test_frames_are_small() -> None:
    largest = ask(BodyAsked(consignment=bytes(32), body=bytes(32), offset=2**40))
    assert len(largest) < FRAME_BYTES_MAX
    assert len(give(BodyGiven(code="x" * 64))) < FRAME_BYTES_MAX
