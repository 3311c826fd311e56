"""Reconciliation: whatever two nodes know, afterwards the asking one knows both; a liar ends with his code."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import fork_name, fork_of, fork_wire
from protocol.errors import FormatError, NetworkError, NotNow, TrucError, TrustError
from protocol.heads import Heads, LogHead
from protocol.limits import (
    RECONCILE_ANSWER_FRAMES_MAX,
    RECONCILE_COPIES_MAX,
    RECONCILE_FRAME_BYTES_MAX,
    RECONCILE_JUNK_MAX,
    RECONCILE_LOGS_FRAME,
    RECONCILE_LOGS_MAX,
    RECONCILE_LOGS_SLICE,
    RECONCILE_RESTARTS_MAX,
    RECONCILE_UNTAKEN_MAX,
)
from protocol.prefix_tree import EMPTY, NOTHING, Node, PrefixTree, joined, tree_key
from protocol.reconcile import Ask, Asker, Event, Over, Things, is_junk
from protocol.reconcile_frames import (
    Answer,
    Done,
    HeadsAsked,
    HeadsGiven,
    LogAsked,
    LogGiven,
    Question,
    RootsAsked,
    ThingsAsked,
    ThingsGiven,
    TreeAsked,
    TreeGiven,
    frame_bytes,
    read_question,
)
from protocol.signing import Signed, countersign
from tests.support.errors import expects
from tests.support.reconcile_store import Store, agency, ask_once, checkpoint, lock, root, signer
from tests.support.tree import START_MS


def digest(name: str) -> bytes:
    return sha256(name.encode()).digest()


def records(registrar: str, numbers: Iterable[int], **more: Any) -> list[Signed]:
    """Records of a registrar under these numbers; every fourth number replaces the first code."""
    return [agency(registrar, n, f"{registrar}.{n if n % 4 else 1}", **more) for n in numbers]


# --- two honest nodes -----------------------------------------------------------------------

REGISTRARS = ("H38", "H39", "H38.7")
ALL_THINGS = [
    *(thing for name in REGISTRARS for thing in records(name, range(1, 10))),
    *(checkpoint(name, 10) for name in REGISTRARS),
    *(lock(code, START_MS + later) for code in ("H38", "H39", "H40") for later in range(2)),
    *(root(version) for version in range(1, 4)),
]
ROOTS = [thing for thing in ALL_THINGS if thing.format == "truc/root/1"]


def store_of(chosen: Iterable[int], roots: int) -> Store:
    """Some of all things; of roots the first few, because nobody takes one before its predecessor."""
    others = [ALL_THINGS[n] for n in chosen if ALL_THINGS[n] not in ROOTS]
    locks = sorted((t for t in others if t.format == "truc/lock/1"), key=ALL_THINGS.index)
    return Store([*(t for t in others if t not in locks), *locks, *ROOTS[:roots]])


SOME = st.sets(st.integers(0, len(ALL_THINGS) - 1))


@given(SOME, SOME, st.integers(0, 3), st.integers(0, 3))
def test_after_asking_both_ways_two_nodes_know_the_same(a: set[int], b: set[int], x: int, y: int) -> None:
    one, other = store_of(a, x), store_of(b, y)
    first, second = ask_once(one, other), ask_once(other, one)
    assert first.over.settled and second.over.settled
    assert (first.over.untaken, second.over.untaken) == (0, 0)
    assert one.loose.root == other.loose.root
    assert sorted(one.versions) == sorted(other.versions) == list(range(1, max(x, y) + 1))
    for name in REGISTRARS:
        known = {n for n in range(1, 11) for s in (a, b) if _place(name, n) in s}
        if known == set(range(1, max(known, default=0) + 1)):
            assert one.head(name) == other.head(name)


def _place(registrar: str, number: int) -> int:
    wanted = checkpoint(registrar, 10) if number == 10 else records(registrar, [number])[0]
    return next(n for n, thing in enumerate(ALL_THINGS) if thing.digest == wanted.digest)


@given(SOME, st.integers(1, 700))
def test_whoever_knows_a_part_learns_the_whole(chosen: set[int], piece: int) -> None:
    mine, all_of_it = store_of(chosen, 1), store_of(range(len(ALL_THINGS)), 3)
    assert ask_once(mine, all_of_it, piece=piece).over.settled
    assert mine.heads() == all_of_it.heads()
    again = ask_once(mine, all_of_it)
    assert (again.questions, again.over.things) == (1, 0)


def test_bytes_one_by_one_are_the_same_session() -> None:
    all_of_it = store_of(range(len(ALL_THINGS)), 3)
    courses = [ask_once(Store(), all_of_it, piece=piece) for piece in (0, 1)]
    assert courses[0] == courses[1]
    assert courses[0].over.things == len(ALL_THINGS) - 3, "three locks are superseded"


def test_equal_nodes_ask_one_question() -> None:
    course = ask_once(store_of(range(20), 1), store_of(range(20), 1))
    assert (course.questions, course.over) == (1, Over(settled=True, things=0, untaken=0))


def test_a_node_that_was_away_gets_little_more_than_what_changed() -> None:
    before = records("H38", range(1, 501))
    mine = Store(before)
    changed = records("H38", range(501, 601))
    course = ask_once(mine, Store([*before, *changed]))
    wires = sum(len(thing.to_wire()) for thing in changed)
    assert course.over == Over(settled=True, things=100, untaken=0)
    assert course.bytes_given < 1.1 * wires + 1_000
    assert course.questions == 2


def test_a_long_log_comes_in_several_answers() -> None:
    many = [agency("H38", n, f"H38.{n}", ballast=30_000) for n in range(1, 200)]
    mine, theirs = Store(), Store(many)
    course = ask_once(mine, theirs)
    assert mine.heads() == theirs.heads()
    assert course.questions > 2, "the first answer was full"


def test_only_the_missing_numbers_are_asked_for() -> None:
    everything = records("H38", range(1, 100))
    mine = Store(thing for n, thing in enumerate(everything) if n % 30)
    course = ask_once(mine, Store(everything))
    assert (course.over.things, course.questions) == (4, 5)
    assert mine.heads() == Store(everything).heads()


def test_a_gap_that_the_other_side_has_too_is_filled_around_by_the_tree() -> None:
    everything = records("H38", range(1, 60))
    mine, theirs = Store(everything[:9] + everything[20:30]), Store(everything[:9] + everything[12:40])
    ask_once(mine, theirs)
    ask_once(theirs, mine)
    assert mine.head("H38") == theirs.head("H38")
    assert mine.tree("H38", 1) is not None and mine.holds(everything[38].digest)


def test_a_new_generation_is_asked_for_from_its_beginning() -> None:
    mine = Store(records("H38", range(1, 9)))
    mine.generation = 2
    theirs = Store(records("H38", range(1, 6), generation=2), generation=2)
    ask_once(mine, theirs)
    assert mine.head("H38") == theirs.head("H38")


def test_a_log_of_which_nothing_new_is_believed_is_not_asked_for() -> None:
    mine, theirs = Store(), Store(records("H38", range(1, 9), generation=2), generation=2)
    course = ask_once(mine, theirs)
    assert (course.questions, course.over) == (1, Over(settled=True, things=0, untaken=0, skipped=1))


def test_whoever_shows_thousands_of_logs_that_nobody_knows_stops_nobody_else() -> None:
    mine = Store()
    mine.generation = 2
    names = [f"H38.{n}" for n in range(1_000, 1_000 + RECONCILE_LOGS_FRAME)]
    logs = tuple(LogHead(registrar=name, generation=1, number=9) for name in names)
    asker = Asker(mine)
    asker.start()
    events = asker.receive(frame_bytes(HeadsGiven(logs=logs)))
    pauses = 0
    while events == [Things(())]:
        pauses += 1
        events = asker.judged()
    assert pauses == RECONCILE_LOGS_FRAME // RECONCILE_LOGS_SLICE
    assert events == [Over(settled=True, things=0, untaken=0, skipped=RECONCILE_LOGS_FRAME)]


# --- forks ----------------------------------------------------------------------------------


def test_two_records_under_one_number_are_found_and_proved_on_both_sides() -> None:
    common = records("H38", range(1, 5))
    one = Store([*common, agency("H38", 5, "H38.5", name="một")])
    other = Store([*common, agency("H38", 5, "H38.5", name="hai")])
    assert ask_once(one, other).over.untaken == 1
    assert ("H38", 1) in one.forks
    ask_once(other, one)
    assert ("H38", 1) in other.forks
    over = ask_once(one, other).over
    assert over == Over(settled=True, things=0, untaken=0, skipped=1), "different proofs, one fact"
    assert one.loose.root == other.loose.root


def test_two_checkpoints_under_one_number_are_found_though_the_trees_are_equal() -> None:
    common = records("H38", range(1, 5))
    one, other = (Store([*common, checkpoint("H38", 5, created_ms=START_MS + ms)]) for ms in (5, 6))
    assert one.loose.root == other.loose.root
    ask_once(one, other)
    assert ("H38", 1) in one.forks


def test_a_checkpoint_that_i_do_not_know_is_found_by_whoever_is_further() -> None:
    common = records("H38", range(1, 5))
    ahead = Store([*common, checkpoint("H38", 5), *records("H38", range(6, 9))])
    behind = Store([*common, checkpoint("H38", 5, created_ms=START_MS + 999)])
    ask_once(ahead, behind)
    assert ("H38", 1) in ahead.forks


def test_a_fork_that_comes_up_on_the_way_ends_the_questions_about_its_log() -> None:
    mine = Store(thing for thing in records("H38", range(1, 9)) if b"H38.7" not in thing.statement)
    liar = Liar()
    liar.claimed = claiming(head(99, root=digest("any")))
    liar.rows = [(7, agency("H38", 8, "H38.8", name="hai").to_wire())]
    course = ask_once(mine, liar)
    assert (course.questions, course.over.untaken) == (2, 1), "nothing more is asked of that log"
    assert not mine.takes("H38", 1)


def test_two_roots_of_one_version_are_shown_to_the_judge() -> None:
    mine = Store([root(1), root(2)])
    course = ask_once(mine, Store([root(1), root(2, "Gốc khác")]))
    assert (course.over.things, course.over.untaken) == (1, 1)


def test_a_fork_proof_reaches_those_who_know_neither_thing() -> None:
    two = [agency("H38", 5, code) for code in ("H38.1", "H38.2")]
    theirs = Store()
    theirs.judge([fork_wire(fork_of(two[0], two[1]))])
    mine = Store()
    ask_once(mine, theirs)
    assert mine.holds(fork_name("H38", 1))


def test_what_known_things_name_is_asked_for() -> None:
    theirs = Store(records("H38", range(1, 4)))
    mine = Store(records("H38", range(1, 4)))
    missing = agency("H39", 1, "H39.1")
    theirs.wires[missing.digest] = missing.to_wire()
    theirs.loose.put(tree_key(5, "H1"), digest("not given"))
    mine.wants = [missing.digest, digest("nobody has it")]
    assert ask_once(mine, theirs).over.settled
    assert mine.holds(missing.digest)


# --- further copies ---------------------------------------------------------------------------

WAITING = [agency("H38", n, f"H38.{n}", needs=True) for n in range(1, 13)]
ENDORSED = [countersign(thing, signer("an endorser")) for thing in WAITING]


def test_an_endorsement_reaches_whoever_has_the_thing_without_it() -> None:
    mine, theirs = Store(WAITING), Store([*ENDORSED[:3], *WAITING[3:]])
    assert mine.head("H38") == theirs.head("H38"), "no log tells of it"
    assert mine.heads() != theirs.heads()
    course = ask_once(mine, theirs)
    assert course.over == Over(settled=True, things=3, untaken=0), "only what waits here and not there"
    assert mine.heads() == theirs.heads()
    assert mine.wires[WAITING[0].digest] == ENDORSED[0].to_wire()
    assert ask_once(mine, theirs).questions == 1


def test_whoever_is_ahead_asks_for_no_copies() -> None:
    ahead, behind = Store(ENDORSED), Store(WAITING)
    assert ask_once(ahead, behind).over == Over(settled=True, things=0, untaken=0)
    assert ahead.heads() != behind.heads(), "the other side asks"


def test_a_peer_that_has_no_better_copy_or_none_is_not_blamed() -> None:
    mine = Store(WAITING)
    before = mine.heads()
    assert ask_once(mine, Store(WAITING[:4])).over.settled
    waits_no_more = Liar(WAITING)
    waits_no_more.loose = PrefixTree()
    assert ask_once(mine, waits_no_more).over == Over(settled=True, things=len(WAITING), untaken=0)
    assert mine.heads() == before


def test_another_thing_in_the_place_of_a_copy() -> None:
    liar = Liar(ENDORSED)
    liar.gives = {WAITING[0].digest: ENDORSED[1].to_wire()}
    with expects("peer_contradicts", NetworkError):
        ask_once(Store(WAITING[:1]), liar)


@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.integers(1, 700))
def test_after_asking_both_ways_what_waits_is_the_same(a: set[int], b: set[int], piece: int) -> None:
    stores = [Store(ENDORSED[n] if n in endorsed else WAITING[n] for n in range(12)) for endorsed in (a, b)]
    for mine, theirs in (stores, stores[::-1]):
        assert ask_once(mine, theirs, piece=piece).over.settled
    assert stores[0].heads() == stores[1].heads()
    assert len(stores[0].waiting) == 12 - len(a | b)


class Overwhelmed(Store):
    """Many copies of many things would help."""

    def copies(self, key: bytes) -> list[bytes]:
        return [digest(f"{key.hex()} {n}") for n in range(60)] if key in self.waiting else []


def test_copies_of_no_end_of_things_are_left_to_later_sessions() -> None:
    mine = Overwhelmed(agency("H38", n, f"H38.{n}", needs=True) for n in range(1, RECONCILE_COPIES_MAX // 60 + 2))
    course = ask_once(mine, Store())
    assert course.over == Over(settled=False, things=0, untaken=0)
    assert course.questions < 2 + RECONCILE_COPIES_MAX // 900


# --- a peer that lies -----------------------------------------------------------------------


class Liar(Store):
    """Claims and gives what a test wants; everything else honestly."""

    claimed: Heads | None = None
    rows: list[tuple[int, bytes]] | None = None
    gives: dict[bytes, bytes] | None = None
    root_wires: list[bytes] | None = None

    def heads(self) -> Heads:
        return super().heads() if self.claimed is None else self.claimed

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterable[tuple[int, bytes]]:
        if self.rows is None:
            return super().log(registrar, generation, first, last)
        return [row for row in self.rows if row[0] >= first]

    def wire(self, digest: bytes) -> bytes | None:
        return super().wire(digest) if self.gives is None else self.gives.get(digest)

    def roots(self, version: int) -> Iterable[bytes]:
        return super().roots(version) if self.root_wires is None else self.root_wires


def claiming(*logs: LogHead, **more: Any) -> Heads:
    return Heads(logs=logs, **more)


def head(number: int, **more: Any) -> LogHead:
    return LogHead(registrar="H38", generation=1, number=number, **more)


@pytest.mark.parametrize("number", [5, 9, 2**63 - 1])
def test_a_log_that_is_claimed_and_not_given(number: int) -> None:
    liar = Liar(records("H38", range(1, 5)))
    liar.claimed = claiming(head(number))
    mine = Store()
    with expects("peer_withholds", NetworkError) as caught:
        ask_once(mine, liar)
    assert caught[0].detail == {"what": "H38", "said": number, "given": 4}
    assert mine.head("H38") == Store(records("H38", range(1, 5))).head("H38"), "what it gave is kept"


def test_a_log_with_a_number_left_out() -> None:
    liar = Liar(thing for thing in records("H38", range(1, 9)) if b"H38.5" not in thing.statement)
    liar.claimed = claiming(head(8))
    with expects("peer_withholds", NetworkError):
        ask_once(Store(), liar)


@pytest.mark.parametrize("numbers", [[2, 1], [1, 1], [1, 2, 9]])
def test_numbers_that_were_not_asked_for_or_come_twice(numbers: list[int]) -> None:
    wire = records("H38", [1])[0].to_wire()
    liar = Liar()
    liar.claimed, liar.rows = claiming(head(2)), [(number, wire) for number in numbers]
    code = "peer_withholds" if numbers[0] > 1 else "peer_contradicts"
    with expects(code, NetworkError):
        ask_once(Store(), liar)


def test_the_same_thing_under_ever_new_numbers() -> None:
    wire = records("H38", [1])[0].to_wire()
    liar = Liar()
    liar.claimed, liar.rows = claiming(head(10_000)), [(number, wire) for number in range(1, 10_001)]
    with expects("peer_contradicts", NetworkError):
        ask_once(Store(), liar)


def test_roots_that_are_claimed_and_not_given() -> None:
    liar = Liar([root(1)])
    liar.claimed = claiming(root_version=5, root_digest=digest("root 5"))
    with expects("peer_withholds", NetworkError) as caught:
        ask_once(Store([root(1)]), liar)
    assert caught[0].detail == {"what": "root", "said": 5, "given": 0}


def test_a_root_that_is_given_again_instead_of_the_next() -> None:
    liar = Liar()
    liar.claimed, liar.root_wires = claiming(root_version=5), [root(1).to_wire()]
    with expects("peer_withholds", NetworkError):
        ask_once(Store([root(1)]), liar)


def test_a_thing_that_its_tree_shows_and_that_is_not_given() -> None:
    common = records("H38", range(1, 4))
    liar = Liar(common)
    liar.logs["H38", 1].tree.put(tree_key(3, "H38.9"), digest("no such thing"))
    with expects("peer_withholds", NetworkError):
        ask_once(Store(common), liar)


def test_a_checkpoint_that_is_claimed_and_not_given() -> None:
    liar = Liar(records("H38", range(1, 4)))
    liar.claimed = claiming(head(3, checkpoint=digest("mark"), root=liar.logs["H38", 1].tree.root))
    with expects("peer_withholds", NetworkError):
        ask_once(Store(records("H38", range(1, 4))), liar)


def test_something_else_than_what_was_fetched() -> None:
    common = records("H38", range(1, 4))
    liar = Liar([*common, agency("H38", 9, "H38.9")])
    liar.gives = {agency("H38", 9, "H38.9").digest: common[0].to_wire()}
    with expects("peer_contradicts", NetworkError):
        ask_once(Store(common), liar)


def test_bytes_that_are_nothing_instead_of_what_was_fetched() -> None:
    common = records("H38", range(1, 4))
    liar = Liar([*common, agency("H38", 9, "H38.9")])
    liar.gives = {agency("H38", 9, "H38.9").digest: b"\xc1"}
    with expects("format_malformed", FormatError):
        ask_once(Store(common), liar)


def test_a_loose_set_that_shows_what_it_never_gives() -> None:
    liar, patient = Liar(), Liar()
    for number in range(RECONCILE_JUNK_MAX + 1):
        liar.loose.put(tree_key(5, f"H{number}"), digest(f"no lock {number}"))
        if number:
            patient.loose.put(tree_key(5, f"H{number}"), digest(f"no lock {number}"))
    with expects("peer_withholds", NetworkError):
        ask_once(Store(), liar)
    assert ask_once(Store(), patient).over.settled, "node records are forgotten honestly"


# --- a tree that lies -----------------------------------------------------------------------


class Script:
    """Answers tree questions as told, and everything else with nothing."""

    def __init__(self, heads: Heads, node: Any) -> None:
        self.given = heads
        self.node = node
        self.roots = [heads.loose]
        self.levels: set[int] = set()
        self.questions = 0

    def answer(self, question: Question) -> list[Answer]:
        self.questions += 1
        if isinstance(question, HeadsAsked):
            return [HeadsGiven(loose=self.given.loose, logs=self.given.logs)]
        if isinstance(question, TreeAsked):
            self.levels |= {bits for bits, _ in question.prefixes}
            nodes = tuple(self.node(bits, value) for bits, value in question.prefixes)
            return [TreeGiven(root=self.roots[min(self.questions - 2, len(self.roots) - 1)], nodes=nodes[:16])]
        return [ThingsGiven()]


def drive(mine: Store, script: Any, asker: Asker | None = None) -> Over:
    """A session with a peer that is a function from questions to answers."""
    asker = asker or Asker(mine)
    events = asker.start()
    while events:
        event = events.pop(0)
        if isinstance(event, Over):
            return event
        if isinstance(event, Things):
            events += asker.judged(mine.judge(event.wires))
            continue
        question = read_question(event.frame[4], event.frame[5:])
        for answer in script.answer(question):
            events += asker.receive(frame_bytes(answer))
            while events and isinstance(events[0], Things):
                events += asker.judged(mine.judge(events.pop(0).wires))  # type: ignore[union-attr]  # it is Things
    raise AssertionError("the session hangs")


def _left(claimed: bytes) -> Node:
    return Node(below=(claimed, *(EMPTY,) * 15))


def test_a_tree_without_an_end_ends_with_its_keys() -> None:
    root_hash = digest("any")
    script = Script(Heads(loose=root_hash), lambda bits, value: _left(root_hash))
    with expects("peer_contradicts", NetworkError):
        drive(Store(), script)
    assert script.levels == set(range(0, 257, 4))
    assert script.questions == 1 + 65


@pytest.mark.parametrize(
    "node",
    [
        NOTHING,
        Node(key=digest("key"), digest=digest("digest")),
        _left(digest("other")),
        Node(below=(digest("any"), digest("any"), *(EMPTY,) * 14)),
    ],
)
def test_a_node_that_does_not_hash_to_what_its_parent_said(node: Node) -> None:
    with expects("peer_contradicts", NetworkError):
        drive(Store(), Script(Heads(loose=digest("any")), lambda bits, value: node))


def test_a_leaf_below_a_prefix_that_its_key_does_not_begin_with() -> None:
    leaf = Node(key=b"\xff" * 32, digest=digest("digest"))

    def node(bits: int, value: bytes) -> Node:
        return _left(leaf.hash) if bits == 0 else leaf

    with expects("peer_contradicts", NetworkError):
        drive(Store(), Script(Heads(loose=leaf.hash), node))


def test_an_invented_tree_that_fits_has_to_be_given() -> None:
    leaves = [Node(key=bytes((n << 4,)) + bytes(31), digest=digest(str(n))) for n in range(16)]
    top = Node(below=tuple(leaf.hash for leaf in leaves))
    head_of = LogHead(registrar="H38", generation=1, number=1, root=top.hash)
    script = Script(
        Heads(loose=EMPTY, logs=(head_of,)), lambda bits, value: leaves[value[0] >> 4] if bits else top
    )
    script.roots = [top.hash]
    with expects("peer_withholds", NetworkError):
        drive(Store(records("H38", [1])), script)


@pytest.mark.parametrize("count", [0, 2])
def test_more_or_fewer_nodes_than_prefixes(count: int) -> None:
    class Other(Script):
        def answer(self, question: Question) -> list[Answer]:
            given = super().answer(question)
            nodes = (_left(self.roots[0]),) * count
            return [TreeGiven(root=self.roots[0], nodes=nodes)] if self.questions > 1 else given

    with expects("peer_contradicts", NetworkError):
        drive(Store(), Other(Heads(loose=digest("any")), lambda bits, value: NOTHING))


def test_a_tree_that_always_changes_is_left_alone_without_blame() -> None:
    script = Script(Heads(loose=digest("0")), lambda bits, value: NOTHING)
    script.roots = [digest(str(n)) for n in range(1, 50)]
    assert drive(Store(), script) == Over(settled=False, things=0, untaken=0)
    assert script.questions == 2 + RECONCILE_RESTARTS_MAX


def test_a_tree_that_changed_once_is_asked_for_again() -> None:
    mine, theirs = Store(), Store([lock("H38", START_MS)])

    class Late(Liar):
        asked = 0

        def tree(self, registrar: str, generation: int) -> PrefixTree | None:
            self.asked += 1
            if self.asked == 1:
                self.judge([lock("H39", START_MS).to_wire()])
            return super().tree(registrar, generation)

    late = Late([lock("H38", START_MS)])
    assert ask_once(mine, late).over.settled
    assert mine.loose.root == late.loose.root != theirs.loose.root


def test_a_tree_that_changes_between_two_frames_of_an_answer_is_asked_for_again() -> None:
    many = [lock(f"H38.{n}", START_MS) for n in range(1_500)]

    class Moving(Liar):
        asked = 0

        def tree(self, registrar: str, generation: int) -> PrefixTree | None:
            self.asked += 1
            if self.asked == 20:
                self.judge([lock("H39", START_MS).to_wire()])
            return super().tree(registrar, generation)

    mine, theirs = Store(many[:100]), Moving(many)
    assert ask_once(mine, theirs).over.settled
    assert mine.loose.root == theirs.loose.root


def test_a_tree_that_became_equal_meanwhile_needs_no_question() -> None:
    mine = Store([lock("H38", START_MS)])
    script = Script(Heads(loose=mine.loose.root), lambda bits, value: NOTHING)
    assert drive(mine, script).settled
    assert script.questions == 1


# --- junk, floods, and what nobody asked for ------------------------------------------------


def forged(number: int) -> bytes:
    """A record that claims to be signed by its registrar."""
    good = agency("H38", number, f"H38.{number}")
    (signature,) = good.signatures
    other = agency("H39", number, "H39.1").signatures[0].signature
    return Signed(
        format=good.format,
        statement=good.statement,
        signatures=(type(signature)(**{**_fields(signature), "signature": other}),),
    ).to_wire()


def _fields(signature: Any) -> dict[str, Any]:
    return {name: getattr(signature, name) for name in ("key_id", "signature", "tree_size", "leaf_index", "path")}


@pytest.mark.parametrize("count", [RECONCILE_JUNK_MAX, RECONCILE_JUNK_MAX + 1])
def test_more_than_a_hundred_things_bad_in_themselves_end_a_session(count: int) -> None:
    liar = Liar()
    liar.claimed = claiming(head(count))
    liar.rows = [(number, forged(number)) for number in range(1, count + 1)]
    if count == RECONCILE_JUNK_MAX:
        assert ask_once(Store(), liar).over.untaken == count
        return
    with expects("peer_sends_junk", NetworkError) as caught:
        ask_once(Store(), liar)
    assert caught[0].detail == {"count": count}


def test_nobody_is_blamed_for_what_he_could_not_know_but_it_has_an_end() -> None:
    mine = Store()
    asker = Asker(mine)
    asker.start()
    events = asker.receive(frame_bytes(HeadsGiven(logs=(head(RECONCILE_UNTAKEN_MAX * 2),))))
    assert isinstance(events[0], Ask)
    excuses = [NotNow("directory_no_root"), TrustError("directory_fork"), FormatError("format_newer")]
    for first in range(1, RECONCILE_UNTAKEN_MAX, 1_000):
        rows = tuple((number, b"x") for number in range(first, first + 1_000))
        (things,) = asker.receive(frame_bytes(LogGiven(rows=rows)))
        assert isinstance(things, Things)
        (question,) = asker.judged(excuses[n % 3] for n in range(1_000))
        assert isinstance(question, Ask)
    asker.receive(frame_bytes(LogGiven(rows=((RECONCILE_UNTAKEN_MAX + 1, b"x"),))))
    assert asker.judged([excuses[0]]) == [
        Over(settled=False, things=RECONCILE_UNTAKEN_MAX + 1, untaken=RECONCILE_UNTAKEN_MAX + 1)
    ]
    asker.finish()


@pytest.mark.parametrize(
    ("error", "junk"),
    [
        (FormatError("format_malformed"), True),
        (FormatError("format_newer"), False),
        (FormatError("directory_format", format="truc/later/1"), False),
        (TrustError("signature_invalid"), True),
        (TrustError("signature_path"), True),
        (TrustError("key_small_order"), True),
        (TrustError("directory_fork"), False),
        (TrustError("directory_rollback"), False),
        (TrustError("directory_threshold"), False),
        (NotNow("directory_signer_unknown"), False),
    ],
)
def test_junk_is_what_is_bad_whatever_one_knows(error: TrucError, junk: bool) -> None:
    assert is_junk(error) is junk


class Endless:
    """Answers one kind of question with frames that never end."""

    def __init__(self, heads: HeadsGiven, part: Answer, count: int = 10**6) -> None:
        self.given = heads
        self.part = part
        self.count = count

    def answer(self, question: Question) -> Iterable[Answer]:
        if isinstance(question, HeadsAsked):
            return [self.given]
        return [self.part] * min(self.count, 2_000)


def endless_heads() -> Iterable[Answer]:
    for at in range(0, 2 * RECONCILE_LOGS_MAX, RECONCILE_LOGS_FRAME):
        logs = (head_of(f"H38.{at + n:06}") for n in range(RECONCILE_LOGS_FRAME))
        yield HeadsGiven(logs=tuple(logs), more=True)


def head_of(registrar: str) -> LogHead:
    return LogHead(registrar=registrar, generation=1, number=0)


def test_heads_without_an_end() -> None:
    asker = Asker(Store())
    asker.start()
    with expects("peer_endless", NetworkError) as caught:
        for part in endless_heads():
            asker.receive(frame_bytes(part))
    assert caught[0].detail == {"what": "heads", "limit": RECONCILE_LOGS_MAX}


@pytest.mark.parametrize(
    ("heads", "part"),
    [
        (HeadsGiven(root_version=9), ThingsGiven(more=True)),
        (HeadsGiven(logs=(head(9),)), LogGiven(more=True)),
    ],
)
def test_answers_without_an_end(heads: HeadsGiven, part: Answer) -> None:
    with expects("peer_endless", NetworkError) as caught:
        drive(Store(), Endless(heads, part))
    assert caught[0].detail["limit"] == RECONCILE_ANSWER_FRAMES_MAX


@pytest.mark.parametrize("part", [TreeGiven(root=digest("any"), more=True), TreeGiven(root=digest("x"), more=True)])
def test_tree_answers_without_an_end(part: Answer) -> None:
    with expects("peer_endless", NetworkError):
        drive(Store(), Endless(HeadsGiven(loose=digest("any")), part))


def test_things_that_are_promised_frame_after_frame_and_never_come() -> None:
    heads = HeadsGiven(root_version=0, root_digest=digest("another"))
    with expects("peer_contradicts", NetworkError):
        drive(Store(), Endless(heads, ThingsGiven(more=True)))


def test_a_session_brings_no_more_than_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit, what in (("BYTES", 300, "bytes"), ("THINGS", 5, "things"), ("QUESTIONS", 1, "questions")):
        with monkeypatch.context() as patch:
            patch.setattr(f"protocol.reconcile.RECONCILE_{name}_MAX", limit)
            with expects("peer_endless", NetworkError) as caught:
                ask_once(Store(), Store(records("H38", range(1, 9))))
            assert caught[0].detail == {"what": what, "limit": limit}


@pytest.mark.parametrize(
    "second",
    [
        HeadsGiven(root_version=2, logs=(head_of("H39"),)),
        HeadsGiven(loose=digest("x"), logs=(head_of("H39"),)),
        HeadsGiven(logs=(head_of("H37"),)),
        HeadsGiven(logs=()),
    ],
)
def test_heads_whose_frames_contradict_each_other(second: HeadsGiven) -> None:
    asker = Asker(Store())
    asker.start()
    asker.receive(frame_bytes(HeadsGiven(logs=(head_of("H38"),), more=True)))
    with expects("peer_contradicts", NetworkError):
        asker.receive(frame_bytes(second))


def test_an_answer_to_another_question() -> None:
    asker = Asker(Store())
    asker.start()
    with expects("reconcile_order", NetworkError):
        asker.receive(frame_bytes(LogGiven()))


@pytest.mark.parametrize("extra", [frame_bytes(HeadsGiven()), b"\x00"])
def test_bytes_that_nobody_asked_for(extra: bytes) -> None:
    asker = Asker(Store())
    asker.start()
    asker.receive(frame_bytes(HeadsGiven()))
    assert asker.receive(b"") == []
    with expects("reconcile_order", NetworkError):
        asker.receive(extra)


@pytest.mark.parametrize("heads", [HeadsGiven(), HeadsGiven(logs=(head(3),))])
def test_a_second_answer_in_the_same_bytes(heads: HeadsGiven) -> None:
    asker = Asker(Store())
    asker.start()
    with expects("reconcile_order", NetworkError):
        asker.receive(frame_bytes(heads) * 2)


def test_a_frame_of_ten_megabytes_is_refused_at_its_length() -> None:
    asker = Asker(Store())
    asker.start()
    with expects("frame_too_large", FormatError):
        asker.receive((RECONCILE_FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        asker.receive(b"")


@pytest.mark.parametrize(("code", "expected"), [("busy", "busy"), ("anything_else", "peer_declined")])
def test_a_peer_may_decline(code: str, expected: str) -> None:
    asker = Asker(Store())
    asker.start()
    with expects(expected, NotNow if expected == "busy" else NetworkError):
        asker.receive(frame_bytes(Done(code=code)))


def test_a_stream_that_ends_early_is_no_success() -> None:
    asker = Asker(Store())
    asker.start()
    with expects("stream_ended", NetworkError):
        asker.finish()
    asker.receive(b"\x00")
    with expects("frame_truncated", FormatError):
        asker.finish()


def test_judging_is_part_of_the_order() -> None:
    asker = Asker(Store())
    asker.start()
    with pytest.raises(AssertionError):
        asker.judged()
    asker.receive(frame_bytes(HeadsGiven(logs=(head(1),))))
    asker.receive(frame_bytes(LogGiven(rows=((1, b"x"),))))
    with pytest.raises(AssertionError):
        asker.receive(b"")


# --- any peer at all ------------------------------------------------------------------------

THINGS = st.sampled_from([thing.to_wire() for thing in ALL_THINGS[:12]] + [b"\xc1", forged(1)])
HASHES = st.sampled_from([EMPTY, digest("a"), digest("b"), *(thing.digest for thing in ALL_THINGS[:4])])
NODES = st.one_of(
    st.just(NOTHING),
    st.builds(Node, key=HASHES, digest=HASHES),
    st.builds(Node, below=st.tuples(*[HASHES] * 16)),
)
ANYTHING: st.SearchStrategy[Answer] = st.one_of(
    st.builds(
        HeadsGiven,
        root_version=st.integers(0, 3),
        root_digest=HASHES,
        loose=HASHES,
        logs=st.lists(st.builds(head, st.integers(0, 5), checkpoint=HASHES, root=HASHES), max_size=1).map(tuple),
        more=st.booleans(),
    ),
    st.builds(ThingsGiven, things=st.lists(THINGS, max_size=3).map(tuple), more=st.booleans()),
    st.builds(
        LogGiven, rows=st.lists(st.tuples(st.integers(1, 6), THINGS), max_size=3).map(tuple), more=st.booleans()
    ),
    st.builds(TreeGiven, root=HASHES, nodes=st.lists(NODES, max_size=3).map(tuple), more=st.booleans()),
    st.builds(Done, code=st.sampled_from(["", "busy"])),
)


@given(st.lists(ANYTHING, max_size=12))
def test_whatever_frames_come_a_session_ends_with_an_outcome(answers: list[Answer]) -> None:
    mine = Store()
    asker = Asker(mine)
    events = asker.start()
    with suppress(FormatError, NetworkError, NotNow):
        for answer in answers:
            events = _told(asker, mine, frame_bytes(answer))
            if events and isinstance(events[-1], Over):
                break
        asker.finish()


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_whatever_bytes_come_a_session_ends_with_an_outcome(pieces: list[bytes]) -> None:
    mine = Store()
    asker = Asker(mine)
    asker.start()
    with suppress(FormatError, NetworkError, NotNow):
        for piece in pieces:
            _told(asker, mine, piece)
        asker.finish()


def _told(asker: Asker, mine: Store, data: bytes) -> list[Event]:
    events = asker.receive(data)
    while events and isinstance(events[-1], Things):
        events = [*events[:-1], *asker.judged(mine.judge(events[-1].wires))]
    return events


def test_the_helpers_of_this_file_lie_as_they_say() -> None:
    with suppress(TrustError):
        Store()._keep(Signed.from_wire(forged(1), bytes_max=2**20))
        raise AssertionError("a forged record was believed")
    assert joined([EMPTY] * 16) == EMPTY
    assert signer("H38").public.key_id != signer("H39").public.key_id
    assert {RootsAsked, LogAsked, ThingsAsked, TreeAsked} <= set(Question.__args__)
