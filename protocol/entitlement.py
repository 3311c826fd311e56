"""Which keys speak for whom at a moment, read from the records in force.

Spec: `spec/trust.md` §2 (DESIGN §3: "key not revoked now, listed for the signer at `created`").
A rotated key stays listed, or stands in an older version; a revoked one counts nowhere any
more. Whether a thing that such a key signed is accepted is decided in `trust.py`; where
records come from, in `directory_view.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeVar

from protocol.directory import (
    ROLE_LEVEL_1,
    ROLE_ROOT,
    AgencyRecord,
    CentreRecord,
    KeyEntry,
    Lock,
    NodeRecord,
    RecordState,
    Root,
    is_above,
)
from protocol.errors import NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS, DIRECTORY_SUCCESSORS_MAX
from protocol.signing import ALGORITHM_ED25519, PublicKey

T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V", Root, CentreRecord, AgencyRecord)


@dataclass(frozen=True, slots=True)
class Known(Generic[T_co]):
    """An accepted version of a record, with the digest that names it."""

    value: T_co
    digest: bytes


class Lookup(Protocol):
    """Read access to accepted directory records. Versions come newest first, the one in force at the head."""

    def root_versions(self) -> Sequence[Known[Root]]: ...

    def centre_versions(self, code: str) -> Sequence[Known[CentreRecord]]: ...

    def agency_versions(self, code: str) -> Sequence[Known[AgencyRecord]]: ...

    def node_record(self, centre: str) -> Known[NodeRecord] | None: ...

    def lock(self, code: str) -> Known[Lock] | None: ...

    def was_accepted(self, digest: bytes) -> bool:
        """A thing with this digest was accepted once, in force or superseded."""
        ...

    def numbered(self, registrar: str, generation: int, number: int) -> bytes | None:
        """The digest of what this registrar signed under this number."""
        ...

    def is_forked(self, registrar: str, generation: int) -> bool:
        """The registrar was proved to have signed two things under one number of this generation."""
        ...


class Purpose(IntEnum):
    """What a signature is for: an agency speaks (envelope, consignment, statuses 02–16), or the
    centre that hosts it (arrived, collected, refusal)."""

    AGENCY = 1
    CENTRE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """Keys that count, by key id, and the digests of the records they were read from."""

    keys: Mapping[bytes, PublicKey]
    records: tuple[bytes, ...]

    def __or__(self, other: KeySet) -> KeySet:
        if not self.records and not self.keys:
            return other
        return KeySet(keys={**self.keys, **other.keys}, records=tuple(dict.fromkeys(self.records + other.records)))


NO_KEYS: Final = KeySet(keys={}, records=())


# --- versions and validity ------------------------------------------------------------------


def in_force(versions: Sequence[Known[V]], at_ms: int) -> list[Known[V]]:
    """The versions that were in force at some time within the clocks' tolerance of `at_ms`."""
    chosen: list[Known[V]] = []
    for version in versions:
        if version.value.created_ms > at_ms + CLOCK_SKEW_MS:
            continue
        chosen.append(version)
        if version.value.created_ms <= at_ms - CLOCK_SKEW_MS:
            break
    return chosen


def _judged_by(versions: Sequence[Known[V]], at_ms: int) -> list[Known[V]]:
    """The present version, and those in force at `at_ms`."""
    judged = [version for version in in_force(versions, at_ms) if version is not versions[0]]
    judged.insert(0, versions[0])
    return judged


@lru_cache(maxsize=4096)
def _public(algorithm: str, raw: bytes) -> PublicKey:
    return PublicKey.of(algorithm, raw)


def valid_keys(
    entries: Iterable[KeyEntry], at_ms: int, revoked: frozenset[bytes] = frozenset()
) -> dict[bytes, PublicKey]:
    """Keys that we can use and that were valid at `at_ms`, without revoked ones."""
    return {
        entry.key_id: _public(entry.algorithm, entry.raw)
        for entry in entries
        if entry.algorithm == ALGORITHM_ED25519
        and not entry.revoked_ms
        and entry.from_ms - CLOCK_SKEW_MS <= at_ms < entry.until_ms
        and entry.key_id not in revoked
    }


