"""Codes are parsed strictly, compared by whole components, and folded only for search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.agency_code import (
    AgencyCode,
    components,
    fold_code,
    fold_name,
    is_ancestor,
    is_new_form,
    is_old_form,
    level_one,
    parse_agency_code,
    parse_centre_code,
    read_agency_code,
    read_centre_code,
    search_name,
)
from protocol.errors import FormatError, RequestError
from tests.support.errors import expects
from tests.support.vectors import load

ROWS = load("agency_codes")
PARSERS = {"centre": (parse_centre_code, read_centre_code, "format_centre_code")}
AGENCY = (parse_agency_code, read_agency_code, "format_agency_code")


@pytest.mark.parametrize("row", [row for row in ROWS if "text" in row], ids=lambda row: row["name"])
def test_a_code_is_taken_or_refused_as_its_vector_says(row: dict[str, Any]) -> None:
    parse, read, read_error = PARSERS.get(row.get("form", ""), AGENCY)
    if "error" in row:
        with expects(row["error"], RequestError, field="issuer"):
            parse(row["text"], field="issuer")
        with expects(read_error, FormatError, field="issuer"):
            read(row["text"], field="issuer")
        return
    assert parse(row["text"]) == read(row["text"]) == row["text"]
    if row["form"] != "centre":
        assert (is_old_form(row["text"]), is_new_form(row["text"])) == (row["form"] == "old", row["form"] == "new")
        assert level_one(row["text"]) == row["level_one"]


@pytest.mark.parametrize("row", [row for row in ROWS if "above" in row], ids=lambda row: row["name"])
def test_ancestry_is_as_its_vector_says(row: dict[str, Any]) -> None:
    assert is_ancestor(row["above"], row["below"]) is row["ancestor"]


def test_a_number_prefix_is_no_ancestor() -> None:
    assert is_ancestor("H38", "H38.1")
    assert not is_ancestor("H38.1", "H38.12")
    assert not is_ancestor("H38.1", "H38.1")


NEW = st.from_regex(r"[A-Z][0-9]{2}(\.[0-9A-Z]{1,4}){0,4}", fullmatch=True)


@given(NEW, NEW)
def test_ancestry_is_strict_and_one_way(one: str, other: str) -> None:
    above, below = parse_agency_code(one), parse_agency_code(other)
    assert not (is_ancestor(above, below) and is_ancestor(below, above))
    assert not is_ancestor(above, above)
    assert is_ancestor(above, AgencyCode(above + ".1"))
    assert components(above)[0] == level_one(above)
    assert ".".join(components(above)) == above


@given(st.text(max_size=50))
def test_any_text_is_a_code_as_it_stands_or_a_request_error(text: str) -> None:
    try:
        assert parse_agency_code(text) == text
    except RequestError as error:
        shown = error.detail["code"]
        assert isinstance(shown, str)
        assert shown.isprintable()
        assert shown.isascii()


def test_an_error_repeats_a_wrong_code_short_and_visible() -> None:
    with expects("agency_code_malformed") as caught:
        parse_agency_code("H38\u202e\n" + "x" * 100_000)
    assert caught[0].detail["code"] == "H38\\u202e\\n" + "x" * 35


def test_the_components_of_an_old_form_code_have_no_meaning() -> None:
    with pytest.raises(AssertionError):
        components(parse_agency_code("000.00.12.H38"))


def test_the_level_of_what_is_no_code_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        level_one("nothing")


@pytest.mark.parametrize("dirty", ["H38.12", " h38.12 ", "H38\u200b.12", "\ufeffH38.12\u00a0", "h38.12\n"])
def test_dirty_spellings_of_a_code_meet(dirty: str) -> None:
    assert fold_code(dirty) == "H38.12"


def test_the_vietnamese_d_in_a_code_meets_the_plain_one() -> None:
    assert fold_code("H37.ĐN.001") == fold_code("H37.dn.001") == "H37.DN.001"


def test_names_meet_across_composition_case_and_blanks_but_keep_their_marks() -> None:
    composed, apart = "Sở Nội vụ", "So\u031b\u0309 No\u0323\u0302i vu\u0323"
    assert fold_name("  SỞ  NỘI VỤ\u200b ") == fold_name(composed) == fold_name(apart)
    assert fold_name("Sở Nội vụ") != fold_name("So Noi vu")


def test_a_search_finds_names_without_their_marks() -> None:
    assert search_name("Ủy ban nhân dân tỉnh Lào Cai") == "uy ban nhan dan tinh lao cai"
    assert search_name("ĐẮK LẮK") == search_name("Đắk Lắk") == "dak lak"
    assert search_name("Thừa Thiên Huế – Đà Nẵng") == "thua thien hue – da nang"


VIETNAMESE = st.text(
    "aăâbdđeêhioôơuưyAĂĐƠƯ ỷỶậẬ\u0300\u0301\u0303\u0309\u0323\u031b\u0302\u0306\u200b\u00a0 .12", max_size=40
)


@given(VIETNAMESE)
def test_folding_twice_changes_nothing_more(text: str) -> None:
    for fold in (fold_name, search_name, fold_code):
        assert fold(fold(text)) == fold(text)


@given(VIETNAMESE)
def test_names_that_meet_when_compared_meet_when_searched(text: str) -> None:
    assert search_name(text) == search_name(fold_name(text)) == search_name(text.upper())
