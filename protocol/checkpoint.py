"""Checkpoints, heartbeats and fork proofs: what a registrar says about the whole of its log.

Spec: `spec/checkpoint.md` (DESIGN §3, "Trust tree"). Here stands what these statements look
like, what makes them well-formed in themselves, when a log is complete, and how fresh it is.
Whether a registrar's threshold really signed one is judged in `trust.py`; the tree that a
checkpoint names is `prefix_tree.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as _field
from enum import IntEnum
from hashlib import sha256
from typing import Annotated, Any, Final

from protocol.agency_code import read_agency_code
from protocol.directory import (
    AGENCY,
    ALGORITHM_X25519,
    CENTRE,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    KeyEntry,
    Positive,
    Registrar,
)
from protocol.directory_kinds import Subject
from protocol.encoding import Count, Digest, Extensions, Format, Key, Meta, TimeMs, decode, encode, lp
from protocol.errors import FormatError, TrustError
from protocol.limits import (
    CLOCK_SKEW_MS,
    DIRECTORY_WIRE_BYTES_MAX,
    FRESH_MS,
    HEARTBEAT_KEYS_MAX,
    KNOWN_MS,
    STATEMENT_BYTES_MAX,
)
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed

FORK_BYTES_MAX: Final = 2 * DIRECTORY_WIRE_BYTES_MAX + 64
"""Two things of the largest size, and what holds them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """At `created_ms` the registrar's log had these records and no others below `number`."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Positive, Key(3)]
    created_ms: Annotated[TimeMs, Key(4)]
    count: Annotated[Count, Key(5)]
    root: Annotated[Digest, Key(6)]
    previous: Annotated[Digest, Key(7)] = EMPTY
    heartbeat: Annotated[tuple[KeyEntry, ...], Meta(max_length=HEARTBEAT_KEYS_MAX), Key(8)] = ()
    extensions: Extensions = _field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """At `created_ms` that checkpoint was still the last one. Says nothing else."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    checkpoint: Annotated[Digest, Key(3)]
    created_ms: Annotated[TimeMs, Key(4)]
    extensions: Extensions = _field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two things of one registrar under one number, or two checkpoints after one, as wire bytes, the
    smaller digest first."""

    first: Annotated[bytes, Meta(max_length=DIRECTORY_WIRE_BYTES_MAX), Key(1)]
    second: Annotated[bytes, Meta(max_length=DIRECTORY_WIRE_BYTES_MAX), Key(2)]


CHECKPOINT: Final = Format("truc/checkpoint/1", Checkpoint, bytes_max=STATEMENT_BYTES_MAX)
HEARTBEAT: Final = Format("truc/heartbeat/1", Heartbeat, bytes_max=STATEMENT_BYTES_MAX)
FORK: Final = Format("truc/fork/1", Fork, bytes_max=FORK_BYTES_MAX)

NUMBERED: Final[dict[str, Format[Any]]] = {item.name: item for item in (CENTRE, AGENCY, CHECKPOINT)}
"""Formats whose things take a number in their registrar's log."""


# --- reading ------------------------------------------------------------------------------


def read_checkpoint(statement: bytes) -> Checkpoint:
    """A checkpoint from its canonical bytes.

    Raises:
        FormatError: as `Format.decode`; `format_agency_code`, `format_field`, `key_malformed`.
        TrustError: `key_small_order`.
    """
    value = CHECKPOINT.decode(statement)
    check_checkpoint(value)
    return value


def check_checkpoint(value: Checkpoint) -> None:
    """The rules of spec/checkpoint.md §2 within one statement. Raises: as `read_checkpoint`."""
    check_registrar(value.registrar)
    _require(value.count < value.number, "count", "more records than numbers below this one")
    _require((value.count == 0) == (value.root == EMPTY), "root", "contradicts the count")
    _require(value.number > 1 or value.previous == EMPTY, "previous", "nothing is before number 1")
    _check_heartbeat_keys(value.heartbeat)


