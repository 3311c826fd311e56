"""What an accepted directory statement changes in the store.

Spec: `spec/directory.md` §6. Pure: the changes are returned, to be committed in one step. A first
record of an agency without aliases costs three writes: the thing, its history, its number. What
comes into force later by itself is `directory_pending.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from protocol.court import Accepted, Standing, subject_of
from protocol.directory import AgencyRecord, CentreRecord, Numbered, RecordState
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryDue,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryPending,
    DirectoryThing,
    Subject,
    VersionRef,
)
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known
from protocol.limits import DIRECTORY_VERSIONS_MAX
from protocol.record import Change, Delete, Put
from protocol.signing import Signed
from protocol.standing import order_of


def changes_for(
    accepted: Accepted, view: DirectoryView, now_ms: int, *, own_centre: str | None = None
) -> list[Change]:
    """The records that an accepted thing changes. `view` is the state before it.

    `own_centre`: whose agencies are listed by host; None lists everybody's (tools without a store).
    """
    assert not accepted.already
    if accepted.subject not in {Subject.CENTRE, Subject.AGENCY}:
        return [_thing(accepted.signed, now_ms), *_loose_history(accepted, view, now_ms)]
    record: Any = accepted.value
    changes = _log_entry(accepted.signed, record, view, now_ms)
    before = rows_of(view, accepted.subject, accepted.code)
    after = _ruled(accepted, before, view)
    if not before.versions:
        after = replace(after, since_ms=now_ms)
    values = {accepted.signed.digest: record}
    return [*changes, *difference(before, after, view, values, own_centre=own_centre)]


def log_only(signed: Signed, record: Numbered, view: DirectoryView, now_ms: int) -> list[Change]:
    """Keep what a registrar really signed but may not say: its log has no gap, and nothing else changes."""
    before = rows_of(view, subject_of(record), record.code)
    after = before.aside_with(VersionRef(digest=signed.digest, created_ms=record.created_ms))
    changes = _log_entry(signed, record, view, now_ms)
    return [*changes, *(difference(before, after, view, {}, own_centre=None) if before.versions else ())]


def _thing(signed: Signed, now_ms: int) -> Change:
    return Put(DirectoryThing(digest=signed.digest, wire=signed.to_wire(), accepted_ms=now_ms))


def _log_entry(signed: Signed, record: Numbered, view: DirectoryView, now_ms: int) -> list[Change]:
    if view.was_accepted(signed.digest):  # a better signed copy of a pending one
        return [_thing(signed, now_ms)]
    number = DirectoryNumber(
        registrar=record.registrar,
        generation=record.generation,
        number=record.number,
        digest=signed.digest,
        subject=int(subject_of(record)),
        code=record.code,
    )
    return [_thing(signed, now_ms), Put(number)]


def _loose_history(accepted: Accepted, view: DirectoryView, now_ms: int) -> list[Change]:
    """Roots, node records, locks. Only node records, by which nothing is judged, are not kept."""
    key = (int(accepted.subject), accepted.code)
    before = view.records.get(DirectoryHistory, *key)
    older = before.versions if before is not None else ()
    changes: list[Change] = []
    if accepted.subject is Subject.NODE:
        changes, older = [Delete(DirectoryThing, (item.digest,)) for item in older], ()
    newest = VersionRef(digest=accepted.signed.digest, created_ms=accepted.created_ms)
    versions = (newest, *older)[:DIRECTORY_VERSIONS_MAX]
    since_ms = before.since_ms if before is not None else now_ms
    return [*changes, Put(DirectoryHistory(subject=key[0], code=key[1], versions=versions, since_ms=since_ms))]


# --- the rows of one record -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRows:
    """What is stored about the versions of one centre or agency."""

    subject: Subject
    code: str
    versions: tuple[VersionRef, ...] = ()
    aside: tuple[VersionRef, ...] = ()
    since_ms: int = 0
    pending: DirectoryPending | None = None

    def headed_by(self, ref: VersionRef) -> RecordRows:
        """This version comes into force."""
        aside = tuple(item for item in self.aside if item.digest != ref.digest)
        return replace(self, versions=(ref, *self.versions)[:DIRECTORY_VERSIONS_MAX], aside=aside)

    def aside_with(self, ref: VersionRef) -> RecordRows:
        """This version belongs to the log only."""
        rows = sorted({*self.aside, ref}, key=lambda item: (item.created_ms, item.digest), reverse=True)
        return replace(self, aside=tuple(rows[:DIRECTORY_VERSIONS_MAX]))

    def without_pending(self) -> RecordRows:
        """Nothing waits."""
        return replace(self, pending=None)


def rows_of(view: DirectoryView, subject: Subject, code: str) -> RecordRows:
    """The rows of a record as they are stored."""
    history, pending = view.history(subject, code), view.pending(subject, code)
    if history is None:
        return RecordRows(subject=subject, code=code)
    return RecordRows(
        subject=subject,
        code=code,
        versions=history.versions,
        aside=history.aside,
        since_ms=history.since_ms,
        pending=pending,
    )


def _ruled(accepted: Accepted, rows: RecordRows, view: DirectoryView) -> RecordRows:
    mine = VersionRef(digest=accepted.signed.digest, created_ms=accepted.created_ms)
    known: Known[Any] = Known(accepted.value, accepted.signed.digest)
    if accepted.standing is Standing.ASIDE:
        return rows.aside_with(mine)
    if accepted.standing is Standing.SUPERSEDED:
        return _with_superseded(rows, mine, known, view)
    waits = view.pending_version(rows.subject, rows.code)
    if accepted.standing is Standing.PENDING:
        rows = rows if waits is None else rows.aside_with(ref_of(waits))
        pending = DirectoryPending(
            subject=int(rows.subject), code=rows.code, digest=mine.digest, since_ms=accepted.since_ms
        )
        return replace(rows, pending=pending)
    rows = rows.headed_by(mine)
    if waits is None or waits.digest == mine.digest:
        return rows.without_pending()
    if accepted.carries:
        return rows.headed_by(ref_of(waits)).without_pending()
    if order_of(waits) < order_of(known):
        return rows.aside_with(ref_of(waits)).without_pending()
    return rows


def _with_superseded(rows: RecordRows, mine: VersionRef, known: Known[Any], view: DirectoryView) -> RecordRows:
    place = sum(order_of(version) > order_of(known) for version in view.versions(rows.subject, rows.code))
    versions = (*rows.versions[:place], mine, *rows.versions[place:])
    aside = tuple(item for item in rows.aside if item.digest != mine.digest)
    return replace(rows, versions=versions[:DIRECTORY_VERSIONS_MAX], aside=aside)


def ref_of(known: Known[Any], *, from_ms: int = 0) -> VersionRef:
    """The entry of a version in its history."""
    return VersionRef(digest=known.digest, created_ms=known.value.created_ms, from_ms=from_ms)


# --- from rows to changes -------------------------------------------------------------------


def difference(
    before: RecordRows,
    after: RecordRows,
    view: DirectoryView,
    values: Mapping[bytes, Numbered],
    *,
    own_centre: str | None,
) -> list[Change]:
    """The changes that lead from one to the other. `values`: of versions not stored yet.

    A history is written whenever something about the record changes, also when only something
    pending does: whoever remembers what he read watches the histories.
    """
    changes: list[Change] = [Put(_history_of(after))]
    if before.pending != after.pending:
        changes += _pending_changes(before.pending, after.pending)
    old, new = (_shown(rows, view, values) for rows in (before, after))
    assert new is not None
    if isinstance(new.record, CentreRecord):
        return [*changes, *_centre_indexes(old, new)]
    return [*changes, *_agency_indexes(old, new, own_centre)]


def _history_of(rows: RecordRows) -> DirectoryHistory:
    return DirectoryHistory(
        subject=int(rows.subject), code=rows.code, versions=rows.versions, since_ms=rows.since_ms, aside=rows.aside
    )


def _pending_changes(old: DirectoryPending | None, new: DirectoryPending | None) -> list[Change]:
    changes: list[Change] = []
    if old is not None:
        changes.append(Delete(DirectoryDue, (old.due_ms, old.subject, old.code)))
    if new is not None:
        due = DirectoryDue(due_ms=new.due_ms, subject=new.subject, code=new.code)
        return [*changes, Put(new), Put(due)]
    assert old is not None
    return [*changes, Delete(DirectoryPending, (old.subject, old.code))]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the indexes show of a record: the version in force, and whether it counts as closed."""

    record: Numbered
    closed: bool


