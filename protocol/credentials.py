"""Credentials of the national PKI in a directory record: form, making them, and what they show.

Spec: `spec/pki.md` §1, §2, §4. A certificate's holder endorses the operational key that a record
lists. The tree of trust does not depend on it, so nothing here can keep a record from being
believed. Certificates themselves, paths and revocation are `pki.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, TypeVar

from protocol.directory import AgencyRecord, CentreRecord, CentreText, CodeText
from protocol.encoding import Digest, Extensions, Format, Key, Meta, TimeMs, lp
from protocol.errors import FormatError, NotNow, TrucError, TrustError
from protocol.limits import (
    CERTIFICATE_BYTES_MAX,
    CERTIFICATES_MAX,
    CLOCK_SKEW_MS,
    ENDORSEMENT_BYTES_MAX,
    PKI_BYTES_MAX,
    PKI_PROOFS_MAX,
)
from protocol.pki import (
    Anchors,
    Certificate,
    check_dates,
    check_strength,
    check_usage,
    read_certificate,
    verify_by,
)

EXTENSION: Final = 128
"""The extension key of agency and centre records (and their requests) that carries credentials."""

Der = Annotated[bytes, Meta(min_length=1, max_length=CERTIFICATE_BYTES_MAX)]
State = Literal["valid", "invalid", "unknown"]
R = TypeVar("R", AgencyRecord, CentreRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """The holder of a certificate says that this key speaks for this code at this centre."""

    code: Annotated[CodeText, Key(1)]
    centre: Annotated[CentreText, Key(2)]
    key_id: Annotated[Digest, Key(3)]
    certificate: Annotated[Digest, Key(4)]
    created_ms: Annotated[TimeMs, Key(5)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The bytes of an endorsement, and the signature of the certificate's holder over them."""

    statement: Annotated[bytes, Meta(min_length=1, max_length=ENDORSEMENT_BYTES_MAX), Key(1)]
    signature: Annotated[bytes, Meta(min_length=1, max_length=1024), Key(2)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Certificates as DER, the holder's first, and what it endorses."""

    certificates: Annotated[tuple[Der, ...], Meta(min_length=1, max_length=CERTIFICATES_MAX), Key(1)]
    proofs: Annotated[tuple[Proof, ...], Meta(max_length=PKI_PROOFS_MAX), Key(2)] = ()
    extensions: Extensions = field(default_factory=dict)


ENDORSEMENT: Final = Format("truc/pki-endorsement/1", Endorsement, bytes_max=ENDORSEMENT_BYTES_MAX)
CREDENTIALS: Final = Format("truc/pki/1", Credentials, bytes_max=PKI_BYTES_MAX)


# --- making and reading -----------------------------------------------------------------------


def endorsed_text(statement: bytes) -> bytes:
    """The bytes that the holder's key signs: lp(format) ‖ statement."""
    return lp(ENDORSEMENT.name) + statement


def make_credentials(certificates: Sequence[Certificate], proofs: Iterable[Proof]) -> bytes:
    """The value of the extension, after checking that each proof is what the holder signed.

    Raises:
        FormatError: `format_field`, `format_too_large`, `pki_malformed` (a proof's statement).
        TrustError: `certificate_weak`, `certificate_key_usage`, `pki_proof_other` (made for another
            certificate), `pki_proof_signature`.
    """
    value = Credentials(certificates=tuple(item.der for item in certificates), proofs=tuple(proofs))
    encoded = CREDENTIALS.encode(value)
    holder = certificates[0]
    check_strength(holder, holder=True)
    check_usage(holder)
    for proof in value.proofs:
        if _endorsement(proof).certificate != holder.digest:
            raise TrustError("pki_proof_other", what="certificate")
        verify_by(holder, proof.signature, endorsed_text(proof.statement))
    return encoded


def read_credentials(record: AgencyRecord | CentreRecord) -> Credentials | None:
    """The credentials in a record; None when it has none.

    Raises:
        FormatError: `pki_malformed`.
    """
    value = record.extensions.get(EXTENSION)
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise FormatError("pki_malformed", reason="expected bytes")
    try:
        return CREDENTIALS.decode(value)
    except FormatError as error:
        raise FormatError("pki_malformed", reason=f"{error.code} {error.field}".strip()) from error


def credentials_in(extensions: Mapping[int, Any]) -> dict[int, Any]:
    """Of these extensions the one that carries credentials, if it is there."""
    return {key: value for key, value in extensions.items() if key == EXTENSION}


def endorsing(record: R, at_ms: int) -> R:
    """The record with those of its proofs alone whose key counts from now on; without its credentials if one
    of these keys has none, or if they cannot be read (§7)."""
    try:
        credentials = read_credentials(record)
        if credentials is None:
            return record
        named = [(_endorsement(proof).key_id, proof) for proof in credentials.proofs]
    except FormatError:
        return _with_credentials(record, None)
    counting = {entry.key_id for entry in record.keys if at_ms < entry.until_ms and not entry.revoked_ms}
    if not counting or not counting <= {key_id for key_id, _ in named}:
        return _with_credentials(record, None)
    return _with_credentials(record, replace(credentials, proofs=tuple(p for key_id, p in named if key_id in counting)))


def _with_credentials(record: R, credentials: Credentials | None) -> R:
    others = {key: value for key, value in record.extensions.items() if key != EXTENSION}
    if credentials is not None:
        others[EXTENSION] = CREDENTIALS.encode(credentials)
    return replace(record, extensions=others)


def _endorsement(proof: Proof) -> Endorsement:
    try:
        return ENDORSEMENT.decode(proof.statement)
    except FormatError as error:
        raise FormatError("pki_malformed", reason=f"proofs: {error.code} {error.field}".strip()) from error


# --- what they show ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a record's certificate shows. `error` says why it is not `valid`; the rest is about the
    holder's certificate, as far as it could be read, for people to see."""

    state: State
    error: TrucError | None = None
    record: str = ""
    """Code of the record whose credentials these are: the agency's own, or its host's."""
    subject: str = ""
    issuer: str = ""
    serial: str = ""
    from_ms: int = 0
    until_ms: int = 0


def judge(record: AgencyRecord | CentreRecord, keys: Iterable[bytes], anchors: Anchors, at_ms: int) -> Verdict:
    """What a record's credentials show about these keys (ids of those that count) at a moment (§2)."""
    about: dict[str, object] = {"record": record.code}
    try:
        credentials = read_credentials(record)
        if credentials is None:
            raise NotNow("pki_missing")
        certificates = [read_certificate(der) for der in credentials.certificates]
        about.update(_shown(certificates[0]))
        _check(record, tuple(keys), credentials, certificates, anchors, at_ms)
    except NotNow as error:
        return _verdict("unknown", about, error)
    except (FormatError, TrustError) as error:
        return _verdict("invalid", about, error)
    return _verdict("valid", about, None)


def _check(
    record: AgencyRecord | CentreRecord,
    keys: Sequence[bytes],
    credentials: Credentials,
    certificates: Sequence[Certificate],
    anchors: Anchors,
    at_ms: int,
) -> None:
    """Raises: FormatError, TrustError: invalid. NotNow: it cannot be told here."""
    holder, others = certificates[0], certificates[1:]
    for index, certificate in enumerate(certificates):
        check_strength(certificate, holder=index == 0)
    check_usage(holder)
    endorsed = [(_endorsement(proof), proof) for proof in credentials.proofs]
    moments = {_check_endorsed(key, record, holder, endorsed, at_ms) for key in keys}
    for moment_ms in sorted({*moments, at_ms}):
        for certificate in certificates:
            check_dates(certificate, moment_ms)
    if not keys:
        raise NotNow("pki_no_key")
    if not anchors.anchors:
        raise NotNow("pki_not_configured")
    for moment_ms in sorted(moments):
        anchors.path(holder, others, moment_ms)
    anchors.check_not_revoked(anchors.path(holder, others, at_ms), at_ms)


def _check_endorsed(
    key: bytes,
    record: AgencyRecord | CentreRecord,
    holder: Certificate,
    endorsed: Iterable[tuple[Endorsement, Proof]],
    at_ms: int,
) -> int:
    """The date of the proof for this key. Raises: TrustError: why there is none, or of the last one found."""
    failure = TrustError("pki_key_not_endorsed", key=key.hex())
    for endorsement, proof in endorsed:
        if endorsement.key_id != key:
            continue
        try:
            _check_one(endorsement, proof, record, holder, at_ms)
        except TrustError as error:
            failure = error
        else:
            return endorsement.created_ms
    raise failure


def _check_one(
    endorsement: Endorsement, proof: Proof, record: AgencyRecord | CentreRecord, holder: Certificate, at_ms: int
) -> None:
    centre = record.code if isinstance(record, CentreRecord) else record.host
    wanted = {"code": record.code, "centre": centre, "certificate": holder.digest}
    for what, value in wanted.items():
        if getattr(endorsement, what) != value:
            raise TrustError("pki_proof_other", what=what)
    if endorsement.created_ms > at_ms + CLOCK_SKEW_MS:
        raise TrustError("pki_proof_future")
    verify_by(holder, proof.signature, endorsed_text(proof.statement))


def _shown(holder: Certificate) -> Mapping[str, object]:
    return {
        "subject": holder.subject,
        "issuer": holder.issuer,
        "serial": holder.serial,
        "from_ms": holder.from_ms,
        "until_ms": holder.until_ms,
    }


def _verdict(state: State, about: Mapping[str, object], error: TrucError | None) -> Verdict:
    return Verdict(state=state, error=error, **about)  # type: ignore[arg-type]  # names and types are those of `_shown`
