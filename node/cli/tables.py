"""Lists and moments as a person reads them: rich on a terminal, aligned columns in a pipe.

Text that came from other agencies is made harmless: control characters cannot move the cursor or
turn the reading direction of somebody's terminal.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from node.cli.desk import Desk

VIETNAM: Final = dt.timezone(dt.timedelta(hours=7))
GAP: Final = "  "


def table(desk: Desk, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under the titles `column …` of the table of texts."""
    titles = [desk.word(f"column {name}") for name in columns]
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells:
        desk.say("nothing")
    elif sys.stdout.isatty():
        _rich(titles, cells)
    else:
        for line in aligned([titles, *cells]):
            click.echo(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, without blanks at the ends of lines."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def pairs(desk: Desk, rows: Iterable[tuple[str, object]]) -> None:
    """Print `title  value` lines; titles are `column …` of the table of texts."""
    told = [[desk.word(f"column {name}"), plain(value)] for name, value in rows if value not in ("", None, [], ())]
    for line in aligned(told) if told else ():
        click.echo(line)


def plain(value: object) -> str:
    """One line of printable text."""
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def moment(told: str | None) -> str:
    """Vietnam local time to the second, from the API's RFC 3339 text; empty for no time."""
    if not told:
        return ""
    try:
        return dt.datetime.fromisoformat(told).astimezone(VIETNAM).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return told


def size_text(size: int) -> str:
    """`1.4 MB`, with 1,000 bytes to a kB as file managers count."""
    if size < 1000:
        return f"{size} B"
    amount, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"


def _rich(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell) for cell in row))
    Console().print(made)


def status_text(desk: Desk, code: int) -> str:
    """`03 đã tiếp nhận`."""
    from protocol.status import status_name

    return f"{code:02d} {status_name(code, desk.language)}"


def names_of(value: Any, desk: Desk) -> str:
    """A name given in both languages, in the reader's."""
    if isinstance(value, dict):
        return str(value.get(desk.language) or value.get("vi") or "")
    return str(value or "")
