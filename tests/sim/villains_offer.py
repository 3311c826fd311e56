"""An offer that a hostile centre makes in the name of its own agency: signed by whom it should be,
sealed to whom it should be, and not what it says in one point.

    commitment   the content key opens another envelope than the signed one
    header       what the key opens is no header
    digest       a part is not the bytes that the header promises
    body         the signed bodies exist nowhere: whoever pulls them gets something else
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from protocol.consignment import CONSIGNMENT, Consignment
from protocol.document import Metadata
from protocol.envelope import ENVELOPE, Envelope, Header, PartRef, PartSecret, encode_header
from protocol.exchange import Offer
from protocol.limits import DAY_MS
from protocol.sealing import PartSealer, body_digest, header_keys, seal_header, stanza_info, wrap_stanza
from protocol.signing import sign
from tests.sim.country import VILLAIN, VILLAINS_AGENCY, Country
from tests.sim.environment import EPOCH_MS, virtual_ms

PULLED_BYTES = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    ref: PartRef
    secret: PartSecret
    inline: tuple[bytes, ...]


def make_offer(country: Country, chance: Random, victim: str, recipient: str, lie: str) -> Offer:
    """One offer to an agency that the victim hosts."""
    envelope_id, content_key, part = chance.randbytes(16), chance.randbytes(32), _part(chance, lie)
    keys, now_ms = header_keys(content_key, envelope_id), EPOCH_MS + virtual_ms()
    header = Header(
        metadata=Metadata(type="Công văn", subject="V/v", secrecy="none"),
        idempotency_key="k",
        system=bytes(16),
        parts=(part.secret,),
    )
    plain = chance.randbytes(100) if lie == "header" else encode_header(header)
    sealed = seal_header(keys.header_key, plain)
    envelope = Envelope(
        envelope_id=envelope_id,
        issuer=VILLAINS_AGENCY,
        created_ms=now_ms,
        expires_ms=now_ms + chance.choice((1, 5)) * DAY_MS,
        lane=0,
        commitment=chance.randbytes(32) if lie == "commitment" else keys.commitment,
        header_digest=body_digest(sealed),
        header_size=len(sealed),
        parts=(part.ref,),
    )
    signer = country.centre(VILLAIN).signer
    signed = sign(ENVELOPE.name, ENVELOPE.encode(envelope), signer)
    consignment = Consignment(
        envelope=signed.digest, issuer=VILLAINS_AGENCY, recipient=recipient, created_ms=now_ms
    )
    sealing = country.keys[victim].sealing[0]
    info = stanza_info(sealing.key_id, consignment.id, signed.digest, recipient, 1)
    return Offer(
        number=chance.choice((1, 5, 2**40)),
        envelope=signed.to_wire(),
        consignment=sign(CONSIGNMENT.name, CONSIGNMENT.encode(consignment), signer).to_wire(),
        key_id=sealing.key_id,
        stanza=wrap_stanza(content_key, sealing.public_raw, info),
        epoch=1,
        header=sealed,
        inline=part.inline,
    )


def _part(chance: Random, lie: str) -> _Part:
    """Sound, except for a wrong plain digest, or a body that is promised and does not exist."""
    key, content = chance.randbytes(32), chance.randbytes(500)
    sealer = PartSealer(key)
    sealed = sealer.feed(content) + sealer.finish()
    pulled = lie == "body"
    ref = PartRef(chance.randbytes(32), PULLED_BYTES) if pulled else PartRef(sealer.body_digest, len(sealed))
    secret = PartSecret(
        key=key,
        name="a.bin",
        media_type="application/octet-stream",
        plain_size=PULLED_BYTES - 112 if pulled else len(content),
        plain_digest=chance.randbytes(32) if lie == "digest" else sealer.plain_digest,
    )
    return _Part(ref=ref, secret=secret, inline=() if pulled else (sealed,))
