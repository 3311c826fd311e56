"""Consignments: the derived id."""

from __future__ import annotations

import hashlib
from typing import Any

from protocol.consignment import check_consignment, consignment_id
from protocol.encoding import lp
from protocol.errors import FormatError
from tests.support import samples
from tests.support.errors import expects


def test_the_id_is_the_hash_of_format_issuer_envelope_and_recipient() -> None:
    envelope = samples.digest("envelope")
    written_out = (
        b"\x00\x00\x00\x12truc/consignment/1\x00\x00\x00\x03G12\x00\x00\x00\x20" + envelope + b"\x00\x00\x00\x03H38"
    )
    assert consignment_id("G12", envelope, "H38") == hashlib.sha256(written_out).digest()
    assert written_out == lp("truc/consignment/1", "G12", envelope, "H38")


def test_the_id_does_not_depend_on_the_time_of_signing() -> None:
    assert samples.consignment().id == samples.consignment(created_ms=1).id


def test_another_recipient_issuer_or_envelope_is_another_consignment() -> None:
    changed: list[dict[str, Any]] = [{"recipient": "G22"}, {"issuer": "G22"}, {"envelope": samples.digest("other")}]
    ids = {samples.consignment(**change).id for change in changed} | {samples.consignment().id}
    assert len(ids) == 4


def test_a_consignment_to_another_agency_passes() -> None:
    check_consignment(samples.consignment())


def test_a_consignment_to_its_own_issuer_is_refused() -> None:
    with expects("consignment_to_itself", FormatError, field="recipient"):
        check_consignment(samples.consignment(recipient="G12"))
