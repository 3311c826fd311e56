"""How accepted things become durable records, and how a heap of things is taken in.

Spec: `spec/directory.md` §6, `spec/trust.md` §7. Pure: the changes are returned, to be
committed in one step. What is valid is kept, the rest is listed with its reason, and the order
in which things lie in a file does not matter: they are judged by their dates, and what waits
for another is tried again as long as something is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from protocol.directory import FORMATS, AgencyRecord, CentreRecord, NodeRecord, RecordState, Root, not_a_record
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFork,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryThing,
    Subject,
    VersionRef,
)
from protocol.directory_view import WIRE_BYTES_MAX, DirectoryView, RecordCache
from protocol.errors import FormatError, NotNow, TrucError, TrustError
from protocol.limits import DIRECTORY_PASSES_MAX, DIRECTORY_VERSIONS_MAX
from protocol.record import Change, Delete, Put, Records
from protocol.signing import Signed, Verifier
from protocol.staged import Staged
from protocol.trust import Accepted, Court, judge

# --- what an accepted thing changes ---------------------------------------------------------


def changes_for(accepted: Accepted, view: DirectoryView, now_ms: int) -> list[Change]:
    """The records that make an accepted thing the version in force. `view` is the state before it."""
    assert not accepted.already
    digest = accepted.signed.digest
    changes: list[Change] = [
        Put(DirectoryThing(digest=digest, wire=accepted.signed.to_wire(), accepted_ms=now_ms)),
        *_history(accepted, view),
    ]
    value = accepted.value
    if isinstance(value, CentreRecord | AgencyRecord):
        changes.append(
            Put(
                DirectoryNumber(
                    registrar=value.registrar, generation=value.generation, number=value.number, digest=digest
                )
            )
        )
    if isinstance(value, CentreRecord):
        changes += _centre_indexes(view, value)
    elif isinstance(value, AgencyRecord):
        changes += _agency_indexes(view, value)
    return changes


def _history(accepted: Accepted, view: DirectoryView) -> list[Change]:
    """The new version goes to the head. Only node records, by which nothing is judged, are not kept."""
    key = (int(accepted.subject), accepted.code)
    before = view.records.get(DirectoryHistory, *key)
    older = before.versions if before is not None else ()
    changes: list[Change] = []
    if accepted.subject is Subject.NODE:
        changes, older = [Delete(DirectoryThing, (item.digest,)) for item in older], ()
    newest = VersionRef(digest=accepted.signed.digest, created_ms=accepted.created_ms)
    versions = (newest, *older)[:DIRECTORY_VERSIONS_MAX]
    return [*changes, Put(DirectoryHistory(subject=key[0], code=key[1], versions=versions))]


def _centre_indexes(view: DirectoryView, new: CentreRecord) -> list[Change]:
    known = view.find_centre(new.code)
    if known is not None and known.value.peer_id == new.peer_id:
        return []
    added: Change = Put(DirectoryPeer(peer_id=new.peer_id, centre=new.code))
    return [added] if known is None else [Delete(DirectoryPeer, (known.value.peer_id, new.code)), added]


def _agency_indexes(view: DirectoryView, new: AgencyRecord) -> list[Change]:
    known = view.find_agency(new.code)
    changes: list[Change] = []
    if known is not None:
        gone = set(known.value.aliases) - set(new.aliases)
        changes += [Delete(DirectoryAlias, (alias, new.code)) for alias in sorted(gone)]
        if known.value.host != new.host:
            changes.append(Delete(DirectoryHosting, (known.value.host, new.code)))
    if known is None or known.value.host != new.host:
        changes.append(Put(DirectoryHosting(centre=new.host, code=new.code)))
    live = new.state is not RecordState.CLOSED
    return changes + [Put(DirectoryAlias(alias=alias, code=new.code, live=live)) for alias in new.aliases]


# --- taking in many -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A thing that was not taken, what it seems to be about, and why."""

    about: str
    digest: bytes
    error: TrucError


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of a heap of things: `changes` is to be committed in one step."""

    changes: tuple[Change, ...]
    accepted: tuple[Accepted, ...]
    already: int
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    order: tuple[Any, ...]
    about: str
    subject: tuple[str, str]
    signed: Signed
    error: TrucError | None = None


class _Import:
    """One import in progress: staged records, and things that still wait."""

    def __init__(self, records: Records, cache: RecordCache, anchor: bytes, verifier: Verifier, now_ms: int) -> None:
        self.staged = Staged(records)
        self.view = DirectoryView(self.staged, cache)
        self.court = Court(lookup=self.view, verifier=verifier, now_ms=now_ms, anchor=anchor)
        self.accepted: list[Accepted] = []
        self.already = 0
        self.rejected: list[Rejected] = []

    def read(self, wires: Iterable[bytes]) -> list[_Waiting]:
        """Everything readable, in the order of judging; the rest is rejected here."""
        waiting: list[_Waiting] = []
        for wire in wires:
            try:
                waiting.append(_waiting(Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)))
            except FormatError as error:
                self.rejected.append(Rejected(about="", digest=b"", error=error))
        return sorted(waiting, key=lambda item: item.order)

    def round(self, waiting: list[_Waiting], *, patient: bool) -> list[_Waiting]:
        """Judge each once; return those that another round may decide otherwise.

        A patient round lets no version overtake an older one of the same record that still
        waits for knowledge: a first sight needs no endorsement, a second does.
        """
        left: list[_Waiting] = []
        held: set[tuple[str, str]] = set()
        for item in waiting:
            if patient and item.subject in held:
                left.append(item)
                continue
            try:
                self._take(judge(item.signed, self.court))
            except NotNow as error:
                held.add(item.subject)
                left.append(replace(item, error=error))
            except FormatError as error:
                self._reject(item, error)
            except TrustError as error:
                self._keep_fork(item, error)
                left.append(replace(item, error=error))
        return left

    def finish(self, left: list[_Waiting]) -> Imported:
        """The result; whatever still waits is rejected with its last reason."""
        for item in left:
            assert item.error is not None
            self._reject(item, item.error)
        return Imported(
            changes=tuple(self.staged.changes),
            accepted=tuple(self.accepted),
            already=self.already,
            rejected=tuple(self.rejected),
        )

    def _take(self, accepted: Accepted) -> None:
        if accepted.already:
            self.already += 1
            return
        self.staged.stage(changes_for(accepted, self.view, self.court.now_ms))
        self.accepted.append(accepted)

    def _reject(self, item: _Waiting, error: TrucError) -> None:
        self.rejected.append(Rejected(about=item.about, digest=item.signed.digest, error=error))

    def _keep_fork(self, item: _Waiting, error: TrustError) -> None:
        """The second thing under one number is kept as proof; it closes the generation to new things."""
        value = FORMATS[item.signed.format].decode(item.signed.statement)
        if error.code != "directory_fork" or isinstance(value, Root):
            return
        if self.view.is_forked(value.registrar, value.generation):
            return
        first = self.view.numbered(value.registrar, value.generation, value.number)
        assert first is not None
        fork = DirectoryFork(
            registrar=value.registrar,
            generation=value.generation,
            number=value.number,
            first=first,
            second=item.signed.to_wire(),
        )
        self.staged.stage([Put(fork)])


def import_things(
    wires: Iterable[bytes], records: Records, *, anchor: bytes, verifier: Verifier, now_ms: int, cache: RecordCache
) -> Imported:
    """Take in signed things in any order; nothing is written, the changes are in the result."""
    run = _Import(records, cache, anchor, verifier, now_ms)
    left = run.read(wires)
    for patient in (True, False):
        for _ in range(DIRECTORY_PASSES_MAX):
            before = len(run.accepted)
            left = run.round(left, patient=patient)
            if len(run.accepted) == before:
                break
    return run.finish(left)


def _waiting(signed: Signed) -> _Waiting:
    """Roots by version, everything else by its date, upper registrars before lower ones.

    Raises:
        FormatError: `directory_format`, `format_newer`, or the statement cannot be read.
    """
    form = FORMATS.get(signed.format)
    if form is None:
        raise not_a_record(signed.format)
    value = form.decode(signed.statement)
    code = about_code(value)
    if isinstance(value, Root):
        order: tuple[Any, ...] = (0, value.version, 0, 0, signed.digest)
    else:
        created_ms = value.from_ms if isinstance(value, NodeRecord) else value.created_ms
        order = (1, created_ms, code.count("."), getattr(value, "number", 0), signed.digest)
    return _Waiting(order=order, about=f"{signed.format} {code}".strip(), subject=(signed.format, code), signed=signed)


def about_code(value: Any) -> str:
    """The code that a directory statement is about; empty for the root."""
    if isinstance(value, Root):
        return ""
    code: str = value.centre if isinstance(value, NodeRecord) else value.code
    return code
