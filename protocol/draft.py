"""The changes of one step while it is being computed.

Reads see what the step itself has already put, on top of the view it was given, so that two
consignments of one circular get two sequence numbers. A draft lives inside one call of a
step function and ends as the `Step` it returns; nothing is written by it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from protocol.errors import NotNow
from protocol.record import KINDS, Delete, KeyPart, Put, PutBody
from protocol.records import Audit, BodyUse, Counter, Deadline, Due, Happening, Journal, Pair
from protocol.step import Caller, Change, Event, Here, Send, Step, ToSign, View

R = TypeVar("R")

_Place = tuple[type, tuple[KeyPart, ...]]


class Draft:
    """Collects records, sends and events of one step."""

    def __init__(self, view: View, here: Here) -> None:
        self.view = view
        self.here = here
        self.sends: list[Send] = []
        self.events: list[Event] = []
        self._records: dict[_Place, Any] = {}
        self._others: list[Change] = []

    # --- records ---------------------------------------------------------------------------

    def get(self, record: type[R], *key: KeyPart) -> R | None:
        """The record as this step will leave it."""
        place = (record, key)
        if place in self._records:
            found: R | None = self._records[place]
            return found
        return self.view.records.get(record, *key)

    def put(self, record: Any) -> None:
        """Make a record durable, replacing the one with its key."""
        kind = KINDS[type(record)]
        self._records[(kind.record, kind.key_of(record))] = record

    def delete(self, record: type, *key: KeyPart) -> None:
        """Remove a record."""
        self._records[(record, key)] = None

    def sign(self, format_name: str, statement: bytes, agency: str = "", *, before: bytes = b"") -> None:
        """Have a statement signed and stored as a thing, by the agency's own key or the centre's;
        `before` is the thing's wire if it was signed before.

        Raises:
            NotNow: `signer_away`.
        """
        if agency in self.here.signers_away:
            raise NotNow("signer_away", agency=agency or self.here.centre)
        self._others.append(ToSign(format=format_name, statement=statement, agency=agency, before=before))

    def put_body(self, body: Put | PutBody) -> None:
        """Make a small body durable with this batch, or place one that is durable already."""
        if isinstance(body, Put):
            self.put(body.record)
        else:
            self._others.append(body)

    # --- numbers ---------------------------------------------------------------------------

    def count(self, name: str) -> int:
        """The next value of a counter that only grows; the first is 1."""
        counter = self.get(Counter, name)
        value = 1 if counter is None else counter.value + 1
        self.put(Counter(name=name, value=value))
        return value

    def journal(self, centre: str, thing: bytes, consignment: bytes) -> int:
        """Give the thing its number in the pair journal of the centre where it is now due."""
        pair = self.get(Pair, centre) or Pair(centre=centre)
        number = pair.given + 1
        self.put(Pair(centre=centre, given=number, held=pair.held, incarnation=pair.incarnation))
        self.put(Journal(centre=centre, number=number, thing=thing, consignment=consignment))
        return number

    def hold(self, centre: str, number: int) -> None:
        """Note a journal number of the centre's as held; gaps are normal."""
        pair = self.get(Pair, centre) or Pair(centre=centre)
        if number > pair.held:
            self.put(Pair(centre=centre, given=pair.given, held=number, incarnation=pair.incarnation))

    # --- indexes and stories -----------------------------------------------------------------

    def due(self, at_ms: int, what: Due, subject: bytes) -> None:
        """Have something decided again at a time."""
        self.put(Deadline(at_ms=at_ms, what=what, subject=subject))

    def not_due(self, at_ms: int, what: Due, subject: bytes) -> None:
        """Take a deadline back."""
        if at_ms:
            self.delete(Deadline, at_ms, int(what), subject)

    def use_body(self, body: bytes, box: int, agency: str, holder: bytes) -> None:
        """Count one more who needs this body."""
        self.put(BodyUse(body=body, box=box, agency=agency, holder=holder))

    def happen(
        self,
        agency: str,
        what: str,
        *,
        consignment: bytes = b"",
        envelope_id: bytes = b"",
        code: int = 0,
        detail: str = "",
    ) -> None:
        """Tell the local software of an agency, behind its cursor."""
        self.put(
            Happening(
                sequence=self.count("events"),
                agency=agency,
                what=what,
                time_ms=self.here.now_ms,
                consignment=consignment,
                envelope_id=envelope_id,
                code=code,
                detail=detail,
            )
        )

    def audit(self, caller: Caller, operation: str, agency: str, subject: str) -> None:
        """Record a writing call in the batch of its change."""
        self.put(
            Audit(
                sequence=self.count("audit"),
                time_ms=self.here.now_ms,
                system=caller.system,
                actor=caller.actor,
                operation=operation,
                agency=agency,
                subject=subject,
            )
        )

    def step(self, *, reply: Any = None) -> Step:
        """The finished step."""
        kept = tuple(
            Delete(record, key) if value is None else Put(value) for (record, key), value in self._records.items()
        )
        return Step(
            changes=(*self._others, *kept),
            sends=tuple(self.sends),
            events=tuple(self.events),
            reply=reply,
        )
