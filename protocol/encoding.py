"""Canonical MessagePack, and statements written in it. Spec: `spec/encoding.md`.

A statement is a map with small integer keys, declared once as a frozen dataclass whose
fields carry their wire key: `issuer: Annotated[str, Key(2), Meta(max_length=35)]`.
Only integers, strings, byte strings, booleans, arrays and maps exist on the wire. The one
test of canonical form is that writing the parsed value again gives the same bytes; so a
field that equals its default must be absent. Unknown keys below 128 mean "newer than I
am"; keys from 128 on are carried in `extensions` and otherwise ignored.

The only door to msgpack and msgspec.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack
import msgspec
from msgspec import Meta as Meta  # noqa: PLC0414  # passed on: bounds of statement fields are written with it

from protocol.errors import FormatError

EXTENSION_KEY_MIN: Final = 128
"""Wire keys from here on belong to extensions: signed over, carried, never interpreted."""

DEPTH_MAX: Final = 16
"""Nesting of arrays and maps; the deepest format needs 6, and the parser's stack is finite."""

MAP_ENTRIES_MAX: Final = 256
"""Entries of one map: 128 keys of a statement and as many extensions. Bounds the work that keys
made to collide can cause."""

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A SHA-256 value."""

Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A random 16-byte identifier."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A size, number or sequence. Sixty-three bits, so that every language can hold it."""

TimeMs = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Milliseconds since 1970-01-01T00:00:00Z."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """The wire key of a dataclass field: 0 to 127."""

    number: int

    def __post_init__(self) -> None:
        assert 0 <= self.number < EXTENSION_KEY_MIN


def lp(*parts: bytes | str) -> bytes:
    """Concatenate parts, each behind its 4-byte big-endian length (DECISIONS.md)."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)


def encode(value: Any) -> bytes:
    """Write a value in canonical form.

    Integers, strings, byte strings, booleans, lists, tuples and maps with integer keys
    only; anything else is our own mistake (`TypeError`, `AssertionError`).
    """
    return _pack(_sorted(value))


def decode(data: bytes, *, bytes_max: int) -> Any:
    """Read one canonical value; arrays become lists.

    Raises:
        FormatError: `format_too_large`, `format_malformed` (truncated, trailing bytes, bad
            UTF-8, too deep, duplicate key, float, nil or extension type),
            `format_not_canonical` (readable, but not the one way of writing it).
    """
    value, has_maps = _unpack(data, bytes_max)
    if _pack(_sorted(value) if has_maps else value) != data:
        raise FormatError("format_not_canonical")
    return value


def glance(data: bytes, *, bytes_max: int) -> Any:
    """As `decode`, without the test that this is the one way of writing it: for looking, not for believing.

    Raises:
        FormatError: `format_too_large`, `format_malformed`.
    """
    return _unpack(data, bytes_max)[0]


