"""protocol/introduction.py: what makes an introduction, and which ones are not even judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, TrucError
from protocol.framing import Decoder
from protocol.introduction import FRAME_ROOM, choose_things, look
from protocol.limits import RECONCILE_QUESTION_BYTES_MAX
from protocol.reconcile_frames import Introduced, frame_bytes, read_question
from tests.support import joining_vectors
from tests.support.errors import expects
from tests.support.tree import Tree
from tests.support.vectors import load

ROWS = load("introduction")


def introduced(row: dict[str, str]) -> Introduced:
    decoder = Decoder(RECONCILE_QUESTION_BYTES_MAX)
    [(number, body)] = decoder.feed(bytes.fromhex(row["hex"]))
    question = read_question(number, body)
    assert isinstance(question, Introduced)
    return question


def test_the_committed_vectors_are_made_the_same_again() -> None:
    assert joining_vectors.introductions() == ROWS


@pytest.mark.parametrize("row", [row for row in ROWS if "error" not in row], ids=lambda row: row["name"])
def test_good_vectors_name_their_centre(row: dict[str, str]) -> None:
    things = introduced(row).things
    found = look(things, row["peer"])
    assert (found.centre, found.things) == (row["centre"], things)
    assert len(found.named) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if "error" in row], ids=lambda row: row["name"])
def test_bad_vectors_fail_as_they_say(row: dict[str, str]) -> None:
    with expects(row["error"]):
        look(introduced(row).things, row["peer"])


def test_the_own_record_comes_first_and_the_newest_roots_follow() -> None:
    roots = [bytes([n]) * 9_000 for n in range(20, 0, -1)]
    chosen = choose_things([b"record"], roots)
    assert set(chosen) == {b"record", *roots[:7]}
    assert len(frame_bytes(Introduced(things=chosen))) <= RECONCILE_QUESTION_BYTES_MAX + 4


def test_many_small_things_stop_at_their_number() -> None:
    chosen = choose_things([b"%d" % n for n in range(20)], [b"r%d" % n for n in range(100)])
    assert len(chosen) == 32
    assert sum(wire.startswith(b"r") for wire in chosen) == 24


@given(st.lists(st.integers(1, FRAME_ROOM), max_size=40))
def test_what_is_chosen_always_fits_into_one_frame(sizes: list[int]) -> None:
    chosen = choose_things([], [bytes([n]) * size for n, size in enumerate(sizes)])
    assert len(frame_bytes(Introduced(things=chosen))) <= RECONCILE_QUESTION_BYTES_MAX + 4


@given(st.data())
def test_nothing_but_outcomes_comes_of_flipped_bytes(data: st.DataObject) -> None:
    tree = Tree.make()
    wire = bytearray(tree.signed[1].to_wire())
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        look([bytes(wire)], tree.centres["00.01.W00"].peer_id)
    except TrucError as error:
        assert isinstance(error, FormatError) or error.code == "introduction_unproven"
