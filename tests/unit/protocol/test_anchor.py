"""protocol/anchor.py: the vectors, and whatever a hand or a mail program does to an anchor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.anchor import ANCHOR, PREFIX, anchor_text, is_address, read_anchor, read_anchor_text, write_anchor
from protocol.errors import FormatError
from protocol.limits import ANCHOR_BYTES_MAX
from tests.support import joining_vectors
from tests.support.errors import expects
from tests.support.joining_vectors import FULL, LARGE, SMALL
from tests.support.vectors import load

ROWS = load("anchor")


def test_the_committed_vectors_are_made_the_same_again() -> None:
    assert joining_vectors.anchors() == ROWS


@pytest.mark.parametrize("row", [row for row in ROWS if "error" not in row], ids=lambda row: row["name"])
def test_good_vectors_read_and_write_back(row: dict[str, str]) -> None:
    file = bytes.fromhex(row["hex"])
    anchor = read_anchor(file)
    assert write_anchor(anchor) == file
    assert read_anchor(row["text"].encode()) == read_anchor_text(row["text"]) == anchor
    assert anchor_text(anchor) == "".join(row["text"].split())


@pytest.mark.parametrize("row", [row for row in ROWS if "error" in row], ids=lambda row: row["name"])
def test_bad_vectors_fail_as_they_say(row: dict[str, str]) -> None:
    content = row["text"].encode() if "text" in row else bytes.fromhex(row["hex"])
    with expects(row["error"], FormatError, field=row.get("field")):
        read_anchor(content)


def test_a_text_far_too_long_is_not_looked_at() -> None:
    with expects("format_too_large", FormatError):
        read_anchor_text(PREFIX + "A" * 5 * ANCHOR_BYTES_MAX)
    with expects("format_too_large", FormatError):
        read_anchor(PREFIX.encode() + b"A" * 5 * ANCHOR_BYTES_MAX)


def test_a_file_that_is_no_text_of_ours_is_no_text() -> None:
    with expects("anchor_damaged", FormatError):
        read_anchor_text("https://example.vn")


def test_what_could_not_be_read_is_not_written() -> None:
    from dataclasses import replace

    with expects("format_field", FormatError, field="contacts"):
        write_anchor(replace(SMALL, contacts=(SMALL.contacts[0], SMALL.contacts[0])))
    addresses = tuple(f"/dns/{letter * 240}/tcp/1" for letter in "abcd")
    with expects("format_too_large", FormatError):
        write_anchor(replace(FULL, contacts=tuple(replace(one, addresses=addresses) for one in FULL.contacts)))


@given(st.sampled_from([write_anchor(SMALL), write_anchor(LARGE)]), st.data())
def test_any_flipped_byte_is_noticed(file: bytes, data: st.DataObject) -> None:
    at, bit = data.draw(st.integers(0, len(file) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(file)
    changed[at] ^= 1 << bit
    with pytest.raises(FormatError):
        read_anchor(bytes(changed))


@given(st.text(max_size=60) | st.binary(max_size=80))
def test_nothing_but_format_errors_comes_of_junk(junk: str | bytes) -> None:
    try:
        read_anchor(junk) if isinstance(junk, bytes) else read_anchor_text(PREFIX + junk)
    except FormatError:
        return
    raise AssertionError("junk became an anchor")


@pytest.mark.parametrize("text", ["/ip4/10.0.0.1/tcp/65535", "/ip6/::1/tcp/1", "/dns6/a-b.vn/tcp/80"])
def test_addresses_that_can_be_dialled(text: str) -> None:
    assert is_address(text)


def test_the_format_has_a_name_and_a_bound() -> None:
    assert (ANCHOR.name, ANCHOR.bytes_max) == ("truc/anchor/1", ANCHOR_BYTES_MAX)
