"""How each peer has behaved of late, and what it may still ask of us.

Obeys DESIGN §0 (a minority of lying nodes) and §8 (every queue bounded). Kept by centre, so that a new
stream is no clean slate; an hour without a fault is. Nothing is lost by what is refused here:
the peer keeps owing and comes again. What a fault is, the steps and the sessions decide.
"""

from __future__ import annotations

from typing import Final

from node.environment import Environment
from protocol.limits import HOUR_MS, MINUTE_MS

BAR_FIRST_MS: Final = 1_000
"""After the first broken rule; each further one within the hour doubles it."""
FORGIVEN_MS: Final = HOUR_MS
STRIKES_MAX: Final = 128
STRIKE_BACK_MS: Final = 10_000
"""Things that must not happen between honest parties, and refusals, which are kept for ever: so many
at once, then one in ten seconds, and one more for each document that is accepted. Judging them costs
signatures, a line in the log, or a record."""
STREAMS_MAX: Final = 30
STREAM_BACK_MS: Final = 2_000
"""Exchange streams that a peer opens: so many at once, then one in two seconds. Each makes us look
through what is owed and offer it again."""
RESTRAINED_RETRY_MS: Final = MINUTE_MS
"""Whoever has used up its strikes is answered *busy* unheard, until so much later."""


class Allowance:
    """So many at once, and one more after each pause."""

    def __init__(self, most: int, back_ms: int) -> None:
        self._most: Final = most
        self._back_ms: Final = back_ms
        self._left_ms: int = most * back_ms
        self._at_ms = 0

    def left(self, now_ms: int) -> int:
        """How many are left at this moment."""
        grown_ms = self._left_ms + max(0, now_ms - self._at_ms)
        self._left_ms, self._at_ms = min(grown_ms, self._most * self._back_ms), now_ms
        return self._left_ms // self._back_ms

    def take(self, now_ms: int) -> bool:
        """Use one up, if there is one."""
        if not self.left(now_ms):
            return False
        self._left_ms -= self._back_ms
        return True

    def give(self, now_ms: int) -> None:
        """One more, up to the most."""
        self.left(now_ms)
        self._left_ms = min(self._left_ms + self._back_ms, self._most * self._back_ms)


class Conduct:
    """One centre's."""

    def __init__(self, environment: Environment, *, bar_max_ms: int, lenient: bool = False) -> None:
        """`lenient` for our own centre: nobody gains by our turning away ourselves."""
        self._environment: Final = environment
        self._bar_max_ms: Final = bar_max_ms
        self._lenient: Final = lenient
        self._strikes: Final = Allowance(STRIKES_MAX, STRIKE_BACK_MS)
        self._streams: Final = Allowance(STREAMS_MAX, STREAM_BACK_MS)
        self._in_a_row = 0
        self._broke_ms = -FORGIVEN_MS
        self._barred_to_ms = 0
        self.faults = 0
        """Since the node started."""
        self.fault = ""
        """Code of the last one."""

    def broke(self, code: str) -> None:
        """It broke a rule of the stream: streams of it are turned away for a while that grows."""
        now_ms = self._environment.monotonic_ms()
        self._in_a_row = self._in_a_row + 1 if now_ms - self._broke_ms < FORGIVEN_MS else 1
        self._broke_ms = now_ms
        self._barred_to_ms = now_ms + min(BAR_FIRST_MS << min(self._in_a_row - 1, 20), self._bar_max_ms)
        self._count(code)

    def struck(self, code: str) -> None:
        """It said something that no honest peer says, or that must be refused for ever."""
        self._strikes.take(self._environment.monotonic_ms())
        self._count(code)

    def earned(self) -> None:
        """It brought a document that was accepted: software that also hands in what must be refused does
        not make its whole centre wait."""
        self._strikes.give(self._environment.monotonic_ms())

    def _count(self, code: str) -> None:
        self.faults += 1
        self.fault = code

    @property
    def is_restrained(self) -> bool:
        """What it offers and returns is put off unheard."""
        return not self._lenient and not self._strikes.left(self._environment.monotonic_ms())

    @property
    def barred_ms(self) -> int:
        """How much longer its streams are turned away."""
        return 0 if self._lenient else max(0, self._barred_to_ms - self._environment.monotonic_ms())

    def may_open(self) -> bool:
        """Whether one more exchange stream of it is served."""
        return not self.barred_ms and self._streams.take(self._environment.monotonic_ms())


class Conducts:
    """Every centre's; as many as were ever admitted."""

    def __init__(self, environment: Environment, *, own: str, bar_max_ms: int) -> None:
        self._environment: Final = environment
        self._own: Final = own
        self._bar_max_ms: Final = bar_max_ms
        self._all: dict[str, Conduct] = {}

    def of(self, centre: str) -> Conduct:
        """This centre's."""
        known = self._all.get(centre)
        if known is None:
            lenient = centre == self._own
            known = self._all[centre] = Conduct(self._environment, bar_max_ms=self._bar_max_ms, lenient=lenient)
        return known
