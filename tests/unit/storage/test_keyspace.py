"""Keys sort like their parts; values are bound to their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Count, Key
from protocol.errors import StoreError
from protocol.record import kind
from storage import keyspace
from tests.support.errors import expects
from tests.support.store_kinds import Counted, Letter, Mention

words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=4)
numbers = st.integers(0, 2**63 - 1)
letters = st.builds(Letter, agency=words, number=numbers, text=words)


def test_the_key_of_a_record_is_exactly_this() -> None:
    assert keyspace.key_of(Letter(agency="H38", number=258)).hex() == "f0" + "48333800" + "0000000000000102"
    assert keyspace.key_of(Mention(digest=b"\x07" * 32, agency="")).hex() == "f1" + "07" * 32 + "00"
    assert keyspace.key(Counted).hex() == "f2"


def test_the_value_of_a_record_is_exactly_this() -> None:
    at, value = keyspace.write_record(Counted(value=5))
    assert (at.hex(), value.hex()) == ("f2", "84adb549" + "810105")


@given(letters, letters)
def test_keys_sort_like_their_parts(one: Letter, other: Letter) -> None:
    parts = [(letter.agency.encode(), letter.number) for letter in (one, other)]
    keys = [keyspace.key_of(letter) for letter in (one, other)]
    assert (keys[0] < keys[1]) == (parts[0] < parts[1])
    assert (keys[0] == keys[1]) == (parts[0] == parts[1])


@given(letters, words, st.none() | numbers)
def test_a_range_holds_exactly_the_keys_behind(letter: Letter, agency: str, after: int | None) -> None:
    start, stop = keyspace.key_range(Letter, (agency,), () if after is None else (after,))
    expected = letter.agency == agency and (after is None or letter.number > after)
    assert (start <= keyspace.key_of(letter) < stop) == expected


@given(letters, words)
def test_a_range_behind_a_part_of_a_key_leaves_out_all_that_begin_with_it(letter: Letter, agency: str) -> None:
    start, stop = keyspace.key_range(Letter, (), (agency,))
    assert (start <= keyspace.key_of(letter) < stop) == (letter.agency.encode() > agency.encode())


def test_the_successor_of_a_key_ending_in_ff_drops_these_bytes() -> None:
    assert keyspace.successor(b"\xf0\xff\xff") == b"\xf1"


@pytest.mark.parametrize(
    "parts", [("a\x00b", 1), ("a", -1), ("a", 2**64), (1, 1), ("a", "1"), ("a", 1, 1), (b"a", 1), ("a",)]
)
def test_parts_that_make_no_key_are_our_own_mistake(parts: tuple[str | int, ...]) -> None:
    with pytest.raises((AssertionError, OverflowError)):
        keyspace.full_key(Letter, parts)


@pytest.mark.parametrize("digest", [b"", b"x" * 31, b"x" * 33, "x" * 32])
def test_a_byte_string_of_another_length_is_our_own_mistake(digest: bytes) -> None:
    with pytest.raises(AssertionError):
        keyspace.key(Mention, digest)


def test_a_key_field_without_one_length_is_our_own_mistake() -> None:
    @kind(243, "name")
    @dataclass(frozen=True, slots=True)
    class Loose:
        name: Annotated[bytes, Key(1)]

    with pytest.raises(AssertionError):
        keyspace.key(Loose, b"x")


@given(letters)
def test_a_record_reads_back(letter: Letter) -> None:
    at, value = keyspace.write_record(letter)
    assert keyspace.read_record(Letter, at, value) == letter


def test_each_flipped_bit_and_each_missing_byte_of_a_value_is_noticed() -> None:
    at, value = keyspace.write_record(Letter(agency="H38", number=1, text="công văn"))
    for bit in range(8 * len(value)):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        with expects("record_damaged", StoreError):
            keyspace.read_record(Letter, at, bytes(flipped))
    for length in range(len(value)):
        with expects("record_damaged", StoreError):
            keyspace.read_record(Letter, at, value[:length])


def test_a_value_under_another_key_is_noticed() -> None:
    _, value = keyspace.write_record(Letter(agency="H38", number=1))
    with expects("record_damaged", StoreError):
        keyspace.read_record(Letter, keyspace.key(Letter, "H38", 2), value)


def test_a_sound_value_that_is_no_such_record_is_damage() -> None:
    at = keyspace.key(Counted)
    with expects("record_damaged", StoreError):
        keyspace.read_record(Counted, at, keyspace.seal_value(at, b"\x80"))


def test_count_is_the_widest_integer_a_key_field_can_declare() -> None:
    assert keyspace.key_of(Letter(agency="", number=2**63 - 1))[-8:] == b"\x7f" + b"\xff" * 7
    assert Count is not None
