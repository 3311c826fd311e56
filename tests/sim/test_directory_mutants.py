"""Every mutant of the directory still fits the source, and is caught again by the seed on record."""

from __future__ import annotations

import tomllib

import pytest

from tests.sim.directory_mutants import MUTANTS, RECORD
from tests.sim.mutants import ROOT, Mutant, hunt

CAUGHT = tomllib.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_knows_every_mutant() -> None:
    assert set(CAUGHT) == {mutant.name for mutant in MUTANTS}
    assert all(entry["seed"] for entry in CAUGHT.values())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_stands_in_the_source_once(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1, edit


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_seed_on_record_catches_the_mutant(mutant: Mutant) -> None:
    seed = CAUGHT[mutant.name]["seed"]
    catch = hunt(mutant, first=seed, seeds=1)
    assert catch.seed == seed, "it escaped: run scripts/mutants directory and look why"