def read_heartbeat(statement: bytes) -> Heartbeat:
    """A heartbeat from its canonical bytes.

    Raises:
        FormatError: as `Format.decode`; `format_agency_code`.
    """
    value = HEARTBEAT.decode(statement)
    check_heartbeat(value)
    return value


def check_heartbeat(value: Heartbeat) -> None:
    """The rules of spec/checkpoint.md §3 within one statement. Raises: as `read_heartbeat`."""
    check_registrar(value.registrar)


def check_registrar(registrar: str, *, field: str = "registrar") -> None:
    """Return if this may name a registrar: a role of the root, or an agency code.

    Raises:
        FormatError: `format_agency_code`.
    """
    if registrar not in {ROLE_ROOT, ROLE_LEVEL_1}:
        read_agency_code(registrar, field=field)


def _check_heartbeat_keys(entries: tuple[KeyEntry, ...]) -> None:
    for index, entry in enumerate(entries):
        at = f"heartbeat[{index}]"
        _require(entry.from_ms < entry.until_ms, f"{at}.until_ms", "not after from_ms")
        _require(entry.algorithm != ALGORITHM_X25519, f"{at}.algorithm", "a key for another use")
        if entry.algorithm == ALGORITHM_ED25519:
            PublicKey.of(entry.algorithm, entry.raw)
    ids = [entry.key_id for entry in entries]
    _require(len(set(ids)) == len(ids), "heartbeat", "repeated")


def _require(condition: bool, where: str, reason: str) -> None:
    if not condition:
        raise FormatError("format_field", field=where, reason=reason)


# --- heartbeats ---------------------------------------------------------------------------


def heartbeat_keys(checkpoint: Checkpoint, at_ms: int) -> dict[bytes, PublicKey]:
    """The keys, by id, that may repeat this checkpoint at that time; of algorithms that we know."""
    return {
        entry.key_id: PublicKey.of(entry.algorithm, entry.raw)
        for entry in checkpoint.heartbeat
        if entry.algorithm == ALGORITHM_ED25519
        and not entry.revoked_ms
        and entry.from_ms - CLOCK_SKEW_MS <= at_ms < entry.until_ms
    }


def heartbeat_rank(heartbeat: Heartbeat, number: int, digest: bytes) -> tuple[int, int, int, bytes]:
    """Of two heartbeats for one registrar the one with the larger rank counts, on every node alike.

    `number` is that of the checkpoint which it names, `digest` the heartbeat's own.
    """
    return (heartbeat.generation, number, heartbeat.created_ms, digest)


# --- completeness and freshness -------------------------------------------------------------


def check_complete(checkpoint: Checkpoint, tree: PrefixTree) -> None:
    """Return if `tree`, over all that is known below the checkpoint's number, is what it says.

    Raises:
        TrustError: `checkpoint_differs`.
    """
    if (len(tree), tree.root) != (checkpoint.count, checkpoint.root):
        raise TrustError(
            "checkpoint_differs",
            registrar=checkpoint.registrar,
            number=checkpoint.number,
            said=checkpoint.count,
            found=len(tree),
        )


class Tier(IntEnum):
    """How fresh a registrar's log is. The larger, the worse."""

    GREEN = 0
    KNOWN = 1
    OLD = 2


def log_age_ms(
    now_ms: int, checkpoint: Checkpoint | None, digest: bytes, heartbeat: Heartbeat | None
) -> int | None:
    """The age of a log: since its newest complete checkpoint, or the heartbeat that names it.

    `checkpoint` is None where no checkpoint is complete, and then there is no age.
    """
    if checkpoint is None:
        return None
    said_ms = checkpoint.created_ms
    if heartbeat is not None and heartbeat.checkpoint == digest:
        said_ms = max(said_ms, heartbeat.created_ms)
    return max(0, now_ms - said_ms)


def tier_of(age_ms: int | None) -> Tier:
    """The tier of a log of this age; one without a complete checkpoint is old."""
    if age_ms is None or age_ms > KNOWN_MS:
        return Tier.OLD
    return Tier.GREEN if age_ms <= FRESH_MS else Tier.KNOWN


