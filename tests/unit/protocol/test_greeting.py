"""Marks of a pair in both directions, durable before they leave."""

from __future__ import annotations

import pytest

from protocol.record import Put
from protocol.records import Pair
from protocol.step import Alarm, Connected, PeerUp, SendHello, Step
from tests.support.delivery import A, C, World


@pytest.fixture
def world() -> World:
    return World()


def hello(incarnation: bytes, *, given: int = 0, held: int = 0, centre: str = C) -> PeerUp:
    return PeerUp(centre=centre, incarnation=incarnation, given=given, held=held)


def test_a_stranger_is_greeted_with_no_marks(world: World) -> None:
    assert world.a.step(Connected(centre=C)) == Step(sends=(SendHello(C, 0, 0),))


def test_a_hello_tells_the_highest_numbers_given_and_held(world: World) -> None:
    world.a.store.write([Put(Pair(centre=C, given=7, held=9, incarnation=bytes(16)))])
    assert world.a.step(Connected(centre=C)) == Step(sends=(SendHello(C, 7, 9),))


def test_both_sides_of_a_delivery_agree_on_their_marks(world: World) -> None:
    world.accepted()
    world.accepted("G22", "H38", [b"second"])
    (ours,) = world.a.step(Connected(centre=C)).sends
    (theirs,) = world.c.step(Connected(centre=A)).sends
    assert (ours, theirs) == (SendHello(C, 2, 2), SendHello(A, 2, 2))


def test_the_peers_incarnation_is_remembered_and_no_mark_is_lost(world: World) -> None:
    world.a.store.write([Put(Pair(centre=C, given=7, held=9, incarnation=b"1" * 16))])
    step = world.a.do(hello(b"2" * 16, given=100, held=7))
    assert step == Step(changes=(Put(Pair(centre=C, given=7, held=9, incarnation=b"2" * 16)),))
    assert world.a.step(hello(b"2" * 16, given=100, held=7)) == Step()


def test_a_peer_that_holds_what_we_never_gave_shows_that_our_store_is_old(world: World) -> None:
    world.a.store.write([Put(Pair(centre=C, given=7, held=0, incarnation=b"1" * 16))])
    assert world.a.step(hello(b"1" * 16, held=8)) == Step(events=(Alarm("store_is_old", C, b"1" * 16),))
    assert world.a.step(hello(b"1" * 16, held=7)) == Step()
    unknown = world.b.step(hello(b"1" * 16, held=1))
    assert unknown.events == (Alarm("store_is_old", C, b"1" * 16),)
