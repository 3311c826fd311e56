"""What a node can be asked to do: the one surface that API, CLI and simulator call.

Obeys DESIGN §7. Every method takes the caller and checks its rights; waits until what it reports
is durable; and raises only errors of the catalogue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.boxes import Boxes
from node.committer import Ticket
from node.directory import Directory
from node.directory_door import Door
from node.intake import Intake, Submission, check_key
from node.pump import Pump
from protocol.acting import ReceiptMade
from protocol.directory_import import Imported
from protocol.draft import Draft
from protocol.encoding import lp
from protocol.errors import RequestError, TrucError
from protocol.sending import DocumentAccepted
from protocol.step import Answered, Caller, Collected, Input

ACTIONS_MAX: Final = 1_000
"""Collects and answers in one batch of actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A collect (`code` 100) or an answer, with its idempotency key (answers only)."""

    consignment: bytes
    code: int
    key: str = ""
    reason: str = ""
    staff_name: str = ""
    staff_position: str = ""


COLLECT: Final = 100


class Services:
    """Bound together in `daemon.py`."""

    def __init__(
        self,
        *,
        pump: Pump,
        intake: Intake,
        boxes: Boxes,
        directory: Directory,
        door: Door,
        require_fresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`require_fresh` raises `directory_old` where the operator chose to stop for that."""
        self._pump: Final = pump
        self._intake: Final = intake
        self.boxes: Final = boxes
        self.directory: Final = directory
        self._door: Final = door
        self._require_fresh: Final = require_fresh

    async def submit(self, caller: Caller, key: str, submission: Submission) -> DocumentAccepted:
        """Own a document. Raises: as `Intake.submit`, and ConfigurationError: `directory_old`."""
        self._require_fresh()
        return await self._intake.submit(caller, key, submission)

    async def collect(self, caller: Caller, consignment: bytes) -> ReceiptMade:
        """Confirm that a consignment is safely taken; any number of times.

        Raises:
            RequestError: as `acting.collect`, and `right_missing`.
        """
        return await self.act(caller, Action(consignment=consignment, code=COLLECT))

    async def act(self, caller: Caller, action: Action) -> ReceiptMade:
        """Collect or answer.

        Raises:
            RequestError: as `acting.collect` and `acting.answer`, `right_missing`, `key_*`.
            StoreError: the disk does not take it.
        """
        made: ReceiptMade = await self._pump.ask(_input_of(caller, action))
        return made

    async def act_all(self, caller: Caller, actions: Sequence[Action]) -> list[ReceiptMade | TrucError]:
        """Each action's own outcome, in order.

        Raises:
            RequestError: `actions_count`, `right_missing`.
        """
        if not 1 <= len(actions) <= ACTIONS_MAX:
            raise RequestError("actions_count", field="actions", limit=ACTIONS_MAX)
        tickets = [self._hand_over(caller, action) for action in actions]
        return [await _outcome(ticket) for ticket in tickets]

    def _hand_over(self, caller: Caller, action: Action) -> Ticket | TrucError:
        try:
            return self._pump.file(_input_of(caller, action))
        except TrucError as error:
            return error

    async def take_directory(self, caller: Caller, file: bytes) -> Imported:
        """Load signed directory things; what is believed is committed, the rest listed with reasons.

        Raises:
            RequestError: `right_missing`.
            FormatError: the file is no directory file.
        """
        if "admin" not in caller.rights:
            raise RequestError("right_missing", right="admin")

        def audit(imported: Imported) -> Sequence[Any]:
            draft = Draft(self._pump.view, self._pump.here())
            draft.audit(caller, "directory import", "", f"{len(imported.names)} accepted")
            return draft.step().changes

        return await self._door.take_file(file, more=audit)


async def _outcome(ticket: Ticket | TrucError) -> ReceiptMade | TrucError:
    if isinstance(ticket, TrucError):
        return ticket
    try:
        made: ReceiptMade = await ticket.wait()
    except TrucError as error:
        return error
    return made


def _input_of(caller: Caller, action: Action) -> Input:
    if "receive" not in caller.rights:
        raise RequestError("right_missing", right="receive")
    if action.code == COLLECT:
        return Collected(caller=caller, consignment=action.consignment)
    check_key(action.key)
    request = lp(action.consignment, str(action.code), action.reason, action.staff_name, action.staff_position)
    return Answered(
        caller=caller,
        consignment=action.consignment,
        code=action.code,
        key=action.key,
        request=hashlib.sha256(request).digest(),
        reason=action.reason,
        staff_name=action.staff_name,
        staff_position=action.staff_position,
    )
