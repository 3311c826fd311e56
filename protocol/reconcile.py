"""Reconciliation, the asking side: make sure that I know whatever the peer knows.

Spec: `spec/reconcile.md` §3 and §4 (DESIGN §5, "Directory guarantee"). Pure: bytes in; out come
questions to send and things to judge. What a peer says about itself is a claim; what it gives is
judged like everything else, by whoever drives this. Frames are `reconcile_frames.py`, the other
side `reconcile_answer.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from protocol.checkpoint import thing_name
from protocol.errors import FormatError, NetworkError, NotNow, TrucError, TrustError
from protocol.framing import Decoder
from protocol.heads import Heads, LogHead, differing
from protocol.limits import (
    DIRECTORY_VERSIONS_MAX,
    RECONCILE_ANSWER_FRAMES_MAX,
    RECONCILE_BYTES_MAX,
    RECONCILE_COPIES_MAX,
    RECONCILE_FETCH_MAX,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_HEAP_BYTES,
    RECONCILE_JUNK_MAX,
    RECONCILE_LOGS_MAX,
    RECONCILE_LOGS_SLICE,
    RECONCILE_PREFIXES_MAX,
    RECONCILE_QUESTIONS_MAX,
    RECONCILE_THINGS_MAX,
    RECONCILE_UNTAKEN_MAX,
)
from protocol.prefix_tree import EMPTY, PrefixTree
from protocol.reconcile_descent import Descent
from protocol.reconcile_frames import (
    Answer,
    Done,
    HeadsAsked,
    HeadsGiven,
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

R = TypeVar("R")
A = TypeVar("A", HeadsGiven, ThingsGiven, LogGiven, TreeGiven)

_NO_TREE: Final = PrefixTree()

JUNK_CODES: Final = frozenset(("key_small_order", "signature_invalid", "signature_path"))
"""Of what fails to be believed, the codes that no knowledge of the one who relayed it excuses."""

NEWER_CODES: Final = frozenset(("directory_format", "format_newer"))
"""Format errors that an honest peer of a later release may cause."""


class Known(Protocol):
    """What the asking side knows, as it is now; read again after everything that was judged."""

    def heads(self) -> Heads:
        """All heads."""
        ...

    def head(self, registrar: str) -> LogHead | None:
        """The head of this registrar's log."""
        ...

    def takes(self, registrar: str, generation: int) -> bool:
        """Whether something new of this log could be believed: registrar known, generation open, no fork."""
        ...

    def missing(self, registrar: str, generation: int, first: int, last: int) -> tuple[int, int] | None:
        """The first range of numbers in this range of which none is known here; None if all are."""
        ...

    def holds(self, digest: bytes) -> bool:
        """Whether the thing with this digest (a fork: this name) is kept here, superseded or not."""
        ...

    def wanted(self) -> Sequence[bytes]:
        """Digests that things kept here name, and that are not here: predecessors of checkpoints,
        checkpoints of heartbeats."""
        ...

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        """The tree of this log, or of the loose set if `registrar` is empty."""
        ...

    def copies(self, key: bytes) -> Sequence[bytes]:
        """If this is the key of a leaf about a record with a pending version: the digests of what may
        come into force by a better copy."""
        ...


