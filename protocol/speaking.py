"""Who signed a statement about a consignment, and signing it again. Spec: `spec/trust.md` §8, §9.

A statement is judged once, when it arrives, by the key of its own time; when that key does not
count any more, by a key of now. So whoever gave up a key between signing and being believed signs
the same statement with the new one: the digest covers no signatures, so it is the same thing, and
nothing that hangs on it moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocol import limits
from protocol.draft import Draft
from protocol.entitlement import Purpose
from protocol.errors import NotNow
from protocol.records import Thing
from protocol.signing import PublicKey, Signed
from protocol.step import Here, Party, View


def keys_of_party(party: Party, purpose: Purpose) -> Mapping[bytes, PublicKey]:
    """The keys that speak for this purpose."""
    return party.centre_signers if purpose is Purpose.CENTRE else party.signers


def signing_key(signed: Signed, keys: Mapping[bytes, PublicKey]) -> PublicKey | None:
    """The key among these that claims to have signed; the signature is yet to be verified."""
    for signature in signed.signatures:
        if signature.key_id in keys:
            return keys[signature.key_id]
    return None


def who_signed(
    view: View, here: Here, signed: Signed, party: Party, purpose: Purpose, made_ms: int, *, epoch: int | None = None
) -> PublicKey:
    """The key that makes this statement count; its signature is yet to be verified.

    `party` is its author with the keys of `made_ms` (milliseconds; under `epoch`, if the statement
    names one). A statement of more than 90 days ago needs a key of now.

    Raises:
        NotNow: `sign_again` (a key that we know, and that does not count), `record_stale` (none
            that we know).
    """
    late = here.clock_trusted and made_ms < here.now_ms - limits.SIGNED_AGE_MAX_MS
    key = None if late else signing_key(signed, keys_of_party(party, purpose))
    if key is None:
        now = view.directory.party(party.code, at_ms=here.now_ms, epoch=epoch)
        key = None if now is None else signing_key(signed, keys_of_party(now, purpose))
    if key is None:
        known = signing_key(signed, view.directory.listed_keys(party.code)) is not None
        raise NotNow("sign_again" if known else "record_stale")
    return key


def sign_again(
    draft: Draft, agency: str, purpose: Purpose, digests: Iterable[bytes], *, epoch: int | None = None
) -> bool:
    """Have stored things signed by the key that speaks for an agency now, and that this node holds.

    Returns whether anything is signed: not when the key of now has signed already, nor when this node
    holds no key that the directory lists, or its signer is away; then only time or a person can help.
    """
    here = draft.here
    party = draft.view.directory.party(agency, at_ms=here.now_ms, epoch=epoch)
    if party is None:
        return False
    signer = agency if party.own_keys and purpose is Purpose.AGENCY else ""
    key_id = here.signing_keys.get(signer)
    if key_id is None or key_id not in keys_of_party(party, purpose) or signer in here.signers_away:
        return False
    signed_any = False
    for digest in digests:
        thing = draft.get(Thing, digest)
        if thing is None:
            continue
        before = Signed.from_wire(thing.wire, bytes_max=limits.THING_BYTES_MAX)
        if not before.has_signature_of(key_id):
            draft.sign(before.format, before.statement, signer, before=thing.wire)
            signed_any = True
    return signed_any
