"""The directory as everyone reads it, from durable records and nothing else.

Implements what `entitlement.py` and `trust.py` ask (`Lookup`), what steps ask
(`step.Directory`), and the questions of API and CLI. Decoded records are remembered by
digest, which never changes meaning. A pending version counts nowhere here, except that locking,
closing and revoking act at once. What enters the directory is `directory_import.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.agency_code import parse_agency_code
from protocol.directory import FORMATS, AgencyRecord, CentreRecord, KeyEntry, Lock, NodeRecord, RecordState, Root
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFollower,
    DirectoryFork,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryPending,
    DirectoryThing,
    Subject,
    VersionRef,
)
from protocol.encoding import recall
from protocol.entitlement import Known, Purpose, keys_of, listed_keys, revoked_ids, state_of
from protocol.errors import FormatError, RequestError, StoreError
from protocol.limits import CLOCK_SKEW_MS, DIRECTORY_WIRE_BYTES_MAX
from protocol.record import Records
from protocol.signing import PublicKey, Signed, thing_digest
from protocol.step import Party

WIRE_BYTES_MAX: Final = DIRECTORY_WIRE_BYTES_MAX
"""A directory statement with its signatures."""

AGENCY_PAGE: Final = 1_000
"""Agencies in one page of a listing."""

CACHE_RECORDS: Final = 4_096
"""Decoded records in memory, about 2 KB each: everyone a busy centre writes to in a day."""


class RecordCache:
    """The newest used decoded records by digest. Belongs to the loop."""

    def __init__(self, records_max: int = CACHE_RECORDS) -> None:
        self._max: Final = records_max
        self._values: OrderedDict[bytes, Any] = OrderedDict()

    def value(self, records: Records, digest: bytes) -> Any:
        """The statement with this digest.

        Raises:
            StoreError: `directory_damaged` (the history names a thing that is not there, or not what it was).
        """
        if digest in self._values:
            self._values.move_to_end(digest)
            return self._values[digest]
        value = self._values[digest] = _stored_value(records, digest)
        if len(self._values) > self._max:
            self._values.popitem(last=False)
        return value


def _stored_value(records: Records, digest: bytes) -> Any:
    """The statement of the thing under this digest. It was read strictly when it came, and the digest says that it is
    the same; so its only way of being written is not tested again, which is two thirds of the time.

    Raises:
        StoreError: `directory_damaged`, `record_damaged`.
    """
    found = records.get(DirectoryThing, digest)
    damaged = StoreError("directory_damaged", what=digest.hex()[:16])
    if found is None:
        raise damaged
    try:
        name, statement, _ = recall(found.wire)
        if thing_digest(name, statement) != digest:
            raise damaged
        return FORMATS[name].recall(statement)
    except (FormatError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise damaged from error


def stored_thing(records: Records, digest: bytes) -> Signed | None:
    """The thing that lies under this digest, and has it.

    Raises:
        StoreError: `directory_damaged`, `record_damaged`.
    """
    found = records.get(DirectoryThing, digest)
    if found is None:
        return None
    try:
        signed = Signed.from_wire(found.wire, bytes_max=WIRE_BYTES_MAX)
    except FormatError as error:
        raise StoreError("directory_damaged", what=digest.hex()[:16]) from error
    if signed.digest != digest:  # the checksum fits, so somebody wrote it
        raise StoreError("directory_damaged", what=digest.hex()[:16])
    return signed


class DirectoryView:
    """Read access to the directory in a set of records. Cheap to make; share the cache."""

    def __init__(self, records: Records, cache: RecordCache | None = None) -> None:
        self.records: Final = records
        self.cache: Final = cache if cache is not None else RecordCache()

    # --- what judging asks (entitlement.Lookup) ---------------------------------------------

    def root_versions(self) -> Sequence[Known[Root]]:
        """Roots, newest first."""
        return self.versions(Subject.ROOT, "")

    def centre_versions(self, code: str) -> Sequence[Known[CentreRecord]]:
        """Versions of a centre's record, the one in force first; empty when unknown."""
        return self.versions(Subject.CENTRE, code)

    def agency_versions(self, code: str) -> Sequence[Known[AgencyRecord]]:
        """Versions of an agency's record by primary code, the one in force first; empty when unknown."""
        return self.versions(Subject.AGENCY, code)

    def pending_centre(self, code: str) -> Known[CentreRecord] | None:
        """The version of a centre's record that waits for its endorsement or its day."""
        return self.pending_version(Subject.CENTRE, code)

    def pending_agency(self, code: str) -> Known[AgencyRecord] | None:
        """The version of an agency's record that waits for its endorsement or its day."""
        return self.pending_version(Subject.AGENCY, code)

    def pending_version(self, subject: Subject, code: str) -> Known[Any] | None:
        """As the two above."""
        row = self.pending(subject, code)
        return None if row is None else self._known(code, VersionRef(digest=row.digest, created_ms=0))

    def pending(self, subject: Subject, code: str) -> DirectoryPending | None:
        """What is pending for a record, and since when this node knows."""
        return self.records.get(DirectoryPending, int(subject), code)

    def all_pending(self, *, after: tuple[int, str] | None = None, limit: int = AGENCY_PAGE) -> list[DirectoryPending]:
        """A page of everything that is pending, by subject and code."""
        return self.records.scan(DirectoryPending, after=after or (), limit=limit)

    def history(self, subject: Subject, code: str) -> DirectoryHistory | None:
        """Which versions of a record are known, and since when the code is."""
        return self.records.get(DirectoryHistory, int(subject), code)

    def node_record(self, centre: str) -> Known[NodeRecord] | None:
        """The newest node record of a centre; whether it is still valid is for the reader to see."""
        return self._newest(Subject.NODE, centre)

    def lock(self, code: str) -> Known[Lock] | None:
        """The newest self-lock of an agency, in effect or not."""
        return self._newest(Subject.LOCK, code)

    def was_accepted(self, digest: bytes) -> bool:
        """A thing with this digest was accepted once."""
        return self.records.get(DirectoryThing, digest) is not None

    def numbered(self, registrar: str, generation: int, number: int) -> bytes | None:
        """The digest of what this registrar signed under this number."""
        found = self.records.get(DirectoryNumber, registrar, generation, number)
        return None if found is None else found.digest

    def follower(self, registrar: str, generation: int, previous: bytes) -> bytes | None:
        """The digest of the checkpoint that names this one, or none (zeros), as the one before it."""
        found = self.records.get(DirectoryFollower, registrar, generation, previous)
        return None if found is None else found.digest

    def fork(self, registrar: str, generation: int) -> DirectoryFork | None:
        """The proof that the registrar signed two things under one number of this generation."""
        return self.records.get(DirectoryFork, registrar, generation)

    # --- agencies ---------------------------------------------------------------------------

    def find_agency(self, code: str) -> Known[AgencyRecord] | None:
        """The record in force of this primary code, None when there is none."""
        return self._newest(Subject.AGENCY, code)

    def agency(self, code: str) -> AgencyRecord:
        """The record in force of this primary code.

        Raises:
            RequestError: `agency_unknown`.
        """
        found = self.find_agency(code)
        if found is None:
            raise RequestError("agency_unknown", code=code)
        return found.value

    def state(self, code: str) -> RecordState:
        """The state that counts, self-locks and pending versions included. Raises: as `agency`."""
        return state_of(self.agency(code), self.lock(code), self.pending_agency(code))

    def resolve(self, text: str, *, field: str = "") -> AgencyRecord:
        """The agency that a primary code or alias, in either written form, names.

        A closed agency is found too, as long as no living one claims the text.

        Raises:
            RequestError: `agency_code_malformed`, `agency_unknown`, `agency_ambiguous` (two
                live records claim the text: it resolves to neither).
        """
        parse_agency_code(text, field=field)
        claims = {claim.code: claim.live for claim in self.records.scan(DirectoryAlias, text)}
        primary = self.find_agency(text)
        if primary is not None:
            claims[text] = self.state(text) is not RecordState.CLOSED
        live = [code for code, is_live in claims.items() if is_live]
        candidates = live or ([text] if text in claims else list(claims))
        if not candidates:
            raise RequestError("agency_unknown", field=field, code=text)
        if len(candidates) > 1:
            raise RequestError("agency_ambiguous", field=field, code=text)
        return self.agency(candidates[0])

    def agencies(self, *, after: str = "", limit: int = AGENCY_PAGE) -> list[AgencyRecord]:
        """A page of all agencies in the order of their primary codes."""
        place = (after,) if after else ()
        page = self.records.scan(DirectoryHistory, int(Subject.AGENCY), after=place, limit=limit)
        return [self.cache.value(self.records, row.versions[0].digest) for row in page]

    def agencies_hosted_by(self, centre: str, *, after: str = "", limit: int = AGENCY_PAGE) -> list[AgencyRecord]:
        """A page of the agencies, of any state, whose record in force names this host."""
        place = (after,) if after else ()
        return [self.agency(row.code) for row in self.records.scan(DirectoryHosting, centre, after=place, limit=limit)]

    def host_of(self, code: str) -> tuple[CentreRecord, int]:
        """The centre that hosts an agency now, and the hosting epoch.

        Raises:
            RequestError: `agency_unknown`, `centre_unknown`.
        """
        record = self.agency(code)
        return self.centre(record.host), record.epoch

    # --- centres ----------------------------------------------------------------------------

    def find_centre(self, code: str) -> Known[CentreRecord] | None:
        """The record in force of this centre, None when there is none."""
        return self._newest(Subject.CENTRE, code)

    def centre(self, code: str) -> CentreRecord:
        """The record in force of this centre.

        Raises:
            RequestError: `centre_unknown`.
        """
        found = self.find_centre(code)
        if found is None:
            raise RequestError("centre_unknown", code=code)
        return found.value

    def centre_exists(self, centre: str) -> bool:
        """A believed record names this centre."""
        return self.find_centre(centre) is not None

    def centre_of_peer(self, peer_id: str) -> CentreRecord | None:
        """The one centre, not closed, whose record in force names this peer id; None if none or two do."""
        rows = self.records.scan(DirectoryPeer, peer_id, limit=2)
        found = [self.centre(row.centre) for row in rows]
        return found[0] if len(found) == 1 and not self._is_closed(found[0]) else None

    def peers(self) -> list[CentreRecord]:
        """All centres that are not closed, in the order of their codes."""
        rows = self.records.scan(DirectoryHistory, int(Subject.CENTRE), limit=10_000)
        found = [self.cache.value(self.records, row.versions[0].digest) for row in rows]
        return [record for record in found if not self._is_closed(record)]

    def _is_closed(self, centre: CentreRecord) -> bool:
        """Closing acts at once, also inside a version that is pending."""
        pending = self.pending_centre(centre.code)
        return RecordState.CLOSED in {centre.state, centre.state if pending is None else pending.value.state}

    # --- things -----------------------------------------------------------------------------

    def thing(self, digest: bytes) -> Signed | None:
        """The signed thing with this digest, superseded or not. Raises: StoreError: as `stored_thing`."""
        return stored_thing(self.records, digest)

    def root_digest(self) -> bytes | None:
        """The digest of the root in force; None before the first import."""
        versions = self.root_versions()
        return versions[0].digest if versions else None

    # --- what steps ask (step.Directory) ----------------------------------------------------

    def party(self, code: str, *, at_ms: int, epoch: int | None = None) -> Party | None:
        """The agency at present, or as it was under `epoch`, with the keys that count at `at_ms`."""
        versions = self.agency_versions(code)
        shown = next((item for item in versions if epoch is None or item.value.epoch == epoch), None)
        if shown is None:
            return None
        record = shown.value
        speaking = keys_of(self, versions, Purpose.AGENCY, at_ms, epoch=epoch)
        hosting = keys_of(self, versions, Purpose.CENTRE, at_ms, epoch=epoch)
        pending = self.pending_agency(code)
        return Party(
            code=code,
            state=state_of(record, self.lock(code), pending).name.lower(),
            successors=_successors(record, pending),
            centre=record.host,
            epoch=record.epoch,
            signers=speaking.keys,
            centre_signers=hosting.keys,
            sealing=self._sealing(record.host, at_ms),
            records=(speaking | hosting).records,
            own_keys=bool(record.keys),
        )

    def listed_keys(self, code: str) -> Mapping[bytes, PublicKey]:
        """Every key that was ever listed for this agency, a host of it or its successors, whether it counts or not."""
        return listed_keys(self, code)

    def _sealing(self, centre: str, at_ms: int) -> tuple[bytes, bytes] | None:
        found = self.find_centre(centre)
        if found is None or self._is_closed(found.value):
            return None
        pending = self.pending_centre(centre)
        revoked = revoked_ids(pending.value.sealing) if pending is not None else frozenset()
        entry = newest_valid([item for item in found.value.sealing if item.key_id not in revoked], at_ms)
        return None if entry is None else (entry.key_id, entry.raw)

    # --- pieces -----------------------------------------------------------------------------

    def versions(self, subject: Subject, code: str) -> tuple[Known[Any], ...]:
        """The versions of anything that count, the one in force first; empty when unknown.

        Raises:
            StoreError: `directory_damaged`, `record_damaged`.
        """
        history = self.history(subject, code)
        return () if history is None else tuple(self._known(code, item) for item in history.versions)

    def _newest(self, subject: Subject, code: str) -> Known[Any] | None:
        history = self.history(subject, code)
        return None if history is None else self._known(code, history.versions[0])

    def _known(self, code: str, item: VersionRef) -> Known[Any]:
        value = self.cache.value(self.records, item.digest)
        if _code_of(value) != code:  # a good thing in the place of another
            raise StoreError("directory_damaged", what=code)
        return Known(value, item.digest, item.from_ms)


def _code_of(value: Any) -> str:
    if isinstance(value, Root):
        return ""
    code: str = value.centre if isinstance(value, NodeRecord) else value.code
    return code


def _successors(record: AgencyRecord, pending: Known[AgencyRecord] | None) -> tuple[str, ...]:
    """Whom a sender is told to turn to: closing acts at once, and names them."""
    if pending is not None and pending.value.state is RecordState.CLOSED and record.state is not RecordState.CLOSED:
        return pending.value.successors
    return record.successors


def newest_valid(entries: Sequence[KeyEntry], at_ms: int) -> KeyEntry | None:
    """The valid entry that began last, None when none is valid; for keys that are used, not judged."""
    valid = [e for e in entries if not e.revoked_ms and e.from_ms - CLOCK_SKEW_MS <= at_ms < e.until_ms]
    return max(valid, key=lambda entry: (entry.from_ms, entry.key_id), default=None)
