"""A plan of many changes at once, from a table that people keep in a spreadsheet.

Obeys DOMAIN §2 (a night in which provinces merge; dirty data): one CSV file, one act. Every mistake is listed
with its line; unless it is told to keep what is valid, nothing is signed then. What is said already is left out,
so a plan may be carried out again after an interruption. What a line may say is what `truc authority agency` may say.

    code,state,name,name_en,host,parent,kind,aliases,successors,decision
    H38.12,closed,,,,,,,H60.12,1234/QĐ-TTg
    H60.12,,Xã Tân Tiến,,00.60.W00,H60,xã,000.12.00.H60,,1234/QĐ-TTg
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from node.authority_act import Act, default_parent
from protocol.directory import AgencyRecord, Names, RecordState
from protocol.entitlement import Known
from protocol.errors import ConfigurationError, TrucError, TrustError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFault:
    """A line that cannot be carried out, and why."""

    line: int
    code: str
    error: TrucError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The lines that can be read, and the mistakes in those that cannot."""

    lines: tuple[PlanLine, ...]
    faults: tuple[PlanFault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """What became of a plan: how many lines say what is said already, and all mistakes, by line."""

    same: int
    faults: tuple[PlanFault, ...]


# --- reading ----------------------------------------------------------------------------------


def plan_text(content: bytes) -> str:
    """The text of a plan's file. Raises: ConfigurationError `authority_plan`."""
    if len(content) > PLAN_BYTES_MAX:
        raise _wrong(1, f"more than {PLAN_BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _wrong(1 + content[: error.start].count(b"\n"), "not UTF-8") from error


def read_plan(text: str) -> Plan:
    """The lines of a plan; empty cells say nothing.

    Raises:
        ConfigurationError: `authority_plan`: this is no such table.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True, restval="")
    try:
        unknown = set(reader.fieldnames or ()) - set(COLUMNS)
        if unknown or "code" not in (reader.fieldnames or ()):
            raise _wrong(1, "columns: " + ", ".join(sorted(map(str, unknown)) or ["code"]))
        read = tuple(_lines(reader))
    except csv.Error as error:
        raise _wrong(reader.line_num + 1, str(error)) from error
    return Plan(
        lines=tuple(item for item in read if isinstance(item, PlanLine)),
        faults=tuple(item for item in read if isinstance(item, PlanFault)),
    )


def _lines(reader: csv.DictReader[str]) -> Iterator[PlanLine | PlanFault]:
    for row in reader:
        line, code = reader.line_num, (row.get("code") or "").strip()
        try:
            if None in row:
                raise _wrong(line, "more cells than columns")
            cells = {name: (value or "").strip() for name, value in row.items()}
            if any(cells.values()):
                yield _line(cells, line)
        except ConfigurationError as error:
            yield PlanFault(line=line, code=code, error=error)


def _line(cells: dict[str, str], line: int) -> PlanLine:
    code = cells.pop("code")
    if not code:
        raise _wrong(line, "code")
    wanted: dict[str, Any] = {name: value for name, value in cells.items() if value}
    for name in _LISTS & set(wanted):
        wanted[name] = tuple(wanted[name].split())
    if "state" in wanted:
        try:
            wanted["state"] = RecordState[wanted["state"].upper()]
        except KeyError as error:
            raise _wrong(line, "state") from error
    return PlanLine(line=line, code=code, wanted=wanted)


# --- drafting ---------------------------------------------------------------------------------


def apply_plan(act: Act, plan: Plan, known: Callable[[str], Known[AgencyRecord] | None]) -> Drafted:
    """Put every line of a plan that can be carried out into one act; `known`: the newest version of an agency.

    New agencies come first, upper ones before lower ones, then what changes known ones: a line that names
    a parent or successor which is left out is left out as well.
    """
    faults, same = list(plan.faults), 0
    versions = {item.code: known(item.code) for item in plan.lines}

    def is_there(code: str) -> bool:
        return act.has_agency(code) or (versions[code] if code in versions else known(code)) is not None

    named: set[str] = set()
    for item in sorted(plan.lines, key=lambda item: _turn(item, is_new=versions[item.code] is None)):
        before = versions[item.code]
        try:
            if item.code in named:
                raise ConfigurationError("authority_repeated", code=item.code)
            named.add(item.code)
            same += not _apply(act, item, before.value if before is not None else None, is_there)
        except TrucError as error:
            faults.append(PlanFault(line=item.line, code=item.code, error=error))
    return Drafted(same=same, faults=tuple(sorted(faults, key=lambda fault: fault.line)))


def _turn(item: PlanLine, *, is_new: bool) -> tuple[bool, int, int]:
    return (not is_new, item.code.count(".") if is_new else 0, item.line)


def check_plan(drafted: Drafted) -> None:
    """Return if no line was at fault. Raises: ConfigurationError `authority_plan` with the first of them."""
    if drafted.faults:
        first = drafted.faults[0]
        raise _wrong(first.line, f"{first.error}; {len(drafted.faults)} in all")


def _apply(act: Act, item: PlanLine, old: AgencyRecord | None, is_there: Callable[[str], bool]) -> bool:
    """Whether anything changes."""
    changes = agency_changes(item.wanted, old)
    _check_named(item.code, changes, is_there, is_new=old is None)
    if old is not None:
        if all(getattr(old, name) == value for name, value in changes.items()):
            return False
        act.change_agency(item.code, **changes)
        return True
    missing = [name for name, told in (("name", "names"), ("host", "host")) if told not in changes]
    if missing or {"state", "successors"} & set(changes):
        raise _wrong(item.line, ", ".join(missing) or "state, successors")
    act.register_agency(code=item.code, **changes)
    return True


def _check_named(code: str, changes: dict[str, Any], is_there: Callable[[str], bool], *, is_new: bool) -> None:
    for successor in changes.get("successors", ()):
        if not is_there(successor):
            raise TrustError("lint_successor", successor=successor, code=code)
    parent = changes.get("parent", default_parent(code) if is_new else "")
    if parent and not is_there(parent):
        raise TrustError("lint_parent", parent=parent, code=code)


def agency_changes(wanted: dict[str, Any], old: AgencyRecord | None) -> dict[str, Any]:
    """What was said about an agency, as fields of its record; `wanted` has only what was said."""
    changes = {name: value for name, value in wanted.items() if name not in {"name", "name_en"}}
    if "name" in wanted or (old is not None and "name_en" in wanted):
        vi = wanted.get("name") or (old.names.vi if old is not None else "")
        changes["names"] = Names(vi=vi, en=wanted.get("name_en") or (old.names.en if old is not None else ""))
    return changes


def with_lines(text: str, lines: Iterable[int]) -> str:
    """The header of a plan and these of its lines, as they stand: to be corrected and carried out later."""
    wanted = set(lines)
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    kept = io.StringIO()
    writer = csv.writer(kept, lineterminator="\n")
    for index, row in enumerate(reader):
        if index == 0 or reader.line_num in wanted:
            writer.writerow(row)
    return kept.getvalue()


def _wrong(line: int, reason: str) -> ConfigurationError:
    return ConfigurationError("authority_plan", field=f"line {line}", reason=reason)
