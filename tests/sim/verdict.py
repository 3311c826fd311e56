"""Collects what the oracle objects to, each objection under the sentence that it breaks.

The sentences are those of DESIGN §8. Nothing here raises at once: code under test might catch
it. The world asks at the end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

OBJECTIONS_MAX: Final = 20
"""The first ones tell the story."""


class Sentence(Enum):
    """What must never happen."""

    FORGOTTEN = "something acknowledged was forgotten"
    TWICE = "a consignment was accepted more than once"
    EARLY = "something was seen before its record was durable"
    CHAIN = "a receipt chain does not verify"
    FORK = "two receipts stand under one number"
    JOURNAL = "a journal number was used for two things"
    CLEAR = "something stands in clear on the wire or in a file"
    FOREIGN = "somebody read what belongs to another agency"
    BOUND = "a queue grew beyond its bound"
    STUCK = "the world did not settle after all faults were mended"
    WRONG = "a reader was given other bytes than the sender handed in"
    REFUSED = "a sound document was refused"
    BROKEN = "a node failed in a way that no fault explains"
    ROLLED_BACK = "a record of the directory went back to an older version"
    TAKEN_OVER = "a take-over that nobody endorsed counted before its day was over"
    DIVERGED = "nodes that know all there is do not believe the same"
    UNADMITTED = "an honest peer lost its admission"
    BLAMED = "somebody honest was marked as bad"
    UNPROVEN = "what everybody must be warned of was not told"


@dataclass(slots=True)
class Verdict:
    """Objections so far, and the trace that makes runs comparable."""

    objections: list[str] = field(default_factory=list)
    noted: int = 0
    _trace: hashlib._Hash = field(default_factory=hashlib.sha256)
    story: list[str] | None = None
    """Every note in full, when somebody wants to read it."""

    def objects(self, sentence: Sentence, detail: str) -> None:
        """Something that must never happen has happened."""
        if len(self.objections) < OBJECTIONS_MAX:
            self.objections.append(f"{sentence.name}: {sentence.value}: {detail} (at {trio.current_time():.3f} s)")

    def require(self, holds: bool, sentence: Sentence, detail: str) -> None:
        """Object unless it holds."""
        if not holds:
            self.objects(sentence, detail)

    def note(self, *what: object) -> None:
        """A decision, for the trace. Never bytes that HPKE has drawn, nor anything that depends on them."""
        line = f"{trio.current_time():.6f} {' '.join(map(str, what))}"
        self.noted += 1
        self._trace.update(line.encode() + b"\n")
        if self.story is not None:
            self.story.append(line)

    @property
    def trace(self) -> str:
        """The same for two runs that decided alike."""
        return self._trace.hexdigest()[:16]
