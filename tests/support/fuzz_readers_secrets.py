"""What the fuzz targets of sealing, certificates and texts do with bytes; as `fuzz_readers.py`."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.agency_code import (
    fold_code,
    fold_name,
    is_ancestor,
    is_new_form,
    is_old_form,
    level_one,
    parse_agency_code,
    read_agency_code,
    read_centre_code,
    search_name,
)
from protocol.credentials import CREDENTIALS, EXTENSION, judge
from protocol.directory import (
    AgencyRecord,
    Names,
)
from protocol.errors import FormatError, RequestError, TrustError
from protocol.limits import CHUNK_BYTES, TAG_BYTES
from protocol.part_name import check_media_type, check_part_name, check_part_names, compared_name
from protocol.pki import (
    Anchors,
    Certificate,
    check_dates,
    check_strength,
    check_usage,
    read_certificate,
    read_certificates,
    read_crl,
    verify_by,
)
from protocol.sealing import (
    PartOpener,
    SealingKey,
    open_all,
    open_header,
    open_stanza,
    seal_all,
    vault_open,
)
from protocol.textid import Prefix, from_bare_text, from_text, to_bare_text, to_text
from tests.support import fuzz_corpus as corpus
from tests.support.fuzz_machines import pieces
from tests.support.vectors import load

# --- sealing --------------------------------------------------------------------------------------

_KEY: Final = bytes(range(32))


def sealed_parts() -> list[bytes]:
    """Sealed parts of several lengths under one key, and the damaged ones of the vectors."""
    whole = [seal_all(_KEY, bytes(size)) for size in (0, 1, 40, 65_536, 65_537, 131_072)]
    first = seal_all(_KEY, bytes(CHUNK_BYTES + 1))[: CHUNK_BYTES + TAG_BYTES]
    behind = AESGCM(_KEY).encrypt((1).to_bytes(11, "big") + b"\x01", b"", None)  # a chunk of nothing behind a full one
    return [*whole, first, first + behind, *corpus.octets("sealing", "sealed")]


def sealed(octets: bytes) -> None:
    """At once and in pieces a part opens to the same, or to the same error; what opens has one sealed form."""
    opener = PartOpener(_KEY)
    try:
        in_pieces: Any = b"".join([opener.feed(piece) for piece in pieces(octets)]) + opener.finish()
    except TrustError as error:
        in_pieces = error.code
    try:
        plain = open_all(_KEY, octets)
    except TrustError as error:
        assert in_pieces == error.code
        open_header(_KEY, octets)
        raise AssertionError("a header that is no part") from error
    assert in_pieces == plain
    assert seal_all(_KEY, plain) == octets
    assert open_header(_KEY, octets) == plain


def stanza(octets: bytes) -> None:
    """A stanza of the vectors' key and context."""
    row = next(row for row in load("sealing") if row["kind"] == "stanza")
    open_stanza(_sealing_key(row["private"]), octets, bytes.fromhex(row["info"]))


@cache
def _sealing_key(private: str) -> SealingKey:
    return SealingKey(bytes.fromhex(private))


def vault(octets: bytes) -> None:
    """A wrapped secret."""
    assert len(vault_open(_KEY, b"content key", octets)) == len(octets) - 32


# --- the national PKI -----------------------------------------------------------------------------


@cache
def _pki_rows() -> list[dict[str, Any]]:
    return [row for row in load("pki") if "state" in row]


@cache
def _trusted() -> Anchors:
    row = _pki_rows()[0]
    return Anchors(
        anchors=tuple(read_certificate(bytes.fromhex(item)) for item in row["anchors"]),
        intermediates=tuple(read_certificate(bytes.fromhex(item)) for item in row["intermediates"]),
        crls=tuple(read_crl(bytes.fromhex(item)) for item in row["crls"]),
    )


def _pki_files(*names: str) -> list[bytes]:
    return list(dict.fromkeys(bytes.fromhex(item) for row in _pki_rows() for name in names for item in row[name]))


def _pem(kind: str, der: bytes) -> bytes:
    return f"-----BEGIN {kind}-----\n{b64encode(der).decode()}\n-----END {kind}-----\n".encode()


