"""How a heap of things is taken in.

Spec: `spec/trust.md` §7. Pure: the changes are returned, to be committed in one step. What is
valid is kept, the rest is listed with its reason, and the order in which things lie in a file
does not matter: they are judged by their dates, and what waits for another is tried again as
long as something is accepted. What acceptance changes is `directory_changes.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, Heartbeat, check_checkpoint, read_heartbeat
from protocol.court import Accepted, Court, Standing
from protocol.directory import FORMATS, NodeRecord, Numbered, Root, not_a_record
from protocol.directory_again import About, Uncounted, at_once, judged_again, touches
from protocol.directory_changes import changes_for, log_only
from protocol.directory_pending import Ended, due_changes
from protocol.directory_view import WIRE_BYTES_MAX, DirectoryView, RecordCache
from protocol.encoding import Format
from protocol.errors import FormatError, NotNow, TrucError, TrustError
from protocol.heartbeats import AcceptedHeartbeat, heartbeat_changes, judge_heartbeat
from protocol.limits import DIRECTORY_PASSES_MAX, JOINING_MS
from protocol.record import Change, Put, Records
from protocol.registrar_log import (
    AcceptedCheckpoint,
    checkpoint_changes,
    follower_of,
    fork_record,
    judge_checkpoint,
)
from protocol.signing import Signed, Verifier
from protocol.staged import Staged
from protocol.trust import is_better_copy, judge

_READABLE: Final[dict[str, Format[Any]]] = {**FORMATS, CHECKPOINT.name: CHECKPOINT, HEARTBEAT.name: HEARTBEAT}

KEPT_IN_LOG: Final = frozenset({"directory_alias", "directory_epoch"})
"""What a registrar signed and may not say: refused, and kept under its number for the log's sake."""


