"""What a node and a signer process say to each other: vectors, and what a signer must not sign."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import signer
from protocol.errors import FormatError, RequestError
from protocol.limits import SIGNER_FRAME_BYTES_MAX
from protocol.signer import DEFAULT_FORMATS, Kind, check_hello, read, refusal_of
from protocol.signing import PublicKey, signed_text
from tests.support.errors import expects
from tests.support.signer_vectors import KEY, RAW, ROOT, rows
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, load, written


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert (FOLDER / "signer.json").read_text("utf-8") == written(rows()), "run scripts/vectors and read the difference"


@pytest.mark.parametrize("row", [row for row in load("signer") if "body" in row], ids=lambda row: str(row["name"]))
def test_a_body_of_the_vectors_reads_as_written(row: dict[str, Any]) -> None:
    kind, body = row["type"], bytes.fromhex(row["body"])
    if "error" in row:
        with expects(row["error"], FormatError):
            read(kind, body, *Kind)
    else:
        said = read(kind, body, *Kind)
        assert plain(said) == row["fields"]
        assert signer.write(said)[5:] == body


@pytest.mark.parametrize("row", [row for row in load("signer") if "text" in row], ids=lambda row: str(row["name"]))
def test_a_signer_says_to_a_text_of_the_vectors_what_stands_there(row: dict[str, Any]) -> None:
    key = PublicKey.of("ed25519", bytes.fromhex(row["raw_key"]))
    request = signer.Sign(number=1, key_id=bytes.fromhex(row["key_id"]), text=bytes.fromhex(row["text"]))
    assert refusal_of(request, key, DEFAULT_FORMATS) == row["refused"]


def test_a_frame_of_another_type_than_expected_is_refused() -> None:
    frame = signer.write(signer.Failed(number=1, code="unavailable"))
    for kind in (Kind.FAILED, 9):
        with expects("format_field", FormatError, field="type"):
            read(kind, frame[5:], Kind.HELLO)


def test_a_signer_of_another_protocol_or_without_our_key_is_not_used() -> None:
    check_hello(signer.Hello(protocol=signer.PROTOCOL, keys=(RAW,)), KEY.public)
    with expects("format_other", FormatError):
        check_hello(signer.Hello(protocol="truc/signer/2", keys=(RAW,)), KEY.public)
    other = signer.RawKey(algorithm="ed25519", raw=bytes(32))
    with expects("signer_other_key", RequestError):
        check_hello(signer.Hello(protocol=signer.PROTOCOL, keys=(other,)), KEY.public)


def test_the_largest_words_fit_a_frame() -> None:
    keys = tuple(signer.RawKey(algorithm="a" * 40, raw=bytes(100)) for _ in range(16))
    assert len(signer.write(signer.Hello(protocol="p" * 40, keys=keys))) <= SIGNER_FRAME_BYTES_MAX + 4


def test_nothing_that_changes_who_speaks_is_signed_unless_told() -> None:
    for name in ("truc/agency/1", "truc/centre/1", "truc/root/1", "truc/lock/1", "truc/agency-request/1"):
        request = signer.Sign(number=1, key_id=KEY.public.key_id, text=signed_text(name, KEY.public, ROOT))
        assert refusal_of(request, KEY.public, DEFAULT_FORMATS) == "format_not_allowed"
        assert refusal_of(request, KEY.public, {name}) == ""


@given(st.binary(min_size=1, max_size=512))
def test_any_bytes_that_are_no_text_of_ours_are_refused(text: bytes) -> None:
    request = signer.Sign(number=1, key_id=KEY.public.key_id, text=text)
    assert refusal_of(request, KEY.public, DEFAULT_FORMATS) == "not_a_statement"


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_bytes_are_words_or_a_format_error(body: bytes, kind: int) -> None:
    try:
        said = read(kind, body, *Kind)
    except FormatError:
        return
    assert signer.write(said)[5:] == body
