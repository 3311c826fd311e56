"""The table in BENCHMARKS.md: written row by row, read back, and checked for completeness.

Everything between the two markers belongs to `scripts/bench`; the words around them are people's.
A row replaces the older one of the same figure. What a row must have, so that somebody else can
judge it, is in `mistakes`: a number without its conditions is not a measurement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- written by scripts/bench -->"
END: Final = "<!-- end -->"
SECONDS_MIN: Final = 300
WANTED: Final = ("P1", "P2", "P3", "P5", "D1", "D2", "D3", "M1", "M2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of one run, as text; the order of the fields is that of the columns."""

    figure: str
    quantity: str
    goal: str
    value: str
    reference: str
    ratio: str
    seconds: str
    processes: str
    cpu_seconds: str
    commit: str
    machine: str


HEADINGS: Final = (
    "#", "quantity", "goal", "value", "reference", "ratio", "seconds", "process ids", "CPU-seconds", "commit",
    "machine",
)  # fmt: skip
_NEEDED: Final = ("goal", "value", "reference", "ratio", "processes", "cpu_seconds", "commit", "machine")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, and what was seen beside each figure."""

    rows: dict[str, Row]
    notes: dict[str, tuple[str, ...]]


def read_table(path: Path) -> Table:
    """What stands between the markers; empty without a file. Raises: ValueError (no table of ours)."""
    if not path.exists():
        return Table({}, {})
    return parse_table(path.read_text(encoding="utf-8"))


def parse_table(text: str) -> Table:
    """The same for text at hand. Raises: ValueError."""
    _, begin, rest = text.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers {BEGIN} and {END} are not there")
    rows: dict[str, Row] = {}
    notes: dict[str, tuple[str, ...]] = {}
    figure = ""
    for line in inside.splitlines():
        if line.startswith("|") and not line.startswith(("| # ", "|--")):
            row = _row(line)
            rows[row.figure] = row
        elif line.startswith("**"):
            figure = line.strip("*")
            notes[figure] = ()
        elif line.startswith("* ") and figure:
            notes[figure] = (*notes[figure], line[2:])
    return Table(rows, notes)


def _row(line: str) -> Row:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if len(cells) != len(HEADINGS):
        raise ValueError(f"a row of {len(cells)} cells instead of {len(HEADINGS)}: {line[:60]}")
    return Row(**{field.name: cell for field, cell in zip(fields(Row), cells, strict=True)})


def write_table(path: Path, row: Row, notes: Sequence[str]) -> None:
    """Put a row and its notes into the file, in place of the older ones. Raises: ValueError."""
    table = read_table(path)
    rows = {**table.rows, row.figure: row}
    told = {**table.notes, row.figure: tuple(notes)}
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{shown(Table(rows, told))}{END}{after}", encoding="utf-8")


def shown(table: Table) -> str:
    """The table and the notes as Markdown."""
    lines = ["", _line(HEADINGS), "|" + "---|" * len(HEADINGS)]
    lines += [_line(astuple(table.rows[figure])) for figure in sorted(table.rows, key=_order)]
    for figure in sorted(table.notes, key=_order):
        lines += ["", f"**{figure}**", "", *(f"* {note}" for note in table.notes[figure])]
    return "\n".join(lines) + "\n\n"


def _line(cells: Sequence[str]) -> str:
    assert not any("|" in cell or "\n" in cell for cell in cells), cells
    return "| " + " | ".join(cells) + " |"


def _order(figure: str) -> tuple[int, str]:
    return (WANTED.index(figure) if figure in WANTED else len(WANTED), figure)


# --- check ----------------------------------------------------------------------------------


def mistakes(table: Table) -> list[str]:
    """What is missing before the table may be shown to anybody."""
    found = [f"{figure}: no row" for figure in WANTED if figure not in table.rows]
    for row in table.rows.values():
        found += [f"{row.figure}: {wrong}" for wrong in _wrong(row)]
    return found


def _wrong(row: Row) -> list[str]:
    found = [f"no {name}" for name in _NEEDED if not getattr(row, name).strip("–- ")]
    measured = ("value", "reference", "ratio")
    found += [f"no number in {name}" for name in measured if not _NUMBER.search(getattr(row, name))]
    if not _NUMBER.fullmatch(row.seconds) or float(row.seconds) < SECONDS_MIN:
        found.append(f"a run of {row.seconds or 'unknown'} seconds, {SECONDS_MIN} are needed")
    processes = re.findall(r"(\w+) \d+", row.processes)
    used = re.findall(r"(\w+) \d+\.\d", row.cpu_seconds)
    if not processes or sorted(processes) != sorted(used):
        found.append("process ids and CPU-seconds do not name the same processes")
    if not _COMMIT.fullmatch(row.commit):
        found.append("the code is not that of a commit")
    return found