def worst_tier(tiers: Iterable[Tier]) -> Tier:
    """The tier of what rests on several logs; of none, old."""
    return max(tiers, default=Tier.OLD)


# --- forks ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkClaim:
    """What a fork proof says. Nothing of it is verified: both things have still to be judged."""

    registrar: str
    generation: int
    number: int
    first: Signed
    second: Signed


def fork_of(one: Signed, other: Signed) -> Fork:
    """The proof made of two things, whichever way round they come. Raises: as `read_fork`."""
    first, second = sorted((one, other), key=lambda thing: thing.digest)
    proof = Fork(first=first.to_wire(), second=second.to_wire())
    check_fork(proof)
    return proof


def check_fork(proof: Fork) -> ForkClaim:
    """What the proof claims, if both things can be read and bear the same place.

    Raises:
        FormatError: as `Signed.from_wire` and `Format.decode`; `directory_format` (a thing
            without a number), `format_field` (as `fork_place`; the same thing, wrong order).
    """
    first, second = (Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX) for wire in (proof.first, proof.second))
    registrar, generation, number = fork_place(_numbered(first), _numbered(second))
    _require(first.digest < second.digest, "second", "the same thing, or before the first")
    check_registrar(registrar)
    return ForkClaim(registrar=registrar, generation=generation, number=number, first=first, second=second)


def fork_place(first: Any, second: Any) -> tuple[str, int, int]:
    """Registrar, generation and number of the fork that two statements of numbered formats prove if they differ.

    Raises:
        FormatError: `format_field` (neither one number nor, of two checkpoints, one before both).
    """
    places = [(value.registrar, value.generation) for value in (first, second)]
    both_marks = isinstance(first, Checkpoint) and isinstance(second, Checkpoint)
    same = first.number == second.number or (both_marks and first.previous == second.previous)
    _require(same and places[0] == places[1], "second", "another place")
    return *places[0], min(first.number, second.number)


def _numbered(signed: Signed) -> Any:
    form = NUMBERED.get(signed.format)
    if form is None:
        raise FormatError("directory_format", format=signed.format)
    return form.decode(signed.statement)


def fork_code(registrar: str, generation: int) -> str:
    """What a fork is about, as `code` of its tree key: no agency code has a slash."""
    return f"{registrar}/{generation}"


def waiting_keys(subject: int, code: str) -> tuple[bytes, bytes]:
    """The tree keys of what waits: of the pending version of this record, and of the one in force meanwhile."""
    about = f"{subject}/{code}"
    return tree_key(Subject.PENDING, about), tree_key(Subject.MEANWHILE, about)


def fork_name(registrar: str, generation: int) -> bytes:
    """Stands for the digest of a fork proof: it names the fact, so all proofs of it are the same thing."""
    return sha256(lp(FORK.name, fork_code(registrar, generation))).digest()


def fork_wire(proof: Fork) -> bytes:
    """A fork proof as it travels among signed things: without signatures."""
    return encode([FORK.name, FORK.encode(proof), []])


def read_fork(wire: bytes) -> Fork | None:
    """The fork proof in these wire bytes, None if they are not one at all (so a signed thing).

    Raises:
        FormatError: `format_too_large`, and as `Format.decode` and `check_fork`.
    """
    if not wire.startswith(_FORK_START):
        return None
    value = decode(wire, bytes_max=FORK_BYTES_MAX + 64)
    if type(value) is not list or len(value) != 3 or type(value[1]) is not bytes or value[2] != []:
        raise FormatError("format_field", field="thing", reason="expected a fork proof without signatures")
    proof = FORK.decode(value[1])
    check_fork(proof)
    return proof


_FORK_START: Final = b"\x93" + encode(FORK.name)
"""An array of three, of which this is the first."""


def thing_name(wire: bytes) -> bytes:
    """The digest of a signed thing, or the name of the fork that a proof is about: what it is fetched by.

    Raises:
        FormatError: as `Signed.from_wire` or `read_fork`.
    """
    proof = read_fork(wire)
    if proof is None:
        return Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX).digest
    claim = check_fork(proof)
    return fork_name(claim.registrar, claim.generation)
