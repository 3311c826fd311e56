"""Small worlds in every test run; more and larger ones by `scripts/sim`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from protocol.errors import Findings, RequestError
from tests.sim.expected import Expected, Meant
from tests.sim.faults import MUST_STRIKE, RARE
from tests.sim.notebook import Sending
from tests.sim.traits import Traits
from tests.sim.world import WorldShape, simulate

SMALL = WorldShape(nodes=3, documents=12, seconds=120, fault_pause=6)
SEEDS = range(1, 21)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_small_worlds_are_clean_and_every_kind_of_fault_strikes() -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        outcome = simulate(SMALL, seed)
        outcome.require_clean()
        assert outcome.acknowledged + outcome.turned_away == SMALL.documents
        struck += outcome.struck
    assert not MUST_STRIKE - RARE - set(struck), struck


@pytest.mark.parametrize("through_api", [False, True])
def test_a_world_without_faults_settles_at_once(through_api: bool) -> None:
    traits = Traits(through_api=through_api)
    outcome = simulate(WorldShape(nodes=4, documents=20, seconds=30, faults=False, traits=traits), 3)
    outcome.require_clean()
    assert outcome.acknowledged == 20
    assert outcome.virtual_seconds < 120
    assert not set(outcome.struck) - {"slow", "dial_refused", "reset", "upload_broken", "through_api"}


@pytest.mark.parametrize("seed", [3, 6, 7])
def test_the_same_seed_decides_the_same_way_and_another_one_otherwise(seed: int) -> None:
    """Through the app, with a villain, with changes of the directory and flipped bits."""
    first, again, other = (simulate(SMALL, one, story=True) for one in (seed, seed, seed + 20))
    for before, after in zip(first.story, again.story, strict=True):
        assert before == after
    assert first.trace == again.trace != other.trace
    assert first.struck == again.struck


def test_every_kind_of_world_has_its_turn() -> None:
    worlds = [Traits.of(seed) for seed in range(1, 61)]
    shares = {name: sum(getattr(world, name) for world in worlds) for name in Traits.__slots__}
    assert shares["through_api"] == 6, "one scenario in ten enters through the app"
    assert all(count >= 6 for count in shares.values()), shares


def test_a_refusal_is_meant_only_where_the_world_has_planned_it() -> None:
    sending = Sending("k", "H01", ("H02", "H03"), "s", (bytes(100_000),), 0)
    expected = Expected(too_large={"H02": 60_000}, locked={"H02"}, closed={"H03"})

    def finding(code: str, agency: str) -> RequestError:
        return RequestError(code, agency=agency)

    assert expected.meant(sending, finding("recipient_locked", "H02")) is Meant.AGAIN
    assert expected.meant(sending, finding("recipient_closed", "H03")) is Meant.FINAL
    both = Findings([finding("recipient_locked", "H02"), finding("recipient_closed", "H03")])
    assert expected.meant(sending, both) is Meant.FINAL
    assert expected.meant(sending, finding("recipient_closed", "H02")) is Meant.WRONG
    assert expected.meant(sending, finding("key_reused", "")) is Meant.WRONG
    assert expected.is_refused(sending, "H02") and not expected.is_refused(sending, "H03")


def test_a_seed_decides_the_same_way_in_another_process() -> None:
    """Sets of strings have another order there, and nothing may depend on it."""
    tell = "from tests.sim.test_sim import *; print(simulate(SMALL, 7).trace)"
    here = simulate(SMALL, 7).trace
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", tell], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here