@cache
def certificates() -> list[bytes]:
    """Certificates in DER, and files in PEM."""
    ders = _pki_files("anchors", "intermediates")
    for octets in corpus.statements(CREDENTIALS):
        try:
            ders += CREDENTIALS.decode(octets).certificates
        except FormatError:
            continue
    ders = list(dict.fromkeys(ders))
    return [*ders, *(_pem("CERTIFICATE", der) for der in ders[:2]), b"".join(_pem("CERTIFICATE", der) for der in ders)]


def certificate(octets: bytes) -> None:
    """Certificates are read, and each goes through all that is looked at."""
    found = read_certificates(octets)
    if b"-----BEGIN" not in octets:
        assert found == (read_certificate(octets),)
        assert found[0].der == octets
    for one in found:
        _looked_through(one, _pki_rows()[0]["at_ms"])


def _looked_through(one: Certificate, at_ms: int) -> None:
    for crl in _trusted().crls:
        for issuer in (one, *_trusted().intermediates):
            if crl.covers(one, issuer):
                crl.reason_of(one)
    check_strength(one, holder=True)
    check_usage(one)
    check_dates(one, at_ms)
    with suppress(TrustError):
        verify_by(one, b"\x30\x06\x02\x01\x01\x02\x01\x01", b"text")
    _trusted().check_not_revoked(_trusted().path(one, (), at_ms), at_ms)


def revocation_lists() -> list[bytes]:
    """Lists in DER and PEM."""
    ders = _pki_files("crls")
    return [*ders, *(_pem("X509 CRL", der) for der in ders)]


def revocation_list(octets: bytes) -> None:
    """A list is read, and asked about every certificate that is known."""
    crl = read_crl(octets)
    assert isinstance(crl.issuer_name, str)
    crl.is_fresh(_pki_rows()[0]["at_ms"])
    everybody = (*_trusted().anchors, *_trusted().intermediates, *_holders())
    for one in everybody:
        for issuer in everybody:
            crl.covers(one, issuer)
        crl.reason_of(one)


@cache
def _holders() -> tuple[Certificate, ...]:
    return tuple(read_certificate(der) for der in certificates() if b"-----BEGIN" not in der and _reads(der))


def _reads(der: bytes) -> bool:
    try:
        read_certificate(der)
    except FormatError:
        return False
    return True


def credentials(octets: bytes) -> None:
    """Credentials in a record are judged: there is always a verdict, with a reason unless it is good."""
    row = _pki_rows()[0]
    record = AgencyRecord(
        registrar="level-1",
        generation=1,
        number=1,
        created_ms=row["at_ms"],
        code=row["code"],
        names=Names(vi="Lạng Sơn"),
        host=row["centre"],
        epoch=1,
        extensions={EXTENSION: octets},
    )
    verdict = judge(record, [bytes.fromhex(key) for key in row["keys"]], _trusted(), row["at_ms"])
    assert (verdict.state == "valid") == (verdict.error is None)
    if isinstance(verdict.error, FormatError):
        raise verdict.error


# --- texts ----------------------------------------------------------------------------------------


def _text(octets: bytes) -> str:
    """Any text, halves of surrogate pairs included: JSON can say them."""
    try:
        return octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def code(octets: bytes) -> None:
    """A code as local callers and statements say it; folding takes anything."""
    text = _text(octets)
    assert isinstance(fold_code(text) + fold_name(text) + search_name(text), str)
    is_ancestor(text, "H38.12")
    if text.count(".") == 2 and "W" in text:
        read_centre_code(text)
        return
    assert read_agency_code(text) == text
    assert parse_agency_code(text) == text and level_one(text)
    assert is_old_form(text) != is_new_form(text) or text.startswith("0")


_PREFIXES: Final[tuple[Prefix, ...]] = ("doc", "csg", "sys")


def textid(octets: bytes) -> None:
    """An id has one spelling."""
    text = _text(octets)
    for kind in _PREFIXES:
        try:
            raw = from_bare_text(kind, text)
        except RequestError:
            continue
        assert to_bare_text(kind, raw) == text
    kind = next((known for known in _PREFIXES if text.startswith(known)), "doc")
    assert to_text(kind, from_text(kind, text)) == text


def part_name(octets: bytes) -> None:
    """A file name; a media type."""
    text = _text(octets)
    assert isinstance(compared_name(text), str)
    for check in (check_media_type, _check_two_names):
        try:
            check(text)
        except RequestError:
            continue
    check_part_name(text)
    assert 0 < len(text.encode()) <= 255


def _check_two_names(text: str) -> None:
    check_part_names([(text, text), ("a.pdf", "application/pdf")])
