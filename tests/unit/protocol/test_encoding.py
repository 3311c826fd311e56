"""Canonical MessagePack and statements, against the committed vectors and by property."""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Count, Digest, Extensions, Format, Id16, Key, Meta, TimeMs, decode, encode, lp
from protocol.errors import FormatError
from tests.support.errors import expects
from tests.support.vectors import load
from tests.support.vectors_encoding import tagged

# --- plain values ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", load("encoding"), ids=lambda row: row["name"])
def test_a_value_reads_and_writes_as_its_vector_says(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["hex"])
    if "error" in row:
        with expects(row["error"], FormatError):
            decode(data, bytes_max=65_536)
        return
    value = decode(data, bytes_max=65_536)
    assert tagged(value) == row["value"]
    assert encode(value) == data


VALUES = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.text(max_size=40) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 2**64 - 1), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_every_value_reads_back_from_its_one_form(value: Any) -> None:
    data = encode(value)
    assert decode(data, bytes_max=len(data)) == value
    assert encode(decode(data, bytes_max=len(data))) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_in_its_one_form_or_a_format_error(data: bytes) -> None:
    try:
        value = decode(data, bytes_max=60)
    except FormatError:
        return
    assert encode(value) == data


@given(VALUES, st.data())
def test_a_changed_byte_never_reads_back_as_the_same_value(value: Any, data: st.DataObject) -> None:
    good = encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        read = decode(bad, bytes_max=len(bad))
    except FormatError:
        return
    assert tagged(read) != tagged(value)


def test_the_size_is_checked_before_anything_is_read() -> None:
    with expects("format_too_large", FormatError) as caught:
        decode(b"\xc1" * 101, bytes_max=100)
    assert caught[0].detail == {"size": 101, "limit": 100}


def test_tuples_are_written_as_arrays() -> None:
    assert encode((1, (2,))) == encode([1, [2]])


@pytest.mark.parametrize("value", [None, 1.5, {"a": 1}, {-1: 1}, {True: 1}, {1: {2}}, object()])
def test_writing_what_has_no_place_on_the_wire_is_our_mistake(value: Any) -> None:
    with pytest.raises(AssertionError):
        encode(value)


def test_length_prefixed_parts_cannot_be_shifted_into_one_another() -> None:
    assert lp("ab", b"c") == b"\x00\x00\x00\x02ab\x00\x00\x00\x01c"
    assert lp("ab", "c") != lp("a", "bc")
    assert lp("Đ") == b"\x00\x00\x00\x02\xc4\x90"
    assert lp() == b""


