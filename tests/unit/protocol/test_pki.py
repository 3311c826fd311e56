"""Certificates, paths and revocation lists: what is believed, and the code of everything that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from protocol.credentials import (
    CREDENTIALS,
    ENDORSEMENT,
    EXTENSION,
    Credentials,
    Verdict,
    endorsed_text,
    judge,
    make_credentials,
    read_credentials,
)
from protocol.directory import AgencyRecord, Names
from protocol.errors import FormatError, NotNow, TrustError
from protocol.limits import CERTIFICATE_BYTES_MAX, CLOCK_SKEW_MS, CRL_BYTES_MAX, DAY_MS
from protocol.pki import (
    Anchors,
    check_dates,
    check_strength,
    check_usage,
    read_certificate,
    read_certificates,
    read_crl,
    verify_by,
)
from tests.support.errors import expects, record
from tests.support.pki import (
    NOW_MS,
    SHA1_WITH_RSA,
    SHA256_WITH_RSA,
    Holder,
    NationalPki,
    ec_key,
    issue,
    name_of,
    revocation_list,
    rsa_key,
    sha1_signed,
)
from tests.support.pki_vectors import outcome_of, rows
from tests.support.statement_vectors import plain
from tests.support.vectors import FOLDER, load, written

KEY, OTHER_KEY = bytes([7]) * 32, bytes([8]) * 32
CODE, CENTRE = "H38", "00.03.W00"


@pytest.fixture(scope="module")
def pki() -> NationalPki:
    return NationalPki()


def agency(value: Any = None, **changes: Any) -> AgencyRecord:
    """A record with these credentials."""
    fields = {
        "registrar": "level-1",
        "generation": 1,
        "number": 1,
        "created_ms": NOW_MS,
        "code": CODE,
        "names": Names(vi="Lạng Sơn"),
        "host": CENTRE,
        "epoch": 1,
        "extensions": {} if value is None else {EXTENSION: value},
    }
    return AgencyRecord(**{**fields, **changes})


def judged(
    holder: Holder, anchors: Anchors, *, keys: tuple[bytes, ...] = (KEY,), at_ms: int = NOW_MS, **proof: Any
) -> Verdict:
    """What a record shows whose holder endorsed its key."""
    made = holder.credentials(holder.proof(CODE, CENTRE, KEY, **proof))
    return judge(agency(made), keys, anchors, at_ms)


def outcome(verdict: Verdict) -> tuple[str, str]:
    """State and code, noted as produced."""
    code = "" if verdict.error is None else verdict.error.code
    if code:
        record(code)
    return verdict.state, code


# --- what is valid --------------------------------------------------------------------------------


def test_a_path_with_a_critical_policy_to_a_configured_anchor_is_valid(pki: NationalPki) -> None:
    verdict = judged(pki.holder, pki.anchors())
    assert outcome(verdict) == ("valid", "")
    assert (verdict.subject, verdict.issuer) == ("CN=Cơ quan H38,C=VN", "CN=Issuing,C=VN")
    assert (verdict.serial, verdict.record) == ("3", CODE)
    assert verdict.from_ms < NOW_MS < verdict.until_ms


@pytest.mark.parametrize("curve", [None, ec.SECP256R1()])
def test_rsa_2048_and_p256_both_count(pki: NationalPki, curve: ec.EllipticCurve | None) -> None:
    key = rsa_key("holder") if curve is None else ec_key(5, curve)
    assert outcome(judged(pki.issue("RSA hay EC", key, serial=9), pki.anchors())) == ("valid", "")


@pytest.mark.parametrize("usage", [(True, False), (False, True), (True, True)])
def test_digital_signature_or_non_repudiation_both_sign(pki: NationalPki, usage: tuple[bool, bool]) -> None:
    assert outcome(judged(pki.issue("Dấu", ec_key(6), usage=usage), pki.anchors())) == ("valid", "")


def test_the_intermediate_may_travel_in_the_record_instead_of_being_configured(pki: NationalPki) -> None:
    made = pki.holder.credentials(pki.holder.proof(CODE, CENTRE, KEY), others=[pki.issuing])
    assert judge(agency(made), [KEY], pki.anchors(intermediates=()), NOW_MS).state == "valid"


def test_no_extended_usage_and_no_machine_name_is_asked_for_and_any_is_free(pki: NationalPki) -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    holder = pki.issue("Thư", ec_key(8), further=[(usage, False)])
    assert outcome(judged(holder, pki.anchors())) == ("valid", "")


def test_every_key_that_speaks_needs_its_proof(pki: NationalPki) -> None:
    proofs = [pki.holder.proof(CODE, CENTRE, key) for key in (KEY, OTHER_KEY)]
    both, one = pki.holder.credentials(*proofs), pki.holder.credentials(proofs[0])
    anchors = pki.anchors()
    assert judge(agency(both), [KEY, OTHER_KEY], anchors, NOW_MS).state == "valid"
    assert outcome(judge(agency(one), [KEY, OTHER_KEY], anchors, NOW_MS)) == ("invalid", "pki_key_not_endorsed")


def test_a_good_proof_counts_beside_a_bad_one_for_the_same_key(pki: NationalPki) -> None:
    proofs = [pki.holder.proof("H39", CENTRE, KEY), pki.holder.proof(CODE, CENTRE, KEY)]
    assert judge(agency(pki.holder.credentials(*proofs)), [KEY], pki.anchors(), NOW_MS).state == "valid"


# --- certificates ---------------------------------------------------------------------------------


def test_a_record_without_a_certificate_is_unknown(pki: NationalPki) -> None:
    assert outcome(judge(agency(), [KEY], pki.anchors(), NOW_MS)) == ("unknown", "pki_missing")


def test_without_anchors_nothing_is_said(pki: NationalPki) -> None:
    assert outcome(judged(pki.holder, Anchors())) == ("unknown", "pki_not_configured")


def test_without_a_key_that_counts_nothing_is_said(pki: NationalPki) -> None:
    assert outcome(judged(pki.holder, pki.anchors(), keys=())) == ("unknown", "pki_no_key")


def test_the_wrong_anchor_does_not_do_even_under_the_same_name(pki: NationalPki) -> None:
    same_name = issue("Root", ec_key(77), None, ca=True)
    other = issue("Gốc khác", ec_key(78), None, ca=True)
    for anchor in (same_name, other):
        verdict = judged(pki.holder, pki.anchors(anchors=(anchor.read,)))
        assert outcome(verdict) == ("invalid", "certificate_anchor")


def test_an_issuer_that_is_no_authority_breaks_the_path(pki: NationalPki) -> None:
    clerk = pki.issue("Văn thư", ec_key(10))
    forged = issue("Giả", ec_key(11), clerk)
    made = forged.credentials(forged.proof(CODE, CENTRE, KEY), others=[clerk])
    assert outcome(judge(agency(made), [KEY], pki.anchors(), NOW_MS)) == ("invalid", "certificate_anchor")


def test_a_critical_extension_that_nobody_knows_breaks_the_path(pki: NationalPki) -> None:
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.60000.9"), b"\x05\x00")
    assert outcome(judged(pki.issue("Lạ", ec_key(12), further=[(strange, True)]), pki.anchors())) == (
        "invalid",
        "certificate_anchor",
    )


def test_what_is_not_yet_valid_and_what_has_expired_is_said_with_the_day(pki: NationalPki) -> None:
    early = pki.issue("Sớm", ec_key(13), from_ms=NOW_MS + DAY_MS)
    late = pki.issue("Muộn", ec_key(14), until_ms=NOW_MS - DAY_MS)
    assert outcome(judged(early, pki.anchors(), created_ms=NOW_MS)) == ("invalid", "certificate_not_yet_valid")
    assert outcome(judged(late, pki.anchors(), created_ms=NOW_MS - 2 * DAY_MS)) == ("invalid", "certificate_expired")


def test_the_certificate_must_have_been_valid_when_it_endorsed(pki: NationalPki) -> None:
    young = pki.issue("Mới", ec_key(15), from_ms=NOW_MS - DAY_MS)
    verdict = judged(young, pki.anchors(), created_ms=NOW_MS - 2 * DAY_MS)
    assert outcome(verdict) == ("invalid", "certificate_not_yet_valid")


def test_an_authority_whose_own_certificate_has_expired_leads_nowhere(pki: NationalPki) -> None:
    later_ms = NOW_MS + 50 * DAY_MS
    short = issue("Issuing", rsa_key("issuing"), pki.root, ca=True, until_ms=NOW_MS + DAY_MS)
    verdict = judged(pki.holder, pki.anchors(intermediates=(short.read,)), at_ms=later_ms)
    assert outcome(verdict) == ("invalid", "certificate_anchor")


@pytest.mark.parametrize("usage", [None, (False, False)])
def test_a_certificate_that_is_not_for_signing_is_refused(pki: NationalPki, usage: Any) -> None:
    holder = pki.issue("TLS", ec_key(16), usage=usage)
    with expects("certificate_key_usage", TrustError):
        check_usage(holder.read)
    with expects("certificate_key_usage", TrustError):
        make_credentials([holder.read], [])


def test_weak_algorithms_are_named(pki: NationalPki) -> None:
    small = pki.issue("Nhỏ", rsa_key("small", 1024))
    big_curve = pki.issue("P-384", ec_key(17, ec.SECP384R1()))
    sha1 = read_certificate(sha1_signed(pki.holder))
    strange = pki.issue("Ed25519", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))  # type: ignore[arg-type]
    for certificate, found in (
        (small.read, "RSA-1024"),
        (big_curve.read, "secp384r1"),
        (sha1, "signature sha1"),
        (strange.read, "Ed25519PublicKey"),
    ):
        with expects("certificate_weak", TrustError) as caught:
            check_strength(certificate, holder=True)
        assert caught[0].detail["found"] == found
    check_strength(big_curve.read, holder=False)


def test_a_weak_authority_in_the_record_is_named_too(pki: NationalPki) -> None:
    weak = issue("Yếu", rsa_key("weak", 1024), pki.root, ca=True)
    holder = issue("Dưới", ec_key(18), weak)
    made = holder.credentials(holder.proof(CODE, CENTRE, KEY), others=[weak])
    assert outcome(judge(agency(made), [KEY], pki.anchors(), NOW_MS)) == ("invalid", "certificate_weak")


def test_bytes_that_are_no_certificate_are_malformed(pki: NationalPki) -> None:
    for junk in (b"", b"\x30\x03\x02\x01\x01", pki.holder.der[:-1], bytes(CERTIFICATE_BYTES_MAX + 1)):
        with expects("certificate_malformed", FormatError):
            read_certificate(junk)
    with expects("certificate_malformed", FormatError):
        read_certificates(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    value = read_credentials(agency(pki.holder.credentials()))
    assert value is not None
    assert read_certificates(pki.holder.pem + pki.issuing.pem) == (pki.holder.read, pki.issuing.read)


def test_every_flipped_byte_of_a_certificate_is_an_outcome_and_never_a_crash(pki: NationalPki) -> None:
    anchors, der = pki.anchors(), pki.holder.der
    states = set()
    for index in range(len(der)):
        changed = bytearray(der)
        changed[index] ^= 0x55
        try:
            read = read_certificate(bytes(changed))
            check_strength(read, holder=True)
            check_usage(read)
            check_dates(read, NOW_MS)
            anchors.check_not_revoked(anchors.path(read, [], NOW_MS), NOW_MS)
            states.add("valid")
        except (FormatError, TrustError, NotNow) as error:
            states.add(error.code)
    assert "valid" not in states
    assert {"certificate_malformed", "certificate_anchor"} <= states


def test_a_signature_by_the_certificates_key_is_checked_by_its_own_algorithm(pki: NationalPki) -> None:
    rsa_holder = pki.issue("RSA", rsa_key("holder"))
    for holder in (pki.holder, rsa_holder):
        verify_by(holder.read, holder.sign(b"text"), b"text")
        with expects("pki_proof_signature", TrustError):
            verify_by(holder.read, holder.sign(b"text"), b"other")
    with expects("pki_proof_signature", TrustError):
        verify_by(pki.holder.read, rsa_holder.sign(b"text"), b"text")


# --- proofs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [{"code": "H39"}, {"centre": "00.04.W00"}, {"certificate": bytes(32)}],
    ids=["code", "centre", "certificate"],
)
def test_a_proof_for_something_else_is_named(pki: NationalPki, other: dict[str, Any]) -> None:
    proof = pki.holder.proof(CODE, CENTRE, KEY, **other)
    made = agency(_raw(pki.holder, proof))
    verdict = judge(made, [KEY], pki.anchors(), NOW_MS)
    assert outcome(verdict) == ("invalid", "pki_proof_other")
    assert verdict.error is not None and verdict.error.detail["what"] == next(iter(other))


def test_credentials_are_not_made_of_a_proof_for_another_certificate(pki: NationalPki) -> None:
    with expects("pki_proof_other", TrustError):
        pki.holder.credentials(pki.holder.proof(CODE, CENTRE, KEY, certificate=bytes(32)))


def test_a_proof_for_another_key_endorses_nothing(pki: NationalPki) -> None:
    verdict = judged(pki.holder, pki.anchors(), key_id=OTHER_KEY)
    assert outcome(verdict) == ("invalid", "pki_key_not_endorsed")


def test_a_proof_signed_by_another_key_is_wrong(pki: NationalPki) -> None:
    proof = pki.holder.proof(CODE, CENTRE, KEY)
    wrong = replace(proof, signature=pki.issuing.sign(endorsed_text(proof.statement)))
    with expects("pki_proof_signature", TrustError):
        pki.holder.credentials(wrong)
    assert outcome(judge(agency(_raw(pki.holder, wrong)), [KEY], pki.anchors(), NOW_MS)) == (
        "invalid",
        "pki_proof_signature",
    )


def test_a_proof_of_the_future_waits_no_longer_than_clocks_differ(pki: NationalPki) -> None:
    anchors = pki.anchors()
    assert outcome(judged(pki.holder, anchors, created_ms=NOW_MS + CLOCK_SKEW_MS)) == ("valid", "")
    too_far = judged(pki.holder, anchors, created_ms=NOW_MS + CLOCK_SKEW_MS + 1)
    assert outcome(too_far) == ("invalid", "pki_proof_future")


@pytest.mark.parametrize("value", ["text", 7, b"", b"\x80", b"\x81\x01\x91\xc4\x01\x30\xc0"])
def test_an_extension_that_is_no_credentials_is_invalid_and_breaks_nothing_else(pki: NationalPki, value: Any) -> None:
    assert outcome(judge(agency(value), [KEY], pki.anchors(), NOW_MS)) == ("invalid", "pki_malformed")


def test_a_proof_whose_statement_does_not_read_is_malformed(pki: NationalPki) -> None:
    proof = replace(pki.holder.proof(CODE, CENTRE, KEY), statement=b"\x80")
    with expects("pki_malformed", FormatError):
        pki.holder.credentials(proof)
    assert outcome(judge(agency(_raw(pki.holder, proof)), [KEY], pki.anchors(), NOW_MS)) == ("invalid", "pki_malformed")


# --- revocation -----------------------------------------------------------------------------------


def lists(pki: NationalPki, *of_issuing: bytes) -> Anchors:
    """Anchors with the root's list and these."""
    return pki.anchors(crls=tuple(map(read_crl, (pki.lists[0], *of_issuing))))


