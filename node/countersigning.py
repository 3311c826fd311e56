"""Adding the signatures that a directory record still lacks, and only those.

Obeys DECISIONS "Signed thing" ("threshold and endorsement are further signatures on the same
thing"). A key signs a thing only where the rules of `protocol/trust.py` ask for it: as one of
the registrar's or root's keys, or as an endorser. Used by the authority and by centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from protocol.court import signers_of
from protocol.directory import (
    AGENCY_REQUEST,
    CENTRE_REQUEST,
    FORMATS,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Numbered,
    Root,
    check,
    not_a_record,
)
from protocol.directory_import import Terms, import_things
from protocol.directory_view import WIRE_BYTES_MAX, DirectoryView, RecordCache
from protocol.endorsement import agency_endorsers, centre_endorsers
from protocol.entitlement import registrar as find_registrar
from protocol.entitlement import role_keys
from protocol.errors import NotNow, TrucError
from protocol.limits import SIGNATURES_MAX
from protocol.signing import Signed, Signer, Verifier, countersign
from protocol.staged import Staged


def thing(wire: bytes) -> Signed:
    """A signed thing of the directory, unread. Raises: FormatError."""
    return Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)


def _check_statement(signed: Signed) -> None:
    form = FORMATS.get(signed.format)
    if form is None or form in {CENTRE_REQUEST, AGENCY_REQUEST}:
        raise not_a_record(signed.format)
    check(form.decode(signed.statement))


def merged(known: Signed | None, other: Signed) -> Signed:
    """One thing with the signatures of both copies, as far as there is room; the known ones stay."""
    if known is None:
        return other
    by_key = {item.key_id: item for item in known.signatures}
    for item in other.signatures:
        if len(by_key) < SIGNATURES_MAX:
            by_key.setdefault(item.key_id, item)
    return replace(known, signatures=tuple(by_key[key_id] for key_id in sorted(by_key)))


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A thing, and whether it gained a signature."""

    signed: Signed
    gained: bool


def endorse(things: Sequence[bytes], signers: Sequence[Signer], now_ms: int) -> list[Endorsed]:
    """Add the signatures that a centre's keys are asked for, by the tree in the same file.

    The file's own first root serves to find out what is asked; believing is up to whoever imports.

    Raises:
        NotNow: `directory_no_root`.
        FormatError: a thing cannot be read.
    """
    all_signed = [thing(wire) for wire in things]
    roots = [signed for signed in all_signed if signed.format == ROOT.name]
    if not roots:
        raise NotNow("directory_no_root")
    first = min(roots, key=lambda signed: ROOT.decode(signed.statement).version)
    records = Staged()
    result = import_things(
        things,
        records,
        anchor=first.digest,
        verifier=Verifier(),
        now_ms=now_ms,
        cache=RecordCache(),
        terms=Terms(joining_ms=0, as_of_ms=now_ms),
    )
    records.stage(result.changes)
    view = DirectoryView(records)
    complete = [sign_where_asked(signed, signers, view) for signed in all_signed]
    return [Endorsed(after, after != before) for before, after in zip(all_signed, complete, strict=True)]


def sign_where_asked(signed: Signed, signers: Iterable[Signer], view: DirectoryView) -> Signed:
    """The thing with the signatures of those signers whom the rules ask for one. Raises: FormatError."""
    _check_statement(signed)
    asked = wanted_keys(signed, view)
    for signer in signers:
        if signer.public.key_id in asked and not signed.has_signature_of(signer.public.key_id):
            signed = countersign(signed, signer)
    return signed


def wanted_keys(signed: Signed, view: DirectoryView) -> set[bytes]:
    """The key ids whose signatures are still asked for on this thing.

    None unless one of the registrar's own keys has signed it already: anybody can write a file
    that names a registrar, and its keys must not turn that into a record.
    """
    value = FORMATS[signed.format].decode(signed.statement)
    try:
        if isinstance(value, Root):
            return _root_ids(signed, value, view)
        if isinstance(value, CentreRecord | AgencyRecord):
            return _registrar_ids(signed, value, view) | _endorser_ids(value, view)
    except TrucError:  # nobody whom we know has begun it, or what it needs is not known yet
        return set()
    return set()


def _root_ids(signed: Signed, value: Root, view: DirectoryView) -> set[bytes]:
    versions = view.root_versions()
    if not versions:
        raise NotNow("directory_no_root")
    present = role_keys(versions[0].value, ROLE_ROOT, value.created_ms)
    signers_of(signed, present, Verifier(), needed=1)
    return {*present, *role_keys(value, ROLE_ROOT, value.created_ms)}


def _registrar_ids(signed: Signed, value: Numbered, view: DirectoryView) -> set[bytes]:
    role = find_registrar(view, value.registrar, value.created_ms)
    begun = signers_of(signed, role.keys.keys, Verifier(), needed=1)
    return set(role.keys.keys) if len(begun) < role.threshold else set()


def _endorser_ids(value: Numbered, view: DirectoryView) -> set[bytes]:
    if isinstance(value, CentreRecord):
        centre = view.find_centre(value.code)
        found = centre_endorsers(centre.value, value) if centre is not None else None
    else:
        agency = view.find_agency(value.code)
        found = agency_endorsers(view, agency.value, value) if agency is not None else None
    return set() if found is None else set(found.keys)
