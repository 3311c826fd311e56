"""Who may sign from now on: delegating, revoking, cutting off, hurrying, and the daily sign of life.

Obeys DESIGN §3 "Trust tree" and `protocol/spec/trust.md` §2, §5: keys are handed over in a request that
they signed; revoking acts at once, what it brings in its place waits for its day, an endorsement, or
the root role. Each of these is an act like any other (`authority.py`) and ends with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from node.authority import Authority
from node.authority_act import revoked, rotated
from node.authority_root import find_key, next_root
from node.countersigning import merged
from node.requests import key_entry
from protocol.checkpoint import HEARTBEAT, Heartbeat, check_heartbeat, heartbeat_keys
from protocol.directory import (
    ROLE_LEVEL_1,
    ROLE_ROOT,
    AgencyRecord,
    CentreRecord,
    Delegation,
    KeyEntry,
)
from protocol.directory_kinds import Subject
from protocol.entitlement import registrar as find_registrar
from protocol.errors import ConfigurationError
from protocol.limits import HEARTBEAT_KEYS_MAX
from protocol.requests import check_agency_request
from protocol.signing import PublicKey, Signed, sign

ROLES = (ROLE_ROOT, ROLE_LEVEL_1)


# --- delegating -----------------------------------------------------------------------------


def delegate(
    authority: Authority,
    code: str,
    request: Signed,
    now_ms: int,
    *,
    parts: Iterable[str] = (),
    threshold: int = 0,
    registrar: str = "",
    urgent: bool = False,
) -> Signed:
    """Let the keys of a request sign for what stands below an agency; keys before them end now.

    `threshold` 0: the request's. Whoever registered the agency signs, unless told otherwise.

    Raises:
        TrustError: `directory_possession`, `signature_invalid`.
        ConfigurationError: `authority_no_request` (of another agency, or without keys), and as `Authority.act`.
        RequestError: `agency_unknown`.
    """
    wanted = _delegation_of(authority, code, request)
    at_ms = authority.date(now_ms)
    known = authority.issued.agency(code)
    old = known.value.delegation if known is not None else Delegation()
    fresh = Delegation(
        keys=rotated(old.keys, wanted.keys, at_ms),
        threshold=threshold or wanted.threshold,
        generation=old.generation,
        parts=tuple(parts),
    )
    return authority.set_delegation(code, fresh, now_ms, registrar=registrar, urgent=urgent)


def _delegation_of(authority: Authority, code: str, request: Signed) -> Delegation:
    wanted = check_agency_request(request, authority.view, authority.issued.verifier)
    if wanted.code != code or not wanted.delegation.keys:
        raise ConfigurationError("authority_no_request")
    return wanted.delegation


def cut_off(
    authority: Authority,
    code: str,
    now_ms: int,
    *,
    request: Signed | None = None,
    compromised_ms: int = 0,
    registrar: str = "",
    urgent: bool = False,
) -> Signed:
    """Revoke all keys of a registrar and open its next generation, for the keys of a request if there is one.

    The revocation acts at once; new keys count when the version is in force.

    Raises: as `delegate`.
    """
    fresh = _delegation_of(authority, code, request) if request is not None else Delegation()
    at_ms = authority.date(now_ms)
    known = authority.issued.agency(code)
    old = known.value.delegation if known is not None else Delegation()
    gone = revoked(old.keys, {entry.key_id for entry in old.keys}, at_ms, compromised_ms)
    returning = {entry.key_id for entry in gone} & {entry.key_id for entry in fresh.keys}
    if returning:
        raise ConfigurationError("authority_key_unknown", key=min(returning).hex()[:16], where=code)
    changed = replace(old, keys=(*fresh.keys, *gone), threshold=fresh.threshold, generation=old.generation + 1)
    return authority.set_delegation(code, changed, now_ms, registrar=registrar, urgent=urgent)


# --- revoking -------------------------------------------------------------------------------


def revoke_key(
    authority: Authority,
    where: str,
    key: str,
    now_ms: int,
    *,
    compromised_ms: int = 0,
    registrar: str = "",
    urgent: bool = False,
) -> Signed:
    """Revoke one key of the root (`root`), of an agency or of a centre; `key` is a name or the start of an id.

    Raises:
        ConfigurationError: `authority_key_unknown`, `authority_threshold` (too few keys would be left),
            and as `Authority.act`.
        RequestError: `agency_unknown`, `centre_unknown`.
    """
    if where in ROLES:
        found = find_key(authority, where, key, authority.present_root().keys)
        return next_root(authority, (), now_ms, revoke={found}, compromised_ms=compromised_ms)
    if authority.issued.centre(where) is not None:
        return _revoke_of_centre(authority, where, key, now_ms, compromised_ms, registrar, urgent=urgent)
    act = authority.act(now_ms, registrar=registrar or authority.registrar_above(where, now_ms))
    record = act.agency(where)
    act.change_agency(where, **_without_agency_key(authority, record, key, act.at_ms, compromised_ms))
    return authority.complete(act, urgent=urgent)[0]


def _revoke_of_centre(
    authority: Authority, where: str, key: str, now_ms: int, compromised_ms: int, registrar: str, *, urgent: bool
) -> Signed:
    act = authority.act(now_ms, registrar=registrar)
    record: CentreRecord = act.centre(where)
    found = {find_key(authority, where, key, (*record.keys, *record.sealing))}
    changes = {name: revoked(getattr(record, name), found, act.at_ms, compromised_ms) for name in ("keys", "sealing")}
    act.change_centre(where, **changes)
    return authority.complete(act, urgent=urgent)[0]


def _without_agency_key(
    authority: Authority, record: AgencyRecord, key: str, at_ms: int, compromised_ms: int
) -> dict[str, Any]:
    found = {find_key(authority, record.code, key, (*record.keys, *record.delegation.keys))}
    entries = revoked(record.delegation.keys, found, at_ms, compromised_ms)
    alive = sum(not entry.revoked_ms for entry in entries)
    threshold = record.delegation.threshold if alive else 1
    if entries and threshold > max(1, alive):
        raise ConfigurationError("authority_threshold", threshold=threshold, keys=alive)
    return {
        "keys": revoked(record.keys, found, at_ms, compromised_ms),
        "delegation": replace(record.delegation, keys=entries, threshold=threshold),
    }


# --- hurrying -------------------------------------------------------------------------------


def make_urgent(authority: Authority, code: str, now_ms: int) -> Signed:
    """Sign the pending version of an agency or centre with the root role's keys that are here.

    With enough of them, by files where several people hold them, it is in force at once.

    Raises:
        ConfigurationError: `authority_nothing_pending`, `authority_keys_missing`, `authority_unseen` (it may
            have been withdrawn meanwhile).
    """
    rows = [authority.view.pending(subject, code) for subject in (Subject.AGENCY, Subject.CENTRE)]
    digests = [row.digest for row in rows if row is not None]
    if not digests:
        raise ConfigurationError("authority_nothing_pending", code=code)
    authority.check_seen(ROLE_ROOT, now_ms)
    known = authority.issued.things[digests[0]]
    (signed,) = authority.by_root([known], authority.date(now_ms))
    authority.publish([merged(known, signed)], now_ms)
    return signed


# --- heartbeats -----------------------------------------------------------------------------


def admit_heartbeat_key(authority: Authority, key: PublicKey | KeyEntry, now_ms: int, *, registrar: str = "") -> Signed:
    """An act whose checkpoint lets this key repeat it: the checkpoint. The oldest key makes room.

    Raises: as `Authority.act`.
    """
    act = authority.act(now_ms, registrar=registrar)
    others = [item for item in authority.heartbeat_entries(act.by, act.at_ms) if item.key_id != key.key_id]
    kept = sorted(others, key=lambda item: (item.from_ms, item.key_id))[-(HEARTBEAT_KEYS_MAX - 1) :]
    act.heartbeat = (*kept, key if isinstance(key, KeyEntry) else key_entry(key, act.at_ms))
    return _checkpoint_of(authority, act)


def dismiss_heartbeat_key(authority: Authority, key: str, now_ms: int, *, registrar: str = "") -> Signed:
    """An act whose checkpoint lists this key no more: the checkpoint. Raises: `authority_key_unknown`, as `act`."""
    act = authority.act(now_ms, registrar=registrar)
    entries = authority.heartbeat_entries(act.by, act.at_ms)
    gone = find_key(authority, act.by.name, key, entries)
    act.heartbeat = tuple(entry for entry in entries if entry.key_id != gone)
    return _checkpoint_of(authority, act)


def _checkpoint_of(authority: Authority, act: Any) -> Signed:
    authority.complete(act)
    return authority.issued.things[authority.issued.log(act.by.name, act.by.generation).last_checkpoint()]


def beat(authority: Authority, now_ms: int, *, registrar: str = "") -> Signed:
    """That the registrar's newest checkpoint is still the last one, signed by a heartbeat key in this folder.

    It takes no number and is not kept: every one replaces the one before.

    Raises:
        ConfigurationError: `authority_no_checkpoint`, `authority_keys_missing`, and as `Authority.check_head`:
            whoever has not looked for a day cannot say that nothing newer was signed.
        NotNow, TrustError: as `entitlement.registrar`.
    """
    name = registrar or authority.book.registrar or ROLE_LEVEL_1
    by = find_registrar(authority.view, name, now_ms)
    digest = authority.issued.log(name, by.generation).last_checkpoint()
    last = authority.issued.checkpoint(digest)
    if last is None or not authority.view.was_accepted(digest):
        raise ConfigurationError("authority_no_checkpoint", registrar=name)
    at_ms = max(now_ms, last.created_ms)
    signer = authority.signer_of(heartbeat_keys(last, at_ms))
    if signer is None:
        raise ConfigurationError("authority_keys_missing", registrar=f"heartbeat {name}")
    authority.check_head(by, now_ms)
    value = Heartbeat(registrar=name, generation=by.generation, checkpoint=digest, created_ms=at_ms)
    check_heartbeat(value)
    return sign(HEARTBEAT.name, HEARTBEAT.encode(value), signer)
