"""Judging an offer: every way in which it can fall short, and which of the two ends it leads to."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from protocol.consignment import CONSIGNMENT
from protocol.directory import RecordState
from protocol.encoding import encode
from protocol.envelope import ENVELOPE, HEADER, EnvelopeKind, PartRef
from protocol.errors import FormatError, NotNow, TrucError
from protocol.judging import Opened, Refuse, check_bodies, issuer_of, open_inline, open_offer, read
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, SIGNED_AGE_MAX_MS
from protocol.record import PutBody
from protocol.sealing import SealingKey, sealed_size, wrap_stanza
from protocol.signing import Ed25519Signer, sign
from protocol.step import Settings
from tests.support.delivery import A, B, Forgery, World, metadata, sealed_part
from tests.support.errors import expects, record
from tests.support.tree import TREE_READY_MS, key_seed


@pytest.fixture
def world() -> World:
    return World()


def judged(forgery: Forgery, centre: str = A, **here: Any) -> Opened:
    """What the recipient's node makes of it."""
    side = forgery.world.c
    return open_offer(side.view, side.here(**here), read(centre, forgery.make()))


def not_now(code: str, forgery: Forgery, centre: str = A, **here: Any) -> None:
    with expects(code, NotNow):
        judged(forgery, centre, **here)


def refused(code: str, field: str, forgery: Forgery, **here: Any) -> Refuse:
    with pytest.raises(Refuse) as caught:
        judged(forgery, **here)
    assert (caught.value.code, caught.value.field) == (code, field)
    parties = [forgery.world.c.view.directory.party(name, at_ms=TREE_READY_MS) for name in ("G22", "H38")]
    assert caught.value.judged_by == tuple(sorted({digest for party in parties if party for digest in party.records}))
    assert str(caught.value) == code
    assert caught.value.reading.consignment.recipient == "H38"
    return caught.value


# --- an honest offer -----------------------------------------------------------------------------


def test_an_honest_offer_opens(world: World) -> None:
    forgery = Forgery(world=world, contents=(b"one", b"two"))
    opened = judged(forgery)
    assert opened.content_key == forgery.content_key
    assert (opened.issuer.code, opened.recipient.code) == ("G22", "H38")
    assert opened.header.metadata == metadata()
    bodies = open_inline(opened)
    parts = [sealed_part(content, index) for index, content in enumerate(forgery.contents)]
    assert [(body.digest, body.size, body.plain_digest, body.plain_size, body.put) for body in bodies] == [
        (part.body, part.size, part.plain_digest, part.plain_size, PutBody(part.body, part.blob or b""))
        for part in parts
    ]
    check_bodies(opened, bodies)
    assert opened.judged_by == tuple(sorted({*opened.issuer.records, *opened.recipient.records}))


# --- reading -----------------------------------------------------------------------------------------


def test_bytes_that_are_no_consignment_are_the_fault_of_the_stream(world: World) -> None:
    offer = Forgery(world=world).make()
    with expects("format_malformed", FormatError):
        read(A, replace(offer, consignment=b"\xc1"))
    with expects("format_malformed", FormatError):
        read(A, replace(offer, envelope=b"\xc1"))
    with expects("format_other", FormatError):
        read(A, replace(offer, consignment=offer.envelope))
    nothing = sign(CONSIGNMENT.name, encode({1: 1}), world.a.keys.signer)
    with expects("format_field", FormatError):
        read(A, replace(offer, consignment=nothing.to_wire()))


def test_a_consignment_to_its_own_issuer_is_no_consignment(world: World) -> None:
    with expects("consignment_to_itself", FormatError):
        read(A, Forgery(world=world, recipient="G22").make())


# --- the recipient -----------------------------------------------------------------------------------


def test_nothing_is_judged_by_a_suspicious_clock(world: World) -> None:
    not_now("clock", Forgery(world=world), clock_trusted=False)


@pytest.mark.parametrize("recipient", ["G12", "H99"])
def test_an_envelope_for_somebody_else_is_none_of_our_business(world: World, recipient: str) -> None:
    not_now("moved", Forgery(world=world, recipient=recipient))


@pytest.mark.parametrize("epoch", [0, 2])
def test_another_hosting_epoch_is_a_stale_record(world: World, epoch: int) -> None:
    not_now("record_stale", Forgery(world=world, offer={"epoch": epoch}))


@pytest.mark.parametrize("state", [RecordState.LOCKED, RecordState.CLOSED])
def test_a_locked_or_closed_recipient_takes_nothing_new(world: World, state: RecordState) -> None:
    world.publish(world.tree.next_agency("H38", state=state))
    not_now("held", Forgery(world=world))


def test_a_node_whose_own_key_is_not_listed_promises_nothing(world: World) -> None:
    world.c.signers[""] = Ed25519Signer(key_seed(1, "other"))
    not_now("record_stale", Forgery(world=world))


# --- the issuer ------------------------------------------------------------------------------------------


def test_an_issuer_that_nobody_knows_may_be_news(world: World) -> None:
    not_now("issuer_unknown", Forgery(world=world, issuer="H99"))


