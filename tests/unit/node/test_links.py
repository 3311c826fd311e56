"""One exchange stream: the order of frames, what a peer may not do, and how a link ends."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.conduct import STRIKE_BACK_MS, STRIKES_MAX, Conducts
from node.link_table import NEW_LINKS_MAX, Links
from node.links import WORDS_HELD_MAX, WORDS_MAX, WRITE_S, Link
from node.offer_line import Window
from protocol.delivery import SenderState
from protocol.encoding import encode
from protocol.exchange import Ack, Bye, FrameType, Hello, Holding, NotNow, Offer, Ping, Pong, Returned
from protocol.framing import encode_frame
from protocol.limits import FRAME_BYTES_MAX
from protocol.record import Put
from protocol.records import Counter, Incoming, Outgoing, Refused, Return
from protocol.step import OfferArrived, SendAck, SendHello, SendHolding, SendNotNow, SendOffer, SendReturn, Step
from tests.support.bench import Bench, Pipe
from tests.support.delivery import A, C, Forgery, World, consignment_of, receipt_of
from tests.support.links import bytes_of, frames_in, hello_of, make_link


class Wire:
    """A link of C's node to A, and A's end of it in the test's hands."""

    def __init__(self, centre: str = A, **changes: Any) -> None:
        self.world = World()
        self.bench = Bench(self.world.c)
        self.conduct = Conducts(self.bench.environment, own=C, bar_max_ms=300_000).of(centre)
        self.pipe = Pipe()
        self.up: list[Hello] = []
        self.held: list[bytes] = []
        self.dropped: list[bytes] = []
        self.times: list[int] = []
        fitting: dict[str, Any] = {
            "on_up": self._heard_hello,
            "on_holding": self._heard_holding,
            "on_dropped": lambda _centre, consignment: self.dropped.append(consignment),
            "on_time": lambda _centre, time_ms: self.times.append(time_ms),
            "conduct": self.conduct,
        }
        self.links: Links = Links()
        self.link = make_link(self.bench, centre, self.pipe, **{**fitting, **changes})
        self.links.add(self.link)
        self.bench.pump.send = self.links.route

    def _heard_holding(self, _centre: str, consignment: bytes) -> bool:
        self.held.append(consignment)
        return True

    def _heard_hello(self, link: Link, hello: Hello) -> None:
        self.up.append(hello)
        self.links.promote(link)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        async with self.bench.running(), trio.open_nursery() as nursery:
            nursery.start_soon(self.link.run)
            yield self
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def greeted(self) -> AsyncIterator[Wire]:
        async with self.running():
            await self.hears(hello_of(A))
            self.pipe.written.clear()
            yield self

    async def hears(self, *frames: Any) -> None:
        self.pipe.feed(bytes_of(*frames))
        await self.settles()

    async def settles(self) -> None:
        await trio.sleep(0.1)

    def said(self) -> list[Any]:
        """What was written, behind the hello."""
        return frames_in(C, bytes_of(hello_of(C)) + bytes(self.pipe.written))[1:]

    async def ended(self) -> str:
        """Why the link is over."""
        with trio.fail_after(10_000):
            await self.pipe.over.wait()
        return self.link.why_over


