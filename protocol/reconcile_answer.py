"""Reconciliation, the answering side: one question at a time, answered from what is kept here.

Spec: `spec/reconcile.md` §2 and §5. Pure: questions in, frames of answers out, one at a time and
made when they are taken, so that nothing large lies in memory. The asking side is `reconcile.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol, TypeVar

from protocol.errors import FormatError, NetworkError, NotNow
from protocol.framing import Decoder
from protocol.heads import Heads
from protocol.limits import (
    HOUR_MS,
    INTRODUCTIONS_MAX,
    RECONCILE_ANSWER_FRAMES_MAX,
    RECONCILE_BYTES_MAX,
    RECONCILE_FILL_BYTES,
    RECONCILE_LOGS_FRAME,
    RECONCILE_LOGS_MAX,
    RECONCILE_NODES_FRAME,
    RECONCILE_QUESTION_BYTES_MAX,
    RECONCILE_QUESTIONS_MAX,
    RECONCILE_SESSIONS_HOUR_MAX,
    RECONCILE_STREAMS_MAX,
)
from protocol.prefix_tree import PrefixTree
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
    read_question,
)

T = TypeVar("T")


class Kept(Protocol):
    """What the answering side gives away. Iterators are read as far as an answer goes."""

    def heads(self) -> Heads:
        """All heads."""
        ...

    def roots(self, version: int) -> Iterable[bytes]:
        """Wire bytes of the root's versions from this one on, ascending."""
        ...

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterable[tuple[int, bytes]]:
        """Number and wire bytes of what is kept of this log, ascending."""
        ...

    def wire(self, digest: bytes) -> bytes | None:
        """The thing with this digest, or a proof of the fork with this name."""
        ...

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        """The tree of this log, or of the loose set if `registrar` is empty."""
        ...


class Answerer:
    """The other side of one directory stream. One that has raised is over; its stream is reset.

    `admitted`: a centre record names the peer; else it may only introduce itself.
    """

    def __init__(self, kept: Kept, *, admitted: bool = True) -> None:
        self._kept: Final = kept
        self._admitted: Final = admitted
        self._decoder: Final = Decoder(RECONCILE_QUESTION_BYTES_MAX)
        self._open: Question | None = None
        self._over = False
        self._bytes = self._questions = 0

    def receive(self, data: bytes) -> Question | None:
        """The question that is complete with these bytes: take `answer` before giving more bytes.

        An `Introduced` is for the caller to judge, and `done` answers it.

        Raises:
            FormatError: bytes that are no frame, or a frame that is no question.
            NetworkError: `reconcile_order` (a question before the last was answered),
                `introduction_expected` (anything else from a peer that is not admitted),
                `peer_endless` (too many questions).
        """
        if data and (self._over or self._open is not None):
            raise self._failed(NetworkError("reconcile_order"))
        try:
            frames = self._decoder.feed(data)
            if not frames:
                return None
            question = read_question(*frames[0])
        except FormatError:
            self._over = True
            raise
        self._check(question, len(frames))
        self._open = question
        return question

    def answer(self) -> Iterator[bytes]:
        """The frames that answer the last question, each made when it is taken. Take all of them."""
        assert self._open is not None
        for part in _parts(self._kept, self._open):
            frame = frame_bytes(part)
            self._bytes += len(frame)
            if self._bytes > RECONCILE_BYTES_MAX:
                yield self.done("busy")
                return
            yield frame
        self._open = None

    def done(self, code: str = "") -> bytes:
        """The last frame, in place of an answer: an introduction was believed, or why not."""
        self._over = True
        self._open = None
        return frame_bytes(Done(code=code))

    def finish(self) -> None:
        """The stream has ended here.

        Raises:
            FormatError: `frame_truncated`.
        """
        self._over = True
        self._decoder.finish()

    def _check(self, question: Question, count: int) -> None:
        self._questions += 1
        if not self._admitted and not isinstance(question, Introduced):
            raise self._failed(NetworkError("introduction_expected"))
        if count > 1:
            raise self._failed(NetworkError("reconcile_order"))
        if self._questions > RECONCILE_QUESTIONS_MAX:
            raise self._failed(NetworkError("peer_endless", what="questions", limit=RECONCILE_QUESTIONS_MAX))

    def _failed(self, error: NetworkError) -> NetworkError:
        self._over = True
        return error


# --- answers --------------------------------------------------------------------------------


