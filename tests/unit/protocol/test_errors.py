"""The error tree and the table of outcomes behind it."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest

from protocol import catalogue, errors
from protocol.catalogue import CATALOGUE, Language, entry_of, next_step, text
from protocol.catalogue_entry import Entry
from protocol.errors import Findings, FormatError, RequestError, TrucError, TrustError

LANGUAGES: tuple[Language, ...] = ("vi", "en")


def families() -> Iterator[type[TrucError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, TrucError) and value is not TrucError:
            yield value


def names_in(template: str) -> set[str]:
    """The details that a text needs; one that is text itself exists once for each language."""
    names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    return {name.removesuffix("_vi").removesuffix("_en") for name in names}


def test_an_error_says_its_code_field_and_details() -> None:
    error = FormatError("format_too_large", field="parts[2]", size=11, limit=10)
    assert str(error) == "format_too_large at parts[2] size=11 limit=10"
    assert (error.code, error.field, error.detail) == ("format_too_large", "parts[2]", {"size": 11, "limit": 10})
    assert str(TrustError("signature_invalid")) == "signature_invalid"


def test_a_detail_may_be_called_code() -> None:
    assert RequestError("agency_code_malformed", code="X").detail == {"code": "X"}


def test_findings_speak_with_the_first_and_keep_them_all() -> None:
    one = RequestError("agency_code_malformed", field="issuer", code="x")
    two = RequestError("centre_code_malformed", field="host", code="y")
    both = Findings([one, two])
    assert (both.code, both.field, both.detail) == (one.code, one.field, one.detail)
    assert both.findings == (one, two)
    with pytest.raises(AssertionError):
        Findings([])


def test_every_family_is_told_apart_by_its_name() -> None:
    direct = [family for family in families() if TrucError in family.__bases__]
    assert len({family.family for family in direct}) == len(direct)
    assert all(family.family for family in families())


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.code)
def test_every_outcome_has_both_languages_with_the_same_details_and_a_next_step(entry: Entry) -> None:
    assert set(entry.family.split()) <= {family.family for family in families()}
    assert 400 <= entry.status <= 599
    assert names_in(entry.vi) == names_in(entry.en)
    assert names_in(entry.next_vi) == names_in(entry.next_en)
    assert all(name.isidentifier() for name in names_in(entry.vi) | names_in(entry.next_vi))
    for sentence in (entry.vi, entry.en, entry.next_vi, entry.next_en):
        assert sentence.strip() == sentence
        assert sentence


def test_no_code_stands_in_the_table_twice() -> None:
    tables = [
        value
        for value in vars(catalogue).values()
        if isinstance(value, tuple) and value and isinstance(value[0], Entry)
    ]
    assert sum(map(len, tables)) == len(CATALOGUE)
    assert all(code == entry.code for code, entry in CATALOGUE.items())


def test_an_outcome_is_told_in_both_languages_with_its_details() -> None:
    error = FormatError("format_too_large", size=11, limit=10)
    assert text(error, "en") == "The data is 11 bytes long; the limit is 10 bytes."
    assert text(error, "vi") == "Dữ liệu dài 11 byte, vượt giới hạn 10 byte."
    assert next_step(error, "en") == "Check the software that made it."
    assert next_step(error, "vi") == "Kiểm tra phần mềm đã tạo dữ liệu này."


def test_a_forgotten_detail_does_not_hide_the_outcome() -> None:
    for language in LANGUAGES:
        assert "…" in text(FormatError("format_too_large"), language)


def test_details_are_not_templates_themselves() -> None:
    assert "{limit}" in text(RequestError("agency_code_malformed", code="{limit}"), "en")


def test_a_code_of_another_family_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="signature_invalid is no code of FormatError"):
        text(FormatError("signature_invalid"), "en")


def test_one_outcome_may_belong_to_two_families() -> None:
    assert entry_of(TrustError("stanza_unusable")) is entry_of(errors.NotNow("stanza_unusable"))
