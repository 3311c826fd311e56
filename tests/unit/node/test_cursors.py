"""Cursors: a place in one store, and useless in another."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cursors import read_cursor, write_cursor
from protocol.errors import RequestError
from tests.support.errors import expects

HERE, THERE = bytes(16), bytes(range(16))


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_cursor_reads_back(sequence: int) -> None:
    assert read_cursor(write_cursor(THERE, sequence), THERE) == sequence


def test_the_empty_cursor_stands_before_everything() -> None:
    assert read_cursor("", HERE) == 0


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "AAAA",
        "\ud800",
        base64.urlsafe_b64encode(bytes(23)).decode(),
        base64.urlsafe_b64encode(bytes(16) + b"\xff" * 8).decode(),
    ],
)
def test_what_the_node_never_gave_is_malformed(text: str) -> None:
    with expects("cursor_malformed", RequestError, field="after"):
        read_cursor(text, HERE)


def test_a_cursor_of_another_store_says_where_to_begin_again() -> None:
    with expects("cursor_of_another_store", RequestError, field="after") as caught:
        read_cursor(write_cursor(THERE, 7), HERE)
    assert caught[0].detail == {"restart": write_cursor(HERE, 0)}
    assert read_cursor(str(caught[0].detail["restart"]), HERE) == 0
