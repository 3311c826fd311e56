"""What local software wrote down for itself: the only word, beside its own eyes, that the oracle takes.

A notebook survives the crash of any node; it belongs to another machine. It holds what was handed
in and acknowledged, what was listed, fetched, collected and answered, as the software saw it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(slots=True)
class Sending:
    """A document as its software means it; `document` is set when a 2xx answer has come."""

    key: str
    issuer: str
    recipients: tuple[str, ...]
    subject: str
    parts: tuple[bytes, ...]
    lane: int
    number: str = ""
    expires_days: int = 0
    uploaded: frozenset[int] = frozenset()
    """Numbers of the parts that come through the upload service."""
    document: str = ""
    refused: str = ""
    attempts: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    """Recipient → the last state seen at the own node."""
    codes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Recipient → the statuses seen at the own node, in order."""

    digests: tuple[bytes, ...] = ()
    """SHA-256 of each part."""

    def __post_init__(self) -> None:
        self.digests = tuple(sha256(part).digest() for part in self.parts)

    def upload_id(self, number: int) -> str:
        """Under which name a part is uploaded."""
        return f"{self.key.replace('.', '_')}-{number}"


@dataclass(slots=True)
class Arrived:
    """A consignment as the recipient's software met it."""

    consignment: str
    agency: str
    subject: str = ""
    digests: tuple[bytes, ...] = ()
    listed: int = 0
    collected: bool = False
    """A collect was answered 2xx."""
    damaged: str = ""
    """The error with which its content could not be fetched, for good."""
    answered: list[tuple[int, int]] = field(default_factory=list)
    """(status, sequence in the chain) of every answer that was acknowledged, in order."""
    plan: list[tuple[int, str]] = field(default_factory=list)
    """(status, Idempotency-Key) still to be answered."""
    planned: bool = False


@dataclass(slots=True)
class Notebook:
    """All that one agency's software remembers."""

    agency: str
    sendings: list[Sending] = field(default_factory=list)
    arrived: dict[str, Arrived] = field(default_factory=dict)
    cursor: str = ""

    def acknowledged(self) -> Iterator[Sending]:
        """Documents that the node has taken over."""
        return (sending for sending in self.sendings if sending.document)

    @property
    def is_idle(self) -> bool:
        """Everything was handed in, and everything that came was collected and answered."""
        handed_in = all(sending.document or sending.refused for sending in self.sendings)
        return handed_in and all(one.damaged or (one.collected and not one.plan) for one in self.arrived.values())
