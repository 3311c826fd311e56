"""An admitted centre that speaks badly: nothing of what it says may be believed or do harm.

It knows everything that honest nodes say to each other (more than the network would tell it), and
hosts an agency of its own, so that it may offer. Each trick is played on a fresh stream and
counted. DESIGN §0: protected against other nodes, and "a minority of lying nodes".
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Final

import trio

from node.tasks import start
from node.transport import ByteStream
from protocol import body_exchange, exchange
from protocol.body_exchange import BodyAsked, BodyGiven
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.envelope import ENVELOPE
from protocol.errors import NetworkError, TrucError
from protocol.exchange import (
    Ack,
    Bye,
    Frame,
    Hello,
    Holding,
    NotNow,
    Offer,
    Ping,
    Returned,
    Session,
    frame_bytes,
)
from protocol.limits import FRAME_BYTES_MAX
from protocol.receipt import RECEIPT, Receipt
from protocol.refusal import REFUSAL, Refusal
from protocol.signing import Signed, sign
from tests.sim.country import VILLAIN, VILLAINS_AGENCY, Country
from tests.sim.environment import EPOCH_MS, virtual_ms
from tests.sim.network import MemoryNetwork
from tests.sim.verdict import Sentence, Verdict
from tests.sim.villains_offer import make_offer

REMEMBERED: Final = 200
"""Frames of others that it can replay."""
NEWEST: Final = 20
"""Of these it chooses, when age matters: what is settled cannot be harmed."""
PAUSE_SECONDS: Final = 2.0
STAY_SECONDS: Final = 3.0
"""How long it listens after a trick."""
PATIENCE_SECONDS: Final = 20.0
FLOOD: Final = 20
WIRE_BYTES_MAX: Final = 128 * 1024

Trick = Callable[[str], Awaitable[None]]


class Villain:
    """The node of the hostile centre. `struck` counts tricks that were really played."""

    def __init__(
        self, network: MemoryNetwork, country: Country, addresses: Sequence[str], chance: Random, verdict: Verdict
    ) -> None:
        self.struck: Final[Counter[str]] = Counter()
        self._network: Final = network
        self._country: Final = country
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._transport: Final = network.transport(country.peer_id(VILLAIN), tuple(addresses), centre=VILLAIN)
        self._signer: Final = country.centre(VILLAIN).signer
        self._victims: Final = sorted(country.hosting)
        self._seen: Final[deque[Frame]] = deque(maxlen=REMEMBERED)
        self._unanswered: Final[dict[bytes, tuple[Consignment, bytes]]] = {}
        self._sessions: Final[dict[tuple[int, str], Session]] = {}
        self._tricks: Final[dict[str, Trick]] = {
            "garbage": self._garbage,
            "oversize": self._oversize,
            "wild_hello": self._wild_hello,
            "replay": self._replay,
            "forged_receipt": self._forged_receipt,
            "forged_refusal": self._forged_refusal,
            "foreign_ack": self._foreign_ack,
            "foreign_not_now": self._foreign_not_now,
            "squatted_offer": self._squatted_offer,
            "wrong_digest": self._wrong_digest,
            "lying_header": self._lying_header,
            "stolen_body": self._stolen_body,
            "flood": self._flood,
            "twin_cry": self._twin_cry,
        }

    # --- its life -----------------------------------------------------------------------------

    def watch(self, sender: str, _receiver: str, protocol: str, number: int, piece: bytes) -> None:
        """A tap: remember what others say."""
        if protocol != exchange.PROTOCOL or sender == VILLAIN:
            return
        session = self._sessions.setdefault((number, sender), Session(sender))
        with suppress(TrucError):
            for frame in session.receive(piece):
                if isinstance(frame, Offer | Returned):
                    self._seen.append(frame)
                    self._note(frame)

    def _note(self, frame: Offer | Returned) -> None:
        """Which consignments wait for their first answer."""
        if isinstance(frame, Offer):
            signed = Signed.from_wire(frame.consignment, bytes_max=WIRE_BYTES_MAX)
            told = CONSIGNMENT.decode(signed.statement)
            self._unanswered[told.id] = (told, signed.digest)
            return
        signed = Signed.from_wire(frame.thing, bytes_max=WIRE_BYTES_MAX)
        if signed.format == RECEIPT.name:
            self._unanswered.pop(RECEIPT.decode(signed.statement).consignment, None)

    async def run(self) -> None:
        """Play one trick after the other until cancelled, and accept whatever stream is opened."""
        self._transport.admit({centre: self._country.peer_id(centre) for centre in self._victims})
        async with trio.open_nursery() as nursery:
            await start(nursery, self._transport.run, self._accept)
            names = sorted(self._tricks)
            self._chance.shuffle(names)
            while True:
                for name in names:
                    await trio.sleep(self._chance.expovariate(1 / PAUSE_SECONDS))
                    nursery.start_soon(self._play, name, self._chance.choice(self._victims))

    async def _play(self, name: str, victim: str) -> None:
        with suppress(TrucError, trio.TooSlowError):
            with trio.fail_after(PATIENCE_SECONDS):
                await self._connect(victim)
                await self._tricks[name](victim)

    async def _connect(self, victim: str) -> None:
        number = self._victims.index(victim) + 1
        await self._transport.dial(victim, f"/ip4/10.0.0.{number}/tcp/4601")

    async def _accept(self, centre: str, protocol: str, stream: ByteStream) -> None:
        """Whoever opens a stream gets silence, garbage, or bodies that are not what was asked for."""
        way = self._chance.choice(("silence", "garbage", "end"))
        if protocol == body_exchange.PROTOCOL:
            await stream.read(4096)
            size = self._chance.randint(0, 400_000)
            await stream.write(body_exchange.give(BodyGiven(size=size)))
            await stream.write(self._chance.randbytes(size if way == "end" else size // 2))
            self.struck["villain false_body"] += 1
        elif way == "garbage":
            await stream.write(self._chance.randbytes(self._chance.randint(1, 3000)))
        if way == "silence":
            await trio.sleep(STAY_SECONDS)
        await stream.reset()

    # --- on a stream --------------------------------------------------------------------------

    async def _say(self, victim: str, trick: str, *frames: Frame, hello: Hello | None = None) -> None:
        """Greet and say these frames; stay a while, as the answers may crash somebody."""
        stream = await self._transport.open_stream(victim, exchange.PROTOCOL)
        await stream.write(frame_bytes(self._hello() if hello is None else hello))
        for frame in frames:
            await stream.write(frame_bytes(frame))
        self.struck[f"villain {trick}"] += 1
        await self._listen(stream)

    async def _listen(self, stream: ByteStream) -> None:
        with trio.move_on_after(STAY_SECONDS), suppress(NetworkError):
            while await stream.read(65_536):
                pass
        await stream.reset()

    def _hello(self) -> Hello:
        return Hello(
            version_min=1,
            version_max=1,
            centre=VILLAIN,
            incarnation=b"villain".ljust(16, b"."),
            given=0,
            held=0,
            time_ms=self._now_ms(),
        )

    def _now_ms(self) -> int:
        return EPOCH_MS + virtual_ms()

    def _some(self, kind: type[Frame]) -> Frame | None:
        frames = [frame for frame in self._seen if isinstance(frame, kind)]
        return self._chance.choice(frames) if frames else None

    # --- noise --------------------------------------------------------------------------------

    async def _garbage(self, victim: str) -> None:
        stream = await self._transport.open_stream(victim, self._chance.choice(sorted(self._protocols())))
        if self._chance.random() < 0.5:
            await stream.write(frame_bytes(self._hello()))
        await stream.write(self._chance.randbytes(self._chance.randint(1, 20_000)))
        self.struck["villain garbage"] += 1
        await self._listen(stream)

    def _protocols(self) -> frozenset[str]:
        return self._transport.protocols

    async def _oversize(self, victim: str) -> None:
        stream = await self._transport.open_stream(victim, exchange.PROTOCOL)
        await stream.write(frame_bytes(self._hello()))
        await stream.write((FRAME_BYTES_MAX + 2).to_bytes(4, "big") + bytes(70_000))
        self.struck["villain oversize"] += 1
        await self._listen(stream)

    async def _wild_hello(self, victim: str) -> None:
        far = 2**62
        wild = self._chance.choice(
            (
                replace(self._hello(), given=far, held=far, time_ms=far),
                replace(self._hello(), given=0, held=far, incarnation=self._chance.randbytes(16), time_ms=0),
                replace(self._hello(), centre=self._chance.choice(self._victims)),
                replace(self._hello(), version_min=7, version_max=9),
                replace(self._hello(), node_record=self._chance.randbytes(300)),
            )
        )
        await self._say(victim, "wild_hello", Ping(time_ms=far), self._hello(), hello=wild)

    async def _flood(self, victim: str) -> None:
        """Many streams at once, half of them with a hello, none of them closed in order."""
        streams = [await self._transport.open_stream(victim, exchange.PROTOCOL) for _ in range(FLOOD)]
        for number, stream in enumerate(streams):
            with suppress(NetworkError):
                if number % 2:
                    await stream.write(frame_bytes(self._hello()))
                await stream.write(b"".join(frame_bytes(Ping(time_ms=1)) for _ in range(FLOOD)))
        self.struck["villain flood"] += 1
        await self._transport.drop(victim)

    async def _twin_cry(self, victim: str) -> None:
        """Claims to know another store under the victim's name."""
        await self._say(victim, "twin_cry", Bye(code="twin"))

    # --- lies about others' documents ---------------------------------------------------------

    async def _replay(self, victim: str) -> None:
        frames = self._chance.sample(list(self._seen), min(3, len(self._seen)))
        if frames:
            await self._say(victim, "replay", *frames)

    async def _forged_receipt(self, victim: str) -> None:
        told, thing = self._foreign()
        first = self._chance.random() < 0.7
        receipt = Receipt(
            consignment=told.id,
            envelope=told.envelope,
            issuer=told.issuer,
            recipient=told.recipient,
            epoch=1,
            incarnation=bytes(16),
            sequence=0 if first else self._chance.choice((1, 2)),
            previous=thing if first else self._chance.randbytes(32),
            code=1 if first else self._chance.choice((100, 6)),
            time_ms=self._now_ms(),
            clock_quality=1,
        )
        signed = sign(RECEIPT.name, RECEIPT.encode(receipt), self._signer)
        await self._say_thing(victim, "forged_receipt", told, signed)

    async def _forged_refusal(self, victim: str) -> None:
        told, _ = self._foreign()
        refusal = Refusal(
            consignment=told.id,
            envelope=told.envelope,
            recipient=told.recipient,
            code="policy",
            time_ms=self._now_ms(),
        )
        signed = sign(REFUSAL.name, REFUSAL.encode(refusal), self._signer)
        await self._say_thing(victim, "forged_refusal", told, signed)

    async def _say_thing(self, victim: str, trick: str, told: Consignment, signed: Signed) -> None:
        """To whom it would matter, more often than not; under its own name, or with the key id of the true host."""
        issuer, host = self._country.host_of.get(told.issuer, victim), self._country.host_of.get(told.recipient, victim)
        if self._chance.random() < 0.7:
            victim = issuer
            await self._connect(victim)
        if self._chance.random() < 0.7:
            other = self._country.keys[host].operational[0].public.key_id
            signed = replace(signed, signatures=(replace(signed.signatures[0], key_id=other),))
        number = self._chance.choice((0, 1, 2**40))
        await self._say(victim, trick, Returned(number=number, thing=signed.to_wire()))

    def _foreign(self) -> tuple[Consignment, bytes]:
        """Somebody else's consignment that nobody has answered yet, and its digest; or one that
        nobody ever sent."""
        if self._unanswered and self._chance.random() < 0.8:
            return self._chance.choice(list(self._unanswered.values()))
        issuer, recipient = self._chance.sample(sorted(self._country.host_of), 2)
        invented = Consignment(
            envelope=self._chance.randbytes(32), issuer=issuer, recipient=recipient, created_ms=self._now_ms()
        )
        return invented, self._chance.randbytes(32)

    async def _foreign_ack(self, victim: str) -> None:
        """Acknowledge, to everybody, receipts that are owed to others."""
        things = [frame.thing for frame in self._seen if isinstance(frame, Returned)][-NEWEST:]
        acks = [Ack(thing=Signed.from_wire(one, bytes_max=WIRE_BYTES_MAX).digest) for one in things]
        if not acks:
            return
        for one in (victim, *(other for other in self._victims if other != victim)):
            with suppress(NetworkError):
                await self._connect(one)
                await self._say(one, "foreign_ack", *acks, Ack(thing=self._chance.randbytes(32)))

    async def _foreign_not_now(self, victim: str) -> None:
        """Put off offers that were made to somebody else."""
        told, _ = self._foreign()
        put_off = NotNow(subject=told.id, code="busy", retry_ms=2**40)
        await self._say(victim, "foreign_not_now", put_off, Holding(consignment=told.id))

    # --- offers -------------------------------------------------------------------------------

    async def _squatted_offer(self, victim: str) -> None:
        """An honest issuer's envelope under a consignment that the villain has signed, and the reverse."""
        seen = self._some(Offer)
        if not isinstance(seen, Offer):
            return
        told = CONSIGNMENT.decode(Signed.from_wire(seen.consignment, bytes_max=WIRE_BYTES_MAX).statement)
        issuer = self._chance.choice((told.issuer, VILLAINS_AGENCY))
        mine = replace(told, issuer=issuer)
        signed = sign(CONSIGNMENT.name, CONSIGNMENT.encode(mine), self._signer)
        await self._say(victim, "squatted_offer", replace(seen, consignment=signed.to_wire()))

    async def _wrong_digest(self, victim: str) -> None:
        """A seen offer with other bytes in it."""
        seen = self._some(Offer)
        if isinstance(seen, Offer):
            inline = tuple(self._chance.randbytes(len(one)) for one in seen.inline)
            changed = self._chance.choice(
                (replace(seen, header=self._chance.randbytes(100)), replace(seen, inline=inline, stanza=b"x" * 48))
            )
            await self._say(victim, "wrong_digest", changed)

    async def _lying_header(self, victim: str) -> None:
        """An offer of its own agency, rightly signed, whose content is not what it says."""
        lie = self._chance.choice(("commitment", "header", "digest", "body"))
        recipient = self._chance.choice(self._country.hosting[victim])
        await self._say(victim, "lying_header", make_offer(self._country, self._chance, victim, recipient, lie))

    async def _stolen_body(self, victim: str) -> None:
        """Ask for bodies of others' consignments."""
        offer = self._some(Offer)
        if not isinstance(offer, Offer):
            return
        told = CONSIGNMENT.decode(Signed.from_wire(offer.consignment, bytes_max=WIRE_BYTES_MAX).statement)
        envelope = ENVELOPE.decode(Signed.from_wire(offer.envelope, bytes_max=WIRE_BYTES_MAX).statement)
        sender = self._country.host_of.get(told.issuer, victim)
        await self._connect(sender)
        stream = await self._transport.open_stream(sender, body_exchange.PROTOCOL)
        await stream.write(body_exchange.ask(BodyAsked(consignment=told.id, body=envelope.parts[0].digest)))
        self.struck["villain stolen_body"] += 1
        answer = await stream.read(65_536)
        if answer:
            given = body_exchange.read_given(answer[4], answer[5 : 4 + int.from_bytes(answer[:4], "big")])
            self._verdict.require(not given.size, Sentence.FOREIGN, f"{sender} gave a body of {told.id.hex()}")
        await stream.reset()


TRICKS: Final = frozenset(
    f"villain {name}"
    for name in (
        "garbage", "oversize", "wild_hello", "replay", "forged_receipt", "forged_refusal", "foreign_ack",
        "foreign_not_now", "squatted_offer", "wrong_digest", "lying_header", "stolen_body", "flood", "twin_cry",
    )
)  # fmt: skip
