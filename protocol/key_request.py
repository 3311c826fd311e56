"""Requests of custodians: public keys for the root, for level-1, or for heartbeats, signed by themselves.

Spec: `spec/key_request.md` (DECISIONS: "the key signs the request that registers it"). What is made of
one is decided by whoever makes the next root or checkpoint (`node/authority_custody.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from protocol.agency_code import read_agency_code
from protocol.court import signers_of
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, KeyEntry
from protocol.encoding import Digest, Extensions, Format, Key, Meta, TimeMs
from protocol.entitlement import valid_keys
from protocol.errors import FormatError, NotNow, TrustError
from protocol.limits import (
    CODE_CHARACTERS_MAX,
    CUSTODY_KEYS_MAX,
    DIRECTORY_NAME_CHARACTERS_MAX,
    STATEMENT_BYTES_MAX,
)
from protocol.prefix_tree import EMPTY
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed, Verifier

PURPOSE_HEARTBEAT: Final = "heartbeat"
PURPOSES: Final = (ROLE_ROOT, ROLE_LEVEL_1, PURPOSE_HEARTBEAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """Keys that a custodian holds, and what they are meant for; signed by every one of them."""

    created_ms: Annotated[TimeMs, Key(1)]
    purpose: Annotated[str, Meta(min_length=1, max_length=40), Key(2)]
    keys: Annotated[tuple[KeyEntry, ...], Meta(min_length=1, max_length=CUSTODY_KEYS_MAX), Key(4)]
    holder: Annotated[str, Meta(min_length=1, max_length=DIRECTORY_NAME_CHARACTERS_MAX), Key(5)]
    anchor: Annotated[Digest, Key(3)] = EMPTY
    registrar: Annotated[str, Meta(max_length=CODE_CHARACTERS_MAX), Key(6)] = ""
    extensions: Extensions = field(default_factory=dict)


KEY_REQUEST: Final = Format("truc/key-request/1", KeyRequest, bytes_max=STATEMENT_BYTES_MAX)


def read_key_request(statement: bytes) -> KeyRequest:
    """A request from its canonical bytes, well-formed in itself.

    Raises:
        FormatError: as `Format.decode`; `format_field`, `format_agency_code`, `key_malformed`.
        TrustError: `key_small_order`.
    """
    value = KEY_REQUEST.decode(statement)
    check_key_request(value)
    return value


def check_key_request(value: KeyRequest) -> None:
    """The rules of spec/key_request.md §1 within one statement. Raises: as `read_key_request`."""
    _require(value.purpose in PURPOSES, "purpose", "root, level-1 or heartbeat")
    for index, entry in enumerate(value.keys):
        at = f"keys[{index}]"
        _require(entry.from_ms < entry.until_ms, f"{at}.until_ms", "not after from_ms")
        _require(not entry.revoked_ms and not entry.compromised_ms, f"{at}.revoked_ms", "a revoked key")
        _require(entry.algorithm == ALGORITHM_ED25519, f"{at}.algorithm", "cannot be proved here")
        PublicKey.of(entry.algorithm, entry.raw)
    _require(len({entry.key_id for entry in value.keys}) == len(value.keys), "keys", "repeated")
    _require(
        value.holder == value.holder.strip() and value.holder.isprintable(),
        "holder",
        "blanks around it or unprintable characters",
    )
    _check_registrar(value)


def proved_key_request(signed: Signed, verifier: Verifier) -> KeyRequest:
    """A request that every key in it has signed.

    Raises:
        FormatError: `format_other`, and as `read_key_request`.
        TrustError: `directory_possession`, `signature_invalid`, `signature_path`.
    """
    if signed.format != KEY_REQUEST.name:
        raise FormatError("format_other", found=signed.format, wanted=KEY_REQUEST.name)
    value = read_key_request(signed.statement)
    try:
        signers_of(signed, valid_keys(value.keys, value.created_ms), verifier, needed=len(value.keys))
    except NotNow as error:
        raise TrustError("directory_possession") from error
    except TrustError as error:
        raise TrustError("directory_possession") if error.code == "directory_threshold" else error from error
    return value


def _check_registrar(value: KeyRequest) -> None:
    beats = value.purpose == PURPOSE_HEARTBEAT
    _require(bool(value.registrar) == beats, "registrar", "only and always with heartbeat")
    _require(not beats or value.anchor != EMPTY, "anchor", "a heartbeat belongs to a tree")
    if beats and value.registrar not in {ROLE_ROOT, ROLE_LEVEL_1}:
        read_agency_code(value.registrar, field="registrar")


def _require(condition: bool, where: str, reason: str) -> None:
    if not condition:
        raise FormatError("format_field", field=where, reason=reason)
