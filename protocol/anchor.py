"""The anchor: the root digest and a few addresses, all that a new node needs to join.

Spec: `spec/joining.md` §1. A file, or the same as one line of text. It is not signed and nothing
is believed of it but the root digest, which people compare; who is reached at the addresses is
judged like everybody else. What a node does with it is `node/joining.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Final

from protocol.agency_code import read_centre_code
from protocol.directory import CentreText, NameText
from protocol.encoding import Digest, Extensions, Format, Key, Meta, decode, encode, lp
from protocol.errors import FormatError
from protocol.limits import ANCHOR_ADDRESSES_MAX, ANCHOR_BYTES_MAX, ANCHOR_CONTACTS_MAX

PREFIX: Final = "truc-anchor:"
CHECK_BYTES: Final = 8
"""Slips of hands and mail programs; nobody is kept from making another anchor."""
TEXT_CHARACTERS_MAX: Final = 4 * ANCHOR_BYTES_MAX
"""Base64 makes four characters of three bytes; the rest is line ends and blanks that mail put in."""

_PEER_ID: Final = re.compile(r"(12D3KooW|16Uiu2HA|Qm)[1-9A-HJ-NP-Za-km-z]{36,52}")
_ADDRESS: Final = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[0-9A-Za-z.:_-]+/tcp/([1-9]\d{0,4})", re.ASCII)
_PORT_MAX: Final = 65_535
_BLANKS: Final = re.compile(r"\s+")
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")

Address = Annotated[str, Meta(min_length=1, max_length=255)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A node that is asked first."""

    centre: Annotated[CentreText, Key(1)]
    peer_id: Annotated[str, Meta(min_length=1, max_length=128), Key(2)]
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=ANCHOR_ADDRESSES_MAX), Key(3)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where all trust begins, and whom to ask first."""

    root_digest: Annotated[Digest, Key(1)]
    contacts: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=ANCHOR_CONTACTS_MAX), Key(2)]
    name: Annotated[NameText, Key(3)] = ""
    extensions: Extensions = field(default_factory=dict)


ANCHOR: Final = Format("truc/anchor/1", Anchor, bytes_max=ANCHOR_BYTES_MAX)


def write_anchor(anchor: Anchor) -> bytes:
    """The file of an anchor.

    Raises:
        FormatError: `format_field`, `format_centre_code`, `format_too_large`.
    """
    _check(anchor)
    statement = ANCHOR.encode(anchor)
    file = encode([ANCHOR.name, statement, _sum(statement)])
    if len(file) > ANCHOR_BYTES_MAX:
        raise FormatError("format_too_large", size=len(file), limit=ANCHOR_BYTES_MAX)
    return file


def anchor_text(anchor: Anchor) -> str:
    """The anchor as one line. Raises: as `write_anchor`."""
    return PREFIX + base64.urlsafe_b64encode(write_anchor(anchor)).decode().rstrip("=")


def read_anchor(content: bytes) -> Anchor:
    """The anchor in the bytes of a file, or in those of a text.

    Raises:
        FormatError: `anchor_damaged`, `format_other`, `format_newer`, `format_field`,
            `format_centre_code`, and as `decode`.
    """
    if content.lstrip().startswith(PREFIX.encode()):
        if len(content) > TEXT_CHARACTERS_MAX:
            raise FormatError("format_too_large", size=len(content), limit=TEXT_CHARACTERS_MAX)
        return read_anchor_text(content.decode("ascii", "replace"))
    return _read(content)


def read_anchor_text(text: str) -> Anchor:
    """The anchor that a line of text holds; blanks and line ends in it do not count. Raises: as `read_anchor`."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise FormatError("format_too_large", size=len(text), limit=TEXT_CHARACTERS_MAX)
    line = _BLANKS.sub("", text)
    if not line.startswith(PREFIX) or not _ALPHABET.fullmatch(line, len(PREFIX)):
        raise FormatError("anchor_damaged", reason="text")
    letters = line[len(PREFIX) :]
    try:
        content = base64.urlsafe_b64decode(letters + "=" * (-len(letters) % 4))
    except binascii.Error as error:
        raise FormatError("anchor_damaged", reason="text") from error
    if base64.urlsafe_b64encode(content).decode().rstrip("=") != letters:
        raise FormatError("anchor_damaged", reason="text")
    return _read(content)


def _decoded(file: bytes) -> object:
    """What is no encoding at all was cut on its way to whoever joins, and is to be fetched again."""
    try:
        return decode(file, bytes_max=ANCHOR_BYTES_MAX)
    except FormatError as error:
        if error.code != "format_malformed":
            raise
        raise FormatError("anchor_damaged", reason="cut") from error


def _read(file: bytes) -> Anchor:
    value = _decoded(file)
    if type(value) is not list or not value or type(value[0]) is not str:
        raise FormatError("format_other", found="?", wanted=ANCHOR.name)
    if value[0] != ANCHOR.name:
        newer = value[0].rpartition("/")[0] == ANCHOR.name.rpartition("/")[0]
        raise FormatError("format_newer") if newer else FormatError("format_other", found=value[0], wanted=ANCHOR.name)
    if len(value) != 3 or type(value[1]) is not bytes or value[2] != _sum(value[1]):
        raise FormatError("anchor_damaged", reason="check")
    anchor = ANCHOR.decode(value[1])
    _check(anchor)
    return anchor


def _sum(statement: bytes) -> bytes:
    return sha256(lp(ANCHOR.name, statement)).digest()[:CHECK_BYTES]


# --- what makes it well-formed in itself ------------------------------------------------------


def _check(anchor: Anchor) -> None:
    _require(any(anchor.root_digest), "root_digest", "no digest")
    _require(anchor.name == anchor.name.strip() and anchor.name.isprintable(), "name", "blanks or unprintable")
    for where, contact in _numbered(anchor.contacts):
        read_centre_code(contact.centre, field=f"{where}.centre")
        _require(_PEER_ID.fullmatch(contact.peer_id) is not None, f"{where}.peer_id", "no peer id")
        for index, address in enumerate(contact.addresses):
            _require(is_address(address), f"{where}.addresses[{index}]", "no address")
        _require_unique(contact.addresses, f"{where}.addresses")
    _require_unique([contact.centre for contact in anchor.contacts], "contacts")
    _require_unique([contact.peer_id for contact in anchor.contacts], "contacts")


def is_address(text: str) -> bool:
    """Whether this is the form of an address that can be dialled; not whether anybody is there."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found[2]) <= _PORT_MAX


def _numbered(contacts: Sequence[Contact]) -> Iterator[tuple[str, Contact]]:
    return ((f"contacts[{index}]", contact) for index, contact in enumerate(contacts))


def _require(condition: bool, where: str, reason: str) -> None:
    if not condition:
        raise FormatError("format_field", field=where, reason=reason)


def _require_unique(items: Sequence[str], where: str) -> None:
    _require(len(set(items)) == len(items), where, "repeated")
