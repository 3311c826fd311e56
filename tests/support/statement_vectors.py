"""Makes the vectors of envelope, header, consignment, receipt and refusal: `python -m tests.support.statement_vectors`.

A vector is `{"name", "hex", "fields", …}` or, where reading or checking must fail, `{"name", "hex", "error",
"field", "detail"}` (no detail where a library words it).
The committed files are the format; a test compares them with what this module makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from protocol.consignment import CONSIGNMENT, check_consignment
from protocol.encoding import Format, decode, encode
from protocol.envelope import ENVELOPE, HEADER, EnvelopeKind, check_envelope
from protocol.errors import TrucError
from protocol.receipt import RECEIPT, check_receipt
from protocol.refusal import REFUSAL, check_refusal
from protocol.signing import thing_digest
from tests.support import samples

FOLDER: Final = Path(__file__).parent.parent / "vectors"

Vector = dict[str, Any]
Wire = dict[int, Any]

FORMATS: Final[dict[str, tuple[Format[Any], Callable[[Any], None] | None]]] = {
    "envelope": (ENVELOPE, check_envelope),
    "header": (HEADER, None),
    "consignment": (CONSIGNMENT, check_consignment),
    "receipt": (RECEIPT, check_receipt),
    "refusal": (REFUSAL, check_refusal),
}


def plain(value: Any) -> Any:
    """A statement as JSON: bytes in hexadecimal, wire defaults included, extensions by their key."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, IntEnum) else value


def _good(kind: str, name: str, value: Any) -> Vector:
    format_ = FORMATS[kind][0]
    statement = format_.encode(value)
    digest = thing_digest(format_.name, statement).hex()
    extra = {"id": value.id.hex()} if kind == "consignment" else {}
    return {"name": name, "hex": statement.hex(), "fields": plain(value), "thing_digest": digest, **extra}


def _bad(name: str, error: str, statement: bytes) -> Vector:
    return {"name": name, "hex": statement.hex(), "error": error}


def _edited(kind: str, value: Any, edit: Callable[[Wire], None]) -> bytes:
    """The bytes of a statement whose wire map was tampered with."""
    wire = decode(FORMATS[kind][0].encode(value), bytes_max=2**20)
    edit(wire)
    return encode(wire)


def _without(key: int) -> Callable[[Wire], None]:
    return lambda wire: wire.__delitem__(key)


def _with(key: int, item: Any) -> Callable[[Wire], None]:
    return lambda wire: wire.__setitem__(key, item)


def _shape_mistakes(kind: str, value: Any, compulsory: int) -> list[Vector]:
    """What every format refuses in the same words."""
    statement = FORMATS[kind][0].encode(value)
    return [
        _bad("empty", "format_malformed", b""),
        _bad("cut short", "format_malformed", statement[:-1]),
        _bad("trailing byte", "format_malformed", statement + b"\x00"),
        _bad("an array instead of a map", "format_field", encode([1, 2])),
        _bad("a compulsory field is missing", "format_field", _edited(kind, value, _without(compulsory))),
        _bad("a field has another type", "format_field", _edited(kind, value, _with(compulsory, True))),
        _bad("an unknown key below 128", "format_newer", _edited(kind, value, _with(127, 1))),
        _bad(
            "the map's size in a longer form",
            "format_not_canonical",
            b"\xde\x00" + bytes([statement[0] & 15]) + statement[1:],
        ),
    ]


def _envelopes() -> list[Vector]:
    base = samples.envelope()
    changed = samples.envelope
    day_90 = base.created_ms + 90 * 86_400_000

    def bad(name: str, error: str, **changes: Any) -> Vector:
        return _bad(name, error, ENVELOPE.encode(changed(**changes)))

    return [
        _good("envelope", "new document, one part", base),
        _good("envelope", "three parts, an extension", changed(3, extensions={128: "later", 200: [1, b"\x00"]})),
        _good(
            "envelope", "update of another envelope", changed(kind=EnvelopeKind.UPDATE, reference=samples.digest("old"))
        ),
        _good(
            "envelope",
            "take-back without parts",
            changed(0, kind=EnvelopeKind.TAKE_BACK, reference=samples.digest("old")),
        ),
        _good("envelope", "expires after exactly 90 days", changed(expires_ms=day_90)),
        _good("envelope", "expires after a millisecond", changed(expires_ms=base.created_ms + 1)),
        _good("envelope", "the smallest header", changed(header_size=16)),
        _good("envelope", "the largest header", changed(header_size=131_072)),
        *_shape_mistakes("envelope", base, 2),
        _bad("default kind written out", "format_not_canonical", _edited("envelope", base, _with(6, 0))),
        bad("lane 4", "envelope_lane_unknown", lane=4),
        bad("kind 5", "envelope_kind_unknown", kind=5),
        bad("expires when it is created", "envelope_expiry", expires_ms=base.created_ms),
        bad("expires a millisecond after 90 days", "envelope_expiry", expires_ms=day_90 + 1),
        bad("a new document with a reference", "envelope_reference", reference=samples.digest("old")),
        bad("a take-back without reference", "envelope_reference", kind=EnvelopeKind.TAKE_BACK),
        bad("a reference of 31 bytes", "envelope_reference", kind=EnvelopeKind.UPDATE, reference=bytes(31)),
        bad("no part", "envelope_parts_missing", parts=()),
        _bad("501 parts", "envelope_too_many_parts", ENVELOPE.encode(changed(501))),
        bad("one part twice", "envelope_part_repeated", parts=base.parts * 2),
        bad("a part of 15 bytes", "envelope_part_size", parts=(dataclasses.replace(base.parts[0], size=15),)),
        bad(
            "a part whose last chunk is empty",
            "envelope_part_size",
            parts=(dataclasses.replace(base.parts[0], size=65_568),),
        ),
        bad("a part above one tebibyte", "envelope_part_size", parts=(dataclasses.replace(base.parts[0], size=2**41),)),
        bad("a header of 0 bytes", "envelope_header_size", header_size=0),
        bad("a header above 128 KiB", "envelope_header_size", header_size=131_073),
    ]


