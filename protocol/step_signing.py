"""Signing what a batch of steps wants signed: one signature for all of one format and signer (DESIGN §3).

Pure but for the signers, which may live in hardware; called in the committer's worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from protocol import limits
from protocol.record import Change, Put
from protocol.records import Thing
from protocol.signing import Signed, Signer, joined, sign_batch
from protocol.step import ToSign

SIGNATURES_KEPT: Final = 4
"""Of one key after another; a statement lives 90 days, and its signatures must stay within the bytes that
an offer allows them (`judging.SIGNED_BYTES_MAX`)."""


def signed_changes(changes: Iterable[Change | ToSign], signers: Mapping[str, Signer]) -> tuple[list[Change], int]:
    """The changes with every statement replaced by its signed thing, and how many signatures that took."""
    groups: dict[tuple[str, str], list[ToSign]] = {}
    plain: list[Change] = []
    for change in changes:
        if isinstance(change, ToSign):
            groups.setdefault((change.format, change.agency), []).append(change)
        else:
            plain.append(change)
    for (format_name, agency), wanted in groups.items():
        things = sign_batch(format_name, [one.statement for one in wanted], signers[agency])
        for one, thing in zip(wanted, things, strict=True):
            whole = _beside(one.before, thing) if one.before else thing
            plain.append(Put(Thing(digest=whole.digest, wire=whole.to_wire())))
    return plain, len(groups)


def _beside(wire: bytes, thing: Signed) -> Signed:
    """The new signature beside the ones from before: they prove more of the thing's own time."""
    before = Signed.from_wire(wire, bytes_max=limits.THING_BYTES_MAX)
    return joined(before, thing) if len(before.signatures) < SIGNATURES_KEPT else thing
