"""The runs behind the directory's figures: D1, D2, D3 and M1 on real nodes and a made-up nation.

Definitions are those of the goals. Where this machine cannot hold what a goal speaks of (95 nodes), the row
says what was used instead. The bare loops are `directory_reference.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from protocol.directory import AgencyRecord, Names
from protocol.directory_file import write_file
from scripts.benchmarks.directory_bed import (
    LONG_S,
    NationBed,
    bring,
    counters,
    get,
    nation_bed,
    state,
    wait_level,
    wait_up,
)
from scripts.benchmarks.load import quantile
from scripts.benchmarks.nation import BODIES, Made, agencies, make_nation
from scripts.benchmarks.probe import MIB, MemoryWatch, cpu_seconds, memory
from scripts.benchmarks.runs import Effort, Figure, Measured, Wish, reference
from scripts.real.network import Failed, RealNode

CHANGES: Final = 500
NODES_D1: Final = 20
"""Real processes; the goal speaks of 95 nodes, which two cores cannot run side by side."""
PEERS_M1: Final = 94
QUICK_RECORDS: Final = 12_500
PAUSE_D1_S: Final = 1.0
HEARD_S: Final = 60
REST_M1_S: Final = 20
"""After which a node that has taken in a nation and met its peers has given back what that took."""
LOOK_D3_S: Final = 0.1
PAUSE_D3_S: Final = 25.0
"""Between two absences: with one peer there are thirty sessions an hour beyond the first."""


def directory_reference(folder: Path, what: str, **options: object) -> dict[str, Any]:
    """The bare loop in a process of its own."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "scripts.benchmarks.directory_reference", what, "--folder", str(folder), *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


# --- D1: a change reaches everybody ---------------------------------------------------------


def spread_run(wish: Wish) -> Measured:
    """One node imports a change; every other is asked, by a request that waits, when it has it."""
    made = make_nation(BODIES + 100, BODIES, 10)
    with nation_bed(made, wish.folder, NODES_D1) as bed:
        first = _found(bed)
        effort, begun, late, rounds = Effort.of(bed.pids()), time.monotonic(), list[float](), 0
        record = next(record for _, record in agencies(made.nation.records, made.nation.centres))
        while time.monotonic() - begun < wish.seconds:
            late += _one_change(bed, made, record, rounds)
            rounds += 1
            time.sleep(PAUSE_D1_S)
        used, spent = effort.end(), time.monotonic() - begun
        bare = directory_reference(bed.folder, "carry")
        late.sort()
        p50, p99 = quantile(late, 0.5), quantile(late, 0.99)
        return Measured(
            value=f"p50 {p50:.2f} s, p99 {p99:.2f} s",
            reference=f"p50 {bare['p50_ms'] / 1000:.4f} s, p99 {bare['p99_ms'] / 1000:.4f} s",
            ratio=f"{1000 * p50 / bare['p50_ms']:.0f}, {1000 * p99 / bare['p99_ms']:.0f}",
            seconds=spent,
            processes=bed.pids(),
            cpu_seconds=used,
            notes=(
                (
                    f"{NODES_D1} real processes instead of 95; {rounds} changes, {len(late)} arrivals,"
                    f" worst {max(late, default=0):.2f} s; {first} peers of each"
                ),
                "the reference carries a change to one other end: signed, synced, sent, verified, synced",
            ),
        )


def _found(bed: NationBed) -> int:
    """Start all nodes, give them the directory, and wait until each reaches every other."""
    file = bed.everything
    for node in bed.nodes:
        bed.start(node)
    for node in bed.nodes:
        node.wait_ready(joined=False, seconds=LONG_S)
        bring(node, file)
    for node in bed.nodes:
        wait_up(node, len(bed.nodes) - 1)
    for node in bed.nodes[1:]:
        wait_level(node, bed.nodes[0])
    return len(bed.nodes) - 1


def _one_change(bed: NationBed, made: Made, record: AgencyRecord, number: int) -> list[float]:
    """Seconds from handing a change to one node until each other node has it durably."""
    renamed = replace(record, names=Names(vi=f"{record.names.vi} {number}"))
    file = write_file(made.nation.sign("level-1", [renamed]))
    source = bed.nodes[number % len(bed.nodes)]
    others = [node for node in bed.nodes if node is not source]
    with ThreadPoolExecutor(len(others)) as at_once:
        places = list(at_once.map(_news_place, others))
        waiting = [
            at_once.submit(_when_heard, node, place, record.code) for node, place in zip(others, places, strict=True)
        ]
        begun = time.monotonic()
        bring(source, file)
        return [one.result() - begun for one in waiting]


