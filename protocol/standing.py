"""Which version of a record counts: at once, after a day, for the past only, or not at all.

Spec: `spec/trust.md` §5 (DESIGN §3, "No silent take-over"). Pure. All versions of a record stand
in one order that depends on nothing but themselves, and the newest comes into force in the end,
so every node arrives at the same, in whatever order things reach it. What an endorsement decides
is only whether that happens at once or after a day in which everybody can see it coming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.court import Court, Standing, signers_of, subject_of
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, AgencyRecord, CentreRecord, Numbered
from protocol.endorsement import endorsers, protected
from protocol.entitlement import Known, Lookup, registrar, revoked_ids
from protocol.errors import NotNow, TrustError
from protocol.limits import PENDING_MS
from protocol.registration import registered
from protocol.signing import PublicKey, Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What becomes of a version; fields as in `Accepted`."""

    standing: Standing
    since_ms: int = 0
    carries: bool = False
    quiet: bool = False


# --- the order of versions ------------------------------------------------------------------


def order_of(version: Known[Any]) -> tuple[int, int, str, int, int, bytes]:
    """Sorts the versions of one record from old to new: by date, then the upper registrar, then number.

    A date cannot lie ahead of the clocks, so nobody can number himself out of another's reach.
    """
    record: Numbered = version.value
    height = _height(record.registrar)
    return record.created_ms, height, record.registrar, record.generation, record.number, version.digest


def _height(name: str) -> int:
    """Root above level-1 above codes with few components."""
    return {ROLE_ROOT: 2, ROLE_LEVEL_1: 1}.get(name, -name.count("."))


def versions_of(lookup: Lookup, record: Numbered) -> Sequence[Known[Any]]:
    """The versions of the same record that count, the one in force first."""
    if isinstance(record, CentreRecord):
        return lookup.centre_versions(record.code)
    return lookup.agency_versions(record.code)


def pending_of(lookup: Lookup, record: Numbered) -> Known[Any] | None:
    """The pending version of the same record."""
    if isinstance(record, CentreRecord):
        return lookup.pending_centre(record.code)
    return lookup.pending_agency(record.code)


# --- the ruling -----------------------------------------------------------------------------


def rule(signed: Signed, record: Numbered, court: Court) -> Ruling:
    """What becomes of a version that its registrar really signed.

    Raises:
        NotNow: `directory_centre_unknown` (whose keys would endorse is not known).
        TrustError: `directory_epoch`.
    """
    versions = versions_of(court.lookup, record)
    if not versions:
        return Ruling(standing=Standing.IN_FORCE)
    head, mine = versions[0], Known(record, signed.digest)
    joining = _is_joining(record, court)
    old_news = joining and _is_old_news(record, versions, court)
    if order_of(mine) < order_of(head):
        return Ruling(standing=_place(signed, mine, versions, court, old_news=old_news))
    _check_epoch(head.value, record)
    pending = pending_of(court.lookup, record)
    newer_waits = pending is not None and order_of(mine) < order_of(pending)
    if old_news or is_endorsed(signed, head.value, record, court):
        carries = newer_waits and pending is not None and _may_follow(pending, record, court)
        quiet = _says_the_same(head.value, record)
        return Ruling(standing=Standing.IN_FORCE, carries=carries, quiet=quiet)
    if newer_waits:
        return Ruling(standing=Standing.ASIDE)
    return Ruling(standing=Standing.PENDING, since_ms=_since(record, pending, court, joining=joining))


def _is_joining(record: Numbered, court: Court) -> bool:
    """Whether this node has only just met the code (spec/trust.md §5, "A node that joins")."""
    history = court.lookup.history(subject_of(record), record.code)
    assert history is not None
    return court.clock_trusted and history.since_ms <= court.now_ms < history.since_ms + court.joining_ms


def _is_old_news(record: Numbered, versions: Sequence[Known[Any]], court: Court) -> bool:
    """Whether, by its date, the others have waited for it already, or met it with the code itself."""
    first_ms: int = versions[-1].value.created_ms
    return record.created_ms + PENDING_MS <= court.now_ms or record.created_ms < first_ms + court.joining_ms


