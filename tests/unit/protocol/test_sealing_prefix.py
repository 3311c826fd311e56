"""Sealing and opening prefixes: who knows that more follows need not hold a full chunk back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import TrustError
from protocol.limits import CHUNK_BYTES, TAG_BYTES
from protocol.sealing import PartOpener, PartSealer, open_all, seal_all
from tests.support.errors import expects

KEY = bytes(range(32))
PLAIN = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"rest"


@given(st.integers(0, 3), st.integers(0, 2))
def test_promising_more_changes_when_chunks_come_out_and_not_what_they_are(chunks: int, calls: int) -> None:
    sealer = PartSealer(KEY)
    sealed = sealer.feed(PLAIN[: chunks * CHUNK_BYTES])
    for _ in range(calls):
        sealed += sealer.more_follows()
    if calls:
        assert len(sealed) == chunks * (CHUNK_BYTES + TAG_BYTES)
    sealed += sealer.feed(PLAIN[chunks * CHUNK_BYTES :]) + sealer.finish()
    assert sealed == seal_all(KEY, PLAIN)
    assert open_all(KEY, sealed) == PLAIN


def test_less_than_a_chunk_is_still_held_back() -> None:
    sealer = PartSealer(KEY)
    assert sealer.feed(PLAIN[: CHUNK_BYTES - 1]) + sealer.more_follows() == b""


def test_a_prefix_opens_to_its_last_whole_chunk() -> None:
    prefix = seal_all(KEY, PLAIN)[: 2 * (CHUNK_BYTES + TAG_BYTES)]
    opener = PartOpener(KEY)
    assert opener.feed(prefix) == PLAIN[:CHUNK_BYTES]
    assert opener.more_follows() == PLAIN[CHUNK_BYTES : 2 * CHUNK_BYTES]
    assert opener.more_follows() == b""


def test_a_damaged_prefix_is_noticed_at_its_last_chunk() -> None:
    prefix = bytearray(seal_all(KEY, PLAIN)[: 2 * (CHUNK_BYTES + TAG_BYTES)])
    prefix[-1] ^= 1
    opener = PartOpener(KEY)
    opener.feed(prefix)
    with expects("part_damaged", TrustError) as caught:
        opener.more_follows()
    assert caught[0].detail == {"chunk": 1}
