"""The simulator's network passes the contract of `node.transport`, and its faults do what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from protocol.errors import NetworkError
from tests.interop import contract
from tests.interop.contract import BODY, CHECKS, EXCHANGE, Check, Side, Wiring, echo, exchange, running
from tests.sim.clock import run_seeded
from tests.sim.network import PROTOCOLS, MemoryNetwork
from tests.support.errors import expects

HOURS = 86_400.0


def side(network: MemoryNetwork, centre: str, peer_id: str, host: int) -> Side:
    address = f"/ip4/10.0.0.{host}/tcp/4601"
    transport = network.transport(peer_id, [address], centre=centre, protocols=PROTOCOLS)
    return Side(transport=transport, centre=centre, peer_id=peer_id, address=address)


@asynccontextmanager
async def wired(seed: int = 0) -> AsyncIterator[tuple[MemoryNetwork, Wiring]]:
    network = MemoryNetwork(Random(seed))
    wiring = Wiring(
        a=side(network, "00.12.W00", "16Uiu2A", 1),
        b=side(network, "00.38.W00", "16Uiu2B", 2),
        stranger=side(network, "00.99.W00", "16Uiu2C", 3),
        dead_address="/ip4/10.0.0.9/tcp/4601",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        yield network, wiring
        nursery.cancel_scope.cancel()
    assert network.errors == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("seed", [1, 2])
def test_contract(check: Check, seed: int) -> None:
    async def main() -> None:
        async with wired(seed) as (_, wiring):
            await check(wiring)

    run_seeded(seed, main)


def test_every_check_of_the_contract_is_listed() -> None:
    written = {
        name
        for name, value in vars(contract).items()
        if callable(value) and getattr(value, "__annotations__", {}) == {"wiring": "Wiring", "return": "None"}
    }
    assert written == {check.__name__ for check in CHECKS}


def test_an_address_that_is_taken_is_an_outcome() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, connect=False):
            with expects("address_taken", NetworkError):
                await network.transport(wiring.a.peer_id, [wiring.a.address]).run(echo)

    run_seeded(1, main)


def test_a_cut_link_holds_bytes_back_and_gives_them_when_it_is_mended() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
            network.cut(wiring.a.peer_id, wiring.b.peer_id)
            for _ in range(5):
                await stream.write(b"held back ")
            await stream.close()
            with trio.move_on_after(60) as waiting:
                await stream.read(10)
            assert waiting.cancelled_caught
            network.mend_all()
            assert await contract.read_all(stream) == b"held back " * 5
            assert network.struck["partition"]

    run_seeded(3, main)


def test_a_dial_over_a_cut_link_times_out() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, connect=False):
            network.cut(wiring.a.peer_id, wiring.b.peer_id)
            with expects("unreachable", NetworkError):
                await wiring.a.transport.dial(wiring.b.centre, wiring.b.address)
            network.mend_all()
            network.hanging.add(wiring.b.peer_id)
            with expects("unreachable", NetworkError):
                await wiring.a.transport.dial(wiring.b.centre, wiring.b.address)
            assert network.struck["dial_hung"] == 1 and network.struck["partition"] == 1

    run_seeded(4, main)


def test_whoever_hangs_up_over_a_cut_link_leaves_the_other_side_half_open() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
            network.cut(wiring.a.peer_id, wiring.b.peer_id)
            await wiring.b.transport.drop(wiring.a.centre)
            await trio.sleep(600)
            assert wiring.a.transport.is_connected(wiring.b.centre)
            network.mend_all()
            await stream.write(b"anybody there?")  # a reset comes back
            with trio.fail_after(5):
                await wiring.a.transport.disconnected(wiring.b.centre)
            await contract.is_broken(stream)

    run_seeded(5, main)


def test_a_half_open_connection_swallows_what_is_written() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
            network.half_open(wiring.a.peer_id, wiring.b.peer_id)
            assert not wiring.b.transport.is_connected(wiring.a.centre)
            await stream.write(b"hello?")
            with trio.move_on_after(3_600) as waiting:
                await stream.read(1)
            assert waiting.cancelled_caught and wiring.a.transport.is_connected(wiring.b.centre)
            await wiring.a.transport.drop(wiring.b.centre)
            await contract.is_broken(stream)
            assert network.struck["half_open"] and network.struck["vanished"]

    run_seeded(6, main)


def test_a_killed_process_is_noticed_and_a_lost_machine_is_not() -> None:
    async def main(silently: bool) -> bool:
        async with wired() as (_, wiring), running(wiring):
            wiring.b.transport.kill(silently=silently)  # type: ignore[attr-defined]
            await trio.sleep(60)
            return wiring.a.transport.is_connected(wiring.b.centre)

    assert run_seeded(7, main, False) is False
    assert run_seeded(7, main, True) is True


def test_a_slow_link_takes_its_time() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            network.link(wiring.a.peer_id, wiring.b.peer_id).bytes_per_second = 10_000
            stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
            start = trio.current_time()
            assert len(await exchange(stream, bytes(100_000))) == 100_000
            assert trio.current_time() - start > 10
            assert network.struck["slow"]

    run_seeded(8, main)


def test_a_broken_connection_resets_the_streams_of_both_sides() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
            network.break_connections(wiring.a.peer_id, wiring.b.peer_id)
            await contract.is_broken(stream)
            assert network.struck["reset"] == 2

    run_seeded(9, main)


def test_taps_see_what_goes_over_the_wire() -> None:
    async def main() -> None:
        async with wired() as (network, wiring), running(wiring, seconds=HOURS):
            seen: list[tuple[str, str, str, int, bytes]] = []
            network.taps.append(lambda *told: seen.append(told))
            stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
            assert await exchange(stream, b"look") == b"look"
            assert seen == [
                (wiring.a.centre, wiring.b.centre, EXCHANGE, 1, b"look"),
                (wiring.b.centre, wiring.a.centre, EXCHANGE, 1, b"look"),
            ]

    run_seeded(10, main)


def test_the_same_seed_gives_the_same_times() -> None:
    async def main(seed: int) -> float:
        async with wired(seed) as (_, wiring):
            await contract.twenty_streams_at_once_do_not_mix(wiring)
            return trio.current_time()

    assert len({run_seeded(11, main, 11) for _ in range(5)}) == 1
    assert run_seeded(12, main, 12) != run_seeded(11, main, 11)