def recall(data: bytes) -> Any:
    """Read a value that was read by `decode` before, and of which it is known that it is the same.

    Raises:
        FormatError: `format_malformed`.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FormatError("format_malformed", reason=type(error).__name__) from error


def _unpack(data: bytes, bytes_max: int) -> tuple[Any, bool]:
    """The value, and whether there is any map in it."""
    if len(data) > bytes_max:
        raise FormatError("format_too_large", size=len(data), limit=bytes_max)
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            object_pairs_hook=_unique_integer_keys,
            ext_hook=_no_extension_types,
            max_str_len=bytes_max,
            max_bin_len=bytes_max,
            max_array_len=len(data),
            max_map_len=MAP_ENTRIES_MAX,
        )
    except FormatError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, OverflowError, RecursionError) as error:
        raise FormatError("format_malformed", reason=type(error).__name__) from error
    return value, _check_kinds(value, DEPTH_MAX)


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True, autoreset=True)
    return packed


def _sorted(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        assert all(type(key) is int and key >= 0 for key in value), "map keys are integers from 0 on"
        return {key: _sorted(value[key]) for key in sorted(value)}
    if kind is list or kind is tuple:
        return [_sorted(item) for item in value]
    assert kind is int or kind is str or kind is bytes or kind is bool, f"{kind} has no place on the wire"
    return value


def _check_kinds(value: Any, depth: int) -> bool:
    """Return if only kinds of the wire are in it, not too deep; whether there is any map in it."""
    kind = type(value)
    if kind is bytes or kind is int or kind is str or kind is bool:
        return False
    if depth == 0:
        raise FormatError("format_malformed", reason="depth")
    if kind is dict:
        for item in value.values():
            _check_kinds(item, depth - 1)
        return True
    if kind is not list:
        raise FormatError("format_malformed", reason=kind.__name__)
    has_maps = False
    for item in value:
        item_kind = type(item)
        if item_kind is not bytes and item_kind is not str and item_kind is not int:
            has_maps = _check_kinds(item, depth - 1) or has_maps
    return has_maps


def _unique_integer_keys(pairs: list[tuple[Any, Any]]) -> dict[int, Any]:
    keys = [key for key, _ in pairs]
    if any(type(key) is not int or key < 0 for key in keys):
        raise FormatError("format_malformed", reason="map key")
    if len(set(keys)) != len(keys):
        raise FormatError("format_malformed", reason="duplicate key")
    return dict(pairs)


def _no_extension_types(code: int, _data: bytes) -> Any:
    raise FormatError("format_malformed", reason=f"extension type {code}")


# --- statements ---------------------------------------------------------------------------

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
    """One field of a statement class: where it stands on the wire, and how to convert it."""

    name: str
    number: int
    default: Any
    write: Callable[[Any], Any] | None
    read: Callable[[Any, str], Any] | None


class _Plan:
    """How one dataclass stands on the wire; built once per class, nested classes included."""

    _known: dict[type, _Plan] = {}

    def __init__(self, cls: type) -> None:
        hints = get_type_hints(cls, include_extras=True)
        slots: list[_Slot] = []
        for field in dataclasses.fields(cls):
            if field.name == "extensions":
                continue
            hint = hints[field.name]
            keys = [note for note in _notes(hint) if isinstance(note, Key)]
            assert len(keys) == 1, f"{cls.__name__}.{field.name} needs exactly one Key"
            write, read = _converters(hint)
            slots.append(_Slot(field.name, keys[0].number, _default(field), write, read))
        self.slots: Final = tuple(sorted(slots, key=lambda slot: slot.number))
        self.by_number: Final = {slot.number: slot for slot in slots}
        assert len(self.by_number) == len(slots), f"{cls.__name__} uses a key twice"
        self.carries_extensions: Final = any(field.name == "extensions" for field in dataclasses.fields(cls))
        self.cls: Final = cls

    @classmethod
    def of(cls, statement: type) -> _Plan:
        plan = cls._known.get(statement)
        if plan is None:
            plan = cls._known[statement] = cls(statement)
        return plan

    def write(self, value: Any) -> dict[int, Any]:
        """The wire map of a value; fields equal to their default stay out."""
        wire: dict[int, Any] = {}
        for slot in self.slots:
            item = getattr(value, slot.name)
            if slot.default is not dataclasses.MISSING and item == slot.default:
                continue
            wire[slot.number] = item if slot.write is None else slot.write(item)
        if self.carries_extensions:
            for number, item in sorted(value.extensions.items()):
                assert number >= EXTENSION_KEY_MIN
                wire[number] = _sorted(item)
        return wire

    def read(self, wire: Any, path: str) -> dict[str, Any]:
        """Names instead of numbers; the types are checked afterwards by msgspec."""
        if type(wire) is not dict:
            raise FormatError("format_field", field=path or "statement", reason="expected a map")
        named: dict[str, Any] = {}
        extensions: dict[int, Any] = {}
        for number, item in wire.items():
            slot = self.by_number.get(number)
            if slot is not None:
                named[slot.name] = item if slot.read is None else slot.read(item, f"{path}.{slot.name}".lstrip("."))
            elif type(number) is not int:  # only `recall` lets such a key through
                raise FormatError("format_malformed", reason="map key")
            elif number >= EXTENSION_KEY_MIN and self.carries_extensions:
                extensions[number] = item
            else:
                raise FormatError("format_newer", field=f"{path}.{number}".lstrip("."))
        if extensions:
            named["extensions"] = extensions
        return named


class Format(Generic[T]):
    """One format with its version: bytes ↔ frozen dataclass, nothing in between.

    `name` carries the version (`truc/receipt/1`); `bytes_max` bounds what is looked at.
    """

    def __init__(self, name: str, statement: type[T], *, bytes_max: int) -> None:
        self.name: Final = name
        self.statement: Final = statement
        self.bytes_max: Final = bytes_max
        self._plan = _Plan.of(statement)

    def __repr__(self) -> str:
        return f"Format({self.name})"

    def encode(self, value: T) -> bytes:
        """The canonical bytes of a statement; checked like the reader checks them.

        Raises:
            FormatError: `format_field`, `format_too_large`.
        """
        try:
            data = _pack(self._plan.write(value))
        except (UnicodeEncodeError, OverflowError) as error:  # half a surrogate pair; more than 64 bits
            raise FormatError("format_field", field="statement", reason=type(error).__name__) from error
        read_back = self._parse(data)
        assert read_back == value, f"{self.name}: written bytes do not read back"
        return data

    def pack(self, value: T) -> bytes:
        """As `encode`, unchecked: for values made of parts that were checked where they came from."""
        return _pack(self._plan.write(value))

    def decode(self, data: bytes) -> T:
        """Read canonical bytes into the statement class.

        Raises:
            FormatError: as `decode`, and `format_field` (missing, wrong type or out of
                bounds, with the field's path), `format_newer` (unknown key below 128).
        """
        value = self._parse(data)
        if _pack(self._plan.write(value)) != data:
            raise FormatError("format_not_canonical")
        return value

    def recall(self, data: bytes) -> T:
        """Read bytes that we wrote ourselves and whose checksum has been verified: types and bounds
        are checked, being the only way of writing it is not. Three times as fast as `decode`.

        Raises:
            FormatError: `format_malformed`, `format_field`, `format_newer`.
        """
        return self._typed(recall(data))

    def _parse(self, data: bytes) -> T:
        return self._typed(_unpack(data, self.bytes_max)[0])

    def _typed(self, wire: Any) -> T:
        named = self._plan.read(wire, "")
        try:
            return msgspec.convert(named, type=self.statement, strict=True)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `")
            field = where.rstrip("`").removeprefix("$").lstrip(".") or "statement"
            raise FormatError("format_field", field=field, reason=reason) from error


def _notes(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _converters(hint: Any) -> tuple[Callable[[Any], Any] | None, Callable[[Any, str], Any] | None]:
    """Writers and readers for nested statement classes and arrays of them; None where the
    value stands on the wire as it is."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        plan = _Plan.of(hint)  # type: ignore[arg-type]  # is_dataclass also accepts instances
        return plan.write, plan.read
    if get_origin(hint) is tuple:
        items = [item for item in get_args(hint) if item is not Ellipsis]
        inner = [_converters(item) for item in items]
        if len(items) == 1 and inner[0][0] is not None:
            write, read = inner[0]
            assert write is not None and read is not None
            return (lambda value: [write(item) for item in value]), _array_reader(read)
        assert all(pair[0] is None for pair in inner), "statement classes only in homogeneous arrays"
        return None, None
    assert get_origin(hint) not in (Union, UnionType) and hint is not NoneType, "no optional values on the wire"
    return None, None


def _array_reader(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def read_array(value: Any, path: str) -> Any:
        if type(value) is not list:
            return value  # msgspec names the field and the expected type
        return [read(item, f"{path}[{index}]") for index, item in enumerate(value)]

    return read_array


Extensions = Mapping[int, Any]
"""Annotation of the `extensions` field of a statement class."""