def test_only_the_issuers_present_host_may_offer(world: World) -> None:
    not_now("record_stale", Forgery(world=world), centre=B)
    reading = read(A, Forgery(world=world).make())
    assert issuer_of(world.c.view, reading).code == "G22"
    with expects("record_stale", NotNow):
        issuer_of(world.c.view, read(B, Forgery(world=world).make()))


def test_a_locked_issuer_sends_nothing_new_whatever_time_it_claims(world: World) -> None:
    world.publish(world.tree.next_agency("G22", state=RecordState.LOCKED))
    backdated = {"created_ms": TREE_READY_MS - DAY_MS}
    not_now("held", Forgery(world=world, envelope=backdated, consignment=backdated))


# --- the two signed things ---------------------------------------------------------------------------------


def test_a_newer_envelope_waits_for_an_upgrade(world: World) -> None:
    not_now("newer_format", Forgery(world=world, envelope_format="truc/envelope/2"))
    strange = sign(ENVELOPE.name, encode({1: bytes(16), 127: 1}), world.a.keys.signer)
    not_now("newer_format", Forgery(world=world, offer={"envelope": strange.to_wire()}))


def test_an_envelope_that_does_not_read_is_put_off(world: World) -> None:
    strange = sign(ENVELOPE.name, b"\xc1", world.a.keys.signer)
    not_now("offer_unreadable", Forgery(world=world, offer={"envelope": strange.to_wire()}))


def test_envelope_and_consignment_belong_together(world: World) -> None:
    not_now("offer_mismatch", Forgery(world=world, envelope={"issuer": "G12"}))
    not_now("offer_mismatch", Forgery(world=world, consignment={"envelope": bytes(32)}))


@pytest.mark.parametrize("part", ["envelope", "consignment"])
def test_what_was_made_in_the_future_waits(world: World, part: str) -> None:
    limit, beyond = TREE_READY_MS + CLOCK_SKEW_MS, TREE_READY_MS + CLOCK_SKEW_MS + 1
    judged(Forgery(world=world, **{part: {"created_ms": limit}}))  # type: ignore[arg-type]
    not_now("clock", Forgery(world=world, **{part: {"created_ms": beyond}}))  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["envelope", "consignment"])
def test_what_was_made_long_ago_needs_a_key_of_now(world: World, part: str) -> None:
    now_ms = TREE_READY_MS + 100 * DAY_MS
    ended = replace(world.tree.centre_records[A].keys[0], until_ms=now_ms - 1)
    world.publish(world.tree.next_centre(A, keys=(ended,)), world.a.keys.signer)
    both: dict[str, dict[str, int]] = {
        "envelope": {"created_ms": now_ms - 2, "expires_ms": now_ms + 1},
        "consignment": {"created_ms": now_ms - 2},
    }
    both[part]["created_ms"] = now_ms - SIGNED_AGE_MAX_MS - 1
    not_now("sign_again", Forgery(world=world, **both), now_ms=now_ms)  # type: ignore[arg-type]
    both[part]["created_ms"] = now_ms - SIGNED_AGE_MAX_MS
    try:
        judged(Forgery(world=world, **both), now_ms=now_ms)  # type: ignore[arg-type]
    except (Refuse, NotNow) as other:
        assert other.code != "sign_again"  # whatever else is wrong so much later


def test_a_key_that_is_not_the_issuers_is_not_known_for_it(world: World) -> None:
    not_now("record_stale", Forgery(world=world, signer=world.b.keys.signer))


@pytest.mark.parametrize("part", ["envelope", "consignment"])
def test_a_wrong_signature_is_refused_belief(world: World, part: str) -> None:
    offer = Forgery(world=world).make()
    reading = read(A, offer)
    thing = reading.envelope_thing if part == "envelope" else reading.consignment_thing
    bad = replace(thing, signatures=(replace(thing.signatures[0], signature=bytes(64)),))
    not_now("signature_refused", Forgery(world=world, offer={part: bad.to_wire()}))


# --- limits: provable from the signed bytes ----------------------------------------------------------------


def test_an_expired_document_is_refused(world: World) -> None:
    at_the_moment = {"created_ms": TREE_READY_MS - 10, "expires_ms": TREE_READY_MS}
    refused("expired", "expires_ms", Forgery(world=world, envelope=at_the_moment))
    judged(Forgery(world=world, envelope={**at_the_moment, "expires_ms": TREE_READY_MS + 1}))


def test_too_many_parts_are_refused(world: World) -> None:
    parts = tuple(PartRef(hashlib.sha256(b"%d" % n).digest(), 16) for n in range(501))
    refused("too_many_parts", "parts", Forgery(world=world, envelope={"parts": parts}))


def test_an_envelope_that_breaks_its_own_rules_is_refused(world: World) -> None:
    refused("header_invalid", "lane", Forgery(world=world, envelope={"lane": 9}))
    refused("header_invalid", "reference", Forgery(world=world, envelope={"kind": EnvelopeKind.TAKE_BACK}))


def test_more_bytes_than_the_operator_takes_are_refused(world: World) -> None:
    size = sealed_size(len(b"content"))
    forgery = Forgery(world=world)
    judged(forgery, settings=Settings(parts_bytes_max=size))
    refused("too_large", "parts", forgery, settings=Settings(parts_bytes_max=size - 1))


