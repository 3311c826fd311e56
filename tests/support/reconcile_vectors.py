"""Makes the vectors of the directory stream: `python -m tests.support.reconcile_vectors`.

`reconcile.json`: frames, `{"name", "role", "type", "hex", "fields"}` or with `"error"` where reading must
fail (`role`: which side reads it); and heads with their digest.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from protocol.encoding import decode, encode
from protocol.errors import TrucError
from protocol.framing import Decoder, encode_frame
from protocol.heads import Heads, LogHead, heads_digest
from protocol.limits import RECONCILE_FRAME_BYTES_MAX, RECONCILE_QUESTION_BYTES_MAX
from protocol.prefix_tree import Node
from protocol.reconcile_frames import (
    ANSWERS,
    QUESTIONS,
    Answer,
    Done,
    HeadsAsked,
    HeadsGiven,
    Introduced,
    Kind,
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
    read_question,
)
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]


def _hash(name: str) -> bytes:
    return sha256(name.encode()).digest()


LOGS: Final = (
    LogHead(registrar="H38", generation=2, number=7_000, checkpoint=_hash("mark"), root=_hash("tree")),
    LogHead(registrar="H38.12", generation=1, number=0),
    LogHead(registrar="level-1", generation=1, number=2**63 - 1, checkpoint=_hash("other"), root=_hash("wood")),
    LogHead(registrar="root", generation=1, number=1, root=_hash("leaf")),
)
HEADS: Final = Heads(root_version=3, root_digest=_hash("root"), loose=_hash("loose"), logs=LOGS)

LEAF: Final = Node(key=_hash("key"), digest=_hash("digest"))
WIDE: Final = Node(below=tuple(_hash(str(n)) if n % 5 else bytes(32) for n in range(16)))

QUESTIONS_GOOD: Final[list[tuple[str, Question]]] = [
    ("heads?", HeadsAsked()),
    ("heads? with an extension", HeadsAsked(extensions={128: "tương lai"})),
    ("roots from version 4 on?", RootsAsked(version=4)),
    ("a log from 5 to 9?", LogAsked(registrar="H38", generation=2, first=5, last=9)),
    ("one number of a role's log?", LogAsked(registrar="level-1", generation=1, first=5, last=5)),
    ("the top of a log's tree?", TreeAsked(registrar="H38", generation=2, prefixes=((0, b""),))),
    ("deep in the loose set?", TreeAsked(prefixes=((4, b"\xa0"), (256, _hash("key"))))),
    ("two things?", ThingsAsked(digests=(_hash("a"), _hash("b")))),
    ("an introduction", Introduced(things=(b"a root", b"a centre"))),
]
ANSWERS_GOOD: Final[list[tuple[str, Answer]]] = [
    ("heads of a node that knows nothing", HeadsGiven()),
    ("heads", HeadsGiven(root_version=3, root_digest=_hash("root"), loose=_hash("loose"), logs=LOGS, more=True)),
    ("no things", ThingsGiven()),
    ("two things", ThingsGiven(things=(b"one", b"two"), more=True)),
    ("nothing of a log", LogGiven()),
    ("two numbers of a log", LogGiven(rows=((5, b"five"), (6, b"six")), more=True)),
    ("an empty tree", TreeGiven(nodes=(Node(),))),
    ("nothing, a leaf and sixteen hashes", TreeGiven(root=_hash("tree"), nodes=(Node(), LEAF, WIDE), more=True)),
    ("an introduction was believed", Done()),
    ("not now", Done(code="busy")),
]


def _edited(value: Question | Answer, key: int, item: Any) -> bytes:
    frame = frame_bytes(value)
    wire = decode(frame[5:], bytes_max=RECONCILE_FRAME_BYTES_MAX)
    if item is None:
        del wire[key]
    else:
        wire[key] = item
    return encode_frame(frame[4], encode(wire))


_LOG: Final = LogAsked(registrar="H38", generation=2, first=5, last=9)
_TREE: Final = TreeAsked(registrar="H38", generation=2, prefixes=((0, b""),))

QUESTIONS_BAD: Final[list[tuple[str, str, bytes]]] = [
    ("a question of no kind", "frame_unknown", encode_frame(0, b"\x80")),
    ("an answer where a question belongs", "frame_unknown", frame_bytes(HeadsGiven())),
    ("a question that is no map", "format_field", encode_frame(Kind.HEADS_ASKED, encode([1]))),
    ("a question that is no value", "format_malformed", encode_frame(Kind.HEADS_ASKED, b"\xc1")),
    ("a question without a body", "format_malformed", encode_frame(Kind.HEADS_ASKED, b"")),
    ("a question with an unknown key", "format_newer", _edited(HeadsAsked(), 1, 1)),
    ("a question in a longer form", "format_not_canonical", encode_frame(Kind.HEADS_ASKED, b"\xde\x00\x00")),
    ("roots from version 0", "format_field", _edited(RootsAsked(version=4), 1, 0)),
    ("a log from number 0", "format_field", _edited(_LOG, 3, 0)),
    ("a log backwards", "format_field", _edited(_LOG, 4, 4)),
    ("a log of nobody", "format_agency_code", _edited(_LOG, 1, "boss")),
    ("a tree of nobody", "format_agency_code", _edited(_TREE, 2, "boss")),
    ("a tree of a registrar without generation", "format_field", _edited(_TREE, 3, None)),
    ("the loose set with a generation", "format_field", _edited(TreeAsked(prefixes=((0, b""),)), 3, 1)),
    ("no prefix", "format_field", _edited(_TREE, 1, [])),
    ("257 prefixes", "format_field", _edited(_TREE, 1, [[0, b""]] * 257)),
    ("a prefix of three bits", "format_field", _edited(_TREE, 1, [[3, b"\x20"]])),
    ("a prefix with a bit behind it", "format_field", _edited(_TREE, 1, [[4, b"\x11"]])),
    ("a prefix of one element", "format_field", _edited(_TREE, 1, [[0]])),
    ("no digest", "format_field", _edited(ThingsAsked(digests=(_hash("a"),)), 1, [])),
    ("a digest of 31 bytes", "format_field", _edited(ThingsAsked(digests=(_hash("a"),)), 1, [bytes(31)])),
    ("an introduction with an empty thing", "format_field", _edited(Introduced(things=(b"x",)), 1, [b""])),
]
_BOTH: Final = {1: _hash("key"), 2: _hash("digest"), 3: [_hash("h")] * 16}
ANSWERS_BAD: Final[list[tuple[str, str, bytes]]] = [
    ("a question where an answer belongs", "frame_unknown", frame_bytes(HeadsAsked())),
    ("an answer of no kind", "frame_unknown", encode_frame(255, b"\x80")),
    ("heads twice", "format_field", _edited(HeadsGiven(), 4, [{1: "H38", 2: 1, 3: 1}, {1: "H38", 2: 2, 3: 1}])),
    ("heads in no order", "format_field", _edited(HeadsGiven(), 4, [{1: "H39", 2: 1, 3: 1}, {1: "H38", 2: 1, 3: 1}])),
    ("a head of nobody", "format_agency_code", _edited(HeadsGiven(), 4, [{1: "boss", 2: 1, 3: 1}])),
    ("a head without a number", "format_field", _edited(HeadsGiven(), 4, [{1: "H38", 2: 1}])),
    ("a head of generation 0", "format_field", _edited(HeadsGiven(), 4, [{1: "H38", 2: 0, 3: 1}])),
    ("a loose root of 33 bytes", "format_field", _edited(HeadsGiven(), 3, bytes(33))),
    ("more, written out as no", "format_not_canonical", _edited(ThingsGiven(), 2, False)),
    ("more, as a number", "format_field", _edited(ThingsGiven(), 2, 1)),
    ("an empty thing", "format_field", _edited(ThingsGiven(), 1, [b""])),
    ("a row without a thing", "format_field", _edited(LogGiven(), 1, [[5]])),
    ("a row without a number", "format_field", _edited(LogGiven(), 1, [[b"five", b"five"]])),
    ("a row with a negative number", "format_field", _edited(LogGiven(), 1, [[-1, b"five"]])),
    ("a leaf without a digest", "format_field", _edited(TreeGiven(), 2, [{1: _hash("key")}])),
    ("a leaf that is a tree as well", "format_field", _edited(TreeGiven(), 2, [_BOTH])),
    ("fifteen hashes", "format_field", _edited(TreeGiven(), 2, [{3: [_hash("h")] * 15}])),
    ("seventeen nodes", "format_field", _edited(TreeGiven(), 2, [{}] * 17)),
    ("a code that is a sentence", "format_field", _edited(Done(), 1, "not now\n")),
]


def _read(role: str, frame: bytes) -> Question | Answer:
    answers = role == "asking"
    decoder = Decoder(RECONCILE_FRAME_BYTES_MAX if answers else RECONCILE_QUESTION_BYTES_MAX)
    ((number, body),) = decoder.feed(frame)
    return read_answer(number, body) if answers else read_question(number, body)


def failure(role: str, frame: bytes) -> TrucError:
    """The error in reading a frame that must not pass; `role` is the reading side, `asking` or `answering`."""
    try:
        _read(role, frame)
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


read: Final[Callable[[str, bytes], Question | Answer]] = _read


def _good(role: str, name: str, value: Question | Answer) -> Row:
    frame = frame_bytes(value)
    return {"name": name, "role": role, "type": frame[4], "hex": frame.hex(), "fields": plain(value)}


def reconcile() -> list[Row]:
    """Frames of `/truc/directory/1.0.0`, and heads with their digest."""
    good = [_good("answering", name, value) for name, value in QUESTIONS_GOOD]
    good += [_good("asking", name, value) for name, value in ANSWERS_GOOD]
    bad = [
        {"name": name, "role": role, "hex": frame.hex(), "error": code}
        for role, rows in (("answering", QUESTIONS_BAD), ("asking", ANSWERS_BAD))
        for name, code, frame in rows
        if len(frame) < 1_000
    ]
    heads = {"name": "the digest of heads", "heads": plain(HEADS), "heads_digest": heads_digest(HEADS).hex()}
    return [*good, *bad, heads]


def write(folder: Path = FOLDER) -> None:
    """Write the file."""
    (folder / "reconcile.json").write_text(written(reconcile()), encoding="utf-8")


assert set(QUESTIONS) | set(ANSWERS) == set(Kind)

if __name__ == "__main__":
    write()