def _parts(kept: Kept, question: Question) -> Iterator[Answer]:
    if isinstance(question, HeadsAsked):
        return _heads(kept.heads())
    if isinstance(question, RootsAsked):
        return _things(kept.roots(question.version), RECONCILE_ANSWER_FRAMES_MAX)
    if isinstance(question, LogAsked):
        return _log(kept.log(question.registrar, question.generation, question.first, question.last))
    if isinstance(question, TreeAsked):
        return _tree(kept, question)
    assert isinstance(question, ThingsAsked)
    wires = (kept.wire(digest) for digest in question.digests)
    return _things((wire for wire in wires if wire is not None), len(question.digests) + 1)


def _heads(heads: Heads) -> Iterator[Answer]:
    logs = heads.logs[:RECONCILE_LOGS_MAX]
    for at in range(0, max(1, len(logs)), RECONCILE_LOGS_FRAME):
        following = at + RECONCILE_LOGS_FRAME
        yield HeadsGiven(
            root_version=heads.root_version,
            root_digest=heads.root_digest,
            loose=heads.loose,
            logs=logs[at:following],
            more=following < len(logs),
        )


def _things(wires: Iterable[bytes], frames_max: int) -> Iterator[Answer]:
    for things, more in _bounded(_filled((wire, wire) for wire in wires), frames_max):
        yield ThingsGiven(things=tuple(things), more=more)


def _log(rows: Iterable[tuple[int, bytes]]) -> Iterator[Answer]:
    for part, more in _bounded(_filled((row, row[1]) for row in rows), RECONCILE_ANSWER_FRAMES_MAX):
        yield LogGiven(rows=tuple(part), more=more)


def _tree(kept: Kept, question: TreeAsked) -> Iterator[Answer]:
    """The tree may change between two frames; each says of which one it speaks."""
    prefixes = question.read_prefixes()
    for at in range(0, len(prefixes), RECONCILE_NODES_FRAME):
        tree = kept.tree(question.registrar, question.generation) or _NO_TREE
        following = at + RECONCILE_NODES_FRAME
        nodes = tuple(tree.below(prefix) for prefix in prefixes[at:following])
        yield TreeGiven(root=tree.root, nodes=nodes, more=following < len(prefixes))


_NO_TREE: Final = PrefixTree()


def _filled(items: Iterable[tuple[T, bytes]]) -> Iterator[list[T]]:
    """Items in groups whose bytes stay within one frame's filling; a larger one is alone."""
    group: list[T] = []
    room = RECONCILE_FILL_BYTES
    for item, wire in items:
        if group and len(wire) > room:
            yield group
            group, room = [], RECONCILE_FILL_BYTES
        group.append(item)
        room -= len(wire) + 16  # number and lengths
    if group:
        yield group


def _bounded(groups: Iterator[list[T]], frames_max: int) -> Iterator[tuple[list[T], bool]]:
    """Each group and whether another one follows; at least one, at most `frames_max`."""
    group = next(groups, [])
    for following in islice(groups, frames_max - 1):
        yield group, True
        group = following
    yield group, False


# --- how much of it a peer gets ---------------------------------------------------------------


class Turns:
    """How often a peer is answered: a few streams at once, some sessions an hour, few strangers.

    Bounded by the number of admitted peers; the times are those of the last hour's sessions.
    """

    def __init__(self) -> None:
        self._begun: dict[str, deque[int]] = {}
        self._running: dict[str, int] = {}
        self._strangers: set[str] = set()

    def enter(self, peer: str, now_ms: int) -> None:
        """A stream of an admitted peer begins.

        Raises:
            NotNow: `busy`.
        """
        begun = self._begun.setdefault(peer, deque())
        while begun and begun[0] <= now_ms - HOUR_MS:
            begun.popleft()
        running = self._running.get(peer, 0)
        if running >= RECONCILE_STREAMS_MAX or len(begun) > RECONCILE_SESSIONS_HOUR_MAX:
            raise NotNow("busy")
        begun.append(now_ms)
        self._running[peer] = running + 1

    def leave(self, peer: str) -> None:
        """A stream that entered has ended."""
        self._running[peer] -= 1

    def forget(self, peer: str) -> None:
        """The peer is no longer admitted, and none of its streams is left."""
        self._begun.pop(peer, None)
        self._running.pop(peer, None)

    def introduce(self, stranger: str) -> None:
        """A peer that is not admitted begins its introduction; one at a time for each.

        Raises:
            NotNow: `busy`.
        """
        if stranger in self._strangers or len(self._strangers) >= INTRODUCTIONS_MAX:
            raise NotNow("busy")
        self._strangers.add(stranger)

    def let_go(self, stranger: str) -> None:
        """Its introduction is over, believed or not."""
        self._strangers.discard(stranger)
