"""One document from G12 to H38, signed with the keys of a small real tree: what evidence files are made of.

`python -m tests.support.evidence_story` writes the vectors of the evidence file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from protocol.body_digest import body_digest
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.encoding import encode
from protocol.envelope import ENVELOPE, Envelope, Header, Lane, PartRef, encode_header
from protocol.errors import TrucError
from protocol.evidence import Proof, build_evidence, verify_evidence
from protocol.limits import DAY_MS, HOUR_MS
from protocol.receipt import RECEIPT, Receipt
from protocol.refusal import REFUSAL, Refusal
from protocol.sealing import header_keys, seal_header, sealed_size
from protocol.signing import Ed25519Signer, Signed, Signer, sign
from tests.support import samples
from tests.support.statement_vectors import FOLDER, Vector
from tests.support.tree import TREE_READY_MS, Tree

ISSUER_CENTRE, RECIPIENT_CENTRE = "00.02.W00", "00.03.W00"
CONTENT_KEY = bytes(range(32))


def _tree() -> Tree:
    return Tree.make(hosting={ISSUER_CENTRE: ("G12",), RECIPIENT_CENTRE: ("H38",)})


@dataclass
class Story:
    """One document from G12 to H38, signed with the keys of a small real tree."""

    tree: Tree = field(default_factory=_tree)
    header: Header = field(default_factory=lambda: samples.header(2))
    now_ms: int = TREE_READY_MS
    receipts: list[Signed] = field(default_factory=list)
    epoch: int = 1

    def __post_init__(self) -> None:
        keys = header_keys(CONTENT_KEY, bytes(16))
        self.sealed_header = seal_header(keys.header_key, encode_header(self.header))
        self.envelope = Envelope(
            envelope_id=bytes(16),
            issuer="G12",
            created_ms=self.now_ms,
            expires_ms=self.now_ms + DAY_MS,
            lane=Lane.THUONG,
            commitment=keys.commitment,
            header_digest=body_digest(self.sealed_header),
            header_size=len(self.sealed_header),
            parts=tuple(PartRef(sha256(part.key).digest(), sealed_size(part.plain_size)) for part in self.header.parts),
        )
        self.signed_envelope = sign(ENVELOPE.name, ENVELOPE.encode(self.envelope), self.signer(ISSUER_CENTRE))
        self.consignment = Consignment(
            envelope=self.signed_envelope.digest, issuer="G12", recipient="H38", created_ms=self.now_ms
        )
        self.signed_consignment = sign(
            CONSIGNMENT.name, CONSIGNMENT.encode(self.consignment), self.signer(ISSUER_CENTRE)
        )

    def signer(self, centre: str) -> Ed25519Signer:
        return self.tree.centres[centre].signer

    def receipt(self, code: int, signer: Signer | None = None, **changes: Any) -> Signed:
        """The next receipt of the chain; not yet part of it."""
        full = Receipt(
            consignment=self.consignment.id,
            envelope=self.consignment.envelope,
            issuer="G12",
            recipient="H38",
            epoch=self.epoch,
            incarnation=bytes(16),
            sequence=len(self.receipts),
            previous=(self.receipts[-1] if self.receipts else self.signed_consignment).digest,
            code=code,
            time_ms=self.now_ms + (1 + len(self.receipts)) * HOUR_MS,
        )
        statement = RECEIPT.encode(replace(full, **changes))
        return sign(RECEIPT.name, statement, signer or self.signer(RECIPIENT_CENTRE))

    def say(self, *codes: int) -> Story:
        for code in codes:
            self.receipts.append(self.receipt(code))
        return self

    def refusal(self, signer: Signer | None = None, **changes: Any) -> Signed:
        full = Refusal(
            consignment=self.consignment.id,
            envelope=self.consignment.envelope,
            recipient="H38",
            code="part_mismatch",
            field="parts[0]",
            time_ms=self.now_ms + HOUR_MS,
        )
        statement = REFUSAL.encode(replace(full, **changes))
        return sign(REFUSAL.name, statement, signer or self.signer(RECIPIENT_CENTRE))

    def file(self, **changes: Any) -> bytes:
        fitting: dict[str, Any] = {
            "envelope": self.signed_envelope,
            "consignment": self.signed_consignment,
            "receipts": self.receipts,
            "directory": self.tree.signed,
        }
        return build_evidence(**{**fitting, **changes})

    def verify(self, **changes: Any) -> Proof:
        return verify_evidence(self.file(**changes), root=self.tree.anchor)


def generate() -> list[Vector]:
    """Vectors: a file, the root to verify it by, and what comes of it."""
    story = Story().say(1, 100, 3, 6)
    plain, root = story.file(), story.tree.anchor
    without_root = [thing for thing in story.tree.signed if thing.digest != root]
    without_recipient = [thing for thing in story.tree.signed if b"H38" not in thing.statement]
    stranger = sign(ENVELOPE.name, ENVELOPE.encode(story.envelope), story.signer(RECIPIENT_CENTRE))
    bad: list[tuple[str, str, bytes]] = [
        ("cut short", "format_malformed", plain[:-1]),
        ("no array of two", "format_other", encode(["truc/evidence/1"])),
        ("a directory file", "format_other", encode(["truc/directory-file/1", b""])),
        ("a later version", "format_newer", encode(["truc/evidence/2", b""])),
        ("the trusted root is missing", "evidence_root", story.file(directory=without_root)),
        ("the recipient's record is missing", "evidence_unproved", story.file(directory=without_recipient)),
        ("the envelope is signed by the recipient", "evidence_unproved", story.file(envelope=stranger)),
        ("no records at all", "evidence_root", story.file(directory=())),
        ("a consignment in the envelope's place", "format_other", story.file(envelope=story.signed_consignment)),
        ("a receipt is missing", "receipt_chain_gap", story.file(receipts=story.receipts[:1] + story.receipts[2:])),
        ("a receipt twice", "receipt_chain_fork", story.file(receipts=story.receipts[:1] * 2)),
        ("another content key", "commitment_wrong", story.file(header=story.sealed_header, content_key=bytes(32))),
    ]
    good = [
        ("a chain of four receipts", plain),
        ("a refusal", story.file(receipts=(), refusal=story.refusal())),
        ("a disclosed content key", story.file(header=story.sealed_header, content_key=CONTENT_KEY)),
    ]
    return [
        *({"name": name, "root": root.hex(), "hex": file.hex()} for name, file in good),
        *(
            {"name": name, "root": root.hex(), "hex": file.hex(), "error": code, **_why(file, root)}
            for name, code, file in bad
        ),
    ]


def _why(file: bytes, root: bytes) -> Vector:
    """Where it fails, and the details, unless a library words them."""
    try:
        verify_evidence(file, root=root)
    except TrucError as error:
        return (
            {"field": error.field}
            if error.code == "format_malformed"
            else {"field": error.field, "detail": error.detail}
        )
    raise AssertionError("it proves something")


if __name__ == "__main__":
    text = json.dumps(generate(), ensure_ascii=False, indent=1) + "\n"
    (FOLDER / "evidence.json").write_text(text, encoding="utf-8")
