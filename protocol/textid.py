"""Ids as people and programs write them: a prefix and lower-case base32 without padding.

Obeys DECISIONS, "Text ids": `doc_` names an envelope id, `csg_` a consignment id, `sys_` a
system. The VXP interface uses the same text without the prefix. One id has one spelling: upper
case, padding, blanks and stray bits are refused, because clients compare ids as strings.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Literal

from protocol.errors import RequestError

Prefix = Literal["doc", "csg", "sys"]

ID_BYTES: Final[dict[Prefix, int]] = {"doc": 16, "csg": 32, "sys": 16}
"""Raw length behind each prefix."""

_ALPHABET: Final = re.compile(r"[a-z2-7]*\Z")


def to_text(prefix: Prefix, raw: bytes) -> str:
    """`doc_…`, `csg_…` or `sys_…` for a raw id."""
    return f"{prefix}_{to_bare_text(prefix, raw)}"


def to_bare_text(prefix: Prefix, raw: bytes) -> str:
    """The same text without its prefix, as VXP document ids are written."""
    assert len(raw) == ID_BYTES[prefix], f"{prefix} ids have {ID_BYTES[prefix]} bytes"
    return base64.b32encode(raw).decode().rstrip("=").lower()


def from_text(prefix: Prefix, text: str, *, field: str = "id") -> bytes:
    """Read an id that must carry this prefix.

    Raises:
        RequestError: `id_malformed` at `field`.
    """
    if not text.startswith(f"{prefix}_"):
        raise RequestError("id_malformed", field=field, prefix=f"{prefix}_")
    return from_bare_text(prefix, text[len(prefix) + 1 :], field=field)


def from_bare_text(prefix: Prefix, text: str, *, field: str = "id") -> bytes:
    """Read an id written without its prefix.

    Raises:
        RequestError: `id_malformed` at `field`.
    """
    raw = _decode(text)
    if len(raw) != ID_BYTES[prefix] or to_bare_text(prefix, raw) != text:
        raise RequestError("id_malformed", field=field, prefix=f"{prefix}_")
    return raw


def _decode(text: str) -> bytes:
    """The bytes of a base32 text, or none at all for anything else."""
    if not _ALPHABET.match(text):
        return b""
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""
