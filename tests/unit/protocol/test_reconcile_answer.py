"""The answering side: bounded frames from whatever is kept, strangers who may only introduce themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, NetworkError, NotNow
from protocol.framing import Decoder
from protocol.heads import Heads, LogHead
from protocol.limits import (
    HOUR_MS,
    INTRODUCTIONS_MAX,
    RECONCILE_ANSWER_FRAMES_MAX,
    RECONCILE_FILL_BYTES,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_LOGS_MAX,
    RECONCILE_NODES_FRAME,
    RECONCILE_QUESTION_BYTES_MAX,
    RECONCILE_SESSIONS_HOUR_MAX,
)
from protocol.prefix_tree import EMPTY, prefix_of
from protocol.reconcile_answer import Answerer, Turns
from protocol.reconcile_frames import (
    Answer,
    Done,
    HeadsAsked,
    HeadsGiven,
    Introduced,
    LogAsked,
    LogGiven,
    Question,
    RootsAsked,
    ThingsAsked,
    ThingsGiven,
    TreeAsked,
    TreeGiven,
    frame_bytes,
    read_answer,
)
from tests.support.errors import expects
from tests.support.reconcile_store import Store, agency, lock, root
from tests.support.reconcile_vectors import QUESTIONS_BAD, QUESTIONS_GOOD
from tests.support.tree import START_MS


def ask(answerer: Answerer, question: Question) -> list[Any]:
    """The answers to one question, read back."""
    found = answerer.receive(frame_bytes(question))
    assert found == question
    return list(read(answerer.answer()))


def read(frames: Iterable[bytes]) -> Iterator[Answer]:
    decoder = Decoder(RECONCILE_FRAME_BYTES_MAX)
    for frame in frames:
        ((number, body),) = decoder.feed(frame)
        yield read_answer(number, body)


# --- answers --------------------------------------------------------------------------------


def test_one_stream_answers_one_question_after_the_other() -> None:
    things = [agency("H38", number, f"H38.{number}") for number in range(1, 6)]
    roots = [root(version) for version in (1, 2, 3)]
    kept = Store([*things, *roots, lock("H38", START_MS)])
    answerer = Answerer(kept)
    (heads,) = ask(answerer, HeadsAsked())
    assert Heads(root_version=3, root_digest=roots[2].digest, loose=kept.loose.root, logs=heads.logs) == kept.heads()
    assert (heads.root_version, heads.root_digest, heads.loose) == (3, roots[2].digest, kept.loose.root)
    assert ask(answerer, RootsAsked(version=2)) == [ThingsGiven(things=tuple(item.to_wire() for item in roots[1:]))]
    assert ask(answerer, RootsAsked(version=4)) == [ThingsGiven()]
    (log,) = ask(answerer, LogAsked(registrar="H38", generation=1, first=2, last=4))
    assert log.rows == tuple((number, things[number - 1].to_wire()) for number in (2, 3, 4))
    assert ask(answerer, LogAsked(registrar="H39", generation=1, first=1, last=4)) == [LogGiven()]
    asked = ThingsAsked(digests=(things[3].digest, bytes(32), b"\x01" * 32, things[0].digest))
    (found,) = ask(answerer, asked)
    assert found.things == (things[3].to_wire(), things[0].to_wire()), "what is not there is left out"
    answerer.finish()


def test_a_tree_is_shown_sixteen_nodes_at_a_time_with_its_root() -> None:
    kept = Store(agency("H38", number, f"H38.{number}") for number in range(1, 101))
    tree = kept.tree("H38", 1)
    assert tree is not None
    prefixes = [prefix_of(8, number) for number in range(40)]
    pairs = tuple((prefix.bits, prefix.value) for prefix in prefixes)
    given_ = ask(Answerer(kept), TreeAsked(registrar="H38", generation=1, prefixes=pairs))
    assert [(len(part.nodes), part.more, part.root) for part in given_] == [
        (RECONCILE_NODES_FRAME, True, tree.root),
        (RECONCILE_NODES_FRAME, True, tree.root),
        (8, False, tree.root),
    ]
    assert [node for part in given_ for node in part.nodes] == [tree.below(prefix) for prefix in prefixes]


def test_a_tree_that_is_not_kept_is_empty() -> None:
    pairs = ((0, b""), (4, b"\x10"))
    (part,) = ask(Answerer(Store()), TreeAsked(registrar="H38", generation=1, prefixes=pairs))
    assert (part.root, [node.hash for node in part.nodes]) == (EMPTY, [EMPTY, EMPTY])


class Many(Store):
    """Has as much of everything as is asked for."""

    wire_bytes = 1_000

    def heads(self) -> Heads:
        logs = (LogHead(registrar=f"H38.{n:06}", generation=1, number=1) for n in range(2 * RECONCILE_LOGS_MAX))
        return Heads(logs=tuple(logs))

    def roots(self, version: int) -> Iterable[bytes]:
        return (bytes(self.wire_bytes) for _ in range(100_000))

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterable[tuple[int, bytes]]:
        return ((number, bytes(self.wire_bytes)) for number in range(first, last + 1))

    def wire(self, digest: bytes) -> bytes | None:
        return bytes(self.wire_bytes)


@pytest.mark.parametrize("wire_bytes", [100, 30_000, 200_000])
def test_answers_are_bounded_and_told_to_go_on(wire_bytes: int) -> None:
    kept = Many()
    kept.wire_bytes = wire_bytes
    for question in (
        LogAsked(registrar="H38", generation=1, first=1, last=2**62),
        RootsAsked(version=1),
        ThingsAsked(digests=tuple(n.to_bytes(32, "big") for n in range(40))),
    ):
        answerer = Answerer(kept)
        assert answerer.receive(frame_bytes(question)) is not None
        frames = list(answerer.answer())
        assert len(frames) <= max(RECONCILE_ANSWER_FRAMES_MAX, 41)
        assert all(len(frame) <= max(RECONCILE_FILL_BYTES, wire_bytes) + 200 for frame in frames)
        parts: list[Any] = list(read(frames))
        assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]


def test_no_more_heads_are_told_than_anybody_takes() -> None:
    parts = ask(Answerer(Many()), HeadsAsked())
    assert sum(len(part.logs) for part in parts) == RECONCILE_LOGS_MAX
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]


def test_an_answer_is_made_while_it_is_taken() -> None:
    read_so_far: list[int] = []

    class Slow(Many):
        def log(self, registrar: str, generation: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
            for number in range(first, last + 1):
                read_so_far.append(number)
                yield number, bytes(1_000)

    question = LogAsked(registrar="H38", generation=1, first=1, last=1_000_000)
    answerer = Answerer(Slow())
    assert answerer.receive(frame_bytes(question)) == question
    frames = answerer.answer()
    next(frames)
    assert len(read_so_far) < 3 * RECONCILE_FILL_BYTES / 1_000


def test_a_session_gives_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.reconcile_answer.RECONCILE_BYTES_MAX", 200_000)
    answerer = Answerer(Many())
    *parts, last = ask(answerer, LogAsked(registrar="H38", generation=1, first=1, last=10_000))
    assert 1 < len(parts) <= 4
    assert last == Done(code="busy")
    with expects("reconcile_order", NetworkError):
        answerer.receive(frame_bytes(HeadsAsked()))


# --- order ----------------------------------------------------------------------------------


def test_a_second_question_before_the_answer_ends_the_session() -> None:
    two = frame_bytes(HeadsAsked()) * 2
    with expects("reconcile_order", NetworkError):
        Answerer(Store()).receive(two)
    answerer = Answerer(Store())
    assert answerer.receive(frame_bytes(HeadsAsked())) is not None
    with expects("reconcile_order", NetworkError):
        answerer.receive(frame_bytes(HeadsAsked()))


def test_questions_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.reconcile_answer.RECONCILE_QUESTIONS_MAX", 2)
    answerer = Answerer(Store())
    for _ in range(2):
        assert ask(answerer, HeadsAsked()) == [HeadsGiven()]
    with expects("peer_endless", NetworkError):
        answerer.receive(frame_bytes(HeadsAsked()))


@pytest.mark.parametrize(("name", "code", "frame"), QUESTIONS_BAD, ids=[row[0] for row in QUESTIONS_BAD])
def test_after_a_bad_question_a_session_is_over(name: str, code: str, frame: bytes) -> None:
    answerer = Answerer(Store())
    with expects(code, FormatError):
        answerer.receive(frame)
    with expects("reconcile_order", NetworkError):
        answerer.receive(frame_bytes(HeadsAsked()))


def test_a_question_of_ten_megabytes_is_refused_at_its_length() -> None:
    answerer = Answerer(Store())
    with expects("frame_too_large", FormatError):
        answerer.receive((10_000_000).to_bytes(4, "big"))
        answerer.receive(b"")
    assert RECONCILE_QUESTION_BYTES_MAX < 10_000_000


def test_a_question_may_come_in_pieces_and_the_stream_may_end_between_two() -> None:
    frame = frame_bytes(RootsAsked(version=1))
    answerer = Answerer(Store())
    found = [answerer.receive(frame[n : n + 1]) for n in range(len(frame))]
    assert found == [None] * (len(frame) - 1) + [RootsAsked(version=1)]
    answerer.finish()
    half = Answerer(Store())
    half.receive(frame[:-1])
    with expects("frame_truncated", FormatError):
        half.finish()


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_whatever_bytes_come_there_is_a_question_or_an_outcome(pieces: list[bytes], admitted: bool) -> None:
    answerer = Answerer(Store(), admitted=admitted)
    with suppress(FormatError, NetworkError):
        for piece in pieces:
            question = answerer.receive(piece)
            if isinstance(question, Introduced):
                answerer.done()
            elif question is not None:
                assert list(answerer.answer())


# --- strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [item for _, item in QUESTIONS_GOOD if not isinstance(item, Introduced)])
def test_a_stranger_asks_nothing(question: Question) -> None:
    with expects("introduction_expected", NetworkError):
        Answerer(Store(), admitted=False).receive(frame_bytes(question))


@pytest.mark.parametrize("code", ["", "directory_no_root"])
def test_a_stranger_introduces_himself_once(code: str) -> None:
    answerer = Answerer(Store(), admitted=False)
    said = Introduced(things=(b"a root", b"a centre"))
    assert answerer.receive(frame_bytes(said)) == said
    assert list(read([answerer.done(code)])) == [Done(code=code)]
    with expects("reconcile_order", NetworkError):
        answerer.receive(frame_bytes(said))


def test_an_introduction_is_at_most_64_kib() -> None:
    largest = frame_bytes(Introduced(things=(bytes(RECONCILE_QUESTION_BYTES_MAX - 12),)))
    assert Answerer(Store(), admitted=False).receive(largest) is not None
    with expects("frame_too_large", FormatError):
        answerer = Answerer(Store(), admitted=False)
        answerer.receive((RECONCILE_QUESTION_BYTES_MAX + 1).to_bytes(4, "big"))
        answerer.receive(b"")


# --- turns ----------------------------------------------------------------------------------


def test_a_peer_has_two_streams_at_once() -> None:
    turns = Turns()
    turns.enter("A", 0)
    turns.enter("A", 1)
    with expects("busy", NotNow):
        turns.enter("A", 2)
    turns.enter("B", 2)
    turns.leave("A")
    turns.enter("A", 3)


def test_a_peer_has_so_many_sessions_an_hour_beyond_the_first() -> None:
    turns = Turns()
    for at_ms in range(1 + RECONCILE_SESSIONS_HOUR_MAX):
        turns.enter("A", at_ms)
        turns.leave("A")
    with expects("busy", NotNow):
        turns.enter("A", HOUR_MS - 1)
    turns.enter("A", HOUR_MS)
    turns.leave("A")
    with expects("busy", NotNow):
        turns.enter("A", HOUR_MS)
    turns.forget("A")
    turns.forget("A")
    turns.enter("A", HOUR_MS)


def test_few_strangers_introduce_themselves_at_once_and_each_only_once() -> None:
    turns = Turns()
    for number in range(INTRODUCTIONS_MAX):
        turns.introduce(f"peer {number}")
    for stranger in ("peer 0", "another"):
        with expects("busy", NotNow):
            turns.introduce(stranger)
    turns.let_go("peer 0")
    turns.let_go("peer 0")
    with expects("busy", NotNow):
        turns.introduce("peer 1")
    turns.introduce("another")


def test_nodes_of_an_answer_are_what_the_reader_expects() -> None:
    (part,) = ask(Answerer(Store([lock("H38", START_MS)])), TreeAsked(prefixes=((0, b""),)))
    assert isinstance(part, TreeGiven)
    assert part.nodes[0].hash == part.root
