"""Checkpoints, heartbeats, fork proofs: their vectors, completeness, freshness, and any bytes at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import (
    CHECKPOINT,
    FORK,
    HEARTBEAT,
    NUMBERED,
    Checkpoint,
    Heartbeat,
    Tier,
    check_checkpoint,
    check_complete,
    check_fork,
    check_heartbeat,
    fork_name,
    fork_of,
    fork_wire,
    heartbeat_keys,
    heartbeat_rank,
    log_age_ms,
    read_checkpoint,
    read_fork,
    read_heartbeat,
    thing_name,
    tier_of,
    worst_tier,
)
from protocol.directory import AGENCY, CENTRE
from protocol.directory_kinds import Subject
from protocol.errors import FormatError, TrucError, TrustError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, DIRECTORY_WIRE_BYTES_MAX, STATEMENT_BYTES_MAX
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.signing import Signature, Signed, sign
from tests.support.checkpoint_vectors import BEAT, FILES, FIRST, KEY, LATER, TWO, failure
from tests.support.errors import expects, record
from tests.support.reconcile_store import agency, checkpoint, lock, signer
from tests.support.statement_vectors import plain
from tests.support.tree import START_MS
from tests.support.vectors import FOLDER, load, written

ALL = load("checkpoint")
READERS: dict[str, Any] = {CHECKPOINT.name: read_checkpoint, HEARTBEAT.name: read_heartbeat, FORK.name: read_fork}


def named(*, kind: str) -> list[Any]:
    rows = [row for row in ALL if kind in row]
    return [pytest.param(row, id=row["name"]) for row in rows]


# --- vectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_committed_vectors_are_those_that_the_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == written(FILES[name]())
    names = [row["name"] for row in load(name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", named(kind="fields"))
def test_a_statement_reads_and_writes_back(row: dict[str, Any]) -> None:
    statement = bytes.fromhex(row["hex"])
    value = READERS[row["format"]](statement)
    assert plain(value) == row["fields"]
    form = CHECKPOINT if isinstance(value, Checkpoint) else HEARTBEAT
    assert form.encode(value) == statement
    assert sign(form.name, statement, signer("H38")).digest.hex() == row["thing_digest"]


@pytest.mark.parametrize("row", named(kind="fork_name"))
def test_a_fork_proof_reads_and_writes_back(row: dict[str, Any]) -> None:
    wire = bytes.fromhex(row["hex"])
    proof = read_fork(wire)
    assert proof is not None
    assert fork_wire(proof) == wire
    claim = check_fork(proof)
    assert (claim.registrar, claim.generation, claim.number) == (row["registrar"], row["generation"], row["number"])
    assert {claim.first.to_wire().hex(), claim.second.to_wire().hex()} == set(row["things"])
    assert thing_name(wire).hex() == fork_name(claim.registrar, claim.generation).hex() == row["fork_name"]


@pytest.mark.parametrize("row", named(kind="error"))
def test_what_must_not_pass_says_the_code_of_its_vector(row: dict[str, Any]) -> None:
    error = failure(row["format"], bytes.fromhex(row["hex"]))
    assert (error.code, error.field) == (row["error"], row["field"])
    record(error.code)


@given(st.binary(max_size=200), st.sampled_from(sorted(READERS)))
def test_any_bytes_are_read_or_are_a_format_error(octets: bytes, form: str) -> None:
    try:
        READERS[form](octets)
    except (FormatError, TrustError):
        return
    assert form == FORK.name, "only what is no fork proof at all passes"


@given(st.sampled_from([bytes.fromhex(row["hex"]) for row in ALL]), st.data())
def test_a_changed_byte_is_read_or_is_an_outcome(octets: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(octets) - 1))
    changed = octets[:at] + data.draw(st.binary(max_size=3)) + octets[at + 1 :]
    for reader in (*READERS.values(), thing_name):
        try:
            reader(changed)
        except TrucError as error:
            assert error.family in {"format", "trust"}


# --- forks ----------------------------------------------------------------------------------


def test_two_things_make_one_proof_whichever_came_first() -> None:
    assert fork_of(*TWO) == fork_of(*reversed(TWO))


def test_every_proof_of_one_fork_has_one_name() -> None:
    proofs = [fork_of(*TWO), fork_of(TWO[0], agency("H38", 5, "H38.3"))]
    names = {thing_name(fork_wire(proof)) for proof in proofs}
    assert names == {fork_name("H38", 1)}
    assert fork_name("H38", 2) not in names
    assert fork_name("H38.1", 1) != fork_name("H38", 11)


def test_a_signed_thing_is_no_fork_proof_and_is_named_by_its_digest() -> None:
    wire = TWO[0].to_wire()
    assert read_fork(wire) is None
    assert thing_name(wire) == TWO[0].digest


def test_a_proof_cannot_be_made_of_things_that_do_not_conflict() -> None:
    for other in (TWO[0], agency("H38", 6, "H38.1"), lock("H38", START_MS)):
        with expects("directory_format" if other.format == "truc/lock/1" else "format_field", FormatError):
            fork_of(TWO[0], other)


def test_a_proof_of_two_of_the_largest_things_can_be_carried() -> None:
    largest = [_largest(agency("H38", 5, "H38.1", name=str(n))) for n in range(2)]
    proof = fork_of(largest[0], largest[1])
    assert len(proof.first) > DIRECTORY_WIRE_BYTES_MAX - 200
    assert read_fork(fork_wire(proof)) == proof


def _largest(thing: Signed) -> Signed:
    """The same statement under as long signatures as fit."""
    room = DIRECTORY_WIRE_BYTES_MAX - len(thing.statement) - 16 * 44 - 40
    signatures = tuple(
        Signature(key_id=bytes((n,)) * 32, signature=bytes(room // 16), tree_size=1, leaf_index=0, path=())
        for n in range(16)
    )
    return Signed(format=thing.format, statement=thing.statement, signatures=signatures)


def test_a_proof_for_a_place_that_no_registrar_has_is_refused() -> None:
    two = [agency("nobody", 5, code) for code in ("H38.1", "H38.2")]
    with expects("format_agency_code", FormatError, field="registrar"):
        fork_of(two[0], two[1])


def test_records_and_checkpoints_share_one_row_of_numbers() -> None:
    assert set(NUMBERED) == {CENTRE.name, AGENCY.name, CHECKPOINT.name}
    claim = check_fork(fork_of(TWO[0], checkpoint("H38", 5)))
    assert {claim.first.format, claim.second.format} == {AGENCY.name, CHECKPOINT.name}


# --- completeness ---------------------------------------------------------------------------


def _tree(*codes: str) -> PrefixTree:
    made = PrefixTree()
    for code in codes:
        made.put(tree_key(Subject.AGENCY, code), agency("H38", 1, code).digest)
    return made


def test_a_log_is_complete_when_count_and_root_are_those_of_its_checkpoint() -> None:
    made = _tree("H38.1", "H38.2")
    said = replace(FIRST, count=2, root=made.root)
    check_complete(said, made)
    for other in (_tree("H38.1"), _tree("H38.1", "H38.3"), PrefixTree(), _tree("H38.1", "H38.2", "H38.3")):
        with expects("checkpoint_differs", TrustError) as caught:
            check_complete(said, other)
        assert caught[0].detail == {"registrar": "H38", "number": 4, "said": 2, "found": len(other)}
    with expects("checkpoint_differs", TrustError):
        check_complete(replace(said, count=1), made)


def test_an_empty_log_is_complete_at_once() -> None:
    said = replace(FIRST, number=1, count=0, root=EMPTY)
    check_checkpoint(said)
    check_complete(said, PrefixTree())


# --- heartbeats -----------------------------------------------------------------------------


def test_only_keys_that_the_checkpoint_lists_and_that_count_then_may_repeat_it() -> None:
    until_ms = KEY.until_ms
    assert set(heartbeat_keys(LATER, START_MS)) == {KEY.key_id}
    assert set(heartbeat_keys(LATER, KEY.from_ms - CLOCK_SKEW_MS)) == {KEY.key_id}
    assert heartbeat_keys(LATER, KEY.from_ms - CLOCK_SKEW_MS - 1) == {}
    assert set(heartbeat_keys(LATER, until_ms - 1)) == {KEY.key_id}
    assert heartbeat_keys(LATER, until_ms) == {}
    assert heartbeat_keys(FIRST, START_MS) == {}
    assert heartbeat_keys(replace(LATER, heartbeat=(replace(KEY, revoked_ms=1),)), START_MS) == {}


def test_a_heartbeat_key_of_a_later_algorithm_is_carried_and_not_used() -> None:
    value = replace(LATER, heartbeat=(replace(KEY, algorithm="ml-dsa-65", raw=bytes(7)),))
    assert read_checkpoint(CHECKPOINT.encode(value)) == value
    assert heartbeat_keys(value, START_MS) == {}


def test_of_two_heartbeats_the_one_for_the_later_checkpoint_counts_then_the_later() -> None:
    ranks = [
        heartbeat_rank(BEAT, 5, b"a"),
        heartbeat_rank(replace(BEAT, created_ms=START_MS + 1), 5, b"a"),
        heartbeat_rank(replace(BEAT, created_ms=START_MS + 1), 5, b"b"),
        heartbeat_rank(BEAT, 6, b"a"),
        heartbeat_rank(replace(BEAT, generation=2), 1, b"a"),
    ]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 5


def test_a_heartbeat_needs_a_registrar() -> None:
    check_heartbeat(BEAT)
    with expects("format_agency_code", FormatError, field="registrar"):
        check_heartbeat(replace(BEAT, registrar="nobody"))


def test_a_checkpoint_with_all_its_heartbeat_keys_is_a_small_statement() -> None:
    keys = tuple(replace(KEY, algorithm="x" * 40, raw=bytes(1_000) + bytes((n,))) for n in range(4))
    assert len(CHECKPOINT.encode(replace(LATER, heartbeat=keys))) < STATEMENT_BYTES_MAX / 8


# --- freshness ------------------------------------------------------------------------------

MARK = b"\x05" * 32


def _beat(at_ms: int, names: bytes = MARK) -> Heartbeat:
    return replace(BEAT, created_ms=at_ms, checkpoint=names)


def test_the_age_counts_from_the_checkpoint_or_the_heartbeat_that_names_it() -> None:
    now_ms = START_MS + 5 * DAY_MS
    assert log_age_ms(now_ms, FIRST, MARK, None) == 5 * DAY_MS
    assert log_age_ms(now_ms, FIRST, MARK, _beat(START_MS + DAY_MS)) == 4 * DAY_MS
    assert log_age_ms(now_ms, FIRST, MARK, _beat(START_MS - DAY_MS)) == 5 * DAY_MS
    assert log_age_ms(now_ms, FIRST, MARK, _beat(now_ms, b"\x06" * 32)) == 5 * DAY_MS
    assert log_age_ms(START_MS - 1, FIRST, MARK, None) == 0
    assert log_age_ms(now_ms, None, MARK, _beat(now_ms)) is None


@pytest.mark.parametrize(
    ("age_ms", "tier"),
    [
        (0, Tier.GREEN),
        (DAY_MS, Tier.GREEN),
        (DAY_MS + 1, Tier.KNOWN),
        (30 * DAY_MS, Tier.KNOWN),
        (30 * DAY_MS + 1, Tier.OLD),
        (None, Tier.OLD),
    ],
)
def test_tiers_change_after_a_day_and_after_thirty(age_ms: int | None, tier: Tier) -> None:
    assert tier_of(age_ms) is tier


def test_what_rests_on_several_logs_is_as_old_as_the_oldest() -> None:
    assert worst_tier([Tier.GREEN, Tier.KNOWN, Tier.GREEN]) is Tier.KNOWN
    assert worst_tier(iter([Tier.OLD, Tier.GREEN])) is Tier.OLD
    assert worst_tier([]) is Tier.OLD