@pytest.mark.parametrize("reason", [None, x509.ReasonFlags.key_compromise, x509.ReasonFlags.certificate_hold])
def test_a_revoked_certificate_is_invalid_with_its_reason(pki: NationalPki, reason: x509.ReasonFlags | None) -> None:
    revoked = revocation_list(pki.issuing, [(3, reason)])
    verdict = judged(pki.holder, lists(pki, revoked))
    assert outcome(verdict) == ("invalid", "certificate_revoked")
    assert verdict.error is not None
    assert verdict.error.detail["reason"] == (reason.value if reason else "unspecified")


def test_a_revoked_authority_takes_everybody_below_it_along(pki: NationalPki) -> None:
    revoked = revocation_list(pki.root, [(2, x509.ReasonFlags.ca_compromise)])
    verdict = judged(pki.holder, pki.anchors(crls=(read_crl(revoked), read_crl(pki.lists[1]))))
    assert outcome(verdict) == ("invalid", "certificate_revoked")


def test_an_expired_list_says_nothing_good_but_what_it_revoked_stays_revoked(pki: NationalPki) -> None:
    old: dict[str, Any] = {"this_ms": NOW_MS - 9 * DAY_MS, "next_ms": NOW_MS - DAY_MS}
    clean = revocation_list(pki.issuing, **old)
    naming = revocation_list(pki.issuing, [(3, x509.ReasonFlags.key_compromise)], **old)
    holding = revocation_list(pki.issuing, [(3, x509.ReasonFlags.certificate_hold)], **old)
    assert outcome(judged(pki.holder, lists(pki, clean))) == ("unknown", "crl_expired")
    assert outcome(judged(pki.holder, lists(pki, naming))) == ("invalid", "certificate_revoked")
    assert outcome(judged(pki.holder, lists(pki, holding))) == ("unknown", "crl_expired")
    assert outcome(judged(pki.holder, lists(pki, clean, pki.lists[1]))) == ("valid", "")


