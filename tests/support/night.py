"""The plans of a night in which provinces and all that stands below them close and are registered anew.

`registering(host)` makes the old bodies, `closing(host)` closes each with its successor and registers
that; `scale` divides the number of lower bodies. Old codes are H10 … H39, new ones H60 … H89.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

HEADER: Final = "code,state,name,name_en,host,parent,kind,aliases,successors,decision\n"
PROVINCES: Final = 30
COMMUNES: Final = 7_000


def pairs(scale: int = 1) -> Iterator[tuple[str, str]]:
    """Each old code with its successor's."""
    for n in range(PROVINCES):
        yield f"H{10 + n}", f"H{60 + n}"
    for n in range(1, COMMUNES // scale + 1):
        yield f"H{10 + n % PROVINCES}.{n}", f"H{60 + n % PROVINCES}.{n}"


def registering(host: str, *, scale: int = 1) -> str:
    """A plan that registers the old bodies."""
    return HEADER + "".join(f"{old},,Cũ {old},,{host},,,,,\n" for old, _ in pairs(scale))


def closing(host: str, *, scale: int = 1) -> str:
    """The plan of the night."""
    return HEADER + "".join(
        f"{old},closed,,,,,,,{new},1/QĐ\n{new},,Mới {new},,{host},,,,,1/QĐ\n" for old, new in pairs(scale)
    )
