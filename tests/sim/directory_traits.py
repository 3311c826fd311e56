"""What is special about a directory world: drawn from its seed alone, so that every kind has its turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryTraits:
    """Which kinds of trouble a world knows beside its faults and its hostile minority."""

    fork: bool = False
    """A registrar's folder is copied, and both copies sign."""
    take_over: bool = False
    """Level 1 moves an agency to a hostile centre, and nobody endorses it."""
    taken_back: bool = False
    """Level 1 sees the alarm in time."""
    silence: bool = False
    """Thirty days without any registrar."""
    announced: bool = False
    """Nodes announce what they learn, and a third of what is announced is lost; else pings alone tell."""
    older: bool = False
    """One node is of the release before this one."""

    @classmethod
    def of(cls, seed: int) -> DirectoryTraits:
        """The traits of a seed's world. A day, and more so a month, costs more than all the rest."""
        take_over = seed % 4 == 2
        return cls(
            fork=seed % 3 == 0,
            take_over=take_over,
            taken_back=take_over and seed % 8 == 2,
            silence=seed % 5 == 4,
            announced=seed % 4 != 3,
            older=seed % 2 == 1,
        )
