"""One signing act of a registrar: the records it will sign together, under one date.

Obeys DESIGN §3 ("a registrar numbers everything it signs"; "one signature may cover a batch") and
`protocol/spec/trust.md` §5. Nothing is numbered, signed or written here: an act that turns out to
be impossible leaves no trace. Each next version starts from the newest one known, pending ones
included, so that no change takes another back by accident. Signing is `authority.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from node.authority_log import Issued
from protocol.agency_code import is_new_form
from protocol.credentials import EXTENSION, credentials_in, endorsing, read_credentials
from protocol.directory import AgencyRecord, CentreRecord, Delegation, KeyEntry, Names, Numbered, RecordState, check
from protocol.entitlement import Registrar
from protocol.errors import ConfigurationError, RequestError, TrustError
from protocol.requests import check_agency_request, check_centre_request
from protocol.signing import Signed


class Act:
    """Records of one registrar and one moment, in the order in which they will be numbered."""

    def __init__(self, issued: Issued, by: Registrar, at_ms: int) -> None:
        self._issued: Final = issued
        self.by: Final = by
        self.at_ms: Final = at_ms
        self.heartbeat: tuple[KeyEntry, ...] | None = None
        """The keys that may repeat the checkpoint; None: those of the checkpoint before."""
        self._records: list[Numbered] = []
        self._named: dict[tuple[type, str], Numbered] = {}
        self.taken_out: list[str] = []
        """Centres whose certificate endorses none of the keys that count from now on, and stays behind."""

    def __len__(self) -> int:
        return len(self._records)

    def parts(self, most: int, first: int) -> Iterator[list[Numbered]]:
        """The records with their numbers, from `first` on, so many at a time; a number is left free after each
        part. One empty part if there are none."""
        for at in range(0, max(1, len(self._records)), most):
            part = self._records[at : at + most]
            yield [replace(record, number=number) for number, record in enumerate(part, first)]
            first += len(part) + 1

    # --- centres ----------------------------------------------------------------------------

    def register_centre(self, request: Signed) -> None:
        """The record of a centre from its request; a known centre's keys are rotated.

        What the request does not speak of stays: the state, and every extension (spec/pki.md §7). Of a request's
        extensions only credentials are taken over: a registrar signs nothing that it cannot read.

        Raises:
            FormatError, TrustError: the request is not sound (`directory_possession`, `pki_malformed`), or
                the registrar may not register it (`directory_not_entitled`).
            ConfigurationError: `authority_repeated`.
        """
        wanted = check_centre_request(request, self._issued.verifier)
        known = self._issued.centre(wanted.code)
        old = known.value if known is not None else None
        record = CentreRecord(
            **self._numbering(),
            code=wanted.code,
            names=wanted.names,
            peer_id=wanted.peer_id,
            keys=wanted.keys if old is None else rotated(old.keys, wanted.keys, self.at_ms),
            sealing=wanted.sealing if old is None else rotated(old.sealing, wanted.sealing, self.at_ms),
            state=RecordState.ACTIVE if old is None else old.state,
            extensions={**({} if old is None else old.extensions), **credentials_in(wanted.extensions)},
        )
        if old is None or EXTENSION in wanted.extensions:
            read_credentials(record)
        kept = record if old is None else endorsing(record, self.at_ms)
        self._add(kept)
        if EXTENSION in record.extensions and EXTENSION not in kept.extensions:
            self.taken_out.append(record.code)

    def change_centre(self, code: str, **changes: Any) -> None:
        """The next version of a centre's record with some fields changed. Raises: as `change_agency`."""
        self._add(replace(self.centre(code), **{**self._numbering(), **changes}))

    def centre(self, code: str) -> CentreRecord:
        """The version of a centre's record that the next one starts from. Raises: RequestError `centre_unknown`."""
        known = self._issued.centre(code)
        if known is None:
            raise RequestError("centre_unknown", code=code)
        return known.value

    # --- agencies ---------------------------------------------------------------------------

    def register_agency(
        self,
        *,
        code: str,
        names: Names,
        host: str,
        parent: str | None = None,
        kind: str = "",
        aliases: Sequence[str] = (),
        decision: str = "",
        keys: tuple[KeyEntry, ...] = (),
        delegation: Delegation | None = None,
        extensions: Mapping[int, Any] = MappingProxyType({}),
    ) -> None:
        """The first record of an agency; its centre must be registered, or in the same act.

        Raises:
            RequestError: `centre_unknown`.
            FormatError: `format_field` and others (a wrong code, name, parent), `pki_malformed`.
            TrustError: `directory_not_entitled`.
            ConfigurationError: `authority_registered`, `authority_repeated`.
        """
        if self._issued.agency(code) is not None:
            raise ConfigurationError("authority_registered", code=code)
        self._check_host(host)
        record = AgencyRecord(
            **self._numbering(),
            code=code,
            names=names,
            host=host,
            epoch=1,
            parent=default_parent(code) if parent is None else parent,
            kind=kind,
            aliases=tuple(aliases),
            decision=decision,
            keys=keys,
            delegation=delegation if delegation is not None else Delegation(),
            extensions=dict(extensions),
        )
        read_credentials(record)
        self._add(record)

    def register_request(self, request: Signed) -> None:
        """The first record of an agency from its request. Raises: as `register_agency`, and
        TrustError: `directory_possession`, `signature_invalid`."""
        wanted = check_agency_request(request, self._issued.view, self._issued.verifier)
        self.register_agency(
            code=wanted.code,
            names=wanted.names,
            host=wanted.host,
            parent=wanted.parent,
            kind=wanted.kind,
            aliases=wanted.aliases,
            decision=wanted.decision,
            keys=wanted.keys,
            delegation=wanted.delegation,
            extensions=credentials_in(wanted.extensions),
        )

    def change_agency(self, code: str, **changes: Any) -> None:
        """The next version of an agency's record with some fields changed; a new host gets the next epoch.

        It starts from the pending version where there is one: going back to the host in force is
        a move as well, under an epoch above the pending one.

        Raises:
            RequestError: `agency_unknown`, `centre_unknown`.
            FormatError: `format_field` and others.
            TrustError: `directory_not_entitled`.
            ConfigurationError: `authority_repeated`.
        """
        old = self.agency(code)
        host = changes.get("host", old.host)
        if host != old.host:
            self._check_host(host)
            changes["epoch"] = old.epoch + 1
        self._add(replace(old, **{**self._numbering(), **changes}))

    def close_agency(self, code: str, successors: Sequence[str] = ()) -> None:
        """Close a code, naming who answers for it now. Raises: as `change_agency`."""
        self.change_agency(code, state=RecordState.CLOSED, successors=tuple(successors))

    def has_agency(self, code: str) -> bool:
        """Whether this act has a record of this agency."""
        return (AgencyRecord, code) in self._named

    def agency(self, code: str) -> AgencyRecord:
        """The version of an agency's record that the next one starts from. Raises: RequestError `agency_unknown`."""
        known = self._issued.agency(code)
        if known is None:
            raise RequestError("agency_unknown", code=code)
        return known.value

    # --- the same again ---------------------------------------------------------------------

    def repeat(self, record: Numbered) -> None:
        """What a record says, anew under this act's generation and date; also twice about one code."""
        self._check_entitled(record)
        self._records.append(replace(record, **self._numbering()))

    # --- pieces -----------------------------------------------------------------------------

    def _numbering(self) -> dict[str, Any]:
        """The number is given when the act is signed."""
        return {
            "registrar": self.by.name,
            "generation": self.by.generation,
            "number": 1,
            "created_ms": self.at_ms,
        }

    def _add(self, record: Numbered) -> None:
        check(record)
        self._check_entitled(record)
        about = (type(record), record.code)
        if about in self._named:
            raise ConfigurationError("authority_repeated", code=record.code)
        self._named[about] = record
        self._records.append(record)

    def _check_entitled(self, record: Numbered) -> None:
        covers = self.by.covers_centres() if isinstance(record, CentreRecord) else self.by.covers_agency(record.code)
        if not covers:
            raise TrustError("directory_not_entitled", registrar=self.by.name, code=record.code)

    def _check_host(self, host: str) -> None:
        if (CentreRecord, host) not in self._named:
            self.centre(host)


