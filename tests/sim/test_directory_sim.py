"""Small directory worlds in every test run; more and larger ones by `scripts/sim directory`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.exchange import FrameType, Ping, frame_bytes, heads_extension
from tests.sim.directory_traits import DirectoryTraits
from tests.sim.directory_world import MUST_STRIKE, RealmShape, simulate_directory
from tests.sim.older_release import EXTENSIONS_FROM, _plain
from tests.sim.realm import Realm

SMALL = RealmShape(nodes=7, joins=1, acts=12, seconds=150, fault_pause=8)
CALM = RealmShape(nodes=7, joins=0, acts=4, seconds=60, fault_pause=1_000)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)  # twelve worlds, two of them thirty days long: no measure of speed
def test_small_worlds_come_to_believe_the_same_and_every_kind_of_trouble_strikes() -> None:
    struck: Counter[str] = Counter()
    for seed in range(1, 13):
        outcome = simulate_directory(SMALL, seed)
        outcome.require_clean()
        struck += outcome.struck
    missing = {
        kind for kind in MUST_STRIKE - set(struck) if kind.startswith(("act", "villain", "fork", "new", "take", "join"))
    }
    assert not missing, struck


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "by pings alone"])
def test_a_calm_world_settles(announced: bool) -> None:
    outcome = simulate_directory(replace(CALM, traits=DirectoryTraits(announced=announced, older=True)), 1)
    outcome.require_clean()
    assert outcome.struck["older"] == 1


def test_a_fork_is_proven_and_alarmed_everywhere_and_the_next_generation_mends_it() -> None:
    outcome = simulate_directory(replace(CALM, traits=DirectoryTraits(fork=True)), 2)
    outcome.require_clean()
    assert (outcome.struck["fork"], outcome.struck["new_generation"]) == (1, 1)


def test_silent_takeover_waits_for_its_day_and_is_alarmed() -> None:
    outcome = simulate_directory(replace(CALM, traits=DirectoryTraits(take_over=True)), 3)
    outcome.require_clean()
    assert outcome.struck["take_over_in_force"] == 1
    assert outcome.struck["take_over_delayed"] >= 6


@pytest.mark.slow
def test_silent_takeover_that_is_taken_back_never_counts() -> None:
    outcome = simulate_directory(replace(CALM, traits=DirectoryTraits(take_over=True, taken_back=True)), 3)
    outcome.require_clean()
    assert outcome.struck["taken_back"] == 1


@pytest.mark.slow
def test_thirty_days_without_any_registrar_and_known_pairs_still_deliver() -> None:
    outcome = simulate_directory(replace(CALM, traits=DirectoryTraits(silence=True)), 4)
    outcome.require_clean()
    assert outcome.struck["letter"] == 4


def test_a_seed_decides_the_same_way_in_another_process() -> None:
    tell = "from tests.sim.test_directory_sim import *; print(simulate_directory(CALM, 5).trace)"
    traces = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", tell], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        traces.add(done.stdout.strip())
    assert len(traces) == 1


def test_every_kind_of_world_has_its_turn() -> None:
    worlds = [DirectoryTraits.of(seed) for seed in range(1, 41)]
    for name in DirectoryTraits.__slots__:
        assert sum(getattr(world, name) for world in worlds) >= 5, name


def test_the_oracle_remembers_what_each_record_is_to_be_in_the_end(directory_realm: Realm) -> None:
    assert {code for _, code in directory_realm.meant} >= {"00.01.W00", "H01", "H01.1", "H01.1.9"}
    assert all(directory_realm.said[digest].about == about for about, digest in directory_realm.meant.items())


@pytest.fixture(name="directory_realm")
def _directory_realm() -> Realm:
    from random import Random

    return Realm.found(1, 7, Random(1), villains=1)


def test_the_older_release_shows_no_extensions() -> None:
    frame = frame_bytes(Ping(time_ms=5, extensions=heads_extension(b"h" * 32)))
    assert EXTENSIONS_FROM == 128
    assert _plain(FrameType.PING, frame[5:]) == frame_bytes(Ping(time_ms=5))[5:]
