"""How bodies are pulled: one request, one answer, then raw bytes. Spec: `spec/body_exchange.md`.

Obeys DESIGN §4 ("large bodies are pulled"). A stream carries requests one after the other.
What may be asked for is decided by the serving node: only bodies of the consignment's envelope,
only for the recipient's present host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from protocol.encoding import Count, Digest, Extensions, Format, Key, Meta
from protocol.errors import FormatError
from protocol.framing import encode_frame
from protocol.limits import SEGMENT_BYTES

PROTOCOL: Final = "/truc/body/1.0.0"
REQUEST: Final = 1
ANSWER: Final = 2
FRAME_BYTES_MAX: Final = 1024
"""Requests and answers are small; the body itself is not framed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyAsked:
    """Give me this body of that consignment's envelope from an offset on, a whole number of MiB."""

    consignment: Annotated[Digest, Key(1)]
    body: Annotated[Digest, Key(2)]
    offset: Annotated[Count, Key(3)] = 0
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyGiven:
    """`size` raw bytes follow; or none, and `code` says why (`body_gone`, `not_yours`, `busy`)."""

    size: Annotated[Count, Key(1)] = 0
    code: Annotated[str, Key(2), Meta(max_length=64)] = ""
    extensions: Extensions = field(default_factory=dict)


BODY_ASKED: Final = Format("truc/body/asked/1", BodyAsked, bytes_max=FRAME_BYTES_MAX)
BODY_GIVEN: Final = Format("truc/body/given/1", BodyGiven, bytes_max=FRAME_BYTES_MAX)


def ask(asked: BodyAsked) -> bytes:
    """The request as it goes on the wire."""
    assert asked.offset % SEGMENT_BYTES == 0
    return encode_frame(REQUEST, BODY_ASKED.encode(asked))


def give(given: BodyGiven) -> bytes:
    """The answer as it goes on the wire, before the raw bytes."""
    return encode_frame(ANSWER, BODY_GIVEN.encode(given))


def read_asked(number: int, body: bytes) -> BodyAsked:
    """A request from its frame.

    Raises:
        FormatError: `frame_unknown`, `body_offset`, and as `Format.decode`.
    """
    if number != REQUEST:
        raise FormatError("frame_unknown", type=number)
    asked = BODY_ASKED.decode(body)
    if asked.offset % SEGMENT_BYTES:
        raise FormatError("body_offset", field="offset", offset=asked.offset)
    return asked


def read_given(number: int, body: bytes) -> BodyGiven:
    """An answer from its frame.

    Raises:
        FormatError: `frame_unknown`, and as `Format.decode`.
    """
    if number != ANSWER:
        raise FormatError("frame_unknown", type=number)
    return BODY_GIVEN.decode(body)
