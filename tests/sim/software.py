"""Local software of one agency: hands documents in, takes what arrives, answers; never gives up.

Like the software of real agencies it repeats a call under the same Idempotency-Key until it is
answered, pages behind its cursor, fetches and compares every part before it collects, sometimes
does things twice, and asks for what is not its own. What it was told goes into its notebook.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from protocol.errors import RequestError, TrucError
from tests.sim.desk import Desk, NodeGone, Seen
from tests.sim.expected import Expected, Meant
from tests.sim.notebook import Arrived, Notebook, Sending
from tests.sim.uploader import Uploader
from tests.sim.verdict import Sentence, Verdict

PATIENCE_SECONDS: Final = 60.0
"""A call that is not answered by then is repeated, as an HTTP client would."""
WAIT_SECONDS: Final = 300.0
"""How long one look into the inbox waits for something new."""
RETRY_SECONDS: Final = 3.0
LATER_SECONDS: Final = 60.0
"""After this a document for a locked agency is tried again."""
DAMAGED: Final = frozenset({"body_damaged", "part_damaged"})
"""What lies on the node's disk is not what arrived: software is told so, and takes nothing."""
ANSWERS: Final[tuple[tuple[int, ...], ...]] = ((3, 4, 5, 6), (3, 5, 6), (4, 6), (6,), (2,), (3, 3, 6))
"""The last one repeats a status, which is flagged and accepted."""


@dataclass(slots=True)
class Bystanders:
    """Consignments by agency, for asking after what is not one's own."""

    known: dict[str, list[str]] = field(default_factory=dict)

    def foreign(self, agencies: Sequence[str], chance: Random) -> str | None:
        """Somebody else's consignment."""
        others = [one for agency, ids in sorted(self.known.items()) if agency not in agencies for one in ids]
        return chance.choice(others) if others else None


