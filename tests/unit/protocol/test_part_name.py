"""File names and media types: every trick that has a name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Findings, RequestError
from protocol.part_name import check_media_type, check_part_name, check_part_names, compared_name
from tests.support.errors import expects
from tests.support.statement_vectors import FOLDER

_VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "part_names.json").read_text(encoding="utf-8"))
_PDF = "application/pdf"


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_vectors_of_part_names(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with expects(vector["error"], RequestError, field="parts[0].name"):
            check_part_name(vector["part_name"], "parts[0].name")
    else:
        check_part_name(vector["part_name"])


def test_a_name_with_half_a_surrogate_pair_is_refused() -> None:
    with expects("part_name_control", RequestError):
        check_part_name("a\ud800.pdf")


@given(st.text(min_size=1, max_size=300))
def test_a_name_that_passes_is_safe_on_any_disk(name: str) -> None:
    try:
        check_part_name(name)
    except RequestError:
        return
    assert not set(name) & set('/\\:<>"|?*\x00\n')
    assert len(name.encode()) <= 255
    assert name not in (".", "..")
    assert not name.endswith((" ", "."))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.pdf", "a.pdf"),
        ("a.pdf", "A.PDF"),
        ("Tờ trình.doc", "To\u031b\u0300 tri\u0300nh.doc"),
        ("a.pdf", "a\u200b.pdf"),
        ("Đ.txt", "đ.txt"),
    ],
)
def test_two_names_that_a_person_or_disk_takes_for_one_are_refused(first: str, second: str) -> None:
    assert compared_name(first) == compared_name(second)
    with expects("part_name_repeated", Findings, field="parts[1].name"):
        check_part_names([(first, _PDF), (second, _PDF)])


def test_names_that_differ_pass() -> None:
    check_part_names([("a.pdf", _PDF), ("a.docx", _PDF), ("á.pdf", _PDF)])


def test_all_mistakes_in_a_list_are_told_at_once() -> None:
    with expects("part_name_path", Findings) as caught:
        check_part_names([("../a", _PDF), ("b", "nonsense"), ("B", _PDF)])
    assert isinstance(caught[0], Findings)
    assert [(finding.code, finding.field) for finding in caught[0].findings] == [
        ("part_name_path", "parts[0].name"),
        ("part_media_type_malformed", "parts[1].media_type"),
        ("part_name_repeated", "parts[2].name"),
    ]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/pdf",
        "text/plain; charset=utf-8",
        "text/plain;charset=utf-8",
        'text/plain; charset="utf-8"; format=flowed',
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "image/svg+xml",
        "a/" + "b" * 127 + ";" + "c" * 60 + "=" + "d" * 64,
    ],
)
def test_media_types_in_use_pass(media_type: str) -> None:
    check_media_type(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "pdf",
        "/",
        "a/",
        "/b",
        "a b/c",
        "a/b/c",
        "a/b;",
        "a/b; x",
        "a/b\n",
        "a/b\r\nX: y",
        'a/b; c="\n"',
        "á/b",
        "a/" + "b" * 254,
        "-a/b",
    ],
)
def test_what_is_no_media_type_is_refused(media_type: str) -> None:
    with expects("part_media_type_malformed", RequestError, field="media_type"):
        check_media_type(media_type)
