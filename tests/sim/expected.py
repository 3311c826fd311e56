"""What a world may do to sound documents by its own plan, so that nothing else passes for it.

Faults excuse nothing: a document is delivered, or it expires, or one of these sentences says why
it ended otherwise. Software asks here whether a refusal of its submit is meant; the oracle asks
which end of a consignment is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from protocol.errors import Findings, RequestError
from protocol.sealing import sealed_size
from tests.sim.notebook import Sending


class Meant(Enum):
    """What a refused submit means for the software."""

    AGAIN = "later it will be taken"
    FINAL = "it will never be taken"
    WRONG = "it should have been taken"


@dataclass(slots=True)
class Expected:
    """The plan of a world, as far as it decides about documents."""

    too_large: dict[str, int] = field(default_factory=dict)
    """Agency → how many sealed bytes its node takes at most, where that is few."""
    locked: set[str] = field(default_factory=set)
    """Agencies that are locked for a while at some time."""
    closed: set[str] = field(default_factory=set)
    """Agencies that are closed at some time."""

    def meant(self, sending: Sending, error: RequestError) -> Meant:
        """How a refused submit is to be taken."""
        codes = {(one.code, str(one.detail.get("agency", ""))) for one in _leaves(error)}
        verdicts = {self._meant(sending, code, agency) for code, agency in codes}
        if Meant.WRONG in verdicts:
            return Meant.WRONG
        return Meant.FINAL if Meant.FINAL in verdicts else Meant.AGAIN

    def _meant(self, sending: Sending, code: str, agency: str) -> Meant:
        if code in ("upload_unknown", "upload_unfinished"):
            return Meant.AGAIN
        if code in ("recipient_closed", "issuer_not_active") and agency in self.closed:
            return Meant.FINAL
        if code in ("recipient_locked", "issuer_not_active") and agency in self.locked:
            return Meant.AGAIN
        return Meant.WRONG

    def is_refused(self, sending: Sending, recipient: str) -> bool:
        """The recipient's node can never take this document."""
        limit = self.too_large.get(recipient)
        return limit is not None and sum(sealed_size(len(part)) for part in sending.parts) > limit


def _leaves(error: RequestError) -> Iterable[RequestError]:
    return error.findings if isinstance(error, Findings) else (error,)
