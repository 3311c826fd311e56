"""Certificates of the national PKI: reading them, the path to an anchor, revocation lists, signatures.

Spec: `spec/pki.md` §3 and §5. The door to X.509; the path itself is found by the library's verifier,
which knows nothing of revocation lists and little of weak keys: both are looked at here. What a
record says with a certificate, and what follows from it, is `credentials.py`. Times are parameters;
files are read by `node/pki_anchors.py`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, VerificationError

from protocol.errors import FormatError, NotNow, TrustError
from protocol.limits import (
    CERTIFICATE_BYTES_MAX,
    CERTIFICATE_PATH_MAX,
    CLOCK_SKEW_MS,
    CRL_BYTES_MAX,
    RSA_BITS_MAX,
    RSA_BITS_MIN,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
CURVES_ABOVE: Final = frozenset({"secp256r1", "secp384r1"})
CURVES_HOLDER: Final = frozenset({"secp256r1"})

_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What the library raises for bytes that are no certificate or list, at once or when a field is asked for. The
warning is raised where warnings are errors; it speaks of certificates that a later release will not read."""

_CRL_UNDERSTOOD: Final = frozenset(
    {x509.IssuingDistributionPoint.oid, x509.AuthorityKeyIdentifier.oid, x509.CRLNumber.oid}
)


