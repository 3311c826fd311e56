"""The committed vectors of the foundation formats are what the code makes today."""

from __future__ import annotations

import pytest

from tests.support.vectors import FILES, FOLDER, load, written


@pytest.mark.parametrize("name", FILES)
def test_the_committed_vectors_are_those_that_the_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == written(FILES[name]()), (
        "run scripts/vectors and read the difference"
    )


@pytest.mark.parametrize("name", FILES)
def test_every_vector_has_a_name_of_its_own(name: str) -> None:
    names = [row["name"] for row in load(name)]
    assert len(set(names)) == len(names)
    assert all(names)
