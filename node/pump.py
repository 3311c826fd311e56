"""The pump: input → step → batch → effects. Nothing else on a node is allowed to talk.

Obeys DESIGN §1. Steps are computed one at a time on the loop, with no await between reading
and handing over. `put` is for parts of the node that go on at once; `ask` is for callers who
wait for the outcome and get it only when what it was read from is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from node.committer import Committer, Ticket
from node.logs import Log, change_of_state
from node.presigning import Presigner
from protocol import acting, greeting, receiving, retention, sending, settling
from protocol.directory_news import news_changes
from protocol.errors import TrucError
from protocol.records import IN, OUT, Outgoing
from protocol.step import (
    Alarm,
    Answered,
    BodiesDurable,
    BodiesFailed,
    BodyRequest,
    Collected,
    Connected,
    DeadlineReached,
    Event,
    Here,
    Input,
    OfferArrived,
    Offering,
    OfferPutOff,
    PeerUp,
    Recorded,
    ReturnsDue,
    Send,
    StateChanged,
    Step,
    Submitted,
    ThingAcked,
    ThingReturned,
    View,
)

BOXES: Final[Mapping[int, Literal["inbox", "outbox"]]] = {IN: "inbox", OUT: "outbox"}


def put_off(view: View, here: Here, answer: OfferPutOff) -> Step:
    """A *not now* speaks of an offer of ours, or of a receipt that we owe."""
    if view.records.get(Outgoing, answer.answer.subject) is not None:
        return sending.put_off(view, here, answer)
    return retention.return_put_off(view, here, answer)


def record(view: View, here: Here, recorded: Recorded) -> Step:
    """A change that was decided elsewhere goes to the disk in order with everything else; what it changes in the
    directory stands in the news with it."""
    news = news_changes(recorded.changes, view.records, here.now_ms, clock_trusted=here.clock_trusted)
    return Step(changes=(*recorded.changes, *news), reply=recorded.reply)


STEPS: Final[Mapping[type, Callable[[View, Here, Any], Step]]] = {
    Submitted: sending.submit,
    Offering: sending.offer,
    OfferPutOff: put_off,
    OfferArrived: receiving.judge,
    BodiesDurable: receiving.bodies_durable,
    BodiesFailed: receiving.bodies_failed,
    ThingReturned: settling.settle,
    ThingAcked: retention.acked,
    ReturnsDue: retention.returns_due,
    Collected: acting.collect,
    Answered: acting.answer,
    Connected: greeting.connected,
    PeerUp: greeting.peer_up,
    DeadlineReached: retention.deadlines,
    Recorded: record,
}
"""Which function answers which input: the whole behaviour of a node, in one table."""


class Pump:
    """Computes steps and lets their effects out. One per node."""

    def __init__(self, *, view: View, here: Callable[[], Here], log: Log) -> None:
        """`here` gives this node at this moment; it is asked once per step."""
        self.view: Final = view
        self.here: Final = here
        self._log: Final = log
        self.committer: Committer
        self.presigner: Presigner | None = None
        self.send: Callable[[Send], None] = lambda _send: None
        self.pull: Callable[[BodyRequest], None] = lambda _request: None
        self.listeners: list[Callable[[Event], None]] = []
        self.after_batch: list[Callable[[Step], None]] = []
        self.when_recorded: list[Callable[[], None]] = []
        """Called as soon as a `Recorded` change can be read, before it is durable."""

    def put(self, given: Input) -> Ticket:
        """Compute a step and hand it over; go on at once.

        Raises:
            TrucError: the input is refused; nothing was handed over.
        """
        here = self._now()
        return self._hand_over(given, here, self._compute(given, here))

    async def ask(self, given: Input) -> Any:
        """Compute a step and wait for its outcome.

        Raises:
            TrucError: the input is refused (told only when what that was read from is durable),
                or the disk did not take it.
        """
        return await self.file(given).wait()

    def file(self, given: Input) -> Ticket:
        """As `ask`, for callers who have several inputs and wait for all outcomes together.

        Raises:
            StoreError: `store_read_only`.
        """
        here = self._now()
        try:
            step = self._compute(given, here)
        except TrucError as error:
            step = Step(error=error)
        return self._hand_over(given, here, step)

    def let_out(self, step: Step) -> None:
        """The step's batch is durable: now it may be seen."""
        for send in step.sends:
            self.send(send)
        for event in step.events:
            self._tell(event)
        for request in step.body_requests:
            self.pull(request)
        for listener in self.after_batch:
            listener(step)

    def use_presigner(self, make: Callable[..., Presigner]) -> Presigner:
        """Have what keys elsewhere must sign signed before it is handed over."""
        self.presigner = make(compute=self._compute, deliver=self._deliver)
        return self.presigner

    def _now(self) -> Here:
        here = self.here()
        return here if self.presigner is None else self.presigner.pinned(here)

    def _hand_over(self, given: Input, here: Here, step: Step) -> Ticket:
        if self.presigner is not None and self.presigner.wants(step):
            return self.presigner.take(given, here, step)
        return self._deliver(given, step)

    def _deliver(self, given: Input, step: Step, ticket: Ticket | None = None) -> Ticket:
        ticket = self.committer.hand_over(step, ticket)
        if isinstance(given, Recorded):
            for listener in self.when_recorded:
                listener()
        return ticket

    def _compute(self, given: Input, here: Here) -> Step:
        return STEPS[type(given)](self.view, here, given)

    def _tell(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            change_of_state(
                self._log,
                box=BOXES[event.box],
                consignment=event.consignment,
                before=event.before,
                after=event.state,
                agency=event.agency,
                peer_agency=event.peer_agency,
                code=event.code,
            )
        elif isinstance(event, Alarm):
            self._log.warning("alarm", code=event.code, centre=event.centre, subject=event.subject.hex())
        for listener in self.listeners:
            listener(event)
