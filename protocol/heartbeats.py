"""Heartbeats: a delegated key repeats the last checkpoint with a new time, and can say nothing else.

Spec: `spec/checkpoint.md` §3. Pure. The keys that may do so stand in the checkpoint itself, so a
heartbeat is judged by nothing but that. Of several for one registrar one counts, the same everywhere;
how fresh a log is by it, `checkpoint.log_age_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, Heartbeat, heartbeat_keys, heartbeat_rank
from protocol.court import Court, not_from_the_future, signers_of
from protocol.directory_kinds import DirectoryHistory, DirectoryThing, Subject, VersionRef
from protocol.directory_view import DirectoryView
from protocol.errors import NotNow, TrustError
from protocol.record import Change, Delete, Put
from protocol.signing import Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedHeartbeat:
    """A heartbeat that counts. `already` when it was accepted before."""

    value: Heartbeat
    signed: Signed
    already: bool = False


def find_checkpoint(view: DirectoryView, digest: bytes) -> Checkpoint | None:
    """The accepted checkpoint with this digest."""
    known = view.thing(digest)
    return CHECKPOINT.decode(known.statement) if known is not None and known.format == CHECKPOINT.name else None


def find_heartbeat(view: DirectoryView, registrar: str) -> tuple[Heartbeat, bytes] | None:
    """The heartbeat that counts for this registrar, with its digest."""
    history = view.history(Subject.HEARTBEAT, registrar)
    known = None if history is None else view.thing(history.versions[0].digest)
    return None if known is None else (HEARTBEAT.decode(known.statement), known.digest)


def judge_heartbeat(signed: Signed, value: Heartbeat, view: DirectoryView, court: Court) -> AcceptedHeartbeat:
    """Decide about a well-formed heartbeat.

    Raises:
        NotNow: `directory_future`, `directory_signer_unknown`, `directory_checkpoint_unknown`.
        TrustError: `directory_order` (it contradicts its checkpoint), `directory_rollback` (a later
            one is known), `signature_invalid`, `signature_path`.
    """
    if view.was_accepted(signed.digest):
        return AcceptedHeartbeat(value=value, signed=signed, already=True)
    not_from_the_future(value.created_ms, court)
    checkpoint = find_checkpoint(view, value.checkpoint)
    if checkpoint is None:
        raise NotNow("directory_checkpoint_unknown", registrar=value.registrar)
    place = (checkpoint.registrar, checkpoint.generation)
    if place != (value.registrar, value.generation) or value.created_ms < checkpoint.created_ms:
        raise TrustError("directory_order", registrar=value.registrar, code="")
    signers_of(signed, heartbeat_keys(checkpoint, value.created_ms), court.verifier, needed=1)
    if _known_rank(view, value.registrar) >= heartbeat_rank(value, checkpoint.number, signed.digest):
        raise TrustError("directory_rollback", registrar=value.registrar, code="")
    return AcceptedHeartbeat(value=value, signed=signed)


def _known_rank(view: DirectoryView, registrar: str) -> tuple[int, int, int, bytes]:
    known = find_heartbeat(view, registrar)
    checkpoint = None if known is None else find_checkpoint(view, known[0].checkpoint)
    if known is None or checkpoint is None:
        return (0, 0, 0, b"")
    return heartbeat_rank(known[0], checkpoint.number, known[1])


def heartbeat_changes(accepted: AcceptedHeartbeat, view: DirectoryView, now_ms: int) -> list[Change]:
    """The records that make it the one that counts; the one before is forgotten, nothing is judged by it."""
    assert not accepted.already
    value, digest = accepted.value, accepted.signed.digest
    before = view.history(Subject.HEARTBEAT, value.registrar)
    older = before.versions if before is not None else ()
    history = DirectoryHistory(
        subject=int(Subject.HEARTBEAT),
        code=value.registrar,
        versions=(VersionRef(digest=digest, created_ms=value.created_ms),),
        since_ms=before.since_ms if before is not None else now_ms,
    )
    thing = DirectoryThing(digest=digest, wire=accepted.signed.to_wire(), accepted_ms=now_ms)
    return [*(Delete(DirectoryThing, (item.digest,)) for item in older), Put(thing), Put(history)]
