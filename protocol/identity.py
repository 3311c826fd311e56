"""When two documents are the same: by number, and by content.

Obeys `spec/document.md` §5 (DESIGN §4, "Same document again"). Decree 30/2020 knows a document by
issuer, year, number and notation, and demands a warning when one comes twice. Texts are normalised
for this comparison only, never for signing. What follows from sameness is `protocol/sending.py`;
the number identity is stored only as a keyed hash (`protocol/sealing.py`, `keyed_index`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Final

from protocol.document import Metadata
from protocol.encoding import lp
from protocol.part_name import ZERO_WIDTH

_NUMBER: Final = "truc/number/1"
_CONTENT: Final = "truc/content/1"


def number_identity(issuer: str, year: int, number: str, notation: str) -> bytes:
    """What the duplicate rule compares: equal for every spelling of the same number.

    `issuer` is the primary code, `year` the year of issue. The number must not be empty: a
    document without one is not under the rule.
    """
    folded = _folded(number)
    assert folded, "the duplicate rule needs a number"
    return lp(_NUMBER, issuer, str(year), folded.lstrip("0") or "0", _folded(notation))


def content_identity(metadata: Metadata, plain_digests: Iterable[bytes]) -> bytes:
    """SHA-256 over what makes two sendings the same document.

    Type, number, notation, date, subject, signers and the plain digests of the parts, in any
    order; not file names, recipients, due date or contact, which change when a document is
    merely sent again.
    """
    signers = [_plain(text) for signer in metadata.signers for text in (signer.position, signer.name)]
    return hashlib.sha256(
        lp(
            _CONTENT,
            _plain(metadata.type),
            _folded(metadata.number).lstrip("0"),
            _folded(metadata.notation),
            metadata.issued_on,
            _plain(metadata.subject),
            lp(*signers),
            lp(*sorted(plain_digests)),
        )
    ).digest()


def year_of(metadata: Metadata, otherwise: int) -> int:
    """The year of issue; `otherwise` where the metadata has no date."""
    return int(metadata.issued_on[:4]) if metadata.issued_on else otherwise


def _plain(text: str) -> str:
    """NFC, invisible characters removed, blanks collapsed."""
    visible = "".join(character for character in text if character not in ZERO_WIDTH)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def _folded(text: str) -> str:
    """As `_plain`, without blanks, in upper case, every look-alike of Đ being Đ."""
    return _plain(text).replace(" ", "").upper().replace("\u00d0", "\u0110").replace("\u0189", "\u0110")
