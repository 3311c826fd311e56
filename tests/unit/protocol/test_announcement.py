"""Announcements: their vectors, their bounds, how a heap is packed, and any bytes at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.announcement import ANNOUNCEMENT, Announcement, LogMark, pack, read_announcement
from protocol.errors import FormatError
from protocol.heads import LogHead
from protocol.limits import (
    ANNOUNCED_LOGS_MAX,
    ANNOUNCED_THINGS_MAX,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENTS_ROW_MAX,
    DIRECTORY_WIRE_BYTES_MAX,
    KIB,
)
from protocol.prefix_tree import EMPTY
from tests.support.announcement_vectors import BAD, HEADS, MARKS, TOO_LARGE, WHOLE, announcement, failure
from tests.support.errors import record
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, load, written

ALL = load("announcement")


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert (FOLDER / "announcement.json").read_text("utf-8") == written(announcement())
    names = [row["name"] for row in ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ALL if "fields" in row], ids=lambda row: row["name"])
def test_an_announcement_reads_and_writes_back(row: dict[str, Any]) -> None:
    content = bytes.fromhex(row["hex"])
    value = read_announcement(content)
    assert plain(value) == row["fields"]
    assert ANNOUNCEMENT.encode(value) == content


@pytest.mark.parametrize("row", [row for row in ALL if "error" in row], ids=lambda row: row["name"])
def test_a_bad_announcement_says_the_code_and_the_field_of_its_vector(row: dict[str, Any]) -> None:
    error = failure(bytes.fromhex(row["hex"]))
    assert (error.code, error.field, error.family) == (row["error"], row["field"], "format")


@pytest.mark.parametrize(("name", "code", "content"), [*BAD, *TOO_LARGE], ids=[row[0] for row in [*BAD, *TOO_LARGE]])
def test_a_bad_announcement_says_its_code(name: str, code: str, content: bytes) -> None:
    assert failure(content).code == code, name
    record(code)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_announcement_or_a_format_error(content: bytes) -> None:
    try:
        value = read_announcement(content)
    except FormatError:
        return
    assert ANNOUNCEMENT.encode(value) == content


@given(st.sampled_from([row["hex"] for row in ALL]), st.data())
def test_a_flipped_byte_or_a_missing_end_is_read_or_is_a_format_error(text: str, data: st.DataObject) -> None:
    content = bytes.fromhex(text)
    at = data.draw(st.integers(0, max(0, len(content) - 1)))
    mask = data.draw(st.integers(1, 255))
    flipped = content[:at] + bytes(byte ^ mask for byte in content[at : at + 1]) + content[at + 1 :]
    for changed in (flipped, content[:at]):
        try:
            value = read_announcement(changed)
        except FormatError:
            continue
        assert ANNOUNCEMENT.encode(value) == changed


# --- packing --------------------------------------------------------------------------------


def things_of(contents: tuple[bytes, ...]) -> list[bytes]:
    """All things of a row, in order."""
    return [thing for content in contents for thing in read_announcement(content).things]


def test_nothing_to_say_is_no_announcement() -> None:
    assert pack([], created_ms=1) == ()


def test_heads_alone_are_an_announcement() -> None:
    (content,) = pack([], created_ms=7, heads=HEADS, logs=MARKS)
    assert read_announcement(content) == Announcement(created_ms=7, heads=HEADS, logs=MARKS)


def test_only_the_last_of_a_row_tells_heads_and_logs() -> None:
    wires = [b"%05d" % n + bytes(700) for n in range(200)]
    row = [read_announcement(content) for content in pack(wires, created_ms=1, heads=HEADS, logs=MARKS[::-1])]
    assert [value.heads for value in row] == [EMPTY] * (len(row) - 1) + [HEADS]
    assert row[-1].logs == MARKS
    assert sum(len(value.things) for value in row) == 200


def test_what_fits_into_no_announcement_is_left_out_and_the_logs_tell_of_it() -> None:
    large, small = bytes(DIRECTORY_WIRE_BYTES_MAX), b"small"
    (content,) = pack([large, small], created_ms=1, heads=HEADS, logs=MARKS)
    assert read_announcement(content).things == (small,)
    (content,) = pack([large], created_ms=1, heads=HEADS, logs=MARKS)
    assert read_announcement(content) == Announcement(created_ms=1, heads=HEADS, logs=MARKS)
    assert pack([large], created_ms=1) == ()


def test_a_row_ends_and_the_rest_is_left_out() -> None:
    wires = [b"%05d" % n for n in range(2 * ANNOUNCEMENTS_ROW_MAX * ANNOUNCED_THINGS_MAX)]
    row = pack(wires, created_ms=1, heads=HEADS)
    assert len(row) == ANNOUNCEMENTS_ROW_MAX
    assert things_of(row) == wires[: ANNOUNCEMENTS_ROW_MAX * ANNOUNCED_THINGS_MAX]
    assert read_announcement(row[-1]).heads == HEADS


def test_logs_beyond_the_bound_are_left_out() -> None:
    marks = [LogMark(registrar=f"H{n:02}", generation=1, number=1) for n in range(1, ANNOUNCED_LOGS_MAX + 3)]
    (content,) = pack([], created_ms=1, heads=HEADS, logs=marks)
    assert len(read_announcement(content).logs) == ANNOUNCED_LOGS_MAX


@given(st.lists(st.integers(1, 70 * KIB), max_size=40), st.booleans())
def test_whatever_is_packed_can_be_read_and_fits(sizes: list[int], tells_heads: bool) -> None:
    wires = [b"%05d" % n + bytes(size) for n, size in enumerate(sizes)]
    row = pack(wires, created_ms=2**63 - 1, heads=HEADS if tells_heads else EMPTY, logs=MARKS)
    assert len(row) <= ANNOUNCEMENTS_ROW_MAX
    assert all(len(content) <= ANNOUNCEMENT_BYTES_MAX for content in row)
    given_up = [wire for wire in wires if wire not in things_of(row)]
    assert all(len(wire) > 60 * KIB for wire in given_up) or len(row) == ANNOUNCEMENTS_ROW_MAX


# --- marks ----------------------------------------------------------------------------------


def test_a_mark_is_beyond_what_is_not_known_and_not_beyond_the_rest() -> None:
    mark = WHOLE.logs[0]
    assert mark.is_beyond(None)
    assert mark.is_beyond(LogHead(registrar="H38", generation=2, number=6_999))
    assert mark.is_beyond(LogHead(registrar="H38", generation=1, number=9_999))
    assert not mark.is_beyond(LogHead(registrar="H38", generation=2, number=7_000))
    assert not mark.is_beyond(LogHead(registrar="H38", generation=3, number=0))
