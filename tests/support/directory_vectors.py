"""Makes the vectors of the directory: `python -m tests.support.directory_vectors`.

`directory.json`: statements, `{"name", "format", "hex", "fields", "thing_digest"}` or with
`"error"` where reading must fail. `directory_file.json`: files. `trust.json`: scenarios, a heap
of signed things with anchor and time, and which of them are accepted or rejected with what code.
A test compares the committed files with what this module makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from protocol.directory import (
    AGENCY,
    AGENCY_REQUEST,
    CENTRE,
    CENTRE_REQUEST,
    LOCK,
    NODE,
    ROLE_ROOT,
    ROOT,
    AgencyRequest,
    CentreRequest,
    Delegation,
    Lock,
    NodeRecord,
    RecordState,
)
from protocol.directory_file import FILE_FORMAT, write_file
from protocol.directory_import import import_things
from protocol.directory_view import RecordCache
from protocol.encoding import Format, decode, encode
from protocol.limits import DAY_MS
from protocol.signing import Ed25519Signer, Signed, Verifier, thing_digest
from protocol.staged import Staged
from tests.support.statement_vectors import plain
from tests.support.tree import START_MS, TREE_READY_MS, Tree, entry_of, key_seed

FOLDER: Final = Path(__file__).parent.parent / "vectors"
Row = dict[str, Any]

SMALL_ORDER: Final = bytes(32)
"""An Ed25519 point of order 4."""


def statements() -> list[Row]:
    """Good and bad statements of every format."""
    tree = Tree.make()
    agency = replace(
        tree.next_agency("H38", state=RecordState.CLOSED, successors=("H39", "H40")),
        aliases=("000.00.00.H38",),
        kind="province",
        decision="01/QĐ-UBND",
        keys=(entry_of(Ed25519Signer(key_seed(1, "own"))),),
        delegation=Delegation(keys=(entry_of(Ed25519Signer(key_seed(1, "below"))),), parts=("H38.12",)),
        extensions={200: "tương lai"},
    )
    centre = tree.centre_records["00.01.W00"]
    node = NodeRecord(
        centre=centre.code,
        peer_id=centre.peer_id,
        from_ms=START_MS,
        until_ms=START_MS + 7 * DAY_MS,
        addresses=("/ip4/127.0.0.1/tcp/4001",),
        features=("inline",),
        versions=("truc/envelope/1",),
        software="truc-node",
    )
    request = CentreRequest(
        created_ms=START_MS,
        code=centre.code,
        names=centre.names,
        peer_id=centre.peer_id,
        keys=centre.keys,
        sealing=centre.sealing,
    )
    wish = AgencyRequest(created_ms=START_MS, code="G22.99", names=centre.names, host=centre.code, parent="G22")
    good = [
        _good("a root with one key for each role", ROOT, tree.root()),
        _good("a centre", CENTRE, centre),
        _good("an agency of level 1 with nothing optional", AGENCY, tree.agencies["G12"]),
        _good("a closed agency with everything optional and an extension", AGENCY, agency),
        _good("an agency with a primary code of the old form", AGENCY,
              replace(tree.agencies["G12"], code="000.00.80.G12")),
        _good("an agency of the old form below another", AGENCY,
              replace(tree.agencies["G12"], code="000.00.80.G12", parent="000.00.00.G12")),
        _good("a node", NODE, node),
        _good("a self-lock", LOCK, Lock(code="H38", created_ms=START_MS, reason="nghi lộ khóa")),
        _good("a centre's request", CENTRE_REQUEST, request),
        _good("an agency's request", AGENCY_REQUEST, wish),
    ]
    return good + _bad_statements(tree, node)


def _good(name: str, form: Format[Any], value: Any) -> Row:
    statement = form.encode(value)
    digest = thing_digest(form.name, statement).hex()
    return {
        "name": name,
        "format": form.name,
        "hex": statement.hex(),
        "fields": plain(value),
        "thing_digest": digest,
    }


def _bad_statements(tree: Tree, node: NodeRecord) -> list[Row]:
    root, centre, agency = tree.root(), tree.centre_records["00.01.W00"], tree.agencies["G12"]
    key = entry_of(tree.centres["00.01.W00"].signer)
    below = tree.new_agency("H38.12", "00.03.W00")
    return [
        _bad("agency: a code in lower case", "format_agency_code", AGENCY, agency, {5: "g12"}),
        _bad("agency: the host is no centre code", "format_centre_code", AGENCY, agency, {7: "000000000"}),
        _bad("agency: no name", "format_field", AGENCY, agency, {6: {1: ""}}),
        _bad("agency: a name with a blank at its end", "format_field", AGENCY, agency, {6: {1: "Bộ "}}),
        _bad("agency: a parent of a level-1 code", "format_field", AGENCY, agency, {9: "G22"}),
        _bad("agency: no parent of a lower code", "format_agency_code", AGENCY, below, {9: None}),
        _bad("agency: a parent that is a prefix, not an ancestor", "format_field", AGENCY, below, {9: "H38.1"}),
        _bad("agency: an old-form parent of another level-1 code", "format_field", AGENCY,
             replace(agency, code="000.00.80.G12"), {9: "000.00.00.G22"}),
        _bad("agency: epoch 0", "format_field", AGENCY, agency, {8: 0}),
        _bad("agency: an unknown state", "format_field", AGENCY, agency, {12: 3}),
        _bad("agency: an alias twice", "format_field", AGENCY, agency, {11: ["000.00.00.G12", "000.00.00.G12"]}),
        _bad("agency: its own alias", "format_field", AGENCY, agency, {11: ["G12"]}),
        _bad("agency: its own successor", "format_field", AGENCY, agency, {13: ["G12"]}),
        _bad("agency: a small-order key", "key_small_order", AGENCY, agency, {15: [_key_wire(key, SMALL_ORDER)]}),
        _bad("agency: a key that is no point", "key_malformed", AGENCY, agency, {15: [_key_wire(key, b"\xff" * 32)]}),
        _bad("agency: a sealing key as signing key", "format_field", AGENCY, agency,
             {15: [_key_wire(key, b"\x09" + bytes(31), "x25519")]}),
        _bad("agency: a delegation outside its tree", "format_field", AGENCY, agency,
             {16: {1: [_key_wire(key, key.raw)], 4: ["H38.1"]}}),
        _bad("agency: parts without keys", "format_field", AGENCY, agency, {16: {4: ["G12.1"]}}),
        _bad("agency: a threshold above its keys", "format_field", AGENCY, agency,
             {16: {1: [_key_wire(key, key.raw)], 2: 2}}),
        _bad("agency: an unknown key below 128", "format_newer", AGENCY, agency, {99: 1}),
        _bad("agency: a default written out", "format_not_canonical", AGENCY, agency, {12: 0}),
        _bad("agency: a registrar that is neither role nor code", "format_agency_code", AGENCY, agency, {1: "boss"}),
        _bad("centre: no operational key", "format_field", CENTRE, centre, {8: []}),
        _bad("centre: a key that ends before it begins", "format_field", CENTRE, centre,
             {8: [{1: "ed25519", 2: key.raw, 3: START_MS, 4: START_MS}]}),
        _bad("centre: a signing key as sealing key", "format_field", CENTRE, centre, {9: [_key_wire(key, key.raw)]}),
        _bad("centre: a small-order sealing key", "key_small_order", CENTRE, centre,
             {9: [_key_wire(key, SMALL_ORDER, "x25519")]}),
        _bad("centre: one key twice", "format_field", CENTRE, centre, {8: [_key_wire(key, key.raw)] * 2}),
        _bad("root: roles in the wrong order", "format_field", ROOT, root, {5: _wire(ROOT, root)[5][::-1]}),
        _bad("root: a role with a key that is not listed", "format_field", ROOT, root,
             {5: [{1: "level-1", 2: [bytes(32)], 3: 1}, _wire(ROOT, root)[5][1]]}),
        _bad("root: a threshold above its keys", "format_field", ROOT, root,
             {5: [{**_wire(ROOT, root)[5][0], 3: 2}, _wire(ROOT, root)[5][1]]}),
        _bad("node: valid for more than a week", "format_field", NODE, node, {4: node.until_ms + 1}),
        _bad("node: an address twice", "format_field", NODE, node, {5: ["/a", "/a"]}),
        _bad("lock: no code", "format_agency_code", LOCK, Lock(code="H38", created_ms=1), {1: "x"}),
    ]


def _key_wire(entry: Any, raw: bytes, algorithm: str = "ed25519") -> dict[int, Any]:
    return {1: algorithm, 2: raw, 3: entry.from_ms, 4: entry.until_ms}


def _wire(form: Format[Any], value: Any) -> dict[int, Any]:
    wire: dict[int, Any] = decode(form.encode(value), bytes_max=form.bytes_max)
    return wire


def _bad(name: str, error: str, form: Format[Any], value: Any, changes: dict[int, Any]) -> Row:
    wire = {key: item for key, item in {**_wire(form, value), **changes}.items() if item is not None}
    return {"name": name, "format": form.name, "hex": encode(wire).hex(), "error": error}


# --- files ----------------------------------------------------------------------------------


def files() -> list[Row]:
    """Directory files, readable and not."""
    tree = Tree.bare()
    one, two = sorted([tree.signed[0].to_wire(), b"anything"])
    return [
        {"name": "empty", "hex": write_file([]).hex(), "things": []},
        {"name": "a root and junk", "hex": write_file([two, one]).hex(), "things": [one.hex(), two.hex()]},
        {"name": "wrong order", "hex": encode([FILE_FORMAT, [two, one]]).hex(), "error": "format_field"},
        {"name": "one thing twice", "hex": encode([FILE_FORMAT, [one, one]]).hex(), "error": "format_field"},
        {"name": "a text among the things", "hex": encode([FILE_FORMAT, ["x"]]).hex(), "error": "format_field"},
        {"name": "a newer version", "hex": encode(["truc/directory-file/2", []]).hex(), "error": "format_newer"},
        {"name": "another format", "hex": encode(["truc/evidence/1", []]).hex(), "error": "format_other"},
        {"name": "no list", "hex": encode({1: 2}).hex(), "error": "format_other"},
        {"name": "cut off", "hex": encode([FILE_FORMAT, [one]])[:-1].hex(), "error": "format_malformed"},
    ]


# --- trust ----------------------------------------------------------------------------------


def scenarios() -> list[Row]:
    """Heaps of things, and what becomes of them."""
    return [
        _scenario("the demo's tree", lambda tree: []),
        _scenario("a move endorsed by the old host", lambda tree: [_move(tree, endorsed=True)]),
        _scenario("a silent take-over of the host", lambda tree: [_move(tree, endorsed=False)]),
        _scenario("a fork under one number", _fork),
        _scenario("a delegated registrar outside its part of the tree", _outside),
        _scenario("a prefix that is no ancestor", _prefix),
        _scenario("an alias of another level-1 code", _alias),
        _scenario("a record of a stranger, and one from the future", _strangers),
    ]


def _scenario(name: str, more: Callable[[Tree], list[Signed]]) -> Row:
    tree = Tree.make()
    things = [*more(tree), *tree.signed]
    result = import_things(
        [item.to_wire() for item in things],
        Staged(),
        anchor=tree.anchor,
        verifier=Verifier(),
        now_ms=TREE_READY_MS,
        cache=RecordCache(),
    )
    return {
        "name": name,
        "anchor": tree.anchor.hex(),
        "now_ms": TREE_READY_MS,
        "things": [item.to_wire().hex() for item in things],
        "accepted": [item.signed.digest.hex() for item in result.accepted],
        "rejected": {item.digest.hex(): item.error.code for item in result.rejected},
    }


def _move(tree: Tree, *, endorsed: bool) -> Signed:
    moved = tree.next_agency("G22.99", host="00.02.W00", epoch=2)
    endorser = [tree.centres["00.01.W00"].signer] if endorsed else []
    return tree.sign(AGENCY, moved, [*tree.level_1_signers, *endorser])


def _fork(tree: Tree) -> list[Signed]:
    other = replace(tree.agencies["H38"], kind="khác", created_ms=tree.tick())
    later = tree.next_agency("G12", state=RecordState.LOCKED)
    return [tree.sign(AGENCY, record, tree.level_1_signers) for record in (other, later)]


def _outside(tree: Tree) -> list[Signed]:
    tree.delegate("H38")
    records = [tree.new_agency(code, "00.03.W00", registrar="H38") for code in ("H38.12", "G12.18")]
    return [tree.sign(AGENCY, record, tree.registrars["H38"]) for record in records]


def _prefix(tree: Tree) -> list[Signed]:
    tree.add_agency("H38.1", "00.03.W00")
    tree.delegate("H38.1")
    records = [tree.new_agency(code, "00.03.W00", registrar="H38.1") for code in ("H38.1.2", "H38.12")]
    return [tree.sign(AGENCY, record, tree.registrars["H38.1"]) for record in records]


def _alias(tree: Tree) -> list[Signed]:
    taken = tree.next_agency("H38", aliases=("000.00.00.G12",))
    by_root = replace(tree.next_agency("G12", aliases=("H99",)), registrar=ROLE_ROOT, number=1)
    return [
        tree.sign(AGENCY, taken, tree.level_1_signers),
        tree.sign(AGENCY, by_root, tree.root_signers),
    ]


def _strangers(tree: Tree) -> list[Signed]:
    stranger = Ed25519Signer(key_seed(1, "stranger"))
    future = tree.next_agency("G12", created_ms=TREE_READY_MS + DAY_MS)
    return [
        tree.sign(AGENCY, tree.next_agency("G22", kind="khác"), [stranger]),
        tree.sign(AGENCY, future, tree.level_1_signers),
    ]


FILES: Final[dict[str, Callable[[], list[Row]]]] = {
    "directory": statements,
    "directory_file": files,
    "trust": scenarios,
}


def written(rows: list[Row]) -> str:
    """The text of a vector file: one row a line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def main() -> None:
    """Write the files again."""
    for name, make in FILES.items():
        (FOLDER / f"{name}.json").write_text(written(make()), "utf-8")
        print(f"tests/vectors/{name}.json")


if __name__ == "__main__":
    main()
