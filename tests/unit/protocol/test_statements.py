"""Envelope, header, consignment, receipt and refusal against their committed vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.errors import FormatError
from protocol.signing import thing_digest
from tests.support.errors import expects
from tests.support.statement_vectors import FOLDER, FORMATS, failure, generate, plain


def _vectors(kind: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return loaded


_ALL = [pytest.param(kind, vector, id=f"{kind}: {vector['name']}") for kind in FORMATS for vector in _vectors(kind)]
_GOOD = [param for param in _ALL if "error" not in param.values[1]]  # type: ignore[operator]
_BAD = [param for param in _ALL if "error" in param.values[1]]  # type: ignore[operator]


def test_committed_vectors_are_what_the_formats_say() -> None:
    assert {kind: _vectors(kind) for kind in FORMATS} == json.loads(json.dumps(generate()))


@pytest.mark.parametrize(("kind", "vector"), _GOOD)
def test_a_valid_statement_reads_and_writes_back(kind: str, vector: dict[str, Any]) -> None:
    format_, check = FORMATS[kind]
    statement = bytes.fromhex(vector["hex"])
    value = format_.decode(statement)
    if check is not None:
        check(value)
    assert plain(value) == vector["fields"]
    assert format_.encode(value) == statement
    assert thing_digest(format_.name, statement).hex() == vector["thing_digest"]


@pytest.mark.parametrize(("kind", "vector"), _BAD)
def test_an_invalid_statement_is_refused_with_its_code(kind: str, vector: dict[str, Any]) -> None:
    error = failure(kind, bytes.fromhex(vector["hex"]))
    assert error.detail == vector.get("detail", error.detail)
    with expects(vector["error"], FormatError, field=vector["field"]):
        raise error


def test_consignment_vectors_carry_the_derived_id() -> None:
    for vector in _vectors("consignment"):
        if "id" in vector:
            assert FORMATS["consignment"][0].decode(bytes.fromhex(vector["hex"])).id.hex() == vector["id"]