def _news_place(node: RealNode) -> str:
    return str(get(node, "/v1/directory?limit=1")["changes"])


def _when_heard(node: RealNode, place: str, code: str) -> float:
    end = time.monotonic() + HEARD_S
    while time.monotonic() < end:
        page = get(node, f"/v1/directory/changes?after={place}&wait=30")
        at, place = time.monotonic(), page["next"]
        if any(item.get("code") == code for item in page["items"]):
            return at
    raise Failed(f"{node.place.name} did not hear of {code}")


# --- D2: the first start --------------------------------------------------------------------


def first_start_run(wish: Wish) -> Measured:
    """A node that knows root and centres gets everything from one that has imported it, again and again."""
    made = make_nation(wish.records)
    begun, imports, joins, cpu = time.monotonic(), list[float](), list[float](), dict[str, float]()
    told, pids = "", dict[str, int]()
    while not joins or time.monotonic() - begun < wish.seconds:
        with nation_bed(made, wish.folder, 2) as bed:
            full, fresh = bed.nodes
            imports.append(_import(bed, full))
            effort = Effort.of(bed.pids())
            joins.append(_join(bed, fresh, full))
            pids = bed.pids()
            cpu = {**effort.end(), "n01": cpu_seconds(fresh.pid)}
            told = _lag(fresh)
    bare = directory_reference(wish.folder, "take", file=made.directory)
    value = median(joins)
    return Measured(
        value=f"{value:.1f} s by reconciliation, {median(imports):.1f} s from a file",
        reference=f"{bare['seconds']:.1f} s",
        ratio=f"{value / bare['seconds']:.2f}, {median(imports) / bare['seconds']:.2f}",
        seconds=time.monotonic() - begun,
        processes=pids,
        cpu_seconds=cpu,
        notes=(
            (
                f"{wish.records} agencies, {made.nation.centres} centres; {len(joins)} rounds, worst {max(joins):.1f} s"
                f" and {max(imports):.1f} s; from the start of the program (reconciliation: until both say that"
                " they know the same; file: until the import is answered)"
            ),
            f"the node that joins, meanwhile: {told}",
            (
                f"the reference follows {bare['things']} paths, verifies {bare['signatures']} signatures and writes"
                f" three pairs each, on one core ({bare['cpu']:.1f} s CPU)"
            ),
        ),
    )


def _import(bed: NationBed, node: RealNode) -> float:
    """Seconds from the start of a node until it has taken in the whole file."""
    file = bed.everything
    begun = bed.start(node)
    node.wait_ready(joined=False, seconds=LONG_S)
    came = bring(node, file)
    taken = len(came["accepted"]) + came["already"]
    if taken < bed.made.nation.records:
        raise Failed(f"{node.place.name} took {taken} records")
    return time.monotonic() - begun


def _join(bed: NationBed, node: RealNode, full: RealNode) -> float:
    """Seconds from the start of a node that knows root and centres until it knows what the other knows."""
    begun = bed.start(node)
    node.wait_ready(joined=False, seconds=LONG_S)
    bring(node, bed.seed)
    wait_level(node, full)
    return time.monotonic() - begun


def _lag(node: RealNode) -> str:
    """What a node says of its loop."""
    seen = counters(node)
    count = seen.total("truc_loop_lag_seconds_count")
    if not count:
        return "loop lag unknown"
    late = seen.total("truc_loop_lag_seconds_bucket", 'le="0.01"')
    average_ms = 1000 * seen.total("truc_loop_lag_seconds_sum") / count
    return f"loop lag {average_ms:.1f} ms on average, {late / count:.1%} ≤ 10 ms"


# --- D3: back after a week ------------------------------------------------------------------


