"""Reads signed directory things ahead, in a process of its own: everything that needs no knowledge.

Obeys DESIGN §1 ("bulk verification" goes to workers) and `protocol/spec/directory.md` §7. Parsing, canonical
form, well-formedness, hashing of paths and the bytes to be stored are two thirds of the work of a first
import, and Python does them on one core only; so the daemon starts this module as a child, and the same
functions run in the daemon where there are few things. Who may say what is judged in the daemon.

Requests and answers are `marshal`led lists behind a length of four bytes: plain tuples, bytes, strings
and numbers, between two processes of one program. The child ends with its input.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

from protocol.directory_plain import Place, Plain, Proof, place_of, read_plain, rows_of_plain
from storage.keyspace import write_known

LENGTH_BYTES: Final = 4
NICE: Final = 5
"""A node that takes in a directory goes on serving."""

PLACES: Final = 0
READ: Final = 1

Written = tuple[tuple[bytes, bytes], ...]
"""Key and value of the rows of a first version, as they lie in the store."""
Read = tuple[Plain, Written] | None


def answer(request: Any) -> Any:
    """What the child says to [PLACES, wires] or [READ, wires, now_ms]."""
    if request[0] == PLACES:
        return [place_of(wire) for wire in request[1]]
    return [_flat(read) for read in read_ahead(request[1], request[2])]


def read_ahead(wires: Iterable[bytes], now_ms: int) -> Iterable[Read]:
    """Each thing as `read_plain` reads it, with what is stored of it if it is believed at `now_ms`."""
    for wire in wires:
        plain = read_plain(wire)
        if plain is None:
            yield None
        else:
            yield plain, tuple(write_known(row) for row in rows_of_plain(plain, wire, now_ms))


def _flat(read: Read) -> Any:
    """Without classes, for `marshal`."""
    if read is None:
        return None
    plain, written = read
    return (*plain[:-1], tuple(map(tuple, plain.proofs))), written


def unflat(read: Any) -> Read:
    """What `_flat` was made of."""
    if read is None:
        return None
    plain, written = read
    return Plain._make((*plain[:-1], tuple(map(Proof._make, plain[-1])))), written


def places_of(answered: Any) -> list[Place | None]:
    """The answer to a request for places."""
    return list(answered)


def packed(value: Any) -> bytes:
    """A request or an answer, behind its length."""
    content = marshal.dumps(value)
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the input ends."""
    while head := source.read(LENGTH_BYTES):
        request = marshal.loads(source.read(int.from_bytes(head, "big")))  # noqa: S302  # from our own parent
        sink.write(packed(answer(request)))
        sink.flush()


if __name__ == "__main__":
    os.nice(NICE)
    main(sys.stdin.buffer, sys.stdout.buffer)
