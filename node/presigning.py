"""Statements of keys that are elsewhere are signed before their step is handed over.

Obeys DESIGN §3 ("hardware keys sign before the step") and `protocol/spec/signer.md`. Not in the
committer: a batch that waits for one agency's token would hold up everybody's, and one that fails
takes the overlay and all links with it. A step is a function of its input, the node at a moment and what can
be read: so it is computed, what it wants signed is fetched, and it is computed again with the same time and
entropy. If it still says the same it is handed over signed, in that very breath. What several steps want at the same
time shares one signature per format, as in a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import trio

from node.committer import Ticket
from node.external_signer import ExternalSigner
from node.logs import Log
from node.metrics import Metrics
from node.tasks import Bell, Ready, start
from protocol.errors import StoreError, TrucError
from protocol.record import Change, Put
from protocol.records import Thing
from protocol.step import Here, Input, Step, ToSign
from protocol.step_signing import signed_changes

JOBS_MAX: Final = 256
"""Steps that wait for a signature; each may hold an offer of up to 512 KiB. Beyond, the signer counts as away."""
ROUNDS_MAX: Final = 8
"""How often a step may turn out to say something else than what was signed for it."""

Compute = Callable[[Input, Here], Step]
Deliver = Callable[[Input, Step, Ticket], object]


class _Job:
    """A step on its way to its signatures."""

    __slots__ = ("given", "here", "rounds", "signed", "ticket", "wanted")

    def __init__(self, given: Input, here: Here, ticket: Ticket) -> None:
        self.given: Final = given
        self.here = here
        self.ticket: Final = ticket
        self.rounds = 0
        self.wanted: tuple[ToSign, ...] = ()
        self.signed: dict[ToSign, Put] = {}


class Presigner:
    """All signers of a node that are elsewhere. Belongs to the loop."""

    def __init__(
        self,
        signers: Mapping[str, ExternalSigner],
        *,
        compute: Compute,
        deliver: Deliver,
        metrics: Metrics,
        log: Log,
    ) -> None:
        """`signers` by agency code, the centre's under the empty one. `deliver` hands a step over under a ticket that
        is out already.

        Raises (deliver): StoreError.
        """
        self.signers: Final = signers
        self._compute: Final = compute
        self._deliver: Final = deliver
        self._metrics: Final = metrics
        self._log: Final = log
        self._queues: Final[dict[str, deque[_Job]]] = {agency: deque() for agency in signers}
        self._errands: Final[dict[tuple[str, str], tuple[bytes, Callable[[bytes], None]]]] = {}
        self._bells: Final = {agency: Bell() for agency in signers}
        self._count = 0
        for agency, one in signers.items():
            one.on_up = self._bells[agency].ring

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the signers connected and serve them until cancelled."""
        async with trio.open_nursery() as nursery:
            for agency, one in self.signers.items():
                await start(nursery, one.run)
                nursery.start_soon(self._serve, agency)
            task_status.started()

    @property
    def away(self) -> frozenset[str]:
        """Whose signer cannot be asked now, by agency code."""
        return frozenset(agency for agency, one in self.signers.items() if one.trouble is not None)

    @property
    def waiting(self) -> int:
        """Steps that wait for a signature."""
        return self._count

    def troubles(self) -> dict[str, TrucError]:
        """What is wrong with signers, by agency code."""
        return {agency: one.trouble for agency, one in self.signers.items() if one.trouble is not None}

    # --- steps --------------------------------------------------------------------------------

    def pinned(self, here: Here) -> Here:
        """The node at this moment, in a form that gives the same entropy whenever a step is computed with it."""
        return replace(here, entropy=_Replay(here.entropy))

    def wants(self, step: Step) -> bool:
        """Whether something in this step is for a signer elsewhere."""
        return any(isinstance(change, ToSign) and change.agency in self.signers for change in step.changes)

    def take(self, given: Input, here: Here, step: Step) -> Ticket:
        """Have a step's statements signed, then hand it over. `here` is pinned, and `step` computed with it."""
        job = _Job(given, here, Ticket(step))
        wanted = self._missing(job, step)
        self._count += 1
        if self._count > JOBS_MAX:
            self._give_up(job, wanted[0].agency)
        else:
            self._queue(job, wanted)
        return job.ticket

    def sign_later(self, format_name: str, statement: bytes, agency: str, use: Callable[[bytes], None]) -> None:
        """Have a statement signed that belongs to no step, as soon as the signer can; `use` gets the thing's wire. A
        later one of this format takes its place."""
        self._errands[agency, format_name] = (statement, use)
        self._bells[agency].ring()

    def _missing(self, job: _Job, step: Step) -> tuple[ToSign, ...]:
        return tuple(
            change
            for change in step.changes
            if isinstance(change, ToSign) and change.agency in self.signers and change not in job.signed
        )

    def _queue(self, job: _Job, wanted: tuple[ToSign, ...]) -> None:
        job.wanted = tuple(one for one in wanted if one.agency == wanted[0].agency)
        self._queues[wanted[0].agency].append(job)
        self._bells[wanted[0].agency].ring()

    def _go_on(self, job: _Job) -> None:
        """Compute the step again, on what can be read now: hand it over, or fetch what it wants now."""
        step = self._step(job)
        missing = self._missing(job, step)
        if not missing:
            self._finish(job, step)
        elif job.rounds >= ROUNDS_MAX:
            self._give_up(job, missing[0].agency)
        else:
            job.rounds += 1
            self._queue(job, missing)

    def _give_up(self, job: _Job, agency: str) -> None:
        """Without this signer: the step says by itself what that means for whoever waits."""
        job.here = replace(job.here, signers_away=job.here.signers_away | {agency})
        step = self._step(job)
        missing = self._missing(job, step)
        if missing:  # it wants another signer besides; that one is not asked for half an answer
            self._give_up(job, missing[0].agency)
        else:
            self._finish(job, step)

    def _step(self, job: _Job) -> Step:
        assert isinstance(job.here.entropy, _Replay)
        job.here.entropy.rewind()
        try:
            return self._compute(job.given, job.here)
        except TrucError as error:
            return Step(error=error)

    def _finish(self, job: _Job, step: Step) -> None:
        """Hand the step over, in the breath in which it was computed."""
        self._count -= 1
        changes: tuple[Change | ToSign, ...] = tuple(
            job.signed.get(change, change) if isinstance(change, ToSign) else change for change in step.changes
        )
        try:
            self._deliver(job.given, replace(step, changes=changes), job.ticket)
        except StoreError as error:
            job.ticket.fail(error)

    # --- signers ------------------------------------------------------------------------------

    async def _serve(self, agency: str) -> None:
        """Sign what waits, all of one format together, as long as something does."""
        bell, queue = self._bells[agency], self._queues[agency]
        while True:
            rung = bell.next
            if queue:
                jobs = [queue.popleft() for _ in range(len(queue))]
                await self._sign_for(agency, jobs)
            elif not await self._run_errand(agency):
                await rung.wait()

    async def _sign_for(self, agency: str, jobs: Sequence[_Job]) -> None:
        """Fetch what these want, then let each go on. A format that cannot be had stops only those that want it."""
        wanted: dict[str, dict[ToSign, None]] = {}
        for job in jobs:
            for one in job.wanted:
                wanted.setdefault(one.format, {})[one] = None
        signed: dict[ToSign, Put] = {}
        for form, statements in wanted.items():
            try:
                signed.update(await self._sign(agency, form, list(statements)))
            except TrucError as error:
                self._log.info("not_signed", agency=agency, format=form, code=error.code, statements=len(statements))
        for job in jobs:
            job.signed.update((one, signed[one]) for one in job.wanted if one in signed)
            if all(one in signed for one in job.wanted):
                self._go_on(job)
            else:
                self._give_up(job, agency)

    async def _sign(self, agency: str, format_name: str, wanted: Sequence[ToSign]) -> dict[ToSign, Put]:
        found = await self.signers[agency].sign(format_name, [one.statement for one in wanted])
        self._metrics.signatures.labels(operation="sign").inc()
        changes, _ = signed_changes(wanted, {agency: found})
        things = [change for change in changes if isinstance(change, Put)]
        return dict(zip(wanted, things, strict=True))

    async def _run_errand(self, agency: str) -> bool:
        """Sign one statement that belongs to no step; False when there is none, or the signer is away."""
        mine = next((key for key in self._errands if key[0] == agency), None)
        if mine is None or self.signers[agency].trouble is not None:
            return False
        statement, use = self._errands.pop(mine)
        one = ToSign(format=mine[1], statement=statement, agency=agency)
        try:
            signed = await self._sign(agency, one.format, [one])
        except TrucError as error:
            self._log.warning("not_signed", agency=agency, format=one.format, code=error.code)
            self._errands.setdefault(mine, (statement, use))
            return False  # again when the signer is up, or at the next ring
        record = signed[one].record
        assert isinstance(record, Thing)
        use(record.wire)
        return True


class _Replay:
    """Entropy that is drawn once and given again to every later computation of the same step."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy: Final = entropy
        self._drawn: list[bytes] = []
        self._at = 0

    def rewind(self) -> None:
        """The step is computed once more."""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        """The next draw of this computation. One that asks for other sizes than the last goes its own way."""
        if self._at < len(self._drawn) and len(self._drawn[self._at]) != size:
            del self._drawn[self._at :]
        if self._at == len(self._drawn):
            self._drawn.append(self._entropy(size))
        self._at += 1
        return self._drawn[self._at - 1]
