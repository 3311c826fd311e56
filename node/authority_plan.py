"""A plan of many changes at once, from a table that people keep in a spreadsheet.

Obeys DOMAIN ("a night in which provinces merge"): one CSV file, one act, one signature; all or
nothing, and every mistake is named with its line before anything is signed. What a line may say
is what `truc authority agency` may say.

    code,state,name,name_en,host,parent,kind,aliases,successors,decision
    H38.12,closed,,,,,,,H60.12,1234/QĐ-TTg
    H60.12,,Xã Tân Tiến,,00.60.W00,H60,xã,000.12.00.H60,,1234/QĐ-TTg
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from node.authority_act import Act
from protocol.directory import AgencyRecord, Names, RecordState
from protocol.errors import ConfigurationError, TrucError
from protocol.limits import MIB

PLAN_BYTES_MAX: Final = 64 * MIB
"""A plan for every commune of the country has some ten megabytes."""
COLUMNS: Final = (
    "code", "state", "name", "name_en", "host", "parent", "kind", "aliases", "successors", "decision",
)  # fmt: skip
_LISTS: Final = frozenset({"aliases", "successors"})
"""Columns of several codes, with blanks between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """What one line asks for; only what is given."""

    line: int
    code: str
    wanted: dict[str, Any]


def plan_text(content: bytes) -> str:
    """The text of a plan's file. Raises: ConfigurationError `authority_plan`."""
    if len(content) > PLAN_BYTES_MAX:
        raise _wrong(1, f"more than {PLAN_BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _wrong(1 + content[: error.start].count(b"\n"), "not UTF-8") from error


def read_plan(text: str) -> tuple[PlanLine, ...]:
    """The lines of a plan; empty cells say nothing.

    Raises:
        ConfigurationError: `authority_plan` with the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True, restval="")
    try:
        unknown = set(reader.fieldnames or ()) - set(COLUMNS)
        if unknown or "code" not in (reader.fieldnames or ()):
            raise _wrong(1, "columns: " + ", ".join(sorted(map(str, unknown)) or ["code"]))
        return tuple(_lines(reader))
    except csv.Error as error:
        raise _wrong(reader.line_num + 1, str(error)) from error


def _lines(reader: csv.DictReader[str]) -> Iterator[PlanLine]:
    for row in reader:
        if None in row:
            raise _wrong(reader.line_num, "more cells than columns")
        cells = {name: (value or "").strip() for name, value in row.items()}
        if not any(cells.values()):
            continue
        if not cells["code"]:
            raise _wrong(reader.line_num, "code")
        yield PlanLine(line=reader.line_num, code=cells.pop("code"), wanted=_wanted(cells, reader.line_num))


def _wanted(cells: dict[str, str], line: int) -> dict[str, Any]:
    wanted: dict[str, Any] = {name: value for name, value in cells.items() if value}
    for name in _LISTS & set(wanted):
        wanted[name] = tuple(wanted[name].split())
    if "state" in wanted:
        try:
            wanted["state"] = RecordState[wanted["state"].upper()]
        except KeyError as error:
            raise _wrong(line, "state") from error
    return wanted


def apply_plan(act: Act, lines: Iterable[PlanLine], known: Any) -> None:
    """Put every line of a plan into one act. `known`: gives the newest version of an agency, or None.

    Raises:
        ConfigurationError: `authority_plan` with the line and what is wrong there.
    """
    for item in lines:
        before = known(item.code)
        try:
            _apply(act, item, before.value if before is not None else None)
        except TrucError as error:
            raise _wrong(item.line, str(error)) from error


def _apply(act: Act, item: PlanLine, old: AgencyRecord | None) -> None:
    changes = agency_changes(item.wanted, old)
    if old is not None:
        act.change_agency(item.code, **changes)
        return
    missing = [name for name, told in (("name", "names"), ("host", "host")) if told not in changes]
    if missing or {"state", "successors"} & set(changes):
        raise _wrong(item.line, ", ".join(missing) or "state, successors")
    act.register_agency(code=item.code, **changes)


def agency_changes(wanted: dict[str, Any], old: AgencyRecord | None) -> dict[str, Any]:
    """What was said about an agency, as fields of its record; `wanted` has only what was said."""
    changes = {name: value for name, value in wanted.items() if name not in {"name", "name_en"}}
    if "name" in wanted or (old is not None and "name_en" in wanted):
        vi = wanted.get("name") or (old.names.vi if old is not None else "")
        changes["names"] = Names(vi=vi, en=wanted.get("name_en") or (old.names.en if old is not None else ""))
    return changes


def _wrong(line: int, reason: str) -> ConfigurationError:
    return ConfigurationError("authority_plan", field=f"line {line}", reason=reason)
