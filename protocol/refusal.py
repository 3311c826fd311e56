"""The recipient's signed, final no.

Obeys `spec/refusal.md` (DESIGN §3 and §4, "An offer has exactly three answers"). A refusal says
only what can be proved from the issuer's own signed bytes; it is made once and stays the same for
ever. What is merely unknown or busy is *not now* and is not signed. It names the directory records
it was judged by, so that the sender can tell a refusal from a misunderstanding.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final

from protocol import limits
from protocol.consignment import CodeText
from protocol.encoding import Digest, Extensions, Format, Key, Meta, TimeMs
from protocol.errors import FormatError, TrucError

REFUSAL_CODES: Final = frozenset(
    {"expired", "header_invalid", "part_mismatch", "too_large", "too_many_parts", "secrecy_marked", "policy"}
)
"""The whole list; within version 1 codes are only added."""

REFUSAL_OF: Final[dict[str, str]] = {
    "envelope_too_many_parts": "too_many_parts",
    "header_parts_differ": "part_mismatch",
    "part_damaged": "part_mismatch",
    "secrecy_marked": "secrecy_marked",
}
"""Which refusal follows from which error in the issuer's bytes; every other one is `header_invalid`.
`part_damaged` counts only when the sealed bytes have the digest that the issuer signed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`field` is the path of what is wrong; `judged_by` are digests of directory records."""

    consignment: Annotated[Digest, Key(1)]
    envelope: Annotated[Digest, Key(2)]
    recipient: Annotated[CodeText, Key(3)]
    code: Annotated[str, Key(4), Meta(min_length=1, max_length=40)]
    field: Annotated[str, Key(5), Meta(max_length=200)] = ""
    judged_by: Annotated[tuple[Digest, ...], Key(6), Meta(max_length=limits.JUDGED_BY_MAX)] = ()
    time_ms: Annotated[TimeMs, Key(7)]
    extensions: Extensions = dataclasses.field(default_factory=dict)


REFUSAL: Final = Format("truc/refusal/1", Refusal, bytes_max=limits.STATEMENT_BYTES_MAX)


def refusal_code(error: TrucError) -> str:
    """The refusal that an error found in the issuer's signed bytes leads to."""
    return REFUSAL_OF.get(error.code, "header_invalid")


def check_refusal(refusal: Refusal) -> None:
    """What the shape alone does not say.

    Raises:
        FormatError: `refusal_code_unknown`.
    """
    if refusal.code not in REFUSAL_CODES:
        raise FormatError("refusal_code_unknown", field="code", refusal=refusal.code)
