"""The library's traps, sprung on purpose: what `traps.toml` names, reproduced against our transport."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import PublicKey
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from node.libp2p.connection import STREAMS_INBOUND_MAX
from node.libp2p.handshake import HANDSHAKE_S, HANDSHAKES_MAX
from node.libp2p.host import make_host
from node.libp2p.muxer import HELD_BYTES_MAX
from node.libp2p.sockets import NOT_SENT_BYTES
from node.libp2p.stream import Libp2pStream
from node.libp2p.transport import Libp2pTransport
from node.transport import ByteStream
from protocol.errors import NetworkError
from tests.interop.contract import BODY, EXCHANGE, echo, exchange, hold, read_all, read_exactly
from tests.support.errors import expects
from tests.support.libp2p import (
    Place,
    eventually,
    guest,
    identity_of,
    pair,
    raw_sockets,
    running,
    seed_of,
    still_works,
    stock_host,
)

IDENTIFY = "/ipfs/id/1.0.0"
PING = "/ipfs/ping/1.0.0"


class Forger(Ed25519PrivateKey):
    """Signs with its own key and shows another's."""

    victim: PublicKey

    def get_public_key(self) -> PublicKey:
        return self.victim


async def dial(host: Any, target: Place) -> Any:
    """As a stranger with the unmodified library; None when it got no connection."""
    address = Multiaddr(target.address)
    with trio.fail_after(10), suppress(BaseLibp2pError):
        return await host.get_network()._dial_addr_single_attempt(address, ID.from_string(target.peer_id))


def noise_of(seed: bytes) -> dict[TProtocol, Any]:
    """The library's noise transport under this identity."""
    return {NOISE: Noise(identity_of(seed), noise_privkey=new_noise_key().private_key)}


# --- who is there -----------------------------------------------------------------------------


async def test_plaintext_is_refused_even_from_an_admitted_key() -> None:
    async with pair() as (a, b):
        plain = {PLAINTEXT_PROTOCOL_ID: InsecureTransport(identity_of(a.seed))}
        async with stock_host(a.seed, plain) as impostor:
            assert await dial(impostor, b) is None
            await eventually(b.refusals)
        assert b.refusals() == ["handshake"]
        await still_works(a, b)


async def test_nobody_takes_an_identity_without_its_private_key() -> None:
    async with pair() as (a, b):
        await a.transport.drop(b.peer_id)
        await b.transport.disconnected(a.peer_id)
        forger = Forger(identity_of(seed_of("forger")).private_key.impl)
        forger.victim = identity_of(a.seed).public_key
        security = noise_of(seed_of("forger"))
        security[NOISE].libp2p_privkey = forger
        async with stock_host(seed_of("forger"), security) as impostor:
            await dial(impostor, b)
            await eventually(b.refusals)
        assert b.refusals() == ["handshake"]
        assert not b.transport.is_connected(a.peer_id)
        await still_works(a, b)


async def test_a_peer_that_is_not_admitted_is_let_go_with_a_reason() -> None:
    async with pair() as (a, b):
        async with stock_host(seed_of("stranger"), noise_of(seed_of("stranger"))) as stranger:
            await dial(stranger, b)
            await eventually(b.refusals)
            (refused,) = b.transport.refused()
            assert (refused.peer_id, refused.reason) == (str(stranger.get_id()), "not_admitted")
            assert refused.address.startswith("/ip4/127.0.0.1/tcp/")
        assert "peer_refused" in b.lines.getvalue()
        assert b.metrics.streams_refused.labels(reason="not_admitted")._value.get() == 1
        await still_works(a, b)


async def test_an_unmodified_host_of_the_library_is_understood() -> None:
    seed, b = seed_of("stock"), Place("b")
    async with running(b), stock_host(seed, noise_of(seed)) as stock:
        b.transport.admit({"stock": str(stock.get_id())})
        connection = await dial(stock, b)
        for protocol in (EXCHANGE, PING):
            stream = await stock.new_stream(ID.from_string(b.peer_id), [TProtocol(protocol)])
            await stream.write(bytes(range(32)))
            assert await stream.read(32) == bytes(range(32))
            await stream.close()
        stream = await stock.new_stream(ID.from_string(b.peer_id), [TProtocol(IDENTIFY)])
        assert EXCHANGE.encode() in await stream.read(10_000)
        ours = await b.transport.open_stream("stock", PING)
        await ours.write(bytes(32))
        assert await read_exactly(ours, 32) == bytes(32)
        await connection.close()  # the library leaves the socket open when its host stops


