"""Agency codes and centre codes: strict parsing, ancestry by whole components, folding for search.

Spec: `spec/agency_code.md` (DOMAIN §2, DECISIONS "Centre code"). A code is an opaque
string: which old-form alias belongs to which code is data of directory records, never
arithmetic, and lives in `directory.py`. What is signed is what was parsed, unchanged;
folding serves people who search and programs that compare, never a signature.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NewType

from protocol.errors import FormatError, RequestError
from protocol.limits import CODE_CHARACTERS_MAX

AgencyCode = NewType("AgencyCode", str)
"""A code of an agency in either written form, checked."""

CentreCode = NewType("CentreCode", str)
"""A code of a centre, `00.22.W00`, checked; never an agency code."""

_OLD: Final = re.compile(r"[0-9]{3}\.[0-9]{2}\.[0-9]{2}\.([A-Z][0-9]{2})")
_NEW: Final = re.compile(r"([A-Z][0-9]{2})(?:\.[0-9A-Z]{1,8})*")
_CENTRE: Final = re.compile(r"[0-9]{2}\.[0-9]{2}\.W[0-9]{2}")

# Soft hyphen, Mongolian vowel separator, zero-width space to right-to-left mark, word joiner, byte order mark.
_INVISIBLE: Final = dict.fromkeys((0xAD, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))


# --- parsing ------------------------------------------------------------------------------


def is_old_form(text: str) -> bool:
    """Whether this is a code of QCVN 102:2016: `000.00.12.H38`."""
    return _OLD.fullmatch(text) is not None


def is_new_form(text: str) -> bool:
    """Whether this is a code of Decision 20/2020: `H38.12`."""
    return len(text) <= CODE_CHARACTERS_MAX and _NEW.fullmatch(text) is not None


def parse_agency_code(text: str, *, field: str = "") -> AgencyCode:
    """A code that a local caller gave, in either form, taken exactly as it stands.

    Raises:
        RequestError: `agency_code_malformed`.
    """
    if not (is_old_form(text) or is_new_form(text)):
        raise RequestError("agency_code_malformed", field=field, code=shown(text))
    return AgencyCode(text)


def parse_centre_code(text: str, *, field: str = "") -> CentreCode:
    """A centre code that a local caller gave.

    Raises:
        RequestError: `centre_code_malformed`.
    """
    if _CENTRE.fullmatch(text) is None:
        raise RequestError("centre_code_malformed", field=field, code=shown(text))
    return CentreCode(text)


def read_agency_code(text: str, *, field: str = "") -> AgencyCode:
    """A code that stands in a statement.

    Raises:
        FormatError: `format_agency_code`.
    """
    if not (is_old_form(text) or is_new_form(text)):
        raise FormatError("format_agency_code", field=field, code=shown(text))
    return AgencyCode(text)


def read_centre_code(text: str, *, field: str = "") -> CentreCode:
    """A centre code that stands in a statement.

    Raises:
        FormatError: `format_centre_code`.
    """
    if _CENTRE.fullmatch(text) is None:
        raise FormatError("format_centre_code", field=field, code=shown(text))
    return CentreCode(text)


def shown(text: str) -> str:
    """A wrong code as an error may repeat it: short, one line, nothing invisible."""
    cut = text[: CODE_CHARACTERS_MAX + 5]
    return cut if cut.isascii() and cut.isprintable() else ascii(cut)[1:-1]


# --- structure ----------------------------------------------------------------------------


def level_one(code: str) -> str:
    """The level-1 code that this code belongs to: `H38` for `H38.12` and for `000.00.12.H38`."""
    found = _OLD.fullmatch(code) or _NEW.fullmatch(code)
    assert found is not None
    return found[1]


def components(code: str) -> tuple[str, ...]:
    """The components of a new-form code, level 1 first; an old-form code has no such order."""
    assert is_new_form(code)
    return tuple(code.split("."))


def is_ancestor(above: str, below: str) -> bool:
    """Whether `above` stands strictly above `below` in the tree of new-form codes.

    Whole components count: `H38.1` is no ancestor of `H38.12`. An old-form code is nobody's
    ancestor or descendant.
    """
    if not (is_new_form(above) and is_new_form(below)):
        return False
    high, low = components(above), components(below)
    return len(high) < len(low) and low[: len(high)] == high


# --- folding, for comparing and searching only --------------------------------------------


def fold_code(text: str) -> str:
    """A code as dirty lists write it, brought into shape for looking it up."""
    return unicodedata.normalize("NFC", _visible(text).upper().replace("Đ", "D"))


def fold_name(text: str) -> str:
    """A name for comparing: composed, without invisible characters, one blank between words, no case."""
    return unicodedata.normalize("NFC", _visible(text).casefold())


def search_name(text: str) -> str:
    """A name for searching: as `fold_name`, and without diacritics, Đ as D."""
    apart = unicodedata.normalize("NFD", fold_name(text).replace("đ", "d"))
    bare = "".join(mark for mark in apart if unicodedata.category(mark) != "Mn")
    return " ".join(bare.split())


def _visible(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())
