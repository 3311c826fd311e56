"""Makes the vectors of announcements: `python -m tests.support.announcement_vectors`.

`announcement.json`: `{"name", "hex", "fields"}`, or with `"error"` and `"field"` where reading must fail.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from protocol.announcement import ANNOUNCEMENT, Announcement, LogMark, read_announcement
from protocol.encoding import decode, encode
from protocol.errors import TrucError
from protocol.limits import ANNOUNCED_LOGS_MAX, ANNOUNCED_THINGS_MAX, ANNOUNCEMENT_BYTES_MAX
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

HEADS: Final = sha256(b"heads").digest()
MARKS: Final = (
    LogMark(registrar="H38", generation=2, number=7_000),
    LogMark(registrar="H38.12", generation=1, number=0),
    LogMark(registrar="level-1", generation=1, number=2**63 - 1),
)
WHOLE: Final = Announcement(created_ms=1_790_000_000_000, heads=HEADS, logs=MARKS, things=(b"two", b"one"))

GOOD: Final[list[tuple[str, Announcement]]] = [
    ("things, heads and logs", WHOLE),
    ("things, and nothing about heads", Announcement(created_ms=1, things=(b"one",))),
    ("heads, and nothing that fits", Announcement(created_ms=1, heads=HEADS, logs=MARKS[:1])),
    ("heads alone", Announcement(created_ms=0, heads=HEADS)),
    ("an extension", Announcement(created_ms=1, heads=HEADS, extensions={128: "tương lai"})),
    ("as many things as may be", Announcement(created_ms=1, things=tuple(b"%d" % n for n in range(64)))),
]


def _edited(key: int, item: Any) -> bytes:
    wire = decode(ANNOUNCEMENT.encode(WHOLE), bytes_max=ANNOUNCEMENT_BYTES_MAX)
    if item is None:
        del wire[key]
    else:
        wire[key] = item
    return encode(wire)


def _mark(registrar: str, generation: int = 1, number: int = 1) -> dict[int, Any]:
    return {1: registrar, 2: generation, 3: number}


BAD: Final[list[tuple[str, str, bytes]]] = [
    ("nothing", "format_malformed", b""),
    ("no value", "format_malformed", b"\xc1"),
    ("no map", "format_field", encode([1])),
    ("a longer form", "format_not_canonical", b"\xde\x00\x01\x01\x01"),
    ("no time", "format_field", _edited(1, None)),
    ("a time before all times", "format_field", _edited(1, -1)),
    ("a time in words", "format_field", _edited(1, "now")),
    ("logs without heads", "format_field", _edited(2, None)),
    ("neither heads nor things", "format_field", encode({1: 1})),
    ("heads of 31 bytes", "format_field", _edited(2, bytes(31))),
    ("zero heads, written out", "format_not_canonical", _edited(2, bytes(32))),
    ("a log twice", "format_field", _edited(3, [_mark("H38"), _mark("H38", 2)])),
    ("logs in no order", "format_field", _edited(3, [_mark("H39"), _mark("H38")])),
    ("a log of nobody", "format_agency_code", _edited(3, [_mark("boss")])),
    ("a log of generation 0", "format_field", _edited(3, [_mark("H38", 0)])),
    ("a negative number", "format_field", _edited(3, [_mark("H38", 1, -1)])),
    ("a thing that is text", "format_field", _edited(4, ["one"])),
    ("an empty thing", "format_field", _edited(4, [b""])),
    ("a thing twice", "format_field", _edited(4, [b"one", b"one"])),
    ("65 things", "format_field", _edited(4, [b"%d" % n for n in range(ANNOUNCED_THINGS_MAX + 1)])),
    ("an unknown key", "format_newer", _edited(5, 1)),
    ("a byte behind the end", "format_malformed", ANNOUNCEMENT.encode(WHOLE) + b"\x00"),
]
TOO_LARGE: Final[list[tuple[str, str, bytes]]] = [
    ("65 logs", "format_field", _edited(3, [_mark(f"H{n:02}") for n in range(1, ANNOUNCED_LOGS_MAX + 2)])),
    ("more than 65,536 bytes", "format_too_large", _edited(4, [bytes(ANNOUNCEMENT_BYTES_MAX)])),
]
"""Not in the file: too long to read."""


def failure(content: bytes) -> TrucError:
    """The error in reading what must not pass."""
    try:
        read_announcement(content)
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


def announcement() -> list[Row]:
    """Contents of `/truc/directory/1`."""
    good = [{"name": n, "hex": ANNOUNCEMENT.encode(value).hex(), "fields": plain(value)} for n, value in GOOD]
    bad = [
        {"name": name, "hex": content.hex(), "error": code, "field": failure(content).field}
        for name, code, content in BAD
    ]
    return [*good, *bad]


def write(folder: Path = FOLDER) -> None:
    """Write the file."""
    (folder / "announcement.json").write_text(written(announcement()), encoding="utf-8")


if __name__ == "__main__":
    write()
