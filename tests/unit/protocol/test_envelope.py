"""Envelope and header: what the shape alone does not say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from protocol.envelope import (
    ENVELOPE,
    HEADER,
    HEADER_PLAIN_BYTES_MAX,
    Envelope,
    EnvelopeKind,
    Lane,
    PartRef,
    check_envelope,
    check_header,
    encode_header,
    total_size,
)
from protocol.errors import FormatError, RequestError
from protocol.limits import HEADER_BYTES_MAX, PART_BYTES_MAX, PARTS_MAX
from protocol.sealing import seal_header, sealed_size
from tests.support import samples
from tests.support.errors import expects


def test_a_valid_envelope_passes_in_every_lane_and_kind() -> None:
    for lane in Lane:
        check_envelope(samples.envelope(lane=lane))
    for kind in EnvelopeKind:
        reference = b"" if kind is EnvelopeKind.NEW else samples.digest("old")
        check_envelope(samples.envelope(kind=kind, reference=reference))


def test_an_update_may_come_without_reference_when_the_old_document_went_another_way() -> None:
    check_envelope(samples.envelope(kind=EnvelopeKind.UPDATE))
    check_envelope(samples.envelope(kind=EnvelopeKind.REPLACEMENT))


def test_a_revocation_needs_a_reference_but_no_parts() -> None:
    check_envelope(samples.envelope(0, kind=EnvelopeKind.REVOCATION, reference=samples.digest("old")))
    with expects("envelope_reference", FormatError, field="reference"):
        check_envelope(samples.envelope(kind=EnvelopeKind.REVOCATION))


def test_an_update_without_parts_is_refused() -> None:
    with expects("envelope_parts_missing", FormatError, field="parts"):
        check_envelope(samples.envelope(0, kind=EnvelopeKind.UPDATE, reference=samples.digest("old")))


def test_an_envelope_that_expires_before_it_was_made_is_refused() -> None:
    with expects("envelope_expiry", FormatError, field="expires_ms"):
        check_envelope(samples.envelope(expires_ms=samples.NOW_MS - 1))


def test_an_unknown_lane_is_named() -> None:
    with expects("envelope_lane_unknown", FormatError, field="lane") as caught:
        check_envelope(samples.envelope(lane=9))
    assert caught[0].detail == {"lane": 9}


def test_the_largest_number_of_parts_fits_one_statement() -> None:
    parts = tuple(PartRef(samples.digest(f"p{index}"), sealed_size(PART_BYTES_MAX)) for index in range(PARTS_MAX))
    envelope = samples.envelope(parts=parts)
    check_envelope(envelope)
    assert len(ENVELOPE.encode(envelope)) < ENVELOPE.bytes_max


@given(st.integers(0, PART_BYTES_MAX))
def test_every_plain_size_seals_to_a_possible_part_size(plain_size: int) -> None:
    check_envelope(_with_part_of(sealed_size(plain_size)))


@given(st.integers(0, 3 * 65_552))
def test_a_part_size_is_possible_exactly_if_some_plain_size_seals_to_it(size: int) -> None:
    possible = any(sealed_size(max(0, size - 16 * chunks)) == size for chunks in range(1, 5))
    if possible:
        check_envelope(_with_part_of(size))
    else:
        with expects("envelope_part_size", FormatError, field="parts[0].size"):
            check_envelope(_with_part_of(size))


def _with_part_of(size: int) -> Envelope:
    return samples.envelope(parts=(PartRef(samples.digest("part"), size),))


def test_the_largest_plain_header_seals_to_exactly_its_bound() -> None:
    assert sealed_size(HEADER_PLAIN_BYTES_MAX) == HEADER_BYTES_MAX
    assert len(seal_header(bytes(32), bytes(HEADER_PLAIN_BYTES_MAX))) == HEADER_BYTES_MAX


def test_a_header_is_read_as_it_was_written() -> None:
    header = samples.header(3)
    assert HEADER.decode(encode_header(header)) == header


def test_five_hundred_files_with_usual_names_fit_a_header() -> None:
    assert len(encode_header(samples.header(PARTS_MAX))) < HEADER_PLAIN_BYTES_MAX


def test_a_header_with_too_many_long_names_is_refused_at_submit() -> None:
    parts = tuple(samples.part_secret(index, name=f"{index:03d}" + "x" * 250) for index in range(PARTS_MAX))
    with expects("header_too_large", RequestError, field="parts") as caught:
        encode_header(samples.header(parts=parts))
    assert caught[0].detail == {"limit": 131_040}


def test_a_header_with_a_wrong_field_is_our_mistake_and_not_called_too_large() -> None:
    with expects("format_field", FormatError):
        encode_header(samples.header(system=bytes(3)))


def test_a_header_that_fits_its_envelope_passes() -> None:
    check_header(samples.header(3), samples.envelope(3))


def test_a_header_with_fewer_parts_than_its_envelope_is_refused() -> None:
    with expects("header_parts_differ", FormatError, field="parts"):
        check_header(samples.header(2), samples.envelope(3))


def test_a_header_that_announces_another_size_is_refused() -> None:
    header = samples.header(parts=(samples.part_secret(plain_size=2**63 - 1),))
    with expects("header_parts_differ", FormatError, field="parts[0].plain_size"):
        check_header(header, samples.envelope())


def test_a_header_that_uses_one_key_for_two_parts_is_refused() -> None:
    parts = (samples.part_secret(0), samples.part_secret(1, key=samples.part_secret(0).key))
    with expects("header_key_repeated", FormatError, field="parts"):
        check_header(samples.header(parts=parts), samples.envelope(2))


def test_a_header_with_an_evil_file_name_is_refused() -> None:
    header = samples.header(parts=(samples.part_secret(name="../../etc/passwd"),))
    with expects("part_name_path", RequestError, field="parts[0].name"):
        check_header(header, samples.envelope())


def test_lanes_sort_by_urgency() -> None:
    assert sorted(Lane, reverse=True) == [Lane.HOA_TOC, Lane.THUONG_KHAN, Lane.KHAN, Lane.THUONG]


def test_the_total_size_adds_up_all_parts() -> None:
    envelope = samples.envelope(3)
    assert total_size(envelope.parts) == sum(part.size for part in envelope.parts)
    assert total_size(replace(envelope, parts=()).parts) == 0
