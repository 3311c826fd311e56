"""An admitted centre that does not keep the rules, over real libp2p: it harms nobody but itself."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from node.environment import RealEnvironment
from node.libp2p.stream import Libp2pStream
from node.libp2p.transport import Libp2pTransport
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.tasks import start
from node.transport import Accept
from protocol import body_exchange, exchange
from protocol.errors import NetworkError
from protocol.exchange import Frame, Hello, NotNow, Offer, Session
from protocol.framing import encode_frame
from tests.support.api_node import DOCUMENT, ApiNode
from tests.support.libp2p import eventually
from tests.support.libp2p_nodes import libp2p_nodes
from tests.support.links import bytes_of, hello_of
from tests.support.ports import free_port
from tests.support.tree import Tree

VICTIM, HOSTILE, HONEST = "00.01.W00", "00.02.W00", "00.03.W00"


@dataclass
class Intruder:
    """The key and the place of a centre, and none of its manners."""

    transport: Libp2pTransport
    session: Session = field(default_factory=lambda: Session(VICTIM))

    async def opened(self, address: str, protocol: str = exchange.PROTOCOL) -> Libp2pStream:
        await self.transport.dial(VICTIM, address)
        return await self.transport.open_stream(VICTIM, protocol)

    async def greeted(self, address: str) -> tuple[Libp2pStream, Session]:
        stream, session = await self.opened(address), Session(VICTIM)
        await stream.write(bytes_of(hello_of(HOSTILE)))
        assert isinstance((await heard(stream, session))[0], Hello)
        return stream, session


async def heard(stream: Libp2pStream, session: Session) -> list[Frame]:
    """The next frames; fails when the stream is reset or ends instead."""
    frames: list[Frame] = []
    with trio.fail_after(10):
        while not frames:
            data = await stream.read(65_536)
            if not data:
                raise NetworkError("stream_ended")
            frames = session.receive(data)
    return frames


async def is_turned_away(stream: Libp2pStream) -> bool:
    """The stream ends without a word."""
    with trio.fail_after(10):
        try:
            return not await stream.read(65_536)
        except NetworkError:
            return True


async def ignored(_centre: str, _protocol: str, _stream: Any) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def under_attack(
    folder: Path, *, victim: str = VICTIM, hostile: str = HOSTILE, accept: Accept = ignored
) -> AsyncIterator[tuple[dict[str, ApiNode], Intruder, str]]:
    """Two honest nodes, and the intruder, who can reach the victim; with that one's address."""
    tree = Tree.make()
    transport = Libp2pTransport(
        identity_seed=tree.centres[hostile].identity_seed,
        listen=[f"/ip4/127.0.0.1/tcp/{free_port()}"],
        metrics=Metrics(),
        log=make_log(LineSink(io.StringIO()), RealEnvironment()),
    )
    async with libp2p_nodes(folder, tree, without=(hostile,)) as nodes, trio.open_nursery() as nursery:
        transport.admit({victim: tree.centres[victim].peer_id})
        await start(nursery, transport.run, accept)
        yield nodes, Intruder(transport), nodes[victim].node.settings.addresses[0]
        nursery.cancel_scope.cancel()


async def shown(node: ApiNode) -> dict[str, Any]:
    """What `/v1/peers` says of the intruder."""
    async with await node.system("G22") as software:
        items = (await software.get("/v1/peers")).json()["items"]
    (one,) = [item for item in items if item["centre"] == HOSTILE]
    return dict(one)


async def still_delivers(nodes: dict[str, ApiNode], key: str) -> None:
    """The victim sends a document to the honest node, and its software takes it."""
    body = {**DOCUMENT, "recipients": ["H38"], "metadata": {**DOCUMENT["metadata"], "subject": f"V/v {key}"}}
    async with await nodes[VICTIM].system("G22") as sender:
        accepted = await sender.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"})
        assert accepted.status_code == 201, accepted.text
    async with await nodes[HONEST].system("H38") as software:
        (arrived,) = (await software.get("/v1/inbox?wait=30")).json()["items"]
        assert (await software.post(f"/v1/inbox/{arrived['consignment']}/collect")).status_code == 200


