"""What follows from a peer's bad conduct: longer and longer bars, and allowances that grow back."""

from __future__ import annotations

from random import Random

import trio
from trio.testing import MockClock

from node.conduct import FORGIVEN_MS, STREAM_BACK_MS, STREAMS_MAX, STRIKE_BACK_MS, STRIKES_MAX, Allowance, Conducts
from tests.sim.environment import SimEnvironment

OWN, PEER, OTHER = "00.01.W00", "00.02.W00", "00.03.W00"


def conducts() -> Conducts:
    return Conducts(SimEnvironment(Random(1)), own=OWN, bar_max_ms=300_000)


def test_an_allowance_grows_back_one_at_a_time_and_no_further_than_it_was() -> None:
    allowance = Allowance(3, 1_000)
    assert [allowance.take(0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(999), allowance.take(1_000), allowance.take(1_001)] == [False, True, False]
    assert allowance.left(60_000) == 3
    assert allowance.left(10) == 3, "a clock that goes back takes nothing away"


async def test_each_broken_rule_within_the_hour_doubles_the_bar_up_to_the_longest_back_off(
    autojump_clock: MockClock,
) -> None:
    conduct = conducts().of(PEER)
    bars = []
    for _ in range(11):
        conduct.broke("frame_unknown")
        bars.append(conduct.barred_ms)
        assert not conduct.may_open()
        await trio.sleep(bars[-1] / 1000)
        assert conduct.may_open()
    assert bars == [*(1_000 << n for n in range(9)), 300_000, 300_000]
    assert (conduct.fault, conduct.faults) == ("frame_unknown", 11)
    await trio.sleep(FORGIVEN_MS / 1000)
    conduct.broke("frame_empty")
    assert conduct.barred_ms == 1_000


async def test_many_streams_in_a_short_time_are_too_many(autojump_clock: MockClock) -> None:
    conduct = conducts().of(PEER)
    assert [conduct.may_open() for _ in range(STREAMS_MAX + 1)] == [True] * STREAMS_MAX + [False]
    await trio.sleep(STREAM_BACK_MS / 1000)
    assert [conduct.may_open(), conduct.may_open()] == [True, False]


async def test_strikes_restrain_a_peer_until_one_has_grown_back(autojump_clock: MockClock) -> None:
    conduct = conducts().of(PEER)
    for _ in range(STRIKES_MAX):
        assert not conduct.is_restrained
        conduct.struck("signature_refused")
    assert conduct.is_restrained
    assert conduct.barred_ms == 0, "its stream goes on: what we owe still leaves"
    await trio.sleep(STRIKE_BACK_MS / 1000)
    assert not conduct.is_restrained


async def test_conduct_belongs_to_the_centre_and_we_never_turn_ourselves_away(autojump_clock: MockClock) -> None:
    known = conducts()
    assert known.of(PEER) is known.of(PEER)
    for centre in (OWN, PEER):
        known.of(centre).broke("frame_empty")
        for _ in range(STRIKES_MAX):
            known.of(centre).struck("policy")
    assert known.of(PEER).is_restrained and known.of(PEER).barred_ms
    assert not known.of(OWN).is_restrained and not known.of(OWN).barred_ms
    assert known.of(OWN).faults == STRIKES_MAX + 1
    assert known.of(OTHER).faults == 0


async def test_what_is_accepted_makes_up_for_what_is_refused(autojump_clock: MockClock) -> None:
    conduct = conducts().of(PEER)
    for _ in range(3 * STRIKES_MAX):
        conduct.struck("too_large")
        conduct.earned()
    assert not conduct.is_restrained


async def test_nobody_saves_up_more_than_the_allowance(autojump_clock: MockClock) -> None:
    conduct = conducts().of(PEER)
    for _ in range(STRIKES_MAX):
        conduct.earned()
    for _ in range(STRIKES_MAX):
        assert not conduct.is_restrained
        conduct.struck("too_large")
    assert conduct.is_restrained
