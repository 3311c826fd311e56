"""Trees shaped as in RFC 6962, against its recursive definition and the roots of the CT test suite."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FormatError
from protocol.merkle import inclusion_paths, inner, root_from_path, tree_root
from tests.support.errors import expects
from tests.support.vectors import load

CT_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def leaves(count: int) -> list[bytes]:
    return [sha256(b"\x00%d" % n).digest() for n in range(count)]


def by_definition(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + by_definition(hashes[:k]) + by_definition(hashes[k:])).digest()


@pytest.mark.parametrize("row", load("merkle"), ids=lambda row: row["name"])
def test_the_roots_are_those_of_certificate_transparency(row: dict[str, Any]) -> None:
    hashes = [sha256(b"\x00" + bytes.fromhex(item)).digest() for item in row["inputs"]]
    assert tree_root(hashes).hex() == row["root"] == CT_ROOTS[len(hashes) - 1]
    assert [[node.hex() for node in path] for path in inclusion_paths(hashes)] == row["paths"]


@given(st.integers(1, 200))
def test_root_and_every_path_follow_the_definition(count: int) -> None:
    hashes = leaves(count)
    root = tree_root(hashes)
    assert root == by_definition(hashes)
    for index, path in enumerate(inclusion_paths(hashes)):
        assert root_from_path(hashes[index], index, count, path) == root


@given(st.integers(2, 70), st.data())
def test_a_path_proves_nothing_for_another_leaf_place_or_size(count: int, data: st.DataObject) -> None:
    hashes = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1).filter(lambda n: n != index))
    path = inclusion_paths(hashes)[index]
    assert root_from_path(hashes[other], index, count, path) != tree_root(hashes)
    try:
        assert root_from_path(hashes[index], other, count, path) != tree_root(hashes)
    except FormatError as error:
        assert error.code == "merkle_path"


@pytest.mark.parametrize(
    ("index", "size", "length", "reason"),
    [
        (0, 1, 1, "long"),
        (0, 2, 0, "short"),
        (0, 2, 2, "long"),
        (6, 7, 1, "short"),
        (6, 7, 3, "long"),
        (7, 7, 2, "index"),
        (-1, 7, 2, "index"),
        (0, 0, 0, "index"),
        (0, 2**32 + 1, 33, "index"),
    ],
)
def test_a_path_of_the_wrong_length_or_place_is_refused(index: int, size: int, length: int, reason: str) -> None:
    with expects("merkle_path", FormatError) as caught:
        root_from_path(bytes(32), index, size, [bytes(32)] * length)
    assert caught[0].detail["reason"] == reason


def test_the_deepest_tree_allowed_has_paths_of_32() -> None:
    node = root_from_path(bytes(32), 2**32 - 1, 2**32, [bytes(32)] * 32)
    expected = bytes(32)
    for _ in range(32):
        expected = inner(bytes(32), expected)
    assert node == expected


def test_a_tree_without_leaves_is_our_mistake() -> None:
    for function in (tree_root, inclusion_paths):
        with pytest.raises(AssertionError):
            function([])


def test_the_paths_of_ten_thousand_leaves_cost_one_hash_per_leaf() -> None:
    paths = inclusion_paths(leaves(10_000))
    assert len(paths) == 10_000
    assert max(map(len, paths)) == 14
