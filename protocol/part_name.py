"""Names and media types of files: what every recipient's machine can safely hold.

Obeys `spec/document.md` §4. A name travels from one agency's clerk to the disk of another's, often
a Windows machine, and is shown to people on the way. Nothing is repaired here: a name that would
have to be changed is refused, because a file that arrives under another name is another file to
whoever signed the list of attachments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from protocol import limits
from protocol.errors import Findings, RequestError

_PATH: Final = re.compile(r"[/\\:]|^\.{1,2}$")
"""Separators, drive letters and alternate streams, and the two names every folder has."""

_WINDOWS_CHARACTERS: Final = frozenset('<>"|?*')

_DEVICE: Final = re.compile(r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)
"""Windows device names; they are devices with any extension, too."""

_UNREADABLE: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\u2028\\u2029\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)
"""Controls, halves of surrogate pairs, line separators, and the characters that let `fdp.exe` be
shown as `exe.pdf`."""

ZERO_WIDTH: Final = frozenset("\u200b\u200c\u200d\u2060\ufeff")
"""Characters that nobody sees; removed before names are compared."""

_RESTRICTED_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838 §4.2
_PARAMETER: Final = rf"""; ?{_RESTRICTED_NAME}=({_RESTRICTED_NAME}|"[^"\\\x00-\x1f\x7f]*")"""
_MEDIA_TYPE: Final = re.compile(rf"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}({_PARAMETER})*", re.ASCII)


def check_part_names(parts: Sequence[tuple[str, str]]) -> None:
    """Check (name, media type) of all parts of one document, and that no two share a name.

    Raises:
        Findings: every mistake, at `parts[n].name` or `parts[n].media_type`.
    """
    findings = list(_all_findings(parts))
    if findings:
        raise Findings(findings)


def check_part_name(name: str, field: str = "name") -> None:
    """Check one file name.

    Raises:
        RequestError: `part_name_empty`, `part_name_too_long`, `part_name_control`,
            `part_name_path`, `part_name_character`, `part_name_trailing`, `part_name_device`.
    """
    for code in _name_mistakes(name):
        raise RequestError(code, field=field, limit=limits.PART_NAME_BYTES_MAX)


def check_media_type(media_type: str, field: str = "media_type") -> None:
    """Check the syntax of a media type; whether the format is allowed is the operator's choice.

    Raises:
        RequestError: `part_media_type_malformed`.
    """
    if len(media_type) > limits.MEDIA_TYPE_CHARACTERS_MAX or not _MEDIA_TYPE.fullmatch(media_type):
        raise RequestError("part_media_type_malformed", field=field)


def compared_name(name: str) -> str:
    """The form in which two names count as one: NFC, case folded, invisible characters removed."""
    visible = "".join(character for character in name if character not in ZERO_WIDTH)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).casefold())


def _all_findings(parts: Sequence[tuple[str, str]]) -> Iterator[RequestError]:
    seen: set[str] = set()
    for index, (name, media_type) in enumerate(parts):
        try:
            check_part_name(name, f"parts[{index}].name")
        except RequestError as finding:
            yield finding
        compared = compared_name(name)
        if compared in seen:
            yield RequestError("part_name_repeated", field=f"parts[{index}].name")
        seen.add(compared)
        try:
            check_media_type(media_type, f"parts[{index}].media_type")
        except RequestError as finding:
            yield finding


def _name_mistakes(name: str) -> Iterator[str]:
    """Codes of what is wrong with a name, the gravest first."""
    if not compared_name(name).strip():
        yield "part_name_empty"
    if _UNREADABLE.search(name):
        yield "part_name_control"
    elif len(name.encode()) > limits.PART_NAME_BYTES_MAX:
        yield "part_name_too_long"
    if _PATH.search(name):
        yield "part_name_path"
    if any(character in _WINDOWS_CHARACTERS for character in name):
        yield "part_name_character"
    if name != name.rstrip(". \u00a0"):
        yield "part_name_trailing"
    if _DEVICE.fullmatch(name.split(".", 1)[0].rstrip()):
        yield "part_name_device"