def _since(record: Numbered, pending: Known[Any] | None, court: Court, *, joining: bool) -> int:
    """The row goes on while what is protected stays the same; else it begins now, or, at a node
    that joins, when the others saw it."""
    if pending is not None and protected(pending.value) == protected(record):
        row = court.lookup.pending(subject_of(record), record.code)
        assert row is not None
        return row.since_ms
    if joining:
        return min(record.created_ms, court.now_ms)
    return court.now_ms if court.clock_trusted else 0


def _says_the_same(old: Numbered, new: Numbered) -> bool:
    under = {
        "registrar": new.registrar,
        "generation": new.generation,
        "number": new.number,
        "created_ms": new.created_ms,
    }
    return replace(old, **under) == new  # type: ignore[arg-type]  # both have these four fields


def _place(
    signed: Signed, mine: Known[Any], versions: Sequence[Known[Any]], court: Court, *, old_news: bool
) -> Standing:
    """A late version counts for the past only if nobody could slip in a key by dating it back.

    It must follow from the version before it as if it had come in time, by keys not revoked since.
    """
    index = next((n for n, version in enumerate(versions) if order_of(version) < order_of(mine)), len(versions))
    newer, older = versions[index - 1], versions[index] if index < len(versions) else None
    fits = epoch_fits(mine.value, newer.value) and (older is None or epoch_fits(older.value, mine.value))
    if old_news and fits:
        return Standing.SUPERSEDED
    if older is None or not fits:
        return Standing.ASIDE
    revoked = revoked_ids(versions[0].value.keys)
    try:
        vouched = is_endorsed(signed, older.value, mine.value, court, revoked=revoked)
    except NotNow:
        vouched = False
    return Standing.SUPERSEDED if vouched else Standing.ASIDE


def _check_epoch(old: Numbered, new: Numbered) -> None:
    if not epoch_fits(old, new):
        assert isinstance(old, AgencyRecord) and isinstance(new, AgencyRecord)  # centres have no epoch
        raise TrustError("directory_epoch", code=new.code, known=old.epoch, found=new.epoch)


def epoch_fits(old: Numbered, new: Numbered) -> bool:
    """The hosting epoch never goes back, and grows when the host changes."""
    if not isinstance(old, AgencyRecord) or not isinstance(new, AgencyRecord):
        return True
    return new.epoch > old.epoch or (new.epoch == old.epoch and new.host == old.host)


# --- endorsement ----------------------------------------------------------------------------


def is_endorsed(
    signed: Signed, old: Numbered, new: Numbered, court: Court, *, revoked: frozenset[bytes] = frozenset()
) -> bool:
    """Whether the change needs no endorsement, or has one, or the root role's threshold made it urgent.

    Raises:
        NotNow: `directory_centre_unknown`.
    """
    by_root = registrar(court.lookup, ROLE_ROOT, new.created_ms)
    urgent = _is_signed(signed, by_root.keys.keys, by_root.threshold, court)
    found = None if urgent else endorsers(court.lookup, old, new, revoked=revoked)
    return found is None or _is_signed(signed, found.keys, 1, court)


def _is_signed(signed: Signed, keys: Mapping[bytes, PublicKey], needed: int, court: Court) -> bool:
    try:
        signers_of(signed, keys, court.verifier, needed=needed)
    except (NotNow, TrustError):
        return False
    return True


def _may_follow(pending: Known[Any], before: Numbered, court: Court) -> bool:
    """Whether the pending version needs no waiting any more once `before` is in force."""
    signed = court.lookup.thing(pending.digest)
    if signed is None or not still_stands(signed, pending.value, court) or not epoch_fits(before, pending.value):
        return False
    try:
        return is_endorsed(signed, before, pending.value, court)
    except NotNow:
        return False


def still_stands(signed: Signed, record: Numbered, court: Court) -> bool:
    """Whether the registrar that signed a pending version still may: the day in between is there
    so that it can be cut off, its keys revoked, or its generation closed."""
    try:
        registered(signed, record, court)
    except (NotNow, TrustError):
        return False
    return True
