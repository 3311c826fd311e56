"""Vectors of anchors and introductions: `python -m tests.support.joining_vectors` writes them.

Things are those of `tests/support/tree.py`, the same at every run; bytes that no writer makes are put together here.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from protocol.anchor import ANCHOR, PREFIX, Anchor, Contact, anchor_text, write_anchor
from protocol.directory import CENTRE, ROOT
from protocol.encoding import encode, lp
from protocol.reconcile_frames import Introduced, frame_bytes
from protocol.signing import Ed25519Signer
from tests.support.tree import Tree, key_seed, peer_id_of
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

PEERS: Final = tuple(peer_id_of(Ed25519Signer(key_seed(3, f"contact {n}"))) for n in range(17))
DIGEST: Final = sha256(b"root").digest()
ONE: Final = Contact(centre="00.12.W00", peer_id=PEERS[0], addresses=("/ip4/203.0.113.12/tcp/4601",))
TWO: Final = Contact(
    centre="00.38.W00", peer_id=PEERS[1], addresses=("/dns4/truc.example.gov.vn/tcp/4601", "/ip6/2001:db8::7/tcp/1")
)
SMALL: Final = Anchor(root_digest=DIGEST, contacts=(ONE,))
LARGE: Final = Anchor(root_digest=DIGEST, contacts=(ONE, TWO), name="Trục liên thông", extensions={128: "tương lai"})
FULL: Final = Anchor(
    root_digest=DIGEST,
    contacts=tuple(replace(ONE, centre=f"00.{n:02}.W00", peer_id=PEERS[n]) for n in range(16)),
)


# --- anchors --------------------------------------------------------------------------------


def anchors() -> list[Row]:
    """Files and texts."""
    good = [("one contact", SMALL), ("two contacts, a name, an extension", LARGE), ("sixteen contacts", FULL)]
    rows: list[Row] = [
        {"name": name, "hex": write_anchor(anchor).hex(), "text": anchor_text(anchor)} for name, anchor in good
    ]
    return rows + _bad_files() + _bad_texts()


def _bad_files() -> list[Row]:
    plain = ANCHOR.encode(SMALL)
    return [
        _file(
            "another root digest under the old check",
            [ANCHOR.name, _with(root=bytes([1]) * 32), _sum(plain)],
            "anchor_damaged",
        ),
        _file("no check", [ANCHOR.name, plain], "anchor_damaged"),
        _file("a later version", ["truc/anchor/2", plain, _sum(plain)], "format_newer"),
        _file("a directory file", ["truc/directory-file/1", []], "format_other"),
        _file("no list", {1: DIGEST}, "format_other"),
        _stated("a digest of zeros", _with(root=bytes(32)), "format_field", "root_digest"),
        _stated("a short digest", _with(root=DIGEST[:31]), "format_field", "root_digest"),
        _stated("nobody to ask", _with(contacts=[]), "format_field", "contacts"),
        _stated("seventeen contacts", _with(contacts=[_contact(n) for n in range(17)]), "format_field", "contacts"),
        _stated(
            "a centre twice", _with(contacts=[_contact(0), {**_contact(1), 1: "00.00.W00"}]), "format_field", "contacts"
        ),
        _stated(
            "a peer id twice", _with(contacts=[_contact(0), {**_contact(1), 2: PEERS[0]}]), "format_field", "contacts"
        ),
        _stated(
            "an agency in the place of a centre",
            _with(contacts=[{**_contact(0), 1: "H38.12.15"}]),
            "format_centre_code",
            "contacts[0].centre",
        ),
        _stated(
            "a peer id that is none",
            _with(contacts=[{**_contact(0), 2: "12D3KooW0"}]),
            "format_field",
            "contacts[0].peer_id",
        ),
        *(
            _stated(
                f"address {address!r}",
                _with(contacts=[{**_contact(0), 3: [address]}]),
                "format_field",
                "contacts[0].addresses[0]",
            )
            for address in (
                "10.0.0.5:4601",
                "/ip4/10.0.0.5/udp/4601",
                "/ip4/10.0.0.5/tcp/0",
                "/ip4/10.0.0.5/tcp/70000",
                "/ip4/10.0.0.5/tcp/4601/p2p/x",
                "/ip4//tcp/4601",
                "/ip4/a b/tcp/4601",
            )
        ),
        _stated(
            "an address twice",
            _with(contacts=[{**_contact(0), 3: ["/ip4/1.2.3.4/tcp/1"] * 2}]),
            "format_field",
            "contacts[0].addresses",
        ),
        _stated("no address", _with(contacts=[{**_contact(0), 3: []}]), "format_field", "contacts[0].addresses"),
        _stated("a name with a line end", {**_map(), 3: "a\nb"}, "format_field", "name"),
        _stated("an unknown key below 128", {**_map(), 4: 1}, "format_newer"),
        {
            "name": "more than 8 KiB",
            "hex": encode([ANCHOR.name, bytes(8_200), bytes(8)]).hex(),
            "error": "format_too_large",
        },
        {"name": "cut in the middle", "hex": write_anchor(SMALL)[:-9].hex(), "error": "anchor_damaged"},
    ]


def _bad_texts() -> list[Row]:
    text = anchor_text(SMALL)
    letter = "A" if text[-20] != "A" else "B"
    return [
        {
            "name": "broken over lines by mail",
            "text": f" {text[:70]}\r\n {text[70:]}\n",
            "hex": write_anchor(SMALL).hex(),
            "read": True,
        },
        {"name": "text without its end", "text": text[:-8], "error": "anchor_damaged"},
        {"name": "a letter changed", "text": text[:-20] + letter + text[-19:], "error": "anchor_damaged"},
        {"name": "with padding", "text": text + "=", "error": "anchor_damaged"},
        {"name": "a letter outside the alphabet", "text": text[:40] + "+" + text[41:], "error": "anchor_damaged"},
        {"name": "one letter", "text": PREFIX + "A", "error": "anchor_damaged"},
        {
            "name": "stray bits",
            "text": PREFIX + base64.urlsafe_b64encode(b"x").decode()[0] + "B",
            "error": "anchor_damaged",
        },
        {"name": "nothing", "text": PREFIX, "error": "anchor_damaged"},
    ]


def _contact(n: int) -> dict[int, Any]:
    return {1: f"00.{n:02}.W00", 2: PEERS[n], 3: ["/ip4/203.0.113.12/tcp/4601"]}


def _map(*, root: bytes = DIGEST, contacts: list[Any] | None = None) -> dict[int, Any]:
    return {1: root, 2: [_contact(0)] if contacts is None else contacts}


def _with(**changes: Any) -> bytes:
    return encode(_map(**changes))


def _sum(statement: bytes) -> bytes:
    return sha256(lp(ANCHOR.name, statement)).digest()[:8]


def _file(name: str, value: Any, error: str) -> Row:
    return {"name": name, "hex": encode(value).hex(), "error": error}


def _stated(name: str, statement: bytes | dict[int, Any], error: str, field: str = "") -> Row:
    wire = statement if isinstance(statement, bytes) else encode(statement)
    row = {"name": name, "hex": encode([ANCHOR.name, wire, _sum(wire)]).hex(), "error": error}
    return {**row, "field": field} if field else row


# --- introductions --------------------------------------------------------------------------


def introductions() -> list[Row]:
    """Frames, the peer id that the handshake proved, and what a look at them gives."""
    tree = Tree.make()
    root, record = tree.signed[0].to_wire(), tree.signed[1].to_wire()
    own, other = tree.centres["00.01.W00"].peer_id, tree.centres["00.02.W00"].peer_id
    second, agency = tree.signed[4].to_wire(), tree.signed[2].to_wire()
    later = tree.next_centre("00.01.W00", peer_id=PEERS[3])
    moved = tree.publish(later, tree.centres["00.01.W00"].signer).to_wire()
    newer = replace(tree.signed[1], format="truc/centre/2").to_wire()
    assert (tree.signed[0].format, tree.signed[1].format, tree.signed[4].format) == (
        ROOT.name,
        CENTRE.name,
        CENTRE.name,
    )
    many = [replace(tree.signed[0], statement=ROOT.encode(tree.root(version=n))).to_wire() for n in range(1, 33)]
    return [
        _introduced("root and record", [root, record], own, centre="00.01.W00"),
        _introduced("the record alone", [record], own, centre="00.01.W00"),
        _introduced("two versions of the record, the new peer", [root, record, moved], PEERS[3], centre="00.01.W00"),
        _introduced("nothing", [], own, error="introduction_unproven"),
        _introduced("a root alone", [root], own, error="introduction_unproven"),
        _introduced("another peer's record", [root, second], own, error="introduction_unproven"),
        _introduced("two centres", [record, second], other, error="introduction_unproven"),
        _introduced("an agency's record besides", [record, agency], own, error="introduction_unproven"),
        _introduced("a thing twice", [record, record], own, error="introduction_unproven"),
        _introduced("thirty-three things", [*many, record], own, error="introduction_unproven"),
        _introduced("a record of a later format", [root, newer], own, error="format_newer"),
        _introduced("no signed thing", [b"\\x93junk"], own, error="format_malformed"),
    ]


def _introduced(name: str, things: list[bytes], peer: str, **outcome: str) -> Row:
    return {"name": name, "hex": frame_bytes(Introduced(things=tuple(things))).hex(), "peer": peer, **outcome}


def main() -> None:
    """Write both files."""
    for name, rows in (("anchor", anchors()), ("introduction", introductions())):
        (FOLDER / f"{name}.json").write_text(written(rows), "utf-8")
        print(f"tests/vectors/{name}.json")


if __name__ == "__main__":
    main()
