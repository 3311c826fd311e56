"""A file that proves what happened to one consignment, and the off-line verifier for it.

Obeys `spec/evidence.md`. The file holds the signed things verbatim and the directory records that
show whose keys signed them; the verifier needs nothing else but the digest of a root version:

    python -m protocol.evidence FILE --root DIGEST

Which records belong into a file is `protocol/evidence_records.py`; what is printed,
`protocol/evidence_text.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, TypeVar

from protocol import limits
from protocol.body_digest import body_digest
from protocol.consignment import CONSIGNMENT, Consignment, check_consignment
from protocol.court import Court
from protocol.directory import AGENCY, CENTRE, ROOT, AgencyRecord, CentreRecord, Root
from protocol.directory_import import Terms, import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import Extensions, Format, Key, Meta, decode, encode
from protocol.entitlement import Purpose, revoked_ids
from protocol.envelope import ENVELOPE, HEADER, Envelope, Header, check_envelope, check_header
from protocol.errors import ConfigurationError, FormatError, NotNow, RequestError, TrucError, TrustError
from protocol.evidence_text import outcome_json, outcome_lines, proof_json, proof_lines
from protocol.receipt import CENTRE_CODES, RECEIPT, ChainHead, Receipt
from protocol.refusal import REFUSAL, Refusal, check_refusal
from protocol.sealing import committed_header_key, open_header
from protocol.signing import Signed, Verified, Verifier
from protocol.staged import Staged
from protocol.trust import judge_statement

T = TypeVar("T")

WIRE_BYTES_MAX: Final = limits.THING_BYTES_MAX
"""One signed thing: statement, signatures, inclusion paths."""

Wire = Annotated[bytes, Meta(max_length=WIRE_BYTES_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What stands in the file: wires of signed things; `refusal`, `header` and `content_key` may be empty."""

    envelope: Annotated[Wire, Key(1)]
    consignment: Annotated[Wire, Key(2)]
    receipts: Annotated[tuple[Wire, ...], Key(3), Meta(max_length=limits.CHAIN_RECEIPTS_MAX)] = ()
    refusal: Annotated[Wire, Key(4)] = b""
    directory: Annotated[tuple[Wire, ...], Key(5), Meta(max_length=limits.EVIDENCE_RECORDS_MAX)] = ()
    header: Annotated[bytes, Key(6), Meta(max_length=limits.HEADER_BYTES_MAX)] = b""
    content_key: Annotated[bytes, Key(7), Meta(max_length=32)] = b""
    extensions: Extensions = field(default_factory=dict)


