"""The receipt chain: every way in which a link can be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError, TrustError
from protocol.receipt import ChainHead, Receipt, ReceiptCode, check_receipt, verify_chain
from tests.support import samples
from tests.support.errors import expects

Links = list[tuple[Receipt, bytes]]


def _verify(links: Links) -> ChainHead:
    return verify_chain(samples.consignment(), samples.consignment_digest(), links)


def test_an_empty_chain_waits_for_the_arrival_behind_the_consignment() -> None:
    head = _verify([])
    assert (head.sequence, head.previous, head.collected, head.epoch) == (0, samples.consignment_digest(), False, 0)


def test_a_whole_life_verifies() -> None:
    links = samples.chain(1, 100, 3, 4, 4, 15, 5, 6)
    head = _verify(links)
    assert (head.sequence, head.previous, head.collected) == (8, links[-1][1], True)


@given(st.lists(st.sampled_from([2, 3, 4, 5, 6, 15, 16]), max_size=6), st.data())
def test_no_receipt_can_be_dropped_doubled_or_moved(codes: list[int], data: st.DataObject) -> None:
    links = samples.chain(1, *codes)
    _verify(links)
    other = data.draw(st.lists(st.integers(0, len(links) - 1), max_size=len(links) + 1))
    reordered = [links[index] for index in other]
    if reordered == links[: len(reordered)]:
        assert _verify(reordered).sequence == len(reordered)
    else:
        with pytest.raises(TrustError):
            _verify(reordered)


def test_a_missing_receipt_is_a_gap() -> None:
    links = samples.chain(1, 3, 4)
    with expects("receipt_chain_gap", TrustError, field="sequence") as caught:
        _verify([links[0], links[2]])
    assert caught[0].detail == {"expected": 1, "found": 2}


def test_two_receipts_with_one_sequence_are_a_fork() -> None:
    links = samples.chain(1, 3)
    with expects("receipt_chain_fork", TrustError, field="previous") as caught:
        _verify([*links, samples.next_link(links[:1], code=2)])
    assert caught[0].detail == {"sequence": 1}


def test_a_receipt_that_follows_another_one_is_a_fork() -> None:
    links = samples.chain(1)
    with expects("receipt_chain_fork", TrustError):
        _verify([*links, samples.next_link(links, code=3, previous=samples.digest("another arrival"))])


def test_an_arrival_that_follows_another_consignment_is_a_fork() -> None:
    with expects("receipt_chain_fork", TrustError):
        _verify([samples.next_link([], previous=samples.digest("another consignment"))])


@pytest.mark.parametrize(
    "changes",
    [{"consignment": bytes(32)}, {"envelope": bytes(32)}, {"issuer": "G22"}, {"recipient": "G22"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_receipt_of_another_consignment_is_foreign(changes: dict[str, Any]) -> None:
    with expects("receipt_chain_foreign", TrustError, field="consignment"):
        _verify([samples.next_link([], **changes)])


def test_a_chain_goes_on_under_another_incarnation_with_the_next_sequence() -> None:
    links = samples.chain(1, 3)
    links.append(samples.next_link(links, code=4, incarnation=bytes(16)))
    links.append(samples.next_link(links, code=5))
    assert _verify(links).sequence == 4


def test_another_incarnation_may_not_start_the_chain_again() -> None:
    links = samples.chain(1, 3)
    with expects("receipt_chain_fork", TrustError):
        _verify([*links, samples.next_link([], incarnation=bytes(16))])


def test_a_chain_goes_on_at_the_new_host() -> None:
    links = samples.chain(1)
    links.append(samples.next_link(links, code=3, epoch=2))
    assert _verify(links).epoch == 2


def test_a_former_host_cannot_go_on_with_the_chain() -> None:
    links = samples.chain(1, epoch=2)
    with expects("receipt_chain_epoch", TrustError, field="epoch") as caught:
        _verify([*links, samples.next_link(links, code=3, epoch=1)])
    assert caught[0].detail == {"expected": 2, "found": 1}


def test_collected_is_said_at_most_once() -> None:
    with expects("receipt_collected_twice", TrustError, field="code"):
        _verify(samples.chain(1, 100, 3, 100))


def test_collected_may_come_after_the_final_status() -> None:
    assert _verify(samples.chain(1, 2, 100)).collected


def test_a_head_does_not_change_when_it_is_extended() -> None:
    head = ChainHead.start(samples.consignment(), samples.consignment_digest())
    receipt, digest = samples.chain(1)[0]
    assert head.extend(receipt, digest) != head
    assert head.sequence == 0


def test_a_malformed_receipt_never_extends_a_chain() -> None:
    with expects("receipt_code_unknown", FormatError, field="code"):
        _verify([(replace(samples.receipt(), code=7), bytes(32))])


def test_the_first_receipt_must_say_arrived_and_no_other_may() -> None:
    with expects("receipt_not_arrived_first", FormatError):
        check_receipt(samples.receipt(code=3))
    with expects("receipt_not_arrived_first", FormatError):
        check_receipt(samples.receipt(sequence=1))


def test_a_return_needs_a_reason() -> None:
    with expects("receipt_reason_missing", FormatError, field="reason"):
        check_receipt(samples.receipt(sequence=1, code=2))


@pytest.mark.parametrize("code", [15, 16])
def test_an_answer_names_the_request_it_answers(code: int) -> None:
    check_receipt(samples.receipt(sequence=1, code=code, request=samples.digest("request")))
    with expects("receipt_request", FormatError, field="request"):
        check_receipt(samples.receipt(sequence=1, code=code))


def test_receipt_codes_are_the_statuses_and_collected() -> None:
    assert sorted(ReceiptCode) == [1, 2, 3, 4, 5, 6, 15, 16, 100]
