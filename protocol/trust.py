"""Which signed directory statements are accepted: the rules of the trust tree.

Spec: `spec/trust.md` (DESIGN §3, "Trust tree"). Pure: a signed thing, what is known already
and the time go in; an accepted record comes out, or one precise reason. Which keys speak for
whom is `entitlement.py`; storing what was accepted, `directory_view.py`. Generations are
honoured here; checkpoints and pending take-overs are not part of this module yet, so a change
of keys or host without an endorsement is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from protocol.agency_code import is_old_form, level_one
from protocol.directory import (
    AGENCY,
    CENTRE,
    LOCK,
    NODE,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Lock,
    NodeRecord,
    Numbered,
    Root,
    not_a_record,
    read,
)
from protocol.directory_kinds import Subject
from protocol.endorsement import agency_endorsers, centre_endorsers
from protocol.entitlement import (
    KeySet,
    Known,
    Lookup,
    Purpose,
    Registrar,
    centre_keys,
    keys_for,
    listed_keys,
    registrar,
    role_keys,
)
from protocol.errors import NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS, SIGNED_AGE_MAX_MS
from protocol.signing import PublicKey, Signed, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A directory statement that may be believed. `already` when it was accepted before."""

    subject: Subject
    code: str
    value: Root | CentreRecord | AgencyRecord | NodeRecord | Lock
    signed: Signed
    created_ms: int
    signers: tuple[bytes, ...] = ()
    already: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a statement about consignments was judged by: the key, and digests of directory records."""

    key_id: bytes
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Court:
    """Everything that judging needs besides the thing itself."""

    lookup: Lookup
    verifier: Verifier
    now_ms: int
    anchor: bytes
    """Digest of the root version that the operator trusts."""


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


def _not_from_the_future(created_ms: int, court: Court) -> None:
    if created_ms > court.now_ms + CLOCK_SKEW_MS:
        raise NotNow("directory_future", created_ms=created_ms)


# --- signatures -----------------------------------------------------------------------------


def signers_of(
    signed: Signed, keys: Mapping[bytes, PublicKey], verifier: Verifier, *, needed: int
) -> tuple[bytes, ...]:
    """The key ids, at least `needed` different ones, of these keys that signed this thing.

    An invalid signature beside enough valid ones is no reason: whoever passes a thing on can add one.

    Raises:
        NotNow: `directory_signer_unknown` (no signature names a key that counts).
        TrustError: `signature_invalid` or `signature_path` (too few, and this one is broken),
            `directory_threshold` (too few).
    """
    good: list[bytes] = []
    broken: TrustError | None = None
    named = [item.key_id for item in signed.signatures if item.key_id in keys]
    for key_id in named:
        try:
            verifier.verify(signed, keys[key_id])
            good.append(key_id)
        except TrustError as error:
            broken = error
    if len(good) >= needed:
        return tuple(good)
    if broken is not None:
        raise broken
    if not named:
        raise NotNow("directory_signer_unknown")
    raise TrustError("directory_threshold", have=len(good), need=needed)


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
    _not_from_the_future(root.created_ms, court)
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
    """A centre record: signed by the root or level-1 role; new keys endorsed by an old one. Raises: as `judge`."""
    record = read(CENTRE, signed.statement)
    made = _accepted(Subject.CENTRE, record.code, record, signed, record.created_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    by = _entitled(record, court)
    if not by.covers_centres():
        raise TrustError("directory_not_entitled", registrar=by.name, code=record.code)
    signers = _numbered_signers(signed, record, by, court)
    versions = court.lookup.centre_versions(record.code)
    if versions:
        _newer_than(versions[0], record, signed)
        _endorsed(signed, centre_endorsers(versions[0].value, record), court, record.code)
    return _signed_by(made, signers)


def accept_agency(signed: Signed, court: Court) -> Accepted:
    """An agency record: signed for its part of the tree; one host, an epoch that grows with it. Raises: as `judge`."""
    record = read(AGENCY, signed.statement)
    made = _accepted(Subject.AGENCY, record.code, record, signed, record.created_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    by = _entitled(record, court)
    if not by.covers_agency(record.code):
        raise TrustError("directory_not_entitled", registrar=by.name, code=record.code)
    signers = _numbered_signers(signed, record, by, court)
    _check_aliases(record, by)
    versions = court.lookup.agency_versions(record.code)
    if versions:
        _newer_than(versions[0], record, signed)
        _check_epoch(versions[0].value, record)
        _endorsed(signed, agency_endorsers(court.lookup, versions[0].value, record), court, record.code)
    return _signed_by(made, signers)


def _entitled(record: Numbered, court: Court) -> Registrar:
    _not_from_the_future(record.created_ms, court)
    return registrar(court.lookup, record.registrar, record.created_ms)


def _numbered_signers(signed: Signed, record: Numbered, by: Registrar, court: Court) -> tuple[bytes, ...]:
    """Signatures first: only what the registrar really signed can prove a fork."""
    signers = signers_of(signed, by.keys.keys, court.verifier, needed=by.threshold)
    where = {"registrar": by.name, "code": record.code}
    taken = court.lookup.numbered(by.name, record.generation, record.number)
    if taken is not None and taken != signed.digest:
        raise TrustError("directory_fork", **where)
    if record.generation != by.generation:
        raise TrustError("directory_generation", found=record.generation, open=by.generation, **where)
    if court.lookup.is_forked(by.name, record.generation):
        raise TrustError("directory_generation_forked", **where)
    return signers


def _newer_than(known: Known[Any], record: Numbered, signed: Signed) -> None:
    """The order of versions of one record (spec/trust.md §4)."""
    old: Numbered = known.value
    where = {"registrar": record.registrar, "code": record.code}
    if old.registrar != record.registrar:
        if (record.created_ms, signed.digest) < (old.created_ms, known.digest):
            raise TrustError("directory_rollback", **where)
        return
    by_number = (record.generation, record.number) > (old.generation, old.number)
    earlier, later = record.created_ms < old.created_ms, record.created_ms > old.created_ms
    if earlier if by_number else later:
        raise TrustError("directory_order", **where)
    if not by_number:
        raise TrustError("directory_rollback", **where)


def _check_aliases(record: AgencyRecord, by: Registrar) -> None:
    if by.name == ROLE_ROOT:
        return
    for index, alias in enumerate(record.aliases):
        if not is_old_form(alias) or level_one(alias) != level_one(record.code):
            raise TrustError("directory_alias", field=f"aliases[{index}]", alias=alias, code=record.code)


def _check_epoch(old: AgencyRecord, new: AgencyRecord) -> None:
    if new.epoch < old.epoch or (new.host != old.host and new.epoch == old.epoch):
        raise TrustError("directory_epoch", code=new.code, known=old.epoch, found=new.epoch)


def _endorsed(signed: Signed, endorsers: KeySet | None, court: Court, code: str) -> None:
    if endorsers is None:
        return
    try:
        signers_of(signed, endorsers.keys, court.verifier, needed=1)
    except (NotNow, TrustError) as error:
        raise TrustError("directory_unendorsed", code=code) from error


# --- self-signed statements -----------------------------------------------------------------


def accept_node(signed: Signed, court: Court) -> Accepted:
    """A node record: signed by an operational key of the centre whose record names the same peer id.

    Raises: as `judge`; `directory_expired`, `directory_centre_unknown`, `directory_peer`.
    """
    record = read(NODE, signed.statement)
    made = _accepted(Subject.NODE, record.centre, record, signed, record.from_ms)
    if court.lookup.was_accepted(signed.digest):
        return _again(made)
    _not_from_the_future(record.from_ms, court)
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
    _not_from_the_future(lock.created_ms, court)
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