async def test_a_peer_that_breaks_the_framing_is_turned_away_for_longer_each_time(tmp_path: Path) -> None:
    async with under_attack(tmp_path) as (nodes, intruder, address):
        conduct = nodes[VICTIM].node.conducts.of(HOSTILE)
        for n, (garbage, code) in enumerate([(bytes(4), "frame_empty"), (encode_frame(99, b""), "frame_unknown")]):
            await trio.sleep(conduct.barred_ms / 1000)
            stream, _ = await intruder.greeted(address)
            await stream.write(garbage)
            assert await is_turned_away(stream)
            assert (conduct.faults, conduct.fault) == (n + 1, code)
            assert await is_turned_away(await intruder.opened(address)), "without a hello"
            assert await is_turned_away(await intruder.opened(address, body_exchange.PROTOCOL))
            peer = await shown(nodes[VICTIM])
            assert (peer["fault"], peer["faults"], peer["reason"]) == (code, n + 1, code)
        assert conduct.barred_ms > 1_000, "twice as long as the first time"
        await still_delivers(nodes, "after garbage")


async def test_a_peer_that_answers_our_own_stream_with_garbage_is_left_alone_for_longer_each_time(
    tmp_path: Path,
) -> None:
    """The smaller peer id opens the stream: here the victim's. No sign of life shortens the bar."""
    opened: list[float] = []
    third = trio.Event()

    async def accept(_centre: str, _protocol: str, stream: Any) -> None:
        opened.append(trio.current_time())
        if len(opened) == 3:
            third.set()
        await stream.write(bytes_of(hello_of(VICTIM)) + bytes(4))
        await trio.sleep_forever()

    async with under_attack(tmp_path, victim=HOSTILE, hostile=VICTIM, accept=accept) as (nodes, intruder, address):
        await intruder.transport.dial(HOSTILE, address)
        with trio.fail_after(30):
            await third.wait()
        assert opened[1] - opened[0] >= 1
        assert opened[2] - opened[1] >= 2
        assert nodes[HOSTILE].node.conducts.of(VICTIM).fault == "frame_empty"


async def test_garbage_on_a_body_stream_counts_too(tmp_path: Path) -> None:
    async with under_attack(tmp_path) as (nodes, intruder, address):
        stream = await intruder.opened(address, body_exchange.PROTOCOL)
        await stream.write(b"\xff\xff\xff\xff")
        assert await is_turned_away(stream)
        assert (await shown(nodes[VICTIM]))["fault"] == "frame_too_large"


async def test_a_flood_of_offers_that_cannot_be_read_is_answered_and_fills_no_log(tmp_path: Path) -> None:
    async with under_attack(tmp_path) as (nodes, intruder, address):
        stream, session = await intruder.greeted(address)
        codes: list[str] = []
        for n in range(300):
            offer = Offer(
                number=n,
                envelope=b"\xc1",
                consignment=n.to_bytes(2, "big"),
                key_id=bytes(32),
                stanza=b"",
                epoch=1,
                header=b"",
            )
            await stream.write(bytes_of(offer))
        while len(codes) < 300:
            codes += [frame.code for frame in await heard(stream, session) if isinstance(frame, NotNow)]
        assert set(codes) == {"offer_unreadable", "busy"}, "first heard, then put off unheard"
        alarms = nodes[VICTIM].log.getvalue().count('"event": "alarm"')
        assert 0 < alarms <= 60
        assert (await shown(nodes[VICTIM]))["state"] == "up"
        await still_delivers(nodes, "in the flood")


async def test_streams_that_come_and_go_are_few(tmp_path: Path) -> None:
    async with under_attack(tmp_path) as (nodes, intruder, address):
        served = 0
        for _ in range(60):
            stream = await intruder.opened(address)
            await stream.write(bytes_of(hello_of(HOSTILE)))
            try:
                await heard(stream, Session(VICTIM))
                served += 1
            except NetworkError:
                pass
            await stream.reset()
        assert served < 60
        await eventually(lambda: nodes[VICTIM].node.links.get(HOSTILE) is None)
        await still_delivers(nodes, "between streams")