def test_a_list_of_tomorrow_is_not_fresh_today(pki: NationalPki) -> None:
    tomorrow = revocation_list(pki.issuing, this_ms=NOW_MS + DAY_MS, next_ms=NOW_MS + 2 * DAY_MS)
    assert outcome(judged(pki.holder, lists(pki, tomorrow))) == ("unknown", "crl_expired")


def test_without_a_list_of_each_issuer_nothing_is_certain(pki: NationalPki) -> None:
    assert outcome(judged(pki.holder, lists(pki))) == ("unknown", "crl_missing")
    only_issuing = pki.anchors(crls=(read_crl(pki.lists[1]),))
    assert outcome(judged(pki.holder, only_issuing)) == ("unknown", "crl_missing")


def test_a_list_that_the_issuer_did_not_sign_does_not_count(pki: NationalPki) -> None:
    forged = revocation_list(pki.issuing, [(3, None)], signed_by=ec_key(99))
    assert outcome(judged(pki.holder, lists(pki, forged))) == ("unknown", "crl_missing")


def test_an_issuer_whose_key_cannot_be_read_has_signed_no_list() -> None:
    key = ec_key(22)
    root = issue("Gốc", key, None, ca=True)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    nowhere = read_certificate(root.der.replace(point, point[:-1] + bytes([point[-1] ^ 1])))
    crl = read_crl(revocation_list(root))
    assert crl.covers(root.read, root.read)
    assert not crl.covers(root.read, nowhere)


