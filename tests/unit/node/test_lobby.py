"""node/lobby.py: how many strangers wait, for how long, and whose turn ends when there are too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.lobby import HOSTS_MAX, NOT_ADMITTED, TURNED_AWAY, Lobby, Visit, host_of
from node.tasks import start
from protocol.limits import INTRODUCTION_AGAIN_MS, INTRODUCTIONS_MAX, INTRODUCTIONS_VAIN_MAX


async def believe(_peer: str, _stream: Any) -> str:
    return ""


async def doubt(_peer: str, _stream: Any) -> str:
    return "introduction_unproven"


class Guests:
    """Strangers that stay until they have to go."""

    def __init__(self, meet: Any = doubt) -> None:
        self.lobby = Lobby(lambda: int(trio.current_time() * 1000))
        self.lobby.open(meet)
        self.over: list[tuple[str, str]] = []

    async def stay(self, peer: str, address: str, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        with self.lobby.visit(peer, address) as visit:
            task_status.started(visit)
            await trio.sleep(float("inf"))
        self.over.append((peer, visit.outcome))


def with_guests(story: Callable[[Guests, trio.Nursery], Awaitable[None]], meet: Any = doubt) -> None:
    async def main() -> None:
        guests = Guests(meet)
        async with trio.open_nursery() as nursery:
            await story(guests, nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_nobody_is_heard_until_somebody_listens() -> None:
    lobby = Lobby(lambda: 0)
    assert lobby.refusal("/ip4/203.0.113.1/tcp/1") == NOT_ADMITTED
    lobby.open(doubt)
    assert lobby.refusal("/ip4/203.0.113.1/tcp/1") == ""


def test_a_stranger_that_says_nothing_has_to_go_in_the_end() -> None:
    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        await start(nursery, guests.stay, "p", "/ip4/203.0.113.1/tcp/1")
        await trio.sleep(4.9)
        assert len(guests.lobby) == 1
        await trio.sleep(0.2)
        assert (len(guests.lobby), guests.over) == (0, [("p", NOT_ADMITTED)])

    with_guests(story)


def test_sixteen_wait_and_the_address_with_most_of_them_loses_its_oldest() -> None:
    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        await start(nursery, guests.stay, "honest", "/ip4/198.51.100.1/tcp/1")
        for n in range(100):
            await start(nursery, guests.stay, f"bad {n}", f"/ip4/203.0.113.1/tcp/{n + 1}")
            assert len(guests.lobby) <= INTRODUCTIONS_MAX
        await trio.testing.wait_all_tasks_blocked()
        assert "honest" not in dict(guests.over)
        assert [peer for peer, _ in guests.over] == [f"bad {n}" for n in range(100 - INTRODUCTIONS_MAX + 1)]

    with_guests(story)


def test_an_introduction_that_was_answered_ends_the_visit_with_its_outcome() -> None:
    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        visit: Visit = await start(nursery, guests.stay, "p", "/ip4/203.0.113.1/tcp/1")
        await guests.lobby.hear(visit, None)  # type: ignore[arg-type]  # `believe` does not look at it
        await trio.testing.wait_all_tasks_blocked()
        assert guests.over == [("p", "")]

    with_guests(story, believe)


def test_a_second_introduction_of_one_visit_is_not_heard() -> None:
    heard: list[str] = []

    async def count(peer: str, _stream: Any) -> str:
        heard.append(peer)
        return "introduction_unproven"

    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        visit: Visit = await start(nursery, guests.stay, "p", "/ip4/203.0.113.1/tcp/1")
        await guests.lobby.hear(visit, None)  # type: ignore[arg-type]  # `count` does not look at it
        await guests.lobby.hear(visit, None)  # type: ignore[arg-type]
        assert heard == ["p"]

    with_guests(story, count)


def test_an_address_that_came_in_vain_too_often_has_to_wait() -> None:
    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        address = "/ip4/203.0.113.1/tcp/9"
        for n in range(INTRODUCTIONS_VAIN_MAX):
            assert guests.lobby.refusal(address) == ""
            visit: Visit = await start(nursery, guests.stay, f"p{n}", address)
            visit.end()
            await trio.testing.wait_all_tasks_blocked()
        assert guests.lobby.refusal(address) == TURNED_AWAY
        assert guests.lobby.refusal("/ip4/203.0.113.2/tcp/9") == ""
        await trio.sleep(INTRODUCTION_AGAIN_MS / 1000)
        assert guests.lobby.refusal(address) == ""

    with_guests(story)


def test_whoever_is_admitted_meanwhile_goes_and_comes_back_as_a_peer() -> None:
    async def story(guests: Guests, nursery: trio.Nursery) -> None:
        await start(nursery, guests.stay, "new", "/ip4/203.0.113.1/tcp/1")
        spoken: Visit = await start(nursery, guests.stay, "speaking", "/ip4/203.0.113.1/tcp/2")
        assert spoken.speaks()
        guests.lobby.admit({"new", "speaking"}.__contains__)
        await trio.testing.wait_all_tasks_blocked()
        assert guests.over == [("new", "")], "the other one gets its answer first"

    with_guests(story)


def test_only_so_many_addresses_are_remembered() -> None:
    lobby = Lobby(lambda: 0)
    lobby.open(doubt)
    for n in range(3 * HOSTS_MAX):
        assert lobby.refusal(f"/ip4/10.{n >> 16}.{n >> 8 & 255}.{n & 255}/tcp/1") == ""
    assert len(lobby._vain) == HOSTS_MAX


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("/ip4/203.0.113.1/tcp/4601", "203.0.113.1"),
        ("/ip6/2001:db8:1:2:3:4:5:6/tcp/1", "2001:db8:1:2::/64"),
        ("/ip6/2001:db8:1:2:ffff::9/tcp/2", "2001:db8:1:2::/64"),
        ("peer", "peer"),
    ],
)
def test_an_address_is_a_machine_or_a_network_of_64_bits(address: str, host: str) -> None:
    assert host_of(address) == host


def test_a_fifth_stream_is_one_too_many() -> None:
    visit = Visit("p", "h")
    assert [visit.opens(4) for _ in range(5)] == [True] * 4 + [False]