EVIDENCE: Final = Format("truc/evidence/1", Evidence, bytes_max=limits.EVIDENCE_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a valid evidence file proves. `header` is there if the content key was disclosed."""

    envelope: Verified[Envelope]
    consignment: Verified[Consignment]
    receipts: tuple[Verified[Receipt], ...]
    refusal: Verified[Refusal] | None
    header: Header | None
    revoked: frozenset[bytes]
    """Keys that the file's records call revoked by now; what they signed before still counts."""
    signed_again: frozenset[bytes]
    """Digests of things proved only by a key that was listed after their time."""


# --- the file -------------------------------------------------------------------------------


def build_evidence(
    *,
    envelope: Signed,
    consignment: Signed,
    receipts: Sequence[Signed] = (),
    refusal: Signed | None = None,
    directory: Iterable[Signed],
    header: bytes = b"",
    content_key: bytes = b"",
) -> bytes:
    """The bytes of an evidence file; nothing is judged here.

    Disclosing the content key means handing over `header` (the sealed header) with it: whoever
    has the file can then read metadata and part keys.

    Raises:
        FormatError: `format_too_large`.
    """
    assert bool(header) == bool(content_key), "a disclosed header needs its key, and the key its header"
    evidence = Evidence(
        envelope=envelope.to_wire(),
        consignment=consignment.to_wire(),
        receipts=tuple(receipt.to_wire() for receipt in receipts),
        refusal=b"" if refusal is None else refusal.to_wire(),
        directory=tuple(sorted({record.to_wire() for record in directory})),
        header=header,
        content_key=content_key,
    )
    return encode([EVIDENCE.name, EVIDENCE.encode(evidence)])


def read_evidence(file: bytes) -> Evidence:
    """Read an evidence file without judging it.

    Raises:
        FormatError: as `Format.decode`, and `format_other` (no evidence file), `format_newer`.
    """
    value = decode(file, bytes_max=limits.EVIDENCE_BYTES_MAX)
    if type(value) is not list or [type(item) for item in value] != [str, bytes]:
        raise FormatError("format_other", found="?", wanted=EVIDENCE.name)
    name, statement = value
    if name != EVIDENCE.name:
        newer = name.rpartition("/")[0] == EVIDENCE.name.rpartition("/")[0]
        raise FormatError("format_newer") if newer else FormatError("format_other", found=name, wanted=EVIDENCE.name)
    evidence = EVIDENCE.decode(statement)
    if any(before >= after for before, after in pairwise(evidence.directory)):
        raise FormatError("format_field", field="directory", reason="not in ascending order")
    if bool(evidence.header) != bool(evidence.content_key) or len(evidence.content_key) not in (0, 32):
        raise FormatError("format_field", field="content_key", reason="header and 32-byte key belong together")
    return evidence


# --- the directory as it was -----------------------------------------------------------------


class _Past:
    """The directory of an evidence file, as it was at any moment.

    It is what a node knew that saw each record on its date; one without the endorsement it needs
    counts a day later (spec/trust.md §5). A key that was revoked later does not undo what it signed
    before, so every statement is judged by the records made up to its own time; only the root that
    is trusted always counts.
    """

    def __init__(self, wires: Sequence[bytes], root: bytes) -> None:
        self._root = root
        self._records = sorted(_dated(wire, index) for index, wire in enumerate(wires))
        self._views: dict[tuple[int, int], DirectoryView] = {}
        self._cache = RecordCache()
        self._verifier = Verifier()
        self._listed: dict[bytes, set[int]] = {}
        for created_ms, _, wire in self._records:
            for entry in _record(_thing(wire)).keys:
                moments = self._listed.setdefault(entry.key_id, set())
                moments |= {max(at_ms, entry.from_ms) for at_ms in (created_ms, created_ms + limits.PENDING_MS)}
        self.signed_again: set[bytes] = set()
        """Digests of things that are proved only by a key listed after their time."""
        self.latest_ms = max((created_ms for created_ms, _, _ in self._records), default=0)

    def at(self, time_ms: int) -> DirectoryView:
        """The directory at a time.

        Raises:
            TrustError: `evidence_root` (the trusted root is not in the file).
        """
        known = [wire for created_ms, digest, wire in self._records if self._counts(created_ms, digest, time_ms)]
        a_day_old = sum(created_ms + limits.PENDING_MS <= time_ms for created_ms, _, _ in self._records)
        if (len(known), a_day_old) not in self._views:
            imported = import_things(
                known,
                Staged(),
                anchor=self._root,
                verifier=self._verifier,
                now_ms=self.latest_ms,
                cache=self._cache,
                terms=Terms(as_of_ms=time_ms),
            )
            records = Staged()
            records.stage(imported.changes)
            self._views[len(known), a_day_old] = DirectoryView(records, self._cache)
        view = self._views[len(known), a_day_old]
        if view.root_digest() is None:
            raise TrustError("evidence_root", root=self._root.hex())
        return view

    def _counts(self, created_ms: int, digest: bytes, time_ms: int) -> bool:
        return created_ms <= time_ms + limits.CLOCK_SKEW_MS or digest == self._root

    def open(
        self, form: Format[T], signed: Signed, agency: str, purpose: Purpose, time_ms: int, epoch: int | None = None
    ) -> Verified[T]:
        """Verify a statement by the keys that spoke for an agency at its time; else, if it was signed again
        (`trust.md` §9), by a key that came later. Raises: TrustError, NotNow."""
        unproved: NotNow | None = None
        for at_ms in (time_ms, *self._later_moments(signed, time_ms)):
            court = Court(lookup=self.at(at_ms), verifier=self._verifier, now_ms=at_ms, anchor=self._root)
            try:
                basis = judge_statement(signed, court, agency=agency, purpose=purpose, created_ms=time_ms, epoch=epoch)
            except NotNow as error:
                unproved = unproved or error
                continue
            if at_ms > time_ms:
                self.signed_again.add(signed.digest)
            return Verified(value=form.decode(signed.statement), signed=signed, key_id=basis.key_id)
        assert unproved is not None
        raise unproved

    def _later_moments(self, signed: Signed, time_ms: int) -> Sequence[int]:
        """When keys that signed this thing were listed or became valid, after a time."""
        moments = {moment for item in signed.signatures for moment in self._listed.get(item.key_id, ())}
        return sorted(moment for moment in moments if moment > time_ms)

    def revoked(self) -> frozenset[bytes]:
        """Every key that the newest records call revoked."""
        view = self.at(self.latest_ms)
        found: frozenset[bytes] = frozenset()
        for _, digest, _ in self._records:
            thing = view.thing(digest)
            if thing is not None:
                found |= revoked_ids(_record(thing).keys)
        return found


_RECORDS: Final[dict[str, Format[Root] | Format[CentreRecord] | Format[AgencyRecord]]] = {
    ROOT.name: ROOT,
    CENTRE.name: CENTRE,
    AGENCY.name: AGENCY,
}


def _dated(wire: bytes, index: int) -> tuple[int, bytes, bytes]:
    """(time made, digest, wire) of a directory record."""
    with _at(f"directory[{index}]"):
        signed = _thing(wire)
        return _record(signed).created_ms, signed.digest, wire


def _thing(wire: bytes) -> Signed:
    return Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)


def _record(signed: Signed) -> Root | CentreRecord | AgencyRecord:
    form = _RECORDS.get(signed.format)
    if form is None:
        raise FormatError("directory_format", format=signed.format)
    return form.decode(signed.statement)


# --- verifying ------------------------------------------------------------------------------


