"""Judging a whole directory again from the root, without a node and without believing one.

Obeys `protocol/spec/trust.md` §7: every thing is judged as of its own date, as a node would have that saw everything in
time. Besides, every log is compared with its newest checkpoint: what is missing, or was put back, shows there.
Nothing is written. The command is `truc directory verify`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from node.directory_log import Filling, RegistrarLog
from protocol.checkpoint import FORK, NUMBERED, Checkpoint, check_fork, read_fork
from protocol.court import Court
from protocol.directory_import import KEPT_IN_LOG, Imported, Terms, import_steps
from protocol.directory_kinds import DirectoryNumber
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import FormatError, TrucError
from protocol.heartbeats import find_checkpoint
from protocol.registrar_log import judge_fork
from protocol.signing import Verifier
from protocol.staged import Staged

CACHE_RECORDS: Final = 262_144
"""Decoded records in memory, about 2 KB each: a nation's directory twice."""
ROWS_MAX: Final = 4_000_000
"""Numbered things that one file can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A thing that is not believed, and why. `in_log`: a registrar really said it, and may not."""

    about: str
    digest: bytes
    error: TrucError
    in_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """One registrar's log: how much of it is here, and which checkpoint says that this is all there was."""

    registrar: str
    generation: int
    things: int
    number: int
    missing: int
    checkpoint: int
    """The number of the newest checkpoint that agrees with what is here; 0 if none does."""
    checkpoint_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of it."""

    counts: dict[str, int]
    """Things believed, by what they are about."""
    pending: int
    faults: tuple[Fault, ...]
    logs: tuple[LogProof, ...]
    operations: int
    """Public-key operations."""

    @property
    def is_sound(self) -> bool:
        """Whether everything is signed by whom it must be."""
        return all(fault.in_log for fault in self.faults)


def verify(
    wires: Sequence[bytes], *, anchor: bytes, now_ms: int, tell: Callable[[int], None] = lambda _done: None
) -> Verified:
    """Judge these things from the root with this digest. `tell` hears how many are looked at."""
    things, forks, faults = _sorted_out(wires)
    records, verifier, cache = Staged(), Verifier(), RecordCache(CACHE_RECORDS)
    steps = import_steps(
        things,
        records,
        anchor=anchor,
        verifier=verifier,
        now_ms=now_ms,
        cache=cache,
        terms=Terms(as_of_ms=now_ms, joining_ms=0),
    )
    imported = _run(steps, tell)
    records.stage(imported.changes)
    view = DirectoryView(records, cache)
    court = Court(lookup=view, verifier=verifier, now_ms=now_ms, anchor=anchor)
    faults += [
        Fault(about=item.about, digest=item.digest, error=item.error, in_log=item.error.code in KEPT_IN_LOG)
        for item in imported.rejected
    ]
    faults += _judged_forks(forks, court)
    return Verified(
        counts=_counts(imported, len(forks)),
        pending=len(imported.pending),
        faults=tuple(faults),
        logs=tuple(_logs(view)),
        operations=verifier.operations,
    )


def _run(steps: Iterator[None], tell: Callable[[int], None]) -> Imported:
    done = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            imported: Imported = end.value
            return imported
        done += 1
        tell(done)


def _sorted_out(wires: Iterable[bytes]) -> tuple[list[bytes], list[bytes], list[Fault]]:
    """Signed things, fork proofs, and what is neither."""
    things: list[bytes] = []
    forks: list[bytes] = []
    faults: list[Fault] = []
    for wire in wires:
        try:
            (things if read_fork(wire) is None else forks).append(wire)
        except FormatError as error:
            faults.append(Fault(about=FORK.name, digest=b"", error=error))
    return things, forks, faults


def _judged_forks(forks: Iterable[bytes], court: Court) -> Iterator[Fault]:
    for wire in forks:
        proof = read_fork(wire)
        assert proof is not None
        try:
            claim = check_fork(proof)
            judge_fork(claim.first, claim.second, court)
        except TrucError as error:
            yield Fault(about=FORK.name, digest=b"", error=error)


def _counts(imported: Imported, forks: int) -> dict[str, int]:
    counts = Counter(item.subject.name.lower() for item in imported.accepted)
    counts["checkpoint"] = len(imported.checkpoints)
    counts["heartbeat"] = len(imported.heartbeats)
    counts["fork"] = forks
    return {name: count for name, count in counts.items() if count}


def _logs(view: DirectoryView) -> Iterator[LogProof]:
    rows = view.records.scan(DirectoryNumber, limit=ROWS_MAX)
    for (registrar, generation), group in groupby(rows, key=lambda row: (row.registrar, row.generation)):
        members = list(group)
        log = _filled(registrar, generation, members, view)
        complete = log.complete
        yield LogProof(
            registrar=registrar,
            generation=generation,
            things=len(members),
            number=members[-1].number,
            missing=members[-1].number - len(members),
            checkpoint=0 if complete is None else complete.checkpoint.number,
            checkpoint_ms=0 if complete is None else complete.checkpoint.created_ms,
        )


def _filled(registrar: str, generation: int, rows: Iterable[DirectoryNumber], view: DirectoryView) -> RegistrarLog:
    filling = Filling(registrar, generation)
    for row in rows:
        filling.add(row)

    def number_of(digest: bytes) -> int:
        signed = view.thing(digest)
        assert signed is not None, "what has a number is stored"
        number: int = NUMBERED[signed.format].decode(signed.statement).number
        return number

    def find(digest: bytes) -> Checkpoint | None:
        return find_checkpoint(view, digest)

    steps = filling.finish(filling.tree(), number_of, find)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            log: RegistrarLog = end.value
            return log
