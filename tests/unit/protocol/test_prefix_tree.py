"""The prefix tree: whatever was put in and taken out, it is the tree of its definition."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError
from protocol.prefix_tree import (
    EMPTY,
    NOTHING,
    ROOT_PREFIX,
    Node,
    Prefix,
    PrefixTree,
    check_node,
    joined,
    leaf_hash,
    prefix_of,
    read_prefix,
    tree_key,
)
from tests.support import tree_reference
from tests.support.checkpoint_vectors import TREE_KEYS, TREES
from tests.support.errors import expects
from tests.support.vectors import load

ALL = load("prefix_tree")


def key(number: int) -> bytes:
    return sha256(b"key %d" % number).digest()


def digest(number: int) -> bytes:
    return sha256(b"digest %d" % number).digest()


def near(number: int) -> bytes:
    """A key that shares its first 252 bits with the other fifteen of its kind."""
    return b"\xaa" * 31 + bytes((0xA0 | number & 15,))


KEYS = st.one_of(st.integers(0, 40).map(key), st.integers(0, 15).map(near))
CHANGES = st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=60)


@given(CHANGES)
def test_after_any_changes_the_tree_is_that_of_its_leaves(changes: list[tuple[bytes, int]]) -> None:
    made, leaves = PrefixTree(), tree_reference.Leaves()
    for changed, what in changes:
        if what:
            made.put(changed, digest(what))
            leaves[changed] = digest(what)
        else:
            made.remove(changed)
            leaves.pop(changed, None)
        assert made.root == tree_reference.tree(leaves)
        assert len(made) == len(leaves)
        assert made.get(changed) == leaves.get(changed)
    assert dict(made) == leaves
    assert list(made) == sorted(leaves.items())
    assert PrefixTree.of_sorted(sorted(leaves.items())).root == made.root


@given(st.lists(CHANGES, max_size=4))
def test_many_put_at_once_give_the_tree_of_its_leaves(heaps: list[list[tuple[bytes, int]]]) -> None:
    made, leaves = PrefixTree(), tree_reference.Leaves()
    for heap in heaps:
        changed = [(place, digest(what)) for place, what in heap]
        for _ in made.put_many(changed):
            pass
        leaves.update(changed)
        assert made.root == tree_reference.tree(leaves)
        assert list(made) == sorted(leaves.items())
        assert len(made) == len(leaves)


@pytest.mark.parametrize(("before", "more"), [(0, 65), (60, 10), (1_000, 100), (1_000, 17_000), (17_000, 500)])
def test_many_put_at_once_are_there_at_once_and_not_before(before: int, more: int) -> None:
    made = PrefixTree.of_sorted(sorted((key(number), digest(number)) for number in range(before)))
    old_root = made.root
    for _ in made.put_many([(key(number), digest(number + 1)) for number in range(before // 2, before + more)]):
        assert (made.root, len(made)) == (old_root, before)
    leaves = {key(number): digest(number + (number >= before // 2)) for number in range(before + more)}
    assert made.root == PrefixTree.of_sorted(sorted(leaves.items())).root
    assert len(made) == before + more


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1_025, 17_000])
def test_growing_and_building_at_once_give_the_same_tree(count: int) -> None:
    leaves = {key(number): digest(number) for number in range(count)}
    grown = PrefixTree()
    for place, value in leaves.items():
        grown.put(place, value)
    built = PrefixTree.of_sorted(sorted(leaves.items()))
    assert grown.root == built.root == tree_reference.tree(leaves)
    assert len(grown) == len(built) == count
    assert list(grown) == list(built) == sorted(leaves.items())


@pytest.mark.parametrize("count", [5, 900, 17_000])
def test_what_is_below_a_prefix_is_the_tree_of_the_leaves_there(count: int) -> None:
    leaves = {key(number): digest(number) for number in range(count)} | {near(n): digest(n) for n in range(3)}
    made = PrefixTree.of_sorted(sorted(leaves.items()))
    places = [*sorted(leaves)[:: max(1, count // 9)], near(1), bytes(32), b"\xff" * 32]
    for place in places:
        for bits in range(0, 257, 4):
            prefix = prefix_of(bits, int.from_bytes(place, "big") >> (256 - bits))
            here = tree_reference.below(leaves, bits, prefix.number)
            node = made.below(prefix)
            assert made.leaves(prefix) == sorted(here.items())
            assert made.tree_below(prefix) == node.hash == tree_reference.tree(here, bits)
            if len(here) < 2:
                assert (node.key, node.digest) == next(iter(here.items()), (b"", b""))
                assert node.below == ()
                continue
            parts = [tree_reference.below(here, bits + 4, prefix.number << 4 | nibble) for nibble in range(16)]
            assert node.below == tuple(tree_reference.tree(part, bits + 4) for part in parts)


def test_a_change_that_is_taken_back_leaves_no_trace() -> None:
    made = PrefixTree.of_sorted(sorted((key(n), digest(n)) for n in range(100)))
    before = made.root
    made.put(near(1), digest(1))
    assert made.root != before
    made.remove(near(1))
    made.remove(near(1))
    assert made.root == before


def test_an_emptied_tree_is_the_empty_tree() -> None:
    made = PrefixTree.of_sorted(sorted((key(n), digest(n)) for n in range(100)))
    for number in range(100):
        made.remove(key(number))
    assert (made.root, len(made), list(made)) == (EMPTY, 0, [])
    assert made.below(ROOT_PREFIX) == NOTHING


def test_another_digest_or_another_key_is_another_tree() -> None:
    roots = {PrefixTree.of_sorted([(key(k), digest(d))]).root for k in range(3) for d in range(3)}
    assert len(roots) == 9
    assert leaf_hash(key(1), digest(1)) in roots


def test_a_bulk_out_of_order_or_with_a_key_twice_is_our_mistake() -> None:
    for keys in ([near(2), near(1)], [near(1), near(1)], [b"short"]):
        with pytest.raises(AssertionError):
            PrefixTree.of_sorted((found, digest(1)) for found in keys)


def test_keys_of_different_subjects_and_codes_differ() -> None:
    keys = {tree_key(subject, code) for subject in range(1, 8) for code in ("", "H38", "H3", "00.01.W00")}
    assert len(keys) == 28


def test_a_prefix_covers_the_keys_that_begin_with_it() -> None:
    prefix = Prefix(12, b"\xaa\xa0")
    assert prefix.number == 0xAAA
    assert prefix.covers(near(3))
    assert not prefix.covers(bytes(32))
    assert prefix.child(0xB) == Prefix(16, b"\xaa\xab")
    assert ROOT_PREFIX.covers(bytes(32))
    assert ROOT_PREFIX.child(1) == Prefix(4, b"\x10")


@given(st.integers(-8, 300), st.binary(max_size=34))
def test_any_bits_and_bytes_are_a_prefix_or_a_wrong_field(bits: int, value: bytes) -> None:
    try:
        prefix = read_prefix(bits, value)
    except FormatError as error:
        assert error.code == "format_field"
        return
    assert prefix_of(prefix.bits, prefix.number) == prefix == Prefix(bits, value)


@pytest.mark.parametrize(
    ("bits", "value"),
    [(-4, b""), (3, b"\x00"), (260, bytes(33)), (4, b""), (4, b"\x10\x00"), (4, b"\x11"), (0, b"\x00")],
)
def test_a_prefix_has_one_way_of_being_written(bits: int, value: bytes) -> None:
    with expects("format_field", FormatError, field="prefixes[0]"):
        read_prefix(bits, value, field="prefixes[0]")


@pytest.mark.parametrize(
    "node",
    [
        Node(key=key(1)),
        Node(digest=digest(1)),
        Node(key=key(1), digest=bytes(31)),
        Node(key=key(1), digest=digest(1), below=(EMPTY,) * 16),
        Node(below=(EMPTY,) * 15),
    ],
)
def test_a_node_is_nothing_a_leaf_or_sixteen_trees(node: Node) -> None:
    with expects("format_field", FormatError):
        check_node(node)


def test_nodes_of_every_shape_have_their_hash() -> None:
    leaf = Node(key=key(1), digest=digest(1))
    wide = Node(below=(*(EMPTY,) * 15, leaf.hash))
    for node in (NOTHING, leaf, wide):
        check_node(node)
    assert NOTHING.hash == EMPTY
    assert leaf.hash == wide.hash == joined([EMPTY, leaf.hash])


# --- vectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ALL if "leaves" in row], ids=lambda row: row["name"])
def test_a_tree_is_that_of_its_vector(row: dict[str, Any]) -> None:
    leaves = {bytes.fromhex(place): bytes.fromhex(value) for place, value in row["leaves"]}
    made = PrefixTree.of_sorted(sorted(leaves.items()))
    assert made.root.hex() == row["root"] == tree_reference.tree(leaves).hex()
    for shown in row["below"]:
        node = made.below(read_prefix(shown["bits"], bytes.fromhex(shown["value"])))
        assert (node.key.hex(), node.digest.hex()) == (shown.get("key", ""), shown.get("digest", ""))
        assert [item.hex() for item in node.below] == shown.get("below", [])


@pytest.mark.parametrize("row", [row for row in ALL if "tree_key" in row], ids=lambda row: row["name"])
def test_a_key_is_that_of_its_vector(row: dict[str, Any]) -> None:
    assert tree_key(row["subject"], row["code"]).hex() == row["tree_key"]


@pytest.mark.parametrize("row", [row for row in ALL if "error" in row], ids=lambda row: row["name"])
def test_what_is_no_prefix_says_the_code_of_its_vector(row: dict[str, Any]) -> None:
    with expects(row["error"], FormatError):
        read_prefix(row["bits"], bytes.fromhex(row["value"]))


def test_every_kind_of_vector_is_there() -> None:
    assert len([row for row in ALL if "leaves" in row]) == len(TREES)
    assert len([row for row in ALL if "tree_key" in row]) == len(TREE_KEYS)
    assert any("error" in row for row in ALL)