def default_parent(code: str) -> str:
    """The code without its last component; none for a code of the old form, whose order is data."""
    return code.rpartition(".")[0] if is_new_form(code) else ""


def rotated(old: Sequence[KeyEntry], new: Sequence[KeyEntry], at_ms: int) -> tuple[KeyEntry, ...]:
    """New entries first; old ones that are not among them stay listed and end now.

    A key that was listed before and is not revoked keeps its entry: nothing about it changes.
    """
    fresh = {entry.key_id for entry in new}
    before = {entry.key_id: entry for entry in old if not entry.revoked_ms}
    ended = [
        replace(entry, until_ms=max(entry.from_ms + 1, min(entry.until_ms, at_ms)))
        for entry in old
        if entry.key_id not in fresh
    ]
    return (*(before.get(entry.key_id, entry) for entry in new), *ended)


def revoked(entries: Iterable[KeyEntry], key_ids: set[bytes], at_ms: int, compromised_ms: int) -> tuple[KeyEntry, ...]:
    """The entries, those of these keys revoked now, or since before; `compromised_ms` 0: not known to be."""
    return tuple(_revoked(entry, at_ms, compromised_ms) if entry.key_id in key_ids else entry for entry in entries)


def _revoked(entry: KeyEntry, at_ms: int, compromised_ms: int) -> KeyEntry:
    revoked_ms = entry.revoked_ms or at_ms
    since_ms = min(filter(None, (entry.compromised_ms, compromised_ms)), default=0)
    return replace(entry, revoked_ms=revoked_ms, compromised_ms=min(since_ms, revoked_ms))
