"""What an admitted peer may send and no honest one does, over real libp2p to a whole node: each gets its answer
or its end, nothing of it is believed, and another peer's document arrives as if nothing had been."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import trio

from node.libp2p.transport import Libp2pTransport
from node.tasks import start
from node.transport import ByteStream
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.errors import NetworkError
from protocol.exchange import PROTOCOL, Ack, Hello, NotNow, Offer, Returned, Session
from protocol.limits import FRAME_BYTES_MAX
from protocol.receipt import RECEIPT, Receipt
from protocol.records import Incoming, Outgoing, Refused
from protocol.refusal import REFUSAL
from protocol.signing import Signed, sign
from tests.interop.contract import hold
from tests.support.api_checks import good, until
from tests.support.api_node import DOCUMENT, ApiNode
from tests.support.delivery import A, B, C, Forgery, World, consignment_of, receipt_of
from tests.support.libp2p import Place
from tests.support.libp2p_nodes import libp2p_nodes
from tests.support.links import bytes_of, hello_of
from tests.support.ports import free_port
from tests.support.tree import Tree

F = TypeVar("F")


@dataclass
class Villain:
    """One exchange stream of an admitted centre that is not what it seems."""

    stream: ByteStream
    session: Session = field(default_factory=lambda: Session(C))
    heard: list[Any] = field(default_factory=list)

    async def say(self, *frames: Any) -> None:
        """Send frames as they are."""
        await self.stream.write(bytes_of(*frames))

    async def hears(self, kind: type[F], about: Callable[[F], bool] = lambda _frame: True) -> F:
        """The next frame of a kind, kept ones first."""
        with trio.fail_after(60):
            while True:
                for frame in self.heard:
                    if isinstance(frame, kind) and about(frame):
                        self.heard.remove(frame)
                        return frame
                data = await self.stream.read(65_536)
                assert data, "the victim closed the stream"
                self.heard += self.session.receive(data)

    async def ends(self) -> None:
        """The victim gives the stream up."""
        with trio.fail_after(60):
            try:
                while await self.stream.read(65_536):
                    pass
            except NetworkError:
                pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """H38's node is the victim, G12's an honest peer; of G22's centre only the keys are there."""

    victim: ApiNode
    honest: ApiNode
    transport: Libp2pTransport
    world: World

    async def villain(self) -> Villain:
        """A new stream on which both have said hello; tried again while the victim turns us away."""
        with trio.fail_after(90):
            while True:
                made = Villain(await self._stream())
                try:
                    await made.say(hello_of(A, time_ms=self.victim.environment.now_ms()))
                    await made.hears(Hello)
                except (NetworkError, AssertionError):
                    await made.stream.reset()
                    await trio.sleep(0.1)
                else:
                    return made

    async def _stream(self) -> ByteStream:
        await self.transport.dial(C, self.victim.node.settings.addresses[0])
        return await self.transport.open_stream(C, PROTOCOL)

    def kept(self) -> tuple[int, int]:
        """What the victim has accepted and refused for ever."""
        records = self.victim.node.store.committed
        return len(records.scan(Incoming)), len(records.scan(Refused))

    async def still_serves(self) -> None:
        """A document of the honest peer arrives, and the victim's own leaves for it and is received."""
        async with await self.honest.system("G12") as g12, await self.victim.system("H38") as h38:
            for sender, taker, issuer, recipient in ((g12, h38, "G12", "H38"), (h38, g12, "H38", "G12")):
                body = {**DOCUMENT, "issuer": issuer, "recipients": [recipient]}
                answer = await sender.post("/v1/documents", json=body, headers={"Idempotency-Key": "still"})
                document = good(answer, 201)["id"]
                await until(partial(_has, taker, document))


async def _has(client: httpx.AsyncClient, document: str) -> bool:
    return document in [item["document"] for item in good(await client.get("/v1/inbox"))["items"]]


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """The three of them, connected."""
    tree, world = Tree.make(), World()
    place = Place("villain")
    transport = Libp2pTransport(
        identity_seed=tree.centres[A].identity_seed,
        listen=[f"/ip4/127.0.0.1/tcp/{free_port()}"],
        metrics=place.metrics,
        log=place.log,
    )
    async with libp2p_nodes(folder, tree, without=(A,)) as nodes, trio.open_nursery() as nursery:
        transport.admit({code: tree.centres[code].peer_id for code in (B, C)})
        await start(nursery, transport.run, hold)  # streams that they open are never answered
        yield Scene(victim=nodes[C], honest=nodes[B], transport=transport, world=world)
        nursery.cancel_scope.cancel()


def tampered(world: World) -> Offer:
    """A good offer whose envelope carries other signature bytes."""
    offer = Forgery(world=world).make()
    thing = Signed.from_wire(offer.envelope, bytes_max=len(offer.envelope))
    bad = replace(thing, signatures=(replace(thing.signatures[0], signature=bytes(64)),))
    return replace(offer, envelope=bad.to_wire())


def other_body(world: World) -> Offer:
    """The bytes of a part are not those of the digest that was signed."""
    offer = Forgery(world=world).make()
    return replace(offer, inline=(bytes(len(offer.inline[0])),))


OFFERS: list[tuple[str, Callable[[World], Offer], str]] = [
    ("a bad signature", tampered, "signature_refused"),
    ("a key of somebody else", lambda world: Forgery(world=world, signer=world.b.keys.signer).make(), "record_stale"),
    ("a squatted consignment", lambda world: Forgery(world=world, issuer="G12").make(), "record_stale"),
    ("an envelope for somebody else", lambda world: Forgery(world=world, recipient="G12").make(), "moved"),
    ("an issuer that nobody knows", lambda world: Forgery(world=world, issuer="H99").make(), "issuer_unknown"),
    ("a wrong tree digest", other_body, "body_damaged"),
    ("two texts under one envelope", lambda world: Forgery(world=world, wrapped_key=b"\1" * 32).make(),
     "stanza_unusable"),
    ("a consignment of another envelope",
     lambda world: Forgery(world=world, consignment={"envelope": bytes(32)}).make(), "offer_mismatch"),
]  # fmt: skip


