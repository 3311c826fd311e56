"""Requests to be registered: is the key in the hands of whoever asks?

Spec: `spec/trust.md` §6 (DECISIONS: "the key signs the request that registers it; X25519 keys
are vouched for by the operational key"). What a registrar makes of a request is its own
decision (`node/authority.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from protocol.court import signers_of
from protocol.directory import AGENCY_REQUEST, CENTRE_REQUEST, AgencyRequest, CentreRequest, read
from protocol.encoding import Format
from protocol.entitlement import Lookup, centre_keys, valid_keys
from protocol.errors import FormatError, NotNow, TrustError
from protocol.signing import PublicKey, Signed, Verifier

T = TypeVar("T")


def check_centre_request(signed: Signed, verifier: Verifier) -> CentreRequest:
    """A request whose operational keys all signed it.

    Raises:
        FormatError: `format_other`, and as `directory.read`.
        TrustError: `directory_possession`, `signature_invalid`.
    """
    request = _read_as(CENTRE_REQUEST, signed)
    _possession(signed, valid_keys(request.keys, request.created_ms), len(request.keys), verifier)
    return request


def check_agency_request(signed: Signed, lookup: Lookup, verifier: Verifier) -> AgencyRequest:
    """A request signed by every key it lists, or without keys by its host's operational key.

    Raises:
        FormatError: `format_other`, and as `directory.read`.
        TrustError: `directory_possession`, `signature_invalid`.
    """
    request = _read_as(AGENCY_REQUEST, signed)
    listed = (*request.keys, *request.delegation.keys)
    if listed:
        distinct = {entry.key_id for entry in listed}
        _possession(signed, valid_keys(listed, request.created_ms), len(distinct), verifier)
    else:
        _possession(signed, centre_keys(lookup, request.host, request.created_ms).keys, 1, verifier)
    return request


def _read_as(form: Format[T], signed: Signed) -> T:
    if signed.format != form.name:
        raise FormatError("format_other", found=signed.format, wanted=form.name)
    return read(form, signed.statement)


def _possession(signed: Signed, keys: Mapping[bytes, PublicKey], needed: int, verifier: Verifier) -> None:
    try:
        signers_of(signed, keys, verifier, needed=needed)
    except NotNow as error:
        raise TrustError("directory_possession") from error
    except TrustError as error:
        raise TrustError("directory_possession") if error.code == "directory_threshold" else error from error
