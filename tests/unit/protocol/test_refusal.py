"""Refusals: which error leads to which signed no."""

from __future__ import annotations

import pytest

from protocol.errors import Findings, FormatError, RequestError, TrustError
from protocol.refusal import REFUSAL_CODES, REFUSAL_OF, check_refusal, refusal_code
from tests.support import samples
from tests.support.errors import expects


@pytest.mark.parametrize("code", sorted(REFUSAL_CODES))
def test_every_code_of_the_list_passes(code: str) -> None:
    check_refusal(samples.refusal(code=code))


def test_a_reason_that_is_only_not_now_is_no_refusal() -> None:
    with expects("refusal_code_unknown", FormatError, field="code"):
        check_refusal(samples.refusal(code="issuer_unknown"))


def test_errors_lead_only_to_codes_of_the_list() -> None:
    assert set(REFUSAL_OF.values()) <= REFUSAL_CODES


def test_an_error_in_the_issuers_bytes_leads_to_its_refusal() -> None:
    assert refusal_code(FormatError("envelope_too_many_parts")) == "too_many_parts"
    assert refusal_code(FormatError("envelope_part_size")) == "header_invalid"
    assert refusal_code(TrustError("part_damaged")) == "part_mismatch"
    assert refusal_code(FormatError("format_not_canonical")) == "header_invalid"


def test_a_secret_document_is_refused_as_such_even_among_other_mistakes() -> None:
    findings = Findings([RequestError("secrecy_marked"), RequestError("metadata_subject_empty")])
    assert refusal_code(findings) == "secrecy_marked"
