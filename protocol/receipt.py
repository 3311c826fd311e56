"""The recipient's signed word about a consignment, and the chain these words form.

Obeys `spec/receipt.md` (DESIGN §3, "Receipt"). One chain per consignment: link 0 says *arrived*
and follows the consignment itself; every further link names the digest of the one before, so that
neither side can drop, insert or reorder a word later. Which status may follow which is
`protocol/status.py`; whose key may sign is `protocol/trust.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Annotated, Final

from protocol import limits
from protocol.consignment import CodeText, Consignment
from protocol.document import PositionName
from protocol.encoding import Count, Digest, Extensions, Format, Id16, Key, Meta, TimeMs
from protocol.errors import FormatError, TrustError


class ReceiptCode(IntEnum):
    """What a receipt says; 1 to 16 are the business statuses, 100 is the node's own."""

    ARRIVED = 1
    RETURNED = 2
    ACCEPTED = 3
    ASSIGNED = 4
    IN_PROGRESS = 5
    FINISHED = 6
    AGREED = 15
    DECLINED = 16
    COLLECTED = 100


RECEIPT_CODES: Final = frozenset(ReceiptCode)
CENTRE_CODES: Final = frozenset({ReceiptCode.ARRIVED, ReceiptCode.COLLECTED})
"""Signed by the centre's operational key; all others by the agency's own key, if it lists one."""
ANSWER_CODES: Final = frozenset({ReceiptCode.AGREED, ReceiptCode.DECLINED})
"""Answers to a take-back, revocation, update or replacement; they name it in `request`."""


class ClockQuality(IntEnum):
    """How far the time in a receipt can be trusted."""

    UNKNOWN = 0
    SYNCHRONISED = 1
    AGREED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`previous` is the thing digest of the receipt before; of the consignment for sequence 0.
    `request` is the envelope digest of the request that 15 or 16 answers."""

    consignment: Annotated[Digest, Key(1)]
    envelope: Annotated[Digest, Key(2)]
    issuer: Annotated[CodeText, Key(3)]
    recipient: Annotated[CodeText, Key(4)]
    epoch: Annotated[Count, Key(5)]
    incarnation: Annotated[Id16, Key(6)]
    sequence: Annotated[Count, Key(7)]
    previous: Annotated[Digest, Key(8)]
    code: Annotated[int, Key(9), Meta(ge=0, le=255)]
    reason: Annotated[str, Key(10), Meta(max_length=limits.REASON_CHARACTERS_MAX)] = ""
    staff_name: Annotated[PositionName, Key(11)] = ""
    staff_position: Annotated[PositionName, Key(12)] = ""
    time_ms: Annotated[TimeMs, Key(13)]
    clock_quality: Annotated[int, Key(14), Meta(ge=0, le=2)] = ClockQuality.UNKNOWN
    request: Annotated[bytes, Key(15), Meta(max_length=32)] = b""
    extensions: Extensions = field(default_factory=dict)


RECEIPT: Final = Format("truc/receipt/1", Receipt, bytes_max=limits.STATEMENT_BYTES_MAX)


def check_receipt(receipt: Receipt) -> None:
    """What the shape alone does not say.

    Raises:
        FormatError: `receipt_code_unknown`, `receipt_not_arrived_first`, `receipt_reason_missing`,
            `receipt_request`.
    """
    if receipt.code not in RECEIPT_CODES:
        raise FormatError("receipt_code_unknown", field="code", receipt_code=receipt.code)
    if (receipt.sequence == 0) != (receipt.code == ReceiptCode.ARRIVED):
        raise FormatError("receipt_not_arrived_first", field="sequence")
    if receipt.code == ReceiptCode.RETURNED and not receipt.reason.strip():
        raise FormatError("receipt_reason_missing", field="reason")
    if len(receipt.request) != (32 if receipt.code in ANSWER_CODES else 0):
        raise FormatError("receipt_request", field="request")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The end of a chain: what the next receipt must say. `sequence` is the next one's."""

    consignment: bytes
    envelope: bytes
    issuer: str
    recipient: str
    sequence: int
    previous: bytes
    epoch: int
    collected: bool

    @classmethod
    def start(cls, consignment: Consignment, digest: bytes) -> ChainHead:
        """The head of an empty chain; `digest` is the thing digest of the consignment."""
        return cls(
            consignment=consignment.id,
            envelope=consignment.envelope,
            issuer=consignment.issuer,
            recipient=consignment.recipient,
            sequence=0,
            previous=digest,
            epoch=0,
            collected=False,
        )

    def extend(self, receipt: Receipt, digest: bytes) -> ChainHead:
        """The head after one more receipt, whose thing digest is `digest`.

        Signatures have been verified before, and a receipt already known by its digest is no
        business of this function: here it would be a fork.

        Raises:
            FormatError: as `check_receipt`.
            TrustError: `receipt_chain_foreign` (another consignment), `receipt_chain_gap`
                (a link is missing), `receipt_chain_fork` (two words in one place),
                `receipt_chain_epoch` (a host that has lost the agency), `receipt_collected_twice`.
        """
        check_receipt(receipt)
        self._check_place(receipt)
        collected = receipt.code == ReceiptCode.COLLECTED
        if collected and self.collected:
            raise TrustError("receipt_collected_twice", field="code")
        return replace(
            self,
            sequence=self.sequence + 1,
            previous=digest,
            epoch=receipt.epoch,
            collected=self.collected or collected,
        )

    def _check_place(self, receipt: Receipt) -> None:
        theirs = (receipt.consignment, receipt.envelope, receipt.issuer, receipt.recipient)
        if theirs != (self.consignment, self.envelope, self.issuer, self.recipient):
            raise TrustError("receipt_chain_foreign", field="consignment")
        if receipt.sequence > self.sequence:
            raise TrustError("receipt_chain_gap", field="sequence", expected=self.sequence, found=receipt.sequence)
        if receipt.sequence < self.sequence or receipt.previous != self.previous:
            raise TrustError("receipt_chain_fork", field="previous", sequence=receipt.sequence)
        if receipt.epoch < self.epoch:
            raise TrustError("receipt_chain_epoch", field="epoch", expected=self.epoch, found=receipt.epoch)


def verify_chain(consignment: Consignment, digest: bytes, chain: Sequence[tuple[Receipt, bytes]]) -> ChainHead:
    """Check the links of a whole chain of (receipt, thing digest), in order from sequence 0.

    A chain may go on under another incarnation, after a restore or a move of the agency: only
    with the next sequence, which the links already demand.

    Raises:
        FormatError, TrustError: as `ChainHead.extend`.
    """
    head = ChainHead.start(consignment, digest)
    for receipt, receipt_digest in chain:
        head = head.extend(receipt, receipt_digest)
    return head
