"""Which signed directory statements are accepted: the rules of the trust tree.

Spec: `spec/trust.md` (DESIGN §3, "Trust tree"). Pure: a signed thing, what is known already
and the time go in; an accepted record comes out, or one precise reason. Which keys speak for
whom is `entitlement.py`; what a registrar may sign, `registration.py`; which version of a record
counts, `standing.py`; checkpoints and forks, `registrar_log.py`; what acceptance changes in the
store, `directory_changes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from protocol.agency_code import is_old_form, level_one
from protocol.court import Accepted, Court, Standing, not_from_the_future, signers_of, subject_of
from protocol.directory import (
    AGENCY,
    CENTRE,
    LOCK,
    NODE,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    Numbered,
    Root,
    not_a_record,
    read,
)
from protocol.directory_kinds import Subject
from protocol.encoding import Format
from protocol.entitlement import (
    Known,
    Purpose,
    centre_keys,
    keys_for,
    listed_keys,
    role_keys,
)
from protocol.errors import NotNow, TrucError, TrustError
from protocol.limits import CLOCK_SKEW_MS, SIGNED_AGE_MAX_MS
from protocol.registration import registered
from protocol.signing import Signed
from protocol.standing import rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a statement about consignments was judged by: the key, and digests of directory records."""

    key_id: bytes
    records: tuple[bytes, ...]


_COUNTING: Final = frozenset({Standing.IN_FORCE, Standing.SUPERSEDED})


# --- the one entrance -----------------------------------------------------------------------


def judge(signed: Signed, court: Court) -> Accepted:
    """Decide about one signed directory statement.

    Raises:
        FormatError: not a statement of the directory, or not well-formed.
        NotNow: `directory_future`, and whatever a record not known yet may change.
        TrustError: whatever no further knowledge changes.
    """
    rule = _RULES.get(signed.format)
    if rule is None:
        raise not_a_record(signed.format)
    accepted: Accepted = rule(signed, court)
    return accepted


# --- root -----------------------------------------------------------------------------------


