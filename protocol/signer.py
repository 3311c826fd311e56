"""What a node and a signer process say to each other. Spec: `spec/signer.md`.

Pure: bodies of frames, and what a text to be signed must look like. The node's end is
`node/external_signer.py`, the reference signer `node/signer_agent.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Final

from protocol.encoding import Digest, Extensions, Format, Key, Meta
from protocol.errors import FormatError, RequestError
from protocol.framing import encode_frame
from protocol.limits import SIGNER_FRAME_BYTES_MAX, SIGNER_TEXT_BYTES_MAX
from protocol.signing import FORMAT_NAME, PublicKey

PROTOCOL: Final = "truc/signer/1"
ROOT_BYTES: Final = 32

DEFAULT_FORMATS: Final = frozenset(
    {"truc/envelope/1", "truc/consignment/1", "truc/receipt/1", "truc/refusal/1", "truc/node/1"}
)
"""What a node says in its daily work; nothing that changes who speaks for an agency."""

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Kind(IntEnum):
    """Types of frames."""

    HELLO = 1
    SIGN = 2
    SIGNED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RawKey:
    """A public key that the signer has the private half of."""

    algorithm: Annotated[str, Meta(min_length=1, max_length=40), Key(1)]
    raw: Annotated[bytes, Meta(min_length=1, max_length=1024), Key(2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The signer's first word."""

    protocol: Annotated[str, Meta(min_length=1, max_length=40), Key(1)]
    keys: Annotated[tuple[RawKey, ...], Meta(min_length=1, max_length=16), Key(2)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """The node wants this text signed."""

    number: Annotated[Number, Key(1)]
    key_id: Annotated[Digest, Key(2)]
    text: Annotated[bytes, Meta(min_length=1, max_length=SIGNER_TEXT_BYTES_MAX), Key(3)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedText:
    """The signature over the text of that number."""

    number: Annotated[Number, Key(1)]
    signature: Annotated[bytes, Meta(min_length=1, max_length=1024), Key(2)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why the text of that number is not signed."""

    number: Annotated[Number, Key(1)]
    code: Annotated[str, Meta(pattern=r"^[a-z_]{1,40}\Z"), Key(2)]
    reason: Annotated[str, Meta(max_length=200), Key(3)] = ""
    extensions: Extensions = field(default_factory=dict)


Said = Hello | Sign | SignedText | Failed

FORMATS: Final[dict[Kind, Format[Any]]] = {
    Kind.HELLO: Format("truc/signer-hello/1", Hello, bytes_max=SIGNER_FRAME_BYTES_MAX - 1),
    Kind.SIGN: Format("truc/signer-sign/1", Sign, bytes_max=SIGNER_FRAME_BYTES_MAX - 1),
    Kind.SIGNED: Format("truc/signer-signed/1", SignedText, bytes_max=SIGNER_FRAME_BYTES_MAX - 1),
    Kind.FAILED: Format("truc/signer-failed/1", Failed, bytes_max=SIGNER_FRAME_BYTES_MAX - 1),
}
_KIND_OF: Final = {form.statement: kind for kind, form in FORMATS.items()}


def write(said: Said) -> bytes:
    """The bytes of a frame."""
    kind = _KIND_OF[type(said)]
    return encode_frame(kind, FORMATS[kind].encode(said))


def read(kind: int, body: bytes, *expected: Kind) -> Any:
    """What a frame says, if it is of a type expected now.

    Raises:
        FormatError: as `Format.decode`; `format_field` (another type).
    """
    if kind not in expected:
        raise FormatError("format_field", field="type", reason=f"unexpected type {kind}")
    return FORMATS[Kind(kind)].decode(body)


def check_hello(hello: Hello, key: PublicKey) -> None:
    """Return if this signer speaks our protocol and has this key.

    Raises:
        FormatError: `format_other` (another protocol).
        RequestError: `signer_other_key`.
    """
    if hello.protocol != PROTOCOL:
        raise FormatError("format_other", found=hello.protocol, wanted=PROTOCOL)
    if RawKey(algorithm=key.algorithm, raw=key.raw) not in hello.keys:
        raise RequestError("signer_other_key", key=key.key_id.hex())


def refusal_of(request: Sign, key: PublicKey, formats: Collection[str]) -> str:
    """Why a signer with this key must not sign a text; empty when it may."""
    if request.key_id != key.key_id:
        return "key_unknown"
    parts = _parts_of(request.text)
    if len(parts) != 3 or parts[1] != key.algorithm.encode() or parts[2] != key.key_id:
        return "not_a_statement"
    name = parts[0].decode("ascii", "replace")
    if FORMAT_NAME.fullmatch(name) is None:
        return "not_a_statement"
    return "" if name in formats else "format_not_allowed"


def _parts_of(text: bytes) -> list[bytes]:
    """The length-prefixed parts that stand before the last 32 bytes; none when they do not fill the rest."""
    parts: list[bytes] = []
    at, end = 0, len(text) - ROOT_BYTES
    while at < end:
        size = int.from_bytes(text[at : at + 4], "big")
        at += 4 + size
        if at > end:
            return []
        parts.append(text[at - size : at])
    return parts