# --- what comes out -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Send these bytes."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Things:
    """Judge these, keep what is believed, then call `judged`; until then give no more bytes. None at all: a
    time to let others run."""

    wires: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Nothing more to ask. `settled` if nothing was left for another session."""

    settled: bool
    things: int
    """Things that came."""
    untaken: int
    """Those of them that were not believed, for whatever reason."""
    skipped: int = 0
    """Logs that differ, and of which nothing new could be believed now (`Known.takes`)."""


Event = Ask | Things | Over

_Steps = Generator["Ask | Things | None", "Answer | int | None", R]
"""The session as one thread of thought: `None` asks for a frame, `Things` for the number of errors."""


class Asker:
    """One side of one directory stream: asks until it knows what the peer knows.

    An Asker that has raised is over; its stream is reset by the caller.
    """

    def __init__(self, known: Known) -> None:
        self._known: Final = known
        self._decoder: Final = Decoder(RECONCILE_FRAME_BYTES_MAX)
        self._answers: deque[Answer] = deque()
        self._steps: Final = self._session()
        self.frames = 0
        """Frames of answers that came: deadlines run from one to the next."""
        self._judging = False
        self._over = False
        self._settled = True
        self._skipped = 0
        self._bytes = self._questions = self._things = self._untaken = self._junk = self._kept_back = 0

    # --- the driver's side ----------------------------------------------------------------

    def start(self) -> list[Event]:
        """The first question. Call once."""
        return self._run(None)

    def receive(self, data: bytes) -> list[Event]:
        """What follows from these bytes; the last event may be `Things`, then `judged` comes next.

        Raises:
            FormatError: bytes that are no frame, frames that are no answer.
            NetworkError: `reconcile_order`, `peer_withholds`, `peer_contradicts`, `peer_endless`,
                `peer_declined`.
            NotNow: `busy`.
        """
        assert not self._judging, "judge first"
        if self._over and data:
            raise NetworkError("reconcile_order")
        self._bytes += len(data)
        if self._bytes > RECONCILE_BYTES_MAX:
            raise self._failed(NetworkError("peer_endless", what="bytes", limit=RECONCILE_BYTES_MAX))
        try:
            frames = self._decoder.feed(data)
            self.frames += len(frames)
            self._answers += [read_answer(number, body) for number, body in frames]
        except FormatError as error:
            raise self._failed(error) from error
        return self._run(self._answers.popleft()) if self._answers else []

    def judged(self, errors: Iterable[TrucError] = ()) -> list[Event]:
        """What follows once the things were judged and what is believed can be read in `Known`.

        `errors` are those of the things that were not believed. Raises: as `receive`;
            NetworkError: `peer_sends_junk`.
        """
        assert self._judging, "there was nothing to judge"
        self._judging = False
        untaken = list(errors)
        self._untaken += len(untaken)
        self._junk += sum(map(is_junk, untaken))
        if self._junk > RECONCILE_JUNK_MAX:
            raise self._failed(NetworkError("peer_sends_junk", count=self._junk))
        if self._untaken > RECONCILE_UNTAKEN_MAX:
            self._settled = False
            self._answers.clear()
            self._steps.close()
        return self._run(len(untaken))

    def finish(self) -> None:
        """The stream has ended here.

        Raises:
            FormatError: `frame_truncated`.
            NetworkError: `stream_ended` (before there was nothing more to ask).
        """
        self._decoder.finish()
        if not self._over:
            raise NetworkError("stream_ended")

    # --- the machine around the session ---------------------------------------------------

    def _run(self, sent: Answer | int | None) -> list[Event]:
        events: list[Event] = []
        try:
            while (step := self._steps.send(sent)) is not None or self._answers:
                sent = self._answers.popleft() if step is None else None
                if step is not None:
                    events.append(step)
                if isinstance(step, Things):
                    self._judging = True
                    break
                if isinstance(step, Ask) and self._answers:  # something came that nobody had asked for
                    raise NetworkError("reconcile_order")
        except StopIteration:
            events.append(self._finished())
        except TrucError as error:
            raise self._failed(error) from error
        return events

    def _finished(self) -> Over:
        self._over = True
        if self._answers:
            raise NetworkError("reconcile_order")
        return Over(settled=self._settled, things=self._things, untaken=self._untaken, skipped=self._skipped)

    def _failed(self, error: TrucError) -> TrucError:
        self._over = True
        self._steps.close()
        return error

    # --- the session ----------------------------------------------------------------------

    def _session(self) -> _Steps[None]:
        theirs = yield from self._heads()
        yield from self._roots(theirs)
        for count, head in enumerate(differing(self._known.heads(), theirs), 1):
            yield from self._log(head)
            if count % RECONCILE_LOGS_SLICE == 0:
                yield Things(())
        yield from self._fetch(self._known.wanted()[:RECONCILE_FETCH_MAX], promised=False)
        alone = yield from self._descend("", 0, theirs.loose)
        yield from self._copies(alone)

    def _heads(self) -> _Steps[Heads]:
        yield self._ask(HeadsAsked())
        first = part = yield from self._next(HeadsGiven)
        logs = list(part.logs)
        while part.more:
            part = yield from self._next(HeadsGiven)
            ascending = bool(part.logs) and (not logs or part.logs[0].registrar > logs[-1].registrar)
            if not ascending or replace(part, logs=first.logs, more=first.more) != first:
                raise NetworkError("peer_contradicts", what="heads")
            logs += part.logs
            if len(logs) > RECONCILE_LOGS_MAX:
                raise NetworkError("peer_endless", what="heads", limit=RECONCILE_LOGS_MAX)
        return Heads(
            root_version=first.root_version, root_digest=first.root_digest, loose=first.loose, logs=tuple(logs)
        )

    def _roots(self, theirs: Heads) -> _Steps[None]:
        """Roots that I lack; another one under the same version is a proof that I want to see."""
        mine = self._known.heads()
        if theirs.root_version == mine.root_version and theirs.root_digest != mine.root_digest:
            yield from self._fetch([theirs.root_digest], promised=True)
        if theirs.root_version <= mine.root_version:
            return
        yield self._ask(RootsAsked(version=mine.root_version + 1))
        came = errors = 0
        for _ in range(RECONCILE_ANSWER_FRAMES_MAX):
            part = yield from self._next(ThingsGiven)
            came += len(part.things)
            errors += yield from self._judge(part.things)
            if not part.more:
                break
        else:
            raise NetworkError("peer_endless", what="roots", limit=RECONCILE_ANSWER_FRAMES_MAX)
        if not errors and self._known.heads().root_version == mine.root_version:
            raise NetworkError("peer_withholds", what="root", said=theirs.root_version, given=came)

    def _log(self, head: LogHead) -> _Steps[None]:
        """Missing numbers first; a checkpoint that I do not know under a number that I do proves a
        fork; then, at equal numbers, what the trees differ in."""
        first = 1
        while self._known.takes(head.registrar, head.generation):
            gap = self._known.missing(head.registrar, head.generation, first, head.number)
            if gap is None:
                break
            first = yield from self._numbers(head, *gap)
        else:
            self._skipped += 1
            return
        if head.checkpoint != EMPTY:
            yield from self._fetch([head.checkpoint], promised=True)
        mine = self._known.head(head.registrar)
        if mine is not None and (mine.generation, mine.number) == (head.generation, head.number):
            yield from self._descend(head.registrar, head.generation, head.root)

    def _numbers(self, head: LogHead, first: int, last: int) -> _Steps[int]:
        """Ask for this range once; where to go on is returned."""
        yield self._ask(LogAsked(registrar=head.registrar, generation=head.generation, first=first, last=last))
        expected, errors = first, 0
        wires: list[bytes] = []
        for _ in range(RECONCILE_ANSWER_FRAMES_MAX):
            part = yield from self._next(LogGiven)
            fault = self._fault_in([number for number, _ in part.rows], head, expected, last)
            if fault is None:
                expected += len(part.rows)
                wires += [wire for _, wire in part.rows]
            if not part.more or fault is not None or sum(map(len, wires)) >= RECONCILE_HEAP_BYTES:
                errors += yield from self._judge(wires)
                wires = []
            if fault is not None:
                raise fault
            if not part.more:
                break
        else:
            yield from self._judge(wires)
            raise NetworkError("peer_endless", what=head.registrar, limit=RECONCILE_ANSWER_FRAMES_MAX)
        if expected == first:
            raise NetworkError("peer_withholds", what=head.registrar, said=head.number, given=first - 1)
        if not errors and self._known.takes(head.registrar, head.generation):
            self._check_known(head, first, expected - 1)
        return expected

    def _fault_in(self, numbers: Sequence[int], head: LogHead, expected: int, last: int) -> NetworkError | None:
        """What is wrong with the numbers of one frame, which must go on from `expected` without a gap."""
        for number in numbers:
            if not expected <= number <= last:
                return NetworkError("peer_contradicts", what=head.registrar)
            if number > expected:
                return NetworkError("peer_withholds", what=head.registrar, said=head.number, given=expected - 1)
            expected += 1
        return None

    def _check_known(self, head: LogHead, first: int, last: int) -> None:
        """All of it was believed, so what is not known now was given under a false number."""
        if self._known.missing(head.registrar, head.generation, first, last) is not None:
            raise NetworkError("peer_contradicts", what=head.registrar)

    # --- trees ----------------------------------------------------------------------------

    def _descend(self, registrar: str, generation: int, root: bytes) -> _Steps[Iterable[bytes]]:
        """Find and fetch what is in their tree and not here; the loose set forgets, a log never does.

        The keys of what only we have in the loose set are returned.
        """
        descent = Descent(root, registrar, notes_alone=not registrar)
        while descent.pending or descent.found:
            if len(descent.found) >= RECONCILE_FETCH_MAX or not descent.pending:
                batch = descent.found[:RECONCILE_FETCH_MAX]
                del descent.found[:RECONCILE_FETCH_MAX]
                yield from self._fetch(batch, promised=bool(registrar))
            elif prefixes := descent.ask(self._tree(registrar, generation)):
                pairs = tuple((prefix.bits, prefix.value) for prefix in prefixes)
                yield self._ask(TreeAsked(registrar=registrar, generation=generation, prefixes=pairs))
                yield from self._nodes(descent, registrar, generation)
        self._settled = self._settled and descent.settled
        return descent.alone

    def _nodes(self, descent: Descent, registrar: str, generation: int) -> _Steps[None]:
        """Take in the answer to one question about a tree."""
        moved, root = False, descent.root
        for _ in range(RECONCILE_PREFIXES_MAX):
            part = yield from self._next(TreeGiven)
            moved, root = moved or part.root != root, part.root
            if not moved:
                descent.look(part.nodes, self._tree(registrar, generation), self._known.holds)
            if not part.more:
                break
        else:
            raise NetworkError("peer_endless", what=registrar, limit=RECONCILE_PREFIXES_MAX)
        if moved:
            descent.restart(root)
        descent.finish()

    def _tree(self, registrar: str, generation: int) -> PrefixTree:
        return self._known.tree(registrar, generation) or _NO_TREE

    # --- things ---------------------------------------------------------------------------

    def _fetch(self, digests: Sequence[bytes], *, promised: bool) -> _Steps[None]:
        """Get these things. `promised`: the peer has said that it keeps them, and nobody deletes them."""
        lacking = {digest for digest in digests if not self._known.holds(digest)}
        if not lacking:
            return
        yield from self._things_of(lacking)
        self._kept_back += 0 if promised else len(lacking)
        if (promised and lacking) or self._kept_back > RECONCILE_JUNK_MAX:
            raise NetworkError("peer_withholds", what="things", said=len(digests), given=len(digests) - len(lacking))

    def _copies(self, keys: Iterable[bytes]) -> _Steps[None]:
        """Get their copies of what waits here and not there: theirs may be endorsed. They need have none."""
        asked: set[bytes] = set()
        batch: set[bytes] = set()
        for key in keys:
            batch.update(digest for digest in self._known.copies(key) if digest not in asked)
            if len(asked) + len(batch) > RECONCILE_COPIES_MAX:
                self._settled = False
                return
            if len(batch) >= RECONCILE_FETCH_MAX - DIRECTORY_VERSIONS_MAX:
                asked |= batch
                yield from self._things_of(batch)
                batch = set()
        if batch:
            yield from self._things_of(batch)

    def _things_of(self, lacking: set[bytes]) -> _Steps[None]:
        """Ask for things by digest, and have judged what comes; what does not come is left in the set."""
        yield self._ask(ThingsAsked(digests=tuple(sorted(lacking))))
        more = True
        while more:
            part = yield from self._next(ThingsGiven)
            names = [thing_name(wire) for wire in part.things]
            if not lacking.issuperset(names) or len(set(names)) < len(names) or (part.more and not names):
                raise NetworkError("peer_contradicts", what="things")
            lacking.difference_update(names)
            yield from self._judge(part.things)
            more = part.more

    def _judge(self, wires: Sequence[bytes]) -> _Steps[int]:
        """Have these things judged; how many were not believed is returned."""
        self._things += len(wires)
        if self._things > RECONCILE_THINGS_MAX:
            raise NetworkError("peer_endless", what="things", limit=RECONCILE_THINGS_MAX)
        if not wires:
            return 0
        errors = yield Things(tuple(wires))
        assert isinstance(errors, int)
        return errors

    # --- frames ---------------------------------------------------------------------------

    def _ask(self, question: Question) -> Ask:
        self._questions += 1
        if self._questions > RECONCILE_QUESTIONS_MAX:
            raise NetworkError("peer_endless", what="questions", limit=RECONCILE_QUESTIONS_MAX)
        return Ask(frame_bytes(question))

    def _next(self, wanted: type[A]) -> _Steps[A]:
        answer = yield None
        if isinstance(answer, Done):
            raise NotNow("busy") if answer.code == "busy" else NetworkError("peer_declined", reason=answer.code)
        if not isinstance(answer, wanted):
            raise NetworkError("reconcile_order")
        return answer


def is_junk(error: TrucError) -> bool:
    """Whether a thing is bad in itself, so that whoever gave it could have known."""
    if isinstance(error, FormatError):
        return error.code not in NEWER_CODES
    return isinstance(error, TrustError) and error.code in JUNK_CODES
