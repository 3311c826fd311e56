"""Frames of the directory stream: their vectors, their bounds, and any bytes at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import Fork, fork_wire
from protocol.errors import FormatError, TrucError
from protocol.heads import LogHead
from protocol.limits import (
    DIRECTORY_WIRE_BYTES_MAX,
    RECONCILE_FETCH_MAX,
    RECONCILE_FILL_BYTES,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_LOGS_FRAME,
    RECONCILE_NODES_FRAME,
    RECONCILE_PREFIXES_MAX,
    RECONCILE_QUESTION_BYTES_MAX,
)
from protocol.prefix_tree import EMPTY, Node
from protocol.reconcile_frames import (
    ANSWERS,
    QUESTIONS,
    HeadsGiven,
    Introduced,
    Kind,
    LogGiven,
    ThingsAsked,
    ThingsGiven,
    TreeAsked,
    TreeGiven,
    frame_bytes,
    read_answer,
    read_question,
)
from tests.support.errors import expects, record
from tests.support.reconcile_vectors import ANSWERS_BAD, QUESTIONS_BAD, failure, read, reconcile
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, load, written

ALL = load("reconcile")
BAD = [("answering", *row) for row in QUESTIONS_BAD] + [("asking", *row) for row in ANSWERS_BAD]


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert (FOLDER / "reconcile.json").read_text("utf-8") == written(reconcile())
    names = [row["name"] for row in ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ALL if "fields" in row], ids=lambda row: row["name"])
def test_a_frame_reads_and_writes_back(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["hex"])
    value = read(row["role"], frame)
    assert plain(value) == row["fields"]
    assert frame_bytes(value) == frame
    assert frame[4] == row["type"]


@pytest.mark.parametrize(("role", "name", "code", "frame"), BAD, ids=[row[1] for row in BAD])
def test_a_bad_frame_says_its_code(role: str, name: str, code: str, frame: bytes) -> None:
    error = failure(role, frame)
    assert (error.code, error.family) == (code, "format")
    record(code)


@pytest.mark.parametrize("row", [row for row in ALL if "error" in row], ids=lambda row: row["name"])
def test_a_bad_frame_says_the_code_of_its_vector(row: dict[str, Any]) -> None:
    assert failure(row["role"], bytes.fromhex(row["hex"])).code == row["error"]


def test_every_kind_of_frame_has_a_format_and_a_vector() -> None:
    assert set(QUESTIONS) | set(ANSWERS) == set(Kind)
    assert all(number < 64 for number in QUESTIONS)
    assert all(number > 64 for number in ANSWERS)
    assert {row["type"] for row in ALL if "fields" in row} == set(Kind)


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_bytes_are_a_question_or_a_format_error(number: int, body: bytes) -> None:
    with suppress(FormatError):
        frame_bytes(read_question(number, body))


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_format_error(number: int, body: bytes) -> None:
    with suppress(FormatError):
        frame_bytes(read_answer(number, body))


@given(st.sampled_from([row for row in ALL if "hex" in row]), st.data())
def test_a_changed_byte_is_read_or_is_a_format_error(row: dict[str, Any], data: st.DataObject) -> None:
    frame = bytes.fromhex(row["hex"])
    body = frame[5:]
    at = data.draw(st.integers(0, max(0, len(body) - 1)))
    changed = body[:at] + data.draw(st.binary(max_size=3)) + body[at + 1 :]
    for reader in (read_question, read_answer):
        try:
            reader(frame[4], changed)
        except TrucError as error:
            assert error.family == "format"


# --- bounds ---------------------------------------------------------------------------------


def test_the_largest_question_fits_into_its_frame() -> None:
    digests = tuple(n.to_bytes(32, "big") for n in range(RECONCILE_FETCH_MAX))
    prefixes = tuple((256, n.to_bytes(32, "big")) for n in range(RECONCILE_PREFIXES_MAX))
    longest = "H38" + ".ABCDEFGH" * 3
    for question in (
        ThingsAsked(digests=digests),
        TreeAsked(registrar=longest, generation=2**63 - 1, prefixes=prefixes),
    ):
        assert len(frame_bytes(question)) < RECONCILE_QUESTION_BYTES_MAX


def test_the_largest_answers_fit_into_their_frame() -> None:
    two = Fork(first=bytes(DIRECTORY_WIRE_BYTES_MAX), second=bytes(DIRECTORY_WIRE_BYTES_MAX))
    logs = tuple(
        LogHead(registrar=f"H38.{n:031}", generation=2**63 - 1, number=2**63 - 1, checkpoint=b"x" * 32, root=b"x" * 32)
        for n in range(RECONCILE_LOGS_FRAME)
    )
    for answer in (
        ThingsGiven(things=(fork_wire(two),), more=True),
        LogGiven(rows=((2**63 - 1, bytes(DIRECTORY_WIRE_BYTES_MAX)),), more=True),
        HeadsGiven(root_digest=b"x" * 32, logs=logs, more=True),
        TreeGiven(root=b"x" * 32, nodes=(Node(below=(EMPTY,) * 16),) * RECONCILE_NODES_FRAME, more=True),
    ):
        assert len(frame_bytes(answer)) - 4 <= RECONCILE_FRAME_BYTES_MAX
    assert len(frame_bytes(HeadsGiven(logs=logs))) < RECONCILE_FILL_BYTES


def test_an_introduction_of_more_than_64_kib_cannot_be_made() -> None:
    with expects("format_too_large", FormatError):
        frame_bytes(Introduced(things=(bytes(RECONCILE_QUESTION_BYTES_MAX),)))