class Software:
    """One agency's document software. Run `run` beside the nodes, not inside them."""

    def __init__(
        self,
        notebook: Notebook,
        desk: Desk,
        chance: Random,
        verdict: Verdict,
        *,
        bystanders: Bystanders,
        expected: Expected,
        struck: Counter[str],
    ) -> None:
        """`struck` counts what broke on the way in, and what was reported damaged."""
        self.notebook: Final = notebook
        self._desk: Final = desk
        self._expected: Final = expected
        self._struck: Final = struck
        self._uploader: Final = Uploader(desk, chance, verdict, struck)
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._bystanders: Final = bystanders
        self._subjects: Final[dict[str, Sending]] = {}

    def knows(self, sendings: Sequence[Sending]) -> None:
        """Everything that anybody may send here, to compare with what arrives."""
        self._subjects.update({sending.subject: sending for sending in sendings})

    async def run(self, starts: Sequence[tuple[float, Sending]]) -> None:
        """Live until cancelled; each sending begins at its time."""
        async with trio.open_nursery() as nursery:
            for start, sending in starts:
                self.notebook.sendings.append(sending)
                nursery.start_soon(self._hand_in, start, sending)
            nursery.start_soon(self._watch_inbox)
            nursery.start_soon(self._watch_outbox)

    # --- sending ------------------------------------------------------------------------------

    async def _hand_in(self, start: float, sending: Sending) -> None:
        await trio.sleep_until(start)
        await self._uploader.bring(sending)
        twice = self._chance.random() < 0.1
        async with trio.open_nursery() as nursery:  # a parallel repeat waits for the first
            for _ in range(2 if twice else 1):
                nursery.start_soon(self._submit, sending)
        if self._chance.random() < 0.1:
            await trio.sleep(self._chance.random() * 30)
            await self._submit(sending)

    async def _submit(self, sending: Sending) -> None:
        while True:
            sending.attempts += 1
            try:
                with trio.fail_after(PATIENCE_SECONDS):
                    document = await self._desk.submit(sending)
            except RequestError as error:
                if await self._accepts(sending, error):
                    return
                continue
            except (TrucError, NodeGone, trio.TooSlowError):
                await self._pause()
                continue
            first = sending.document or document
            self._verdict.require(first == document, Sentence.TWICE, f"{sending.key} became {first} and {document}")
            self._verdict.note("acknowledged", sending.key)
            sending.document = document
            return

    async def _accepts(self, sending: Sending, error: RequestError) -> bool:
        """Whether that is the end of it; else it is time to try again."""
        meant = self._expected.meant(sending, error)
        if meant is Meant.AGAIN:
            await trio.sleep(LATER_SECONDS * self._chance.random())
            if error.code.startswith("upload_"):
                await self._uploader.bring(sending)
            return False
        if meant is Meant.WRONG or sending.document:
            self._verdict.objects(Sentence.REFUSED, f"{sending.key} was refused: {error}")
        self._struck[f"submit_refused {error.code}"] += 1
        sending.refused = error.code
        return True

    async def _watch_outbox(self) -> None:
        """Look at what became of each document whenever something happened."""
        cursor = ""
        while True:
            try:
                cursor, documents = await self._desk.news(cursor, WAIT_SECONDS)
                for sending in self.notebook.acknowledged():
                    if not documents or sending.document in documents:
                        await self._look_at(sending)
            except (TrucError, NodeGone, trio.TooSlowError):
                await self._pause()

    async def _look_at(self, sending: Sending) -> None:
        for recipient, (state, codes) in (await self._desk.outcomes(sending.document)).items():
            before = sending.codes.get(recipient, ())
            grown = codes[: len(before)] == before
            self._verdict.require(grown, Sentence.FORGOTTEN, f"{sending.key} to {recipient}: {before} became {codes}")
            sending.codes[recipient] = codes
            sending.outcomes[recipient] = state

    # --- receiving ----------------------------------------------------------------------------

    async def _watch_inbox(self) -> None:
        while True:
            try:
                seen, cursor = await self._desk.arrivals(self.notebook.cursor, WAIT_SECONDS)
                for one in seen:
                    await self._take(one)
                if seen:
                    self.notebook.cursor = "" if self._chance.random() < 0.2 else cursor
                await self._finish_old_ones()
                await self._pry()
            except (TrucError, NodeGone, trio.TooSlowError):
                self.notebook.cursor = ""
                await self._pause()

    async def _take(self, seen: Seen) -> None:
        arrived = self.notebook.arrived.get(seen.consignment)
        if arrived is None:
            arrived = self.notebook.arrived[seen.consignment] = Arrived(seen.consignment, seen.agency, seen.subject)
            self._bystanders.known.setdefault(seen.agency, []).append(seen.consignment)
            self._verdict.note("listed", seen.agency, seen.subject)
        arrived.listed += 1
        self._verdict.require(
            not arrived.collected, Sentence.TWICE, f"{seen.subject} was listed again after its collect was answered"
        )
        self._verdict.require(
            seen.agency == self.notebook.agency, Sentence.FOREIGN, f"{self.notebook.agency} was shown {seen.subject}"
        )
        if not arrived.planned:
            self._plan(arrived)

    def _plan(self, arrived: Arrived) -> None:
        arrived.planned = True
        codes = self._chance.choice(ANSWERS)
        arrived.plan = [(code, f"{arrived.consignment}-{index}") for index, code in enumerate(codes)]

    async def _finish_old_ones(self) -> None:
        for arrived in list(self.notebook.arrived.values()):
            if not arrived.collected and not arrived.damaged:
                await self._collect(arrived)
            while arrived.plan and arrived.collected:
                await self._answer(arrived)

    async def _collect(self, arrived: Arrived) -> None:
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                digests = await self._desk.fetch(arrived.consignment)
        except TrucError as error:
            if error.code not in DAMAGED:
                raise
            arrived.damaged = error.code
            self._struck["damage_reported"] += 1
            return
        sent = self._subjects.get(arrived.subject)
        same = sent is not None and sent.digests == digests and self.notebook.agency in sent.recipients
        self._verdict.require(same, Sentence.WRONG, f"{arrived.subject} at {arrived.agency}")
        arrived.digests = digests
        with trio.fail_after(PATIENCE_SECONDS):
            await self._desk.collect(arrived.consignment)
        arrived.collected = True
        self._verdict.note("collected", arrived.agency, arrived.subject)
        if self._chance.random() < 0.2:
            with trio.fail_after(PATIENCE_SECONDS):
                await self._desk.collect(arrived.consignment)

    async def _answer(self, arrived: Arrived) -> None:
        await trio.sleep(self._chance.random() * 5)
        code, key = arrived.plan[0]
        with trio.fail_after(PATIENCE_SECONDS):
            sequence = await self._desk.answer(arrived.consignment, code, key)
        if self._chance.random() < 0.2:
            with trio.fail_after(PATIENCE_SECONDS):
                again = await self._desk.answer(arrived.consignment, code, key)
            self._verdict.require(again == sequence, Sentence.FORK, f"answer {key} is link {sequence} and {again}")
        arrived.plan.pop(0)
        arrived.answered.append((code, sequence))
        self._verdict.note("answered", arrived.agency, arrived.subject, code, sequence)

    # --- prying -------------------------------------------------------------------------------

    async def _pry(self) -> None:
        """Ask for another agency's consignment: it does not exist for us."""
        foreign = self._bystanders.foreign([self.notebook.agency], self._chance)
        if foreign is None or self._chance.random() > 0.3:
            return
        for ask in (self._desk.fetch, self._desk.collect, self._desk.look_at):
            try:
                await ask(foreign)
            except RequestError as error:
                hidden = error.code == "consignment_unknown"
                self._verdict.require(hidden, Sentence.FOREIGN, f"prying was answered {error.code}")
            else:
                self._verdict.objects(Sentence.FOREIGN, f"{self.notebook.agency} reached {foreign}")

    async def _pause(self) -> None:
        """After an error or a broken connection: try again a little later, when somebody is there."""
        await trio.sleep(RETRY_SECONDS * (0.5 + self._chance.random()))
        await self._desk.opened()
