"""Whether a registrar said this: its threshold, its part of the tree, number and generation.

Spec: `spec/trust.md` §3, §4 (DESIGN §3, "Trust tree"). The same for records, checkpoints and
fork proofs. Which version of a record counts then is decided in `standing.py`.
"""

from __future__ import annotations

from protocol.court import Court, not_from_the_future, signers_of
from protocol.directory import CentreRecord, Numbered
from protocol.entitlement import Registrar, registrar
from protocol.errors import NotNow, TrustError
from protocol.signing import Signed


def registered(signed: Signed, record: Numbered, court: Court) -> tuple[bytes, ...]:
    """The registrar's keys that signed this record, which it may sign, under a number that is free or its own.

    Raises:
        NotNow: `directory_future`, `directory_no_root`, `directory_registrar_unknown`, `directory_signer_unknown`.
        TrustError: `directory_registrar_closed`, `directory_not_entitled`, `directory_threshold`,
            `directory_key_compromised`, `signature_*`, `directory_fork`, `directory_generation`,
            `directory_generation_forked`.
    """
    not_from_the_future(record.created_ms, court)
    by = registrar(court.lookup, record.registrar, record.created_ms)
    covers = by.covers_centres() if isinstance(record, CentreRecord) else by.covers_agency(record.code)
    if not covers:
        raise TrustError("directory_not_entitled", registrar=by.name, code=record.code)
    signers = registrar_signers(signed, by, record.created_ms, court)
    check_number(signed, by, record.generation, record.number, court, about=record.code)
    return signers


def registrar_signers(signed: Signed, by: Registrar, created_ms: int, court: Court) -> tuple[bytes, ...]:
    """At least the threshold of the registrar's keys. Raises: as `signers_of`, and `directory_key_compromised`."""
    try:
        return signers_of(signed, by.keys.keys, court.verifier, needed=by.threshold)
    except (NotNow, TrustError) as error:
        if _by_compromised_key(signed, by, created_ms, court):
            raise TrustError("directory_key_compromised", registrar=by.name) from error
        raise


def _by_compromised_key(signed: Signed, by: Registrar, created_ms: int, court: Court) -> bool:
    """Only a valid signature tells: anybody can name a key."""
    for key_id, (key, since_ms) in by.compromised.items():
        if created_ms >= since_ms and signed.has_signature_of(key_id):
            try:
                court.verifier.verify(signed, key)
            except TrustError:
                continue
            return True
    return False


def check_number(
    signed: Signed, by: Registrar, generation: int, number: int, court: Court, *, about: str
) -> None:
    """One number, one thing; new things only in the open generation, and not after a fork.

    To be asked after the signatures: only what the registrar really signed can prove a fork.

    Raises:
        TrustError: `directory_fork`, `directory_generation`, `directory_generation_forked`.
    """
    where = {"registrar": by.name, "code": about}
    taken = court.lookup.numbered(by.name, generation, number)
    if taken is not None and taken != signed.digest:
        raise TrustError("directory_fork", **where)
    if generation != by.generation:
        raise TrustError("directory_generation", found=generation, open=by.generation, **where)
    if court.lookup.fork(by.name, generation) is not None:
        raise TrustError("directory_generation_forked", **where)
