"""Key requests: their vectors, and any bytes at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, TrucError, TrustError
from protocol.key_request import KEY_REQUEST, proved_key_request, read_key_request
from protocol.signing import Signed, Verifier
from tests.support.errors import record
from tests.support.key_request_vectors import FILES, ONE, ROOT_KEY, signed
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, load, written

ALL: list[dict[str, Any]] = load("key_request")


def named(kind: str) -> list[Any]:
    return [pytest.param(row, id=row["name"]) for row in ALL if kind in row]


def thing(row: dict[str, Any]) -> Signed:
    return Signed.from_wire(bytes.fromhex(row["hex"]), bytes_max=131_072)


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert (FOLDER / "key_request.json").read_text("utf-8") == written(FILES["key_request"]())
    names = [row["name"] for row in ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", named("fields"))
def test_a_request_that_its_keys_signed_is_believed_and_writes_back(row: dict[str, Any]) -> None:
    request = thing(row)
    value = proved_key_request(request, Verifier())
    assert plain(value) == row["fields"]
    assert KEY_REQUEST.encode(value) == request.statement


@pytest.mark.parametrize("row", named("error"))
def test_what_must_not_be_believed_says_the_code_of_its_vector(row: dict[str, Any]) -> None:
    with pytest.raises(TrucError) as caught:
        proved_key_request(thing(row), Verifier())
    assert (caught.value.code, caught.value.field) == (row["error"], row["field"])
    record(row["error"])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_are_an_outcome(octets: bytes) -> None:
    try:
        read_key_request(octets)
    except (FormatError, TrustError):
        return
    raise AssertionError("nothing this short is a request")


@given(st.sampled_from([bytes.fromhex(row["hex"]) for row in ALL]), st.data())
def test_a_changed_byte_is_read_or_is_an_outcome(octets: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(octets) - 1))
    changed = octets[:at] + data.draw(st.binary(max_size=3)) + octets[at + 1 :]
    try:
        proved_key_request(Signed.from_wire(changed, bytes_max=131_072), Verifier())
    except TrucError as error:
        assert error.family in {"format", "trust"}


def test_a_request_is_no_record_of_the_directory() -> None:
    from protocol.directory import FORMATS

    assert KEY_REQUEST.name not in FORMATS
    assert signed(ROOT_KEY, ONE).format == KEY_REQUEST.name