def accept_root(signed: Signed, court: Court) -> Accepted:
    """The first root is the anchor; each next one is signed by the thresholds of both versions.

    Raises:
        TrustError: `directory_anchor`, `directory_threshold`, `directory_rollback`, `directory_fork`,
            `directory_order`, `signature_invalid`.
        NotNow: `directory_root_gap` (a version between is missing), `directory_future`, `directory_signer_unknown`.
        FormatError: as `directory.read`.
    """
    root = read(ROOT, signed.statement)
    made = _accepted(Subject.ROOT, "", root, signed, root.created_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    not_from_the_future(root.created_ms, court)
    versions = court.lookup.root_versions()
    if not versions:
        if signed.digest != court.anchor:
            raise TrustError("directory_anchor")
        return _signed_by(made, _own_threshold(signed, root, court))
    present = versions[0].value
    if root.version > present.version + 1:
        raise NotNow("directory_root_gap", known=present.version, found=root.version)
    if root.version <= present.version:
        _refuse_older_root(signed, root, versions, court)
    before = signers_of(
        signed,
        role_keys(present, ROLE_ROOT, root.created_ms),
        court.verifier,
        needed=present.role(ROLE_ROOT).threshold,
    )
    if root.created_ms <= present.created_ms:
        raise TrustError("directory_order", registrar=ROLE_ROOT, code="")
    return _signed_by(made, (*before, *_own_threshold(signed, root, court)))


def _own_threshold(signed: Signed, root: Root, court: Court) -> tuple[bytes, ...]:
    keys = role_keys(root, ROLE_ROOT, root.created_ms)
    return signers_of(signed, keys, court.verifier, needed=root.role(ROLE_ROOT).threshold)


def _refuse_older_root(signed: Signed, root: Root, versions: Sequence[Known[Root]], court: Court) -> None:
    """Only what the keys entitled to make that version really signed can prove a fork.

    They are those of the version before it, or for the anchor its own.
    """
    known = {version.value.version: version.value for version in versions}
    entitled = known.get(root.version - 1, known.get(root.version))
    if entitled is None:  # older than the anchor
        raise TrustError("directory_rollback", registrar=ROLE_ROOT, code="")
    keys = role_keys(entitled, ROLE_ROOT, root.created_ms)
    signers_of(signed, keys, court.verifier, needed=entitled.role(ROLE_ROOT).threshold)
    same = root.version == versions[0].value.version
    raise TrustError("directory_fork" if same else "directory_rollback", registrar=ROLE_ROOT, code="")


# --- numbered records -----------------------------------------------------------------------


def accept_centre(signed: Signed, court: Court) -> Accepted:
    """A centre record: signed by the root or level-1 role. Raises: as `judge`."""
    return _accept_numbered(signed, CENTRE, court)


def accept_agency(signed: Signed, court: Court) -> Accepted:
    """An agency record: signed for its part of the tree; one host, an epoch that grows with it. Raises: as `judge`."""
    return _accept_numbered(signed, AGENCY, court)


def _accept_numbered(signed: Signed, form: Format[Any], court: Court) -> Accepted:
    record: Numbered = read(form, signed.statement)
    made = _accepted(subject_of(record), record.code, record, signed, record.created_ms)
    if court.lookup.was_accepted(signed.digest):
        anew = _judged_anew(made, record, court) if is_better_copy(made, court) else None
        return _again(made) if anew is None else anew
    return _numbered(made, record, court)


def judge_again(signed: Signed, record: Numbered, court: Court) -> Accepted | None:
    """A version that waits or lies aside, by what is known now; None if it goes on like that (spec/trust.md §5)."""
    return _judged_anew(_accepted(subject_of(record), record.code, record, signed, record.created_ms), record, court)


def _numbered(made: Accepted, record: Numbered, court: Court) -> Accepted:
    signers = registered(made.signed, record, court)
    if isinstance(record, AgencyRecord):
        check_aliases(record)
    ruling = rule(made.signed, record, court)
    return replace(
        _signed_by(made, signers),
        standing=ruling.standing,
        since_ms=ruling.since_ms,
        carries=ruling.carries,
        quiet=ruling.quiet,
    )


def is_better_copy(made: Accepted, court: Court) -> bool:
    """Whether a further copy of a thing that waits or lies aside brings a signature that we have not seen."""
    pending, history = (
        court.lookup.pending(made.subject, made.code),
        court.lookup.history(made.subject, made.code),
    )
    known = court.lookup.thing(made.signed.digest)
    if history is None or known is None:
        return False
    is_pending = pending is not None and pending.digest == made.signed.digest
    if not is_pending and all(item.digest != made.signed.digest for item in history.aside):
        return False
    return not {item.key_id for item in made.signed.signatures} <= {item.key_id for item in known.signatures}


def _judged_anew(made: Accepted, record: Numbered, court: Court) -> Accepted | None:
    """What is good enough by itself ends the waiting, or has its place in the past; anything else says nothing new.

    A node that joins counts what is old for its time; here only an endorsement does.
    """
    strictly = replace(court, joining_ms=0)
    try:
        standing = rule(made.signed, record, strictly).standing  # without it no signature has to be verified
        accepted = _numbered(made, record, strictly) if standing in _COUNTING else None
    except TrucError:
        return None
    return accepted


def check_aliases(record: AgencyRecord) -> None:
    """The aliases that its registrar may give. Raises: TrustError: `directory_alias`."""
    if record.registrar == ROLE_ROOT:
        return
    for index, alias in enumerate(record.aliases):
        if not is_old_form(alias) or level_one(alias) != level_one(record.code):
            raise TrustError("directory_alias", field=f"aliases[{index}]", alias=alias, code=record.code)


# --- self-signed statements -----------------------------------------------------------------


def accept_node(signed: Signed, court: Court) -> Accepted:
    """A node record: signed by an operational key of the centre whose record names the same peer id.

    Raises: as `judge`; `directory_expired`, `directory_centre_unknown`, `directory_peer`.
    """
    record = read(NODE, signed.statement)
    made = _accepted(Subject.NODE, record.centre, record, signed, record.from_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    not_from_the_future(record.from_ms, court)
    if record.until_ms <= court.now_ms:
        raise NotNow("directory_expired", until_ms=record.until_ms)
    centres = court.lookup.centre_versions(record.centre)
    if not centres:
        raise NotNow("directory_centre_unknown", centre=record.centre)
    keys = centre_keys(court.lookup, record.centre, record.from_ms).keys
    signers = signers_of(signed, keys, court.verifier, needed=1)
    if centres[0].value.peer_id != record.peer_id:
        raise TrustError("directory_peer", centre=record.centre)
    known = court.lookup.node_record(record.centre)
    if known is not None and (record.from_ms, signed.digest) < (known.value.from_ms, known.digest):
        raise TrustError("directory_rollback", registrar=record.centre, code=record.centre)
    return _signed_by(made, signers)


def accept_lock(signed: Signed, court: Court) -> Accepted:
    """A self-lock: signed by a key that speaks for the agency. Raises: as `judge`; `issuer_unknown`."""
    lock = read(LOCK, signed.statement)
    made = _accepted(Subject.LOCK, lock.code, lock, signed, lock.created_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    not_from_the_future(lock.created_ms, court)
    if not court.lookup.agency_versions(lock.code):
        raise NotNow("issuer_unknown", code=lock.code)
    keys = keys_for(court.lookup, lock.code, Purpose.AGENCY, lock.created_ms).keys
    signers = signers_of(signed, keys, court.verifier, needed=1)
    known = court.lookup.lock(lock.code)
    if known is not None and (lock.created_ms, signed.digest) < (known.value.created_ms, known.digest):
        raise TrustError("directory_rollback", registrar=lock.code, code=lock.code)
    return _signed_by(made, signers)


# --- statements about consignments ----------------------------------------------------------


def judge_statement(
    signed: Signed,
    court: Court,
    *,
    agency: str,
    purpose: Purpose,
    created_ms: int,
    epoch: int | None = None,
) -> Basis:
    """Judge an envelope, consignment, receipt or refusal, once, at acceptance: by the keys of its own
    time, or of now. One of more than 90 days ago needs a key of now.

    Raises:
        NotNow: `clock` (made in the future), `sign_again` (by a key that does not count),
            `issuer_unknown`, `record_stale` (a key that we do not know).
        TrustError: `signature_invalid`, `signature_path`.
    """
    if created_ms > court.now_ms + CLOCK_SKEW_MS:
        raise NotNow("clock", created_ms=created_ms)
    if not court.lookup.agency_versions(agency):
        raise NotNow("issuer_unknown", code=agency)
    late = created_ms < court.now_ms - SIGNED_AGE_MAX_MS
    for at_ms in (court.now_ms,) if late else (created_ms, court.now_ms):
        found = keys_for(court.lookup, agency, purpose, at_ms, epoch=epoch)
        for item in signed.signatures:
            if item.key_id in found.keys:
                court.verifier.verify(signed, found.keys[item.key_id])
                return Basis(key_id=item.key_id, records=found.records)
    listed = listed_keys(court.lookup, agency)
    known = any(item.key_id in listed for item in signed.signatures)
    raise NotNow("sign_again" if known else "record_stale", code=agency)


# --- small pieces ---------------------------------------------------------------------------


def _accepted(subject: Subject, code: str, value: Any, signed: Signed, created_ms: int) -> Accepted:
    return Accepted(subject=subject, code=code, value=value, signed=signed, created_ms=created_ms)


def _again(made: Accepted) -> Accepted:
    return replace(made, already=True)


def _signed_by(made: Accepted, signers: tuple[bytes, ...]) -> Accepted:
    return replace(made, signers=tuple(dict.fromkeys(signers)))


_RULES: Final[dict[str, Any]] = {
    ROOT.name: accept_root,
    CENTRE.name: accept_centre,
    AGENCY.name: accept_agency,
    NODE.name: accept_node,
    LOCK.name: accept_lock,
}
