"""A small national PKI for tests: root → issuing centre → holders, and revocation lists.

Keys of RSA are made once per process; those on curves come from fixed numbers, so they are always the
same. Everything else is explicit: names, dates, usages, policies.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from protocol.credentials import ENDORSEMENT, Endorsement, Proof, endorsed_text, make_credentials
from protocol.limits import DAY_MS
from protocol.pki import Anchors, Certificate, RevocationList, read_certificate, read_crl
from tests.support.tree import TREE_READY_MS

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

NOW_MS: Final = TREE_READY_MS
SHA256_WITH_RSA: Final = bytes.fromhex("2a864886f70d01010b")
SHA1_WITH_RSA: Final = bytes.fromhex("2a864886f70d010105")
POLICY: Final = ObjectIdentifier("1.3.6.1.4.1.60000.1.1")

SIGNING: Final = (True, False)
"""digitalSignature, but not nonRepudiation."""


@cache
def rsa_key(label: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, made once per process."""
    return rsa.generate_private_key(65537, bits)


def ec_key(number: int, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """The key with this private number; always the same."""
    return ec.derive_private_key(1_000_003 * number + 7, curve or ec.SECP256R1())


def moment(at_ms: int) -> dt.datetime:
    """A time as the builders want it."""
    return dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC)


def name_of(text: str) -> x509.Name:
    """A name with this common name, in Việt Nam."""
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A private key with its certificate."""

    name: str
    key: PrivateKey
    certificate: x509.Certificate

    @property
    def read(self) -> Certificate:
        """As the product reads it."""
        return read_certificate(self.der)

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, text: bytes) -> bytes:
        """As a token signs: by the algorithm of its key, SHA-256."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(text, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def proof(
        self, code: str, centre: str, key_id: bytes, /, *, created_ms: int = NOW_MS - DAY_MS, **other: Any
    ) -> Proof:
        """The holder endorses a key; `other` replaces fields of the endorsement."""
        fields = {
            "code": code,
            "centre": centre,
            "key_id": key_id,
            "certificate": self.read.digest,
            "created_ms": created_ms,
        }
        statement = ENDORSEMENT.encode(Endorsement(**{**fields, **other}))
        return Proof(statement=statement, signature=self.sign(endorsed_text(statement)))

    def credentials(self, *proofs: Proof, others: Iterable[Holder] = ()) -> bytes:
        """The value of the extension."""
        return make_credentials([self.read, *(other.read for other in others)], proofs)


def issue(
    name: str,
    key: PrivateKey,
    by: Holder | None,
    *,
    ca: bool = False,
    serial: int = 1,
    from_ms: int = NOW_MS - 100 * DAY_MS,
    until_ms: int = NOW_MS + 100 * DAY_MS,
    usage: tuple[bool, bool] | None = SIGNING,
    crl_sign: bool = True,
    policy: bool = False,
    further: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Holder:
    """A certificate, self-signed when `by` is None. `usage` None leaves the key usage out; `policy` adds a
    critical certificatePolicies, as national ones have it."""
    issuer_key = key if by is None else by.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(name if by is None else by.name))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(moment(from_ms))
        .not_valid_after(moment(until_ms))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(_usage(usage, ca=ca, crl_sign=crl_sign), critical=True)
    if policy:
        policies = x509.CertificatePolicies([x509.PolicyInformation(POLICY, None)])
        builder = builder.add_extension(policies, critical=True)
    for extension, critical in further:
        builder = builder.add_extension(extension, critical=critical)
    same = True if isinstance(issuer_key, ec.EllipticCurvePrivateKey) else None
    return Holder(name=name, key=key, certificate=builder.sign(issuer_key, hashes.SHA256(), ecdsa_deterministic=same))


def _usage(usage: tuple[bool, bool], *, ca: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=usage[0],
        content_commitment=usage[1],
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca and crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def sha1_signed(holder: Holder) -> bytes:
    """The DER of an RSA-signed certificate that claims a SHA-1 signature (libraries refuse to make one)."""
    assert holder.der.count(SHA256_WITH_RSA) == 2
    return holder.der.replace(SHA256_WITH_RSA, SHA1_WITH_RSA)


def revocation_list(
    by: Holder,
    revoked: Iterable[tuple[int, x509.ReasonFlags | None]] = (),
    *,
    this_ms: int = NOW_MS - DAY_MS,
    next_ms: int = NOW_MS + 6 * DAY_MS,
    signed_by: PrivateKey | None = None,
    further: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A revocation list in DER, naming serial numbers with their reasons."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of(by.name))
        .last_update(moment(this_ms))
        .next_update(moment(next_ms))
    )
    for serial, reason in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(this_ms))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    for extension, critical in further:
        builder = builder.add_extension(extension, critical=critical)
    key = signed_by or by.key
    same = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    made = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=same)
    return made.public_bytes(serialization.Encoding.DER)


@dataclass(slots=True)
class NationalPki:
    """A root, an issuing centre with critical policies, an organisation's certificate and fresh lists."""

    root: Holder = field(default_factory=lambda: issue("Root", rsa_key("root"), None, ca=True))
    issuing: Holder = field(init=False)
    holder: Holder = field(init=False)
    lists: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.issuing = issue("Issuing", rsa_key("issuing"), self.root, ca=True, serial=2, policy=True)
        self.holder = self.issue("Cơ quan H38", ec_key(1), serial=3)
        self.lists = [revocation_list(self.root), revocation_list(self.issuing)]

    def issue(self, name: str, key: PrivateKey, **more: Any) -> Holder:
        """A certificate of the issuing centre."""
        return issue(name, key, self.issuing, **{"policy": True, **more})

    def anchors(self, **more: Any) -> Anchors:
        """What a node that trusts this root has configured."""
        crls: tuple[RevocationList, ...] = tuple(map(read_crl, self.lists))
        fields = {"anchors": (self.root.read,), "intermediates": (self.issuing.read,), "crls": crls}
        return Anchors(**{**fields, **more})
