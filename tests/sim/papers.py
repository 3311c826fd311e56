"""The documents of a world: who sends what to whom, drawn from the seed.

Sizes are chosen so that every way to travel is taken and a seed stays cheap: inside the offer, as
bodies in segments that are pulled, as files; inside the request, or through the upload service.
Content is marked, so that it can be looked for where it must not stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from protocol.limits import CHUNK_BYTES, MIB
from tests.sim.notebook import Sending

MARKER: Final = "BÍ MẬT"
MARKED_CONTENT: Final = b"MARKED-CONTENT"

LARGE_PARTS: Final = (500_000, 700_000)
"""Two of these make an envelope whose bodies are pulled."""
SIZES: Final = ((0, 0), (1, 200), (200, 5_000), (5_000, 60_000), (60_000, 66_000), (66_000, 300_000))
SIZE_WEIGHTS: Final = (1, 6, 6, 3, 1, 2)
UPLOADS: Final = ((0, 0), (1, 5_000), (130_000, 400_000), (MIB, MIB + 250_000))
"""Of an uploaded part; the largest ones become files."""
UPLOAD_WEIGHTS: Final = (1, 1, 5, 2)
RECIPIENTS_MAX: Final = 4


def make_sending(chance: Random, index: int, agencies: Sequence[str]) -> Sending:
    """One document."""
    issuer = chance.choice(agencies)
    others = [agency for agency in agencies if agency != issuer]
    most = min(RECIPIENTS_MAX, len(others))
    count = chance.randint(2, most) if most > 1 and chance.random() < 0.25 else 1
    parts, uploaded = _parts(chance)
    return Sending(
        key=f"{issuer}-{index}",
        issuer=issuer,
        recipients=tuple(chance.sample(others, count)),
        subject=f"{MARKER} {index}",
        parts=parts,
        uploaded=uploaded,
        lane=chance.choice((0, 0, 0, 1, 2, 3)),
        number=str(index + 1) if chance.random() < 0.7 else "",
    )


def _parts(chance: Random) -> tuple[tuple[bytes, ...], frozenset[int]]:
    """Contents, and the numbers of those that are uploaded."""
    way = chance.random()
    if way < 0.2:
        uploads = [_content(chance, one) for one in chance.choices(UPLOADS, UPLOAD_WEIGHTS, k=chance.choice((1, 2)))]
        inside = [_content(chance, SIZES[2])] if chance.random() < 0.5 else []
        return (*inside, *uploads), frozenset(range(len(inside), len(inside) + len(uploads)))
    if way < 0.28:
        return tuple(_content(chance, LARGE_PARTS) for _ in range(2)), frozenset()
    bounds = chance.choices(SIZES, SIZE_WEIGHTS, k=chance.choice((1, 1, 1, 2, 3)))
    return tuple(_content(chance, one) for one in bounds), frozenset()


def _content(chance: Random, bounds: tuple[int, int]) -> bytes:
    """Random bytes with the mark at the head of every chunk."""
    size = chance.randint(*bounds)
    content = bytearray(chance.randbytes(size))
    for start in range(0, size, CHUNK_BYTES):
        content[start : start + len(MARKED_CONTENT)] = MARKED_CONTENT
    return bytes(content[:size])