def revoked_ids(entries: Iterable[KeyEntry]) -> frozenset[bytes]:
    """Key ids of the revoked entries."""
    return frozenset(entry.key_id for entry in entries if entry.revoked_ms)


# --- registrars -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """Whoever may sign for a part of the tree: its keys at a moment, how many must sign, its open generation."""

    name: str
    keys: KeySet
    threshold: int
    generation: int
    parts: tuple[str, ...] = ()

    def covers_agency(self, code: str) -> bool:
        """Whether this agency code lies in the registrar's part of the tree (whole components)."""
        if self.name in {ROLE_ROOT, ROLE_LEVEL_1}:
            return True
        return is_above(self.name, code) and (
            not self.parts or any(part == code or is_above(part, code) for part in self.parts)
        )

    def covers_centres(self) -> bool:
        """Whether the registrar may register centres."""
        return self.name in {ROLE_ROOT, ROLE_LEVEL_1}


def registrar(lookup: Lookup, name: str, at_ms: int) -> Registrar:
    """The registrar with this name, with the keys that counted at `at_ms`.

    Raises:
        NotNow: `directory_no_root`, `directory_registrar_unknown` (no record, or it delegates nothing).
        TrustError: `directory_registrar_closed` (its code was closed at that time).
    """
    if name in {ROLE_ROOT, ROLE_LEVEL_1}:
        return _role(lookup, name, at_ms)
    versions = lookup.agency_versions(name)
    if not versions or not versions[0].value.delegation.keys:
        raise NotNow("directory_registrar_unknown", registrar=name)
    judged = _judged_by(versions, at_ms)
    if all(version.value.state is RecordState.CLOSED for version in in_force(versions, at_ms) or judged):
        raise TrustError("directory_registrar_closed", registrar=name)
    present = versions[0].value.delegation
    revoked = revoked_ids(present.keys)
    keys: dict[bytes, PublicKey] = {}
    for version in judged:
        keys.update(valid_keys(version.value.delegation.keys, at_ms, revoked))
    return Registrar(
        name=name,
        keys=KeySet(keys=keys, records=tuple(version.digest for version in judged)),
        threshold=present.threshold,
        generation=present.generation,
        parts=present.parts,
    )


def _role(lookup: Lookup, name: str, at_ms: int) -> Registrar:
    versions = lookup.root_versions()
    if not versions:
        raise NotNow("directory_no_root")
    judged = _judged_by(versions, at_ms)
    revoked = revoked_ids(versions[0].value.keys)
    keys: dict[bytes, PublicKey] = {}
    for version in judged:
        keys.update(role_keys(version.value, name, at_ms, revoked))
    present = versions[0].value.role(name)
    return Registrar(
        name=name,
        keys=KeySet(keys=keys, records=tuple(version.digest for version in judged)),
        threshold=present.threshold,
        generation=present.generation,
    )


def role_keys(root: Root, name: str, at_ms: int, revoked: frozenset[bytes] = frozenset()) -> dict[bytes, PublicKey]:
    """The keys of one version of the root that act for a role at `at_ms`."""
    members = frozenset(root.role(name).keys)
    return valid_keys((entry for entry in root.keys if entry.key_id in members), at_ms, revoked)


# --- agencies and centres -------------------------------------------------------------------


def state_of(record: AgencyRecord, lock: Known[Lock] | None) -> RecordState:
    """The state that counts: a self-lock holds until a later version of the record."""
    locked = lock is not None and lock.value.created_ms >= record.created_ms
    return RecordState.LOCKED if locked and record.state is RecordState.ACTIVE else record.state


