"""Checkpoints and fork proofs of a registrar's log: who signed them, and what they change.

Spec: `spec/trust.md` §4, `spec/checkpoint.md`. A checkpoint takes a number like a record and is
signed like one; what it says about the log is compared by whoever holds the log. A fork proof is
not signed itself: it is two signed things, and either of them may have been known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from protocol.checkpoint import NUMBERED, fork_place
from protocol.court import Court, not_from_the_future
from protocol.directory_kinds import DirectoryFollower, DirectoryFork, DirectoryNumber, DirectoryThing
from protocol.entitlement import Lookup, registrar
from protocol.errors import FormatError, TrustError
from protocol.record import Change, Put
from protocol.registration import check_number, registrar_signers
from protocol.signing import Signed


class Logged(Protocol):
    """What everything in a registrar's log says about its place there."""

    @property
    def registrar(self) -> str: ...

    @property
    def generation(self) -> int: ...

    @property
    def number(self) -> int: ...

    @property
    def created_ms(self) -> int: ...


class CheckpointLike(Logged, Protocol):
    """A checkpoint, as far as it matters who signed it and what it follows."""

    @property
    def previous(self) -> bytes: ...


# --- checkpoints ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedCheckpoint:
    """A checkpoint that its registrar signed. `already` when it was accepted before."""

    value: CheckpointLike
    signed: Signed
    signers: tuple[bytes, ...] = ()
    already: bool = False


def judge_checkpoint(
    signed: Signed, value: CheckpointLike, court: Court, *, previous: CheckpointLike | None = None
) -> AcceptedCheckpoint:
    """Decide about a well-formed checkpoint. `previous`: the one that it names, if it is known here.

    Raises:
        NotNow, TrustError: as `registration.registered` (but `directory_not_entitled`; `directory_fork`
            also for a second one after the same), and `directory_order` (it does not follow the one that it names).
    """
    if court.lookup.was_accepted(signed.digest):
        return AcceptedCheckpoint(value=value, signed=signed, already=True)
    not_from_the_future(value.created_ms, court)
    by = registrar(court.lookup, value.registrar, value.created_ms)
    signers = registrar_signers(signed, by, value.created_ms, court)
    if follower_of(value, court.lookup) not in {None, signed.digest}:
        raise TrustError("directory_fork", registrar=value.registrar, code="")
    check_number(signed, by, value.generation, value.number, court, about="")
    if previous is not None and not _follows(previous, value):
        raise TrustError("directory_order", registrar=value.registrar, code="")
    return AcceptedCheckpoint(value=value, signed=signed, signers=signers)


def follower_of(value: CheckpointLike, lookup: Lookup) -> bytes | None:
    """The digest of the checkpoint that is known to name the same one before it."""
    return lookup.follower(value.registrar, value.generation, value.previous)


def _follows(earlier: Logged, later: Logged) -> bool:
    one_log = (earlier.registrar, earlier.generation) == (later.registrar, later.generation)
    return one_log and earlier.number < later.number and earlier.created_ms <= later.created_ms


def checkpoint_changes(accepted: AcceptedCheckpoint, now_ms: int) -> list[Change]:
    """The records that make an accepted checkpoint part of the log."""
    assert not accepted.already
    value, digest = accepted.value, accepted.signed.digest
    number = DirectoryNumber(
        registrar=value.registrar, generation=value.generation, number=value.number, digest=digest
    )
    follower = DirectoryFollower(
        registrar=value.registrar, generation=value.generation, previous=value.previous, digest=digest
    )
    thing = DirectoryThing(digest=digest, wire=accepted.signed.to_wire(), accepted_ms=now_ms)
    return [Put(thing), Put(number), Put(follower)]


# --- forks ----------------------------------------------------------------------------------


def judge_fork(first: Signed, second: Signed, court: Court) -> DirectoryFork:
    """What to store of two things that prove a fork; the proof that is stored already, if one is.

    Whichever of the two was known before, or none, both are verified.

    Raises:
        FormatError: `directory_format` (a thing without a number), `format_field` (the same thing, and
            as `checkpoint.fork_place`), or a statement cannot be read.
        NotNow, TrustError: as `entitlement.registrar` and `registrar_signers`; `directory_generation`
            (the parent has not opened it: nobody may say there what nobody may say yet).
    """
    values = [_logged(signed) for signed in (first, second)]
    fork_place(*values)
    if first.digest == second.digest:
        raise FormatError("format_field", field="second", reason="the same thing")
    for signed, value in zip((first, second), values, strict=True):
        by = registrar(court.lookup, value.registrar, value.created_ms)
        registrar_signers(signed, by, value.created_ms, court)
        if value.generation > by.generation:
            raise TrustError(
                "directory_generation", found=value.generation, open=by.generation, registrar=by.name, code=""
            )
    known = court.lookup.fork(values[0].registrar, values[0].generation)
    return known if known is not None else fork_record(first, second)


def _logged(signed: Signed) -> Logged:
    form = NUMBERED.get(signed.format)
    if form is None:
        raise FormatError("directory_format", format=signed.format)
    value: Logged = form.decode(signed.statement)
    return value


def fork_record(one: Signed, other: Signed) -> DirectoryFork:
    """The proof made of two things that cannot both be, the same whichever was known first."""
    first, second = sorted((one, other), key=lambda signed: signed.digest)
    registrar, generation, number = fork_place(_logged(one), _logged(other))
    return DirectoryFork(
        registrar=registrar,
        generation=generation,
        number=number,
        first=first.digest,
        second=second.to_wire(),
        first_wire=first.to_wire(),
    )
