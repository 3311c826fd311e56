"""Makes `pki.json`: `python -m tests.support.pki_vectors`.

Statements of both formats with their bytes, and records judged at a moment. All keys are on curves and all
signatures deterministic (RFC 6979), so the file is the same whenever it is made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from protocol.credentials import (
    CREDENTIALS,
    ENDORSEMENT,
    EXTENSION,
    Credentials,
    Endorsement,
    Proof,
    judge,
)
from protocol.directory import AgencyRecord, Names
from protocol.encoding import Format
from protocol.errors import FormatError
from protocol.limits import DAY_MS
from protocol.pki import Anchors, read_certificate, read_crl
from tests.support.pki import NOW_MS, Holder, ec_key, issue, revocation_list
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

CODE, CENTRE, KEY = "H38", "00.03.W00", bytes([7]) * 32
ROOT: Final = issue("Root", ec_key(101), None, ca=True)
ISSUING: Final = issue("Issuing", ec_key(102), ROOT, ca=True, serial=2, policy=True)
HOLDER: Final = issue("Cơ quan H38", ec_key(103), ISSUING, serial=3, policy=True)
ROOT_LIST: Final = revocation_list(ROOT)
CLEAN_LIST: Final = revocation_list(ISSUING)
NAMING_LIST: Final = revocation_list(ISSUING, [(3, x509.ReasonFlags.key_compromise)])
OLD_LIST: Final = revocation_list(ISSUING, this_ms=NOW_MS - 9 * DAY_MS, next_ms=NOW_MS - DAY_MS)


def rows() -> list[Row]:
    """Statements, then judgements."""
    return [*_statements(), *_judgements()]


def _statements() -> list[Row]:
    endorsement = Endorsement(
        code=CODE, centre=CENTRE, key_id=KEY, certificate=HOLDER.read.digest, created_ms=NOW_MS - DAY_MS
    )
    later = replace(endorsement, extensions={200: "tương lai"})
    proof = HOLDER.proof(CODE, CENTRE, KEY)
    credentials = Credentials(certificates=(HOLDER.der, ISSUING.der), proofs=(proof,))
    return [
        _good("an endorsement", ENDORSEMENT, endorsement),
        _good("an endorsement with an extension", ENDORSEMENT, later),
        _good("credentials with an intermediate and a proof", CREDENTIALS, credentials),
        _good("credentials without proofs", CREDENTIALS, Credentials(certificates=(HOLDER.der,))),
        _bad("no certificates", CREDENTIALS, bytes.fromhex("810190")),
        _bad("five certificates", CREDENTIALS, bytes.fromhex("810195") + bytes.fromhex("c40130") * 5),
        _bad("a certificate of no bytes", CREDENTIALS, bytes.fromhex("810191c400")),
        _bad("an unknown key below 128", CREDENTIALS, bytes.fromhex("820191c401300301")),
        _bad("written proofs where there are none", CREDENTIALS, bytes.fromhex("820191c401300290")),
        _bad("more than 8,192 bytes", CREDENTIALS, bytes.fromhex("810191c401") + bytes(8_200)),
        _bad(
            "a key id of 31 bytes", ENDORSEMENT, ENDORSEMENT.encode(endorsement).replace(b"\xc4\x20\x07", b"\xc4\x1f")
        ),
        _bad("cut off", ENDORSEMENT, ENDORSEMENT.encode(endorsement)[:-1]),
    ]


def _good(name: str, form: Format[Any], value: Any) -> Row:
    return {"name": name, "format": form.name, "hex": form.encode(value).hex(), "fields": plain(value)}


def _bad(name: str, form: Format[Any], data: bytes) -> Row:
    try:
        form.decode(data)
    except FormatError as error:
        return {"name": name, "format": form.name, "hex": data.hex(), "error": error.code}
    raise AssertionError(name)


def _judgements() -> list[Row]:
    proof = HOLDER.proof(CODE, CENTRE, KEY)
    fine = _raw(HOLDER, proof)
    forged = replace(proof, signature=ISSUING.sign(proof.statement))
    return [
        _judged("everything in order", fine),
        _judged("no credentials", None),
        _judged("credentials that are no bytes", 7),
        _judged("a negative serial number", _with_serial(b"\x83")),
        _judged("a serial number of zero", _with_serial(b"\x00")),
        _judged("no anchors", fine, anchors=()),
        _judged("another anchor", fine, anchors=(ISSUING_OF_OTHERS.der,)),
        _judged("after the certificate's end", fine, at_ms=NOW_MS + 101 * DAY_MS),
        _judged("a proof from before the certificate", _raw(HOLDER, _dated(NOW_MS - 101 * DAY_MS))),
        _judged("a proof of tomorrow", _raw(HOLDER, _dated(NOW_MS + DAY_MS))),
        _judged("a proof for another code", _raw(HOLDER, HOLDER.proof("H39", CENTRE, KEY))),
        _judged("a proof for another centre", _raw(HOLDER, HOLDER.proof(CODE, "00.04.W00", KEY))),
        _judged("a proof for another key", _raw(HOLDER, HOLDER.proof(CODE, CENTRE, bytes(32)))),
        _judged("a proof that somebody else signed", _raw(HOLDER, forged)),
        _judged("revoked", fine, crls=(ROOT_LIST, NAMING_LIST)),
        _judged("an old list", fine, crls=(ROOT_LIST, OLD_LIST)),
        _judged("no list of the issuer", fine, crls=(ROOT_LIST,)),
    ]


def _with_serial(octet: bytes) -> bytes:
    """Credentials whose holder's certificate says another serial number than its issuer signed."""
    assert HOLDER.der.count(b"\xa0\x03\x02\x01\x02\x02\x01\x03") == 1
    der = HOLDER.der.replace(b"\xa0\x03\x02\x01\x02\x02\x01\x03", b"\xa0\x03\x02\x01\x02\x02\x01" + octet)
    return CREDENTIALS.encode(Credentials(certificates=(der,)))


