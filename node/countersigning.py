"""Adding the signatures that a directory record still lacks, and only those.

Obeys DECISIONS "Signed thing" ("threshold and endorsement are further signatures on the same
thing"; "one signature may cover a batch"). A key signs a thing only where the rules of
`protocol/trust.py` ask for it: as one of the registrar's or root's keys, or as an endorser. Used by
the authority and by centres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, check_checkpoint, check_fork, read_fork
from protocol.court import signers_of, subject_of
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
from protocol.encoding import Format
from protocol.endorsement import agency_endorsers, centre_endorsers
from protocol.entitlement import registrar as find_registrar
from protocol.entitlement import role_keys
from protocol.errors import FormatError, NotNow, TrucError
from protocol.limits import SIGNATURES_MAX
from protocol.prefix_tree import EMPTY
from protocol.signing import Signed, Signer, Verifier, sign_batch
from protocol.staged import Staged


def thing(wire: bytes) -> Signed:
    """A signed thing of the directory, unread. Raises: FormatError."""
    return Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)


def things_of(wire: bytes) -> tuple[Signed, ...]:
    """A thing, unread; of a fork proof the two things that prove it. Raises: FormatError."""
    proof = read_fork(wire)
    if proof is None:
        return (thing(wire),)
    claim = check_fork(proof)
    return claim.first, claim.second


def records_in(wires: Iterable[bytes]) -> list[Signed]:
    """The things of a file that may need further signatures: heartbeats and fork proofs never do.

    Raises:
        FormatError: a thing cannot be read.
    """
    read = [thing(wire) for wire in wires if read_fork(wire) is None]
    return [signed for signed in read if signed.format != HEARTBEAT.name]


_READABLE: Final[dict[str, Format[Any]]] = {**FORMATS, CHECKPOINT.name: CHECKPOINT}


def check_statement(signed: Signed) -> None:
    """Return if this is a well-formed record, root, checkpoint, node record or lock. Raises: FormatError."""
    form = _READABLE.get(signed.format)
    if form is None or form in {CENTRE_REQUEST, AGENCY_REQUEST}:
        raise not_a_record(signed.format)
    value = form.decode(signed.statement)
    if isinstance(value, Checkpoint):
        check_checkpoint(value)
    else:
        check(value)


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
    all_signed = records_in(things)
    complete = sign_where_asked(all_signed, signers, view_of(things, now_ms))
    return [Endorsed(after, after != before) for before, after in zip(all_signed, complete, strict=True)]


def view_of(things: Sequence[bytes], now_ms: int) -> DirectoryView:
    """The tree in a file, under its own first root, as somebody would believe it who saw each thing on its date.

    Raises:
        NotNow: `directory_no_root`.
        FormatError: a thing cannot be read.
    """
    roots = [signed for signed in records_in(things) if signed.format == ROOT.name]
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
    return DirectoryView(records)


def sign_where_asked(
    things: Sequence[Signed],
    signers: Iterable[Signer],
    view: DirectoryView,
    *,
    verifier: Verifier | None = None,
    may_sign: Callable[[Signed], bool] = lambda _: True,
    anchor: bytes = EMPTY,
) -> list[Signed]:
    """The things, in the same order, with the signatures of those signers whom the rules ask for one.

    One signature of a key covers all things of one format. `may_sign`: what must not be signed here
    whatever the rules ask for. `anchor`: the root that may still lack signatures itself. Raises: FormatError.
    """
    verifier = verifier if verifier is not None else Verifier()
    for signed in things:
        check_statement(signed)
    asked = [
        wanted_keys(signed, view, verifier, anchor=anchor) if may_sign(signed) else frozenset() for signed in things
    ]
    complete = list(things)
    for signer in signers:
        key_id = signer.public.key_id
        places = [n for n, keys in enumerate(asked) if key_id in keys and not complete[n].has_signature_of(key_id)]
        for n, signed in zip(places, countersigned([complete[n] for n in places], signer), strict=True):
            complete[n] = signed
    return complete


def countersigned(things: Sequence[Signed], signer: Signer) -> list[Signed]:
    """The same things, each with a further signature: one over all of a format.

    Raises:
        FormatError: `format_field` (sixteen other keys have signed one of them already).
    """
    complete = list(things)
    for form in dict.fromkeys(signed.format for signed in things):
        places = [n for n, signed in enumerate(things) if signed.format == form]
        batch = sign_batch(form, [things[n].statement for n in places], signer)
        for n, further in zip(places, batch, strict=True):
            complete[n] = merged(things[n], further)
            if not complete[n].has_signature_of(signer.public.key_id):
                raise FormatError("format_field", field="signatures", reason="1 to 16 signatures")
    return complete


def signed_together(statements: Sequence[tuple[str, bytes]], signers: Sequence[Signer]) -> list[Signed]:
    """Things of these formats and statements in the same order, signed by each of these (at least one)."""
    first, *others = signers
    made: list[Signed | None] = [None] * len(statements)
    for form in dict.fromkeys(name for name, _ in statements):
        places = [n for n, (name, _) in enumerate(statements) if name == form]
        batch = sign_batch(form, [statements[n][1] for n in places], first)
        for n, signed in zip(places, batch, strict=True):
            made[n] = signed
    complete = [signed for signed in made if signed is not None]
    for signer in others:
        complete = countersigned(complete, signer)
    return complete


def wanted_keys(signed: Signed, view: DirectoryView, verifier: Verifier, *, anchor: bytes = EMPTY) -> frozenset[bytes]:
    """The key ids whose signatures are still asked for on this thing.

    None unless one of the registrar's own keys has signed it already: anybody can write a file
    that names a registrar, and its keys must not turn that into a record. None either for what
    counts already, or counted once.
    """
    value = _READABLE[signed.format].decode(signed.statement)
    try:
        if isinstance(value, Root):
            return _root_ids(signed, value, view, verifier, anchor)
        if isinstance(value, Checkpoint):
            return _registrar_ids(signed, value, view, verifier)
        if isinstance(value, CentreRecord | AgencyRecord) and not _is_settled(signed, value, view):
            return _registrar_ids(signed, value, view, verifier) | _endorser_ids(value, view)
    except TrucError:  # nobody whom we know has begun it, or what it needs is not known yet
        return frozenset()
    return frozenset()


def _is_settled(signed: Signed, value: Numbered, view: DirectoryView) -> bool:
    row = view.pending(subject_of(value), value.code)
    return view.was_accepted(signed.digest) and (row is None or row.digest != signed.digest)


def _root_ids(signed: Signed, value: Root, view: DirectoryView, verifier: Verifier, anchor: bytes) -> frozenset[bytes]:
    """Of the next version only: a number that is taken, or that leaves one out, gets no signature."""
    versions = view.root_versions()
    if not versions and signed.digest != anchor:
        raise NotNow("directory_no_root")
    before = versions[0].value if versions else value
    if versions and value.version != before.version + 1:
        return frozenset()
    present = role_keys(before, ROLE_ROOT, value.created_ms)
    signers_of(signed, present, verifier, needed=1)
    return frozenset({*present, *role_keys(value, ROLE_ROOT, value.created_ms)})


def _registrar_ids(
    signed: Signed, value: Numbered | Checkpoint, view: DirectoryView, verifier: Verifier
) -> frozenset[bytes]:
    role = find_registrar(view, value.registrar, value.created_ms)
    begun = signers_of(signed, role.keys.keys, verifier, needed=1)
    return frozenset(role.keys.keys) if len(begun) < role.threshold else frozenset()


def _endorser_ids(value: Numbered, view: DirectoryView) -> frozenset[bytes]:
    if isinstance(value, CentreRecord):
        centre = view.find_centre(value.code)
        found = centre_endorsers(centre.value, value) if centre is not None else None
    else:
        agency = view.find_agency(value.code)
        found = agency_endorsers(view, agency.value, value) if agency is not None else None
    return frozenset() if found is None else frozenset(found.keys)
