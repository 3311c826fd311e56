"""Peer ids as libp2p writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.peer_id import base58, peer_id_of
from protocol.signing import Ed25519Signer
from tests.support.tree import peer_id_of as independent


def test_base58_is_bitcoins() -> None:
    assert base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert base58(bytes.fromhex("0000287fb4cd")) == "11233QC4"
    assert base58(b"") == ""


def test_an_ed25519_peer_id_begins_as_everybody_knows_it() -> None:
    assert peer_id_of(bytes(32)).startswith("12D3KooW")


@given(st.binary(min_size=32, max_size=32))
def test_two_ways_of_writing_a_peer_id_agree(seed: bytes) -> None:
    assert peer_id_of(seed) == independent(Ed25519Signer(seed))