def test_the_host_offers_noise_yamux_and_tcp_and_nothing_else() -> None:
    host = make_host(seed_of("a"), ["/ip4/203.113.1.2/tcp/4601"])
    network = host.get_network()
    assert list(network.upgrader.security_multistream.transports) == ["/noise"]
    assert list(network.upgrader.muxer_multistream.transports) == ["/yamux/1.0.0"]
    assert [type(one).__name__ for one in network.transport_manager.get_transports()] == ["TCP"]
    assert set(host.multiselect.handlers) == {IDENTIFY, PING}
    assert (host.mDNS, host.upnp, host.bootstrap, network.psk, network.notifees) == (None, None, None, None, [])


def test_importing_the_library_leaves_our_handler_on_its_logger() -> None:
    program = (
        "import io, logging\n"
        "lines = io.StringIO()\n"
        "logging.getLogger('libp2p').addHandler(logging.StreamHandler(lines))\n"
        "import node.libp2p.transport\n"
        "logging.getLogger('libp2p.network.swarm').warning('heard')\n"
        "print(lines.getvalue(), end='')\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert (outcome.stdout, outcome.stderr) == ("heard\n", "")


# --- garbage ----------------------------------------------------------------------------------


async def test_a_handler_with_a_bug_ends_one_stream_and_not_the_host() -> None:
    async def buggy(_centre: str, _protocol: str, stream: ByteStream) -> None:
        if await stream.read(1) == b"!":
            raise RuntimeError("a bug")
        await echo("", "", stream)

    async with pair(buggy) as (a, b):
        stream = await a.transport.open_stream(b.peer_id, EXCHANGE)
        await stream.write(b"!")
        with expects("stream_broken", NetworkError):
            await read_all(stream)
        await eventually(lambda: "stream_failed" in b.lines.getvalue())
        stream = await a.transport.open_stream(b.peer_id, EXCHANGE)
        assert await exchange(stream, b"?echo") == b"echo"


@pytest.mark.parametrize("protocol", [EXCHANGE, IDENTIFY, PING])
async def test_random_bytes_on_a_stream_of_any_protocol_do_not_end_the_host(protocol: str) -> None:
    chance = Random(1)
    async with pair() as (a, b):
        for _ in range(10):
            stream = await a.transport.open_stream(b.peer_id, protocol)
            await stream.write(chance.randbytes(50))
            await stream.close()
            with trio.move_on_after(0.05):
                await read_all(stream)
            await stream.reset()
        await still_works(a, b)
        assert len(a.transport.connections()) == 1, "not even the connection suffered"


async def test_random_bytes_instead_of_a_handshake_do_not_end_the_host() -> None:
    chance = Random(2)
    greeting = b"\x13/multistream/1.0.0\n"
    async with pair() as (a, b):
        for prefix in (b"", greeting, greeting + b"\x07/noise\n", greeting + b"\x07/noise\n\x00\x20"):
            for one in raw_sockets(b.port, 5):
                one.sendall(prefix + chance.randbytes(300))
        await eventually(lambda: len(b.refusals()) == 20)
        assert set(b.refusals()) == {"handshake"}
        await still_works(a, b)


async def test_random_bytes_instead_of_frames_end_at_most_their_connection() -> None:
    chance = Random(3)
    c = Place("c")
    async with pair() as (a, b):
        b.transport.admit({a.peer_id: a.peer_id, c.peer_id: c.peer_id})
        for size in (5, 12, 50, 5_000):
            async with guest(c.seed, b) as connection:
                await connection.secured_conn.write(chance.randbytes(size))
                await trio.sleep(0.05)
        await eventually(lambda: not b.transport.is_connected(c.peer_id))
        await still_works(a, b)


async def test_a_peer_that_ignores_windows_is_let_go() -> None:
    c = Place("c")
    async with pair(hold) as (a, b):
        b.transport.admit({a.peer_id: a.peer_id, c.peer_id: c.peer_id})
        async with guest(c.seed, b) as connection:
            await b.transport.connected(c.peer_id)
            wishes = b"\x13/multistream/1.0.0\n" + bytes([len(BODY) + 1]) + BODY.encode() + b"\n"
            await connection.secured_conn.write(struct.pack("!BBHII", 0, 0, 1, 1, len(wishes)) + wishes)
            frame = struct.pack("!BBHII", 0, 0, 0, 1, 1 << 20) + bytes(1 << 20)
            sent = 0
            with trio.fail_after(30), suppress(IOException):
                while b.transport.is_connected(c.peer_id):
                    await connection.secured_conn.write(frame)
                    sent += 1 << 20
            await b.transport.disconnected(c.peer_id)
            assert HELD_BYTES_MAX - (1 << 20) <= sent <= HELD_BYTES_MAX + (12 << 20), "sockets hold some too"
        assert "window_exceeded" in b.lines.getvalue()
        assert b.transport.is_connected(a.peer_id)


# --- writing and reading ----------------------------------------------------------------------


async def test_cancelled_writes_leave_the_connection_whole() -> None:
    chance = Random(4)

    async def slow(_centre: str, protocol: str, stream: ByteStream) -> None:
        while piece := await stream.read(100_000):
            await trio.sleep(0.001)
            if protocol == EXCHANGE:
                await stream.write(piece)
        await stream.close()

    async with pair(slow) as (a, b):
        (connection,) = a.transport.connections()
        for _ in range(20):
            stream = await a.transport.open_stream(b.peer_id, BODY)
            with trio.move_on_after(chance.random() * 0.02) as cancelled:
                while not cancelled.cancelled_caught:
                    await stream.write(bytes(300_000))
            assert cancelled.cancelled_caught
            await stream.reset()
        await still_works(a, b)
        assert a.transport.connections() == [connection], "the same connection as before"


@pytest.mark.slow
async def test_a_reader_that_pauses_longer_than_five_seconds_costs_only_the_pause() -> None:
    pause = trio.Event()

    async def pausing(_centre: str, _protocol: str, stream: ByteStream) -> None:
        await stream.read(1)
        await pause.wait()
        size = 1 + len(await read_all(stream))
        await stream.write(b"%d" % size)
        await stream.close()
        await trio.sleep_forever()

    async with pair(pausing) as (a, b):
        stream = await a.transport.open_stream(b.peer_id, BODY)
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                for _ in range(100):
                    await stream.write(bytes(65_507))
                await stream.close()

            nursery.start_soon(write)
            await trio.sleep(5.5)  # the library's limit on a full window is 5.0
            pause.set()
        assert await read_all(stream) == b"6550700"


async def test_a_reset_never_looks_like_a_clean_end() -> None:
    async def half(_centre: str, _protocol: str, stream: ByteStream) -> None:
        await stream.write(bytes(1_000))

    async with pair(half) as (a, b):
        for _ in range(50):
            stream = await a.transport.open_stream(b.peer_id, BODY)
            with expects("stream_broken", NetworkError):
                await read_all(stream)


async def test_what_arrived_before_the_connection_died_is_still_read() -> None:
    written = trio.Event()

    async def give(_centre: str, _protocol: str, stream: ByteStream) -> None:
        await stream.write(bytes(200_000))
        written.set()
        await trio.sleep_forever()

    async with pair(give) as (a, b):
        stream = await a.transport.open_stream(b.peer_id, BODY)
        await written.wait()
        await b.transport.drop(a.peer_id)
        await a.transport.disconnected(b.peer_id)
        assert len(await read_exactly(stream, 200_000)) == 200_000
        with expects("stream_broken", NetworkError):
            await stream.read(1)


async def test_two_nodes_that_fill_each_other_do_not_stop() -> None:
    async with pair() as (a, b):
        content = bytes(8 << 20)

        async def send(one: Place, other: Place, protocol: str) -> None:
            stream = await one.transport.open_stream(other.peer_id, protocol)
            assert await exchange(stream, content) == content

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for protocol in (EXCHANGE, BODY):
                    nursery.start_soon(send, a, b, protocol)
                    nursery.start_soon(send, b, a, protocol)


async def test_the_kernel_hides_little_and_waits_for_nothing() -> None:
    async with pair() as (a, b):
        for place in (a, b):
            (connection,) = place.transport.connections()
            options = connection.muxed.socket
            assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == NOT_SENT_BYTES
            assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert options.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# --- streams ----------------------------------------------------------------------------------


async def test_three_hundred_streams_one_after_the_other_leave_nothing_behind() -> None:
    async with pair() as (a, b):
        for index in range(300):
            stream = await a.transport.open_stream(b.peer_id, BODY)
            assert await exchange(stream, b"%d" % index) == b"%d" % index
            await stream.reset()
        for place in (a, b):
            (connection,) = place.transport.connections()
            await eventually(lambda muxed=connection.muxed: not muxed.streams and not muxed.stream_buffers)
            assert not connection.muxed.stream_events and not connection.muxed.bulk
            assert not connection.swarm_conn.streams


async def test_more_streams_than_one_peer_may_hold_are_refused_at_once() -> None:
    async with pair() as (a, b):
        opened: list[Libp2pStream] = []
        with trio.fail_after(5):
            while len(opened) < STREAMS_INBOUND_MAX:
                opened.append(await a.transport.open_stream(b.peer_id, BODY))
            with expects("stream_broken", NetworkError):
                await a.transport.open_stream(b.peer_id, BODY)
        for stream in opened:
            await stream.reset()
        await eventually(lambda: not b.transport.connections()[0].swarm_conn.streams)
        await (await a.transport.open_stream(b.peer_id, BODY)).reset()


async def test_the_257th_stream_fails_instead_of_waiting_for_ever() -> None:
    async with pair() as (a, b):
        (connection,) = a.transport.connections()
        for _ in range(256):
            await connection.muxed.stream_backlog_semaphore.acquire()  # as streams do that nobody closes
        with trio.fail_after(1), expects("stream_broken", NetworkError):
            await a.transport.open_stream(b.peer_id, BODY)


# --- dialling and listening -------------------------------------------------------------------


@pytest.mark.slow
async def test_a_silent_server_ends_the_dial_in_time_and_blocks_nobody() -> None:
    a, b = Place("a"), Place("b")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with running(a, b):
            with trio.fail_after(HANDSHAKE_S + 2), expects("unreachable", NetworkError) as errors:
                await a.transport.dial(b.peer_id, f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}")
            assert errors[0].detail["reason"] == "silent"
            await still_works(a, b)


async def test_an_address_that_names_another_peer_is_not_even_dialled() -> None:
    a, b = Place("a"), Place("b")
    async with running(a, b):
        with expects("wrong_peer", NetworkError):
            await a.transport.dial(b.peer_id, f"{b.address}/p2p/{a.peer_id}")
        await a.transport.dial(b.peer_id, f"{b.address}/p2p/{b.peer_id}")
        assert a.transport.is_connected(b.peer_id)


async def test_both_may_dial_at_once() -> None:
    a, b = Place("a"), Place("b")
    async with running(a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.transport.dial, b.peer_id, b.address)
            nursery.start_soon(b.transport.dial, a.peer_id, a.address)
        await still_works(a, b)
        await still_works(b, a)
        await a.transport.drop(b.peer_id)
        with trio.fail_after(5):
            await b.transport.disconnected(a.peer_id)


async def test_a_peer_that_comes_back_again_and_again_keeps_few_connections() -> None:
    c = Place("c")
    async with pair() as (a, b), trio.open_nursery() as nursery:
        b.transport.admit({a.peer_id: a.peer_id, c.peer_id: c.peer_id})

        async def come() -> None:
            async with guest(c.seed, b):
                await trio.sleep_forever()

        for number in range(6):
            nursery.start_soon(come)
            await eventually(lambda count=number + 2: b.lines.getvalue().count('"direction": "inbound"') == count)
        assert len([one for one in b.transport.connections() if one.peer_id == c.peer_id]) <= 3
        await still_works(a, b)
        nursery.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_an_outcome() -> None:
    first, second = Place("a"), Place("b")
    async with running(first):
        place = Place("b", port=first.port)
        with expects("address_taken", NetworkError):
            await place.transport.run(echo)
    async with running(second, Place("c", port=first.port)):
        pass  # and afterwards it is free again


async def test_a_port_that_another_program_would_share_is_taken() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with expects("address_taken", NetworkError):
            await Place("a", port=other.getsockname()[1]).transport.run(echo)


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    a = Place("a")
    foreign = Libp2pTransport(identity_seed=a.seed, listen=["/ip4/203.0.113.1/tcp/0"], metrics=a.metrics, log=a.log)
    with expects("address_unusable", NetworkError):
        await foreign.run(echo)
    with expects("address_unusable", NetworkError):
        Libp2pTransport(identity_seed=a.seed, listen=["127.0.0.1:4601"], metrics=a.metrics, log=a.log)


async def test_port_0_tells_the_port_that_was_bound() -> None:
    a, b = Place("a", port=0), Place("b")
    async with running(a, b):
        (address,) = a.transport.addresses
        assert not address.endswith("/tcp/0")
        await b.transport.dial(a.peer_id, address)
        assert b.transport.is_connected(a.peer_id)


async def test_silent_connections_do_not_keep_an_honest_peer_out() -> None:
    a, b = Place("a"), Place("b")
    async with running(a, b):
        with ExitStack() as closing:
            for one in raw_sockets(b.port, HANDSHAKES_MAX + 72):
                closing.callback(one.close)
                await trio.lowlevel.checkpoint()
            with trio.fail_after(3):
                await a.transport.dial(b.peer_id, b.address)
        await still_works(a, b)
        assert '"reason": "silent"' in b.lines.getvalue(), "the oldest gave place"


# --- ends -------------------------------------------------------------------------------------


async def test_a_peer_that_says_nothing_any_more_is_dropped_in_time() -> None:
    c = Place("c")
    async with pair() as (a, b):
        b.transport.admit({a.peer_id: a.peer_id, c.peer_id: c.peer_id})
        async with guest(c.seed, b):
            with trio.fail_after(5):
                await b.transport.connected(c.peer_id)
                await b.transport.drop(c.peer_id)
                await b.transport.disconnected(c.peer_id)
            with expects("unreachable", NetworkError):
                await b.transport.open_stream(c.peer_id, EXCHANGE)
        await still_works(a, b)


async def test_a_peer_that_vanishes_breaks_the_writes_that_wait_for_it() -> None:
    async def pour(_centre: str, _protocol: str, stream: ByteStream) -> None:
        try:
            while True:
                await stream.write(bytes(100_000))
        except NetworkError as error:
            outcomes.append(error.code)

    outcomes: list[str] = []
    async with pair(pour) as (a, b):
        for _ in range(4):
            await (await a.transport.open_stream(b.peer_id, BODY)).read(1)
        for connection in a.transport.connections():
            connection.muxed.abort()
        with trio.fail_after(10):
            await b.transport.disconnected(a.peer_id)
            await eventually(lambda: len(outcomes) == 4)
        assert set(outcomes) == {"stream_broken"}


async def test_stopping_takes_a_bounded_time_whatever_peers_do() -> None:
    a, b, c = Place("a"), Place("b"), Place("c")
    with trio.fail_after(10):
        async with running(a, b):
            b.transport.admit({a.peer_id: a.peer_id, c.peer_id: c.peer_id})
            await a.transport.dial(b.peer_id, b.address)
            streams = [await a.transport.open_stream(b.peer_id, BODY) for _ in range(3)]
            async with guest(c.seed, b), trio.open_nursery() as nursery:
                await b.transport.connected(c.peer_id)
                for stream in streams:
                    nursery.start_soon(stream.read, 10)
                await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
