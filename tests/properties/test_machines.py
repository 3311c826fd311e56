"""State machines against peers that may say anything: they end, and keep little."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import FormatError, NetworkError, NotNow
from protocol.framing import LENGTH_BYTES, Decoder, encode_frame
from protocol.limits import KIB, RECONCILE_FRAME_BYTES_MAX, RECONCILE_NODES_FRAME, RECONCILE_RESTARTS_MAX
from protocol.prefix_tree import EMPTY, KEY_BITS, Node, Prefix, PrefixTree, leaf_hash
from protocol.reconcile import Ask, Asker
from protocol.reconcile_answer import Answerer
from protocol.reconcile_descent import ASKED_AT_ONCE, Descent
from protocol.reconcile_frames import HeadsGiven, LogGiven, ThingsGiven, TreeGiven, frame_bytes, read_answer
from tests.support.errors import expects
from tests.support.fuzz_machines import PENDING_MAX, asking, asks_of, beginnings, check_small, full_store, recorded
from tests.support.reconcile_store import Store

CHANCE = st.randoms(use_true_random=False)


def digest(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


# --- descents -------------------------------------------------------------------------------


def tree_of(numbers: set[int], version: int = 0) -> PrefixTree:
    """Leaves whose keys share long prefixes, so that trees are deep."""
    keys = sorted({digest(number % 7)[: number % 32] + digest(number)[number % 32 :] for number in numbers})
    return PrefixTree.of_sorted((key, digest(version + key[31])) for key in keys)


def descended(mine: PrefixTree, theirs: PrefixTree) -> Descent:
    """A whole descent, answered from a tree as the protocol does."""
    descent = Descent(theirs.root, "", notes_alone=True)
    held = {known for _, known in mine}
    while descent.pending:
        prefixes = descent.ask(mine)
        for at in range(0, len(prefixes), RECONCILE_NODES_FRAME):
            nodes = [theirs.below(prefix) for prefix in prefixes[at : at + RECONCILE_NODES_FRAME]]
            descent.look(nodes, mine, held.__contains__)
            assert len(descent._pending) <= PENDING_MAX
        descent.finish()
    return descent


SOME = st.sets(st.integers(0, 400), max_size=60)


@given(SOME, SOME, st.integers(0, 2))
def test_a_descent_finds_what_lacks_here_and_notes_what_lacks_there(a: set[int], b: set[int], version: int) -> None:
    mine, theirs = tree_of(a), tree_of(b, version)
    descent = descended(mine, theirs)
    held = {known for _, known in mine}
    assert set(descent.found) == {known for _, known in theirs} - held
    shown = dict(iter(theirs))
    assert set(descent.alone) == {key for key, known in mine if shown.get(key) != known}
    assert descent.settled


def chain_below(prefix: Prefix, key: bytes, known: bytes) -> Node:
    """The lie that costs a liar nothing: one leaf, shown as if much were above it."""
    nibble = int(key.hex().ljust(KEY_BITS // 4 + 1, "0")[prefix.bits // 4], 16)
    below = [EMPTY] * 16
    below[nibble] = leaf_hash(key, known)
    return Node(below=tuple(below))


def test_a_tree_that_is_shown_deeper_than_keys_are_long_ends_the_descent() -> None:
    key, known = digest(1), digest(2)
    descent = Descent(leaf_hash(key, known), "H38", notes_alone=False)
    asked = 0
    with expects("peer_contradicts", NetworkError):
        while prefixes := descent.ask(PrefixTree()):
            asked += 1
            descent.look([chain_below(prefixes[0], key, known)], PrefixTree(), lambda _: False)
            descent.finish()
    assert asked == KEY_BITS // 4 + 1


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=30))
def test_a_tree_that_moves_all_the_time_is_left_for_later(roots: list[bytes]) -> None:
    descent = Descent(roots[0], "", notes_alone=False)
    for root in roots:
        descent.restart(root)
    assert descent.settled == (len(roots) <= RECONCILE_RESTARTS_MAX)
    assert descent.settled or descent.ask(PrefixTree()) == []


@given(st.integers(1, 60), st.integers(0, 400))
def test_never_more_is_asked_than_fits_one_question(count: int, first: int) -> None:
    theirs = tree_of(set(range(first, first + 8 * count)))
    descent = Descent(theirs.root, "", notes_alone=False)
    for _ in range(4):
        prefixes = descent.ask(PrefixTree())
        assert len(prefixes) <= ASKED_AT_ONCE
        descent.look([theirs.below(prefix) for prefix in prefixes], PrefixTree(), lambda _: False)


# --- the asking side ------------------------------------------------------------------------


@given(CHANCE)
@settings(max_examples=40)
def test_answers_in_any_order_end_a_session(chance: Random) -> None:
    frames = [
        frame_bytes(answer)
        for answer in (
            full_store_heads(),
            HeadsGiven(root_version=chance.randrange(6), loose=digest(chance.randrange(3)), more=chance.random() < 0.3),
            ThingsGiven(
                things=tuple(islice(full_store().wires.values(), chance.randrange(5))), more=chance.random() < 0.5
            ),
            LogGiven(rows=((chance.randrange(9), b"\x93"),), more=chance.random() < 0.5),
            LogGiven(more=True),
            TreeGiven(root=full_store().loose.root, nodes=(full_store().loose.below(Prefix(0, b"")),)),
            TreeGiven(root=digest(chance.randrange(3)), more=chance.random() < 0.5),
        )
    ]
    stream = b"".join(
        [bytes([chance.randrange(4)]), frames[0]] + [chance.choice(frames) for _ in range(chance.randrange(12))]
    )
    try:
        asking(stream)
    except (FormatError, NetworkError, NotNow) as error:
        assert error.code in {
            *("reconcile_order", "peer_withholds", "peer_contradicts", "peer_endless", "peer_declined"),
            *("stream_ended", "peer_sends_junk", "format_malformed", "format_field", "format_agency_code"),
        }


def full_store_heads() -> HeadsGiven:
    heads = full_store().heads()
    return HeadsGiven(
        root_version=heads.root_version, root_digest=heads.root_digest, loose=heads.loose, logs=heads.logs
    )


@pytest.mark.parametrize("stream", recorded("asking")[:4], ids=["nothing", "a part", "all", "more"])
def test_an_honest_session_is_over_with_its_last_byte_and_not_before(stream: bytes) -> None:
    asking(stream)
    with expects("stream_ended", NetworkError):
        asking(stream[:1])
    with expects("frame_truncated", FormatError):
        asking(stream[:-1])


def test_what_an_unfinished_answer_keeps_is_one_frame() -> None:
    asker = Asker(Store())
    [ask] = asker.start()
    assert isinstance(ask, Ask)
    asker.receive((RECONCILE_FRAME_BYTES_MAX).to_bytes(LENGTH_BYTES, "big") + b"\x41")
    for _ in range(RECONCILE_FRAME_BYTES_MAX // KIB - 1):
        asker.receive(bytes(KIB))
        check_small(asker)
    with expects("format_malformed", FormatError):
        asker.receive(bytes(KIB))


FRAMES_ENOUGH = 300
"""More than any answer here needs; the bounds of an answer are below it."""


@pytest.mark.parametrize("known", range(3))
@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("empty", [False, True], ids=["the same again", "nothing"])
def test_a_peer_that_always_says_that_more_follows_is_cut_off(known: int, turn: int, *, empty: bool) -> None:
    """Honest up to a question, then for ever the first frame of its answer, or one with nothing in it."""
    mine, answerer = Store(beginnings()[known]), Answerer(full_store())
    asker = Asker(mine)
    asks = asks_of(asker, mine, asker.start())
    for _ in range(turn):
        answered = _answered(answerer, asks)
        for frame in answered:
            asks += asks_of(asker, mine, asker.receive(frame))
    if not asks:  # it was over before
        return
    first = _answered(answerer, asks)[0]
    answer: Any = read_answer(first[LENGTH_BYTES], first[LENGTH_BYTES + 1 :])
    endless = frame_bytes(type(answer)(more=True) if empty else replace(answer, more=True))
    with pytest.raises((NetworkError, FormatError)):
        _repeat(asker, mine, endless)


def _repeat(asker: Asker, mine: Store, frame: bytes) -> None:
    for _ in range(FRAMES_ENOUGH):
        asks_of(asker, mine, asker.receive(frame))
        check_small(asker)


def _answered(answerer: Answerer, asks: list[Ask]) -> list[bytes]:
    if not asks:
        return []
    answerer.receive(asks.pop(0).frame)
    return list(answerer.answer())


# --- frames ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=5), st.integers(1, 40))
def test_a_frame_too_large_is_refused_before_its_body_comes(frames: list[tuple[int, bytes]], limit: int) -> None:
    decoder = Decoder(limit)
    for kind, body in frames:
        octets = encode_frame(kind, body)
        if len(body) < limit:
            assert decoder.feed(octets) == [(kind, body)]
            continue
        with expects("frame_too_large", FormatError):
            decoder.feed(octets[:LENGTH_BYTES])
        assert decoder.held_bytes == 0
        break
