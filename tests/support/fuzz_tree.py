"""The structure of octets, for changing one place of it: frames, MessagePack, MessagePack inside byte strings.

What is written again is well-formed around the change; what was not changed is written as it was, map keys
in their order and repeated ones included. `Raw` stands for octets that are to be written as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from protocol.framing import LENGTH_BYTES, encode_frame

DEPTH_MAX: Final = 40
"""Of what is looked into; byte strings within byte strings count."""


@dataclass(slots=True)
class Raw:
    """Octets that stand in the tree as they are."""

    octets: bytes


@dataclass(slots=True)
class Pairs:
    """A map as it was written: order and repetitions kept."""

    pairs: list[Any]  # [key, value] each


@dataclass(slots=True)
class Inner:
    """A byte string that holds MessagePack itself."""

    value: Any


@dataclass(slots=True)
class Frames:
    """A stream of frames: [type, tree] each."""

    frames: list[Any]


# --- octets ↔ tree --------------------------------------------------------------------------------


def tree_of(octets: bytes) -> Any:
    """The structure of these octets; `Raw` if they have none."""
    return _frames(octets) or _kind_and_body(octets) or _message(octets, 0) or Raw(octets)


def octets_of(tree: Any) -> bytes:
    """The octets of a tree."""
    if isinstance(tree, Frames):
        return b"".join(encode_frame(kind & 0xFF, octets_of(body)) for kind, body in tree.frames)
    out = bytearray()
    _write(tree, out)
    return bytes(out)


def _frames(octets: bytes) -> Frames | None:
    frames: list[Any] = []
    at = 0
    while at + LENGTH_BYTES < len(octets):
        length = int.from_bytes(octets[at : at + LENGTH_BYTES], "big")
        body = octets[at + LENGTH_BYTES + 1 : at + LENGTH_BYTES + length]
        if length == 0 or len(body) != length - 1:
            return None
        frames.append([octets[at + LENGTH_BYTES], _message(body, 0) or Raw(body)])
        at += LENGTH_BYTES + length
    return Frames(frames) if frames and at == len(octets) else None


@dataclass(slots=True)
class Kinded:
    """A type byte and a body, as a frame's reader gets them; or a target's own first byte, and frames."""

    kind: int
    body: Any


def _kind_and_body(octets: bytes) -> Kinded | None:
    body = (_message(octets[1:], 0) or _frames(octets[1:])) if octets and octets[0] < 0x80 else None
    return None if body is None else Kinded(octets[0], body)


def _message(octets: bytes, depth: int) -> Any:
    """A list or map in MessagePack; None for anything else."""
    if depth > DEPTH_MAX or not octets or not (0x80 <= octets[0] <= 0x9F or 0xDC <= octets[0] <= 0xDF):
        return None
    try:
        found = msgpack.unpackb(
            octets, raw=False, strict_map_key=False, object_pairs_hook=lambda pairs: Pairs([list(p) for p in pairs])
        )
        return _opened(found, depth) if isinstance(found, list | Pairs) else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def _opened(value: Any, depth: int) -> Any:
    """Byte strings that are messages themselves are opened. Raises: ValueError: too deep to look into."""
    if depth > DEPTH_MAX:
        raise ValueError("too deep")
    if isinstance(value, bytes):
        inner = _message(value, depth + 1) if len(value) > 2 else None
        return value if inner is None else Inner(inner)
    if isinstance(value, list):
        return [_opened(item, depth + 1) for item in value]
    if isinstance(value, Pairs):
        return Pairs([[key, _opened(item, depth + 1)] for key, item in value.pairs])
    return value


def _write(value: Any, out: bytearray) -> None:
    if isinstance(value, Raw):
        out += value.octets
    elif isinstance(value, Kinded):
        out.append(value.kind & 0xFF)
        out += octets_of(value.body)
    elif isinstance(value, Inner | Frames):  # frames here were taken from another input
        inner = octets_of(value.value if isinstance(value, Inner) else value)
        out += msgpack.packb(inner)
    elif isinstance(value, list):
        out += _head(len(value), 0x90, 0xDC)
        for item in value:
            _write(item, out)
    elif isinstance(value, Pairs):
        out += _head(len(value.pairs), 0x80, 0xDE)
        for pair in value.pairs:
            _write(pair[0], out)
            _write(pair[1], out)
    else:
        out += msgpack.packb(value)


def _head(count: int, fixed: int, long: int) -> bytes:
    if count < 16:
        return bytes([fixed | count])
    return bytes([long]) + count.to_bytes(2, "big") if count < 65_536 else bytes([long + 1]) + count.to_bytes(4, "big")


# --- places ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Place:
    """Where something stands: an item of a list (the tree's own lists are used)."""

    holder: Any
    index: Any

    def get(self) -> Any:
        """What stands here."""
        return getattr(self.holder, self.index) if isinstance(self.index, str) else self.holder[self.index]

    def put(self, value: Any) -> None:
        """Something else stands here from now on."""
        if isinstance(self.index, str):
            setattr(self.holder, self.index, value)
        else:
            self.holder[self.index] = value


@dataclass(slots=True)
class _Top:
    value: Any


def places(tree: Any) -> list[Place]:
    """Every place in a tree, itself first."""
    top = Place(_Top(tree), "value")
    found = [top]
    for place in found:
        found += _below(place.get())
    return found


def _below(value: Any) -> list[Place]:
    if isinstance(value, Inner):
        return [Place(value, "value")]
    if isinstance(value, Kinded):
        return [Place(value, "body")]
    if isinstance(value, Frames):
        return [Place(frame, 1) for frame in value.frames]
    if isinstance(value, list):
        return [Place(value, index) for index in range(len(value))]
    if isinstance(value, Pairs):
        return [Place(pair, 1) for pair in value.pairs]
    return []
