"""Makes the vectors of checkpoints and prefix trees: `python -m tests.support.checkpoint_vectors`.

`checkpoint.json`: statements and fork proofs, with `"error"` where reading must fail.
`prefix_tree.json`: sets of leaves with their root and what is below some prefixes; keys of
subjects; prefixes that are none. A test compares the committed files with what this module makes.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from protocol.checkpoint import (
    CHECKPOINT,
    FORK,
    HEARTBEAT,
    Checkpoint,
    Fork,
    Heartbeat,
    check_fork,
    fork_code,
    fork_name,
    fork_of,
    fork_wire,
    read_checkpoint,
    read_fork,
    read_heartbeat,
)
from protocol.directory import KeyEntry
from protocol.directory_kinds import Subject
from protocol.encoding import decode, encode
from protocol.errors import TrucError
from protocol.prefix_tree import PrefixTree, prefix_of, tree_key
from protocol.signing import Ed25519Signer, Signed, thing_digest
from tests.support.reconcile_store import agency, checkpoint, lock
from tests.support.statement_vectors import plain
from tests.support.tree import START_MS, entry_of, key_seed
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

KEY: Final = entry_of(Ed25519Signer(key_seed(9, "heartbeat")))
FIRST: Final = Checkpoint(
    registrar="H38", generation=1, number=4, created_ms=START_MS, count=3, root=sha256(b"root").digest()
)
LATER: Final = replace(
    FIRST, number=9, count=6, previous=sha256(b"before").digest(), heartbeat=(KEY,), extensions={200: "tương lai"}
)
NOTHING_YET: Final = replace(FIRST, registrar="level-1", number=1, count=0, root=bytes(32))
BEAT: Final = Heartbeat(registrar="H38", generation=1, checkpoint=sha256(b"it").digest(), created_ms=START_MS)

BEFORE: Final = sha256(b"the one before").digest()
TWO: Final = (agency("H38", 5, "H38.1"), agency("H38", 5, "H38.2"))


# --- checkpoint.json ------------------------------------------------------------------------


def checkpoints() -> list[Row]:
    """Statements and fork proofs, good and bad."""
    good = [
        _good("the first checkpoint of a generation", CHECKPOINT.name, CHECKPOINT.encode(FIRST), FIRST),
        _good("a later one with a heartbeat key and an extension", CHECKPOINT.name, CHECKPOINT.encode(LATER), LATER),
        _good("nothing registered yet", CHECKPOINT.name, CHECKPOINT.encode(NOTHING_YET), NOTHING_YET),
        _good("a heartbeat", HEARTBEAT.name, HEARTBEAT.encode(BEAT), BEAT),
        _good_fork("two records under one number", *TWO),
        _good_fork("the same two the other way round", *reversed(TWO)),
        _good_fork("a record and a checkpoint under one number", TWO[0], checkpoint("H38", 5)),
        _good_fork("two checkpoints after one", *(checkpoint("H38", n, previous=BEFORE) for n in (7, 9))),
        _good_fork("two first checkpoints", checkpoint("H38", 7), checkpoint("H38", 9)),
    ]
    return [*good, *(_explained(row) for row in _bad_statements()), *(_explained(row) for row in _bad_forks())]


def _good(name: str, form: str, statement: bytes, value: Any) -> Row:
    digest = thing_digest(form, statement).hex()
    return {"name": name, "format": form, "hex": statement.hex(), "fields": plain(value), "thing_digest": digest}


def _good_fork(name: str, one: Signed, other: Signed) -> Row:
    proof = fork_of(one, other)
    claim = check_fork(proof)
    return {
        "name": name,
        "format": FORK.name,
        "hex": fork_wire(proof).hex(),
        "things": [one.to_wire().hex(), other.to_wire().hex()],
        "registrar": claim.registrar,
        "generation": claim.generation,
        "number": claim.number,
        "fork_name": fork_name(claim.registrar, claim.generation).hex(),
    }


def _changed(value: Checkpoint | Heartbeat, key: int, item: Any) -> bytes:
    form = CHECKPOINT if isinstance(value, Checkpoint) else HEARTBEAT
    wire = decode(form.encode(value), bytes_max=100_000)  # type: ignore[arg-type]  # form fits value
    wire[key] = item
    return encode(wire)


def _listed(*entries: KeyEntry) -> bytes:
    return CHECKPOINT.encode(replace(LATER, heartbeat=entries))


def _bad_statements() -> list[Row]:
    mark, beat = CHECKPOINT.name, HEARTBEAT.name
    return [
        _bad("no number", mark, _changed(FIRST, 3, 0)),
        _bad("no generation", mark, _changed(FIRST, 2, 0)),
        _bad("a registrar that is none", mark, _changed(FIRST, 1, "boss")),
        _bad("as many records as numbers", mark, _changed(FIRST, 5, 4)),
        _bad("no record, but a root", mark, _changed(FIRST, 5, 0)),
        _bad("records, but no root", mark, _changed(FIRST, 6, bytes(32))),
        _bad("a root of 31 bytes", mark, _changed(FIRST, 6, bytes(31))),
        _bad("something before number 1", mark, _changed(NOTHING_YET, 7, bytes(31) + b"\x01")),
        _bad("a default written out", mark, _changed(FIRST, 7, bytes(32))),
        _bad("an unknown key below 128", mark, _changed(FIRST, 9, 1)),
        _bad("five heartbeat keys", mark, _changed(LATER, 8, _key_maps(5))),
        _bad("a heartbeat key twice", mark, _listed(KEY, KEY)),
        _bad("a heartbeat key that ends before it begins", mark, _listed(replace(KEY, until_ms=KEY.from_ms))),
        _bad("a sealing key", mark, _listed(replace(KEY, algorithm="x25519"))),
        _bad("a heartbeat key of small order", mark, _listed(replace(KEY, raw=bytes(32)))),
        _bad("a heartbeat key of 31 bytes", mark, _listed(replace(KEY, raw=bytes(31)))),
        _bad("a heartbeat that counts", beat, _changed(BEAT, 5, 1)),
        _bad("a heartbeat of nobody", beat, _changed(BEAT, 1, "")),
        _bad("a heartbeat of a registrar that is none", beat, _changed(BEAT, 1, "h38")),
    ]


def _key_maps(count: int) -> list[Any]:
    keys = [entry_of(Ed25519Signer(key_seed(9, str(number)))) for number in range(count)]
    return [{1: key.algorithm, 2: key.raw, 3: key.from_ms, 4: key.until_ms} for key in keys]


def _bad_forks() -> list[Row]:
    proof = fork_of(*TWO)
    one, other = proof.first, proof.second

    def bad(name: str, first: bytes, second: bytes) -> Row:
        return _bad(name, FORK.name, fork_wire(Fork(first=first, second=second)))

    statement = FORK.encode(proof)
    return [
        bad("the same thing twice", one, one),
        bad("the larger digest first", other, one),
        bad("another number", one, agency("H38", 6, "H38.2").to_wire()),
        bad("another generation", one, agency("H38", 5, "H38.2", generation=2).to_wire()),
        bad("another registrar", one, agency("level-1", 5, "H38.2").to_wire()),
        bad("two checkpoints after two others", *_after(BEFORE, sha256(b"another").digest())),
        bad("two checkpoints after one, of two generations", *_after(BEFORE, BEFORE, generation=2)),
        bad("things without numbers", lock("H38", START_MS).to_wire(), lock("H39", START_MS).to_wire()),
        bad("a thing that cannot be read", b"\xc1", other),
        _bad("a proof with signatures", FORK.name, encode([FORK.name, statement, [1]])),
        _bad("a proof of two elements and a half", FORK.name, fork_wire(proof)[:-1]),
        _bad("a proof that is no statement", FORK.name, encode([FORK.name, 1, []])),
    ]


def _after(one: bytes, other: bytes, **more: Any) -> list[bytes]:
    two = (checkpoint("H38", 7, previous=one), checkpoint("H38", 9, previous=other, **more))
    return [thing.to_wire() for thing in sorted(two, key=lambda thing: thing.digest)]


def _bad(name: str, form: str, octets: bytes) -> Row:
    return {"name": name, "format": form, "hex": octets.hex()}


def failure(form: str, octets: bytes) -> TrucError:
    """The error in reading what must not pass."""
    readers = {CHECKPOINT.name: read_checkpoint, HEARTBEAT.name: read_heartbeat, FORK.name: read_fork}
    try:
        readers[form](octets)
    except TrucError as error:
        return error
    raise AssertionError("nothing is wrong with it")


def _explained(row: Row) -> Row:
    error = failure(row["format"], bytes.fromhex(row["hex"]))
    return {**row, "error": error.code, "field": error.field}


# --- prefix_tree.json -----------------------------------------------------------------------


def _leaf(number: int) -> tuple[bytes, bytes]:
    return sha256(b"key %d" % number).digest(), sha256(b"digest %d" % number).digest()


def _beside(*last: int) -> list[tuple[bytes, bytes]]:
    return [(b"\xaa" * 31 + bytes((octet,)), _leaf(octet)[1]) for octet in last]


TREES: Final[list[tuple[str, list[tuple[bytes, bytes]], list[tuple[int, int]]]]] = [
    ("no leaf", [], [(0, 0), (8, 0x7F)]),
    ("one leaf", [_leaf(1)], [(0, 0), (4, _leaf(1)[0][0] >> 4), (4, 15 - (_leaf(1)[0][0] >> 4))]),
    ("two leaves that differ in the first bit", [(bytes(32), _leaf(1)[1]), (b"\xff" * 32, _leaf(2)[1])], [(0, 0)]),
    ("two leaves that differ in the last bit", _beside(0xA0, 0xA1), [(0, 0), (252, int("aa" * 31 + "a", 16))]),
    ("three leaves, two close", [_leaf(1), *_beside(0x10, 0x20)], [(0, 0), (4, 0xA), (248, int("aa" * 31, 16))]),
    ("twenty leaves", [_leaf(number) for number in range(20)], [(0, 0), (4, 0), (4, 3), (8, 0x33)]),
    ("seventy leaves", [_leaf(number) for number in range(70)], [(0, 0), (4, 7), (8, 0x7F)]),
]

TREE_KEYS: Final = [
    ("a centre", int(Subject.CENTRE), "00.22.W00"),
    ("an agency", int(Subject.AGENCY), "H38.12"),
    ("a node", int(Subject.NODE), "00.22.W00"),
    ("a self-lock", int(Subject.LOCK), "H38.12"),
    ("a heartbeat", int(Subject.HEARTBEAT), "level-1"),
    ("a fork", int(Subject.FORK), fork_code("H38", 2)),
    ("a pending version", int(Subject.PENDING), "3/H38.12"),
    ("a version in force beside a pending one", int(Subject.MEANWHILE), "2/00.22.W00"),
]

_NO_PREFIX: Final = [
    ("bits that are no multiple of four", 3, b"\x20"),
    ("more bits than a key has", 260, bytes(33)),
    ("a byte too few", 12, b"\xaa"),
    ("a byte too many", 8, b"\xaa\x00"),
    ("a bit behind the last", 4, b"\x18"),
]


def prefix_trees() -> list[Row]:
    """Trees, keys, and what is no prefix."""
    trees = [_tree_row(name, dict(leaves), places) for name, leaves, places in TREES]
    keys = [
        {"name": f"key of {name}", "subject": subject, "code": code, "tree_key": tree_key(subject, code).hex()}
        for name, subject, code in TREE_KEYS
    ]
    bad = [
        {"name": name, "bits": bits, "value": value.hex(), "error": "format_field"} for name, bits, value in _NO_PREFIX
    ]
    return [*trees, *keys, *bad]


def _tree_row(name: str, leaves: dict[bytes, bytes], places: list[tuple[int, int]]) -> Row:
    made = PrefixTree.of_sorted(sorted(leaves.items()))
    return {
        "name": name,
        "leaves": [[key.hex(), digest.hex()] for key, digest in sorted(leaves.items())],
        "root": made.root.hex(),
        "below": [_node_row(made, bits, number) for bits, number in places],
    }


def _node_row(made: PrefixTree, bits: int, number: int) -> Row:
    prefix = prefix_of(bits, number)
    node = made.below(prefix)
    shown = {"key": node.key.hex(), "digest": node.digest.hex(), "below": [item.hex() for item in node.below]}
    return {"bits": bits, "value": prefix.value.hex(), **{name: item for name, item in shown.items() if item}}


FILES: Final = {"checkpoint": checkpoints, "prefix_tree": prefix_trees}


def write(folder: Path = FOLDER) -> None:
    """Write the files."""
    for name, make in FILES.items():
        (folder / f"{name}.json").write_text(written(make()), encoding="utf-8")


if __name__ == "__main__":
    write()
