"""Sample statements for tests: valid ones, made of fixed bytes, of which a test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from protocol.consignment import CONSIGNMENT, Consignment
from protocol.document import Metadata, ResponseFor, Signer, Staff
from protocol.envelope import Envelope, Header, Lane, PartRef, PartSecret
from protocol.limits import DAY_MS
from protocol.receipt import RECEIPT, Receipt, ReceiptCode
from protocol.refusal import Refusal
from protocol.sealing import sealed_size
from protocol.signing import thing_digest

NOW_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""


def digest(label: str) -> bytes:
    """A digest that stands for something."""
    return sha256(label.encode()).digest()


def metadata(**changes: Any) -> Metadata:
    """Metadata with every field filled."""
    full = Metadata(
        type="Công văn",
        number="123",
        notation="BTC-VP",
        issued_on="2026-01-01",
        place="Hà Nội",
        subject="V/v triển khai trục liên thông văn bản",
        signers=(Signer(competence="KT. BỘ TRƯỞNG", position="Thứ trưởng", name="Nguyễn Văn A"),),
        due_on="2026-01-31",
        secrecy="none",
        pages=3,
        copies=1,
        to_places=("Như trên", "Lưu: VT"),
        response_for=(
            ResponseFor(code="H38", number="45", notation="UBND-VX", issued_on="2025-12-20", document="45/UBND-VX"),
        ),
        steering=1,
        task_codes=("NV-2026-0001",),
        sphere="Tài chính",
        staff=Staff(name="Trần Thị B", position="Chuyên viên", contact="b@example.vn"),
        recipients=("H38", "G22"),
    )
    return replace(full, **changes)


def part_secret(index: int = 0, **changes: Any) -> PartSecret:
    """The header's entry for part `index`; parts differ in key, name and content."""
    plain = b"part %d" % index
    full = PartSecret(
        key=digest(f"key {index}"),
        name=f"van-ban-{index}.pdf",
        media_type="application/pdf",
        plain_size=len(plain),
        plain_digest=sha256(plain).digest(),
    )
    return replace(full, **changes)


def header(count: int = 1, /, **changes: Any) -> Header:
    """A header with this many parts."""
    full = Header(
        metadata=metadata(),
        idempotency_key="0f8fad5b-d9cb-469f-a165-70867728950e",
        system=bytes(range(16)),
        parts=tuple(part_secret(index) for index in range(count)),
    )
    return replace(full, **changes)


def envelope(count: int = 1, /, **changes: Any) -> Envelope:
    """An envelope that fits `header(count)`."""
    full = Envelope(
        envelope_id=bytes(range(16, 32)),
        issuer="G12",
        created_ms=NOW_MS,
        expires_ms=NOW_MS + 30 * DAY_MS,
        lane=Lane.KHAN,
        commitment=digest("commitment"),
        header_digest=digest("header"),
        header_size=1_000,
        parts=tuple(
            PartRef(digest(f"sealed {index}"), sealed_size(part_secret(index).plain_size)) for index in range(count)
        ),
    )
    return replace(full, **changes)


def consignment(**changes: Any) -> Consignment:
    """A consignment from G12 to H38."""
    full = Consignment(envelope=digest("envelope"), issuer="G12", recipient="H38", created_ms=NOW_MS)
    return replace(full, **changes)


def refusal(**changes: Any) -> Refusal:
    """A refusal of that consignment."""
    full = Refusal(
        consignment=consignment().id,
        envelope=digest("envelope"),
        recipient="H38",
        code="part_mismatch",
        field="parts[0]",
        judged_by=(digest("record 1"), digest("record 2")),
        time_ms=NOW_MS + 1_000,
    )
    return replace(full, **changes)


def receipt(**changes: Any) -> Receipt:
    """Receipt 0, 01 arrived, of that consignment."""
    full = Receipt(
        consignment=consignment().id,
        envelope=digest("envelope"),
        issuer="G12",
        recipient="H38",
        epoch=1,
        incarnation=bytes(range(32, 48)),
        sequence=0,
        previous=consignment_digest(),
        code=ReceiptCode.ARRIVED,
        time_ms=NOW_MS + 2_000,
        clock_quality=1,
    )
    return replace(full, **changes)


def consignment_digest() -> bytes:
    """The thing digest of `consignment()`."""
    return thing_digest(CONSIGNMENT.name, CONSIGNMENT.encode(consignment()))


def receipt_digest(link: Receipt) -> bytes:
    """The thing digest of a receipt."""
    return thing_digest(RECEIPT.name, RECEIPT.encode(link))


def chain(*codes: int, **changes: Any) -> list[tuple[Receipt, bytes]]:
    """A chain of (receipt, digest) that says these codes in order; `changes` apply to each."""
    links: list[tuple[Receipt, bytes]] = []
    for sequence, code in enumerate(codes):
        link = next_link(links, code=code, **changes)
        assert link[0].sequence == sequence
        links.append(link)
    return links


def next_link(links: list[tuple[Receipt, bytes]], **changes: Any) -> tuple[Receipt, bytes]:
    """The receipt that goes on behind `links`, with its digest."""
    code = changes.get("code", ReceiptCode.ARRIVED)
    fitting: dict[str, Any] = {
        "sequence": len(links),
        "previous": links[-1][1] if links else consignment_digest(),
        "reason": "Sai thẩm quyền" if code == ReceiptCode.RETURNED else "",
        "request": digest("request") if code in (ReceiptCode.AGREED, ReceiptCode.DECLINED) else b"",
        "time_ms": NOW_MS + 2_000 + 1_000 * len(links),
    }
    link = receipt(**{**fitting, **changes})
    return link, receipt_digest(link)