def verify_evidence(file: bytes, *, root: bytes) -> Proof:
    """Verify a file against the digest of a root version that the reader trusts.

    Raises:
        FormatError: the file or a thing in it cannot be read.
        TrustError: `evidence_root` (that root is not in the file), `evidence_mismatch` (things that
            do not belong together), `evidence_unproved` (no record in the file shows that this
            key spoke for this agency), `receipt_chain_*`, `receipt_collected_twice`,
            `signature_*`, `commitment_wrong`, `header_damaged`.
    """
    evidence = read_evidence(file)
    past = _Past(evidence.directory, root)
    with _at("envelope"):
        envelope = _envelope(evidence, past)
    with _at("consignment"):
        consignment = _consignment(evidence, past, envelope)
    receipts = tuple(_receipts(evidence, past, consignment))
    with _at("refusal"):
        refusal = _refusal(evidence, past, consignment) if evidence.refusal else None
    with _at("header"):
        header = _header(evidence, envelope.value) if evidence.header else None
    return Proof(
        envelope=envelope,
        consignment=consignment,
        receipts=receipts,
        refusal=refusal,
        header=header,
        revoked=past.revoked(),
        signed_again=frozenset(past.signed_again),
    )


def _envelope(evidence: Evidence, past: _Past) -> Verified[Envelope]:
    signed, value = _read(ENVELOPE, evidence.envelope, check_envelope)
    return past.open(ENVELOPE, signed, value.issuer, Purpose.AGENCY, value.created_ms)


def _consignment(evidence: Evidence, past: _Past, envelope: Verified[Envelope]) -> Verified[Consignment]:
    signed, value = _read(CONSIGNMENT, evidence.consignment, check_consignment)
    _belongs("envelope", value.envelope, envelope.signed.digest)
    _belongs("issuer", value.issuer, envelope.value.issuer)
    return past.open(CONSIGNMENT, signed, value.issuer, Purpose.AGENCY, value.created_ms)


def _receipts(evidence: Evidence, past: _Past, consignment: Verified[Consignment]) -> Iterator[Verified[Receipt]]:
    head = ChainHead.start(consignment.value, consignment.signed.digest)
    for index, wire in enumerate(evidence.receipts):
        with _at(f"receipts[{index}]"):
            signed, value = _read(RECEIPT, wire)
            head = head.extend(value, signed.digest)
            purpose = Purpose.CENTRE if value.code in CENTRE_CODES else Purpose.AGENCY
            verified = past.open(RECEIPT, signed, value.recipient, purpose, value.time_ms, value.epoch)
        yield verified


def _refusal(evidence: Evidence, past: _Past, consignment: Verified[Consignment]) -> Verified[Refusal]:
    signed, value = _read(REFUSAL, evidence.refusal, check_refusal)
    _belongs("consignment", value.consignment, consignment.value.id)
    _belongs("envelope", value.envelope, consignment.value.envelope)
    _belongs("recipient", value.recipient, consignment.value.recipient)
    return past.open(REFUSAL, signed, value.recipient, Purpose.CENTRE, value.time_ms)


def _header(evidence: Evidence, envelope: Envelope) -> Header:
    header_key = committed_header_key(evidence.content_key, envelope.envelope_id, envelope.commitment)
    _belongs("header", body_digest(evidence.header), envelope.header_digest)
    header = HEADER.decode(open_header(header_key, evidence.header))
    check_header(header, envelope)
    return header


def _read(form: Format[T], wire: bytes, check: Callable[[T], None] | None = None) -> tuple[Signed, T]:
    signed = _thing(wire)
    if signed.format != form.name:
        raise FormatError("format_other", found=signed.format, wanted=form.name)
    value = form.decode(signed.statement)
    if check is not None:
        check(value)
    return signed, value


def _belongs(what: str, found: bytes | str, wanted: bytes | str) -> None:
    if found != wanted:
        raise TrustError("evidence_mismatch", field=what)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Say in which part of the file something was wrong; what is not proved here, never will be."""
    try:
        yield
    except NotNow as error:
        raise TrustError("evidence_unproved", field=where, reason=error.code) from error
    except (FormatError, TrustError, RequestError) as error:
        family = RequestError if isinstance(error, RequestError) else type(error)
        place = f"{where}.{error.field}" if error.field else where
        raise family(error.code, field=place, **error.detail) from error


# --- the command ----------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Verify one file and print what it proves; 0 valid, 1 not valid, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        proof = verify_evidence(_file(options.file), root=options.root)
    except TrucError as error:
        lines = [json.dumps(outcome_json(error))] if options.json else outcome_lines(error, options.lang)
        print("\n".join(lines))
        return 1
    lines = [json.dumps(proof_json(proof))] if options.json else proof_lines(proof, options.lang)
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m protocol.evidence", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--root", required=True, type=_digest, help="SHA-256 digest of the trusted root, in hexadecimal"
    )
    parser.add_argument("--lang", choices=("vi", "en"), default="vi")
    parser.add_argument("--json", action="store_true")
    return parser


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        raise ValueError(text)
    return digest


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.EVIDENCE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError("evidence_unreadable", path=str(path), reason=error.strerror or "?") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
