"""Mistakes about the directory that the simulator must find; the machinery is that of `mutants.py`.

    python -m tests.sim.directory_mutants [--seeds 12] [NAME…]

`scripts/mutants directory` looks for the first seed that catches each and writes `directory_mutants.toml`;
`test_directory_mutants.py` replays those seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.sim.mutants import Catch, Edit, Mutant, hunt, write_record

RECORD: Final = Path(__file__).with_name("directory_mutants.toml")
SEEDS_MAX: Final = 12
WORLD: Final = ("tests.sim.directory_run", "--nodes", "7", "--joins", "1", "--acts", "10", "--seconds", "150")
FORKED, TAKEN_OVER, SILENT, UNANNOUNCED = 3, 2, 4, 3
"""The first seed with a fork, with a take-over, with a silent month, and without announcements."""


def _mutant(name: str, *edits: Edit, first: int = 1) -> Mutant:
    return Mutant(name, edits, world=WORLD, first=first)


MUTANTS: Final = (
    _mutant(
        "number_taken_twice",
        Edit(
            "protocol/registration.py",
            "    if taken is not None and taken != signed.digest:\n",
            "    if taken is not None and taken != signed.digest and number < 0:\n",
        ),
        Edit(
            "protocol/registrar_log.py",
            "    if follower_of(value, court.lookup) not in {None, signed.digest}:\n",
            "    if follower_of(value, court.lookup) not in {None, signed.digest} and value.number < 0:\n",
        ),
        first=FORKED,
    ),
    _mutant(
        "fork_that_is_not_asked_for",
        Edit(
            "node/directory_index.py",
            "        self.loose.put(tree_key(Subject.FORK,",
            "        len(tree_key(Subject.FORK,",
        ),
        first=FORKED,
    ),
    _mutant(
        "fork_without_an_alarm",
        Edit(
            "node/directory_alarms.py",
            "                self._raise_fork(fork)\n            case",
            "                pass\n            case",
        ),
        first=FORKED,
    ),
    _mutant(
        "pending_skipped",
        Edit(
            "protocol/standing.py",
            "    if old_news or is_endorsed(signed, head.value, record, court):\n",
            "    if old_news or is_endorsed(signed, head.value, record, court) or record.created_ms:\n",
        ),
        first=TAKEN_OVER,
    ),
    _mutant(
        "day_of_an_hour",
        Edit("protocol/limits.py", "PENDING_MS: Final = DAY_MS", "PENDING_MS: Final = HOUR_MS"),
        first=TAKEN_OVER,
    ),
    _mutant(
        "tree_not_compared",
        Edit(
            "protocol/reconcile.py",
            '        alone = yield from self._descend("", 0, theirs.loose)\n',
            "        alone = ()\n",
        ),
    ),
    _mutant(
        "admission_not_refreshed",
        Edit("node/daemon.py", "        if subjects - {Subject.NODE}:\n", "        if subjects - set(Subject):\n"),
    ),
    _mutant(
        "freshness_ignored",
        Edit(
            "protocol/checkpoint.py",
            "    if age_ms is None or age_ms > KNOWN_MS:\n        return Tier.OLD\n",
            "",
        ),
        first=SILENT,
    ),
    _mutant(
        "last_come_is_newest",
        Edit(
            "protocol/standing.py",
            "    if order_of(mine) < order_of(head):\n",
            "    if order_of(mine) < order_of(head) and not record.created_ms:\n",
        ),
    ),
    _mutant(
        "unverified_record",
        Edit(
            "protocol/registration.py",
            "    signers = registrar_signers(signed, by, record.created_ms, court)\n"
            "    check_number(signed, by, record.generation, record.number, court, about=record.code)\n",
            "    signers = tuple(by.keys.keys)\n"
            "    check_number(signed, by, record.generation, record.number, court, about=record.code)\n",
        ),
    ),
    _mutant(
        "heads_not_listened_to",
        Edit(
            "node/directory_sync.py",
            "        if not digest or centre == self._own:\n            return\n",
            "        if digest or centre == self._own:\n            return\n",
        ),
        first=UNANNOUNCED,
    ),
    _mutant(
        "blamed_for_what_was_not_believed",
        Edit(
            "node/directory_sync.py",
            "        peer.failures = 0\n        peer.done = theirs",
            "        peer.failures = 0\n        self._conducts.of(centre).struck('peer_sends_junk')\n"
            "        peer.done = theirs",
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all, or those named; print a table and keep the record."""
    parser = argparse.ArgumentParser(prog="scripts/mutants directory", description="Show what the simulator finds.")
    parser.add_argument("names", nargs="*", help="only these; the record is not written then")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    options = parser.parse_args(arguments)
    catches: list[Catch] = []
    for mutant in MUTANTS:
        if options.names and mutant.name not in options.names:
            continue
        catch = hunt(mutant, seeds=options.seeds)
        catches.append(catch)
        print(f"{catch.mutant:34} {f'seed {catch.seed}' if catch.seed else 'ESCAPED':>9}  {catch.sentence}", flush=True)
    if not options.names:
        write_record(catches, RECORD)
    return 0 if all(catch.seed for catch in catches) else 1


if __name__ == "__main__":
    sys.exit(main())
