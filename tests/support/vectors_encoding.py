"""Makes the vectors of encoding, statements, agency codes and framing (see `vectors.py`)."""

from __future__ import annotations

from typing import Any, Final

from protocol.agency_code import is_ancestor, is_old_form, level_one
from protocol.encoding import encode
from protocol.framing import encode_frame

Row = dict[str, Any]


def pattern(size: int) -> bytes:
    """The bytes that vectors call a pattern: byte i is i mod 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


# --- encoding -----------------------------------------------------------------------------

_VALUES: Final[list[tuple[str, Any]]] = [
    ("zero", 0),
    ("largest one-byte integer", 127),
    ("first two-byte integer", 128),
    ("largest unsigned integer", 2**64 - 1),
    ("smallest integer", -(2**63)),
    ("true", True),
    ("empty text", ""),
    ("Vietnamese text, composed", "Công văn hỏa tốc"),
    ("text of 32 bytes", "x" * 32),
    ("empty byte string", b""),
    ("byte string of 256 bytes", pattern(256)),
    ("array", [1, "a", b"b", [], True]),
    ("map, keys in ascending order", {0: 1, 1: "x", 127: b"y", 128: [], 300: {}}),
    ("array of 16 elements", list(range(16))),
]

_BAD_BYTES: Final[list[tuple[str, str, str]]] = [
    ("nothing", "", "format_malformed"),
    ("nil", "c0", "format_malformed"),
    ("float", "cb7ff8000000000000", "format_malformed"),
    ("single float", "ca3f800000", "format_malformed"),
    ("extension type", "d40100", "format_malformed"),
    ("timestamp", "d6ff00000000", "format_malformed"),
    ("reserved byte", "c1", "format_malformed"),
    ("truncated text", "a361", "format_malformed"),
    ("truncated array", "9301", "format_malformed"),
    ("trailing byte", "0100", "format_malformed"),
    ("invalid UTF-8", "a1ff", "format_malformed"),
    ("surrogate in UTF-8", "a3eda080", "format_malformed"),
    ("duplicate key", "8201010102", "format_malformed"),
    ("text as key", "81a16101", "format_malformed"),
    ("negative key", "81ff01", "format_malformed"),
    ("boolean as key", "81c301", "format_malformed"),
    ("array as key", "819001", "format_malformed"),
    ("float inside", "9101cb0000000000000000", "format_malformed"),
    ("nil inside a map", "8101c0", "format_malformed"),
    ("announces four thousand million elements", "ddffffffff", "format_malformed"),
    ("announces four thousand million entries", "dfffffffff", "format_malformed"),
    ("map of 257 entries", "de0101" + "".join(f"cd{n:04x}00" for n in range(256, 513)), "format_malformed"),
    ("seventeen arrays deep", "91" * 17 + "01", "format_malformed"),
    ("two thousand arrays deep", "91" * 2000 + "01", "format_malformed"),
    ("integer in too many bytes", "cc01", "format_not_canonical"),
    ("unsigned integer in a signed form", "d101ff", "format_not_canonical"),
    ("text in too many bytes", "d90161", "format_not_canonical"),
    ("byte string in too many bytes", "c5000161", "format_not_canonical"),
    ("array in too many bytes", "dc000101", "format_not_canonical"),
    ("map in too many bytes", "de00010101", "format_not_canonical"),
    ("keys in descending order", "8202010101", "format_not_canonical"),
    ("keys in descending order, inside", "91820201" + "0101", "format_not_canonical"),
]


def tagged(value: Any) -> Any:
    """A value as JSON can say it: {"bytes": hex} and {"map": [[key, value], …]}."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"map": [[key, tagged(item)] for key, item in value.items()]}
    return [tagged(item) for item in value] if isinstance(value, list) else value


def encoding() -> list[Row]:
    good = [{"name": name, "value": tagged(value), "hex": encode(value).hex()} for name, value in _VALUES]
    deep: Any = 1
    for _ in range(16):
        deep = [deep]
    good.append({"name": "sixteen arrays deep", "value": deep, "hex": encode(deep).hex()})
    return good + [{"name": name, "hex": text, "error": error} for name, text, error in _BAD_BYTES]


# --- statements (the example statement of spec/encoding.md §4) -------------------------------

_ID: Final = bytes(range(16))


def _statement(name: str, wire: Any, error: str = "", field: str = "") -> Row:
    row: Row = {"name": name, "hex": encode(wire).hex()}
    return {**row, "error": error, "field": field} if error else row