async def test_hello_comes_first_with_what_is_durable(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.running():
        wire.link.send(SendAck(A, bytes(32)))
        await wire.settles()
        (hello,) = frames_in(C, wire.pipe.written)
        assert isinstance(hello, Hello)
        assert (hello.centre, hello.incarnation, hello.given, hello.held) == (C, wire.world.c.incarnation, 0, 0)
        seen = [wire.link.is_up]
        await wire.hears(hello_of(A, given=5, time_ms=77))
        seen.append(wire.link.is_up)
        assert seen == [False, True]
        assert wire.up == [hello_of(A, given=5, time_ms=77)] == [wire.link.hello]
        assert wire.times == [77]
        wire.link.send(SendHello(A, 9, 9))
        await wire.settles()
        assert frames_in(C, wire.pipe.written) == [hello], "it is said once"


async def test_a_hello_that_comes_before_ours_has_left_does_not_silence_us(autojump_clock: MockClock) -> None:
    wire = Wire()
    wire.pipe.feed(bytes_of(hello_of(A)))
    async with wire.bench.running():
        ticket = wire.bench.committer.hand_over(Step(changes=(Put(Counter(name="busy", value=1)),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.link.run)
            await trio.testing.wait_all_tasks_blocked()
            await ticket.wait()
            await wire.settles()
            assert wire.up and wire.link.is_up
            assert len(frames_in(C, wire.pipe.written)) == 1
            nursery.cancel_scope.cancel()


async def test_a_peer_that_asks_before_our_hello_is_out_gets_no_answer(autojump_clock: MockClock) -> None:
    wire = Wire()
    wire.bench.pump.send = lambda _send: None  # our hello waits
    async with wire.running():
        await wire.hears(hello_of(A), Ping(time_ms=1, clock_quality=0))
        assert frames_in(C, wire.pipe.written) == []
        wire.link.send(SendHello(A, 0, 0))
        await wire.hears(Ping(time_ms=2, clock_quality=0))
        assert [type(frame) for frame in frames_in(C, wire.pipe.written)] == [Hello, Pong]


async def test_words_go_before_offers(autojump_clock: MockClock) -> None:
    wire = Wire()
    consignment = wire.world.submit("H38", ["G22"]).only
    async with wire.greeted():
        wire.world.c.offer(consignment, centre=A)
        wire.link.send(SendOffer(A, consignment))
        wire.link.send(SendAck(A, bytes(32)))
        wire.link.send(SendHolding(A, bytes(32)))
        wire.link.send(SendNotNow(A, bytes(32), "busy", 5))
        await wire.settles()
        said = wire.said()
        assert [type(frame) for frame in said] == [Ack, Holding, NotNow, Offer]
        assert said[2] == NotNow(subject=bytes(32), code="busy", retry_ms=5)


@pytest.mark.parametrize("answer", ["receipt", "not now", "holding"])
async def test_no_more_is_written_than_the_window_until_the_peer_has_spoken_about_it(
    autojump_clock: MockClock, answer: str
) -> None:
    wire = Wire(window=Window(offers=1))
    first, second = (wire.world.submit("H38", ["G22"], [name], key=name.decode()).only for name in (b"1", b"2"))
    async with wire.greeted():
        for consignment in (first, second):
            wire.world.c.offer(consignment, centre=A)
            wire.link.send(SendOffer(A, consignment))
        await wire.settles()
        (offered,) = wire.said()
        assert isinstance(offered, Offer)
        if answer == "receipt":
            step = wire.world.a.do(OfferArrived(centre=C, offer=offered))
            await wire.hears(wire.world.a.frame(step.sends[0]))
        elif answer == "not now":
            await wire.hears(NotNow(subject=first, code="busy", retry_ms=5_000))
        else:
            await wire.hears(Holding(consignment=first))
        assert len([frame for frame in wire.said() if isinstance(frame, Offer)]) == 2


async def test_an_offer_that_makes_no_frame_is_told_to_the_sender(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.link.send(SendOffer(A, bytes(32)))
        wire.link.send(SendReturn(A, bytes(32), 1))
        await wire.settles()
        assert wire.dropped == [bytes(32)]
        assert wire.said() == []


async def test_an_offer_is_answered_by_its_receipt(autojump_clock: MockClock) -> None:
    wire = Wire()
    offer = Forgery(world=wire.world).make()
    async with wire.greeted():
        await wire.hears(offer)
        (returned,) = wire.said()
        assert isinstance(returned, Returned)
        entry = wire.world.c.box(consignment_of(offer))
        assert returned == Returned(number=1, thing=wire.world.c.thing(entry.head).to_wire())


async def test_receipts_acknowledgements_and_put_offs_reach_their_records(autojump_clock: MockClock) -> None:
    wire = Wire()
    consignment = wire.world.submit("H38", ["G22"]).only
    async with wire.greeted():
        wire.world.c.offer(consignment, centre=A)
        await wire.hears(NotNow(subject=consignment, code="held", retry_ms=5_000))
        assert wire.world.c.out(consignment).waiting == "held"
        await wire.hears(Ack(thing=bytes(32)))
        await wire.hears(Returned(number=1, thing=_stranger(wire)))
        assert [type(frame) for frame in wire.said()] == [NotNow]


def _stranger(wire: Wire) -> bytes:
    consignment = wire.world.submit("G22", ["H38"]).only
    return receipt_of(wire.world, consignment).to_wire()


async def test_holding_pings_and_pongs_are_told_on(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        await wire.hears(Holding(consignment=bytes(32)), Ping(time_ms=500), Pong(echo_ms=1, time_ms=600))
        assert wire.held == [bytes(32)]
        assert wire.times == [1, 500, 600]
        (pong,) = wire.said()
        assert isinstance(pong, Pong)
        assert pong.echo_ms == 500


async def test_a_quiet_peer_is_pinged_and_a_silent_one_given_up(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        assert await wire.ended() == "peer_silent"
        assert 60 <= trio.current_time() <= 81
        pings = [frame for frame in wire.said() if isinstance(frame, Ping)]
        assert len(pings) in (2, 3)


async def test_a_peer_that_answers_is_kept(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        for n in range(20):
            await trio.sleep(15)
            await wire.hears(Pong(echo_ms=1, time_ms=n))
        assert not wire.pipe.was_reset


async def test_a_peer_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.pipe.stuck = True
        wire.link.send(SendAck(A, bytes(32)))
        async with trio.open_nursery() as nursery:

            async def alive() -> None:
                while True:
                    await trio.sleep(10)
                    wire.pipe.feed(bytes_of(Pong(echo_ms=1, time_ms=1)))

            nursery.start_soon(alive)
            start = trio.current_time()
            assert await wire.ended() == "stream_stalled"
            assert trio.current_time() - start >= WRITE_S
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff\xff\xff", "frame_too_large"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4, "big"), "frame_too_large"),
        (bytes(4), "frame_empty"),
        (encode_frame(99, b""), "frame_unknown"),
        (encode_frame(FrameType.ACK, b"\xc1"), "format_malformed"),
        (encode_frame(FrameType.OFFER, encode({1: 1})), "format_field"),
        (bytes_of(hello_of(A)), "exchange_order"),
    ],
)
async def test_a_peer_that_breaks_a_rule_is_reset_and_the_node_lives(
    autojump_clock: MockClock, data: bytes, why: str
) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.pipe.feed(bytes_of(Holding(consignment=bytes(32))) + data + bytes_of(Ping(time_ms=1)))
        assert await wire.ended() == why
        assert (wire.held, wire.times[1:]) == ([bytes(32)], []), "frames before the bad one count, none behind it"
        assert (wire.conduct.fault, wire.conduct.faults) == (why, 1)
        assert wire.conduct.barred_ms > 0
        assert await wire.bench.committer.hand_over(Step(reply="alive")).wait() == "alive"


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (hello_of("00.09.W00"), "exchange_wrong_centre"),
        (hello_of(A, version_min=2, version_max=3), "exchange_version"),
    ],
)
async def test_a_hello_that_does_not_fit_ends_the_link(autojump_clock: MockClock, hello: Hello, why: str) -> None:
    wire = Wire()
    async with wire.running():
        await wire.hears(hello)
        assert await wire.ended() == why
        assert wire.up == []
        assert wire.conduct.barred_ms > 0


async def test_what_cannot_be_read_inside_a_good_frame_is_answered_and_the_link_lives(
    autojump_clock: MockClock,
) -> None:
    wire = Wire()
    offer = Forgery(world=wire.world).make()
    itself = Forgery(world=wire.world, recipient="G22").make()
    digest = hashlib.sha256(b"\xc1").digest()
    async with wire.greeted():
        for _ in range(3):
            await wire.hears(replace(offer, consignment=b"\xc1"), itself, Returned(number=1, thing=b"\xc1"))
        assert wire.said() == 3 * [
            NotNow(subject=digest, code="offer_unreadable", retry_ms=3_600_000),
            NotNow(subject=consignment_of(itself), code="offer_unreadable", retry_ms=3_600_000),
            NotNow(subject=digest, code="format_malformed", retry_ms=3_600_000),
        ]
        wire.pipe.written.clear()
        await wire.hears(offer)
        assert [type(frame) for frame in wire.said()] == [Returned], "all else goes on"
        assert not wire.pipe.was_reset
    alarms = [(line["code"], line["subject"]) for line in wire.bench.logged("alarm")]
    assert alarms == [
        ("offer_unreadable", digest.hex()),
        ("offer_unreadable", consignment_of(itself).hex()),
        ("format_malformed", digest.hex()),
    ], "each is said once"
    assert (wire.conduct.faults, wire.conduct.fault, wire.conduct.barred_ms) == (9, "format_malformed", 0)


async def test_a_peer_that_cannot_read_what_we_say_names_it_by_its_digest(autojump_clock: MockClock) -> None:
    """A later version of a thing, or damage: the sender backs off as for every *not now*."""
    wire = Wire()
    consignment = wire.world.submit("H38", ["G22"]).only
    receipt = wire.world.c.do(Forgery(world=wire.world).arrives()).sends[0]
    assert isinstance(receipt, SendReturn)
    async with wire.greeted():
        wire.world.c.offer(consignment, centre=A)
        wire.link.send(SendOffer(A, consignment))
        wire.link.send(receipt)
        await wire.settles()
        returned, offer = wire.said()
        for octets, code in ((offer.consignment, "newer_format"), (returned.thing, "format_malformed")):
            await wire.hears(NotNow(subject=hashlib.sha256(octets).digest(), code=code, retry_ms=60_000))
    entry = wire.world.c.out(consignment)
    assert (entry.waiting, entry.state) == ("newer_format", SenderState.QUEUED)
    assert [owed.waiting for owed in wire.world.c.all(Return)] == ["format_malformed"]


async def test_a_peer_that_is_used_up_is_put_off_unheard(autojump_clock: MockClock) -> None:
    wire = Wire()
    offer, own = Forgery(world=wire.world).make(), wire.world.submit("H38", ["G22"]).only
    wire.world.c.offer(own, centre=A)
    thing = _receipt_for(wire, own)
    bad = replace(offer, consignment=b"\xc1")
    async with wire.greeted():
        wire.pipe.feed(bytes_of(*[bad] * STRIKES_MAX))
        await wire.hears(offer, Returned(number=1, thing=thing.to_wire()), Returned(number=1, thing=b"\xc1"))
        assert wire.conduct.is_restrained
        answers = [(answer.subject, answer.code) for answer in wire.said()]
        digest = hashlib.sha256(b"\xc1").digest()
        assert answers[:STRIKES_MAX] == [(digest, "offer_unreadable")] * STRIKES_MAX
        names = (consignment_of(offer), thing.digest, digest)
        assert answers[STRIKES_MAX:] == [(name, "busy") for name in names]
        assert wire.world.c.all(Incoming) == []
        await wire.hears(Ack(thing=bytes(32)), NotNow(subject=own, code="held", retry_ms=5_000))
        assert wire.world.c.out(own).waiting == "held", "what it says about ours still counts"
        await trio.sleep(STRIKE_BACK_MS / 1000 * 5)
        await wire.hears(offer)
        assert len(wire.world.c.all(Incoming)) == 1, "an hour of good conduct is not needed for one good offer"
    assert len(wire.bench.logged("alarm")) == 1


async def test_refusals_are_kept_for_ever_and_so_are_few(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        for n in range(STRIKES_MAX + 20):
            envelope = {"envelope_id": n.to_bytes(16, "big"), "lane": 9}
            wire.pipe.feed(bytes_of(Forgery(world=wire.world, envelope=envelope).make()))
        await trio.sleep(5)
        assert len(wire.world.c.all(Refused)) == STRIKES_MAX
        put_off = [frame for frame in wire.said() if isinstance(frame, NotNow)]
        assert [frame.code for frame in put_off] == ["busy"] * 20


async def test_accepted_documents_make_up_for_refused_ones(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        for n in range(STRIKES_MAX + 20):
            bad = Forgery(world=wire.world, envelope={"envelope_id": n.to_bytes(16, "big"), "lane": 9})
            good = Forgery(world=wire.world, contents=(b"good %d" % n,))
            await wire.hears(*(one.make() for one in ((bad, good) if n % 4 == 0 else (bad,))))
        assert len(wire.world.c.all(Refused)) == STRIKES_MAX + 20
        assert len(wire.world.c.all(Incoming)) == (STRIKES_MAX + 20) // 4


async def test_receipts_that_find_no_room_are_left_to_the_returner(autojump_clock: MockClock) -> None:
    skipped: list[str] = []
    wire = Wire(on_skipped=skipped.append)
    async with wire.greeted():
        wire.pipe.stuck = True
        await wire.hears(Ping(time_ms=1))  # the writer is stuck in its answer
        for n in range(3 * WORDS_MAX):
            wire.link.send(SendReturn(A, n.to_bytes(32, "big"), 1))
        assert len(wire.link._words) == WORDS_MAX
        assert skipped == []
        wire.pipe.unstick()
        await wire.settles()
        assert skipped == [A]
        assert len(wire.link._words) == 0


async def test_a_peer_that_takes_not_even_its_answers_is_given_up(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.pipe.stuck = True
        await wire.hears(Ping(time_ms=1))
        for n in range(WORDS_HELD_MAX + 1):
            wire.link.send(SendAck(A, n.to_bytes(32, "big")))
        assert await wire.ended() == "not_reading"
        assert len(wire.link._words) == WORDS_HELD_MAX


async def test_a_flood_of_pings_is_not_read_further_than_it_is_answered(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.pipe.stuck = True
        wire.pipe.feed(bytes_of(Ping(time_ms=1)) * (2 * WORDS_MAX))
        await wire.settles()
        assert len(wire.link._words) == WORDS_MAX + 1


async def test_a_stream_that_ends_is_closed_by_the_peer_or_cut(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.pipe.end()
        assert await wire.ended() == "closed_by_peer"
    wire = Wire()
    async with wire.greeted():
        wire.pipe.feed(bytes_of(Ping(time_ms=1))[:-1])
        wire.pipe.end()
        assert await wire.ended() == "frame_truncated"
        assert wire.conduct.faults == 0, "the network does that, too"


@pytest.mark.parametrize(("code", "twin"), [("twin", True), ("stopping", False)])
async def test_a_peers_last_word_is_remembered(autojump_clock: MockClock, code: str, twin: bool) -> None:
    wire = Wire()
    async with wire.greeted():
        await wire.hears(Bye(code=code))
        assert await wire.ended() == code
        assert wire.link.told_twin is twin


async def test_our_last_word_is_said_before_the_link_ends(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.greeted():
        wire.link.part("twin")
        assert await wire.ended() == "twin"
        assert wire.said() == [Bye(code="twin")]
        assert wire.pipe.was_closed


async def test_nothing_is_said_before_our_own_hello_not_even_goodbye(autojump_clock: MockClock) -> None:
    wire = Wire(on_up=lambda link, _hello: link.part("twin"))
    wire.pipe.feed(bytes_of(hello_of(A)))
    async with wire.bench.running():
        wire.bench.committer.hand_over(Step(changes=(Put(Counter(name="busy", value=1)),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.link.run)
            assert await wire.ended() == "twin"
            nursery.cancel_scope.cancel()
    assert [type(frame) for frame in frames_in(C, wire.pipe.written)] == [Hello, Bye]


async def test_a_read_only_node_declines_and_remembers_nothing(autojump_clock: MockClock) -> None:
    wire = Wire()
    offer = Forgery(world=wire.world).make()
    own = wire.world.submit("H38", ["G22"]).only
    async with wire.greeted():
        wire.world.c.offer(own, centre=A)
        thing = _receipt_for(wire, own)
        wire.bench.side.disk.fail_commit_in, wire.bench.side.disk.fail_code = 1, "disk_full"
        await wire.hears(offer)
        assert wire.bench.committer.read_only is not None
        await wire.hears(offer, Returned(number=1, thing=thing.to_wire()), Ack(thing=bytes(32)))
        await wire.hears(NotNow(subject=own, code="busy", retry_ms=1))
        assert wire.said() == [
            NotNow(subject=consignment_of(offer), code="disk_floor", retry_ms=600_000),
            NotNow(subject=thing.digest, code="disk_floor", retry_ms=600_000),
        ]
        assert wire.world.c.all(Incoming) == []
        assert wire.world.c.get(Outgoing, own).codes == ()


def _receipt_for(wire: Wire, consignment: bytes) -> Any:
    from protocol.receipt import RECEIPT, Receipt
    from tests.support.delivery import signed_by

    entry = wire.world.c.out(consignment)
    receipt = Receipt(
        consignment=consignment,
        envelope=entry.envelope,
        issuer="H38",
        recipient="G22",
        epoch=1,
        incarnation=bytes(16),
        sequence=0,
        previous=entry.head,
        code=1,
        time_ms=wire.world.now_ms,
    )
    return signed_by(wire.world.a, RECEIPT, receipt)


# --- all links of a node -----------------------------------------------------------------------------


def links_of(count: int) -> tuple[Links, list[Link], list[Pipe]]:
    bench = Bench(World().c)
    links, pipes = Links(), [Pipe() for _ in range(count)]
    made = [make_link(bench, A, pipe) for pipe in pipes]
    for link in made:
        links.add(link)
    return links, made, pipes


async def test_a_newer_link_counts_once_its_peer_has_said_hello() -> None:
    links, (first, second), _ = links_of(2)
    assert links.get(A) is None
    links.promote(first)
    assert links.get(A) is first
    links.promote(second)
    assert links.get(A) is second
    assert first.why_over == "replaced"
    assert not links.remove(first)
    assert links.remove(second)
    assert links.get(A) is None


async def test_streams_that_say_nothing_are_few() -> None:
    links, made, _ = links_of(NEW_LINKS_MAX + 1)
    assert [link.why_over for link in made] == ["too_many_streams", *[""] * NEW_LINKS_MAX]
    assert not links.remove(made[0])


async def test_all_links_end_together() -> None:
    links, (first, second), _ = links_of(2)
    links.promote(first)
    links.end_all("store_io")
    assert (first.why_over, second.why_over) == ("store_io", "store_io")


async def test_a_send_without_a_link_is_dropped() -> None:
    Links().route(SendAck(A, bytes(32)))
    Links().route(SendHello(A, 1, 1))
