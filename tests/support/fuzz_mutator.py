"""Bytes that are almost right: what fuzzing feeds to decoders.

A mutation changes octets anywhere, or one place of the structure that the octets have: frames
(`protocol/framing.py`), MessagePack, and MessagePack inside byte strings, to any depth. What is written
again is well-formed around the change, so that it reaches what lies behind the first check. All chance
comes from the `Random` given: hypothesis's own, or a seeded one (`fuzz_run.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

from tests.support.fuzz_tree import Frames, Kinded, Pairs, Raw, octets_of, places, tree_of

INPUT_BYTES_MAX: Final = 256 * 1024
"""A mutated input is cut here: longer ones only cost time."""

# fmt: off
INTEGERS: Final = (
    0, 1, 2, 3, 15, 16, 23, 31, 32, 127, 128, 255, 256, 2**15, 2**16, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1,
    2**63, 2**64 - 1, -1, -32, -33, -128, -(2**31), -(2**63),
)
TEXTS: Final = (
    "", "a", "\x00", "\n", " ", "H38", "H38.12", "000.00.12.H38", "00.01.W00", "root", "level-1", "ed25519", "x25519",
    "Đ", "e\u0301", "\u202e", "truc/receipt/1", "truc/root/2", "x" * 300, "{0}", "{field}", "%s", "/", "..", "a/b/1",
)
OCTETS: Final = (
    b"", b"\x00", b"\xff" * 16, bytes(16), bytes(31), bytes(32), b"\x01" + bytes(31), bytes(33), b"\x80", b"\x90",
)
BAD: Final = (
    b"\xc0", b"\xc1", b"\xca\x00\x00\x00\x00", b"\xcb\x7f\xf8" + bytes(6), b"\xd4\x01\x00", b"\xd6\xff" + bytes(4),
    b"\xcc\x01", b"\xd9\x01a", b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\xdc\x00\x01\x01", b"\xde\x00\x00",
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff",
)
# fmt: on
"""MessagePack that has no place on the wire: nil, floats, extensions, long forms, bad UTF-8, huge lengths."""


# --- one thing in place of another ------------------------------------------------------------

KINDS: Final[tuple[Any, ...]] = (0, -1, 2**64 - 1, "", "x", b"", bytes(32), [], Pairs([]), True, Raw(b"\xc0"))
"""One value, or a few, of every kind there is."""


def substitutions(octets: bytes) -> Iterator[bytes]:
    """The octets with something of another kind in one place, for every place and every kind."""
    for number in range(len(places(tree_of(octets)))):
        for kind in KINDS:
            known = places(tree_of(octets))
            known[number].put(kind)
            yield octets_of(known[0].get())


# --- making smaller -------------------------------------------------------------------------------


def reductions(octets: bytes) -> Iterator[bytes]:
    """Shorter octets of the same kind: less in one place of the structure, then without a stretch."""
    for number in range(len(places(tree_of(octets)))):
        for part in range(8):
            known = places(tree_of(octets))
            value = known[number].get()
            less = _less(value, part)
            if less is None:
                break
            known[number].put(less)
            yield octets_of(known[0].get())
    step = max(1, len(octets) // 2)
    while step:
        for at in range(0, len(octets), step):
            yield octets[:at] + octets[at + step :]
        step //= 2


def _less(value: Any, part: int) -> Any:
    """A value without its part of this number; None if there is none."""
    if isinstance(value, Pairs):
        return Pairs(value.pairs[:part] + value.pairs[part + 1 :]) if part < len(value.pairs) else None
    if isinstance(value, Frames):
        return Frames(value.frames[:part] + value.frames[part + 1 :]) if part < len(value.frames) > 1 else None
    if isinstance(value, list):
        return value[:part] + value[part + 1 :] if part < len(value) else None
    if isinstance(value, bytes | str) and value and part < 2:
        return value[:0] if part == 0 else value[: len(value) // 2]
    return None


# --- mutations ------------------------------------------------------------------------------------


def mutated(octets: bytes, corpus: Sequence[bytes], chance: Random) -> bytes:
    """These octets with one to four changes; `corpus` is what parts of others are taken from."""
    for _ in range(1 if chance.random() < 0.6 else chance.randint(2, 4)):
        change = _in_octets if chance.random() < 0.3 else _in_structure
        octets = change(octets, corpus, chance)[:INPUT_BYTES_MAX]
    return octets


def _in_octets(octets: bytes, corpus: Sequence[bytes], chance: Random) -> bytes:
    at = chance.randint(0, len(octets))
    kind = chance.randrange(8)
    if kind == 0 and octets:  # flip a bit
        at = min(at, len(octets) - 1)
        return octets[:at] + bytes([octets[at] ^ 1 << chance.randrange(8)]) + octets[at + 1 :]
    if kind == 1:
        return octets[:at] + bytes([chance.randrange(256)]) + octets[at + 1 :]
    if kind == 2:
        return octets[:at] + chance.choice(BAD) + octets[at + chance.randint(0, 4) :]
    if kind == 3:
        return octets[:at]
    if kind == 4:
        return octets[:at] + octets[at + chance.randint(1, 8) :]
    if kind == 5:  # repeat a stretch
        return octets[: at + chance.randint(1, 64)] + octets[at:]
    if kind == 6:  # splice
        other = chance.choice(corpus)
        return octets[:at] + other[chance.randint(0, len(other)) :]
    length = chance.choice(INTEGERS) & 0xFFFFFFFF
    return octets[:at] + length.to_bytes(4, "big") + octets[at + 4 :]


def _in_structure(octets: bytes, corpus: Sequence[bytes], chance: Random) -> bytes:
    tree = tree_of(octets)
    if isinstance(tree, Raw):
        return _in_octets(octets, corpus, chance)
    known = places(tree)
    place = chance.choice(known)
    value = place.get()
    change = _CHANGES.get(type(value))
    if change is None or chance.random() < 0.15:
        place.put(_anything(corpus, chance))
    else:
        place.put(change(value, chance))
    return octets_of(known[0].get())


def _anything(corpus: Sequence[bytes], chance: Random) -> Any:
    kind = chance.randrange(7)
    if kind == 0:
        return chance.choice(INTEGERS)
    if kind == 1:
        return chance.choice(TEXTS)
    if kind == 2:
        return chance.choice(OCTETS)
    if kind == 3:
        return Raw(chance.choice(BAD))
    if kind == 4:
        return chance.choice((True, False, [], Pairs([])))
    if kind == 5:
        depth = chance.choice((1, 15, 16, 17, 600, 5_000))
        return Raw(chance.choice((b"\x91", b"\x81\x01")) * depth + b"\x00")
    return chance.choice(places(tree_of(chance.choice(corpus)))).get()


def _integer(value: int, chance: Random) -> int:
    near = (value - 1, value + 1, value ^ 1, value * 2, value + 1000 * chance.randrange(200_000))
    changed = chance.choice(INTEGERS) if chance.random() < 0.5 else chance.choice(near)
    return max(-(2**63), min(changed, 2**64 - 1))


def _text(value: str, chance: Random) -> Any:
    at = chance.randint(0, len(value))
    return chance.choice(
        (
            chance.choice(TEXTS),
            value[:at] + chance.choice(TEXTS) + value[at:],
            value[:at] + value[at + 1 :],
            value.swapcase(),
            value + "\n",
            Raw(b"\xa1\xff"),
            value * 40,
        )
    )


def _octets(value: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(value))
    flipped = value[:at] + bytes(b ^ 1 << chance.randrange(8) for b in value[at : at + 1]) + value[at + 1 :]
    return chance.choice((chance.choice(OCTETS), value[:at], flipped, value + b"\x00", value + value))


def _list(value: list[Any], chance: Random) -> list[Any]:
    if not value:
        return [chance.choice((0, b"", "", []))]
    at = chance.randrange(len(value))
    kind = chance.randrange(5)
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return value[:at] + [value[at]] * chance.choice((2, 3, 17, 300)) + value[at + 1 :]
    if kind == 2:
        return value[::-1]
    if kind == 3:
        return [*value, chance.choice(INTEGERS)]
    return []


def _pairs(value: Pairs, chance: Random) -> Pairs:
    pairs = list(value.pairs)
    kind = chance.randrange(7) if pairs else 5
    at = chance.randrange(len(pairs)) if pairs else 0
    if kind == 0:
        del pairs[at]
    elif kind == 1:
        pairs.insert(at, list(pairs[at]))  # a key twice
    elif kind == 2:
        pairs.reverse()
    elif kind == 3:
        pairs[at] = [chance.choice((*range(12), 127, 128, -1, "a", True, Raw(b"\x90"))), pairs[at][1]]
    elif kind == 4:
        other = chance.randrange(len(pairs))
        pairs[at], pairs[other] = [pairs[at][0], pairs[other][1]], [pairs[other][0], pairs[at][1]]
    elif kind == 5:
        pairs.append(
            [chance.choice((0, 20, 127, 128, 129, 200, 2**32, 2**64 - 1)), chance.choice((0, "", b"", [], Pairs([])))]
        )
    else:
        pairs += [[200 + n, 0] for n in range(chance.choice((1, 60, 300)))]
    return Pairs(pairs)


def _many_frames(value: Frames, chance: Random) -> Frames:
    frames = [list(frame) for frame in value.frames]
    at = chance.randrange(len(frames))
    kind = chance.randrange(4)
    if kind == 0:
        frames[at][0] = chance.choice((*range(12), *range(64, 71), 255))
    elif kind == 1:
        del frames[at]
    elif kind == 2:
        frames.insert(at, frames[at])
    else:
        frames.append(frames.pop(at))
    return Frames(frames)


def _other_kind(value: Kinded, chance: Random) -> Kinded:
    return Kinded(chance.choice((*range(12), *range(64, 71), 255)), value.body)


def _flipped(value: bool, _chance: Random) -> bool:
    return not value


_CHANGES: Final[dict[type, Callable[[Any, Random], Any]]] = {
    bool: _flipped,
    int: _integer,
    str: _text,
    bytes: _octets,
    list: _list,
    Pairs: _pairs,
    Frames: _many_frames,
    Kinded: _other_kind,
}