def centre_keys(lookup: Lookup, code: str, at_ms: int) -> KeySet:
    """The operational keys of a centre that count at `at_ms`; none if it is unknown."""
    versions = lookup.centre_versions(code)
    if not versions:
        return NO_KEYS
    judged = _judged_by(versions, at_ms)
    revoked = revoked_ids(versions[0].value.keys)
    keys: dict[bytes, PublicKey] = {}
    for version in judged:
        keys.update(valid_keys(version.value.keys, at_ms, revoked))
    return KeySet(keys=keys, records=tuple(version.digest for version in judged))


def keys_for(lookup: Lookup, code: str, purpose: Purpose, at_ms: int, *, epoch: int | None = None) -> KeySet:
    """The keys that may sign a statement made at `at_ms` in the name of an agency.

    With `epoch`, only versions of the record under that hosting epoch count, whenever they
    were in force. Empty when no such version, or no key that counts, is known.
    """
    return keys_of(lookup, lookup.agency_versions(code), purpose, at_ms, epoch=epoch)


def keys_of(
    lookup: Lookup, versions: Sequence[Known[AgencyRecord]], purpose: Purpose, at_ms: int, *, epoch: int | None = None
) -> KeySet:
    """As `keys_for`, for an agency whose versions are at hand."""
    if not versions:
        return NO_KEYS
    if epoch is None:
        judged = _judged_by(versions, at_ms)
    else:
        judged = [version for version in versions if version.value.epoch == epoch]
    revoked = revoked_ids(versions[0].value.keys)
    found = NO_KEYS
    for version in judged:
        speaking = _speaking_keys(lookup, version.value, purpose, at_ms, revoked=revoked)
        found |= KeySet(keys=speaking.keys, records=(version.digest, *speaking.records))
    return found


def _speaking_keys(
    lookup: Lookup, record: AgencyRecord, purpose: Purpose, at_ms: int, *, revoked: frozenset[bytes]
) -> KeySet:
    if purpose is Purpose.CENTRE:
        return centre_keys(lookup, record.host, at_ms)
    if record.state is RecordState.CLOSED and record.successors:
        return _successor_keys(lookup, record, at_ms)
    return own_keys(lookup, record, at_ms, revoked)


def own_keys(lookup: Lookup, record: AgencyRecord, at_ms: int, revoked: frozenset[bytes] = frozenset()) -> KeySet:
    """The agency's own signing keys if it lists any, else its host's operational keys."""
    if record.keys:
        return KeySet(keys=valid_keys(record.keys, at_ms, revoked), records=())
    return centre_keys(lookup, record.host, at_ms)


def listed_keys(lookup: Lookup, code: str) -> dict[bytes, PublicKey]:
    """Every key that any version of an agency's record, of a host's, or of its successors' has listed,
    revoked or not."""
    found: dict[bytes, PublicKey] = {}
    waiting, seen = [code], set[str]()
    while waiting and len(seen) <= DIRECTORY_SUCCESSORS_MAX:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        for version in lookup.agency_versions(name):
            waiting.extend(version.value.successors)
            centres = [centre.value.keys for centre in lookup.centre_versions(version.value.host)]
            for entry in (*version.value.keys, *(entry for keys in centres for entry in keys)):
                if entry.algorithm == ALGORITHM_ED25519:
                    found[entry.key_id] = _public(entry.algorithm, entry.raw)
    return found


def _successor_keys(lookup: Lookup, closed: AgencyRecord, at_ms: int) -> KeySet:
    """The keys of the living bodies at the end of the chains of successors."""
    found, waiting, seen = NO_KEYS, list(closed.successors), {closed.code}
    while waiting and len(seen) <= DIRECTORY_SUCCESSORS_MAX:
        code = waiting.pop(0)
        versions = lookup.agency_versions(code)
        if code in seen or not versions:
            continue
        seen.add(code)
        record = versions[0].value
        if record.state is RecordState.CLOSED and record.successors:
            waiting.extend(record.successors)
        else:
            keys = own_keys(lookup, record, at_ms, revoked_ids(record.keys))
            found |= keys | KeySet(keys={}, records=(versions[0].digest,))
    return found