# --- taking in many -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A thing that was not taken, what it seems to be about, and why."""

    about: str
    digest: bytes
    error: TrucError
    wire: bytes = field(default=b"", repr=False, compare=False)
    """The thing, if further knowledge or another round may change the outcome."""

    @property
    def is_final(self) -> bool:
        """Whether judging it again is useless."""
        return not self.wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of a heap of things: `changes` is to be committed in one step."""

    changes: tuple[Change, ...]
    accepted: tuple[Accepted, ...]
    """Records, in force or not: each says its standing."""
    already: int
    rejected: tuple[Rejected, ...]
    checkpoints: tuple[AcceptedCheckpoint, ...] = ()
    heartbeats: tuple[AcceptedHeartbeat, ...] = ()
    ended: tuple[Ended, ...] = ()
    """Waiting that was over, where things are taken in as of their dates."""
    pending: tuple[Accepted, ...] = ()
    """Those of `accepted` that wait for an endorsement, or for their day to end."""
    again: tuple[Accepted, ...] = ()
    """Records that waited or lay aside, of this heap or an earlier one, and count by what it brought."""
    first: tuple[str, ...] = ()
    """Of a large heap, subject and code of the records that were believed and are not among `accepted`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Subject and code of every record that was believed."""
        return (*(f"{item.subject.name.lower()} {item.code}".strip() for item in self.accepted), *self.first)


@dataclass(slots=True, kw_only=True)
class Patience:
    """For a heap that is judged in parts: each part once, in order; what waits holds back later versions
    of the same record, also in later parts. Without patience (the last rounds) nothing is held back."""

    held: dict[tuple[str, str], NotNow] = field(default_factory=dict)
    patient: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a heap is taken in; the default is that of a node."""

    clock_trusted: bool = True
    joining_ms: int = JOINING_MS
    own_centre: str | None = None
    """The centre whose agencies are listed by host; None lists all."""
    as_of_ms: int | None = None
    """Judge as a node that saw each thing on its date, and lived until this moment: for tools that
    keep no store and for the off-line verifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    order: tuple[Any, ...]
    created_ms: int
    about: str
    subject: tuple[str, str]
    signed: Signed
    error: TrucError | None = None


class _Import:
    """One import in progress: staged records, and things that still wait."""

    def __init__(
        self, records: Records, cache: RecordCache, anchor: bytes, verifier: Verifier, now_ms: int, terms: Terms
    ) -> None:
        self.staged = Staged(records)
        self.view = DirectoryView(self.staged, cache)
        self.terms = terms
        self.court = Court(
            lookup=self.view,
            verifier=verifier,
            now_ms=now_ms,
            anchor=anchor,
            clock_trusted=terms.clock_trusted,
            joining_ms=terms.joining_ms,
        )
        self.accepted: list[Accepted] = []
        self.again: list[Accepted] = []
        self._uncounted: Final = Uncounted(self.view)
        self._copies: dict[About, dict[bytes, Signed]] = {}
        """Better signed ones of what waits, by keys that nobody knows yet."""
        self.checkpoints: list[AcceptedCheckpoint] = []
        self.heartbeats: list[AcceptedHeartbeat] = []
        self.ended: list[Ended] = []
        self.already = 0
        self.rejected: list[Rejected] = []

    def read(self, wires: Iterable[bytes]) -> Generator[None, None, list[_Waiting]]:
        """Everything readable, in the order of judging; the rest is rejected here."""
        waiting: list[_Waiting] = []
        for wire in wires:
            try:
                waiting.append(_waiting(Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)))
            except FormatError as error:
                self.rejected.append(Rejected(about="", digest=b"", error=error))
            yield
        return sorted(waiting, key=lambda item: item.order)

    def round(
        self, waiting: list[_Waiting], *, patient: bool, held: dict[tuple[str, str], NotNow] | None = None
    ) -> Generator[None, None, list[_Waiting]]:
        """Judge each once; return those that another round may decide otherwise.

        A patient round lets no version overtake an older one of the same record that still
        waits for knowledge: a first sight needs no endorsement, a second does.
        """
        left: list[_Waiting] = []
        held = {} if held is None else held
        for item in waiting:
            if patient and item.subject in held:
                left.append(item if item.error is not None else replace(item, error=held[item.subject]))
                continue
            try:
                court = self._court_at(item)
                accepted = self._take(item, court)
                if accepted is not None:
                    yield from self._follow_up(accepted, court)
            except NotNow as error:
                held[item.subject] = error
                left.append(replace(item, error=error))
            except FormatError as error:
                self._reject(item, error)
            except TrustError as error:
                if not self._kept_in_log(item, error):
                    self._keep_fork(item, error)
                    left.append(replace(item, error=error))
            yield
        return left

    def finish(self, left: list[_Waiting]) -> Imported:
        """The result; whatever still waits is rejected with its last reason."""
        for item in left:
            assert item.error is not None
            self._reject(item, item.error, final=False)
        if self.terms.as_of_ms is not None:
            self._live_until(self.terms.as_of_ms)
        return Imported(
            changes=tuple(self.staged.changes),
            accepted=tuple(self.accepted),
            again=tuple(self.again),
            already=self.already,
            rejected=tuple(self.rejected),
            checkpoints=tuple(self.checkpoints),
            heartbeats=tuple(self.heartbeats),
            ended=tuple(self.ended),
            pending=tuple(item for item in self.accepted if self._waits(item)),
        )

    def progress(self) -> int:
        """Grows as long as another round may accept something."""
        return len(self.accepted) + len(self.again) + len(self.checkpoints) + len(self.heartbeats)

    def _waits(self, item: Accepted) -> bool:
        row = self.view.pending(item.subject, item.code) if item.standing is Standing.PENDING else None
        return row is not None and row.digest == item.signed.digest

    def _take(self, item: _Waiting, court: Court) -> Accepted | None:
        """The record that was believed, if this is one."""
        if item.signed.format == CHECKPOINT.name:
            self._take_checkpoint(item.signed, court)
            return None
        if item.signed.format == HEARTBEAT.name:
            self._take_heartbeat(item.signed, court)
            return None
        accepted = judge(item.signed, court)
        if accepted.already:
            self.already += 1
            self._remember_copy(accepted, court)
            return None
        self.accepted.append(accepted)
        self._stage(accepted, court)
        return accepted

    def _stage(self, accepted: Accepted, court: Court) -> None:
        self.staged.stage(changes_for(accepted, self.view, court.now_ms, own_centre=self.terms.own_centre))

    def _remember_copy(self, accepted: Accepted, court: Court) -> None:
        if is_better_copy(accepted, court):
            wire = accepted.signed.to_wire()
            self._copies.setdefault((accepted.subject, accepted.code), {})[wire] = accepted.signed

    def _follow_up(self, accepted: Accepted, court: Court) -> Generator[None, None, None]:
        """Judge anew what waited for this, oldest first, before anything else is judged."""
        if accepted.standing in {Standing.PENDING, Standing.ASIDE}:
            self._uncounted.add(accepted.subject, accepted.code)
        if not touches(accepted):
            return
        found = yield from self._uncounted.touched_by(accepted.subject, accepted.code)
        for about in found:
            copies = self._copies.get(about, {}).values()
            while (again := judged_again(about, court, self.view, copies)) is not None:
                self.again.append(again)
                self._stage(again, court)
                yield

    def _take_checkpoint(self, signed: Signed, court: Court) -> None:
        value = CHECKPOINT.decode(signed.statement)
        check_checkpoint(value)
        accepted = judge_checkpoint(signed, value, court, previous=self._previous(value))
        if accepted.already:
            self.already += 1
            return
        self.staged.stage(checkpoint_changes(accepted, court.now_ms))
        self.checkpoints.append(accepted)

    def _take_heartbeat(self, signed: Signed, court: Court) -> None:
        accepted = judge_heartbeat(signed, read_heartbeat(signed.statement), self.view, court)
        if accepted.already:
            self.already += 1
            return
        self.staged.stage(heartbeat_changes(accepted, self.view, court.now_ms))
        self.heartbeats.append(accepted)

    def _previous(self, value: Checkpoint) -> Checkpoint | None:
        known = self.view.thing(value.previous)
        return CHECKPOINT.decode(known.statement) if known is not None and known.format == CHECKPOINT.name else None

    def _court_at(self, item: _Waiting) -> Court:
        """The court of this moment; or, as of the things' own dates, of the moment this one was made."""
        if self.terms.as_of_ms is None:
            return self.court
        self._live_until(min(item.created_ms, self.terms.as_of_ms))
        return replace(self.court, now_ms=min(item.created_ms, self.court.now_ms))

    def _live_until(self, time_ms: int) -> None:
        """Let pending versions come into force until this moment."""
        next_ms: int | None = time_ms
        while next_ms is not None and next_ms <= time_ms:
            due = due_changes(self.view, replace(self.court, now_ms=time_ms), own_centre=self.terms.own_centre)
            self.staged.stage(due.changes)
            self.ended += due.ended
            next_ms = due.next_ms

    def _kept_in_log(self, item: _Waiting, error: TrustError) -> bool:
        """Whether it is refused for good, and only fills its place in the registrar's log."""
        if error.code not in KEPT_IN_LOG:
            return False
        record: Numbered = FORMATS[item.signed.format].decode(item.signed.statement)
        self.staged.stage(log_only(item.signed, record, self.view, self.court.now_ms))
        self._reject(item, error)
        return True

    def _reject(self, item: _Waiting, error: TrucError, *, final: bool = True) -> None:
        wire = b"" if final else item.signed.to_wire()
        self.rejected.append(Rejected(about=item.about, digest=item.signed.digest, error=error, wire=wire))

    def _keep_fork(self, item: _Waiting, error: TrustError) -> None:
        """The second thing under one number, or after one checkpoint, is kept as proof; it closes the
        generation to new things."""
        value = _READABLE[item.signed.format].decode(item.signed.statement)
        if error.code != "directory_fork" or isinstance(value, Root):
            return
        if self.view.fork(value.registrar, value.generation) is not None:
            return
        digest = self.view.numbered(value.registrar, value.generation, value.number)
        if isinstance(value, Checkpoint) and digest is None:
            digest = follower_of(value, self.view)
        first = self.view.thing(digest) if digest is not None else None
        assert first is not None, "what has a number is stored"
        self.staged.stage([Put(fork_record(first, item.signed))])