ISSUING_OF_OTHERS: Final = issue("Root", ec_key(104), None, ca=True)


def _dated(created_ms: int) -> Proof:
    return HOLDER.proof(CODE, CENTRE, KEY, created_ms=created_ms)


def _raw(holder: Holder, *proofs: Proof) -> bytes:
    return CREDENTIALS.encode(Credentials(certificates=(holder.der,), proofs=proofs))


def _judged(
    name: str,
    value: Any,
    *,
    anchors: tuple[bytes, ...] = (ROOT.der,),
    crls: tuple[bytes, ...] = (ROOT_LIST, CLEAN_LIST),
    at_ms: int = NOW_MS,
) -> Row:
    row: Row = {
        "name": name,
        "code": CODE,
        "centre": CENTRE,
        "extension": value.hex() if isinstance(value, bytes) else value,
        "keys": [KEY.hex()],
        "anchors": [item.hex() for item in anchors],
        "intermediates": [ISSUING.der.hex()],
        "crls": [item.hex() for item in crls],
        "at_ms": at_ms,
    }
    return {**row, **dict(zip(("state", "error"), outcome_of(row), strict=True))}


def outcome_of(row: Row) -> tuple[str, str]:
    """State and code (empty when valid) of a judgement, found from the row alone."""
    value = row["extension"]
    record = AgencyRecord(
        registrar="level-1",
        generation=1,
        number=1,
        created_ms=NOW_MS,
        code=row["code"],
        names=Names(vi="Lạng Sơn"),
        host=row["centre"],
        epoch=1,
        extensions={} if value is None else {EXTENSION: bytes.fromhex(value) if isinstance(value, str) else value},
    )
    anchors = Anchors(
        anchors=tuple(read_certificate(bytes.fromhex(item)) for item in row["anchors"]),
        intermediates=tuple(read_certificate(bytes.fromhex(item)) for item in row["intermediates"]),
        crls=tuple(read_crl(bytes.fromhex(item)) for item in row["crls"]),
    )
    verdict = judge(record, [bytes.fromhex(key) for key in row["keys"]], anchors, row["at_ms"])
    return verdict.state, "" if verdict.error is None else verdict.error.code


def write(folder: Path = FOLDER) -> None:
    """Write the file."""
    (folder / "pki.json").write_text(written(rows()), encoding="utf-8")


if __name__ == "__main__":
    write()
