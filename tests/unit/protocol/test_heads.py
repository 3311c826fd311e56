"""Heads and the known numbers of a log."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError
from protocol.heads import Heads, LogHead, Numbers, check_order, differing, heads_digest, parents_first
from tests.support.errors import expects
from tests.support.reconcile_vectors import HEADS
from tests.support.vectors import load


def log(registrar: str, number: int = 1, generation: int = 1) -> LogHead:
    return LogHead(registrar=registrar, generation=generation, number=number)


def test_the_heads_digest_is_that_of_its_vector() -> None:
    (row,) = (row for row in load("reconcile") if "heads_digest" in row)
    assert heads_digest(HEADS).hex() == row["heads_digest"]


def test_every_part_of_the_heads_is_in_their_digest() -> None:
    other = sha256(b"other").digest()
    first, *rest = HEADS.logs
    changed = [
        replace(HEADS, root_version=9),
        replace(HEADS, root_digest=other),
        replace(HEADS, loose=other),
        replace(HEADS, logs=tuple(rest)),
        replace(HEADS, logs=(replace(first, generation=9), *rest)),
        replace(HEADS, logs=(replace(first, number=9_999), *rest)),
        replace(HEADS, logs=(replace(first, checkpoint=other), *rest)),
        replace(HEADS, logs=(replace(first, root=other), *rest)),
    ]
    assert len({heads_digest(heads) for heads in [HEADS, *changed, Heads()]}) == 10


def test_logs_are_asked_for_parents_first() -> None:
    names = ["000.00.12.H38", "G22", "H38.1.2", "H38.2", "H38.1", "level-1", "root"]
    assert [head.registrar for head in parents_first(map(log, names))] == [
        "root", "level-1", "G22", "H38.1", "H38.2", "H38.1.2", "000.00.12.H38",
    ]  # fmt: skip


def test_only_heads_that_are_not_mine_are_looked_at() -> None:
    mine = Heads(logs=(log("H38", 5), log("H39", 2), log("level-1", 1)))
    theirs = Heads(logs=(log("H38", 5), log("H39", 3), log("H40"), log("level-1", 1, 2)))
    assert differing(mine, theirs) == [log("level-1", 1, 2), log("H39", 3), log("H40")]
    assert differing(theirs, theirs) == []


@pytest.mark.parametrize("names", [["H38", "H38"], ["H39", "H38"], ["level-1", "H38"]])
def test_heads_stand_in_ascending_order(names: list[str]) -> None:
    with expects("format_field", FormatError, field="logs"):
        check_order(map(log, names))


def test_heads_of_the_next_frame_go_on_behind_the_last() -> None:
    check_order([log("H38"), log("H39"), log("level-1"), log("root")], after="H37")
    check_order([])
    with expects("format_field", FormatError, field="logs"):
        check_order([log("H38")], after="H38")


def test_a_head_of_no_registrar_is_refused() -> None:
    with expects("format_agency_code", FormatError, field="logs.registrar"):
        check_order([log("boss")])


# --- numbers --------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 45), st.integers(1, 45))
def test_known_numbers_are_a_set_whatever_the_order(added: list[int], first: int, last: int) -> None:
    numbers = Numbers()
    for number in added:
        numbers.add(number)
    known = set(added)
    assert {number for number in range(1, 50) if number in numbers} == known
    assert numbers.reached == next(number for number in range(50) if number + 1 not in known)
    assert Numbers(numbers.ranges).ranges == numbers.ranges
    assert [number for a, b in numbers.ranges for number in range(a, b + 1)] == sorted(known)
    lacking = [number for number in range(first, last + 1) if number not in known]
    found = numbers.missing(first, last)
    if not lacking:
        assert found is None
        return
    end = next(number for number in range(lacking[0], 60) if number + 1 in known or number == last)
    assert found == (lacking[0], end)


def test_numbers_go_on_from_what_was_stored() -> None:
    numbers = Numbers([(1, 4), (6, 2**62)])
    assert numbers.reached == 4
    assert numbers.missing(1, 2**63 - 1) == (5, 5)
    numbers.add(5)
    assert numbers.ranges == ((1, 2**62),)
    assert numbers.missing(1, 2**63 - 1) == (2**62 + 1, 2**63 - 1)


@pytest.mark.parametrize("ranges", [[(0, 1)], [(2, 1)], [(1, 2), (3, 4)], [(5, 6), (1, 2)]])
def test_ranges_that_could_be_fewer_or_are_out_of_order_are_our_mistake(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(AssertionError):
        Numbers(ranges)


def test_numbers_begin_with_one() -> None:
    with pytest.raises(AssertionError):
        Numbers().add(0)
