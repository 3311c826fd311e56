"""An admitted centre that lies about the directory: nothing of it may be believed, and nobody honest blamed for it.

It answers those that ask it with one lie each, says digests that nobody has, so that it is asked, and asks
badly itself. It reads the true directory from its victims, so that its lies are well informed. Each
trick that was really played is counted. DESIGN §0 ("a minority of lying nodes"), `protocol/spec/reconcile.md` §4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any, Final

import trio

from node.directory import make_node_record
from node.tasks import start
from node.transport import ByteStream
from protocol import exchange, reconcile_frames
from protocol.announcement import ANNOUNCEMENT, Announcement, LogMark
from protocol.checkpoint import NUMBERED, Fork, fork_wire
from protocol.directory import AGENCY, CENTRE, KeyEntry
from protocol.errors import NetworkError, TrucError
from protocol.exchange import Hello, Ping, Pong, Session, heads_extension
from protocol.framing import Decoder
from protocol.heads import LogHead
from protocol.limits import MIB, RECONCILE_FRAME_BYTES_MAX, RECONCILE_QUESTION_BYTES_MAX
from protocol.prefix_tree import Node, Prefix
from protocol.reconcile_frames import (
    Answer,
    HeadsAsked,
    HeadsGiven,
    Introduced,
    LogAsked,
    LogGiven,
    Question,
    ThingsAsked,
    ThingsGiven,
    TreeAsked,
    TreeGiven,
    frame_bytes,
    read_answer,
    read_question,
)
from protocol.signing import Ed25519Signer, Signed, sign
from tests.sim.environment import EPOCH_MS, virtual_ms
from tests.sim.network import MemoryNetwork
from tests.sim.realm import Realm

STAY_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 30.0
FLOOD: Final = 12
"""Directory streams at once; two are served."""
SESSIONS: Final = 40
"""Sessions in a row; thirty an hour are served."""
JUNK: Final = 150
ENDLESS_FRAMES: Final = 80
"""An answer has at most 64 frames."""

Lie = Callable[[ByteStream, Question, "Talk"], Awaitable[bool]]
"""Answers one question falsely; whether to wait for another."""


class Talk:
    """What was said on one stream so far: the lie, and the heads that it is built on."""

    def __init__(self, lie: str) -> None:
        self.lie: Final = lie
        self.played = False


class DirectoryVillain:
    """The node of one hostile centre. `struck` counts tricks that were really played."""

    def __init__(
        self,
        network: MemoryNetwork,
        realm: Realm,
        code: str,
        addresses: Mapping[str, Sequence[str]],
        chance: Random,
        *,
        pause: float,
        announces: bool = False,
    ) -> None:
        """`pause`: seconds between two tricks, on average."""
        self.struck: Final[Counter[str]] = Counter()
        self.code: Final = code
        self._realm: Final = realm
        self._chance: Final = chance
        self._addresses: Final = addresses
        self.pause = pause
        self._transport: Final = network.transport(realm.centre(code).peer_id, tuple(addresses[code]), centre=code)
        self._signer: Final = Ed25519Signer(chance.randbytes(32))
        self._true = HeadsGiven()
        self._lies: Final[dict[str, Lie]] = {
            "withholds": self._withhold,
            "other_numbers": self._other_numbers,
            "false_number": self._false_number,
            "lying_root": self._lying_root,
            "endless_log": self._endless_log,
            "endless_heads": self._endless_heads,
            "junk": self._junk_log,
            "forged": self._forged_log,
            "old_records": self._old_records,
            "false_fork": self._false_fork,
            "huge_frame": self._huge_frame,
            "silence": self._silence,
            "nonsense": self._nonsense,
        }
        self._tricks: Final[dict[str, Callable[[str], Awaitable[None]]]] = {
            "stream_flood": self._stream_flood,
            "session_flood": self._session_flood,
            "bad_question": self._bad_question,
            "large_question": self._large_question,
            "introduction": self._introduction,
            "false_node_record": self._false_node_record,
            "unasked_answer": self._unasked_answer,
            **(self._announced() if announces else {}),
        }
        if announces:
            self._transport.announcements(lambda _centre, _content: True)

    def _announced(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        return {
            "announced_junk": self._announced_junk,
            "announced_flood": self._announced_flood,
            "announced_forged": self._announced_forged,
            "announced_heads": self._announced_heads,
            "announced_old": self._announced_old,
        }

    # --- its life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Lure, lie and trick until cancelled."""
        self.admit()
        async with trio.open_nursery() as nursery:
            await start(nursery, self._transport.run, self._accept)
            names = sorted(self._tricks)
            while True:
                self._chance.shuffle(names)
                for name in names:
                    await trio.sleep(self._chance.expovariate(1 / self.pause))
                    victim = self._chance.choice(self._victims())
                    nursery.start_soon(self._play, name, victim)
                    nursery.start_soon(self._lure, self._chance.choice(self._victims()))

    def admit(self) -> None:
        """Whoever is in the country may come."""
        self._transport.admit(
            {code: self._realm.centre(code).peer_id for code in self._realm.centres if code != self.code}
        )

    def _victims(self) -> list[str]:
        return [code for code in self._realm.honest if code in self._addresses]

    async def _connect(self, victim: str) -> None:
        if victim not in self._transport.admitted:
            self.admit()
        await self._transport.dial(victim, self._addresses[victim][0])

    async def _play(self, name: str, victim: str) -> None:
        with suppress(TrucError, trio.TooSlowError):
            with trio.fail_after(PATIENCE_SECONDS):
                await self._connect(victim)
                await self._tricks[name](victim)
                self.struck[f"villain {name}"] += 1

    async def _lure(self, victim: str) -> None:
        """Say heads that nobody has, and stay: whoever hears of them will ask."""
        with suppress(TrucError, trio.TooSlowError), trio.move_on_after(4 * self.pause + STAY_SECONDS):
            await self._connect(victim)
            self._true = await self._heads_of(victim)
            stream = await self._transport.open_stream(victim, exchange.PROTOCOL)
            await self._greet(stream)
            await self._chat(stream, victim)

    async def _greet(self, stream: ByteStream, node_record: bytes = b"") -> None:
        hello = Hello(
            version_min=1,
            version_max=1,
            centre=self.code,
            incarnation=self.code.encode().ljust(16, b"."),
            given=0,
            held=0,
            time_ms=EPOCH_MS + virtual_ms(),
            node_record=node_record,
            extensions=heads_extension(self._chance.randbytes(32)),
        )
        await stream.write(exchange.frame_bytes(hello))

    async def _chat(self, stream: ByteStream, victim: str) -> None:
        session = Session(victim)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping, stream)
            with suppress(TrucError):
                while data := await stream.read(65_536):
                    await self._answer_pings(stream, session, data)
            nursery.cancel_scope.cancel()

    async def _answer_pings(self, stream: ByteStream, session: Session, data: bytes) -> None:
        for frame in session.receive(data):
            if isinstance(frame, Ping):
                pong = Pong(echo_ms=frame.time_ms, time_ms=EPOCH_MS + virtual_ms())
                await stream.write(exchange.frame_bytes(pong))

    async def _ping(self, stream: ByteStream) -> None:
        with suppress(NetworkError):
            while True:
                await trio.sleep(self.pause / 2)
                ping = Ping(time_ms=EPOCH_MS + virtual_ms(), extensions=heads_extension(self._chance.randbytes(32)))
                await stream.write(exchange.frame_bytes(ping))
                self.struck["villain wild_heads"] += 1

    async def _heads_of(self, victim: str) -> HeadsGiven:
        """What a victim truly knows, to be lied about."""
        stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
        answer = await self._ask(stream, HeadsAsked())
        await stream.reset()
        return answer if isinstance(answer, HeadsGiven) else self._true

    async def _ask(self, stream: ByteStream, question: Question) -> Answer | None:
        await stream.write(frame_bytes(question))
        decoder = Decoder(RECONCILE_FRAME_BYTES_MAX)
        with trio.move_on_after(STAY_SECONDS):
            while data := await stream.read(65_536):
                for number, body in decoder.feed(data):
                    return read_answer(number, body)
        return None

    # --- being asked --------------------------------------------------------------------------

    async def _accept(self, centre: str, protocol: str, stream: ByteStream) -> None:
        if protocol == exchange.PROTOCOL:
            with suppress(TrucError):
                await self._greet(stream)
                await self._chat(stream, centre)
        elif protocol == reconcile_frames.PROTOCOL:
            await self._answer_falsely(stream)
        await stream.reset()

    async def _answer_falsely(self, stream: ByteStream) -> None:
        name = self._chance.choice(sorted(self._lies))
        talk, decoder = Talk(name), Decoder(RECONCILE_QUESTION_BYTES_MAX)
        with suppress(TrucError), trio.move_on_after(PATIENCE_SECONDS):
            while data := await stream.read(65_536):
                for number, body in decoder.feed(data):
                    goes_on = await self._lies[name](stream, read_question(number, body), talk)
                    if talk.played:
                        self.struck[f"villain {name}"] += 1
                        talk.played = False
                    if not goes_on:
                        await self._linger(stream)
                        return

    async def _linger(self, stream: ByteStream) -> None:
        with trio.move_on_after(STAY_SECONDS), suppress(NetworkError):
            while await stream.read(65_536):
                pass

    async def _say(self, stream: ByteStream, *answers: Answer) -> None:
        for answer in answers:
            await stream.write(frame_bytes(answer))

    async def _claim(self, stream: ByteStream, question: Question) -> bool:
        """To whoever asks for heads: the true logs, a few numbers longer. Whether that was the question."""
        if not isinstance(question, HeadsAsked):
            return False
        logs = tuple(replace(log, number=log.number + 3, root=self._chance.randbytes(32)) for log in self._logs())
        await self._say(stream, replace(self._true, logs=logs, loose=self._chance.randbytes(32)))
        return True

    def _logs(self) -> tuple[LogHead, ...]:
        return self._true.logs or (LogHead(registrar="level-1", generation=1, number=1),)

    async def _withhold(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """Claims numbers and does not give them."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        empty: Answer = LogGiven() if isinstance(question, LogAsked) else ThingsGiven()
        await self._say(stream, empty)
        return False

    async def _other_numbers(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """Gives numbers that nobody asked for."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        await self._say(stream, LogGiven(rows=((2**40, self._some_wire()), (1, self._some_wire()))))
        return False

    async def _false_number(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """Gives a true record under a number that is not its own."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        number = question.first if isinstance(question, LogAsked) else 1
        await self._say(stream, LogGiven(rows=((number, self._some_wire()),)))
        return False

    async def _lying_root(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """The victim's own numbers under another root, and nodes that contradict each other."""
        if isinstance(question, HeadsAsked):
            logs = tuple(replace(log, root=self._chance.randbytes(32)) for log in self._logs())
            await self._say(stream, replace(self._true, logs=logs, loose=self._chance.randbytes(32)))
            return True
        talk.played = True
        if isinstance(question, TreeAsked):
            nodes = tuple(self._some_node(prefix) for prefix in question.read_prefixes())
            await self._say(stream, TreeGiven(root=self._chance.randbytes(32), nodes=nodes))
        return isinstance(question, TreeAsked)

    def _some_node(self, _prefix: Prefix) -> Node:
        return Node(below=tuple(self._chance.randbytes(32) for _ in range(16)))

    async def _endless_log(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """An answer that never ends."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        more = LogGiven(more=True) if isinstance(question, LogAsked) else ThingsGiven(more=True)
        await self._say(stream, *(more for _ in range(ENDLESS_FRAMES)))
        return False

    async def _endless_heads(self, stream: ByteStream, _question: Question, talk: Talk) -> bool:
        """Heads of registrars that nobody has heard of, without end."""
        talk.played = True
        for frame in range(70):
            names = [f"Z{frame:02d}.{n:03d}" for n in range(256)]
            logs = tuple(LogHead(registrar=name, generation=1, number=5) for name in names)
            await self._say(stream, replace(self._true, logs=logs, more=True))
        return False

    async def _junk_log(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """Bytes that are no things."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        things = tuple(self._chance.randbytes(60) for _ in range(JUNK))
        if isinstance(question, LogAsked):
            await self._say(stream, LogGiven(rows=tuple((question.first, one) for one in things[:1])))
        elif isinstance(question, ThingsAsked):
            await self._say(stream, ThingsGiven(things=things[: len(question.digests)]))
        return False

    async def _forged_log(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """Records that take agencies over, under the right numbers, signed by nobody who may."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        if isinstance(question, LogAsked):
            rows = tuple(
                (number, self._forged(question.registrar, question.generation, number).to_wire())
                for number in range(question.first, min(question.last, question.first + 9) + 1)
            )
            await self._say(stream, LogGiven(rows=rows))
        else:
            await self._say(stream, ThingsGiven(things=(self._forged("level-1", 1, 1).to_wire(),)))
        return isinstance(question, LogAsked)

    def _forged(self, registrar: str, generation: int, number: int) -> Signed:
        known = [one for one in self._realm.things.values() if one.format in {AGENCY.name, CENTRE.name}]
        old = self._chance.choice(known)
        value: Any = NUMBERED[old.format].decode(old.statement)
        changes: dict[str, Any] = {"registrar": registrar, "generation": generation, "number": number}
        if old.format == AGENCY.name:
            changes.update(host=self.code, epoch=value.epoch + 1)
        else:
            public = self._signer.public
            entry = KeyEntry(algorithm=public.algorithm, raw=public.raw, from_ms=1, until_ms=2**50)
            changes.update(keys=(entry,))
        forged = replace(value, created_ms=EPOCH_MS + virtual_ms(), **changes)
        return sign(old.format, NUMBERED[old.format].encode(forged), self._signer)

    async def _old_records(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """True things, long superseded, again and again."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        old = tuple(self._some_wire() for _ in range(20))
        await self._say(stream, ThingsGiven(things=old) if isinstance(question, ThingsAsked) else LogGiven())
        return False

    async def _false_fork(self, stream: ByteStream, question: Question, talk: Talk) -> bool:
        """A proof against an honest registrar, signed by nobody who may."""
        if await self._claim(stream, question):
            return True
        talk.played = True
        one, other = sorted((self._forged("level-1", 1, 2) for _ in range(2)), key=lambda signed: signed.digest)
        proof = fork_wire(Fork(first=one.to_wire(), second=other.to_wire()))
        number = question.first if isinstance(question, LogAsked) else 1
        given: Answer = (
            LogGiven(rows=((number, proof),)) if isinstance(question, LogAsked) else ThingsGiven(things=(proof,))
        )
        await self._say(stream, given)
        return False

    async def _huge_frame(self, stream: ByteStream, _question: Question, talk: Talk) -> bool:
        """Says that ten megabytes follow, and begins to send them."""
        talk.played = True
        await stream.write((10 * MIB).to_bytes(4, "big") + bytes(100_000))
        return False

    async def _silence(self, _stream: ByteStream, _question: Question, talk: Talk) -> bool:
        """Never answers."""
        self.struck["villain silence"] += 1
        del talk
        await trio.sleep(PATIENCE_SECONDS)
        return False

    async def _nonsense(self, stream: ByteStream, _question: Question, talk: Talk) -> bool:
        """Bytes."""
        talk.played = True
        await stream.write(self._chance.randbytes(self._chance.randint(1, 3000)))
        return False

    def _some_wire(self) -> bytes:
        return self._chance.choice(list(self._realm.things.values())).to_wire()

    # --- asking -------------------------------------------------------------------------------

    async def _stream_flood(self, victim: str) -> None:
        """Many directory streams at once, none of them ended in order."""
        for _ in range(FLOOD):
            stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
            with suppress(NetworkError):
                await stream.write(frame_bytes(HeadsAsked()))
        await trio.sleep(STAY_SECONDS)
        await self._transport.drop(victim)

    async def _session_flood(self, victim: str) -> None:
        """One short session after the other."""
        for _ in range(SESSIONS):
            stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
            await self._ask(stream, HeadsAsked())
            await stream.reset()

    async def _bad_question(self, victim: str) -> None:
        stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
        await stream.write(self._chance.randbytes(self._chance.randint(5, 500)))
        await self._linger(stream)

    async def _large_question(self, victim: str) -> None:
        stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
        await stream.write((10 * MIB).to_bytes(4, "big") + bytes(70_000))
        await self._linger(stream)

    async def _introduction(self, victim: str) -> None:
        """An introduction by somebody who needs none, full of forged records."""
        stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
        things = tuple(self._forged("level-1", 1, 2**30 + n).to_wire() for n in range(20))
        await stream.write(frame_bytes(Introduced(things=things)))
        await self._linger(stream)

    async def _false_node_record(self, victim: str) -> None:
        """A hello with another centre's node record, signed by the wrong key."""
        other = self._chance.choice(self._victims())
        record = make_node_record(
            centre=other,
            peer_id=self._realm.centre(other).peer_id,
            addresses=("/ip4/10.9.9.9/tcp/1",),
            features=(),
            versions=("exchange/1",),
            software="truc",
            now_ms=EPOCH_MS + virtual_ms(),
            signer=self._signer,
        )
        stream = await self._transport.open_stream(victim, exchange.PROTOCOL)
        await self._greet(stream, record.to_wire())
        await self._linger(stream)

    async def _unasked_answer(self, victim: str) -> None:
        """Answers where questions are expected."""
        stream = await self._transport.open_stream(victim, reconcile_frames.PROTOCOL)
        await self._say(stream, LogGiven(rows=((1, self._some_wire()),)), ThingsGiven(things=(self._some_wire(),)))
        await self._linger(stream)

    # --- announcing ---------------------------------------------------------------------------

    async def _announced_junk(self, _victim: str) -> None:
        self._transport.announce(self._chance.randbytes(self._chance.randint(1, 3000)))

    async def _announced_flood(self, _victim: str) -> None:
        """More at once than anybody may say."""
        for number in range(FLOOD * 10):
            self._announce(things=(self._forged("level-1", 1, 2**20 + number).to_wire(),))

    async def _announced_forged(self, _victim: str) -> None:
        """Take-overs by somebody who may not."""
        self._announce(things=tuple(self._forged("level-1", 1, 2**30 + n).to_wire() for n in range(3)))

    async def _announced_heads(self, _victim: str) -> None:
        """Numbers that no registrar has given."""
        marks = tuple(
            LogMark(registrar=log.registrar, generation=log.generation, number=log.number + 1_000)
            for log in self._logs()[:8]
        )
        self._announce(heads=self._chance.randbytes(32), logs=marks)

    async def _announced_old(self, _victim: str) -> None:
        """True things that everybody has had for long."""
        self._announce(things=tuple({self._some_wire() for _ in range(3)}))

    def _announce(self, **what: Any) -> None:
        value = Announcement(created_ms=EPOCH_MS + virtual_ms(), **what)
        self._transport.announce(ANNOUNCEMENT.encode(value))


ANNOUNCED_TRICKS: Final = frozenset(f"villain announced_{name}" for name in ("junk", "flood", "forged", "heads", "old"))
TRICKS: Final = ANNOUNCED_TRICKS | frozenset(
    f"villain {name}"
    for name in (
        "withholds", "other_numbers", "false_number", "lying_root", "endless_log", "endless_heads", "junk", "forged",
        "old_records", "false_fork", "huge_frame", "silence", "nonsense", "stream_flood", "session_flood",
        "bad_question", "large_question", "introduction", "false_node_record", "unasked_answer", "wild_heads",
    )
)  # fmt: skip
"""Every kind of hostile act; over the seeds of a suite each must have hit somebody."""
