"""What was accepted before anybody knew that a key was compromised.

Spec: `spec/trust.md` §2. Accepted is accepted: a thing is judged once. But whoever holds what a
compromised key signed in that span must be told, and so must whoever signs it anew. Pure: the
things are given, all of a store or those of one registrar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from protocol.checkpoint import NUMBERED
from protocol.directory import FORMATS, KeyEntry, NodeRecord
from protocol.errors import TrustError
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A thing that a compromised key signed in the span in which others may have had it."""

    signed: Signed
    created_ms: int
    key_id: bytes


def suspects(entries: Iterable[KeyEntry], things: Iterable[Signed], verifier: Verifier) -> Iterator[Suspect]:
    """Those of the directory's things that a key of these entries signed since it was compromised."""
    since = {
        entry.key_id: entry for entry in entries if entry.compromised_ms and entry.algorithm == ALGORITHM_ED25519
    }
    for signed in things:
        named = [item.key_id for item in signed.signatures if item.key_id in since]
        created_ms = _date_of(signed) if named else None
        for key_id in named:
            entry = since[key_id]
            if created_ms is not None and created_ms >= entry.compromised_ms and _signed_by(signed, entry, verifier):
                yield Suspect(signed=signed, created_ms=created_ms, key_id=key_id)


def _date_of(signed: Signed) -> int | None:
    """When a thing says it was made; None for what is not the directory's."""
    form = NUMBERED.get(signed.format) or FORMATS.get(signed.format)
    if form is None:
        return None
    value = form.decode(signed.statement)
    created_ms: int = value.from_ms if isinstance(value, NodeRecord) else value.created_ms
    return created_ms


def _signed_by(signed: Signed, entry: KeyEntry, verifier: Verifier) -> bool:
    try:
        verifier.verify(signed, PublicKey.of(entry.algorithm, entry.raw))
    except TrustError:
        return False
    return True
