"""The business statuses of Decision 28/2018: their names, who sends them, which may follow which.

Obeys `spec/status.md` (DOMAIN §4; DECISIONS, "Statuses"). In the field statuses are skipped,
repeated and sent out of order: such a status is accepted and flagged, never overwritten; only the
impossible is refused. Who the caller is, and whether a request is pending, others find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from protocol.errors import RequestError
from protocol.receipt import ANSWER_CODES, CENTRE_CODES, ReceiptCode

TAKE_BACK: Final = 13
"""A request of the sender; it travels as an envelope of kind `TAKE_BACK`, never as a receipt."""


class SentBy(Enum):
    """Who may bring a status into the world."""

    NODE = "node"
    RECIPIENT = "recipient"
    SENDER = "sender"


class StatusFlag(Enum):
    """What is odd about an accepted status."""

    NONE = ""
    OUT_OF_ORDER = "out_of_order"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One row of the table. `after` lists what may come next without a flag."""

    code: int
    vi: str
    en: str
    sent_by: SentBy
    after: frozenset[int] = frozenset()
    reason_required: bool = False
    request_required: bool = False


def _row(
    code: int, vi: str, en: str, sent_by: SentBy, *after: int, reason: bool = False, request: bool = False
) -> Status:
    return Status(
        code=code,
        vi=vi,
        en=en,
        sent_by=sent_by,
        after=frozenset(after),
        reason_required=reason,
        request_required=request,
    )


_ROWS: Final = (
    _row(1, "đã đến", "arrived", SentBy.NODE, 2, 3, 4, 5, 6),
    _row(2, "từ chối tiếp nhận", "returned", SentBy.RECIPIENT, reason=True),
    _row(3, "đã tiếp nhận", "accepted", SentBy.RECIPIENT, 4, 5, 6),
    _row(4, "đã chuyển xử lý", "assigned", SentBy.RECIPIENT, 4, 5, 6),
    _row(5, "đang xử lý", "in progress", SentBy.RECIPIENT, 5, 6),
    _row(6, "đã hoàn thành", "finished", SentBy.RECIPIENT),
    _row(TAKE_BACK, "lấy lại", "take-back requested", SentBy.SENDER, reason=True),
    _row(15, "đồng ý lấy lại, cập nhật", "agrees to the request", SentBy.RECIPIENT, request=True),
    _row(16, "từ chối lấy lại, cập nhật", "declines the request", SentBy.RECIPIENT, request=True),
    _row(100, "phần mềm đã nhận", "collected", SentBy.NODE),
)

STATUSES: Final = MappingProxyType({row.code: row for row in _ROWS})
"""Every status by its code."""


def status_name(code: int, language: str) -> str:
    """The name of a status in `vi` or `en`; a code of a newer version is shown as its number."""
    row = STATUSES.get(code)
    if row is None:
        return f"{code:02d}"
    return row.vi if language == "vi" else row.en


def judge_status(history: Sequence[int], code: int, *, has_reason: bool, request_pending: bool) -> StatusFlag:
    """Judge a status that a recipient's software wants to send.

    `history` holds the codes of the consignment's receipt chain, oldest first. Answers to a
    request (15, 16) stand beside the processing and are never out of order.

    Raises:
        RequestError: at `status` `status_unknown`, `status_not_yours` (01, 13 and 100 are not a
            recipient's software's to send), `status_before_arrival`, `status_after_refusal`,
            `status_without_request`; at `reason` `status_reason_missing`.
    """
    row = STATUSES.get(code)
    if row is None:
        raise RequestError("status_unknown", field="status", code_given=code)
    if row.sent_by is not SentBy.RECIPIENT:
        raise RequestError("status_not_yours", field="status", code_given=code)
    _check_possible(row, history, has_reason=has_reason, request_pending=request_pending)
    return flag_of(history, code)


def _check_possible(row: Status, history: Sequence[int], *, has_reason: bool, request_pending: bool) -> None:
    if ReceiptCode.ARRIVED not in history:
        raise RequestError("status_before_arrival", field="status")
    if ReceiptCode.RETURNED in history:
        raise RequestError("status_after_refusal", field="status")
    if row.request_required and not request_pending:
        raise RequestError("status_without_request", field="status", code_given=row.code)
    if row.reason_required and not has_reason:
        raise RequestError("status_reason_missing", field="reason", code_given=row.code)


def flag_of(history: Sequence[int], code: int) -> StatusFlag:
    """What is odd about a code after this history; both sides of a chain come to the same result.

    Arrival, collection and answers to requests stand beside the processing: never a flag.
    """
    if code in ANSWER_CODES or code in CENTRE_CODES:
        return StatusFlag.NONE
    last = [known for known in history if known not in ANSWER_CODES and known != ReceiptCode.COLLECTED][-1]
    if code in STATUSES[last].after:
        return StatusFlag.NONE
    return StatusFlag.REPEATED if code == last else StatusFlag.OUT_OF_ORDER