# --- certificates -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that could be read; nothing in it is believed yet. Times in milliseconds."""

    der: bytes
    read: x509.Certificate = field(repr=False, compare=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the DER bytes."""
        return hashlib.sha256(self.der).digest()

    @property
    def subject(self) -> str:
        """The holder's name (RFC 4514)."""
        return self.read.subject.rfc4514_string()

    @property
    def issuer(self) -> str:
        """The issuer's name (RFC 4514)."""
        return self.read.issuer.rfc4514_string()

    @property
    def serial(self) -> str:
        """The serial number, hexadecimal."""
        return f"{self.read.serial_number:x}"

    @property
    def from_ms(self) -> int:
        """The first moment of its validity."""
        return _ms(self.read.not_valid_before_utc)

    @property
    def until_ms(self) -> int:
        """The last second of its validity."""
        return _ms(self.read.not_valid_after_utc)


def read_certificate(der: bytes) -> Certificate:
    """A certificate from its DER bytes, every field that is looked at later read once.

    Raises:
        FormatError: `certificate_malformed`.
    """
    if len(der) > CERTIFICATE_BYTES_MAX:
        raise FormatError("certificate_malformed", reason=f"> {CERTIFICATE_BYTES_MAX} byte")
    with _reading():
        return _looked_at(x509.load_der_x509_certificate(der))


def read_certificates(file: bytes) -> tuple[Certificate, ...]:
    """The certificates of a file: PEM, any number of them, or one in DER.

    Raises:
        FormatError: `certificate_malformed`.
    """
    if b"-----BEGIN" not in file:
        return (read_certificate(file),)
    with _reading():
        return tuple(map(_looked_at, x509.load_pem_x509_certificates(file)))


def _looked_at(read: x509.Certificate) -> Certificate:
    certificate = Certificate(read.public_bytes(_der()), read)
    _ = (certificate.subject, certificate.issuer, certificate.from_ms, certificate.until_ms)
    _ = (read.extensions, read.signature_algorithm_oid)
    if read.serial_number <= 0:  # RFC 5280 §4.1.2.2; the library cannot ask a list about a negative one
        raise ValueError("serial number")
    return certificate


def check_strength(certificate: Certificate, *, holder: bool) -> None:
    """Return if key and signature are of a kind that is believed (§3.1).

    Raises:
        TrustError: `certificate_weak`.
    """
    found = _weakness(certificate.read, CURVES_HOLDER if holder else CURVES_ABOVE)
    if found:
        raise TrustError("certificate_weak", subject=certificate.subject, found=found)


def _weakness(read: x509.Certificate, curves: frozenset[str]) -> str:
    try:
        signed_by = read.signature_hash_algorithm
        key = read.public_key()
    except _UNREADABLE as error:
        return type(error).__name__
    if signed_by is None or signed_by.name not in HASHES:
        return f"signature {'?' if signed_by is None else signed_by.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX else f"RSA-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in curves else key.curve.name
    return type(key).__name__


def check_usage(certificate: Certificate) -> None:
    """Return if the holder's key may sign (§3.2).

    Raises:
        TrustError: `certificate_key_usage`.
    """
    usage = _extension(certificate.read, x509.KeyUsage)
    if usage is None or not (usage.digital_signature or usage.content_commitment):
        raise TrustError("certificate_key_usage", subject=certificate.subject)


def check_dates(certificate: Certificate, at_ms: int) -> None:
    """Return if the moment lies within the certificate's dates (§3.3).

    Raises:
        TrustError: `certificate_not_yet_valid`, `certificate_expired`.
    """
    if at_ms < certificate.from_ms:
        raise TrustError("certificate_not_yet_valid", subject=certificate.subject, day=_day(certificate.from_ms))
    if at_ms > certificate.until_ms:
        raise TrustError("certificate_expired", subject=certificate.subject, day=_day(certificate.until_ms))


def verify_by(certificate: Certificate, signature: bytes, text: bytes) -> None:
    """Return if the holder's key signed these bytes; the algorithm follows from the key (§1).

    Raises:
        TrustError: `pki_proof_signature`.
    """
    key = certificate.read.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        else:
            assert isinstance(key, ec.EllipticCurvePublicKey), "check_strength lets no other key through"
            key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TrustError("pki_proof_signature") from error


# --- revocation lists -------------------------------------------------------------------------


class RevocationList:
    """A certificate revocation list that could be read and is of a kind that is used (§5)."""

    def __init__(self, read: x509.CertificateRevocationList) -> None:
        """Raises: ValueError: it is of another kind."""
        self._read: Final = read
        self._scope: Final = _scope(read)
        next_update = read.next_update_utc
        if next_update is None:
            raise ValueError("no nextUpdate")
        if read.signature_hash_algorithm is None or read.signature_hash_algorithm.name not in HASHES:
            raise ValueError("weak signature")
        self.this_ms: Final = _ms(read.last_update_utc)
        self.next_ms: Final = _ms(next_update)
        self.issuer: Final = read.issuer
        self._verified: dict[bytes, bool] = {}

    @property
    def issuer_name(self) -> str:
        """The issuer's name (RFC 4514)."""
        return self.issuer.rfc4514_string()

    def covers(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Whether this list speaks of this certificate: issuer, scope and signature."""
        return self.issuer == certificate.read.issuer and self._in_scope(certificate) and self._signed_by(issuer)

    def is_fresh(self, at_ms: int) -> bool:
        """Whether the list may be relied on at this moment."""
        return self.this_ms - CLOCK_SKEW_MS <= at_ms <= self.next_ms

    def reason_of(self, certificate: Certificate) -> str:
        """Why the certificate is revoked; empty when it is not. One pass over the list."""
        entry = self._read.get_revoked_certificate_by_serial_number(certificate.read.serial_number)
        if entry is None:
            return ""
        try:
            return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
        except (x509.ExtensionNotFound, *_UNREADABLE):
            return x509.ReasonFlags.unspecified.value

    def _in_scope(self, certificate: Certificate) -> bool:
        scope = self._scope
        if scope is None:
            return True
        constraints = _extension(certificate.read, x509.BasicConstraints)
        is_ca = constraints is not None and constraints.ca
        if (scope.only_contains_ca_certs and not is_ca) or (scope.only_contains_user_certs and is_ca):
            return False
        if scope.full_name is None:
            return scope.relative_name is None
        points = _extension(certificate.read, x509.CRLDistributionPoints) or ()
        named = [name for point in points for name in point.full_name or ()]
        return any(name in named for name in scope.full_name)

    def _signed_by(self, issuer: Certificate) -> bool:
        """Remembered, for a large list takes a while to hash."""
        if issuer.digest not in self._verified:
            self._verified[issuer.digest] = _may_sign_lists(issuer.read) and _has_signed(self._read, issuer.read)
        return self._verified[issuer.digest]


def read_crl(file: bytes) -> RevocationList:
    """A revocation list, PEM or DER.

    Raises:
        FormatError: `crl_malformed` (unreadable, too large, or of a kind that is not used).
    """
    if len(file) > CRL_BYTES_MAX:
        raise FormatError("crl_malformed", reason=f"> {CRL_BYTES_MAX} byte")
    load = x509.load_pem_x509_crl if b"-----BEGIN" in file[:1024] else x509.load_der_x509_crl
    try:
        return RevocationList(load(file))
    except _UNREADABLE as error:
        raise FormatError("crl_malformed", reason=str(error) or type(error).__name__) from error


def _scope(read: x509.CertificateRevocationList) -> x509.IssuingDistributionPoint | None:
    """What the list says it is about. Raises: ValueError: more than is understood here."""
    scope: x509.IssuingDistributionPoint | None = None
    for extension in read.extensions:
        if extension.oid == x509.DeltaCRLIndicator.oid:
            raise ValueError("delta list")
        if extension.critical and extension.oid not in _CRL_UNDERSTOOD:
            raise ValueError(f"critical extension {extension.oid.dotted_string}")
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            scope = extension.value
    if scope is not None and (scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs):
        raise ValueError("indirect or partial list")
    return scope


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    usage = _extension(issuer, x509.KeyUsage)
    return usage is None or usage.crl_sign


def _has_signed(read: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and read.is_signature_valid(key)
    except _UNREADABLE:
        return False


# --- paths ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What the operator trusts: anchors, known intermediates, revocation lists."""

    anchors: tuple[Certificate, ...] = ()
    intermediates: tuple[Certificate, ...] = ()
    crls: tuple[RevocationList, ...] = ()

    def path(self, holder: Certificate, others: Sequence[Certificate], at_ms: int) -> tuple[Certificate, ...]:
        """From the holder's certificate to an anchor, as it was at this moment (§3.4).

        Raises:
            TrustError: `certificate_anchor`.
        """
        builder = PolicyBuilder().store(verification.Store([item.read for item in self.anchors]))
        builder = builder.time(_moment(at_ms)).max_chain_depth(CERTIFICATE_PATH_MAX)
        verifier = builder.extension_policies(ca_policy=_CA_POLICY, ee_policy=_HOLDER_POLICY).build_client_verifier()
        pool = {item.der: item.read for item in (*others, *self.intermediates)}
        try:
            found = verifier.verify(holder.read, list(pool.values()))
        except VerificationError as error:
            raise TrustError("certificate_anchor", subject=holder.subject, reason=_shortened(str(error))) from error
        return tuple(Certificate(read.public_bytes(_der()), read) for read in found.chain)

    def check_not_revoked(self, path: Sequence[Certificate], at_ms: int) -> None:
        """Return if fresh lists say nothing against any certificate of the path (§5). What is revoked is
        found before what cannot be told.

        Raises:
            TrustError: `certificate_revoked`.
            NotNow: `crl_missing`, `crl_expired`.
        """
        pairs = [(item, issuer, self._lists(item, issuer)) for item, issuer in pairwise(path)]
        for certificate, _, lists in pairs:
            _check_entries(certificate, lists, at_ms)
        for _, issuer, lists in pairs:
            if not lists:
                raise NotNow("crl_missing", issuer=issuer.subject)
            if not any(crl.is_fresh(at_ms) for crl in lists):
                newest = max(crl.next_ms for crl in lists)
                raise NotNow("crl_expired", issuer=issuer.subject, day=_day(newest))

    def _lists(self, certificate: Certificate, issuer: Certificate) -> list[RevocationList]:
        return [crl for crl in self.crls if crl.covers(certificate, issuer)]


def _check_entries(certificate: Certificate, lists: Iterable[RevocationList], at_ms: int) -> None:
    for crl in lists:
        reason = crl.reason_of(certificate)
        held = reason == x509.ReasonFlags.certificate_hold.value
        if reason and (not held or crl.is_fresh(at_ms)):
            raise TrustError("certificate_revoked", subject=certificate.subject, reason=reason)


_AGNOSTIC: Final = Criticality.AGNOSTIC
_ANY: Final = ExtensionPolicy.permit_all().may_be_present(x509.CertificatePolicies, _AGNOSTIC, None)
_HOLDER_POLICY: Final = _ANY
_CA_POLICY: Final = _ANY.require_present(x509.BasicConstraints, _AGNOSTIC, None).require_present(
    x509.KeyUsage, _AGNOSTIC, None
)
"""The library's own defaults are those of web servers: they want a clientAuth usage and a name of the
machine, and know no critical policies."""


# --- small things -----------------------------------------------------------------------------


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise FormatError("certificate_malformed", reason=type(error).__name__) from error


def _extension(read: x509.Certificate, kind: type[Any]) -> Any:
    """The extension of this class, or None."""
    try:
        return read.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _der() -> serialization.Encoding:
    return serialization.Encoding.DER


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1000


def _moment(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(min(at_ms, _LATEST_MS) / 1000, dt.UTC)


_LATEST_MS: Final = 253_402_300_799_000
"""The end of the year 9999, which is as far as certificates and calendars go."""


def _day(at_ms: int) -> str:
    return _moment(at_ms).strftime("%Y-%m-%d %H:%M UTC")


def _shortened(reason: str) -> str:
    return reason.partition(" (encountered")[0][:200]
