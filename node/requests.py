"""What a centre or agency hands to its registrar: signed requests, made where the keys are.

Obeys DECISIONS "Joining before gossip exists" (`truc init` writes `centre-request.truc`).
Formats are `protocol/directory.py`, the proof of possession `protocol/requests.py`, the
registrar's answer `authority.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from protocol.directory import (
    AGENCY_REQUEST,
    ALGORITHM_X25519,
    CENTRE_REQUEST,
    AgencyRequest,
    CentreRequest,
    KeyEntry,
    Names,
    check,
)
from protocol.encoding import Format
from protocol.limits import DAY_MS
from protocol.signing import PublicKey, Signed, Signer, countersign, sign

T = TypeVar("T")

KEY_LIFE_MS: Final = 5 * 365 * DAY_MS
"""How long a new key is valid unless it is rotated before."""


def key_entry(key: PublicKey, now_ms: int, *, life_ms: int = KEY_LIFE_MS) -> KeyEntry:
    """The directory entry of a signing key that is valid from now."""
    return KeyEntry(algorithm=key.algorithm, raw=key.raw, from_ms=now_ms, until_ms=now_ms + life_ms)


def make_centre_request(
    *, code: str, names: Names, peer_id: str, signers: Sequence[Signer], sealing_raw: bytes, now_ms: int
) -> Signed:
    """What `truc init` writes: the centre's public keys, signed by each operational key it lists.

    Raises:
        FormatError: `format_field` and others of `directory.read` (a wrong code or name).
    """
    keys = [signer.public for signer in signers]
    request = centre_request(code=code, names=names, peer_id=peer_id, keys=keys, sealing=[sealing_raw], now_ms=now_ms)
    return signed_by_all(CENTRE_REQUEST, request, signers)


def centre_request(
    *, code: str, names: Names, peer_id: str, keys: Sequence[PublicKey], sealing: Sequence[bytes], now_ms: int
) -> CentreRequest:
    """What each of these operational keys has to sign. Raises: FormatError, as `directory.check`."""
    until_ms = now_ms + KEY_LIFE_MS
    request = CentreRequest(
        created_ms=now_ms,
        code=code,
        names=names,
        peer_id=peer_id,
        keys=tuple(key_entry(key, now_ms) for key in keys),
        sealing=tuple(
            KeyEntry(algorithm=ALGORITHM_X25519, raw=raw, from_ms=now_ms, until_ms=until_ms) for raw in sealing
        ),
    )
    check(request)
    return request


def make_agency_request(request: AgencyRequest, signers: Sequence[Signer]) -> Signed:
    """A request signed by every key it lists, or without keys by its host's operational key. Raises: FormatError."""
    return signed_by_all(AGENCY_REQUEST, request, signers)


def signed_by_all(form: Format[T], value: T, signers: Sequence[Signer]) -> Signed:
    """A checked statement with the signature of each of these. Raises: FormatError, as `directory.check`."""
    check(value)
    signed = sign(form.name, form.encode(value), signers[0])
    for signer in signers[1:]:
        signed = countersign(signed, signer)
    return signed
