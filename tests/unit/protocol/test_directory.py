"""Directory statements, files and trust scenarios against their committed vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.directory import AGENCY, FORMATS, check, is_above, read
from protocol.directory_file import read_file, write_file
from protocol.errors import FormatError, TrustError
from protocol.signing import thing_digest
from tests.support.directory_vectors import FILES, FOLDER, replay, written
from tests.support.errors import expects
from tests.support.statement_vectors import plain
from tests.support.tree import Tree


def rows(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def split(name: str) -> tuple[list[Any], list[Any]]:
    params = [(("error" in row), pytest.param(row, id=row["name"])) for row in rows(name)]
    return [p for bad, p in params if not bad], [p for bad, p in params if bad]


GOOD, BAD = split("directory")
GOOD_FILES, BAD_FILES = split("directory_file")


@pytest.mark.parametrize("name", FILES)
def test_the_committed_vectors_are_those_that_the_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == written(FILES[name]()), (
        "run python -m tests.support.directory_vectors and read the difference"
    )


@pytest.mark.parametrize("row", GOOD)
def test_a_valid_statement_reads_and_writes_back(row: dict[str, Any]) -> None:
    form = FORMATS[row["format"]]
    statement = bytes.fromhex(row["hex"])
    value = read(form, statement)
    assert plain(value) == row["fields"]
    assert form.encode(value) == statement
    assert thing_digest(form.name, statement).hex() == row["thing_digest"]


@pytest.mark.parametrize("row", BAD)
def test_an_invalid_statement_is_refused_with_its_code(row: dict[str, Any]) -> None:
    family = TrustError if row["error"] == "key_small_order" else FormatError
    with expects(row["error"], family):
        read(FORMATS[row["format"]], bytes.fromhex(row["hex"]))


def test_the_field_of_a_wrong_key_is_named() -> None:
    row = next(row for row in rows("directory") if row["name"] == "agency: a sealing key as signing key")
    with expects("format_field", FormatError, field="keys[0].algorithm"):
        read(AGENCY, bytes.fromhex(row["hex"]))


def test_keys_of_algorithms_not_known_here_are_carried() -> None:
    tree = Tree.make()
    entry = replace(tree.centre_records["00.01.W00"].keys[0], algorithm="rsa-2048", raw=b"\x01" * 256)
    check(replace(tree.centre_records["00.01.W00"], keys=(entry,)))


@pytest.mark.parametrize(
    ("upper", "code", "above"),
    [
        ("H38", "H38.1", True),
        ("H38.1", "H38.12", False),
        ("H38.1", "H38.1", False),
        ("H38", "000.00.12.H38", True),
        ("H38", "000.00.12.H39", False),
        ("H38.12", "000.00.12.H38", False),
        ("000.00.00.H38", "H38.12", False),
    ],
)
def test_above_is_decided_by_whole_components(upper: str, code: str, above: bool) -> None:
    assert is_above(upper, code) is above


@pytest.mark.parametrize("row", GOOD_FILES)
def test_a_file_gives_its_things_back(row: dict[str, Any]) -> None:
    assert [thing.hex() for thing in read_file(bytes.fromhex(row["hex"]))] == row["things"]


@pytest.mark.parametrize("row", BAD_FILES)
def test_a_damaged_file_is_refused_with_its_code(row: dict[str, Any]) -> None:
    with expects(row["error"], FormatError):
        read_file(bytes.fromhex(row["hex"]))


@given(st.lists(st.binary(max_size=40)))
def test_a_file_holds_each_thing_once_in_one_order(things: list[bytes]) -> None:
    file = write_file(things)
    assert read_file(file) == tuple(sorted(set(things)))
    assert write_file(reversed(read_file(file))) == file


def test_a_file_has_a_largest_size() -> None:
    file = write_file([bytes(100)])
    assert write_file([bytes(100)], bytes_max=len(file)) == file
    with expects("format_too_large", FormatError):
        write_file([bytes(100)], bytes_max=len(file) - 1)
    with expects("format_too_large", FormatError):
        read_file(file, bytes_max=len(file) - 1)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"]) for row in rows("trust")])
def test_what_reaches_a_node_is_judged_as_the_vector_says(row: dict[str, Any]) -> None:
    found = replay(row)
    assert found == {name: row[name] for name in found}
