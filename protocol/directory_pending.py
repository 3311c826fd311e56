"""Pending versions come into force when their day is over. Spec: `spec/trust.md` §5.

Pure, and nothing polls: the caller asks once at start, after each step that changed something
pending, when it has heard from a peer, and at the moment it was told; and while its clock is not
trusted, it waits for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from protocol.court import Court
from protocol.directory_again import Uncounted, at_once, judged_again
from protocol.directory_changes import RecordRows, changes_for, difference, ref_of, rows_of
from protocol.directory_kinds import DirectoryDue, DirectoryPending, Subject
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known
from protocol.limits import DIRECTORY_DUE_MAX
from protocol.record import Change, Records
from protocol.staged import Staged
from protocol.standing import epoch_fits, still_stands, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A version whose waiting is over. `in_force` is False if its registrar may not sign any more."""

    subject: Subject
    code: str
    digest: bytes
    in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """`changes` are to be committed in one step; `next_ms` is when to ask again.

    Not after now if there was more than one step takes; None if nothing waits, or only for a
    trusted clock or for a peer to be heard.
    """

    changes: tuple[Change, ...]
    ended: tuple[Ended, ...]
    next_ms: int | None


def due_changes(
    view: DirectoryView, court: Court, *, own_centre: str | None = None, heard_ms: int | None = None
) -> Due:
    """What has come into force by `court.now_ms`; nothing at all by a clock that is not trusted.

    `heard_ms`: when this node last found that it knows what some peer knows. A version comes into
    force only if that was after its day: whoever was stopped or cut off in between may have missed
    that its registrar took it back. None asks for no such thing (tools).
    """
    if not court.clock_trusted:
        return Due(changes=(), ended=(), next_ms=None)
    staged = Staged(view.records)
    over = DirectoryView(staged, view.cache)
    here = replace(court, lookup=over)
    uncounted = Uncounted(over)
    ended: list[Ended] = []
    until_ms = court.now_ms if heard_ms is None else min(court.now_ms, heard_ms)
    for row in staged.scan(DirectoryDue, limit=DIRECTORY_DUE_MAX):
        if row.due_ms > until_ms:
            break
        if staged.get(DirectoryDue, row.due_ms, row.subject, row.code) is None:
            continue  # another that came into force has ended its waiting
        rows = rows_of(over, Subject(row.subject), row.code)
        if not row.due_ms:
            staged.stage(_begin(rows, over, court.now_ms))
            continue
        known = over.pending_version(rows.subject, rows.code)
        assert known is not None, "what is due is pending"
        done = _end(rows, known, here)
        ended.append(done)
        staged.stage(_ended_changes(done, rows, known, over, row.due_ms, own_centre))
        if done.in_force:
            ended += _follow_up(done, uncounted, staged, here, own_centre)
    return Due(changes=tuple(staged.changes), ended=tuple(ended), next_ms=_next(staged, court.now_ms, until_ms))


def _follow_up(
    done: Ended, uncounted: Uncounted, staged: Staged, court: Court, own_centre: str | None
) -> Iterator[Ended]:
    """What waited for a key, or a version, that counts only now."""
    over = uncounted.view
    for about in at_once(uncounted.touched_by(done.subject, done.code)):
        while (again := judged_again(about, court, over)) is not None:
            waited = over.pending(*about)
            staged.stage(changes_for(again, over, court.now_ms, own_centre=own_centre))
            if waited is not None and waited.digest == again.signed.digest:
                yield Ended(subject=again.subject, code=again.code, digest=again.signed.digest, in_force=True)


def _next(records: Records, now_ms: int, until_ms: int) -> int | None:
    for row in records.scan(DirectoryDue, limit=1):
        return row.due_ms if row.due_ms <= until_ms or row.due_ms > now_ms else None
    return None


def _begin(rows: RecordRows, view: DirectoryView, now_ms: int) -> list[Change]:
    """The time of a version that came while the clock was not trusted."""
    assert rows.pending is not None
    begun: DirectoryPending = replace(rows.pending, since_ms=now_ms)
    return difference(rows, replace(rows, pending=begun), view, {}, own_centre=None)


def _end(rows: RecordRows, known: Known[Any], court: Court) -> Ended:
    """It comes into force only if its registrar could still say so: that is what the day was for."""
    head = versions_of(court.lookup, known.value)[0]
    signed = court.lookup.thing(known.digest)
    stands = signed is not None and still_stands(signed, known.value, court) and epoch_fits(head.value, known.value)
    return Ended(subject=rows.subject, code=rows.code, digest=known.digest, in_force=stands)


def _ended_changes(
    done: Ended, rows: RecordRows, known: Known[Any], view: DirectoryView, due_ms: int, own_centre: str | None
) -> list[Change]:
    after = rows.headed_by(ref_of(known, from_ms=due_ms)) if done.in_force else rows.aside_with(ref_of(known))
    return difference(rows, after.without_pending(), view, {}, own_centre=own_centre)
