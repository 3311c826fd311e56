"""Values of any statement class, made from its annotations: what a decoder's corpus starts from."""

from __future__ import annotations

import dataclasses
from enum import IntEnum, StrEnum
from random import Random
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from protocol.encoding import Format, Meta
from protocol.errors import FormatError

TRIES: Final = 20
"""Of random values until one is written; only a pattern in a field can make one fail."""

WORDS: Final = ("", "busy", "level_one", "H38", "00.01.W00", "ed25519", "trục")


def samples(form: Format[Any], count: int = 6) -> list[bytes]:
    """Canonical bytes of so many values: the smallest, then larger ones; the same every time."""
    chance = Random(form.name)
    return [_written(form, chance, size) for size in range(count)]


def _written(form: Format[Any], chance: Random, size: int) -> bytes:
    for _ in range(TRIES):
        try:
            return form.encode(_value(form.statement, chance, size))
        except FormatError:
            continue
    raise AssertionError(f"no value of {form.name} could be made")


def _value(cls: Any, chance: Random, size: int) -> Any:
    hints = get_type_hints(cls, include_extras=True)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.name == "extensions":
            given |= {"extensions": {128 + chance.randrange(9): chance.choice((0, "x", b"y", [1]))}} if size > 2 else {}
        elif field.init and (size > 1 or _is_compulsory(field)):
            given[field.name] = _item(hints[field.name], chance, size)
    return cls(**given)


def _is_compulsory(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _item(hint: Any, chance: Random, size: int) -> Any:
    notes: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        notes += get_args(hint)[1:]
        hint = get_args(hint)[0]
    bounds = [note for note in notes if isinstance(note, Meta)]
    if dataclasses.is_dataclass(hint):
        return _value(hint, chance, max(0, size - 1))
    if get_origin(hint) is tuple:
        return _row(get_args(hint), bounds, chance, size)
    if hint is int:
        return _integer(bounds, chance)
    if isinstance(hint, type) and issubclass(hint, IntEnum | StrEnum):
        return chance.choice(list(hint))
    if hint is bool:
        return chance.random() < 0.5
    assert hint in (str, bytes), f"no sample for {hint}"
    text = chance.choice(WORDS) if hint is str else chance.randbytes(chance.choice((0, 1, 16, 32)))
    low, high = _lengths(bounds)
    filler = "a" if hint is str else b"\x07"
    return (text + filler * low)[: high if high < len(text + filler * low) else None][: max(low, len(text))]  # type: ignore[operator]


def _row(items: tuple[Any, ...], bounds: list[Meta], chance: Random, size: int) -> tuple[Any, ...]:
    if items[-1] is not Ellipsis:
        return tuple(_item(item, chance, size) for item in items)
    low, high = _lengths(bounds)
    return tuple(_item(items[0], chance, size) for _ in range(min(high, max(low, size and chance.randrange(4)))))


def _integer(bounds: list[Meta], chance: Random) -> int:
    low = max((note.ge for note in bounds if note.ge is not None), default=0)
    high = min((note.le for note in bounds if note.le is not None), default=2**63 - 1)
    return int(chance.choice((low, high, min(high, low + 1), min(high, low + chance.randrange(1 << 40)))))


def _lengths(bounds: list[Meta]) -> tuple[int, int]:
    low = max((note.min_length for note in bounds if note.min_length is not None), default=0)
    high = min((note.max_length for note in bounds if note.max_length is not None), default=1 << 20)
    return low, high
