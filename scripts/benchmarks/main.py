"""`scripts/bench`: which figures, for how long; writes rows into BENCHMARKS.md, or checks them.

A run shorter than five minutes is for trying out: its row says so and does not pass the check.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Final

from scripts.benchmarks.directory_runs import DIRECTORY_FIGURES, QUICK_RECORDS
from scripts.benchmarks.load import LoadFailed
from scripts.benchmarks.nation import RECORDS
from scripts.benchmarks.probe import commit, machine
from scripts.benchmarks.rows import HEADINGS, SECONDS_MIN, Row, mistakes, read_table, write_table
from scripts.benchmarks.runs import FIGURES as DELIVERY_FIGURES
from scripts.benchmarks.runs import Figure, Measured, Wish
from scripts.real.network import ROOT, Failed, obey_sigterm

QUICK_S: Final = 30
QUICK_PART: Final = 200_000_000
PART: Final = 1_000_000_000
TABLE: Final = ROOT / "BENCHMARKS.md"
DIRECTORY: Final = "directory"
"""The word for all figures of the directory."""
FIGURES: Final[dict[str, Figure]] = {**DELIVERY_FIGURES, **DIRECTORY_FIGURES}
UNITS: Final = {"K": 10**3, "M": 10**6, "G": 10**9}


def main(words: Sequence[str] | None = None) -> int:
    """Measure, or check; the exit code."""
    given = _grammar().parse_args(words)
    if given.check is not None:
        return check(given.check)
    one_node = "one-node" in given.figures
    wanted = _wanted(given.figures)
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="truc-bench-", dir=given.folder))
    wish = Wish(
        seconds=given.seconds or (QUICK_S if given.quick else SECONDS_MIN),
        part_bytes=given.size or (QUICK_PART if given.quick else PART),
        folder=folder,
        nodes=1 if one_node else 2,
        records=given.records or (QUICK_RECORDS if given.quick else RECORDS),
    )
    obey_sigterm()
    try:
        for name in wanted:
            _measure(name, wish, None if one_node or given.dry else given.table)
    except (Failed, LoadFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _wanted(words: Sequence[str]) -> list[str]:
    """The figures that these words mean, each once; all of them without a word."""
    names = [word for word in words if word != "one-node"]
    if not names or "all" in names:
        return list(FIGURES)
    spread = [each for word in names for each in (DIRECTORY_FIGURES if word == DIRECTORY else (word.upper(),))]
    return list(dict.fromkeys(spread))


def check(path: Path) -> int:
    """0 when every row is complete and of a run of five minutes; otherwise says what is missing."""
    try:
        found = mistakes(read_table(path))
    except ValueError as error:
        found = [str(error)]
    for mistake in found:
        print(f"bench: {path}: {mistake}", file=sys.stderr)
    return 1 if found else 0


def _grammar() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="measures the figures to reach")
    choices = [*(name.lower() for name in FIGURES), DIRECTORY, "all", "one-node"]
    parser.add_argument("figures", nargs="*", choices=[[], *choices], metavar="figure", help=", ".join(choices))
    parser.add_argument("--seconds", type=float, default=0, help=f"of each figure; {SECONDS_MIN}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_S} seconds and a part of {QUICK_PART:,} bytes")
    parser.add_argument("--size", type=_bytes, default=0, help="bytes of the large part: 200M, 1G, 10G")
    parser.add_argument("--records", type=int, default=0, help=f"agencies of the made-up nation; {RECORDS:,}")
    parser.add_argument("--folder", type=Path, help="where the nodes' folders are made; needs 40 GB for `all`")
    parser.add_argument("--table", type=Path, default=TABLE, help="the file with the table; BENCHMARKS.md")
    parser.add_argument("--dry", action="store_true", help="print, and leave the table alone")
    parser.add_argument("--check", type=Path, metavar="FILE", help="measure nothing; is every row complete?")
    return parser


def _bytes(text: str) -> int:
    unit = UNITS.get(text[-1:].upper(), 1)
    return int(float(text[:-1] if unit > 1 else text) * unit)


def _measure(name: str, wish: Wish, table: Path | None) -> None:
    figure = FIGURES[name]
    print(f"bench: {name}: {figure.quantity}; goal {figure.goal}", flush=True)
    begun = time.monotonic()
    measured = figure.run(wish)
    row = _row(name, measured)
    for heading, cell in list(zip(HEADINGS, astuple(row), strict=True))[3:]:
        print(f"  {heading:12} {cell}")
    for note in measured.notes:
        print(f"  · {note}")
    print(f"  took {time.monotonic() - begun:.0f} s", flush=True)
    if table is not None:
        write_table(table, row, measured.notes)


def _row(name: str, measured: Measured) -> Row:
    figure = FIGURES[name]
    long_enough = measured.seconds >= SECONDS_MIN
    return Row(
        figure=name,
        quantity=figure.quantity,
        goal=figure.goal,
        value=measured.value,
        reference=measured.reference,
        ratio=measured.ratio,
        seconds=f"{measured.seconds:.0f}" + ("" if long_enough else " (short)"),
        processes=", ".join(f"{each} {pid}" for each, pid in measured.processes.items()),
        cpu_seconds=", ".join(f"{each} {spent:.1f}" for each, spent in measured.cpu_seconds.items()),
        commit=commit(),
        machine=machine(),
    )


if __name__ == "__main__":
    sys.exit(main())
