"""What fuzzing starts from: the committed vectors, and values made from annotations for formats that have none.

Nothing here is random. `resigned` gives things that were changed valid signatures again, with the keys that
the vectors' trees are made with, so that what lies behind a signature check is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from protocol.directory import Names
from protocol.directory_file import read_file, write_file
from protocol.encoding import Format, decode, encode, glance
from protocol.errors import FormatError
from protocol.evidence import EVIDENCE, Evidence
from protocol.exchange import Bye, Hello, Offer, Ping, frame_bytes
from protocol.framing import LENGTH_BYTES
from protocol.limits import DIRECTORY_WIRE_BYTES_MAX
from protocol.signing import Ed25519Signer, Signed, countersign, sign
from tests.support.fuzz_samples import samples
from tests.support.tree import Tree, key_seed
from tests.support.vectors import load

SIGNERS: Final = {
    signer.public.key_id: signer
    for signer in (
        *(Ed25519Signer(key_seed(1, f"{role} {n}")) for role in ("root", "level-1") for n in range(4)),
        *(Ed25519Signer(key_seed(1, f"00.{n:02d}.W00 operational")) for n in range(13)),
        *(Ed25519Signer(key_seed(1, label)) for label in ("own", "below", "stolen", "stranger", "fresh")),
        *(Ed25519Signer(key_seed(1, f"{code} registrar")) for code in ("G12", "G22", "H38", "H38.12")),
        *(Ed25519Signer(bytes([n]) * 32) for n in range(1, 3)),
    )
}
"""Signers of the vectors' trees by key id."""


def octets(name: str, field: str = "hex", **wanted: Any) -> list[bytes]:
    """The byte strings of a vector file, good and bad, of the rows with these values."""
    rows = (row for row in load(name) if all(row.get(key) == value for key, value in wanted.items()))
    return [bytes.fromhex(row[field]) for row in rows if isinstance(row.get(field), str)]


def texts(name: str, field: str) -> list[bytes]:
    """Texts of a vector file, as octets."""
    return [row[field].encode("utf-8", "surrogatepass") for row in load(name) if isinstance(row.get(field), str)]


_FILES: Final = {
    "truc/consignment/1": "consignment",
    "truc/envelope/1": "envelope",
    "truc/header/1": "header",
    "truc/receipt/1": "receipt",
    "truc/refusal/1": "refusal",
    "truc/announcement/1": "announcement",
}
"""Vector files with bare statements of one format."""


@cache
def statements(form: Format[Any]) -> list[bytes]:
    """Vectors of a format, and samples."""
    known = octets(_FILES[form.name]) if form.name in _FILES else []
    for name in ("directory", "checkpoint", "pki"):
        known += octets(name, format=form.name)
    return [*known, *samples(form)]


@cache
def unframed(name: str) -> list[bytes]:
    """Type and body of each frame of a vector file."""
    return [frame[LENGTH_BYTES:] for frame in octets(name)]


# --- things ---------------------------------------------------------------------------------


@cache
def heaps() -> list[bytes]:
    """Directory files with what arrives in the scenarios of `trust.json`, small ones first."""
    found = [
        write_file([bytes.fromhex(wire) for arrival in row["arrivals"] for wire in arrival["things"]])
        for row in load("trust")
    ]
    return sorted({*found, *octets("directory_file"), _contested()}, key=len)


def _contested() -> bytes:
    """A heap in which one number was given to two records of the same moment, and a registrar of level 2 speaks."""
    tree = Tree.make()
    tree.delegate("G12", "G12.1")
    tree.add_agency("G12.1", "00.02.W00", registrar="G12", parent="G12")
    record = tree.next_agency("H38", names=Names(vi="Một"))
    tree.publish(record)
    tree.publish(replace(record, names=Names(vi="Hai")))
    return write_file([thing.to_wire() for thing in tree.signed])


@cache
def anchors() -> frozenset[bytes]:
    """Root digests that the scenarios trust."""
    return frozenset(bytes.fromhex(row["anchor"]) for row in load("trust"))