def test_a_list_by_a_key_that_may_not_sign_lists_does_not_count(pki: NationalPki) -> None:
    dumb = issue("Không ký CRL", ec_key(20), pki.root, ca=True, serial=5, crl_sign=False)
    holder = issue("Dưới", ec_key(21), dumb)
    crls = (read_crl(pki.lists[0]), read_crl(revocation_list(dumb)))
    assert outcome(judged(holder, pki.anchors(intermediates=(dumb.read,), crls=crls))) == ("unknown", "crl_missing")


def _scope(**fields: Any) -> x509.IssuingDistributionPoint:
    default: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**default, **fields})


POINT = [x509.UniformResourceIdentifier("http://crl.example.gov.vn/a.crl")]
ELSEWHERE = [x509.UniformResourceIdentifier("http://crl.example.gov.vn/b.crl")]


def test_a_list_for_others_does_not_count(pki: NationalPki) -> None:
    for_authorities = revocation_list(pki.issuing, further=[(_scope(only_contains_ca_certs=True), True)])
    for_users = revocation_list(pki.issuing, further=[(_scope(only_contains_user_certs=True), True)])
    of_a_point = revocation_list(pki.issuing, further=[(_scope(full_name=POINT), True)])
    relative = revocation_list(pki.issuing, further=[(_scope(relative_name=name_of("x").rdns[0]), True)])
    for file in (for_authorities, of_a_point, relative):
        assert outcome(judged(pki.holder, lists(pki, file))) == ("unknown", "crl_missing")
    assert outcome(judged(pki.holder, lists(pki, for_users))) == ("valid", "")


