"""Kinds of records: what the decorator accepts, and what it makes of a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

from protocol.encoding import Count, Key
from protocol.errors import FormatError
from protocol.record import KINDS, RECORD_BYTES_MAX, Body, Delete, Kind, Place, Put, PutBody, kind
from tests.support.errors import expects


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    name: Annotated[str, Key(1)]
    number: Annotated[Count, Key(2)]
    note: Annotated[str, Key(3)] = ""


@pytest.fixture
def entry() -> Iterator[Kind[Entry]]:
    kind(250, "name", "number")(Entry)
    yield KINDS[Entry]
    del KINDS[Entry]


def test_a_kind_knows_number_key_and_format_of_its_records(entry: Kind[Entry]) -> None:
    record = Entry(name="x", number=7, note="n")
    assert (entry.number, entry.record, entry.key) == (250, Entry, ("name", "number"))
    assert entry.key_of(record) == ("x", 7)
    assert entry.format.name == "truc/store/250/1"
    assert entry.format.decode(entry.format.encode(record)) == record


def test_a_record_over_the_limit_is_not_written(entry: Kind[Entry]) -> None:
    with expects("format_too_large", FormatError):
        entry.format.encode(Entry(name="x", number=7, note="n" * RECORD_BYTES_MAX))


def test_a_number_is_given_once(entry: Kind[Entry]) -> None:
    with pytest.raises(AssertionError, match="record number 250 is taken"):
        kind(250, "name")(Place)


@pytest.mark.parametrize("number", [0, 256])
def test_a_number_is_one_byte_and_not_zero(number: int) -> None:
    with pytest.raises(AssertionError):
        kind(number, "name")(Entry)


def test_a_body_record_names_its_place() -> None:
    body = Body(digest=bytes(32), size=5, place=Place(segment=1, offset=2, length=5))
    known = KINDS[Body]
    assert known.number == 30
    assert known.key_of(body) == (bytes(32),)
    assert known.format.decode(known.format.encode(body)) == body


def test_changes_with_the_same_content_are_the_same() -> None:
    record = Entry(name="x", number=7)
    assert Put(record) == Put(Entry(name="x", number=7))
    assert Delete(Entry, ("x", 7)) != Delete(Entry, ("x", 8))
    assert PutBody(bytes(32), b"a") != PutBody(bytes(32), b"b")
