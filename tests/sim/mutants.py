"""Mistakes that the simulator must find: proof that the oracle sees what it claims to see.

Obeys DESIGN §8. A mutant is a few textual replacements in a copy of the tree; a replacement that no
longer fits the source fails loudly. `scripts/mutants` looks for the first seed that catches each and
writes `mutants.toml`; `test_mutants.py` replays those seeds.

    python -m tests.sim.mutants [--seeds 50] [NAME…]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RECORD: Final = Path(__file__).with_name("mutants.toml")
SHAPE: Final = ("--nodes", "3", "--documents", "16", "--seconds", "150", "--pause", "8")
"""Small, hard-hit worlds: most mistakes show within seconds."""
SEEDS_MAX: Final = 50
COPIED: Final = ("node", "protocol", "storage", "tests/sim", "tests/support")


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement; `old` must stand in the file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake somebody might make."""

    name: str
    edits: tuple[Edit, ...]
    world: tuple[str, ...] = ("tests.sim.run", *SHAPE)
    """What runs a seed, and with which options."""
    first: int = 1
    """The first seed whose world can show the mistake at all."""


@dataclass(frozen=True, slots=True)
class Catch:
    """Which seed caught a mutant, and the sentence it was caught by; seed 0: none did."""

    mutant: str
    seed: int
    sentence: str


MUTANTS: Final = (
    Mutant(
        "effect_before_commit",
        (
            Edit(
                "node/committer.py",
                "        self._waiting.append(ticket)\n",
                "        self._waiting.append(ticket)\n        self._let_out(step)\n",
            ),
        ),
    ),
    Mutant(
        "no_overlay",
        (Edit("node/daemon.py", "View(records=store.view, ", "View(records=store.committed, "),),
    ),
    Mutant(
        "no_seen_id",
        (
            Edit(
                "protocol/receiving.py",
                "    incoming = view.records.get(Incoming, reading.id)\n"
                "    refused = view.records.get(Refused, reading.id)\n",
                "    incoming: Incoming | None = None\n    refused = view.records.get(Refused, reading.id)\n",
            ),
        ),
    ),
    Mutant(
        "receipt_before_the_last_part",
        (Edit("protocol/receiving.py", "    for body in bodies:\n", "    for body in bodies[:-1]:\n"),),
    ),
    Mutant(
        "dropped_fdatasync",
        (Edit("storage/store.py", "        self.bodies.segments.sync()\n", ""),),
    ),
    Mutant(
        "reused_sequence",
        (
            Edit(
                "protocol/acting.py",
                "        sequence=entry.next_receipt,\n",
                "        sequence=min(entry.next_receipt, 3),\n",
            ),
        ),
    ),
    Mutant(
        "back_off_that_never_wakes",
        (
            Edit(
                "node/peers.py",
                "            with trio.move_on_after(delay_s):\n",
                "            with trio.move_on_after(delay_s if peer.failures < 2 else float('inf')):\n",
            ),
        ),
    ),
    Mutant(
        "refusal_instead_of_not_now",
        (
            Edit(
                "protocol/receiving.py",
                '    if failed.code != "part_mismatch":\n        return _not_now(reading, failed.code)\n',
                '    if failed.code != "part_mismatch":\n'
                '        return _refused(view, here, Refuse(reading, (), "part_mismatch", "parts"))\n',
            ),
        ),
    ),
    Mutant(
        "ignored_expiry",
        (
            Edit(
                "protocol/sending.py",
                "    if entry is None or entry.settled_ms:\n        return\n    code = ",
                "    if entry is None or entry.expires_ms:\n        return\n    code = ",
            ),
        ),
    ),
    Mutant(
        "sweep_that_deletes_a_live_body",
        (
            Edit(
                "storage/store.py",
                "self.bodies.segments.sweep({use.segment: use.live for use in uses})",
                "self.bodies.segments.sweep({use.segment: 0 for use in uses})",
            ),
        ),
    ),
    Mutant(
        "acknowledged_by_anybody",
        (Edit("protocol/retention.py", "if owed is not None and owed.centre == ack.centre:", "if owed is not None:"),),
    ),
    Mutant(
        "unverified_receipt",
        (
            Edit(
                "protocol/settling.py",
                "        here.verifier.verify(signed, key)\n        head = ",
                "        head = ",
            ),
        ),
    ),
    Mutant(
        "never_signed_again",
        (Edit("protocol/speaking.py", "    for digest in digests:\n", "    for digest in ():\n"),),
    ),
    Mutant(
        "unsynced_upload",
        (
            Edit(
                "storage/bodies.py",
                "        self._folder.fdatasync(self._name)\n        if not self._named:",
                "        if not self._named:",
            ),
        ),
    ),
)


def hunt(mutant: Mutant, *, first: int | None = None, seeds: int = SEEDS_MAX) -> Catch:
    """Run seeds on a copy with this mistake until one catches it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        copy_tree(copy)
        for edit in mutant.edits:
            apply(copy, edit)
        return _run(copy, mutant, mutant.first if first is None else first, seeds)


def copy_tree(folder: Path) -> None:
    """What a run needs, and nothing that it writes."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))


def apply(folder: Path, edit: Edit) -> None:
    """Replace one piece of text; the source must still have it, once."""
    path = folder / edit.file
    source = path.read_text(encoding="utf-8")
    found = source.count(edit.old)
    if found != 1:
        raise SystemExit(f"{edit.file} has {found} times what a mutant replaces: {edit.old!r}")
    path.write_text(source.replace(edit.old, edit.new), encoding="utf-8")


def _run(copy: Path, mutant: Mutant, first: int, seeds: int) -> Catch:
    runner, *shape = mutant.world
    command = [sys.executable, "-m", runner, "--stop", "--first", str(first), "--seeds", str(seeds), *shape]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"^seed (\d+): FAILED.*\n  (\w+):", done.stdout, re.MULTILINE)
    if found:
        return Catch(mutant.name, int(found[1]), found[2])
    if done.returncode and "never struck" not in done.stdout:
        raise SystemExit(f"{mutant.name} broke the simulator itself:\n{done.stdout}\n{done.stderr}")
    return Catch(mutant.name, 0, "")


def write_record(catches: Sequence[Catch], record: Path = RECORD) -> None:
    """The first seed that catches each, for replaying."""
    lines = ["# Written by scripts/mutants: the first seed that catches each mutant, and the oracle's sentence."]
    for catch in catches:
        lines += ["", f"[{catch.mutant}]", f"seed = {catch.seed}", f'sentence = "{catch.sentence}"']
    record.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all mutants, or those named; print a table and keep the record."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description="Show what the simulator finds.")
    parser.add_argument("names", nargs="*", help="only these; the record is not written then")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        catches = list(pool.map(lambda mutant: hunt(mutant, seeds=options.seeds), chosen))
    for catch in catches:
        print(f"{catch.mutant:34} {f'seed {catch.seed}' if catch.seed else 'ESCAPED':>9}  {catch.sentence}")
    if not options.names:
        write_record(catches)
    return 0 if all(catch.seed for catch in catches) else 1


if __name__ == "__main__":
    sys.exit(main())
