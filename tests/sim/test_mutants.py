"""Every mutant is caught again by the seed on record."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.sim.mutants import MUTANTS, RECORD, Edit, Mutant, apply, hunt

CAUGHT = tomllib.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_knows_every_mutant_and_no_other() -> None:
    assert sorted(CAUGHT) == sorted(mutant.name for mutant in MUTANTS)
    assert all(1 <= entry["seed"] <= 50 for entry in CAUGHT.values())


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_seed_on_record_catches_the_mutant(mutant: Mutant) -> None:
    seed = CAUGHT[mutant.name]["seed"]
    catch = hunt(mutant, first=seed, seeds=1)
    assert catch.seed == seed, "it escaped: run scripts/mutants and look why"


def test_a_replacement_that_no_longer_fits_fails_loudly(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("twice twice")
    with pytest.raises(SystemExit, match="2 times"):
        apply(tmp_path, Edit("file.py", "twice", "once"))
