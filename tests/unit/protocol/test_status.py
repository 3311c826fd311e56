"""The status table: what is accepted, what is flagged, what is impossible."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RequestError
from protocol.status import STATUSES, SentBy, StatusFlag, judge_status, status_name
from tests.support.errors import expects


def _judge(history: list[int], code: int, *, reason: bool = True, pending: bool = False) -> StatusFlag:
    return judge_status(history, code, has_reason=reason, request_pending=pending)


_TABLE = {1: {2, 3, 4, 5, 6}, 3: {4, 5, 6}, 4: {4, 5, 6}, 5: {5, 6}, 6: set[int]()}
"""Written down again by hand from the regulation."""


@pytest.mark.parametrize(("last", "code"), list(product(_TABLE, (2, 3, 4, 5, 6))))
def test_exactly_what_stands_in_the_table_has_no_flag(last: int, code: int) -> None:
    history = [1] if last == 1 else [1, last]
    expected = StatusFlag.NONE if code in _TABLE[last] else StatusFlag.OUT_OF_ORDER
    if code == last and code not in _TABLE[last]:
        expected = StatusFlag.REPEATED
    assert _judge(history, code) is expected


def test_a_collected_document_is_judged_by_its_last_status() -> None:
    assert _judge([1, 100], 3) is StatusFlag.NONE
    assert _judge([1, 3, 100], 3) is StatusFlag.REPEATED
    assert _judge([1, 6, 100], 4) is StatusFlag.OUT_OF_ORDER


@pytest.mark.parametrize("answer", [15, 16])
def test_an_answer_to_a_pending_request_is_never_out_of_order(answer: int) -> None:
    for history in ([1], [1, 3], [1, 3, 6], [1, 15]):
        assert _judge(history, answer, pending=True) is StatusFlag.NONE


def test_after_an_answer_processing_goes_on_where_it_stood() -> None:
    assert _judge([1, 3, 16], 4) is StatusFlag.NONE
    assert _judge([1, 3, 16], 3) is StatusFlag.REPEATED


@pytest.mark.parametrize("answer", [15, 16])
def test_an_answer_without_a_request_is_refused(answer: int) -> None:
    with expects("status_without_request", RequestError, field="status") as caught:
        _judge([1, 3], answer)
    assert caught[0].detail == {"code_given": answer}


@pytest.mark.parametrize("code", [1, 13, 100])
def test_arrived_take_back_and_collected_are_not_a_recipients_softwares_to_send(code: int) -> None:
    with expects("status_not_yours", RequestError, field="status") as caught:
        _judge([1], code)
    assert caught[0].detail == {"code_given": code}


@pytest.mark.parametrize("code", [0, 7, 14, 17, 99, -1])
def test_an_unknown_status_is_refused(code: int) -> None:
    with expects("status_unknown", RequestError, field="status") as caught:
        _judge([1], code)
    assert caught[0].detail == {"code_given": code}


def test_nothing_has_a_status_before_it_arrived() -> None:
    with expects("status_before_arrival", RequestError, field="status"):
        _judge([], 3)


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 15, 16])
def test_a_returned_document_takes_no_further_status(code: int) -> None:
    with expects("status_after_refusal", RequestError, field="status"):
        _judge([1, 2, 100], code, pending=True)


def test_a_return_needs_a_reason() -> None:
    assert _judge([1], 2) is StatusFlag.NONE
    with expects("status_reason_missing", RequestError, field="reason") as caught:
        _judge([1], 2, reason=False)
    assert caught[0].detail == {"code_given": 2}


@given(st.lists(st.sampled_from([3, 4, 5, 6, 100]), max_size=12), st.sampled_from([2, 3, 4, 5, 6]))
def test_whatever_the_order_a_status_after_arrival_is_never_refused(history: list[int], code: int) -> None:
    assert _judge([1, *history], code) in StatusFlag


def test_every_status_has_a_name_in_both_languages() -> None:
    for code, row in STATUSES.items():
        assert status_name(code, "vi") == row.vi != ""
        assert status_name(code, "en") == row.en != ""
    assert status_name(77, "vi") == "77"
    assert status_name(7, "en") == "07"


def test_who_sends_what_is_as_in_the_regulation() -> None:
    by = {code: row.sent_by for code, row in STATUSES.items()}
    assert [code for code in by if by[code] is SentBy.NODE] == [1, 100]
    assert [code for code in by if by[code] is SentBy.SENDER] == [13]
    assert [code for code in by if by[code] is SentBy.RECIPIENT] == [2, 3, 4, 5, 6, 15, 16]