def _shown(rows: RecordRows, view: DirectoryView, values: Mapping[bytes, Numbered]) -> _Shown | None:
    if not rows.versions:
        return None
    digests = [rows.versions[0].digest, *([rows.pending.digest] if rows.pending is not None else [])]
    found: list[Numbered] = [
        values[digest] if digest in values else view.cache.value(view.records, digest) for digest in digests
    ]
    return _Shown(found[0], any(record.state is RecordState.CLOSED for record in found))


def _centre_indexes(old: _Shown | None, new: _Shown) -> list[Change]:
    before, after = old.record if old is not None else None, new.record
    assert isinstance(after, CentreRecord)
    if not isinstance(before, CentreRecord):
        return [Put(DirectoryPeer(peer_id=after.peer_id, centre=after.code))]
    if before.peer_id == after.peer_id:
        return []
    gone = Delete(DirectoryPeer, (before.peer_id, after.code))
    return [gone, Put(DirectoryPeer(peer_id=after.peer_id, centre=after.code))]


def _agency_indexes(old: _Shown | None, new: _Shown, own_centre: str | None) -> list[Change]:
    before, after = _agency_rows(old, own_centre), _agency_rows(new, own_centre)
    gone: list[Change] = [Delete(kind, key) for kind, key in before if (kind, key) not in after]
    return [*gone, *(Put(row) for key, row in after.items() if before.get(key) != row)]


def _agency_rows(shown: _Shown | None, own_centre: str | None) -> dict[tuple[type, tuple[str, str]], Any]:
    """Alias and hosting rows of an agency, by class and key."""
    if shown is None:
        return {}
    record = shown.record
    assert isinstance(record, AgencyRecord)
    rows: dict[tuple[type, tuple[str, str]], Any] = {
        (DirectoryAlias, (alias, record.code)): DirectoryAlias(alias=alias, code=record.code, live=not shown.closed)
        for alias in record.aliases
    }
    if own_centre is None or record.host == own_centre:
        hosting = DirectoryHosting(centre=record.host, code=record.code)
        rows[(DirectoryHosting, (record.host, record.code))] = hosting
    return rows
