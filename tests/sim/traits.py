"""What is special about a world: drawn from its seed alone, so that every kind of world has its turn.

The periods have no common divisors that would keep two kinds from ever meeting, except where a
meeting could not be judged; which is said at each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Which kinds of trouble a world knows beside its faults."""

    absence: bool = False
    """One machine stays away for longer than some documents live."""
    through_api: bool = False
    """All software enters through the ASGI app (DESIGN §8: one scenario in ten)."""
    narrow: bool = False
    """One node takes only small documents and refuses the others for good."""
    changes: bool = False
    """The directory changes meanwhile: keys rotate, agencies are locked, unlocked and closed."""
    one_import: bool = False
    """Such a change is imported at one node alone; the others hear of it from each other."""
    villain: bool = False
    """An admitted centre speaks badly."""
    flips: bool = False
    """Bits flip in bodies at rest."""

    @classmethod
    def of(cls, seed: int) -> Traits:
        """The traits of a seed's world. Damaged answers are cut, which the ASGI client in use here
        cannot show: no bits flip in worlds that are entered through the app. Records that are
        exchanged while a document expires may have any outcome: no changes in worlds with an absence.
        """
        absence, through_api = seed % 5 == 0, seed % 10 == 3
        return cls(
            absence=absence,
            through_api=through_api,
            narrow=seed % 3 == 2,
            changes=seed % 3 == 1 and not absence,
            one_import=seed % 6 == 4 and not absence,
            villain=seed % 4 == 2,
            flips=seed % 4 == 3 and not through_api,
        )