def back_run(wish: Wish) -> Measured:
    """One of two nodes is stopped, 500 records change at the other, and it comes back; again and again."""
    made = make_nation(wish.records)
    with nation_bed(made, wish.folder, 2) as bed:
        full, away = bed.nodes
        _import(bed, full)
        _import(bed, away)
        wait_level(away, full)
        effort, begun = Effort.of({"n00": full.pid}), time.monotonic()
        rounds: list[tuple[float, float, int, int]] = []
        while not rounds or time.monotonic() - begun < wish.seconds:
            rounds.append(_one_absence(bed, full, away))
            time.sleep(PAUSE_D3_S)
        used, spent = {**effort.end(), "n01": cpu_seconds(away.pid)}, time.monotonic() - begun
        size = rounds[-1][3]
        bare = directory_reference(bed.folder, "take", file=made.changes)
        value, whole = median(each[0] for each in rounds), median(each[1] for each in rounds)
        carried = median(each[2] for each in rounds)
        return Measured(
            value=f"{value:.2f} s, {carried / 1024:.0f} KiB",
            reference=f"{bare['seconds']:.3f} s, {size / 1024:.0f} KiB",
            ratio=f"{value / bare['seconds']:.1f}, {carried / size:.2f}",
            seconds=spent,
            processes={name: pid for name, pid in bed.pids().items() if name != "bench"},
            cpu_seconds=used,
            notes=(
                (
                    f"{CHANGES} of {wish.records} records changed, {len(rounds)} rounds,"
                    f" worst {max(each[0] for each in rounds):.2f} s;"
                    f" seconds since the node is connected again; since its program was begun {whole:.2f} s"
                ),
                (
                    "bytes in both directions on the node that was away, greetings and pings included; beside them the"
                    " signed changes themselves"
                ),
            ),
        )


def _one_absence(bed: NationBed, full: RealNode, away: RealNode) -> tuple[float, float, int, int]:
    """Seconds since connected and since begun until level, bytes carried, bytes of the changes."""
    away.stop()
    changes = bed.made.nation.change(CHANGES)
    bring(full, write_file(changes))
    began = bed.start(away)
    away.wait_ready(joined=False, seconds=LONG_S)
    wait_up(away, 1)
    up = time.monotonic()
    wait_level(away, full, every_s=LOOK_D3_S)
    level = time.monotonic()
    carried = counters(away).total("truc_network_bytes_total")
    return level - up, level - began, int(carried), sum(len(thing.to_wire()) for thing in changes)


# --- M1: memory -----------------------------------------------------------------------------


def national_memory_run(wish: Wish) -> Measured:
    """A node that got the nation by reconciliation, was searched once, and has 94 peers; it does nothing else."""
    made = make_nation(wish.records)
    with nation_bed(made, wish.folder, 2) as bed:
        full, node = bed.nodes
        _import(bed, full)
        _join(bed, node, full)
        bed.start_light(node, PEERS_M1)
        wait_up(node, PEERS_M1)
        found = len(get(node, "/v1/directory?q=tram%20y%20te&limit=100")["items"])
        time.sleep(REST_M1_S)
        effort = Effort.of(bed.pids())
        with MemoryWatch({"n01": node.pid}) as watch:
            time.sleep(wish.seconds)
        bare = reference(bed.folder, "memory")
        peers, peak = get(node, "/v1/node")["peers_up"], watch.peaks["n01"]
        return Measured(
            value=f"{peak / MIB:.1f} MiB",
            reference=f"{bare['own'] / MIB:.1f} MiB",
            ratio=f"{peak / bare['own']:.2f}",
            seconds=wish.seconds,
            processes=bed.pids(),
            cpu_seconds=effort.end(),
            notes=(
                (
                    f"highest RssAnon + RssShmem while idle, after one full reconciliation and one search"
                    f" ({found} shown); {peers} connected peers ({PEERS_M1} of them light ones in one process),"
                    f" {wish.records} agencies; VmRSS at the end {memory(node.pid).mapped / MIB:.1f} MiB"
                ),
                f"heads {state(node)['heads'][:16]} as {full.place.name}: {state(full)['heads'][:16]}",
                "the reference is an interpreter that has only imported the libraries",
            ),
        )


DIRECTORY_FIGURES: Final[dict[str, Figure]] = {
    "D1": Figure("a change reaches every node (20 real processes)", "p99 ≤ 2 s", spread_run),
    "D2": Figure("first start with 125,000 records, from the start of the program", "≤ 20 s", first_start_run),
    "D3": Figure(
        "node back after a week, 500 of 125,000 records changed", "≤ 2 s, ≤ 2× the changed bytes + 32 KB", back_run
    ),
    "M1": Figure("resident memory, idle, 94 connected peers, 125,000 records", "≤ 150 MB", national_memory_run),
}
