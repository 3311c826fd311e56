"""Introductions: hearing those of peers that are not admitted, and making our own.

Obeys `protocol/spec/joining.md` §2 (DESIGN §5). What makes an introduction is `protocol/introduction.py`,
its frame `protocol/reconcile_frames.py`; who may come in at all, and for how long, the transport with
`node/lobby.py`. What is believed enters through the one door like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import trio

from node.directory import Directory
from node.directory_door import Door
from node.directory_roads import Road
from node.logs import Log
from node.transport import ByteStream, Transport
from protocol.directory import CentreRecord, RecordState
from protocol.directory_import import Imported
from protocol.directory_kinds import Subject
from protocol.entitlement import Known
from protocol.errors import FormatError, NetworkError, NotNow, StoreError, TrucError
from protocol.framing import Decoder
from protocol.heads import Heads
from protocol.introduction import Introduction, choose_things, look
from protocol.limits import INTRODUCTION_MS, KIB, RECONCILE_FRAME_BYTES_MAX
from protocol.prefix_tree import PrefixTree
from protocol.reconcile_answer import Answerer, Turns
from protocol.reconcile_frames import PROTOCOL, Done, Introduced, frame_bytes, read_answer

READ_BYTES: Final = 16 * KIB
JUDGE_S: Final = 2
"""For the door to be free: an import may be under way, and a stranger has five seconds in all."""
ANSWER_S: Final = INTRODUCTION_MS / 1000 + 5
"""For the other side's answer; its own patience is five seconds."""


class _NothingKept:
    """What a stranger may ask for."""

    def heads(self) -> Heads:
        raise AssertionError("strangers ask nothing")

    def roots(self, version: int) -> tuple[bytes, ...]:
        return ()

    def log(self, registrar: str, generation: int, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        return ()

    def wire(self, digest: bytes) -> bytes | None:
        return None

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        return None


class Introductions:
    """Hears strangers. `meet` is what a transport calls."""

    def __init__(self, *, directory: Directory, door: Door, log: Log) -> None:
        self._directory: Final = directory
        self._door: Final = door
        self._log: Final = log
        self._turns: Final = Turns()

    async def meet(self, peer_id: str, stream: ByteStream) -> str:
        """Hear one introduction and answer it; empty if a centre record in force names the peer now, else why not.

        Raises:
            NetworkError: the stream broke.
        """
        answerer = Answerer(_NothingKept(), admitted=False)
        try:
            self._turns.introduce(peer_id)
        except NotNow as error:
            await _say_last(stream, answerer.done(error.code))
            return error.code
        try:
            code = await self._heard(peer_id, stream, answerer)
        finally:
            self._turns.let_go(peer_id)
        self._log.info("introduced", peer=peer_id, code=code)
        await _say_last(stream, answerer.done(code))
        return code

    async def _heard(self, peer_id: str, stream: ByteStream, answerer: Answerer) -> str:
        try:
            return await self._judge(look(await _listen(stream, answerer), peer_id), peer_id)
        except NetworkError as error:
            if error.code == "introduction_expected":
                return error.code
            raise
        except StoreError:
            return "busy"
        except TrucError as error:
            return error.code

    async def _judge(self, introduction: Introduction, peer_id: str) -> str:
        """What the directory says of the peer once it has judged these things."""
        if self._is_named(introduction.centre, peer_id):
            return ""
        try:
            with trio.fail_after(JUDGE_S):
                imported = await self._door.take(introduction.things, road=Road.TOLD)
        except trio.TooSlowError:
            return "busy"
        return "" if self._is_named(introduction.centre, peer_id) else _why_not(introduction, imported)

    def _is_named(self, centre: str, peer_id: str) -> bool:
        known, pending = self._directory.find_centre(centre), self._directory.pending_centre(centre)
        states = {one.value.state for one in (known, pending) if one is not None}
        return known is not None and known.value.peer_id == peer_id and RecordState.CLOSED not in states


async def _listen(stream: ByteStream, answerer: Answerer) -> tuple[bytes, ...]:
    """The things of an introduction. Raises: as `Answerer.receive`, NetworkError: `stream_ended`."""
    while True:
        data = await stream.read(READ_BYTES)
        if not data:
            answerer.finish()
            raise NetworkError("stream_ended")
        question = answerer.receive(data)
        if question is not None:
            assert isinstance(question, Introduced), "of a stranger the answerer takes nothing else"
            return question.things


def _why_not(introduction: Introduction, imported: Imported) -> str:
    rejected = {item.digest: item.error.code for item in imported.rejected}
    pending = {item.signed.digest for item in imported.pending}
    for digest in (*introduction.named, *introduction.roots):
        if digest in rejected:
            return rejected[digest]
        if digest in pending:
            return "directory_pending"
    return "introduction_unproven"


async def _say_last(stream: ByteStream, frame: bytes) -> None:
    """The answer, and the time to read it: what is reset at once may not arrive."""
    await stream.write(frame)
    await stream.close()
    with suppress(NetworkError):
        while await stream.read(READ_BYTES):
            pass


class Introducer:
    """Makes our own, to peers that do not seem to know us."""

    def __init__(self, *, directory: Directory, transport: Transport, own: str, peer_id: str) -> None:
        """`own` is our centre; `peer_id` is what our handshakes prove."""
        self._directory: Final = directory
        self._transport: Final = transport
        self._own: Final = own
        self._peer_id: Final = peer_id

    async def introduce(self, centre: str) -> None:
        """Introduce ourselves over the connection that is up; return when the peer knows us.

        Raises:
            NetworkError: `introduction_refused` (with the peer's code as reason), `stream_*`, `unreachable`.
        """
        try:
            with trio.fail_after(ANSWER_S):
                stream = await self._transport.open_stream(centre, PROTOCOL)
                try:
                    code = await self._ask(stream)
                    await stream.close()
                finally:
                    with trio.CancelScope(shield=True):
                        await stream.reset()
        except trio.TooSlowError as error:
            raise NetworkError("unreachable", centre=centre, reason="no_stream") from error
        except FormatError as error:
            raise NetworkError("introduction_refused", centre=centre, reason=error.code) from error
        if code:
            raise NetworkError("introduction_refused", centre=centre, reason=code)

    def things(self) -> tuple[bytes, ...]:
        """What shows that a centre record names us, as far as we know ourselves."""
        return choose_things(self._wires(self._own_records()), self._wires(self._directory.root_versions()))

    async def _ask(self, stream: ByteStream) -> str:
        await stream.write(frame_bytes(Introduced(things=self.things())))
        decoder = Decoder(RECONCILE_FRAME_BYTES_MAX)
        while data := await stream.read(READ_BYTES):
            for number, body in decoder.feed(data):
                answer = read_answer(number, body)
                return answer.code if isinstance(answer, Done) else "reconcile_order"
        decoder.finish()
        raise NetworkError("stream_ended")

    def _own_records(self) -> list[Known[CentreRecord]]:
        """Newest first; none unless one of them names us: others would only learn what they know better."""
        pending = self._directory.pending_centre(self._own)
        found = [*([] if pending is None else [pending]), *self._directory.versions(Subject.CENTRE, self._own)]
        return found if any(record.value.peer_id == self._peer_id for record in found) else []

    def _wires(self, records: Sequence[Known[Any]]) -> list[bytes]:
        signed = (self._directory.thing(record.digest) for record in records)
        return [one.to_wire() for one in signed if one is not None]
