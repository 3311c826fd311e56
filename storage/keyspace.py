"""The one place that builds keys and seals values (DESIGN §6, `protocol/spec/records.md`).

key = kind number (1 byte) ‖ parts: an integer as 8 bytes big-endian, a string as UTF-8 with
a closing NUL, a byte string as it is (its annotation fixes its length). So the order of the
bytes is the order of the parts, and no key is the beginning of another of its kind.
value = CRC-32 of (key ‖ encoded record), 4 bytes big-endian ‖ encoded record: a value that
was damaged, or that lies under another key than its own, is never decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from protocol.errors import FormatError, StoreError
from protocol.record import KINDS, KeyPart, Kind

R = TypeVar("R")

KIND_NUMBER_MAX: Final = 254
"""0xff stays free, so that every range of keys has an end."""

STORE_KIND: Final = b"\x00"
"""Kind 0 belongs to the store itself: what must be readable before the schema is known."""

_CHECKSUM_BYTES: Final = 4
_STRING: Final = -1
_INTEGER: Final = -2


_LAYOUTS: Final[dict[type, tuple[bytes, tuple[int, ...]]]] = {}


def store_key(name: str) -> bytes:
    """The key of a value of the store itself; `name` is a constant of the source."""
    return STORE_KIND + name.encode()


def key(record: type, *parts: KeyPart) -> bytes:
    """The key of a record, or with fewer parts what all its keys with these parts begin with.

    A part of the wrong type, a string with a NUL, a byte string of the wrong length or an
    integer outside 64 bits is our own mistake: the border has checked them.
    """
    first, shapes = _layout(record)
    assert len(parts) <= len(shapes), f"{record.__name__} has {len(shapes)} key fields"
    return first + b"".join([_part(part, shape) for part, shape in zip(parts, shapes, strict=False)])


def full_key(record: type, parts: Sequence[KeyPart]) -> bytes:
    """The key of one record; every key field must be given."""
    first, shapes = _LAYOUTS.get(record) or _layout(record)
    assert len(parts) == len(shapes), f"{record.__name__}: {len(parts)} parts make no key"
    return first + b"".join(map(_part, parts, shapes))


def key_of(record: Any) -> bytes:
    """The key under which a record lies."""
    return full_key(type(record), KINDS[type(record)].key_of(record))


def key_range(record: type, prefix: Sequence[KeyPart], after: Sequence[KeyPart] = ()) -> tuple[bytes, bytes]:
    """Start (included) and stop (excluded) of the keys that begin with `prefix` and, if
    `after` is given, lie behind every key that begins with `prefix + after`."""
    whole = key(record, *prefix)
    start = successor(key(record, *prefix, *after)) if after else whole
    return start, successor(whole)


def successor(prefix: bytes) -> bytes:
    """The least byte string behind everything that begins with `prefix`."""
    kept = prefix.rstrip(b"\xff")
    assert kept, "every key begins with a byte below 0xff"
    return kept[:-1] + bytes([kept[-1] + 1])


def seal_value(at: bytes, content: bytes) -> bytes:
    """Put the checksum over key and content before the content."""
    return _checksum(at, content) + content


def open_value(at: bytes, value: bytes) -> bytes:
    """The content of a stored value.

    Raises:
        StoreError: `record_damaged`.
    """
    content = value[_CHECKSUM_BYTES:]
    if value[:_CHECKSUM_BYTES] != _checksum(at, content):
        raise StoreError("record_damaged", key=at.hex())
    return content


def write_record(record: Any) -> tuple[bytes, bytes]:
    """Key and value of a record.

    Raises:
        FormatError: `format_too_large`, `format_field`: a record that could not be read back.
    """
    at = key_of(record)
    return at, seal_value(at, KINDS[type(record)].format.encode(record))


def write_known(record: Any) -> tuple[bytes, bytes]:
    """As `write_record`, without reading back, for a record all parts of which were read by stricter rules."""
    at = key_of(record)
    return at, seal_value(at, KINDS[type(record)].format.pack(record))


def read_record(record: type[R], at: bytes, value: bytes) -> R:
    """The record in a stored value.

    Raises:
        StoreError: `record_damaged`.
    """
    content = open_value(at, value)
    kind: Kind[R] = KINDS[record]
    try:
        return kind.format.recall(content)
    except FormatError as error:
        raise StoreError("record_damaged", key=at.hex()) from error


def _checksum(at: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(at)).to_bytes(_CHECKSUM_BYTES, "big")


def _part(part: KeyPart, shape: int) -> bytes:
    if shape == _INTEGER:
        assert isinstance(part, int)
        return part.to_bytes(8, "big")
    if shape == _STRING:
        assert isinstance(part, str)
        assert "\x00" not in part
        return part.encode() + b"\x00"
    assert isinstance(part, bytes)
    assert len(part) == shape
    return part


def _layout(record: type) -> tuple[bytes, tuple[int, ...]]:
    """First byte and the shape of each key part; looked up once per class."""
    layout = _LAYOUTS.get(record)
    if layout is None:
        kind = KINDS[record]
        assert kind.number <= KIND_NUMBER_MAX
        hints = get_type_hints(record, include_extras=True)
        layout = _LAYOUTS[record] = bytes([kind.number]), tuple(_shape(hints[name]) for name in kind.key)
    return layout


def _shape(hint: Any) -> int:
    assert get_origin(hint) is Annotated
    base, *notes = get_args(hint)
    if issubclass(base, int):
        return _INTEGER
    if issubclass(base, str):
        return _STRING
    assert issubclass(base, bytes)
    bounds = [(note.min_length, note.max_length) for note in notes if hasattr(note, "min_length")]
    assert len(bounds) == 1 and bounds[0][0] == bounds[0][1], "a byte string in a key has one length"
    length: int = bounds[0][0]
    return length
