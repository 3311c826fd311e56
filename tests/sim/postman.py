"""Letters between agencies that know each other: proof that the axis goes on, whatever the directory does.

Much less than `software.py`: hand in, again and again if need be, and see that it has arrived.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from protocol.errors import RequestError, TrucError
from tests.sim.desk import NodeGone
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.service_desk import ServiceDesk
from tests.sim.verdict import Sentence, Verdict

AGAIN_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 60.0
ARRIVED: Final = frozenset({"arrived", "collected", "answered"})


class Postman:
    """Everybody's software."""

    def __init__(self, machines: Mapping[str, Machine], verdict: Verdict) -> None:
        self._machines: Final = machines
        self._verdict: Final = verdict
        self._letters: Final[list[tuple[ServiceDesk, Sending]]] = []

    def write(self, host: str, issuer: str, recipient: str) -> Callable[[], Awaitable[None]]:
        """A letter of this agency, which this centre hosts, to another: what hands it in."""
        number = len(self._letters) + 1
        sending = Sending(
            key=f"{issuer}-{number}",
            issuer=issuer,
            recipients=(recipient,),
            subject=f"Công văn {number}",
            parts=(bytes([number % 256]) * 500,),
            lane=0,
            expires_days=60,
        )
        desk = ServiceDesk(self._machines[host], issuer, self._verdict)
        self._letters.append((desk, sending))
        return lambda: self._hand_in(desk, sending)

    @property
    def count(self) -> int:
        """Letters that were written."""
        return len(self._letters)

    async def open_ends(self) -> list[str]:
        """Letters that have not arrived."""
        found: list[str] = []
        for desk, sending in self._letters:
            try:
                outcomes = await desk.outcomes(sending.document) if sending.document else {}
            except (TrucError, NodeGone):
                outcomes = {}
            recipient = sending.recipients[0]
            state, _ = outcomes.get(recipient, ("not handed in", ()))
            if state not in ARRIVED:
                found.append(f"letter {sending.key} to {recipient}: {state}")
        return found

    async def _hand_in(self, desk: ServiceDesk, sending: Sending) -> None:
        while not sending.document:
            try:
                with trio.fail_after(PATIENCE_SECONDS):
                    sending.document = await desk.submit(sending)
            except RequestError as error:
                self._verdict.objects(Sentence.REFUSED, f"{sending.key}: {error}")
                return
            except (TrucError, NodeGone, trio.TooSlowError):
                await trio.sleep(AGAIN_SECONDS)
                await desk.opened()
