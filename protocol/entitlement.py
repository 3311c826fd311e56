"""Which keys speak for whom at a moment, read from the records in force.

Spec: `spec/trust.md` §2 (DESIGN §3: "key not revoked now, listed for the signer at `created`").
A rotated key stays listed, or stands in an older version; a revoked one counts nowhere any
more, whether the version that says so is in force or pending. Whether a thing that such a key
signed is accepted is decided in `trust.py`; where records come from, in `directory_view.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from protocol.directory_kinds import DirectoryFork, DirectoryHistory, DirectoryPending, Subject
from protocol.errors import NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS, DIRECTORY_SUCCESSORS_MAX
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed

T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V", Root, CentreRecord, AgencyRecord)


@dataclass(frozen=True, slots=True)
class Known(Generic[T_co]):
    """An accepted version of a record, with the digest that names it, and since when it is in
    force here if that is later than its date."""

    value: T_co
    digest: bytes
    from_ms: int = 0


class Lookup(Protocol):
    """Read access to accepted directory records. Versions come newest first, the one in force at the head."""

    def root_versions(self) -> Sequence[Known[Root]]: ...

    def centre_versions(self, code: str) -> Sequence[Known[CentreRecord]]: ...

    def agency_versions(self, code: str) -> Sequence[Known[AgencyRecord]]: ...

    def node_record(self, centre: str) -> Known[NodeRecord] | None: ...

    def lock(self, code: str) -> Known[Lock] | None: ...

    def pending_centre(self, code: str) -> Known[CentreRecord] | None:
        """The version of a centre's record that waits for its endorsement."""
        ...

    def pending_agency(self, code: str) -> Known[AgencyRecord] | None:
        """The version of an agency's record that waits for its endorsement."""
        ...

    def history(self, subject: Subject, code: str) -> DirectoryHistory | None:
        """Which versions of a record are known, and since when the code is."""
        ...

    def pending(self, subject: Subject, code: str) -> DirectoryPending | None:
        """What is pending for a record, and since when."""
        ...

    def was_accepted(self, digest: bytes) -> bool:
        """A thing with this digest was accepted once, in force or not."""
        ...

    def thing(self, digest: bytes) -> Signed | None:
        """The accepted thing with this digest."""
        ...

    def numbered(self, registrar: str, generation: int, number: int) -> bytes | None:
        """The digest of what this registrar signed under this number."""
        ...

    def follower(self, registrar: str, generation: int, previous: bytes) -> bytes | None:
        """The digest of the checkpoint that names this one, or none (zeros), as the one before it."""
        ...

    def fork(self, registrar: str, generation: int) -> DirectoryFork | None:
        """The proof that the registrar signed two things under one number of this generation."""
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
        begin_ms = begins_ms(version)
        if begin_ms > at_ms + CLOCK_SKEW_MS:
            continue
        chosen.append(version)
        if begin_ms <= at_ms - CLOCK_SKEW_MS:
            break
    return chosen


def begins_ms(version: Known[V]) -> int:
    """Since when a version is in force: since its date, or later if it was pending here."""
    return max(version.value.created_ms, version.from_ms)


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


def _revoked_in(present: Iterable[KeyEntry], pending: Iterable[KeyEntry]) -> frozenset[bytes]:
    """Revoking opens no door: it acts at once, also inside a version that is pending."""
    return revoked_ids(present) | revoked_ids(pending)


# --- registrars -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """Whoever may sign for a part of the tree: its keys at a moment, how many must sign, its open generation."""

    name: str
    keys: KeySet
    threshold: int
    generation: int
    parts: tuple[str, ...] = ()
    compromised: Mapping[bytes, tuple[PublicKey, int]] = field(default_factory=dict)
    """Keys that others may have used, and since when (milliseconds)."""

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
    judged, pending = _judged_by(versions, at_ms), lookup.pending_agency(name)
    if _closed_at(versions, pending, at_ms):
        raise TrustError("directory_registrar_closed", registrar=name)
    present = versions[0].value.delegation
    listed = (*present.keys, *(pending.value.delegation.keys if pending is not None else ()))
    revoked = revoked_ids(listed)
    keys: dict[bytes, PublicKey] = {}
    for version in judged:
        keys.update(valid_keys(version.value.delegation.keys, at_ms, revoked))
    return Registrar(
        name=name,
        keys=KeySet(keys=keys, records=tuple(version.digest for version in judged)),
        threshold=present.threshold,
        generation=present.generation,
        parts=present.parts,
        compromised=_compromised(listed),
    )


def _closed_at(versions: Sequence[Known[AgencyRecord]], pending: Known[AgencyRecord] | None, at_ms: int) -> bool:
    """Closing acts at once, also inside a version that is pending."""
    closing = pending is not None and pending.value.state is RecordState.CLOSED
    closes_ms = pending.value.created_ms if pending is not None and closing else at_ms
    if at_ms > closes_ms + CLOCK_SKEW_MS:
        return True
    judged = in_force(versions, at_ms) or _judged_by(versions, at_ms)
    return all(version.value.state is RecordState.CLOSED for version in judged)


def _compromised(entries: Iterable[KeyEntry]) -> dict[bytes, tuple[PublicKey, int]]:
    return {
        entry.key_id: (_public(entry.algorithm, entry.raw), entry.compromised_ms)
        for entry in entries
        if entry.compromised_ms and entry.algorithm == ALGORITHM_ED25519
    }


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
        compromised=_compromised(versions[0].value.keys),
    )


def role_keys(root: Root, name: str, at_ms: int, revoked: frozenset[bytes] = frozenset()) -> dict[bytes, PublicKey]:
    """The keys of one version of the root that act for a role at `at_ms`."""
    members = frozenset(root.role(name).keys)
    return valid_keys((entry for entry in root.keys if entry.key_id in members), at_ms, revoked)


# --- agencies and centres -------------------------------------------------------------------


def state_of(
    record: AgencyRecord, lock: Known[Lock] | None, pending: Known[AgencyRecord] | None = None
) -> RecordState:
    """The state that counts: a self-lock holds until a later version of the record is in force,
    and of the version in force and the pending one the stricter."""
    locked = lock is not None and lock.value.created_ms >= record.created_ms
    state = RecordState.LOCKED if locked and record.state is RecordState.ACTIVE else record.state
    return state if pending is None else max(state, pending.value.state)


def centre_keys(lookup: Lookup, code: str, at_ms: int) -> KeySet:
    """The operational keys of a centre that count at `at_ms`; none if it is unknown."""
    versions = lookup.centre_versions(code)
    if not versions:
        return NO_KEYS
    judged, pending = _judged_by(versions, at_ms), lookup.pending_centre(code)
    revoked = _revoked_in(versions[0].value.keys, pending.value.keys if pending is not None else ())
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
    revoked = revoked_of(lookup, versions[0].value)
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


def revoked_of(lookup: Lookup, record: AgencyRecord) -> frozenset[bytes]:
    """An agency's own keys that its record in force, or the pending one, calls revoked."""
    pending = lookup.pending_agency(record.code)
    return _revoked_in(record.keys, pending.value.keys if pending is not None else ())


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
            keys = own_keys(lookup, record, at_ms, revoked_of(lookup, record))
            found |= keys | KeySet(keys={}, records=(versions[0].digest,))
    return found
