"""Everything that can go wrong, as one tree whose first split says whose fault it is.

Every error carries a stable code that stands in `protocol/catalogue.py` with its
Vietnamese and English text and the next step. An error whose code belongs to another
family is our mistake: telling it to anybody fails an assertion there. Obeys DESIGN §4 ("failure is an outcome").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class TrucError(Exception):
    """An outcome with a stable code.

    `field` is the path of the offending field in the caller's words (`metadata.subject`,
    `parts[2].name`); `detail` holds the values that the catalogue's texts interpolate.
    """

    family: ClassVar[str] = ""

    def __init__(self, code: str, /, *, field: str = "", **detail: str | int) -> None:
        super().__init__(code)
        self.code = code
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        where = f" at {self.field}" if self.field else ""
        what = "".join(f" {name}={value!r}" for name, value in self.detail.items())
        return f"{self.code}{where}{what}"


class FormatError(TrucError):
    """These bytes are not what they claim to be: the fault of whoever made them."""

    family = "format"


class TrustError(TrucError):
    """Well-formed, but not signed by someone who may say this."""

    family = "trust"


class RequestError(TrucError):
    """The local caller asked for something that cannot be done as asked."""

    family = "request"


class Findings(RequestError):
    """Several mistakes of one request, told at once.

    Code, field and details are those of the first one; `findings` holds them all, so that
    the answer can list each with its own text.
    """

    def __init__(self, findings: Sequence[RequestError]) -> None:
        assert findings, "nothing was found"
        first = findings[0]
        super().__init__(first.code, field=first.field, **first.detail)
        self.findings = tuple(findings)


class NotNow(TrucError):
    """The peer (or this node) cannot judge or take this at present; nothing is remembered."""

    family = "not_now"


class RefusedError(TrucError):
    """A signed, final no, provable from the issuer's own bytes."""

    family = "refusal"


class StoreError(TrucError):
    """The disk or the data folder is full, damaged, locked, or of another version."""

    family = "store"


class NetworkError(TrucError):
    """A peer cannot be reached, or broke the rules of the exchange."""

    family = "network"


class ConfigurationError(TrucError):
    """The node cannot start, or the operator's files or words are wrong."""

    family = "configuration"