async def test_offers_that_no_honest_node_makes_are_put_off_and_nothing_of_them_is_kept(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        villain = await here.villain()
        for name, make, code in OFFERS:
            offer = make(here.world)
            await villain.say(offer)
            answer = await villain.hears(NotNow)
            assert (answer.code, answer.subject) == (code, consignment_of(offer)), name
        assert here.kept() == (0, 0)
        await here.still_serves()
        await villain.say(Forgery(world=here.world).make())
        assert (await villain.hears(Returned)).thing, "the same stream still carries an honest offer"


async def test_what_the_issuer_itself_signed_wrongly_is_refused_once_and_for_ever(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        villain = await here.villain()
        offer = Forgery(world=here.world, plain=(b"another text",)).make()
        things = []
        for _ in range(2):
            await villain.say(offer)
            things.append((await villain.hears(Returned)).thing)
        assert things[0] == things[1]
        refusal = REFUSAL.decode(Signed.from_wire(things[0], bytes_max=len(things[0])).statement)
        assert (refusal.code, refusal.consignment) == ("part_mismatch", consignment_of(offer))
        assert here.kept() == (0, 1)
        await here.still_serves()


async def test_a_replayed_consignment_gets_the_same_receipt_and_arrives_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        offer = Forgery(world=here.world).make()
        things = []
        for _ in range(2):  # on one stream, and on the next one
            villain = await here.villain()
            for _ in range(3):
                await villain.say(offer)
                things.append((await villain.hears(Returned)).thing)
        assert len(things) == 6
        assert len(set(things)) == 1
        assert here.kept() == (1, 0)
        async with await here.victim.system("H38") as software:
            assert len(good(await software.get("/v1/inbox"))["items"]) == 1
        await here.still_serves()


async def test_a_receipt_for_something_never_sent_is_put_off(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        stranger = here.world.submit("G22", ["H38"]).only
        thing = receipt_of(here.world, stranger)
        villain = await here.villain()
        await villain.say(Returned(number=1, thing=thing.to_wire()))
        answer = await villain.hears(NotNow)
        assert (answer.code, answer.subject) == ("consignment_unknown", thing.digest)
        assert here.victim.node.store.committed.scan(Outgoing) == []
        await here.still_serves()


def chain_of(offer: Offer, here: Scene) -> Callable[..., Signed]:
    """Makes receipts for a consignment that the victim offers, as the node of G22 would."""
    envelope = Signed.from_wire(offer.envelope, bytes_max=len(offer.envelope))
    statement = Signed.from_wire(offer.consignment, bytes_max=len(offer.consignment))
    consignment: Consignment = CONSIGNMENT.decode(statement.statement)

    def made(**changes: Any) -> Signed:
        full = Receipt(
            consignment=consignment.id,
            envelope=envelope.digest,
            issuer=consignment.issuer,
            recipient=consignment.recipient,
            epoch=1,
            incarnation=bytes(16),
            sequence=0,
            previous=statement.digest,
            code=1,
            time_ms=here.victim.environment.now_ms(),
        )
        signer = here.world.tree.centres[A].signer
        return sign(RECEIPT.name, RECEIPT.encode(replace(full, **changes)), signer)

    return made


async def test_a_chain_with_a_gap_waits_and_two_receipts_with_one_number_are_a_fork(tmp_path: Path) -> None:
    async with scene(tmp_path) as here, await here.victim.system("H38") as software:
        villain = await here.villain()
        body = {**DOCUMENT, "issuer": "H38", "recipients": ["G22"]}
        document = good(await software.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)["id"]
        receipt = chain_of(await villain.hears(Offer), here)
        first, other = receipt(), receipt(time_ms=5)
        gap = receipt(sequence=2, previous=bytes(32), code=3)
        for thing, outcome in ((gap, "receipt_chain_gap"), (first, ""), (first, ""), (other, "receipt_chain_fork")):
            await villain.say(Returned(number=1, thing=thing.to_wire()))
            if outcome:
                answer = await villain.hears(NotNow)
                assert (answer.code, answer.subject) == (outcome, thing.digest)
            else:
                assert (await villain.hears(Ack)).thing == thing.digest
        shown = good(await software.get(f"/v1/documents/{document}"))["recipients"][0]
        assert [item["digest"] for item in shown["receipts"]] == [first.digest.hex()], "the first one stands"
        await here.still_serves()


@pytest.mark.parametrize(
    "octets",
    [b"\xff" * 64, (FRAME_BYTES_MAX + 1).to_bytes(4, "big"), b"GET / HTTP/1.1\r\n\r\n", bytes(4)],
    ids=["no frame", "an oversized frame", "another protocol", "an empty frame"],
)
async def test_bytes_that_are_no_frame_end_the_stream_and_nothing_else(tmp_path: Path, octets: bytes) -> None:
    async with scene(tmp_path) as here:
        villain = await here.villain()
        await villain.stream.write(octets)
        await villain.ends()
        refusals = [line for line in here.victim.events() if line["event"] == "link_refused"]
        assert [(line["centre"], line["code"].split("_")[0]) for line in refusals] == [(A, "frame")]
        await here.still_serves()
        await (await here.villain()).say(Forgery(world=here.world).make())
        await until(lambda: here.kept() == (2, 0))  # and whoever behaves again is heard again
