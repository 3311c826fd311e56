"""Text ids: one spelling per id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RequestError
from protocol.textid import ID_BYTES, Prefix, from_bare_text, from_text, to_bare_text, to_text
from tests.support.errors import expects
from tests.support.statement_vectors import FOLDER

_VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "textid.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_vectors_of_text_ids(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with expects(vector["error"], RequestError, field="id") as caught:
            from_text(vector["prefix"], vector["text"])
        assert caught[0].detail == {"prefix": vector["prefix"] + "_"}
    else:
        assert to_text(vector["prefix"], bytes.fromhex(vector["hex"])) == vector["text"]
        assert from_text(vector["prefix"], vector["text"]).hex() == vector["hex"]


@given(st.sampled_from(sorted(ID_BYTES)), st.binary(min_size=32, max_size=32))
def test_ids_read_back_with_and_without_prefix(prefix: Prefix, entropy: bytes) -> None:
    raw = entropy[: ID_BYTES[prefix]]
    assert from_text(prefix, to_text(prefix, raw)) == raw
    assert from_bare_text(prefix, to_bare_text(prefix, raw)) == raw
    assert to_text(prefix, raw) == f"{prefix}_{to_bare_text(prefix, raw)}"


@given(st.text(max_size=60))
def test_a_text_is_either_the_one_spelling_of_an_id_or_refused(text: str) -> None:
    try:
        raw = from_bare_text("doc", text)
    except RequestError as error:
        assert error.code == "id_malformed"
    else:
        assert to_bare_text("doc", raw) == text


def test_the_mistake_is_named_at_the_callers_field() -> None:
    with expects("id_malformed", RequestError, field="consignment_id"):
        from_text("csg", "doc_aaaaaaaaaaaaaaaaaaaaaaaaaa", field="consignment_id")
    with expects("id_malformed", RequestError, field="consignment_id"):
        from_text("csg", "csg_aaaa", field="consignment_id")
    with expects("id_malformed", RequestError, field="id"):
        from_bare_text("sys", "")
    with expects("id_malformed", RequestError, field="docId"):
        from_bare_text("doc", "A", field="docId")


def test_writing_an_id_of_another_length_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        to_text("csg", bytes(16))