def _headers() -> list[Vector]:
    base = samples.header()
    bare = dataclasses.replace(base, metadata=dataclasses.replace(_bare_metadata()))
    long_name = dataclasses.replace(base.parts[0], name="x" * 256)
    return [
        _good("header", "every field of the metadata", base),
        _good("header", "only what is compulsory", bare),
        _good("header", "foreign edXML elements", samples.header(metadata=samples.metadata(extensions={128: "<x/>"}))),
        _good("header", "no part", samples.header(0)),
        *_shape_mistakes("header", base, 2),
        _bad("a system id of 15 bytes", "format_field", _edited("header", base, _with(3, bytes(15)))),
        _bad("metadata without secrecy", "format_field", _edited("header", base, lambda wire: wire[1].__delitem__(9))),
        _bad(
            "metadata with an unknown key",
            "format_newer",
            _edited("header", base, lambda wire: wire[1].__setitem__(19, 1)),
        ),
        _bad(
            "a subject of 501 characters",
            "format_field",
            _edited("header", base, lambda wire: wire[1].__setitem__(6, "x" * 501)),
        ),
        _bad(
            "a part name of 256 characters",
            "format_field",
            _edited("header", base, lambda wire: wire[4][0].__setitem__(2, long_name.name)),
        ),
    ]


def _bare_metadata() -> Any:
    return type(samples.metadata())(type="Công văn", subject="V/v họp", secrecy="none")


def _consignments() -> list[Vector]:
    base = samples.consignment()
    return [
        _good("consignment", "G12 to H38", base),
        _good("consignment", "old form codes", samples.consignment(issuer="000.00.00.G12", recipient="000.05.12.H38")),
        _good("consignment", "an extension", samples.consignment(extensions={128: 1})),
        *_shape_mistakes("consignment", base, 2),
        _bad("empty issuer", "format_field", _edited("consignment", base, _with(2, ""))),
        _bad("an envelope digest of 33 bytes", "format_field", _edited("consignment", base, _with(1, bytes(33)))),
        _bad("a negative time", "format_field", _edited("consignment", base, _with(4, -1))),
        _bad("to itself", "consignment_to_itself", CONSIGNMENT.encode(samples.consignment(recipient="G12"))),
    ]


def _receipts() -> list[Vector]:
    links = [receipt for receipt, _ in samples.chain(1, 100, 3, 15, 6)]
    base, agreed = links[0], links[3]
    returned = samples.chain(1, 2)[1][0]

    def bad(name: str, error: str, value: Any) -> Vector:
        return _bad(name, error, RECEIPT.encode(value))

    return [
        *(_good("receipt", f"link {link.sequence} of a chain: {link.code:02d}", link) for link in links),
        _good(
            "receipt",
            "returned with a reason and staff",
            dataclasses.replace(returned, staff_name="Lê Văn C", staff_position="Văn thư"),
        ),
        *_shape_mistakes("receipt", base, 3),
        _bad("clock quality 3", "format_field", _edited("receipt", base, _with(14, 3))),
        bad("code 13", "receipt_code_unknown", dataclasses.replace(base, code=13)),
        bad("collected first", "receipt_not_arrived_first", dataclasses.replace(base, code=100)),
        bad("arrived again", "receipt_not_arrived_first", dataclasses.replace(base, sequence=1)),
        bad("returned, the reason is blank", "receipt_reason_missing", dataclasses.replace(returned, reason=" ")),
        bad("agreed to nothing", "receipt_request", dataclasses.replace(agreed, request=b"")),
        bad("arrived, with a request", "receipt_request", dataclasses.replace(base, request=samples.digest("request"))),
    ]


def _refusals() -> list[Vector]:
    base = samples.refusal()
    return [
        _good("refusal", "a part does not match", base),
        _good("refusal", "expired, without field and records", samples.refusal(code="expired", field="", judged_by=())),
        *_shape_mistakes("refusal", base, 3),
        _bad("a record digest of 31 bytes", "format_field", _edited("refusal", base, _with(6, [bytes(31)]))),
        _bad("seventeen records", "format_field", _edited("refusal", base, _with(6, [bytes(32)] * 17))),
        _bad("code not in the list", "refusal_code_unknown", REFUSAL.encode(samples.refusal(code="busy"))),
    ]


def failure(kind: str, statement: bytes) -> TrucError:
    """The error in reading or checking a statement that must not pass."""
    format_, check = FORMATS[kind]
    try:
        value = format_.decode(statement)
        if check is not None:
            check(value)
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


def _explained(kind: str, vector: Vector) -> Vector:
    if "error" not in vector:
        return vector
    error = failure(kind, bytes.fromhex(vector["hex"]))
    detail = {} if error.code.startswith("format_") else {"detail": error.detail}
    return {**vector, "field": error.field, **detail}


def generate() -> dict[str, list[Vector]]:
    """All vectors by file name without its ending."""
    return {kind: [_explained(kind, vector) for vector in vectors] for kind, vectors in _vectors().items()}


def _vectors() -> dict[str, list[Vector]]:
    return {
        "envelope": _envelopes(),
        "header": _headers(),
        "consignment": _consignments(),
        "receipt": _receipts(),
        "refusal": _refusals(),
    }


def write(folder: Path = FOLDER) -> None:
    """Write the files."""
    for kind, vectors in generate().items():
        (folder / f"{kind}.json").write_text(json.dumps(vectors, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
