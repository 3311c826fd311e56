"""Runs directory worlds and tells what came of them: `scripts/sim directory`, and the runner of their mutants.

    python -m tests.sim.directory_run --first 1 --seeds 200 --nodes 95

Prints one line per failed seed with the oracle's sentences and how to run it again; at the end seeds per
second, CPU per seed and how often each kind of trouble struck. Exit code 0: all clean and, from 40
seeds on, every kind struck.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.sim.directory_world import KINDS_EXPECTED_FROM, MUST_STRIKE, RealmOutcome, RealmShape, simulate_directory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; the exit code."""
    options = _parser().parse_args(arguments)
    shape = RealmShape(
        nodes=options.nodes,
        villains=options.villains,
        joins=options.joins,
        acts=options.acts,
        seconds=options.seconds,
        fault_pause=options.pause,
        ping_s=options.ping,
    )
    struck: Counter[str] = Counter()
    failed: list[int] = []
    started, busy, ran = time.perf_counter(), time.process_time(), 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = simulate_directory(shape, seed, story=options.story)
        ran += 1
        struck += outcome.struck
        if outcome.objections:
            failed.append(seed)
        _tell(outcome, options)
        if failed and options.stop:
            break
    _sum_up(ran, time.perf_counter() - started, time.process_time() - busy, struck)
    missing = sorted(MUST_STRIKE - set(struck)) if ran >= KINDS_EXPECTED_FROM else []
    if missing:
        print(f"never struck: {', '.join(missing)}")
    return 1 if failed or missing else 0


def _parser() -> argparse.ArgumentParser:
    shape = RealmShape()
    parser = argparse.ArgumentParser(prog="scripts/sim directory", description="Simulate directories and judge them.")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--nodes", type=int, default=shape.nodes, help="centres at the founding, from 6 on")
    parser.add_argument("--villains", type=int, default=0, help="how many of them lie; 0: one in ten")
    parser.add_argument("--joins", type=int, default=shape.joins, help="centres that join")
    parser.add_argument("--acts", type=int, default=shape.acts, help="acts of registrars")
    parser.add_argument("--seconds", type=float, default=shape.seconds, help="virtual length of the faulty phase")
    parser.add_argument("--pause", type=float, default=shape.fault_pause, help="virtual seconds between two faults")
    parser.add_argument("--ping", type=float, default=shape.ping_s, help="virtual seconds between two pings")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--story", action="store_true", help="print every decision")
    parser.add_argument("--verbose", action="store_true", help="one line per seed")
    return parser


def _tell(outcome: RealmOutcome, options: argparse.Namespace) -> None:
    if options.story:
        print("\n".join(outcome.story))
    if options.verbose or outcome.objections:
        verdict = "FAILED" if outcome.objections else "clean"
        print(
            f"seed {outcome.seed}: {verdict}, trace {outcome.trace}, {outcome.virtual_seconds:.0f} virtual seconds, "
            f"level {outcome.settled_after:.0f} s after the mending",
            flush=True,
        )
    if outcome.objections:
        print("\n".join(f"  {objection}" for objection in outcome.objections))
        print(
            f"  again: scripts/sim directory --first {outcome.seed} --seeds 1 --nodes {options.nodes} "
            f"--villains {options.villains} --joins {options.joins} --acts {options.acts} "
            f"--seconds {options.seconds:g} --pause {options.pause:g} --ping {options.ping:g} --story",
            flush=True,
        )


def _sum_up(ran: int, real_s: float, busy_s: float, struck: Counter[str]) -> None:
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{ran} seeds in {real_s:.1f} s: {busy_s / ran:.2f} CPU seconds each, {peak_mib} MiB at most")
    print("struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))


if __name__ == "__main__":
    sys.exit(main())
