"""Brings parts through the upload service, as careful software does: ask, go on, repeat.

A part comes in several PUTs with pauses between its pieces, so that deaths fall into them; some
are broken off by the software itself. What was acknowledged must still be there when it is asked
for again, unless the upload has lived for a day (DECISIONS "Uploads"), or the PUT that would have
completed it failed: its file may have been renamed by then, and "a prefix that cannot be read any
more begins again" (`spec/uploads.md` §2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from protocol.errors import RequestError, TrucError
from tests.sim.desk import Desk, NodeGone
from tests.sim.notebook import Sending
from tests.sim.verdict import Sentence, Verdict

PATIENCE_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 3.0
PIECE_BYTES_MAX: Final = 300_000
PIECE_SECONDS: Final = 0.4
WHOLE_SHARE: Final = 0.25
"""Of the PUTs bring all that is left; the others, some of it."""
BREAK_SHARE: Final = 0.15
"""Of the PUTs end in the middle: the software goes away, or loses its patience."""
LIFE_SECONDS: Final = 86_000.0
AGAIN: Final = frozenset({"upload_offset_differs", "upload_busy", "upload_missing", "body_cut"})
"""Answers after which software looks where to go on."""


@dataclass(slots=True)
class _Bringing:
    """One part on its way in, as its software sees it."""

    upload_id: str
    content: bytes
    since: float
    life: int
    acknowledged: int = 0


class Uploader:
    """One software's uploads. `struck` counts what broke and what went on after a death."""

    def __init__(self, desk: Desk, chance: Random, verdict: Verdict, struck: Counter[str]) -> None:
        self._desk: Final = desk
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._struck: Final = struck

    async def bring(self, sending: Sending) -> None:
        """Return when every uploaded part of a document is complete at the node."""
        for number in sorted(sending.uploaded):
            await self._bring(sending.upload_id(number), sending.parts[number])

    async def _bring(self, upload_id: str, content: bytes) -> None:
        bringing = _Bringing(upload_id, content, trio.current_time(), self._desk.machine.lives)
        while True:
            try:
                with trio.fail_after(PATIENCE_SECONDS):
                    offset, complete = await self._desk.uploaded(upload_id)
                self._compare(bringing, offset)
                if complete:
                    return
                await self._put(bringing, offset)
            except RequestError as error:
                if error.code not in AGAIN:
                    self._verdict.objects(Sentence.REFUSED, f"a sound upload was refused: {upload_id}: {error}")
                    return
                await self._pause()
            except (TrucError, NodeGone, trio.TooSlowError):
                await self._pause()

    def _compare(self, bringing: _Bringing, offset: int) -> None:
        """What is durable now with what was acknowledged."""
        lives = self._desk.machine.lives
        self._struck["upload_resumed"] += bool(offset) and lives != bringing.life
        bringing.life = lives
        if trio.current_time() - bringing.since < LIFE_SECONDS:
            kept = offset >= bringing.acknowledged
            what = f"{bringing.acknowledged} bytes of {bringing.upload_id} are {offset} now"
            self._verdict.require(kept, Sentence.FORGOTTEN, what)
        bringing.acknowledged = offset

    async def _put(self, bringing: _Bringing, offset: int) -> None:
        """One PUT."""
        content = bringing.content
        left = len(content) - offset
        length = left if self._chance.random() < WHOLE_SHARE else self._chance.randint(0, left)
        breaks = left > 0 and self._chance.random() < BREAK_SHARE
        self._struck["upload_broken"] += breaks
        patience = self._chance.random() if breaks and self._chance.random() < 0.5 else PATIENCE_SECONDS
        pieces = self._pieces(content[offset : offset + length], breaks)
        with trio.fail_after(patience):
            durable = await self._desk.upload(bringing.upload_id, offset, len(content), pieces)
        bringing.acknowledged = durable

    async def _pieces(self, content: bytes, breaks: bool) -> AsyncGenerator[bytes, None]:
        end = self._chance.randint(0, len(content)) if breaks else len(content)
        start = 0
        while start < end:
            size = self._chance.randint(1, min(PIECE_BYTES_MAX, end - start))
            yield content[start : start + size]
            start += size
            await trio.sleep(self._chance.random() * PIECE_SECONDS)
        if breaks:
            raise RequestError("body_cut")

    async def _pause(self) -> None:
        await trio.sleep(RETRY_SECONDS * (0.5 + self._chance.random()))
        await self._desk.opened()
