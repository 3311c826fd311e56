"""Frames of the directory stream: six questions, and what answers them.

Spec: `spec/reconcile.md` §2. Bytes in, checked values out. In which order they may come, and
what follows from them, is `reconcile.py` (the asking side) and `reconcile_answer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Final

from protocol.checkpoint import check_registrar
from protocol.directory import Positive, Registrar
from protocol.encoding import Count, Digest, Extensions, Format, Key, Meta
from protocol.errors import FormatError
from protocol.framing import encode_frame
from protocol.heads import LogHead, check_order
from protocol.limits import (
    CODE_CHARACTERS_MAX,
    RECONCILE_FETCH_MAX,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_LOGS_FRAME,
    RECONCILE_NODES_FRAME,
    RECONCILE_PREFIXES_MAX,
    RECONCILE_QUESTION_BYTES_MAX,
)
from protocol.prefix_tree import EMPTY, Node, Prefix, check_node, read_prefix

PROTOCOL: Final = "/truc/directory/1.0.0"

Wires = Annotated[tuple[Annotated[bytes, Meta(min_length=1)], ...], Meta(max_length=RECONCILE_FRAME_BYTES_MAX)]
"""Signed things and fork proofs, verbatim and unread."""


class Kind(IntEnum):
    """First byte of a frame: questions below 64, answers above."""

    HEADS_ASKED = 1
    ROOTS_ASKED = 2
    LOG_ASKED = 3
    TREE_ASKED = 4
    THINGS_ASKED = 5
    INTRODUCED = 6
    HEADS_GIVEN = 65
    THINGS_GIVEN = 66
    LOG_GIVEN = 67
    TREE_GIVEN = 68
    DONE = 69


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsAsked:
    """How far are you?"""

    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootsAsked:
    """Give me the root's versions from this one on."""

    version: Annotated[Positive, Key(1)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAsked:
    """Give me what this registrar signed under these numbers, both included."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    first: Annotated[Positive, Key(3)]
    last: Annotated[Positive, Key(4)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeAsked:
    """What is below these prefixes, [bits, value] each? No registrar: in the loose set."""

    prefixes: Annotated[
        tuple[tuple[Count, bytes], ...], Meta(min_length=1, max_length=RECONCILE_PREFIXES_MAX), Key(1)
    ]
    registrar: Annotated[str, Meta(max_length=CODE_CHARACTERS_MAX), Key(2)] = ""
    generation: Annotated[Count, Key(3)] = 0
    extensions: Extensions = field(default_factory=dict)

    def read_prefixes(self) -> list[Prefix]:
        """The prefixes, checked. Raises: `format_field`."""
        return [read_prefix(*pair, field=f"prefixes[{n}]") for n, pair in enumerate(self.prefixes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingsAsked:
    """Give me the things with these digests, or proofs of the forks with these names."""

    digests: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=RECONCILE_FETCH_MAX), Key(1)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    """I am a centre's node, and these things show it."""

    things: Annotated[Wires, Key(1)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsGiven:
    """A part of my heads; all frames of one answer repeat the first three."""

    root_version: Annotated[Count, Key(1)] = 0
    root_digest: Annotated[Digest, Key(2)] = EMPTY
    loose: Annotated[Digest, Key(3)] = EMPTY
    logs: Annotated[tuple[LogHead, ...], Meta(max_length=RECONCILE_LOGS_FRAME), Key(4)] = ()
    more: Annotated[bool, Key(5)] = False
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingsGiven:
    """Roots, or what was asked for by digest."""

    things: Annotated[Wires, Key(1)] = ()
    more: Annotated[bool, Key(2)] = False
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGiven:
    """A part of a log, [number, thing] each."""

    rows: Annotated[
        tuple[tuple[Count, Annotated[bytes, Meta(min_length=1)]], ...],
        Meta(max_length=RECONCILE_FRAME_BYTES_MAX),
        Key(1),
    ] = ()
    more: Annotated[bool, Key(2)] = False
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeGiven:
    """What is below the next prefixes of the question, in a tree that has this root now."""

    root: Annotated[Digest, Key(1)] = EMPTY
    nodes: Annotated[tuple[Node, ...], Meta(max_length=RECONCILE_NODES_FRAME), Key(2)] = ()
    more: Annotated[bool, Key(3)] = False
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last frame: an introduction was believed (no code), or there is no answer, and why."""

    code: Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9_]*\Z"), Key(1)] = ""
    extensions: Extensions = field(default_factory=dict)


Question = HeadsAsked | RootsAsked | LogAsked | TreeAsked | ThingsAsked | Introduced
Answer = HeadsGiven | ThingsGiven | LogGiven | TreeGiven | Done

_QUESTIONS: Final[dict[int, type]] = {
    Kind.HEADS_ASKED: HeadsAsked,
    Kind.ROOTS_ASKED: RootsAsked,
    Kind.LOG_ASKED: LogAsked,
    Kind.TREE_ASKED: TreeAsked,
    Kind.THINGS_ASKED: ThingsAsked,
    Kind.INTRODUCED: Introduced,
}
_ANSWERS: Final[dict[int, type]] = {
    Kind.HEADS_GIVEN: HeadsGiven,
    Kind.THINGS_GIVEN: ThingsGiven,
    Kind.LOG_GIVEN: LogGiven,
    Kind.TREE_GIVEN: TreeGiven,
    Kind.DONE: Done,
}


def _formats(classes: dict[int, type], bytes_max: int) -> dict[int, Format[Any]]:
    return {
        number: Format(f"truc/directory/{Kind(number).name.lower()}/1", cls, bytes_max=bytes_max)
        for number, cls in classes.items()
    }


QUESTIONS: Final = _formats(_QUESTIONS, RECONCILE_QUESTION_BYTES_MAX)
ANSWERS: Final = _formats(_ANSWERS, RECONCILE_FRAME_BYTES_MAX)

_KIND_OF: Final = {cls: number for classes in (_QUESTIONS, _ANSWERS) for number, cls in classes.items()}


def frame_bytes(value: Question | Answer) -> bytes:
    """A question or answer as it goes on the wire.

    Raises:
        FormatError: `format_too_large` (an introduction of more than 64 KiB).
    """
    number = _KIND_OF[type(value)]
    form = QUESTIONS[number] if number in QUESTIONS else ANSWERS[number]
    return encode_frame(number, form.encode(value))


def read_question(number: int, body: bytes) -> Question:
    """A question from its frame, checked.

    Raises:
        FormatError: `frame_unknown`, `format_field`, `format_agency_code`, and as `Format.decode`.
    """
    question: Question = _known(QUESTIONS, number).decode(body)
    if isinstance(question, LogAsked):
        check_registrar(question.registrar)
        if question.first > question.last:
            raise FormatError("format_field", field="last", reason="before the first")
    elif isinstance(question, TreeAsked):
        if bool(question.registrar) != (question.generation > 0):
            raise FormatError("format_field", field="generation", reason="contradicts the registrar")
        if question.registrar:
            check_registrar(question.registrar)
        question.read_prefixes()
    return question


def read_answer(number: int, body: bytes) -> Answer:
    """An answer from its frame, checked.

    Raises:
        FormatError: `frame_unknown`, `format_field`, `format_agency_code`, and as `Format.decode`.
    """
    answer: Answer = _known(ANSWERS, number).decode(body)
    if isinstance(answer, TreeGiven):
        for index, node in enumerate(answer.nodes):
            check_node(node, field=f"nodes[{index}]")
    elif isinstance(answer, HeadsGiven):
        check_order(answer.logs)
    return answer


def _known(formats: dict[int, Format[Any]], number: int) -> Format[Any]:
    form = formats.get(number)
    if form is None:
        raise FormatError("frame_unknown", type=number)
    return form