def test_a_list_of_a_distribution_point_counts_for_those_who_name_it(pki: NationalPki) -> None:
    file = revocation_list(pki.issuing, further=[(_scope(full_name=POINT), True)])
    for points, state in ((POINT, "valid"), (ELSEWHERE, "unknown")):
        named = x509.CRLDistributionPoints([x509.DistributionPoint(points, None, None, None)])
        holder = pki.issue("Có điểm CRL", ec_key(22), further=[(named, False)])
        assert judged(holder, lists(pki, file)).state == state


def test_lists_of_other_kinds_are_not_used(pki: NationalPki) -> None:
    reasons = frozenset({x509.ReasonFlags.key_compromise})
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.60000.8"), b"\x05\x00")
    kinds: list[tuple[x509.ExtensionType, bool]] = [
        (x509.DeltaCRLIndicator(1), True),
        (_scope(indirect_crl=True), True),
        (_scope(only_some_reasons=reasons), True),
        (_scope(only_contains_attribute_certs=True), True),
        (unknown, True),
    ]
    for kind in kinds:
        with expects("crl_malformed", FormatError):
            read_crl(revocation_list(pki.issuing, further=[kind]))


def test_bytes_that_are_no_list_are_malformed(pki: NationalPki) -> None:
    der = pki.lists[0]
    for junk in (b"", der[:-1], b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", bytes(CRL_BYTES_MAX + 1)):
        with expects("crl_malformed", FormatError):
            read_crl(junk)
    assert read_crl(der).issuer_name == "CN=Root,C=VN"


def test_a_list_signed_by_a_weak_hash_is_not_used(pki: NationalPki) -> None:
    with expects("crl_malformed", FormatError):
        read_crl(pki.lists[0].replace(SHA256_WITH_RSA, SHA1_WITH_RSA))


def _raw(holder: Holder, *proofs: Any) -> bytes:
    """Credentials that `make_credentials` would refuse to make."""
    return CREDENTIALS.encode(Credentials(certificates=(holder.der,), proofs=tuple(proofs)))


# --- vectors --------------------------------------------------------------------------------------


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert (FOLDER / "pki.json").read_text("utf-8") == written(rows()), "run scripts/vectors and read the difference"


@pytest.mark.parametrize("row", [row for row in load("pki") if "state" in row], ids=lambda row: str(row["name"]))
def test_a_judgement_of_the_vectors_comes_out_as_written(row: dict[str, Any]) -> None:
    assert outcome_of(row) == (row["state"], row["error"])


@pytest.mark.parametrize("row", [row for row in load("pki") if "format" in row], ids=lambda row: str(row["name"]))
def test_a_statement_of_the_vectors_reads_as_written(row: dict[str, Any]) -> None:
    form: Any = {item.name: item for item in (ENDORSEMENT, CREDENTIALS)}[row["format"]]
    if "error" in row:
        with expects(row["error"], FormatError):
            form.decode(bytes.fromhex(row["hex"]))
    else:
        value = form.decode(bytes.fromhex(row["hex"]))
        assert plain(value) == row["fields"]
        assert form.encode(value).hex() == row["hex"]
