"""Runs seeds and tells what came of them: `scripts/sim`, and the runner of mutants.

    python -m tests.sim.run --first 1 --seeds 200 --nodes 4 --documents 40

Prints one line per failed seed with the oracle's sentences and how to run it again; at the end
seeds per second, CPU per seed and how often each kind of fault struck. Exit code 0: all clean
and, from 50 seeds on, every kind struck.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.sim.faults import MUST_STRIKE
from tests.sim.world import Outcome, WorldShape, simulate

KINDS_EXPECTED_FROM = 50
"""With fewer seeds chance alone may leave a kind out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; the exit code."""
    options = _parser().parse_args(arguments)
    shape = WorldShape(
        nodes=options.nodes, documents=options.documents, seconds=options.seconds, fault_pause=options.pause
    )
    struck: Counter[str] = Counter()
    failed: list[int] = []
    started, busy = time.perf_counter(), time.process_time()
    ran = 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = simulate(shape, seed, story=options.story)
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
    parser = argparse.ArgumentParser(prog="scripts/sim", description="Simulate seeded worlds and judge them.")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=240.0, help="virtual length of the faulty phase")
    parser.add_argument("--pause", type=float, default=12.0, help="virtual seconds between two faults")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--story", action="store_true", help="print every decision")
    parser.add_argument("--verbose", action="store_true", help="one line per seed")
    return parser


def _tell(outcome: Outcome, options: argparse.Namespace) -> None:
    if options.story:
        print("\n".join(outcome.story))
    if options.verbose or outcome.objections:
        verdict = "FAILED" if outcome.objections else "clean"
        print(
            f"seed {outcome.seed}: {verdict}, trace {outcome.trace}, {outcome.acknowledged} documents, "
            f"{outcome.arrived} arrivals, {outcome.virtual_seconds:.0f} virtual seconds",
            flush=True,
        )
    if outcome.objections:
        print("\n".join(f"  {objection}" for objection in outcome.objections))
        print(
            f"  again: scripts/sim --first {outcome.seed} --seeds 1 --nodes {options.nodes} "
            f"--documents {options.documents} --seconds {options.seconds:g} --pause {options.pause:g} --story",
            flush=True,
        )


def _sum_up(ran: int, real_s: float, busy_s: float, struck: Counter[str]) -> None:
    print(f"{ran} seeds in {real_s:.1f} s: {ran / real_s:.2f} per second, {busy_s / ran:.2f} CPU seconds each")
    print("struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))


if __name__ == "__main__":
    sys.exit(main())
