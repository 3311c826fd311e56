"""Opaque cursors: a place in one store's sequence, useless in another store.

Obeys DECISIONS "Inbox and cursors": incarnation ‖ last sequence seen. The cursor is the truth,
whatever wakes a reader is only a hint.
"""

from __future__ import annotations

import base64
import binascii

from protocol.agency_code import is_new_form, is_old_form
from protocol.errors import RequestError


def write_cursor(incarnation: bytes, sequence: int) -> str:
    """The cursor behind this sequence number."""
    return base64.urlsafe_b64encode(incarnation + sequence.to_bytes(8, "big")).decode()


def read_cursor(text: str, incarnation: bytes, *, field: str = "after") -> int:
    """The last sequence seen; 0 for the empty cursor, which stands before everything.

    Raises:
        RequestError: `cursor_malformed`, `cursor_of_another_store` with the cursor to restart from.
    """
    if not text:
        return 0
    try:
        raw = base64.urlsafe_b64decode(text.encode())
    except (binascii.Error, ValueError) as error:
        raise RequestError("cursor_malformed", field=field) from error
    if len(raw) != 24 or raw[16] & 0x80:
        raise RequestError("cursor_malformed", field=field)
    if raw[:16] != incarnation:
        raise RequestError("cursor_of_another_store", field=field, restart=write_cursor(incarnation, 0))
    return int.from_bytes(raw[16:], "big")


def write_place(code: str) -> str:
    """The cursor behind this code in a list that is sorted by codes; the same in every store."""
    return base64.urlsafe_b64encode(code.encode()).decode() if code else ""


def read_place(text: str, *, field: str = "after") -> str:
    """The last code seen; empty for the empty cursor.

    Raises:
        RequestError: `cursor_malformed`.
    """
    if not text:
        return ""
    try:
        code = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise RequestError("cursor_malformed", field=field) from error
    if not (is_old_form(code) or is_new_form(code)):
        raise RequestError("cursor_malformed", field=field)
    return code
