"""The file in which directory statements and requests travel: `*.truc`.

Spec: `spec/directory.md` §5. A list of signed things in one canonical order, so that the same
contents are the same file. Nothing is judged here: a file may hold anything, and each thing
is read on its own, so that one bad thing does not spoil the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from protocol.encoding import decode, encode
from protocol.errors import FormatError
from protocol.limits import DIRECTORY_FILE_BYTES_MAX
from protocol.signing import Signed

FILE_FORMAT: Final = "truc/directory-file/1"


def write_file(things: Iterable[Signed | bytes], *, bytes_max: int = DIRECTORY_FILE_BYTES_MAX) -> bytes:
    """The bytes of a file with these things (or their wire bytes), each once.

    Raises:
        FormatError: `format_too_large`.
    """
    wires = {thing.to_wire() if isinstance(thing, Signed) else thing for thing in things}
    file = encode([FILE_FORMAT, sorted(wires)])
    if len(file) > bytes_max:
        raise FormatError("format_too_large", size=len(file), limit=bytes_max)
    return file


def read_file(file: bytes, *, bytes_max: int = DIRECTORY_FILE_BYTES_MAX) -> tuple[bytes, ...]:
    """The wire bytes of the things in a file, in ascending order, unread.

    Raises:
        FormatError: `format_too_large`, `format_malformed`, `format_not_canonical`,
            `format_other` (no directory file), `format_newer`, `format_field`.
    """
    value = decode(file, bytes_max=bytes_max)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str:
        raise FormatError("format_other", found="?", wanted=FILE_FORMAT)
    name, wires = value
    if name != FILE_FORMAT:
        newer = name.rpartition("/")[0] == FILE_FORMAT.rpartition("/")[0]
        raise FormatError("format_newer") if newer else FormatError("format_other", found=name, wanted=FILE_FORMAT)
    if type(wires) is not list or any(type(wire) is not bytes for wire in wires):
        raise FormatError("format_field", field="things", reason="expected byte strings")
    if any(a >= b for a, b in pairwise(wires)):
        raise FormatError("format_field", field="things", reason="not in ascending order")
    return tuple(wires)


def file_head(count: int) -> bytes:
    """How a file with so many things begins; the things follow as `file_part`s in ascending order of wire bytes."""
    assert 0 <= count < 2**32
    empty = encode([FILE_FORMAT, []])
    if count < 16:  # MessagePack: fixarray, array 16, array 32
        return empty[:-1] + bytes([0x90 | count])
    return empty[:-1] + (b"\xdc" + count.to_bytes(2, "big") if count < 65_536 else b"\xdd" + count.to_bytes(4, "big"))


def file_part(wire: bytes) -> bytes:
    """A thing as it stands in a file."""
    return encode(wire)


def part_size(wire_bytes: int) -> int:
    """The bytes of `file_part` for a wire of this length: MessagePack's bin 8, bin 16, bin 32."""
    return wire_bytes + (2 if wire_bytes < 256 else 3 if wire_bytes < 65_536 else 5)