def statement() -> list[Row]:
    item = {1: b"\x11" * 32, 2: 65_536}
    least = {1: _ID, 2: "H38", 3: []}
    return [
        _statement("only the compulsory fields", least),
        _statement("every field", {1: _ID, 2: "H38.12", 3: [item, item], 4: "lý do", 5: [b"\x22" * 32]}),
        _statement("extensions are carried", {**least, 128: "more", 70_000: {1: [True], 2: b""}}),
        _statement("not a map", [1, 2], "format_field", "statement"),
        _statement("field missing", {1: _ID, 3: []}, "format_field", "statement"),
        _statement("field of the wrong type", {**least, 2: 38}, "format_field", "issuer"),
        _statement(
            "boolean where an integer belongs",
            {**least, 3: [{1: b"\x11" * 32, 2: True}]},
            "format_field",
            "parts[0].size",
        ),
        _statement("identifier too short", {**least, 1: _ID[1:]}, "format_field", "id"),
        _statement("text too long", {**least, 2: "H" * 36}, "format_field", "issuer"),
        _statement("negative size", {**least, 3: [{1: b"\x11" * 32, 2: -1}]}, "format_field", "parts[0].size"),
        _statement("size above 63 bits", {**least, 3: [{1: b"\x11" * 32, 2: 2**63}]}, "format_field", "parts[0].size"),
        _statement("nested field missing", {**least, 3: [item, {2: 1}]}, "format_field", "parts[1]"),
        _statement("nested statement is no map", {**least, 3: [7]}, "format_field", "parts[0]"),
        _statement("array expected", {**least, 3: 7}, "format_field", "parts"),
        _statement("unknown key below 128", {**least, 7: 1}, "format_newer", "7"),
        _statement("unknown key below 128, nested", {**least, 3: [{**item, 9: 1}]}, "format_newer", "parts[0].9"),
        _statement("extension where none is carried", {**least, 3: [{**item, 128: 1}]}, "format_newer", "parts[0].128"),
        _statement("default written out", {**least, 4: ""}, "format_not_canonical"),
        {
            "name": "keys of an extension in descending order",
            "hex": (b"\x84" + encode(least)[1:] + bytes.fromhex("cc80" + "8202010101")).hex(),
            "error": "format_not_canonical",
            "field": "",
        },
        _statement("longer than the format allows", {**least, 4: "x" * 1000}, "format_too_large"),
    ]


# --- agency codes -------------------------------------------------------------------------

_CODES: Final = (
    *("H38", "G22", "H38.12", "H38.12.5", "G12.18", "H55.242", "H37.DN.001", "A01.ABCDEFGH", "G24.0"),
    "H38.12345678.12345678.12345678.1234",
    *("000.00.00.G22", "000.00.12.H38", "000.21.32.H53", "000.00.80.G24"),
)
_BAD_CODES: Final = (
    *("", "h38", "H3", "H380", "38H", "H38.", ".H38", "H38..12", "H38.a", "H38.123456789", "00.22.W00"),
    *(" H38", "H38 ", "H38\n", "H38\u200b", "H38.Đ1", "H38-12", "H38/12", "H٣٨", "٠٠٠.00.00.G22"),
    *("000.00.00.G2", "00.00.00.G22", "000.00.00.G22.1", "000.00.00.g22", "0000.00.00.G22"),
    "H38.12345678.12345678.12345678.12345",
)
_CENTRES: Final = ("00.22.W00", "00.53.W00", "12.38.W01")
_BAD_CENTRES: Final = (
    "",
    "000.22.W00",
    "00.22.G22",
    "00.22.w00",
    "00.22.W0",
    "00.22.W00\n",
    "W00.22.00",
    "٠٠.22.W00",
    "H38",
)
_PAIRS: Final = (("H38", "H38.12"), ("H38", "H38.12.5"), ("H38.1", "H38.12"), ("H38.12", "H38.12"), ("H38.12", "H38"),
                 ("H38.12", "H38.12.5"), ("H3", "H38"), ("H38", "H39.1"), ("H38", "000.00.12.H38"),
                 ("000.00.00.H38", "000.00.12.H38"), ("H38.01", "H38.1.5"))  # fmt: skip


def agency_codes() -> list[Row]:
    good = [
        {"name": f"agency {c}", "text": c, "form": "old" if is_old_form(c) else "new", "level_one": level_one(c)}
        for c in _CODES
    ]
    bad = [{"name": f"not an agency: {c!a}", "text": c, "error": "agency_code_malformed"} for c in _BAD_CODES]
    centres: list[Row] = [{"name": f"centre {c}", "text": c, "form": "centre"} for c in _CENTRES]
    bad += [
        {"name": f"not a centre: {c!a}", "text": c, "form": "centre", "error": "centre_code_malformed"}
        for c in _BAD_CENTRES
    ]
    pairs = [{"name": f"{a} above {b}", "above": a, "below": b, "ancestor": is_ancestor(a, b)} for a, b in _PAIRS]
    return good + centres + bad + pairs


# --- framing ------------------------------------------------------------------------------


def _stream(name: str, octets: bytes, frames: list[tuple[int, bytes]], error: str = "") -> Row:
    row: Row = {
        "name": name,
        "hex": octets.hex(),
        "frame_bytes_max": 64,
        "frames": [[kind, body.hex()] for kind, body in frames],
    }
    return {**row, "error": error} if error else row


def framing() -> list[Row]:
    ping, text, full = (1, b""), (2, b"abc"), (255, pattern(63))
    wire = {frame: encode_frame(*frame) for frame in (ping, text, full)}
    return [
        _stream("nothing", b"", []),
        _stream("a frame without body", wire[ping], [ping]),
        _stream("three frames", b"".join(wire.values()), [ping, text, full]),
        _stream("the largest frame allowed", wire[full], [full]),
        _stream("one byte too large", (65).to_bytes(4, "big"), [], "frame_too_large"),
        _stream("a good frame, then one too large", wire[text] + b"\xff\xff\xff\xff\x01", [text], "frame_too_large"),
        _stream("text of another protocol", b"GET / HTTP/1.1\r\n\r\n", [], "frame_too_large"),
        _stream("no type", bytes(4), [], "frame_empty"),
        _stream("a good frame, then one without type", wire[ping] + bytes(4), [ping], "frame_empty"),
        _stream("ends inside a length", b"\x00\x00", [], "frame_truncated"),
        _stream("ends behind a length", b"\x00\x00\x00\x02", [], "frame_truncated"),
        _stream("ends inside a body", wire[ping] + wire[text][:-1], [ping], "frame_truncated"),
    ]
