"""How long a *not now* is heeded before asking again. Spec: `spec/exchange.md` §3.

Pure. The asked-for time comes from the peer, the bounds and the growth are ours: no peer parks a
document for days, and none has itself asked in a tight loop.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.exchange import NotNow

RETRY_MIN_MS: Final = 1_000
RETRY_MAX_MS: Final = limits.HOUR_MS
"""A peer's *not now* is believed within these bounds; an hour, so that no peer parks us for days."""
GROWN_MAX_MS: Final = 5 * limits.MINUTE_MS
"""One that is repeated waits twice as long each time, up to here: what a back-off may cost a document
anywhere (DESIGN §4)."""
BODY_CODES: Final = frozenset({"body_gone", "body_damaged"})
"""Each attempt costs the bodies on the way, and somebody has to mend a disk: these grow to an hour."""
DOUBLED_MAX: Final = 12
"""A second doubled so often is longer than an hour."""


def wait_of(answer: NotNow, put_offs: int) -> int:
    """How long to wait after a *not now* that was said `put_offs` times before, in milliseconds."""
    asked_ms = min(max(answer.retry_ms, RETRY_MIN_MS), RETRY_MAX_MS)
    grown_max_ms = RETRY_MAX_MS if answer.code in BODY_CODES else GROWN_MAX_MS
    return max(asked_ms, min(asked_ms << min(put_offs, DOUBLED_MAX), grown_max_ms))