# --- statements -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    digest: Annotated[Digest, Key(1)]
    size: Annotated[Count, Key(2)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The example statement of spec/encoding.md §4."""

    id: Annotated[Id16, Key(1)]
    issuer: Annotated[str, Key(2), Meta(max_length=35)]
    parts: Annotated[tuple[Item, ...], Key(3), Meta(max_length=500)]
    reason: Annotated[str, Key(4)] = ""
    path: Annotated[tuple[Digest, ...], Key(5)] = ()
    extensions: Extensions = dataclasses.field(default_factory=dict)


EXAMPLE = Format("truc/example/1", Example, bytes_max=1000)


@pytest.mark.parametrize("row", load("statement"), ids=lambda row: row["name"])
def test_a_statement_reads_and_writes_as_its_vector_says(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["hex"])
    if "error" in row:
        with expects(row["error"], FormatError, field=row["field"]):
            EXAMPLE.decode(data)
        return
    assert EXAMPLE.encode(EXAMPLE.decode(data)) == data


@pytest.mark.parametrize("octets", ["81a16101", "81c4016101", "81c001", "8201c41000a16101", "c0", "81900f"])
def test_what_we_never_wrote_is_not_recalled(octets: str) -> None:
    with pytest.raises(FormatError):
        EXAMPLE.recall(bytes.fromhex(octets))


ITEMS = st.builds(Item, digest=st.binary(min_size=32, max_size=32), size=st.integers(0, 2**63 - 1))
EXAMPLES = st.builds(
    Example,
    id=st.binary(min_size=16, max_size=16),
    issuer=st.text(max_size=35),
    parts=st.lists(ITEMS, max_size=4).map(tuple),
    reason=st.text(max_size=20),
    path=st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(tuple),
    extensions=st.dictionaries(st.integers(128, 2**64 - 1), st.integers(0, 9), max_size=3),
)


@given(EXAMPLES)
def test_every_statement_reads_back_and_is_plain_canonical_encoding(value: Example) -> None:
    data = EXAMPLE.encode(value)
    assert EXAMPLE.decode(data) == value
    assert encode(decode(data, bytes_max=1000)) == data


@given(st.binary(max_size=80))
def test_any_bytes_are_a_statement_or_a_format_error(data: bytes) -> None:
    try:
        value = EXAMPLE.decode(data)
    except FormatError:
        return
    assert EXAMPLE.encode(value) == data


def example(**changes: Any) -> Example:
    return Example(**{"id": bytes(16), "issuer": "H38", "parts": (), **changes})


def test_a_field_equal_to_its_default_takes_no_byte() -> None:
    assert decode(EXAMPLE.encode(example()), bytes_max=100) == {1: bytes(16), 2: "H38", 3: []}


def test_extensions_are_covered_in_one_order_however_they_were_given() -> None:
    one = example(extensions={300: {2: 1, 1: 2}, 128: "x"})
    other = example(extensions={128: "x", 300: {1: 2, 2: 1}})
    assert EXAMPLE.encode(one) == EXAMPLE.encode(other)


def test_a_key_below_128_is_no_extension() -> None:
    with pytest.raises(AssertionError):
        EXAMPLE.encode(example(extensions={127: 1}))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"issuer": "H" * 36}, "issuer"),
        ({"id": b"short"}, "id"),
        ({"parts": (Item(digest=bytes(31), size=0),)}, "parts[0].digest"),
        ({"parts": (Item(digest=bytes(32), size=2**63),)}, "parts[0].size"),
        ({"parts": (Item(digest=bytes(32), size=2**64),)}, "statement"),
        ({"issuer": "\ud800"}, "statement"),
    ],
)
def test_a_value_that_could_not_be_read_is_not_written(changes: dict[str, Any], field: str) -> None:
    with expects("format_field", FormatError, field=field):
        EXAMPLE.encode(example(**changes))


def test_a_statement_longer_than_its_format_is_not_written() -> None:
    with expects("format_too_large", FormatError):
        EXAMPLE.encode(example(reason="x" * 1000))


def test_a_value_that_reads_back_differently_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="read back"):
        EXAMPLE.encode(example(path=[bytes(32)]))


class Colour(IntEnum):
    RED = 0
    BLUE = 7


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    item: Annotated[Item, Key(0)]
    pair: Annotated[tuple[int, str], Key(1)]
    when: Annotated[TimeMs, Key(127)]
    colour: Annotated[Colour, Key(2)] = Colour.RED
    flags: Annotated[tuple[bool, ...], Key(3)] = dataclasses.field(default_factory=tuple)


NESTED = Format("truc/nested/1", Nested, bytes_max=1000)


def test_nested_statements_pairs_and_enumerations_read_back() -> None:
    value = Nested(item=Item(digest=bytes(32), size=1), pair=(1, "x"), when=5, colour=Colour.BLUE, flags=(True, False))
    data = NESTED.encode(value)
    assert NESTED.decode(data) == value
    assert type(NESTED.decode(data).colour) is Colour
    assert decode(data, bytes_max=100) == {0: {1: bytes(32), 2: 1}, 1: [1, "x"], 2: 7, 3: [True, False], 127: 5}


def test_an_unknown_member_of_an_enumeration_is_a_wrong_field() -> None:
    with expects("format_field", FormatError, field="colour"):
        NESTED.decode(encode({0: {1: bytes(32), 2: 1}, 1: [1, "x"], 2: 6, 127: 5}))


def test_a_nested_statement_that_is_no_map_is_named() -> None:
    with expects("format_field", FormatError, field="item"):
        NESTED.decode(encode({0: 7, 1: [1, "x"], 127: 5}))


def test_a_format_shows_its_name() -> None:
    assert repr(NESTED) == "Format(truc/nested/1)"


@dataclasses.dataclass(frozen=True)
class WithoutKey:
    field: int


@dataclasses.dataclass(frozen=True)
class SameKeyTwice:
    one: Annotated[int, Key(1)]
    two: Annotated[int, Key(1)]


@dataclasses.dataclass(frozen=True)
class MayBeNone:
    one: Annotated[int | None, Key(1)]


@dataclasses.dataclass(frozen=True)
class MixedArray:
    one: Annotated[tuple[Item, int], Key(1)]


@pytest.mark.parametrize("cls", [WithoutKey, SameKeyTwice, MayBeNone, MixedArray])
def test_a_class_that_is_no_statement_is_refused_when_declared(cls: type) -> None:
    with pytest.raises(AssertionError):
        Format("truc/wrong/1", cls, bytes_max=10)


def test_a_key_stands_between_0_and_127() -> None:
    for number in (-1, 128):
        with pytest.raises(AssertionError):
            Key(number)


def test_the_other_writers_of_messagepack_agree_with_ours() -> None:
    value = {1: b"x" * 300, 2: "đ", 3: [1, -1, True]}
    assert encode(value) == msgpack.packb(value, use_bin_type=True)
