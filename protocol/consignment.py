"""One envelope for one recipient: what the issuer promises to deliver.

Obeys `spec/consignment.md` (DESIGN §3, "Consignment"). The id is derived from issuer, envelope
and recipient, so nobody can squat it and a restored sender finds the same one again. Signing and
verifying are `protocol/signing.py`; the wrapped content key is `protocol/sealing.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Final

from protocol import limits
from protocol.encoding import Digest, Extensions, Format, Key, Meta, TimeMs, lp
from protocol.errors import FormatError

CodeText = Annotated[str, Meta(min_length=1, max_length=limits.CODE_CHARACTERS_MAX)]
"""The primary code of an agency, as it stands in a statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consignment:
    """`envelope` is the digest of the signed envelope; codes are primary codes."""

    envelope: Annotated[Digest, Key(1)]
    issuer: Annotated[CodeText, Key(2)]
    recipient: Annotated[CodeText, Key(3)]
    created_ms: Annotated[TimeMs, Key(4)]
    extensions: Extensions = field(default_factory=dict)

    @property
    def id(self) -> bytes:
        """The 32-byte consignment id."""
        return consignment_id(self.issuer, self.envelope, self.recipient)


CONSIGNMENT: Final = Format("truc/consignment/1", Consignment, bytes_max=limits.STATEMENT_BYTES_MAX)


def consignment_id(issuer: str, envelope_digest: bytes, recipient: str) -> bytes:
    """SHA-256 over format, issuer, envelope digest and recipient, each behind its length."""
    return hashlib.sha256(lp(CONSIGNMENT.name, issuer, envelope_digest, recipient)).digest()


def check_consignment(consignment: Consignment) -> None:
    """What the shape alone does not say.

    Raises:
        FormatError: `consignment_to_itself`.
    """
    if consignment.issuer == consignment.recipient:
        raise FormatError("consignment_to_itself", field="recipient", agency=consignment.recipient)
