"""Sameness of documents, by number and by content."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.document import Metadata, Signer, Staff
from protocol.encoding import lp
from protocol.identity import content_identity, number_identity, year_of
from tests.support import samples

_PARTS = [samples.digest("cover"), samples.digest("attachment")]


@pytest.mark.parametrize(
    ("number", "notation"),
    [
        ("12", "QĐ-BTC"),
        ("012", "QĐ-BTC"),
        (" 12 ", "qđ-btc"),
        ("12\u200b", "QÐ-BTC"),
        ("12", "Q\u0110 - BTC"),
        ("1 2", "QƉ-BTC"),
    ],
)
def test_spellings_of_one_number_are_one_number(number: str, notation: str) -> None:
    assert number_identity("G12", 2026, number, notation) == number_identity("G12", 2026, "12", "QĐ-BTC")


def test_unicode_forms_of_a_notation_are_one() -> None:
    assert number_identity("G12", 2026, "1", "QUY\u1ebeT") == number_identity("G12", 2026, "1", "QUYE\u0302\u0301T")


def test_the_number_identity_is_written_as_the_spec_says() -> None:
    assert number_identity("G12", 2026, "007", "qđ-btc") == lp("truc/number/1", "G12", "2026", "7", "QĐ-BTC")
    assert number_identity("G12", 2026, "000", "") == lp("truc/number/1", "G12", "2026", "0", "")
    assert number_identity("G12", 2026, "XX7", "") == lp("truc/number/1", "G12", "2026", "XX7", "")


def test_the_content_identity_is_written_as_the_spec_says() -> None:
    metadata = Metadata(
        type="Công văn",
        number="X7",
        notation="bk",
        subject="a  b",
        secrecy="none",
        signers=(Signer(position="p", name="n"),),
    )
    text = lp("truc/content/1", "Công văn", "X7", "BK", "", "a b", lp("p", "n"), lp(*sorted(_PARTS)))
    assert content_identity(metadata, _PARTS) == sha256(text).digest()


def test_issuer_year_number_and_notation_each_make_another_number() -> None:
    identities = {
        number_identity("G12", 2026, "12", "QĐ-BTC"),
        number_identity("G22", 2026, "12", "QĐ-BTC"),
        number_identity("G12", 2025, "12", "QĐ-BTC"),
        number_identity("G12", 2026, "13", "QĐ-BTC"),
        number_identity("G12", 2026, "12", "QD-BTC"),
        number_identity("G12", 2026, "120", "QĐ-BTC"),
        number_identity("G12", 2026, "12a", "QĐ-BTC"),
        number_identity("G12", 2026, "0", "QĐ-BTC"),
    }
    assert len(identities) == 8


def test_number_and_notation_cannot_run_into_each_other() -> None:
    assert number_identity("G12", 2026, "1", "2-QĐ") != number_identity("G12", 2026, "12", "-QĐ")


def test_a_document_without_number_is_not_under_the_rule() -> None:
    with pytest.raises(AssertionError):
        number_identity("G12", 2026, " ", "QĐ-BTC")


def test_the_same_document_sent_again_has_the_same_content() -> None:
    again = samples.metadata(
        subject="V/v  triển khai trục\nliên thông văn bản ",
        due_on="",
        recipients=("G22",),
        staff=Staff(name="khác"),
        number="0123",
    )
    assert content_identity(again, reversed(_PARTS)) == content_identity(samples.metadata(), _PARTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "Quyết định"},
        {"number": "124"},
        {"notation": "BTC-TCT"},
        {"issued_on": "2026-01-02"},
        {"subject": "V/v khác"},
        {"signers": (Signer(position="Thứ trưởng", name="Nguyễn Văn B"),)},
        {"signers": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_change_of_what_matters_is_other_content(changes: dict[str, object]) -> None:
    assert content_identity(samples.metadata(**changes), _PARTS) != content_identity(samples.metadata(), _PARTS)


@given(
    st.lists(st.binary(min_size=32, max_size=32), max_size=4), st.lists(st.binary(min_size=32, max_size=32), max_size=4)
)
def test_content_is_the_same_exactly_if_the_parts_are(first: list[bytes], second: list[bytes]) -> None:
    same = content_identity(samples.metadata(), first) == content_identity(samples.metadata(), second)
    assert same == (sorted(first) == sorted(second))


def test_the_year_comes_from_the_date_of_issue_where_there_is_one() -> None:
    assert year_of(samples.metadata(issued_on="2025-12-31"), 2026) == 2025
    assert year_of(samples.metadata(issued_on=""), 2026) == 2026
