"""Makes the vectors of the directory: `python -m tests.support.directory_vectors`.

`directory.json`: statements, `{"name", "format", "hex", "fields", "thing_digest"}` or with
`"error"` where reading must fail. `directory_file.json`: files. `trust.json`: scenarios, heaps of
signed things with anchor and times; what each was accepted as or rejected with; what is in force.
A test compares the committed files with what this module makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from protocol.court import Court
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
    KeyEntry,
    Lock,
    NodeRecord,
    RecordState,
)
from protocol.directory_file import FILE_FORMAT, write_file
from protocol.directory_import import import_things
from protocol.directory_kinds import DirectoryHistory
from protocol.directory_pending import due_changes
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import Format, decode, encode
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS
from protocol.signing import Ed25519Signer, Signed, Verifier, countersign, thing_digest
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
        _good("a centre with a key that was compromised before it was revoked", CENTRE,
              replace(centre, keys=(*centre.keys, _stolen(centre.keys[0])))),
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
        _bad("centre: a key compromised and not revoked", "format_field", CENTRE, centre,
             {8: [{**_key_wire(key, key.raw), 6: START_MS}]}),
        _bad("centre: a key compromised after it was revoked", "format_field", CENTRE, centre,
             {8: [{**_key_wire(key, key.raw), 5: START_MS, 6: START_MS + 1}]}),
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


def _stolen(entry: KeyEntry) -> KeyEntry:
    raw = Ed25519Signer(key_seed(1, "stolen")).public.raw
    return replace(entry, raw=raw, revoked_ms=START_MS + 2, compromised_ms=START_MS + 1)


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


DAY_LATER_MS: Final = TREE_READY_MS + DAY_MS

Arrivals = list[tuple[int, list[Signed]]]
"""What reaches a node, and when."""


def scenarios() -> list[Row]:
    """What reaches a node at what times, and what becomes of it."""
    return [
        _heap("the demo's tree", lambda tree: []),
        _heap("a move endorsed by the old host", lambda tree: [_move(tree, endorsed=True)]),
        _heap("a move that nobody endorsed, at a node that joins", lambda tree: [_move(tree, endorsed=False)]),
        _heap("a fork under one number", _fork),
        _heap("a delegated registrar outside its part of the tree", _outside),
        _heap("a prefix that is no ancestor", _prefix),
        _heap("an alias of another level-1 code, and one that the root gives", _alias),
        _heap("a record of a stranger, and one from the future", _strangers),
        _later("a silent take-over of the host is pending", lambda tree: [[_move(tree, endorsed=False)]]),
        _later("a silent take-over of the host, a day later", lambda tree: [[_move(tree, endorsed=False)]], DAY_MS),
        _later("an endorsed copy ends the waiting", _endorsed_later),
        _later("an urgent copy ends the waiting", _urgent_later),
        _later("the endorser's key arrives after the endorsement", _key_later),
        _later("the endorsement of what was taken back meanwhile changes the past only", _endorsed_too_late),
        _later("what the registrar says last replaces what is pending", _taken_back),
        _later("a row of versions with the same protected content waits once", _row, DAY_MS),
        _later("a version dated back lends its keys no past", _dated_back),
        _later("an older version arrives late and takes its place", _late),
        _later("a registrar is cut off while its take-over is pending", _stopped, DAY_MS),
        _later("what a compromised registrar key signed since", _compromised),
    ]


def _heap(name: str, more: Callable[[Tree], list[Signed]]) -> Row:
    """Everything at once, at a node that knows nothing."""
    tree = Tree.make()
    things = [*more(tree), *tree.signed]
    return _scenario(name, tree, [(TREE_READY_MS, things)], TREE_READY_MS)


def _later(name: str, more: Callable[[Tree], list[list[Signed]]], after_ms: int = 0) -> Row:
    """One heap a minute, at a node that has known the tree for a day."""
    tree = Tree.make()
    heaps = more(tree)
    first = [signed for signed in tree.signed if all(signed not in heap for heap in heaps)]
    arrivals = [(START_MS + HOUR_MS, first)]
    arrivals += [(TREE_READY_MS + index * MINUTE_MS, heap) for index, heap in enumerate(heaps)]
    return _scenario(name, tree, arrivals, arrivals[-1][0] + after_ms)


def _scenario(name: str, tree: Tree, arrivals: Arrivals, until_ms: int) -> Row:
    told = [
        {"now_ms": now_ms, "things": [signed.to_wire().hex() for signed in things]} for now_ms, things in arrivals
    ]
    row = {"name": name, "anchor": tree.anchor.hex(), "arrivals": told, "until_ms": until_ms}
    return {**row, **replay(row)}


def replay(row: Row) -> Row:
    """What becomes of the things of a scenario, in the words of its vector."""
    anchor, records, cache = bytes.fromhex(row["anchor"]), Staged(), RecordCache()
    accepted: dict[str, str] = {}
    rejected: dict[str, str] = {}
    for arrival in row["arrivals"]:
        _live_until(arrival["now_ms"], records, cache, anchor)
        result = import_things(
            [bytes.fromhex(wire) for wire in arrival["things"]],
            records,
            anchor=anchor,
            verifier=Verifier(),
            now_ms=arrival["now_ms"],
            cache=cache,
        )
        records.stage(result.changes)
        believed = (*result.accepted, *result.again)
        accepted.update({item.signed.digest.hex(): item.standing.name.lower() for item in believed})
        rejected.update({item.digest.hex(): item.error.code for item in result.rejected})
    _live_until(row["until_ms"], records, cache, anchor)
    view = DirectoryView(records, cache)
    histories = records.scan(DirectoryHistory)
    pending = {f"{item.subject} {item.code}": item.digest.hex() for item in view.all_pending()}
    in_force = {f"{item.subject} {item.code}": item.versions[0].digest.hex() for item in histories}
    return {"accepted": accepted, "rejected": rejected, "in_force": in_force, "pending": pending}


def _live_until(now_ms: int, records: Staged, cache: RecordCache, anchor: bytes) -> None:
    view = DirectoryView(records, cache)
    court = Court(lookup=view, verifier=Verifier(), now_ms=now_ms, anchor=anchor)
    records.stage(due_changes(view, court).changes)


def _endorsed_later(tree: Tree) -> list[list[Signed]]:
    plain = _move(tree, endorsed=False)
    return [[plain], [countersign(plain, tree.centres["00.01.W00"].signer)]]


def _urgent_later(tree: Tree) -> list[list[Signed]]:
    plain = _move(tree, endorsed=False)
    return [[plain], [countersign(plain, tree.root_signers[0])]]


def _key_later(tree: Tree) -> list[list[Signed]]:
    host = tree.centres["00.01.W00"]
    fresh = Ed25519Signer(key_seed(1, "fresh"))
    rotated = tree.next_centre(host.code, keys=(entry_of(fresh), *tree.centre_records[host.code].keys))
    moved = countersign(_move(tree, endorsed=False), fresh)
    return [[moved], [tree.sign(CENTRE, rotated, [*tree.level_1_signers, host.signer])]]


def _endorsed_too_late(tree: Tree) -> list[list[Signed]]:
    plain = _move(tree, endorsed=False)
    back = tree.sign(AGENCY, tree.next_agency("G22.99", epoch=3), tree.level_1_signers)
    return [[plain], [back], [countersign(plain, tree.centres["00.01.W00"].signer)]]


def _taken_back(tree: Tree) -> list[list[Signed]]:
    plain = _move(tree, endorsed=False)
    return [[plain], [tree.sign(AGENCY, tree.next_agency("G22.99", kind="vụ"), tree.level_1_signers)]]


def _row(tree: Tree) -> list[list[Signed]]:
    moves = [tree.next_agency("G22.99", host="00.02.W00", epoch=2, kind=kind) for kind in ("vụ", "cục")]
    return [[tree.sign(AGENCY, record, tree.level_1_signers)] for record in moves]


def _dated_back(tree: Tree) -> list[list[Signed]]:
    key = entry_of(Ed25519Signer(key_seed(1, "stranger")))
    dates = [tree.agencies["G12"].created_ms + step for step in (-1, 60_000)]
    tree.publish(tree.next_agency("G12", kind="bộ", created_ms=START_MS + HOUR_MS))
    forged = [tree.next_agency("G12", keys=(key,), created_ms=created_ms) for created_ms in dates]
    return [[tree.sign(AGENCY, record, tree.level_1_signers)] for record in forged]


def _late(tree: Tree) -> list[list[Signed]]:
    late = tree.sign(AGENCY, tree.next_agency("G12", state=RecordState.LOCKED), tree.level_1_signers)
    tree.publish(tree.next_agency("G12"))
    return [[late]]


def _stopped(tree: Tree) -> list[list[Signed]]:
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    stolen = tree.sign(AGENCY, tree.next_agency("H38.12", host="00.01.W00", epoch=2), tree.registrars["H38"])
    cut = tree.sign(AGENCY, tree.next_agency("H38", delegation=Delegation()), tree.level_1_signers)
    return [[stolen], [cut]]


def _compromised(tree: Tree) -> list[list[Signed]]:
    entry = tree.delegate("H38").delegation.keys[0]
    since = tree.sign(AGENCY, tree.new_agency("H38.12", "00.03.W00", registrar="H38"), tree.registrars["H38"])
    stolen = replace(entry, revoked_ms=tree.clock_ms, compromised_ms=tree.clock_ms)
    fresh = entry_of(Ed25519Signer(key_seed(1, "fresh")))
    record = tree.next_agency("H38", delegation=Delegation(keys=(fresh, stolen)))
    told = tree.sign(AGENCY, record, [*tree.level_1_signers, tree.centres["00.03.W00"].signer])
    return [[told], [since]]


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
