"""Metadata: every mistake is found, and all of them at once."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.document import Metadata, ResponseFor, Signer, Staff, check_metadata, is_date, is_marking
from protocol.envelope import HEADER, encode_header
from protocol.errors import Findings, FormatError
from tests.support import samples
from tests.support.errors import expects, record


def _found(metadata: Metadata) -> list[tuple[str, str]]:
    try:
        check_metadata(metadata)
    except Findings as found:
        return [(finding.code, finding.field) for finding in found.findings]
    return []


def test_full_and_bare_metadata_pass() -> None:
    check_metadata(samples.metadata())
    check_metadata(Metadata(type="Công văn", subject="V/v họp", secrecy="none"))


def test_all_mistakes_are_told_at_once_and_secrecy_first() -> None:
    metadata = samples.metadata(
        subject=" ", secrecy="", number="x" * 12, issued_on="2026-02-30", steering=3, to_places=("ok", "\x00")
    )
    assert _found(metadata) == [
        ("secrecy_missing", "metadata.secrecy"),
        ("metadata_subject_empty", "metadata.subject"),
        ("metadata_too_long", "metadata.number"),
        ("metadata_character", "metadata.to_places[1]"),
        ("metadata_out_of_range", "metadata.steering"),
        ("metadata_date_invalid", "metadata.issued_on"),
    ]


def test_the_error_itself_carries_the_first_finding() -> None:
    with expects("secrecy_missing", Findings, field="document.secrecy") as caught:
        check_metadata(samples.metadata(secrecy="", subject=""), "document")
    assert isinstance(caught[0], Findings)
    assert [finding.code for finding in caught[0].findings] == ["secrecy_missing", "metadata_subject_empty"]


@pytest.mark.parametrize("missing", ["", "  "])
def test_type_and_subject_are_compulsory(missing: str) -> None:
    with expects("metadata_type_empty", field="metadata.type"):
        check_metadata(samples.metadata(type=missing))
    with expects("metadata_subject_empty", field="metadata.subject"):
        check_metadata(samples.metadata(subject=missing))


@pytest.mark.parametrize("value", ["Mật", "mat", "TỐI MẬT", "tuyệt mật", "secret", "None", "không", "0"])
def test_any_secrecy_but_none_is_marked(value: str) -> None:
    with expects("secrecy_marked", field="metadata.secrecy"):
        check_metadata(samples.metadata(secrecy=value))


@pytest.mark.parametrize(
    "marking",
    [
        "mật",
        "MẬT",
        "mat",
        "Mật.",
        "(Tối mật)",
        "TOI MAT",
        "tốimật",
        "t.ố.i  m.ậ.t",
        "Tuyệt Mật",
        "tuyet mat",
        "T U Y Ệ T M Ậ T",
    ],
)
def test_a_marking_is_known_in_any_spelling_and_unicode_form(marking: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert is_marking(unicodedata.normalize(form, marking))
        assert _found(samples.metadata(type=unicodedata.normalize(form, marking))) == [
            ("secrecy_marked", "metadata.type")
        ]


@pytest.mark.parametrize("subject", ["(MẬT) Báo cáo quý I", "[Tối mật] Kế hoạch", "Tuyệt mật: phương án", "Mật: x"])
def test_a_marking_in_front_of_the_subject_is_found(subject: str) -> None:
    with expects("secrecy_marked", field="metadata.subject"):
        check_metadata(samples.metadata(subject=subject))


@pytest.mark.parametrize(
    "subject",
    [
        "Tăng cường bảo vệ bí mật nhà nước",
        "Mật độ dân số năm 2025: báo cáo",
        "Giá mật ong (mật)",
        "Về việc mất con dấu",
        "Mặt bằng: thu hồi đất",
        "Mật khẩu: quy định mới",
    ],
)
def test_a_subject_that_only_speaks_of_secrets_honey_or_density_passes(subject: str) -> None:
    assert _found(samples.metadata(subject=subject)) == []


@pytest.mark.parametrize(
    "date",
    ["2026-1-1", "01/01/2026", "2026-13-01", "2025-02-29", "20260101", "2026-01-01T00", "２０２６-01-01", "0000-01-01"],
)
def test_what_is_no_day_is_refused(date: str) -> None:
    assert not is_date(date)
    with expects("metadata_date_invalid", field="metadata.due_on"):
        check_metadata(samples.metadata(due_on=date))


def test_dates_of_answered_documents_are_checked_too() -> None:
    with expects("metadata_date_invalid", field="metadata.response_for[0].issued_on"):
        check_metadata(samples.metadata(response_for=(ResponseFor(issued_on="yesterday"),)))


@pytest.mark.parametrize("bad", ["\x00", "\x07", "\x1b", "\x85", "\u202e", "\u2066", "\ud800"])
def test_controls_bidi_overrides_and_half_characters_are_refused(bad: str) -> None:
    with expects("metadata_character", field="metadata.subject"):
        check_metadata(samples.metadata(subject=f"a{bad}b"))


def test_line_ends_tabs_and_zero_width_characters_of_real_data_are_carried() -> None:
    check_metadata(samples.metadata(subject="V/v\thọp\r\nngày\u200b 5"))


_TEXTS: list[tuple[str, int]] = [
    ("type", 100),
    ("number", 11),
    ("notation", 30),
    ("place", 200),
    ("subject", 500),
    ("sphere", 200),
    ("to_places[0]", 1000),
    ("task_codes[0]", 100),
    ("recipients[0]", 35),
    ("signers[0].competence", 100),
    ("signers[0].position", 100),
    ("signers[0].name", 50),
    ("response_for[0].code", 35),
    ("response_for[0].number", 11),
    ("response_for[0].notation", 30),
    ("response_for[0].document", 200),
    ("staff.name", 50),
    ("staff.position", 100),
    ("staff.contact", 200),
]


def _with(path: str, value: Any) -> Metadata:
    """Sample metadata with one text replaced."""
    name, _, inner = path.replace("[0]", "").partition(".")
    if not inner:
        return samples.metadata(**{name: (value,) if "[0]" in path else value})
    part: type[Signer | ResponseFor | Staff] = {"signers": Signer, "response_for": ResponseFor, "staff": Staff}[name]
    nested = part(**{inner: value})
    return samples.metadata(**{name: (nested,) if "[0]" in path else nested})


@pytest.mark.parametrize(("path", "limit"), _TEXTS, ids=[path for path, _ in _TEXTS])
def test_a_text_may_have_its_length_and_not_one_character_more(path: str, limit: int) -> None:
    longest = _with(path, "ữ" * limit)
    check_metadata(longest)
    header = samples.header(metadata=longest)
    assert HEADER.decode(encode_header(header)) == header
    with expects("metadata_too_long", field=f"metadata.{path}"):
        check_metadata(_with(path, "ữ" * (limit + 1)))
    with expects("format_field", FormatError):
        encode_header(samples.header(metadata=_with(path, "ữ" * (limit + 1))))


@pytest.mark.parametrize(
    ("name", "item", "limit"),
    [
        ("signers", Signer(name="A"), 50),
        ("to_places", "Lưu", 100),
        ("response_for", ResponseFor(code="H38"), 100),
        ("task_codes", "NV", 100),
        ("recipients", "H38", 1000),
    ],
)
def test_a_list_may_have_its_number_of_items_and_not_one_more(name: str, item: Any, limit: int) -> None:
    longest = samples.metadata(**{name: (item,) * limit})
    check_metadata(longest)
    encode_header(samples.header(metadata=longest))
    with expects("metadata_too_many", field=f"metadata.{name}"):
        check_metadata(samples.metadata(**{name: (item,) * (limit + 1)}))
    with expects("format_field", FormatError):
        encode_header(samples.header(metadata=samples.metadata(**{name: (item,) * (limit + 1)})))


@pytest.mark.parametrize(("name", "limit"), [("pages", 1_000_000), ("copies", 1_000_000), ("steering", 2)])
def test_a_number_stays_in_its_range(name: str, limit: int) -> None:
    for good in (0, limit):
        check_metadata(samples.metadata(**{name: good}))
    for bad in (-1, limit + 1):
        with expects("metadata_out_of_range", field=f"metadata.{name}"):
            check_metadata(samples.metadata(**{name: bad}))


@given(
    st.builds(
        replace,
        st.just(samples.metadata()),
        subject=st.text(max_size=520),
        type=st.text(max_size=110),
        secrecy=st.sampled_from(["none", "", "mật"]),
        issued_on=st.sampled_from(["", "2026-01-01", "x"]),
        pages=st.integers(-2, 5),
    )
)
def test_metadata_that_passes_can_always_be_written_and_read(metadata: Metadata) -> None:
    if not _found(metadata):
        header = samples.header(metadata=metadata)
        assert HEADER.decode(encode_header(header)) == header


def test_findings_record_every_code_they_carry() -> None:
    for code, _ in _found(samples.metadata(secrecy="", subject="", type="")):
        record(code)
    assert len(_found(samples.metadata(secrecy="", subject="", type=""))) == 3