def import_things(
    wires: Iterable[bytes],
    records: Records,
    *,
    anchor: bytes,
    verifier: Verifier,
    now_ms: int,
    cache: RecordCache,
    terms: Terms | None = None,
) -> Imported:
    """Take in signed things in any order; nothing is written, the changes are in the result."""
    steps = import_steps(wires, records, anchor=anchor, verifier=verifier, now_ms=now_ms, cache=cache, terms=terms)
    return at_once(steps)


def import_steps(
    wires: Iterable[bytes],
    records: Records,
    *,
    anchor: bytes,
    verifier: Verifier,
    now_ms: int,
    cache: RecordCache,
    terms: Terms | None = None,
    patience: Patience | None = None,
) -> Generator[None, None, Imported]:
    """As `import_things`, with a pause after each thing, about a third of a millisecond of work.

    Whoever pauses sees to it that nothing of the directory is changed in `records` meanwhile.
    `patience`: these things are a part of a heap, and judged once.
    """
    run = _Import(records, cache, anchor, verifier, now_ms, terms if terms is not None else Terms())
    left = yield from run.read(wires)
    if patience is not None:
        left = yield from run.round(left, patient=patience.patient, held=patience.held)
        return run.finish(left)
    for patient in (True, False):
        for _ in range(DIRECTORY_PASSES_MAX):
            before = run.progress()
            left = yield from run.round(left, patient=patient)
            if run.progress() == before:
                break
    return run.finish(left)


def with_pending_as_waiting(result: Imported) -> Imported:
    """The result with what is pending among the rejected: for lists of what still lacks a signature."""
    waiting = tuple(
        Rejected(
            about=f"{item.signed.format} {item.code}",
            digest=item.signed.digest,
            error=NotNow("directory_pending", code=item.code),
        )
        for item in result.pending
    )
    return replace(result, rejected=(*result.rejected, *waiting))


def _waiting(signed: Signed) -> _Waiting:
    """Roots by version, everything else by its date, upper registrars before lower ones.

    Raises:
        FormatError: `directory_format`, `format_newer`, or the statement cannot be read.
    """
    form = _READABLE.get(signed.format)
    if form is None:
        raise not_a_record(signed.format)
    value = form.decode(signed.statement)
    code = about_code(value)
    created_ms: int = value.from_ms if isinstance(value, NodeRecord) else value.created_ms
    if isinstance(value, Root):
        order: tuple[Any, ...] = (0, value.version, 0, 0, signed.digest)
    else:
        order = (1, created_ms, code.count("."), getattr(value, "number", 0), signed.digest)
    return _Waiting(
        order=order,
        created_ms=created_ms,
        about=f"{signed.format} {code}".strip(),
        subject=(signed.format, code),
        signed=signed,
    )


def about_code(value: Any) -> str:
    """The code that a directory statement is about; empty for the root; a checkpoint is about its registrar's."""
    if isinstance(value, Root):
        return ""
    if isinstance(value, Checkpoint | Heartbeat):
        return value.registrar
    code: str = value.centre if isinstance(value, NodeRecord) else value.code
    return code
