"""Judging an offer: what it says, whether its issuer said it, and whether it opens. Spec: `spec/delivery.md` §3.

Pure; the middle of DESIGN §4 step 5. Every wrong turn ends as one of two exceptions: `NotNow` for
what may be mended or blames the peer, `Refuse` for what is provable from the issuer's own signed
bytes. What follows from either is `receiving.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol import limits
from protocol.consignment import CONSIGNMENT, Consignment, check_consignment
from protocol.document import check_metadata
from protocol.entitlement import Purpose
from protocol.envelope import ENVELOPE, HEADER, Envelope, Header, check_envelope, check_header, total_size
from protocol.errors import FormatError, NotNow, RequestError, TrustError
from protocol.exchange import Offer, unread_subject
from protocol.record import PutBody
from protocol.refusal import refusal_code
from protocol.sealing import PartOpener, body_digest, committed_header_key, open_header, open_stanza, stanza_info
from protocol.signing import Signed
from protocol.speaking import who_signed
from protocol.step import Here, Party, VerifiedBody, View

SIGNED_BYTES_MAX: Final = limits.STATEMENT_BYTES_MAX + 8192
"""A statement with its signatures and their inclusion paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An offer as far as it has been read: two signed things and what they say."""

    centre: str
    offer: Offer
    consignment: Consignment
    consignment_thing: Signed
    envelope_thing: Signed

    @property
    def id(self) -> bytes:
        return self.consignment.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An offer that was judged: signed by the issuer, meant for an agency here, and open."""

    reading: Reading
    envelope: Envelope
    header: Header
    content_key: bytes
    issuer: Party
    recipient: Party

    @property
    def judged_by(self) -> tuple[bytes, ...]:
        """The directory records that the decision rests on."""
        return tuple(sorted({*self.issuer.records, *self.recipient.records}))


class Refuse(Exception):
    """The issuer's own signed bytes call for a refusal."""

    def __init__(self, reading: Reading, judged_by: tuple[bytes, ...], code: str, field: str = "") -> None:
        super().__init__(code)
        self.reading = reading
        self.judged_by = judged_by
        self.code = code
        self.field = field


# --- reading and trusting -------------------------------------------------------------------


def read(centre: str, offer: Offer) -> Reading:
    """What an offer says: both signed things, and the consignment's statement.

    Raises:
        FormatError: consignment or envelope cannot be read. Nobody is known to have signed that, so
            nothing final can be said about it.
    """
    consignment_thing = Signed.from_wire(offer.consignment, bytes_max=SIGNED_BYTES_MAX)
    if consignment_thing.format != CONSIGNMENT.name:
        raise FormatError("format_other", found=consignment_thing.format, wanted=CONSIGNMENT.name)
    consignment = CONSIGNMENT.decode(consignment_thing.statement)
    check_consignment(consignment)
    return Reading(
        centre=centre,
        offer=offer,
        consignment=consignment,
        consignment_thing=consignment_thing,
        envelope_thing=Signed.from_wire(offer.envelope, bytes_max=SIGNED_BYTES_MAX),
    )


def subject_of(offer: Offer) -> bytes:
    """What an answer to this offer names, even if it cannot be read: the consignment's id, or the
    digest of the bytes that stand in its place."""
    try:
        thing = Signed.from_wire(offer.consignment, bytes_max=SIGNED_BYTES_MAX)
        if thing.format == CONSIGNMENT.name:
            return CONSIGNMENT.decode(thing.statement).id
    except FormatError:
        pass
    return unread_subject(offer.consignment)


def open_offer(view: View, here: Here, reading: Reading) -> Opened:
    """Judge an offer by the directory and clock of now, and open its header.

    Raises:
        NotNow: it cannot be judged or opened at present.
        Refuse: the issuer's own bytes call for a refusal.
    """
    if not here.clock_trusted:
        raise NotNow("clock")
    recipient = _recipient(view, here, reading)
    issuer = issuer_of(view, reading)
    if issuer.state == "locked":  # no new documents, whatever time they claim to be from
        raise NotNow("held")
    if here.pki_missing(issuer.code):
        raise NotNow("pki_required")
    envelope = _envelope(view, here, reading, issuer)
    judged_by = tuple(sorted({*issuer.records, *recipient.records}))
    _check_limits(here, reading, envelope, judged_by)
    content_key, header_key = _keys(here, reading, envelope, recipient)
    header = _header(reading, envelope, header_key, judged_by)
    return Opened(
        reading=reading, envelope=envelope, header=header, content_key=content_key, issuer=issuer, recipient=recipient
    )


def _recipient(view: View, here: Here, reading: Reading) -> Party:
    party = view.directory.party(reading.consignment.recipient, at_ms=here.now_ms)
    if party is None or party.centre != here.centre:
        raise NotNow("moved")
    if party.epoch != reading.offer.epoch:
        raise NotNow("record_stale")
    if party.state != "active":
        raise NotNow("held")
    if here.signing_keys.get("") not in party.centre_signers:
        raise NotNow("record_stale")  # nobody would believe our receipt
    if "" in here.signers_away:
        raise NotNow("signer_away")  # the receipt is the acceptance, and a refusal is signed as well
    return party


