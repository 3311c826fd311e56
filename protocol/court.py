"""What judging a directory statement needs besides the statement, and what comes of it.

Spec: `spec/trust.md`. The values that pass between `trust.py`, `registration.py`, `standing.py`,
`registrar_log.py` and those who store what was judged; and the one rule of counting signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from protocol.directory import CentreRecord, Lock, NodeRecord, Numbered, Root
from protocol.directory_kinds import Subject
from protocol.entitlement import Lookup
from protocol.errors import NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS, JOINING_MS
from protocol.signing import PublicKey, Signed, Verifier


class Standing(IntEnum):
    """What becomes of an accepted version of a record."""

    IN_FORCE = 0
    """It replaces the version before at once."""
    PENDING = 1
    """It needs an endorsement and has none: it counts nowhere, and comes into force a day later."""
    SUPERSEDED = 2
    """It is older than the version in force; it counts for what was made in its time."""
    ASIDE = 3
    """It belongs to the registrar's log and counts nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A directory statement that may be believed. `already` when it was accepted before and nothing changes."""

    subject: Subject
    code: str
    value: Root | Numbered | NodeRecord | Lock
    signed: Signed
    created_ms: int
    signers: tuple[bytes, ...] = ()
    already: bool = False
    standing: Standing = Standing.IN_FORCE
    since_ms: int = 0
    """Of a pending version: when its time began; 0 if it has not, because the clock is not trusted."""
    carries: bool = False
    """The pending version, which is newer, comes into force with this one."""
    quiet: bool = False
    """It says what the version in force says, under another number: nobody needs to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Court:
    """Everything that judging needs besides the thing itself."""

    lookup: Lookup
    verifier: Verifier
    now_ms: int
    anchor: bytes
    """Digest of the root version that the operator trusts."""
    clock_trusted: bool = True
    """No pending time begins or ends, and no code counts as new, by a clock that may be wrong."""
    joining_ms: int = JOINING_MS
    """While a code is known for less than this, a version's day runs from its date."""


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


def not_from_the_future(created_ms: int, court: Court) -> None:
    """Raises: NotNow: `directory_future`."""
    if created_ms > court.now_ms + CLOCK_SKEW_MS:
        raise NotNow("directory_future", created_ms=created_ms)


def subject_of(record: Numbered) -> Subject:
    """Which kind of record this is a version of."""
    return Subject.CENTRE if isinstance(record, CentreRecord) else Subject.AGENCY