# --- the stanza: unsigned, so never a refusal ----------------------------------------------------------------


def test_a_sealing_key_of_before_is_told(world: World) -> None:
    not_now("sealing_key_unknown", Forgery(world=world, offer={"key_id": bytes(32)}))


def test_a_stanza_for_something_else_does_not_open(world: World) -> None:
    not_now("stanza_unusable", Forgery(world=world, info_epoch=2))
    not_now("stanza_unusable", Forgery(world=world, offer={"stanza": b"x" * 80}))
    other = SealingKey(key_seed(1, "other"))
    not_now("stanza_unusable", Forgery(world=world, offer={"stanza": wrap_stanza(bytes(32), other.public_raw, b"i")}))


def test_two_texts_under_one_envelope_are_told_apart_by_the_commitment(world: World) -> None:
    not_now("stanza_unusable", Forgery(world=world, wrapped_key=bytes([1]) * 32))


# --- the header ------------------------------------------------------------------------------------------------


def test_other_header_bytes_than_signed_blame_the_carrier(world: World) -> None:
    sealed = Forgery(world=world).make().header
    not_now("body_damaged", Forgery(world=world, offer={"header": sealed + b"x"}))
    not_now("body_damaged", Forgery(world=world, offer={"header": sealed[:-1] + bytes([sealed[-1] ^ 1])}))


def test_a_header_that_does_not_open_is_refused(world: World) -> None:
    garbage = b"g" * 200
    digest = hashlib.sha256(b"\0" + garbage).digest()
    envelope = {"header_digest": digest, "header_size": len(garbage)}
    refused("header_invalid", "", Forgery(world=world, envelope=envelope, offer={"header": garbage}))


def test_a_header_that_is_no_header_is_refused(world: World) -> None:
    refused("header_invalid", "", Forgery(world=world, header_plain=b"\xc1"))


def test_a_newer_header_waits_for_an_upgrade(world: World) -> None:
    honest = Forgery(world=world)
    opened = judged(honest)
    plain = HEADER.encode(opened.header)
    assert plain[0] == 0x84
    newer = b"\x85" + plain[1:] + b"\x7f\x01"
    not_now("newer_format", Forgery(world=world, header_plain=newer))


def test_a_header_that_does_not_fit_its_envelope_is_refused(world: World) -> None:
    refused("part_mismatch", "parts", Forgery(world=world, header={"parts": ()}))


def test_a_document_marked_secret_is_refused(world: World) -> None:
    refused("secrecy_marked", "metadata.secrecy", Forgery(world=world, header={"metadata": metadata(secrecy="mat")}))


def test_metadata_that_no_clerk_may_write_is_refused(world: World) -> None:
    refused("header_invalid", "metadata.subject", Forgery(world=world, header={"metadata": metadata(subject=" ")}))


# --- bodies ----------------------------------------------------------------------------------------------------


def opened_inline(forgery: Forgery) -> Any:
    return open_inline(judged(forgery))


def test_bodies_that_are_missing_or_other_bytes_blame_the_carrier(world: World) -> None:
    blob = sealed_part(b"content").blob or b""
    for inline in ((), (blob, blob), (blob + b"x",), (bytes(len(blob)),)):
        with expects("body_damaged", NotNow):
            opened_inline(Forgery(world=world, offer={"inline": inline}))


def test_bodies_that_the_issuer_signed_and_that_do_not_open_are_refused(world: World) -> None:
    garbage = b"g" * len(sealed_part(b"content").blob or b"")
    parts = (PartRef(hashlib.sha256(b"\0" + garbage).digest(), len(garbage)),)
    opened = judged(Forgery(world=world, envelope={"parts": parts}, offer={"inline": (garbage,)}))
    with pytest.raises(Refuse) as caught:
        open_inline(opened)
    assert (caught.value.code, caught.value.field) == ("part_mismatch", "parts")
    assert (caught.value.reading, caught.value.judged_by) == (opened.reading, opened.judged_by)


def test_bodies_that_are_not_what_the_header_says_are_refused(world: World) -> None:
    opened = judged(Forgery(world=world, contents=(b"one", b"two"), plain=(b"one", b"other")))
    with pytest.raises(Refuse) as caught:
        check_bodies(opened, open_inline(opened))
    assert (caught.value.code, caught.value.field) == ("part_mismatch", "parts[1]")
    assert (caught.value.reading, caught.value.judged_by) == (opened.reading, opened.judged_by)


def test_bodies_of_another_envelope_are_our_own_mistake(world: World) -> None:
    opened = judged(Forgery(world=world))
    with pytest.raises(AssertionError, match="another envelope"):
        check_bodies(opened, ())


def test_every_not_now_of_judging_has_its_text() -> None:
    from protocol.catalogue import CATALOGUE

    for code in ("moved", "held", "sealing_key_unknown", "stanza_unusable", "sign_again", "issuer_unknown"):
        assert "not_now" in CATALOGUE[code].family
        error: TrucError = NotNow(code)
        assert error.family == "not_now"
        record(code)
