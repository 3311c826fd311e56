"""What the fuzz targets of the directory do with bytes; as `fuzz_readers.py`: statements, things, files, heaps."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from protocol.anchor import ANCHOR, anchor_text, read_anchor, read_anchor_text, write_anchor
from protocol.announcement import pack, read_announcement
from protocol.checkpoint import (
    CHECKPOINT,
    HEARTBEAT,
    fork_wire,
    read_checkpoint,
    read_fork,
    read_heartbeat,
    thing_name,
)
from protocol.directory import (
    AGENCY,
    AGENCY_REQUEST,
    CENTRE,
    CENTRE_REQUEST,
    LOCK,
    NODE,
    ROOT,
    read,
)
from protocol.directory_file import read_file, write_file
from protocol.directory_import import Imported, Terms, import_things
from protocol.directory_plain import ROOTS, place_of, read_plain
from protocol.directory_view import RecordCache
from protocol.encoding import Format, encode, glance, lp
from protocol.errors import FormatError, TrustError
from protocol.introduction import look
from protocol.key_request import KEY_REQUEST, proved_key_request, read_key_request
from protocol.limits import DAY_MS, DIRECTORY_WIRE_BYTES_MAX, INTRODUCTION_THINGS_MAX, STATEMENT_BYTES_MAX
from protocol.prefix_tree import KEY_BITS, prefix_of, read_prefix
from protocol.reconcile_frames import QUESTIONS, Introduced
from protocol.record import KINDS, Put
from protocol.signing import Signed
from protocol.staged import Staged
from tests.support import fuzz_corpus as corpus
from tests.support.fuzz_readers import VERIFIER
from tests.support.tree import TREE_READY_MS
from tests.support.vectors import load

NOW_MS: Final = TREE_READY_MS + 2 * DAY_MS

# --- the directory --------------------------------------------------------------------------------

DIRECTORY: Final[tuple[Format[Any], ...]] = (
    *(ROOT, CENTRE, AGENCY, NODE, LOCK, CENTRE_REQUEST, AGENCY_REQUEST),
    *(CHECKPOINT, HEARTBEAT, KEY_REQUEST),
)
"""Statements with rules beyond their shape; in a corpus the first byte is the place in this list."""

_READ_WITH: Final[dict[str, Callable[[bytes], Any]]] = {
    CHECKPOINT.name: read_checkpoint,
    HEARTBEAT.name: read_heartbeat,
    KEY_REQUEST.name: read_key_request,
}


def directory_statement(octets: bytes) -> None:
    """A statement with its rules."""
    form = DIRECTORY[(octets or b"\x00")[0] % len(DIRECTORY)]
    reader = _READ_WITH.get(form.name)
    value = read(form, octets[1:]) if reader is None else reader(octets[1:])
    assert form.encode(value) == octets[1:]


def directory_thing(octets: bytes) -> None:
    """What can be told of a thing without judging it; a glance never stops anybody, and is right about what is good."""
    place, plain = place_of(octets), read_plain(octets)
    if plain is not None:
        assert place == plain.order[:2]
    name = thing_name(octets)
    proof = read_fork(octets)
    if proof is not None:
        assert fork_wire(proof) == octets
        return
    thing = Signed.from_wire(octets, bytes_max=DIRECTORY_WIRE_BYTES_MAX)
    assert name == thing.digest
    assert thing.format != ROOT.name or place in (ROOTS, None)


def directory_file(octets: bytes) -> None:
    """A file, written again."""
    assert write_file(read_file(octets, bytes_max=2**20)) == octets


def directory_heap(octets: bytes) -> None:
    """A heap is taken in, in whatever order its things lie, and what follows can be stored."""
    wires = read_file(octets, bytes_max=2**20)[:40]
    forward = _imported(wires)
    for change in forward.changes:
        if isinstance(change, Put):
            KINDS[type(change.record)].format.encode(change.record)
    backward = _imported(wires[::-1])
    assert sorted(item.signed.digest for item in forward.accepted) == sorted(
        item.signed.digest for item in backward.accepted
    )
    _imported(wires, as_of=True)


def _imported(wires: tuple[bytes, ...], *, as_of: bool = False) -> Imported:
    return import_things(
        wires,
        Staged(),
        anchor=min(corpus.anchors()),
        verifier=VERIFIER,
        now_ms=NOW_MS,
        cache=RecordCache(),
        terms=Terms(as_of_ms=NOW_MS) if as_of else None,
    )


def key_request_thing(octets: bytes) -> None:
    """A request, its keys' signatures verified."""
    proved_key_request(Signed.from_wire(octets, bytes_max=STATEMENT_BYTES_MAX), VERIFIER)


def anchor(octets: bytes) -> None:
    """A file or a text; both forms of what was read are read again as the same."""
    value = read_anchor(octets)
    file = write_anchor(value)
    assert octets == file or octets.lstrip().startswith(b"truc-anchor:")
    assert read_anchor(file) == read_anchor_text(anchor_text(value)) == value


def summed_anchor(octets: bytes) -> bytes:
    """An anchor file with a right check; as file or, by its last bit, as text."""
    try:
        value = glance(octets, bytes_max=2**14)
        content = encode([value[0], value[1], sha256(lp(ANCHOR.name, value[1])).digest()[:8]])
    except (FormatError, LookupError, TypeError, AssertionError):
        return octets
    if sum(octets) % 2:
        return content
    return b"truc-anchor:" + b64encode(content, b"-_").rstrip(b"=")


_PEERS: Final = tuple(sorted({row["peer"] for row in load("introduction")}))


def introduction(octets: bytes) -> None:
    """The things of an introduction, looked at before they are judged."""
    introduced = QUESTIONS[6].decode(octets)
    assert isinstance(introduced, Introduced)
    refused: list[TrustError] = []
    for peer in _PEERS:
        try:
            found = look(introduced.things, peer)
        except TrustError as error:
            refused.append(error)
        else:
            assert found.named and len(found.things) <= INTRODUCTION_THINGS_MAX
    if len(refused) == len(_PEERS):
        raise refused[0]


def announcement(octets: bytes) -> None:
    """An announcement; what it holds can be announced again."""
    value = read_announcement(octets)
    again = pack(value.things, created_ms=value.created_ms, heads=value.heads, logs=value.logs)
    read_back = [read_announcement(content) for content in again]
    assert [thing for one in read_back for thing in one.things] == list(value.things)
    assert read_back[-1].logs == value.logs


def prefixes() -> list[bytes]:
    """Prefixes of the vectors, good and bad; two bytes of length before each."""
    rows = [row for row in load("prefix_tree") if "bits" in row]
    rows += [place for row in load("prefix_tree") for place in row.get("below", ())]
    return [row["bits"].to_bytes(2, "big") + bytes.fromhex(row["value"]) for row in rows if 0 <= row["bits"] < 2**16]


def prefix(octets: bytes) -> None:
    """Two bytes of length, then the value."""
    found = read_prefix(int.from_bytes(octets[:2], "big"), octets[2:])
    assert found.covers(found.value.ljust(32, b"\x00"))
    assert prefix_of(found.bits, found.number) == found
    if found.bits < KEY_BITS:
        child = found.child(11)
        assert read_prefix(child.bits, child.value) == child
