"""Makes the vectors of trees, signing and sealing (see `vectors.py`).

Everything comes from fixed keys, except the stanza, whose randomness is HPKE's own: it was
made once and stands here.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.encoding import encode
from protocol.merkle import inclusion_paths, tree_root
from protocol.sealing import (
    SealingKey,
    body_digest,
    header_keys,
    keyed_index,
    seal_all,
    stanza_info,
    vault_subkey,
    vault_wrap,
)
from protocol.signing import Ed25519Signer, Signed, countersign, sign, sign_batch
from tests.support.vectors_encoding import Row, pattern

# --- signing ------------------------------------------------------------------------------


def _changed(signed: Signed, **changes: Any) -> Any:
    """The wire of a thing whose first signature has been changed in one place."""
    first = signed.signatures[0]
    row = {n: changes.get(n, getattr(first, n)) for n in ("key_id", "signature", "tree_size", "leaf_index", "path")}
    rows = [list(row.values())] + [
        [s.key_id, s.signature, s.tree_size, s.leaf_index, s.path] for s in signed.signatures[1:]
    ]
    return [signed.format, signed.statement, rows]


def _flipped(octets: bytes, at: int = 0) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def signing() -> list[Row]:
    one, two = Ed25519Signer(b"\x01" * 32), Ed25519Signer(b"\x02" * 32)
    text = "truc/example/1"
    single = sign(text, b"\x80", one)
    batch = sign_batch(text, [b"%d" % n for n in range(7)], one)
    both = countersign(single, two)
    other = sign("truc/example/2", b"\x80", one)
    resized = Signed.from_wire(encode(_changed(batch[0], tree_size=8)), bytes_max=1000)
    keys: list[Row] = [
        {
            "name": f"key {s.public.raw.hex()[:8]}",
            "seed": seed.hex(),
            "key": s.public.raw.hex(),
            "key_id": s.public.key_id.hex(),
        }
        for s, seed in ((one, b"\x01" * 32), (two, b"\x02" * 32))
    ]
    good: list[Row] = [
        {"name": name, "wire": signed.to_wire().hex(), "key": signer.public.raw.hex(), "digest": signed.digest.hex()}
        for name, signed, signer in (
            ("one statement", single, one),
            ("first of seven", batch[0], one),
            ("last of seven, a short path", batch[6], one),
            ("another size of the tree with the same path: no signature covers the size", resized, one),
            ("two signatures, the first key", both, one),
            ("two signatures, the second key", both, two),
        )
    ]
    own = single.signatures[0]
    row = [own.key_id, own.signature, 1, 0, []]
    order = int.from_bytes(own.signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    bad: list[tuple[str, Any, str]] = [
        ("no signature of this key", sign(text, b"\x80", two).to_wire(), "signature_missing"),
        ("statement changed", [text, b"\x81", [row]], "signature_invalid"),
        ("format changed", ["truc/example/2", b"\x80", [row]], "signature_invalid"),
        (
            "signature of the same statement in another format",
            [text, b"\x80", [_changed(other)[2][0]]],
            "signature_invalid",
        ),
        ("signature changed", _changed(single, signature=_flipped(own.signature)), "signature_invalid"),
        ("signature empty of meaning", _changed(single, signature=bytes(64)), "signature_invalid"),
        ("signature shortened", _changed(single, signature=own.signature[:63]), "signature_invalid"),
        (
            "signature with s + order of the group",
            _changed(single, signature=own.signature[:32] + order.to_bytes(32, "little")),
            "signature_invalid",
        ),
        ("another place in the tree", _changed(batch[0], leaf_index=1), "signature_invalid"),
        ("a size of the tree that needs a longer path", _changed(batch[0], tree_size=9), "signature_path"),
        (
            "path changed",
            _changed(batch[0], path=(_flipped(batch[0].signatures[0].path[0]), *batch[0].signatures[0].path[1:])),
            "signature_invalid",
        ),
        ("path too short", _changed(batch[0], path=batch[0].signatures[0].path[:-1]), "signature_path"),
        ("path too long", _changed(batch[0], path=(*batch[0].signatures[0].path, bytes(32))), "signature_path"),
        ("a path for a tree of one", _changed(single, path=(bytes(32),)), "signature_path"),
        ("no signatures", [text, b"\x80", []], "format_field"),
        (
            "seventeen signatures",
            [text, b"\x80", [[bytes([n]) * 32, b"x", 1, 0, []] for n in range(17)]],
            "format_field",
        ),
        ("the same key twice", [text, b"\x80", [row, row]], "format_field"),
        ("keys in descending order", [text, b"\x80", _changed(both)[2][::-1]], "format_field"),
        ("format name in capitals", ["TRUC/example/1", b"\x80", [row]], "format_field"),
        ("format name without version", ["truc/example", b"\x80", [row]], "format_field"),
        ("statement as text", [text, "x", [row]], "format_field"),
        ("four elements", [text, b"\x80", [row], 1], "format_field"),
        ("a map", {1: text}, "format_field"),
        ("signature row too short", [text, b"\x80", [row[:4]]], "format_field"),
        ("key id of 31 bytes", _changed(single, key_id=bytes(31)), "format_field"),
        ("empty signature", _changed(single, signature=b""), "format_field"),
        ("place outside the tree", _changed(single, leaf_index=1), "format_field"),
        ("boolean as place", _changed(single, leaf_index=False), "format_field"),
        ("tree of size zero", _changed(single, tree_size=0), "format_field"),
        ("tree deeper than 32", _changed(single, tree_size=2**32 + 1), "format_field"),
        ("path node of 31 bytes", _changed(batch[0], path=[bytes(31)]), "format_field"),
        ("path of 33 nodes", _changed(batch[0], path=[bytes(32)] * 33), "format_field"),
        ("trailing byte", single.to_wire() + b"\x00", "format_malformed"),
        ("size in two bytes", single.to_wire()[:-3] + b"\xcc\x01" + single.to_wire()[-2:], "format_not_canonical"),
    ]
    negative = [
        {
            "name": name,
            "wire": (w if isinstance(w, bytes) else encode(w)).hex(),
            "key": one.public.raw.hex(),
            "error": error,
        }
        for name, w, error in bad
    ]
    return keys + _bad_keys() + good + negative


def _bad_keys() -> list[Row]:
    p = 2**255 - 19
    y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    rows: list[Row] = []
    for name, y in (("1", 1), ("2", p - 1), ("4", 0), ("8", y8), ("8, the other", p - y8)):
        for sign_bit in (0, 1):
            raw = (y | sign_bit << 255).to_bytes(32, "little")
            rows.append(
                {"name": f"point of order {name}, sign {sign_bit}", "key": raw.hex(), "error": "key_small_order"}
            )
    for name, raw in (
        ("y = p, a second way of writing 0", p.to_bytes(32, "little")),
        ("y = p + 1, a second way of writing 1", (p + 1).to_bytes(32, "little")),
        ("y = 2^255 - 1", (2**255 - 1).to_bytes(32, "little")),
        ("no point has y = 2", (2).to_bytes(32, "little")),
        ("31 bytes", bytes(31)),
        ("33 bytes", bytes(33)),
    ):
        rows.append({"name": f"key: {name}", "key": raw.hex(), "error": "key_malformed"})
    return rows


def merkle() -> list[Row]:
    """The inputs of the Certificate Transparency test suite, leaf hash SHA-256(0x00 ‖ input)."""
    inputs = [
        bytes.fromhex(t)
        for t in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", pattern(112)[96:].hex())
    ]
    leaves = [sha256(b"\x00" + item).digest() for item in inputs]
    return [
        {
            "name": f"tree of {size}",
            "inputs": [item.hex() for item in inputs[:size]],
            "root": tree_root(leaves[:size]).hex(),
            "paths": [[node.hex() for node in path] for path in inclusion_paths(leaves[:size])],
        }
        for size in range(1, 9)
    ]


# --- sealing ------------------------------------------------------------------------------

KEY: Final = bytes(range(32))
ENVELOPE_ID: Final = bytes(range(16))
SALT: Final = b"\x55" * 16
SEALING_SEED: Final = b"\x77" * 32
STANZA: Final = (
    "adac8d687fe8611f0fac05ba67f0c448420adc89f5c111a5fbb94c315396e7577c2e616ef5969e8e"
    "7cbc923cb0bc2af22ae642e04486b3a9bb0c88322b0e8cc147d1205685cc3724f8bc31b90b331aa4"
)
"""KEY, wrapped once for the key of SEALING_SEED under `stanza_binding()`."""


def stanza_binding(recipient: str = "H38.12", epoch: int = 1) -> bytes:
    """The info of the committed stanza, or of one for somebody else."""
    return stanza_info(SealingKey(SEALING_SEED).key_id, b"\xc0" * 32, b"\xe0" * 32, recipient, epoch)


def chunk(counter: int, last: int, plain: bytes) -> bytes:
    """One STREAM chunk, made without the code under test."""
    return AESGCM(KEY).encrypt(counter.to_bytes(11, "big") + bytes([last]), plain, None)


def sealing() -> list[Row]:
    return _header_rows() + _part_rows() + _body_rows() + _stanza_rows() + _vault_rows()


def _header_rows() -> list[Row]:
    keys = header_keys(KEY, ENVELOPE_ID)
    given = {"name": "header keys", "kind": "header", "content_key": KEY.hex(), "envelope_id": ENVELOPE_ID.hex()}
    good = {**given, "header_key": keys.header_key.hex(), "commitment": keys.commitment.hex()}
    wrong = {"name": "another content key", "content_key": KEY[::-1].hex(), "error": "commitment_wrong"}
    return [good, {**good, **wrong}]


def _part_rows() -> list[Row]:
    """A part is a pattern of `plain_size` bytes; a damaged one is made of chunks [counter, last, size]."""
    rows: list[Row] = []
    for size in (0, 1, 5, 65_535, 65_536, 65_537, 131_072, 1_048_576):
        sealed = seal_all(KEY, pattern(size))
        row = {"name": f"part of {size} bytes", "kind": "part", "key": KEY.hex(), "plain_size": size}
        row |= {"plain_digest": sha256(pattern(size)).hexdigest(), "sealed_size": len(sealed)}
        rows.append(row | {"sealed_digest": sha256(sealed).hexdigest(), "body_digest": body_digest(sealed).hex()})
    small = chunk(0, 1, pattern(5))
    for name, sealed in (
        ("no chunk at all", b""),
        ("shorter than a tag", small[:15]),
        ("last byte missing", small[:-1]),
        ("byte behind the end", small + b"\x00"),
        ("tag changed", _flipped(small, 20)),
        ("text changed", _flipped(small)),
        ("only chunk not marked as last", chunk(0, 0, pattern(5))),
        ("counter begins with one", chunk(1, 1, pattern(5))),
    ):
        rows.append({"name": name, "kind": "part", "key": KEY.hex(), "sealed": sealed.hex(), "error": "part_damaged"})
    full = 65_536
    for name, chunks in (
        ("cut between two chunks", [[0, 0, full]]),
        ("chunks exchanged", [[1, 0, full], [0, 0, full], [2, 1, 1]]),
        ("first chunk twice", [[0, 0, full], [0, 0, full], [1, 1, 1]]),
        ("a chunk left out", [[0, 0, full], [2, 1, 1]]),
        ("an empty last chunk behind a full one", [[0, 0, full], [1, 1, 0]]),
        ("a part behind its end", [[0, 1, full], [0, 1, 5]]),
        ("a short chunk that is not the last", [[0, 0, full - 1], [1, 1, full]]),
    ):
        rows.append({"name": name, "kind": "part", "key": KEY.hex(), "chunks": chunks, "error": "part_damaged"})
    return rows + [
        {"name": f"sealed size {size}", "kind": "size", "sealed_size": size, "error": "sealed_size_impossible"}
        for size in (0, 15, 65_553, 65_568, 2**41)
    ]


def _body_rows() -> list[Row]:
    mib = 2**20
    return [
        {"name": f"body of {size} bytes", "kind": "body", "size": size, "digest": body_digest(pattern(size)).hex()}
        for size in (0, 1, mib - 1, mib, mib + 1, 2 * mib, 3 * mib, 5 * mib + 7)
    ]


def _stanza_rows() -> list[Row]:
    key = SealingKey(SEALING_SEED)
    good = {
        "name": "stanza",
        "kind": "stanza",
        "private": SEALING_SEED.hex(),
        "public": key.public_raw.hex(),
        "key_id": key.key_id.hex(),
    }
    good |= {"stanza": STANZA, "info": stanza_binding().hex(), "content_key": KEY.hex()}
    stanza = bytes.fromhex(STANZA)
    changes: list[tuple[str, Row]] = [
        ("for another key", {"private": (b"\x78" * 32).hex()}),
        ("bound to another recipient", {"info": stanza_binding("H38.13").hex()}),
        ("bound to another epoch", {"info": stanza_binding(epoch=2).hex()}),
        ("stanza changed", {"stanza": _flipped(stanza, 79).hex()}),
        ("encapsulated key changed", {"stanza": _flipped(stanza).hex()}),
        ("encapsulated key of small order", {"stanza": (bytes(32) + stanza[32:]).hex()}),
        ("stanza of 79 bytes", {"stanza": stanza[:-1].hex()}),
    ]
    return [good] + [{**good, "name": name, **change, "error": "stanza_unusable"} for name, change in changes]


def _vault_rows() -> list[Row]:
    wrapped = vault_wrap(KEY, b"content key", b"\x99" * 32, SALT)
    good = {
        "name": "vault",
        "kind": "vault",
        "vault_key": KEY.hex(),
        "context": b"content key".hex(),
        "wrapped": wrapped.hex(),
    }
    changes: list[tuple[str, Row]] = [
        ("another vault key", {"vault_key": KEY[::-1].hex()}),
        ("another context", {"context": b"part key".hex()}),
        ("salt changed", {"wrapped": _flipped(wrapped).hex()}),
        ("secret changed", {"wrapped": _flipped(wrapped, 16).hex()}),
        ("cut inside the tag", {"wrapped": wrapped[:-1].hex()}),
        ("cut inside the salt", {"wrapped": wrapped[:7].hex()}),
        ("nothing", {"wrapped": ""}),
    ]
    bad = [{**good, "name": f"vault: {name}", **change, "error": "vault_damaged"} for name, change in changes]
    subkey = vault_subkey(KEY, "number index")
    index = {
        "name": "keyed index",
        "kind": "index",
        "vault_key": KEY.hex(),
        "purpose": "number index",
        "parts": ["H38", "2026", "15/QĐ"],
    }
    index |= {"subkey": subkey.hex(), "index": keyed_index(subkey, "H38", "2026", "15/QĐ").hex()}
    return [{**good, "salt": SALT.hex(), "secret": (b"\x99" * 32).hex()}, *bad, index]
