"""Machines fed with arbitrary bytes: streams of frames, sessions, both sides of a reconciliation.

Each function drives one machine to its end and asserts what must hold on the way; what comes out of it
otherwise is the machine's own error. How the bytes are cut into pieces follows from the bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from random import Random
from typing import Any, Final

from protocol.errors import TrucError
from protocol.exchange import Frame, Session
from protocol.framing import LENGTH_BYTES, Decoder
from protocol.framing import Frame as Cut
from protocol.limits import (
    RECONCILE_ANSWER_FRAMES_MAX,
    RECONCILE_FETCH_MAX,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_NODES_FRAME,
    RECONCILE_PREFIXES_MAX,
    RECONCILE_QUESTION_BYTES_MAX,
)
from protocol.prefix_tree import EMPTY, KEY_BITS
from protocol.reconcile import Ask, Asker, Event, Over, Things
from protocol.reconcile_answer import Answerer
from protocol.reconcile_frames import Done, HeadsGiven, Introduced, ThingsAsked, frame_bytes, read_answer, read_question
from protocol.signing import Signed
from tests.support.fuzz_mutator import mutated
from tests.support.reconcile_store import Store, agency, checkpoint, lock, root

CENTRE: Final = "00.12.W00"


def pieces(octets: bytes) -> Iterator[bytes]:
    """The octets in pieces, of sizes that follow from them."""
    sizes = sha256(octets).digest()
    at = turn = 0
    while at < len(octets):
        size = max(1, sizes[turn % 32] ** 2 >> 6)
        yield octets[at : at + size]
        at, turn = at + size, turn + 1


def cut_frames(octets: bytes) -> Iterator[bytes]:
    """The octets in pieces that end where frames end, as far as there are whole ones."""
    at = 0
    while at < len(octets):
        size = LENGTH_BYTES + int.from_bytes(octets[at : at + LENGTH_BYTES], "big")
        yield octets[at : at + size]
        at += size


# --- frames, exchange -----------------------------------------------------------------------


def framing(octets: bytes) -> None:
    """The first byte is the largest frame allowed; all at once, in pieces, and byte by byte are the same."""
    limit, stream = 1 + (octets or b"\x00")[0], octets[1:]
    at_once = _split([stream], limit)
    assert at_once == _split(list(pieces(stream)), limit)
    if len(stream) <= 2_000:
        assert at_once == _split([stream[n : n + 1] for n in range(len(stream))], limit)


def _split(parts: Sequence[bytes], limit: int) -> tuple[list[Cut], str]:
    decoder = Decoder(limit)
    frames: list[Cut] = []
    try:
        for part in parts:
            frames += decoder.feed(part)
            assert decoder.held_bytes < limit + LENGTH_BYTES, "more is held than one frame"
        decoder.finish()
    except TrucError as error:
        return frames, error.code
    return frames, ""


def exchange(octets: bytes) -> None:
    """A session gives the same frames and the same error however the stream is cut."""
    frames, error = _heard([octets])
    in_pieces, same_error = _heard(list(pieces(octets)))
    assert (frames, str(error)) == (in_pieces, str(same_error))
    if error is not None:
        raise error


def _heard(parts: Sequence[bytes]) -> tuple[list[Frame], TrucError | None]:
    session = Session(CENTRE)
    frames: list[Frame] = []
    try:
        for part in parts:
            frames += session.frames(part)
        session.check()
        session.finish()
    except TrucError as error:
        return frames, error
    return frames, None


# --- reconciliation: the answering side -------------------------------------------------------


@cache
def shelf() -> tuple[Signed, ...]:
    """A small directory: three logs, one with a checkpoint, loose things, roots, a thing that is large."""
    return (
        *(agency("H38", n, f"H38.{n}") for n in range(1, 8)),
        checkpoint("H38", 8),
        *(agency("H39", n, f"H39.{n % 3}", ballast=30_000 if n == 2 else 0) for n in range(1, 5)),
        agency("H38.7", 1, "H38.7.1", needs=True),
        *(lock(code, 5) for code in ("H38", "H40")),
        *(root(version) for version in range(1, 4)),
    )


@cache
def full_store() -> Store:
    """The whole shelf; nobody changes this one."""
    return Store(shelf())


def answering(octets: bytes) -> None:
    """Questions one after the other; every answer can be read and stays within its bounds."""
    answerer = Answerer(full_store(), admitted=not octets.startswith(b"\x00\x00\x00\x02"))
    for part in cut_frames(octets):
        question = answerer.receive(part)
        if question is None:
            continue
        if isinstance(question, Introduced):
            answerer.done("introduction_unproven")
            continue
        frames = list(answerer.answer())
        most = RECONCILE_FETCH_MAX + 1 if isinstance(question, ThingsAsked) else RECONCILE_ANSWER_FRAMES_MAX
        assert 1 <= len(frames) <= most
        for frame in frames:
            assert len(frame) <= LENGTH_BYTES + RECONCILE_FRAME_BYTES_MAX
            read_answer(frame[LENGTH_BYTES], frame[LENGTH_BYTES + 1 :])
    answerer.finish()


# --- reconciliation: the asking side ----------------------------------------------------------


def asking(octets: bytes) -> None:
    """Answers of any kind: the session ends with them, asks only what can be read, and keeps little.

    The first byte says what is known before.
    """
    mine = Store(beginnings()[(octets or b"\x00")[0] % len(beginnings())])
    asker = Asker(mine)
    given = asked = judged = 0
    waiting = asker.start()
    for part in cut_frames(octets[1:]):
        over, questions, things = _follow(asker, mine, waiting)
        asked, judged = asked + questions, judged + things
        check_small(asker)
        if over:
            break
        given += 1
        waiting = asker.receive(part)
    over, questions, things = _follow(asker, mine, waiting)
    assert asked + questions <= given + 1, "a question without an answer before it"
    assert (judged + things) <= len(octets), "more things than came"
    asker.finish()


@cache
def beginnings() -> tuple[tuple[Signed, ...], ...]:
    """What may be known before: nothing, a part, all, and more than the others."""
    return (), shelf()[:3] + shelf()[-3:-1], shelf(), (*shelf(), lock("H41", 9), root(4))


def _follow(asker: Asker, mine: Store, events: list[Event]) -> tuple[bool, int, int]:
    """Do what the events say; whether it is over, how many questions, how many things."""
    questions = things = 0
    over = False
    while events:
        event = events.pop(0)
        if isinstance(event, Ask):
            assert len(event.frame) <= LENGTH_BYTES + RECONCILE_QUESTION_BYTES_MAX
            read_question(event.frame[LENGTH_BYTES], event.frame[LENGTH_BYTES + 1 :])
            questions += 1
        elif isinstance(event, Things):
            things += len(event.wires)
            events += asker.judged(mine.judge(event.wires))
        else:
            assert isinstance(event, Over)
            over = True
    return over, questions, things


QUESTIONS_ENOUGH: Final = 200
"""The shelf is small: whoever asks so much learns nothing more."""


def lied_to(octets: bytes) -> None:
    """An answering side that knows the shelf and changes some frames; what it changes follows from the bytes."""
    chance = Random(octets)
    mine = Store(chance.choice(beginnings()))
    asker, answerer = Asker(mine), Answerer(full_store())
    frames: list[bytes] = [frame_bytes(Done(code="busy"))]
    asks = asks_of(asker, mine, asker.start())
    for _ in range(QUESTIONS_ENOUGH):
        if not asks:
            asker.finish()
            return
        answerer.receive(asks.pop(0).frame)
        for frame in answerer.answer():
            frames.append(frame)
            told = mutated(frame, frames, chance) if chance.random() < 0.1 else frame
            asks += asks_of(asker, mine, asker.receive(told))
            check_small(asker)
    raise AssertionError("it asks for ever")


def asks_of(asker: Asker, mine: Store, events: list[Event]) -> list[Ask]:
    """Judge what is to be judged; the questions that follow."""
    asks: list[Ask] = []
    while events:
        event = events.pop(0)
        if isinstance(event, Things):
            events += asker.judged(mine.judge(event.wires))
        elif isinstance(event, Ask):
            asks.append(event)
    return asks


PENDING_MAX: Final = KEY_BITS // 4 * 16 * 2 * RECONCILE_NODES_FRAME
"""Of a descent: sixteen children of each prefix of a question, once for each level."""


def check_small(asker: Asker) -> None:
    """What an asking side keeps is bounded. Looked at from inside, because it is told to nobody."""
    assert asker._decoder.held_bytes < RECONCILE_FRAME_BYTES_MAX + LENGTH_BYTES
    assert len(asker._answers) <= 1, "answers are taken one by one"
    frame: Any = asker._steps
    while frame is not None and getattr(frame, "gi_frame", None) is not None:
        descent = frame.gi_frame.f_locals.get("descent")
        if descent is not None:
            assert len(descent._pending) <= PENDING_MAX
            assert len(descent._asked) <= RECONCILE_PREFIXES_MAX
            assert len(descent.found) < RECONCILE_FETCH_MAX + 2 * RECONCILE_NODES_FRAME
        frame = frame.gi_yieldfrom


@cache
def recorded(role: str) -> list[bytes]:
    """Both sides of honest sessions: all questions (`answering`) or all answers (`asking`) of each."""
    streams = []
    for number, beginning in enumerate(beginnings()):
        mine, answerer = Store(beginning), Answerer(full_store())
        asker = Asker(mine)
        questions, answers = b"", bytes([number])
        events = asker.start()
        while events:
            event = events.pop(0)
            if isinstance(event, Ask):
                questions += event.frame
                answerer.receive(event.frame)
                for frame in answerer.answer():
                    answers += frame
                    events += asker.receive(frame)
            elif isinstance(event, Things):
                events += asker.judged(mine.judge(event.wires))
        streams.append(questions if role == "answering" else answers)
    if role == "asking":
        liar = HeadsGiven(root_version=9, root_digest=b"\x05" * 32, loose=b"\x06" * 32, logs=full_store().heads().logs)
        streams += [b"\x01" + frame_bytes(liar), b"\x00" + frame_bytes(HeadsGiven(loose=EMPTY, more=True)) * 2]
    return streams
