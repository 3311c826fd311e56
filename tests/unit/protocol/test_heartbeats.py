"""Heartbeats: believed by their checkpoint alone, and of several one counts."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, Heartbeat
from protocol.directory_import import Imported, import_things
from protocol.directory_kinds import DirectoryThing, Subject
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import NotNow, TrucError, TrustError
from protocol.heartbeats import find_checkpoint, find_heartbeat
from protocol.limits import HOUR_MS
from protocol.prefix_tree import tree_key
from protocol.signing import Ed25519Signer, Signed, Verifier, countersign
from protocol.staged import Staged
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS, Tree, entry_of, key_seed

BEATS = Ed25519Signer(key_seed(3, "heartbeat"))
STRANGER = Ed25519Signer(key_seed(3, "stranger"))


class Registrar:
    """A tree whose level-1 registrar signs checkpoints, and one node that is told of them."""

    def __init__(self) -> None:
        self.tree = Tree.make()
        self.records = self.tree.records()
        self.view = DirectoryView(self.records)
        self.first = self.checkpoint()

    def checkpoint(self, **changes: Any) -> Signed:
        value = Checkpoint(
            **{
                "registrar": "level-1",
                "generation": 1,
                "number": self.tree.next_number("level-1"),
                "created_ms": self.tree.tick(),
                "count": 1,
                "root": tree_key(Subject.AGENCY, "G22"),
                "heartbeat": (entry_of(BEATS),),
                **changes,
            }
        )
        return self.tree.sign(CHECKPOINT, value, self.tree.level_1_signers)

    def beat(self, checkpoint: Signed, created_ms: int, signer: Ed25519Signer = BEATS, **changes: Any) -> Signed:
        value = {"registrar": "level-1", "generation": 1, "checkpoint": checkpoint.digest, "created_ms": created_ms}
        return self.tree.sign(HEARTBEAT, Heartbeat(**{**value, **changes}), [signer])

    def take(self, *things: Signed, now_ms: int = TREE_READY_MS) -> Imported:
        result = import_things(
            [thing.to_wire() for thing in things],
            self.records,
            anchor=self.tree.anchor,
            verifier=Verifier(),
            now_ms=now_ms,
            cache=RecordCache(),
        )
        self.records.stage(result.changes)
        return result

    def must_refuse(self, code: str, family: type[TrucError], thing: Signed) -> None:
        (rejected,) = self.take(thing).rejected
        with expects(code, family):
            raise rejected.error


def test_a_heartbeat_is_believed_with_its_checkpoint_in_whatever_order_they_come() -> None:
    registrar = Registrar()
    beat = registrar.beat(registrar.first, TREE_READY_MS)
    result = registrar.take(beat, registrar.first)
    assert not result.rejected
    assert [one.signed.digest for one in result.heartbeats] == [beat.digest]
    assert find_heartbeat(registrar.view, "level-1") == (HEARTBEAT.decode(beat.statement), beat.digest)
    assert registrar.take(beat).already == 1


def test_of_two_the_later_counts_and_the_earlier_is_forgotten() -> None:
    registrar = Registrar()
    early, late = (registrar.beat(registrar.first, TREE_READY_MS - ms) for ms in (HOUR_MS, 0))
    registrar.take(registrar.first, early)
    registrar.take(late)
    assert registrar.records.get(DirectoryThing, early.digest) is None
    registrar.must_refuse("directory_rollback", TrustError, early)


def test_one_for_a_newer_checkpoint_counts_whatever_its_date() -> None:
    registrar = Registrar()
    registrar.take(registrar.first, registrar.beat(registrar.first, TREE_READY_MS))
    second = registrar.checkpoint(previous=registrar.first.digest)
    value = CHECKPOINT.decode(second.statement)
    newer = registrar.beat(second, value.created_ms + 1)
    registrar.take(second, newer)
    found = find_heartbeat(registrar.view, "level-1")
    assert found is not None and found[1] == newer.digest


def test_without_its_checkpoint_nothing_is_decided() -> None:
    registrar = Registrar()
    registrar.must_refuse("directory_checkpoint_unknown", NotNow, registrar.beat(registrar.first, TREE_READY_MS))


def test_a_digest_of_something_else_names_no_checkpoint() -> None:
    registrar = Registrar()
    assert find_checkpoint(registrar.view, registrar.tree.signed[1].digest) is None
    about_a_record = registrar.beat(registrar.tree.signed[1], TREE_READY_MS)
    registrar.must_refuse("directory_checkpoint_unknown", NotNow, about_a_record)


@pytest.mark.parametrize("changes", [{"registrar": "root"}, {"generation": 2}, {"created_ms": 1}])
def test_one_that_contradicts_its_checkpoint_is_refused(changes: dict[str, Any]) -> None:
    registrar = Registrar()
    registrar.take(registrar.first)
    beat = registrar.beat(registrar.first, changes.pop("created_ms", TREE_READY_MS), **changes)
    registrar.must_refuse("directory_order", TrustError, beat)


def test_one_from_the_future_waits() -> None:
    registrar = Registrar()
    registrar.take(registrar.first)
    registrar.must_refuse("directory_future", NotNow, registrar.beat(registrar.first, TREE_READY_MS + HOUR_MS))


def test_only_the_keys_of_the_checkpoint_may_sign_it() -> None:
    registrar = Registrar()
    registrar.take(registrar.first)
    registrar.must_refuse("directory_signer_unknown", NotNow, registrar.beat(registrar.first, TREE_READY_MS, STRANGER))
    by_the_registrar = registrar.beat(registrar.first, TREE_READY_MS, registrar.tree.level_1_signers[0])
    registrar.must_refuse("directory_signer_unknown", NotNow, by_the_registrar)
    both = countersign(registrar.beat(registrar.first, TREE_READY_MS, STRANGER), BEATS)
    assert not registrar.take(both).rejected


def test_a_revoked_key_repeats_nothing() -> None:
    registrar = Registrar()
    revoked = registrar.checkpoint(heartbeat=(entry_of(BEATS, revoked_ms=TREE_READY_MS - 1),))
    registrar.take(revoked)
    registrar.must_refuse("directory_signer_unknown", NotNow, registrar.beat(revoked, TREE_READY_MS))


def test_nothing_is_lost_where_no_heartbeat_is_known() -> None:
    assert find_heartbeat(DirectoryView(Staged()), "level-1") is None
