"""The folded text: what is found where, after any changes, and how it is folded."""

from __future__ import annotations

from bisect import insort
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.directory_text import (
    BLOCK_LINES,
    FoldedText,
    Question,
    code_of,
    damaged_line,
    folded,
    line_of,
    words_of,
)
from protocol.agency_code import search_name
from protocol.directory import AgencyRecord, Names, RecordState


def record(code: str, name: str = "Cơ quan", **more: Any) -> AgencyRecord:
    base = {"registrar": "level-1", "generation": 1, "number": 1, "created_ms": 1, "epoch": 1, "host": "00.01.W00"}
    return AgencyRecord(**{**base, "code": code, "names": Names(vi=name), **more})


def line(code: str, name: str = "Cơ quan", *, state: RecordState = RecordState.ACTIVE, **more: Any) -> bytes:
    return line_of(record(code, name, **more), state)


def found(text: FoldedText, after: str = "", **asked: Any) -> list[str]:
    return [code for code in text.find(Question(**asked), after) if code is not None]


def many(count: int) -> FoldedText:
    """Codes H10.0000 … in order."""
    text = FoldedText()
    lines = [line(f"H10.{n:04d}", f"Xã số {n}", parent="H10") for n in range(count)]
    for at in range(0, count, BLOCK_LINES):
        text.append(lines[at : at + BLOCK_LINES])
    return text


@given(st.text(max_size=40))
def test_folding_fast_gives_what_folding_slowly_gives(text: str) -> None:
    assert folded(text) == " ".join(search_name(text).replace("ð", "d").split())


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Ủy ban nhân dân xã Đắk Lắk", "uy ban nhan dan xa dak lak"),
        ("Ðình", "dinh"),
        ("  SỞ\u200b  Y TẾ ", "so y te"),
        ("000.00.12.H38", "000.00.12.h38"),
        ("中央", "中央"),
    ],
)
def test_what_people_type_and_what_is_registered_fold_alike(text: str, plain: str) -> None:
    assert folded(text) == plain


def test_words_are_asked_for_once_the_rarest_first_and_not_without_end() -> None:
    assert words_of("xã ủy Phường XÃ") == (b"phuong", b"xa", b"uy")
    assert len(words_of(" ".join(f"w{n}" for n in range(99)))) == 16


def test_all_words_must_stand_in_one_line() -> None:
    text = FoldedText()
    text.append([line("H01", "Sở Y tế"), line("H02", "Sở Tài chính", aliases=("000.00.02.H02",))])
    assert found(text, words=words_of("te so")) == ["H01"]
    assert found(text, words=words_of("y chinh")) == []
    assert found(text, words=words_of("00.02.h02")) == ["H02"]


def test_the_other_fields_are_no_words() -> None:
    text = FoldedText()
    text.append([line("H10.1", "Sở", host="00.77.W00", parent="H10", kind="Cục")])
    for word in ("00.77.w00", "cuc", "0"):
        hits = found(text, words=words_of(word))
        assert hits == (["H10.1"] if word == "0" else [])


def test_a_damaged_agency_is_found_by_its_code_and_by_nothing_else() -> None:
    text = FoldedText()
    text.append([line("H10"), damaged_line("H10.1"), line("H10.2", parent="H10")])
    assert found(text, words=words_of("h10.1")) == ["H10.1"]
    assert found(text, words=words_of("co quan")) == ["H10", "H10.2"]
    assert found(text, state=RecordState.ACTIVE) == ["H10", "H10.2"]
    assert found(text, top=True) == ["H10"]
    assert found(text, parent="H10") == ["H10.1", "H10.2"]


def test_components_count_whole_and_prefixes_letter_by_letter() -> None:
    text = FoldedText()
    for code in ("000.00.01.H10", "H10", "H10.1", "H10.1.5", "H10.12", "H11"):
        text.put(code, line(code, parent="H10" if code == "H10.1" else ""))
    assert found(text, under="H10") == ["000.00.01.H10", "H10.1", "H10.1.5", "H10.12"]
    assert found(text, under="H10.1") == ["H10.1.5"]
    assert found(text, prefix="H10.1") == ["H10.1", "H10.1.5", "H10.12"]
    assert found(text, parent="H10") == ["000.00.01.H10", "H10.1"]
    assert found(text, parent="000.00.01.H10") == []


def test_pages_join_without_gap_or_repetition() -> None:
    text = many(500)
    for size in (1, 63, 64, 65, 200):
        seen: list[str] = []
        while page := found(text, seen[-1] if seen else "", prefix="H10.")[:size]:
            seen += page
        assert seen == [f"H10.{n:04d}" for n in range(500)]


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["Xã", "Phường"])), max_size=300))
def test_puts_in_any_order_leave_one_sorted_line_for_each_code(puts: list[tuple[int, str]]) -> None:
    text, names, order = FoldedText(), dict[str, str](), list[str]()
    for number, name in puts:
        code = f"H{number // 20:02d}.{number}"
        text.put(code, line(code, name))
        if code not in names:
            insort(order, code)
        names[code] = name
    assert (found(text), text.count) == (order, len(order))
    assert found(text, words=(b"xa",)) == [code for code in order if names[code] == "Xã"]


def test_lines_put_while_somebody_reads_neither_repeat_nor_hide_others() -> None:
    text = many(300)
    seen: list[str] = []
    for number, code in enumerate(text.find(Question(prefix="H10."))):
        if code is not None:
            seen.append(code)
        else:
            for n in range(20):
                fresh = f"H10.{n * 15:04d}A{number % 10}"
                text.put(fresh, line(fresh))
    plain = [code for code in seen if "A" not in code]
    assert plain == [f"H10.{n:04d}" for n in range(300)]
    assert seen == sorted(set(seen))


def test_a_line_names_its_code() -> None:
    assert code_of(line("H10.1")) == code_of(damaged_line("H10.1")) == "H10.1"