@cache
def things() -> list[bytes]:
    """Signed things of the directory, fork proofs, and things of other formats."""
    found: dict[bytes, None] = {}
    for heap in heaps():
        try:
            found |= dict.fromkeys(read_file(heap))
        except FormatError:
            continue
    signed = [
        *octets("signing", "wire"),
        *octets("key_request"),
        *(w for row in load("checkpoint") for w in row.get("things", ())),
    ]
    return [*found, *(bytes.fromhex(wire) if isinstance(wire, str) else wire for wire in signed)]


@cache
def evidences() -> list[tuple[bytes, bytes]]:
    """Evidence files with the root to trust."""
    return [(bytes.fromhex(row["hex"]), bytes.fromhex(row["root"])) for row in load("evidence")]


@cache
def offers() -> list[bytes]:
    """Bodies of offers, with real things in them."""
    story = EVIDENCE.decode(read_statement(evidences()[0][0]))
    common: dict[str, Any] = {"number": 1, "key_id": bytes(32), "stanza": bytes(80), "epoch": 1, "header": bytes(40)}
    made = Offer(envelope=story.envelope, consignment=story.consignment, **common)
    swapped = Offer(envelope=story.consignment, consignment=story.envelope, inline=(b"x" * 17,), **common)
    return [frame_bytes(offer)[LENGTH_BYTES + 1 :] for offer in (made, swapped)]


def read_statement(file: bytes) -> bytes:
    """The second item of a file [name, statement]."""
    found: bytes = decode(file, bytes_max=2**27)[1]
    return found


@cache
def sessions() -> list[bytes]:
    """Streams of the exchange: a hello, then anything."""
    frames = octets("exchange")
    hello = frames[0]
    centre = Hello(version_min=1, version_max=1, centre="00.12.W00", incarnation=bytes(16), given=0, held=0, time_ms=1)
    tail = frame_bytes(Ping(time_ms=5)) + frame_bytes(Bye(code="restart"))
    return [*(hello + frame for frame in frames[1:]), hello + tail, frame_bytes(centre) + tail + tail, *frames]


# --- signing again --------------------------------------------------------------------------


def resigned(wire: bytes) -> bytes:
    """The thing with signatures that are valid, as far as it names keys that are known here."""
    try:
        thing = Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX)
    except FormatError:
        return wire
    signers = [SIGNERS[item.key_id] for item in thing.signatures if item.key_id in SIGNERS]
    if not signers:
        return wire
    again = sign(thing.format, thing.statement, signers[0])
    for signer in signers[1:]:
        again = countersign(again, signer)
    return again.to_wire()


def mended_heap(file: bytes) -> bytes:
    """A directory file with valid signatures, in order."""
    wires = _lenient(file)
    return file if wires is None else write_file(map(resigned, wires))


def _lenient(file: bytes) -> Sequence[bytes] | None:
    try:
        value = glance(file, bytes_max=2**24)
    except FormatError:
        return None
    if type(value) is not list or len(value) != 2 or type(value[1]) is not list:
        return None
    wires = [wire for wire in value[1] if type(wire) is bytes]
    return wires or None


def mended_evidence(file: bytes) -> bytes:
    """An evidence file with valid signatures, in order."""
    try:
        story = EVIDENCE.decode(read_statement(file))
    except (FormatError, TypeError, LookupError):
        return file
    again = Evidence(
        envelope=resigned(story.envelope),
        consignment=resigned(story.consignment),
        receipts=tuple(map(resigned, story.receipts)),
        refusal=resigned(story.refusal),
        directory=_in_order(map(resigned, story.directory)),
        header=story.header,
        content_key=story.content_key,
        extensions=story.extensions,
    )
    return _evidence_file(again)


def _evidence_file(evidence: Evidence) -> bytes:
    return encode([EVIDENCE.name, EVIDENCE.encode(evidence)])


def _in_order(wires: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(wires)))
