"""Signers for tests: scripted ones on memory streams, the reference signer on a real socket, and worlds whose keys
are elsewhere."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import trio
from trio.testing import memory_stream_pair

from node.external_signer import ExternalSigner
from node.keyring import OutsideKey, SignerPlace
from node.logs import LineSink, Log, make_log
from node.presigning import Presigner
from node.signer_agent import SignerAgent, bind
from node.tasks import start
from protocol import signer
from protocol.framing import Decoder
from protocol.limits import SIGNER_FRAME_BYTES_MAX
from protocol.signer import Kind, RawKey
from protocol.signing import Ed25519Signer, Signer
from protocol.step import Here
from tests.sim.environment import SimEnvironment
from tests.support.bench import Bench
from tests.support.delivery import Side
from tests.support.tree import key_seed

KEY: Final = Ed25519Signer(key_seed(11, "signer"))


def place_of(key: Signer = KEY, *, agency: str = "", path: Path = Path("signer.sock"), **more: Any) -> SignerPlace:
    """Where a signer is, for the configuration of a test."""
    return SignerPlace(agency=agency, socket=path, public=key.public, **more)


class ScriptedSigner:
    """A signer whose every word the test says. `dial` is what the node's end connects with."""

    def __init__(self, key: Signer = KEY, *, greets: bool = True) -> None:
        self.key: Final = key
        self.greets = greets
        self.refuses: Exception | None = None
        self.dialled = 0
        self.asked = 0
        self.stream: trio.abc.Stream | None = None
        self._decoder = Decoder(SIGNER_FRAME_BYTES_MAX)
        self._frames: list[tuple[int, bytes]] = []

    async def dial(self) -> trio.abc.Stream:
        """The node's end of a new connection."""
        self.dialled += 1
        if self.refuses is not None:
            raise self.refuses
        ours, self.stream = memory_stream_pair()
        self._decoder, self._frames = Decoder(SIGNER_FRAME_BYTES_MAX), []
        if self.greets:
            public = self.key.public
            keys = (RawKey(algorithm=public.algorithm, raw=public.raw),)
            await self.say(signer.Hello(protocol=signer.PROTOCOL, keys=keys))
        return ours

    async def say(self, said: signer.Said | bytes) -> None:
        """One word, or raw bytes."""
        assert self.stream is not None
        await self.stream.send_all(said if isinstance(said, bytes) else signer.write(said))

    async def hear(self) -> signer.Sign:
        """The next request."""
        assert self.stream is not None
        while not self._frames:
            self._frames = self._decoder.feed(bytes(await self.stream.receive_some(4096)))
        asked: signer.Sign = signer.read(*self._frames.pop(0), Kind.SIGN)
        return asked

    async def sign_next(self) -> signer.Sign:
        """Hear a request and sign it."""
        asked = await self.hear()
        self.asked += 1
        await self.say(signer.SignedText(number=asked.number, signature=self.key.sign(asked.text)))
        return asked

    async def sign_all(self) -> None:
        """Sign until cancelled or closed."""
        while True:
            await self.sign_next()

    async def hang_up(self) -> None:
        """The process is gone."""
        assert self.stream is not None
        await trio.aclose_forcefully(self.stream)


def quiet_log() -> tuple[Log, io.StringIO]:
    """A log on virtual time, and its lines."""
    lines = io.StringIO()
    return make_log(LineSink(lines), SimEnvironment(Random(1))), lines


@asynccontextmanager
async def connected(scripted: ScriptedSigner, **place: Any) -> AsyncIterator[tuple[ExternalSigner, io.StringIO]]:
    """The node's end, connected or having failed to, and its log."""
    log, lines = quiet_log()
    one = ExternalSigner(place_of(scripted.key, **place), log, connect=scripted.dial)
    async with trio.open_nursery() as nursery:
        await start(nursery, one.run)
        yield one, lines
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def agent_at(path: Path, key: Signer = KEY, **options: Any) -> AsyncIterator[SignerAgent]:
    """The reference signer on a real socket in this process."""
    agent = SignerAgent(key, quiet_log()[0], **options)
    listener = bind(path)
    async with trio.open_nursery() as nursery:
        await start(nursery, agent.run, listener)
        yield agent
        nursery.cancel_scope.cancel()


class OutsideBench(Bench):
    """A workbench some of whose keys are elsewhere: at scripted signers, by agency code (the centre's under "")."""

    def __init__(self, side: Side, *agencies: str) -> None:
        self.signers = {agency: ScriptedSigner(_ed25519(side.signers[agency])) for agency in agencies}
        side.signers.update({agency: OutsideKey(one.key.public) for agency, one in self.signers.items()})
        super().__init__(side)
        ends = {
            agency: ExternalSigner(place_of(one.key, agency=agency), self.log, connect=one.dial)
            for agency, one in self.signers.items()
        }
        self.presigner = self.pump.use_presigner(partial(Presigner, ends, metrics=self.metrics, log=self.log))

    @property
    def only(self) -> ScriptedSigner:
        """The one signer."""
        (one,) = self.signers.values()
        return one

    def here(self) -> Here:
        """As the daemon tells it."""
        return replace(super().here(), signers_away=self.presigner.away)

    async def until_up(self, agency: str = "") -> None:
        """Until this signer is connected (again)."""
        end, up = self.presigner.signers[agency], trio.Event()
        before = end.on_up

        def on_up() -> None:
            before()
            up.set()

        if end.trouble is not None:
            end.on_up = on_up
            await up.wait()
            end.on_up = before

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OutsideBench]:
        """Committer and signers run as long as this block."""
        async with super().running(), trio.open_nursery() as nursery:
            await start(nursery, self.presigner.run)
            yield self
            nursery.cancel_scope.cancel()


def _ed25519(key: Signer) -> Ed25519Signer:
    assert isinstance(key, Ed25519Signer)
    return key
