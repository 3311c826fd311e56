"""Every format and every function of `protocol/` that reads foreign bytes has a fuzz target, or a reason why not."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import protocol
import storage
from protocol.encoding import Format
from protocol.errors import FormatError
from protocol.record import KINDS, Kind
from tests.support.fuzz_targets import EXCLUDED, targets

READS = re.compile(r"(read|parse|decode|recall|glance|look|open|from|feed|receive|frames)(_|$)")
"""How decoders are named."""
BYTES = re.compile(r"\b(bytes|str|Octets|Offer)\b")
"""In the annotation of a parameter: what comes from outside."""
SELF_MADE = ("field", "number", "form", "key", "info", "path", "prefix", "expected")
"""Parameters that never are what is read."""


def modules(package: ModuleType) -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def formats(module: ModuleType) -> Iterator[Format[Any]]:
    """Formats in constants, and in tables and kinds of records that are constants."""
    for value in vars(module).values():
        for item in value.values() if isinstance(value, Mapping) else (value,):
            found = item.format if isinstance(item, Kind) else item
            if isinstance(found, Format):
                yield found


def readers(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions and methods that look like decoders, as `module.name` or `module.Class.name`."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        short = module.__name__.partition(".")[2]
        if inspect.isfunction(value) and reads(name, value):
            yield f"{short}.{name}", value
        elif inspect.isclass(value):
            for inner, method in vars(value).items():
                function = getattr(method, "__func__", method)
                if inspect.isfunction(function) and not inner.startswith("_") and reads(inner, function):
                    yield f"{short}.{name}.{inner}", function


def reads(name: str, function: Callable[..., Any]) -> bool:
    """Named like a decoder, or one that says `FormatError` of bytes it takes."""
    takes = [
        str(parameter.annotation)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in SELF_MADE and parameter.kind is not parameter.KEYWORD_ONLY
    ]
    if not any(BYTES.search(annotation) and "Callable" not in annotation for annotation in takes):
        return False
    return READS.match(name) is not None or "FormatError" in (function.__doc__ or "")


def test_every_format_has_a_target() -> None:
    known = {name for target in targets().values() for name in target.covers}
    for module in (*modules(protocol), *modules(storage)):
        of_tests = {kind.format.name for kind in KINDS.values() if kind.number >= 240}
        missing = {form.name for form in formats(module)} - known - of_tests
        assert not missing, f"{module.__name__}: no fuzz target for {missing}"


def test_every_reader_has_a_target_or_a_reason() -> None:
    known = {name for target in targets().values() for name in target.covers}
    found = {name for module in modules(protocol) for name, _ in readers(module)}
    assert found - known - EXCLUDED.keys() == set(), "no fuzz target (tests/support/fuzz_targets.py)"
    assert not EXCLUDED.keys() & known, "excluded, and covered"
    assert all(len(reason) > 20 for reason in EXCLUDED.values())


def test_what_is_covered_or_excluded_exists() -> None:
    named = {name for target in targets().values() for name in target.covers if not name.startswith("truc/")}
    for name in (*named, *EXCLUDED):
        module, _, path = name.partition(".")
        found: Any = importlib.import_module(f"protocol.{module}")
        for part in path.split("."):
            found = getattr(found, part)
        assert callable(found)


# --- the walk itself --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A statement of nobody."""


def a_module() -> ModuleType:
    module = ModuleType("protocol.forgotten")

    def read_letter(octets: bytes) -> str:
        return octets.hex()

    def weigh(octets: bytes) -> int:
        """Raises: FormatError: no weight."""
        if not octets:
            raise FormatError("format_malformed")
        return len(octets)

    def read_clock(now_ms: int) -> int:
        return now_ms

    def name_of(text: str) -> str:
        return text

    class Box:
        """A class with a decoder."""

        @classmethod
        def from_wire(cls, data: bytes) -> Box:
            assert data
            return cls()

    for value in (read_letter, weigh, read_clock, name_of, Box):
        value.__module__ = module.__name__
        setattr(module, value.__name__, value)
    form = Format("truc/forgotten/1", Forgotten, bytes_max=10)
    vars(module).update(FORM=form, TABLE={1: Format("truc/forgotten/2", Forgotten, bytes_max=10)})
    return module


def test_the_walk_finds_what_was_forgotten() -> None:
    module = a_module()
    assert [form.name for form in formats(module)] == ["truc/forgotten/1", "truc/forgotten/2"]
    assert {name for name, _ in readers(module)} == {
        "forgotten.read_letter",
        "forgotten.weigh",
        "forgotten.Box.from_wire",
    }
