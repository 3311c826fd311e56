"""The directory as everyone reads it, from durable records and nothing else.

Implements what `entitlement.py` and `trust.py` ask (`Lookup`), what steps ask
(`step.Directory`), and the questions of API and CLI. Decoded records are remembered by
digest, which never changes meaning. What enters the directory is `directory_import.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.agency_code import parse_agency_code
from protocol.directory import FORMATS, AgencyRecord, CentreRecord, KeyEntry, Lock, NodeRecord, RecordState, Root
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFork,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryThing,
    Subject,
)
from protocol.entitlement import Known, Purpose, keys_of, listed_keys, state_of
from protocol.errors import RequestError, StoreError
from protocol.limits import CLOCK_SKEW_MS, STATEMENT_BYTES_MAX
from protocol.record import Records
from protocol.signing import PublicKey, Signed
from protocol.step import Party

WIRE_BYTES_MAX: Final = 2 * STATEMENT_BYTES_MAX
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
            StoreError: `store_damaged` (the history names a thing that is not there).
        """
        if digest in self._values:
            self._values.move_to_end(digest)
            return self._values[digest]
        thing = records.get(DirectoryThing, digest)
        if thing is None:
            raise StoreError("store_damaged", reason="a directory record is missing")
        signed = Signed.from_wire(thing.wire, bytes_max=WIRE_BYTES_MAX)
        value = self._values[digest] = FORMATS[signed.format].decode(signed.statement)
        if len(self._values) > self._max:
            self._values.popitem(last=False)
        return value


class DirectoryView:
    """Read access to the directory in a set of records. Cheap to make; share the cache."""

    def __init__(self, records: Records, cache: RecordCache | None = None) -> None:
        self.records: Final = records
        self.cache: Final = cache if cache is not None else RecordCache()

    # --- what judging asks (entitlement.Lookup) ---------------------------------------------

    def root_versions(self) -> Sequence[Known[Root]]:
        """Roots, newest first."""
        return self._versions(Subject.ROOT, "")

    def centre_versions(self, code: str) -> Sequence[Known[CentreRecord]]:
        """Versions of a centre's record, the one in force first; empty when unknown."""
        return self._versions(Subject.CENTRE, code)

    def agency_versions(self, code: str) -> Sequence[Known[AgencyRecord]]:
        """Versions of an agency's record by primary code, the one in force first; empty when unknown."""
        return self._versions(Subject.AGENCY, code)

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

    def is_forked(self, registrar: str, generation: int) -> bool:
        """The registrar was proved to have signed two things under one number."""
        return self.records.get(DirectoryFork, registrar, generation) is not None

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
        """The state that counts, self-locks included. Raises: as `agency`."""
        return state_of(self.agency(code), self.lock(code))

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
            claims[text] = primary.value.state is not RecordState.CLOSED
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
        return found[0] if len(found) == 1 and found[0].state is not RecordState.CLOSED else None

    def peers(self) -> list[CentreRecord]:
        """All centres that are not closed, in the order of their codes."""
        rows = self.records.scan(DirectoryHistory, int(Subject.CENTRE), limit=10_000)
        found = [self.cache.value(self.records, row.versions[0].digest) for row in rows]
        return [record for record in found if record.state is not RecordState.CLOSED]

    # --- things -----------------------------------------------------------------------------

    def thing(self, digest: bytes) -> Signed | None:
        """The signed thing with this digest, superseded or not."""
        found = self.records.get(DirectoryThing, digest)
        return None if found is None else Signed.from_wire(found.wire, bytes_max=WIRE_BYTES_MAX)

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
        return Party(
            code=code,
            state=state_of(record, self.lock(code)).name.lower(),
            successors=record.successors,
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
        if found is None or found.value.state is RecordState.CLOSED:
            return None
        entry = newest_valid(found.value.sealing, at_ms)
        return None if entry is None else (entry.key_id, entry.raw)

    # --- pieces -----------------------------------------------------------------------------

    def _versions(self, subject: Subject, code: str) -> tuple[Known[Any], ...]:
        history = self.records.get(DirectoryHistory, int(subject), code)
        if history is None:
            return ()
        return tuple(Known(self.cache.value(self.records, item.digest), item.digest) for item in history.versions)

    def _newest(self, subject: Subject, code: str) -> Known[Any] | None:
        history = self.records.get(DirectoryHistory, int(subject), code)
        if history is None:
            return None
        digest = history.versions[0].digest
        return Known(self.cache.value(self.records, digest), digest)


def newest_valid(entries: Sequence[KeyEntry], at_ms: int) -> KeyEntry | None:
    """The valid entry that began last, None when none is valid; for keys that are used, not judged."""
    valid = [e for e in entries if not e.revoked_ms and e.from_ms - CLOCK_SKEW_MS <= at_ms < e.until_ms]
    return max(valid, key=lambda entry: (entry.from_ms, entry.key_id), default=None)