def issuer_of(view: View, reading: Reading) -> Party:
    """The issuer, if the offer comes from its present host.

    Raises:
        NotNow: `issuer_unknown`, `record_stale`.
    """
    party = view.directory.party(reading.consignment.issuer, at_ms=reading.consignment.created_ms)
    if party is None:
        raise NotNow("issuer_unknown")
    if party.centre != reading.centre:
        raise NotNow("record_stale")
    return party


def _envelope(view: View, here: Here, reading: Reading, issuer: Party) -> Envelope:
    """The envelope, with both signatures verified and the two things belonging together."""
    thing = reading.envelope_thing
    if thing.format != ENVELOPE.name:
        raise NotNow("newer_format")
    try:
        envelope = ENVELOPE.decode(thing.statement)
    except FormatError as error:
        raise NotNow("newer_format" if error.code == "format_newer" else "offer_unreadable") from error
    consignment = reading.consignment
    if (consignment.envelope, consignment.issuer) != (thing.digest, envelope.issuer):
        raise NotNow("offer_mismatch")
    for signed, created_ms in ((reading.consignment_thing, consignment.created_ms), (thing, envelope.created_ms)):
        if created_ms > here.now_ms + limits.CLOCK_SKEW_MS:
            raise NotNow("clock")
        _verify(view, here, signed, issuer, created_ms)
    return envelope


def _verify(view: View, here: Here, signed: Signed, issuer: Party, created_ms: int) -> None:
    key = who_signed(view, here, signed, issuer, Purpose.AGENCY, created_ms)
    try:
        here.verifier.verify(signed, key)
    except TrustError as error:
        raise NotNow("signature_refused") from error


def _check_limits(here: Here, reading: Reading, envelope: Envelope, judged_by: tuple[bytes, ...]) -> None:
    try:
        check_envelope(envelope)
    except FormatError as error:
        raise Refuse(reading, judged_by, refusal_code(error), error.field) from error
    if envelope.expires_ms <= here.now_ms:
        raise Refuse(reading, judged_by, "expired", "expires_ms")
    if total_size(envelope.parts) > here.settings.parts_bytes_max:
        raise Refuse(reading, judged_by, "too_large", "parts")


def _keys(here: Here, reading: Reading, envelope: Envelope, recipient: Party) -> tuple[bytes, bytes]:
    """Content key and header key. The stanza is unsigned, so what is wrong with it is no refusal."""
    offer = reading.offer
    sealing_key = here.sealing_keys.get(offer.key_id)
    if sealing_key is None:
        raise NotNow("sealing_key_unknown")
    info = stanza_info(offer.key_id, reading.id, reading.envelope_thing.digest, recipient.code, recipient.epoch)
    try:
        content_key = open_stanza(sealing_key, offer.stanza, info)
        return content_key, committed_header_key(content_key, envelope.envelope_id, envelope.commitment)
    except TrustError as error:
        raise NotNow("stanza_unusable") from error


def _header(reading: Reading, envelope: Envelope, header_key: bytes, judged_by: tuple[bytes, ...]) -> Header:
    sealed = reading.offer.header
    if len(sealed) != envelope.header_size or body_digest(sealed) != envelope.header_digest:
        raise NotNow("body_damaged")
    try:
        header = HEADER.decode(open_header(header_key, sealed))
        check_header(header, envelope)
        check_metadata(header.metadata)
    except FormatError as error:
        if error.code == "format_newer":
            raise NotNow("newer_format") from error
        raise Refuse(reading, judged_by, refusal_code(error), error.field) from error
    except (TrustError, RequestError) as error:
        raise Refuse(reading, judged_by, refusal_code(error), error.field) from error
    return header


# --- bodies ---------------------------------------------------------------------------------


def open_inline(opened: Opened) -> tuple[VerifiedBody, ...]:
    """Hash and open the bodies that came inside the offer.

    Raises:
        NotNow: `body_damaged` (not the bytes that the envelope names).
        Refuse: `part_mismatch` (the named bytes do not open).
    """
    inline = opened.reading.offer.inline
    if len(inline) != len(opened.envelope.parts):
        raise NotNow("body_damaged")
    bodies: list[VerifiedBody] = []
    for ref, secret, sealed in zip(opened.envelope.parts, opened.header.parts, inline, strict=True):
        if len(sealed) != ref.size or body_digest(sealed) != ref.digest:
            raise NotNow("body_damaged")
        opener = PartOpener(secret.key)
        try:
            opener.feed(sealed)
            opener.finish()
        except TrustError as error:
            raise Refuse(opened.reading, opened.judged_by, "part_mismatch", "parts") from error
        bodies.append(
            VerifiedBody(
                digest=ref.digest,
                size=ref.size,
                plain_digest=opener.plain_digest,
                plain_size=opener.plain_size,
                put=PutBody(ref.digest, sealed),
            )
        )
    return tuple(bodies)


def check_bodies(opened: Opened, bodies: tuple[VerifiedBody, ...]) -> None:
    """Checked again at this border: what is about to be promised is what the issuer signed."""
    signed = [(ref.digest, ref.size) for ref in opened.envelope.parts]
    assert [(body.digest, body.size) for body in bodies] == signed, "bodies of another envelope"
    for index, (body, secret) in enumerate(zip(bodies, opened.header.parts, strict=True)):
        if (body.plain_digest, body.plain_size) != (secret.plain_digest, secret.plain_size):
            raise Refuse(opened.reading, opened.judged_by, "part_mismatch", f"parts[{index}]")
