"""Stopping what is under way: taking back a pending change, and an agency that locks itself.

Obeys DESIGN §3 ("no silent take-over"; "an agency key may always lock itself") and `protocol/spec/trust.md` §5.
A day of waiting is worth something only if whoever sees the change coming can stop it within minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from node.authority import Authority
from node.authority_act import Act
from protocol.directory import LOCK, AgencyRecord, CentreRecord, Lock, Numbered, check
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known, Purpose, keys_for
from protocol.errors import ConfigurationError, RequestError
from protocol.signing import Signed, Signer, sign

# --- withdrawing ------------------------------------------------------------------------------


def withdraw(authority: Authority, code: str, now_ms: int, *, registrar: str = "", urgent: bool = False) -> Signed:
    """Sign anew what is in force for an agency or centre, so that nothing newer waits behind it.

    Also for a change that others still have to sign, and by a body above whoever made it. The hosting
    epoch goes above that of the change, so that this holds wherever it was endorsed meanwhile.

    Raises:
        ConfigurationError: `authority_nothing_pending`, and as `Authority.act`.
        RequestError: `agency_unknown`.
    """
    in_force, newest = _in_force_and_newest(authority, code)
    if newest.digest == in_force.digest:
        raise ConfigurationError("authority_nothing_pending", code=code)
    act = authority.act(now_ms, registrar=registrar or _registrar_of(authority, newest.value, now_ms))
    _restore(act, in_force.value, newest.value)
    return authority.complete(act, urgent=urgent)[0]


def _in_force_and_newest(authority: Authority, code: str) -> tuple[Known[Any], Known[Any]]:
    for in_force, newest in (
        (authority.view.find_agency(code), authority.issued.agency(code)),
        (authority.view.find_centre(code), authority.issued.centre(code)),
    ):
        if in_force is not None and newest is not None:
            return in_force, newest
    raise RequestError("agency_unknown", code=code)


def _registrar_of(authority: Authority, record: Numbered, now_ms: int) -> str:
    if isinstance(record, AgencyRecord):
        return authority.registrar_above(record.code, now_ms)
    return record.registrar if authority.has_keys(record.registrar, now_ms) else ""


def _restore(act: Act, in_force: Numbered, newest: Numbered) -> None:
    if isinstance(in_force, CentreRecord):
        act.repeat(in_force)
        return
    assert isinstance(newest, AgencyRecord)
    moved = newest.epoch > in_force.epoch
    act.repeat(replace(in_force, epoch=newest.epoch + 1) if moved else in_force)


# --- self-lock --------------------------------------------------------------------------------


def self_lock(view: DirectoryView, code: str, signers: Sequence[Signer], now_ms: int, *, reason: str = "") -> Signed:
    """That an agency locks itself, signed by the first of these keys that speaks for it now.

    It needs no registrar and has no number; whoever imports it passes it on. The next version of the
    record by the registrar unlocks.

    Raises:
        RequestError: `agency_unknown`.
        ConfigurationError: `authority_keys_missing`.
        FormatError: `format_agency_code`, `format_field` (the reason).
    """
    lock = Lock(code=code, created_ms=now_ms, reason=reason)
    check(lock)
    known = view.find_agency(code)
    if known is None:
        raise RequestError("agency_unknown", code=code)
    at_ms = max(now_ms, known.value.created_ms)
    speaking = keys_for(view, code, Purpose.AGENCY, at_ms).keys
    signer = _first(signers, speaking)
    if signer is None:
        raise ConfigurationError("authority_keys_missing", registrar=code)
    return sign(LOCK.name, LOCK.encode(replace(lock, created_ms=at_ms)), signer)


def _first(signers: Iterable[Signer], ids: Iterable[bytes]) -> Signer | None:
    wanted = set(ids)
    return next((signer for signer in signers if signer.public.key_id in wanted), None)
