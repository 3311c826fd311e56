"""What the verifier says about an evidence file, in Vietnamese, English, and JSON.

Obeys `spec/evidence.md` §4. Times are shown as Vietnam local time, where they were meant. Error
texts come from `protocol/catalogue.py`; names of statuses from `protocol/status.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from protocol.catalogue import Language, next_step, text
from protocol.errors import TrucError
from protocol.status import status_name
from protocol.textid import to_text

if TYPE_CHECKING:
    from protocol.evidence import Proof
    from protocol.signing import Verified

_VIETNAM: Final = timezone(timedelta(hours=7))

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "document": ("Văn bản", "Document"),
    "consignment": ("Lần gửi", "Consignment"),
    "from": ("Bên gửi", "Issuer"),
    "to": ("Bên nhận", "Recipient"),
    "signed": ("ký lúc", "signed"),
    "key": ("khóa", "key"),
    "revoked": ("khóa này về sau đã bị thu hồi", "this key was revoked later"),
    "again": ("ký lại về sau bằng khóa này", "signed again later with this key"),
    "receipts": ("Chuỗi biên nhận", "Chain of receipts"),
    "none": ("chưa có biên nhận nào", "no receipt yet"),
    "refusal": ("Từ chối cuối cùng", "Final refusal"),
    "subject": ("Trích yếu", "Subject"),
    "part": ("Tệp", "File"),
    "valid": ("HỢP LỆ: mọi chữ ký và mọi mắt xích đều đúng.", "VALID: every signature and every link is right."),
    "invalid": ("KHÔNG HỢP LỆ", "NOT VALID"),
}


def proof_lines(proof: Proof, language: Language) -> list[str]:
    """The result for a person."""
    return [
        *_heading(proof, language),
        *_chain(proof, language),
        *_disclosed(proof, language),
        _word("valid", language),
    ]


def outcome_lines(error: TrucError, language: Language) -> list[str]:
    """Why a file proves nothing, and what the reader can do."""
    where = f" [{error.field}]" if error.field else ""
    return [f"{_word('invalid', language)}{where}: {text(error, language)} ({error.code})", next_step(error, language)]


def outcome_json(error: TrucError) -> dict[str, Any]:
    """The same for a program."""
    return {"valid": False, "code": error.code, "field": error.field, "vi": text(error, "vi"), "en": text(error, "en")}


def proof_json(proof: Proof) -> dict[str, Any]:
    """The result for a program; times in milliseconds UTC."""
    consignment, refusal = proof.consignment.value, proof.refusal
    return {
        "valid": True,
        "document_id": to_text("doc", proof.envelope.value.envelope_id),
        "consignment_id": to_text("csg", consignment.id),
        "issuer": consignment.issuer,
        "recipient": consignment.recipient,
        "created_ms": consignment.created_ms,
        "receipts": [
            {"sequence": r.value.sequence, "code": r.value.code, "reason": r.value.reason, "time_ms": r.value.time_ms}
            for r in proof.receipts
        ],
        "refusal": None if refusal is None else {"code": refusal.value.code, "field": refusal.value.field},
        "subject": None if proof.header is None else proof.header.metadata.subject,
        "parts": [{"name": name, "sha256": digest} for name, digest in _parts(proof)],
        "signed_again": sorted(digest.hex() for digest in proof.signed_again),
        "revoked_keys": sorted(key.hex() for key in proof.revoked & _signing_keys(proof)),
    }


def _heading(proof: Proof, language: Language) -> Iterator[str]:
    envelope, consignment = proof.envelope, proof.consignment
    yield f"{_word('document', language)}: {to_text('doc', envelope.value.envelope_id)}"
    yield f"{_word('consignment', language)}: {to_text('csg', consignment.value.id)}"
    signed_at = f"{_word('signed', language)} {_moment(envelope.value.created_ms)}"
    yield f"{_word('from', language)}: {envelope.value.issuer}, {signed_at}, {_key(proof, envelope, language)}"
    yield f"{_word('to', language)}: {consignment.value.recipient}"


def _chain(proof: Proof, language: Language) -> Iterator[str]:
    title = _word("receipts", language)
    yield f"{title}:" if proof.receipts else f"{title}: {_word('none', language)}"
    for verified in proof.receipts:
        receipt = verified.value
        said = f"{receipt.code:02d} {status_name(receipt.code, language)}"
        reason = f" – {_printable(receipt.reason)}" if receipt.reason else ""
        key = _key(proof, verified, language)
        yield f"  {receipt.sequence}. {_moment(receipt.time_ms)}  {said}{reason}  ({key})"
    if proof.refusal is not None:
        refusal, key = proof.refusal.value, _key(proof, proof.refusal, language)
        where = f" [{_printable(refusal.field)}]" if refusal.field else ""
        yield f"{_word('refusal', language)}: {_moment(refusal.time_ms)}  {refusal.code}{where}  ({key})"


def _disclosed(proof: Proof, language: Language) -> Iterator[str]:
    if proof.header is not None:
        yield f"{_word('subject', language)}: {_printable(proof.header.metadata.subject)}"
    for name, digest in _parts(proof):
        yield f"{_word('part', language)}: {_printable(name)}  sha256 {digest}"


def _parts(proof: Proof) -> list[tuple[str, str]]:
    return [] if proof.header is None else [(part.name, part.plain_digest.hex()) for part in proof.header.parts]


def _signing_keys(proof: Proof) -> frozenset[bytes]:
    refusals = () if proof.refusal is None else (proof.refusal.key_id,)
    receipts = (verified.key_id for verified in proof.receipts)
    return frozenset((proof.envelope.key_id, proof.consignment.key_id, *refusals, *receipts))


def _key(proof: Proof, verified: Verified[Any], language: Language) -> str:
    again = f", {_word('again', language)}" if verified.signed.digest in proof.signed_again else ""
    late = f", {_word('revoked', language)}" if verified.key_id in proof.revoked else ""
    return f"{_word('key', language)} {verified.key_id.hex()[:16]}{again}{late}"


def _moment(time_ms: int) -> str:
    """Vietnam local time with seconds; a time beyond the calendar as its number."""
    try:
        return datetime.fromtimestamp(time_ms // 1000, _VIETNAM).strftime("%Y-%m-%d %H:%M:%S +07:00")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def _printable(told: str) -> str:
    """Signed text must not be able to rewrite the reader's screen."""
    return "".join(character if character.isprintable() else "\ufffd" for character in told)


def _word(name: str, language: Language) -> str:
    vi, en = _WORDS[name]
    return vi if language == "vi" else en
