"""Starting tasks that tell when they are ready, and waiting for news without polling.

The stub files in our environment lack trio's own name for the type of `task_status`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar, overload

import trio

R = TypeVar("R")
T = TypeVar("T", contravariant=True)


class TaskStatus(Protocol[T]):
    """Called once by a task when it is ready; the value is what `nursery.start` returns."""

    @overload
    def started(self: TaskStatus[None]) -> None: ...
    @overload
    def started(self, value: T) -> None: ...


Ready: TypeAlias = TaskStatus[None]
"""For tasks that have nothing to tell but that they are ready."""


async def start(nursery: trio.Nursery, task: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Start a task and wait until it is ready; what it calls `started` with."""
    return await nursery.start(task, *args)


async def in_slices(steps: Generator[None, None, R], at_once: int) -> R:
    """Run work that yields after each small piece, so many pieces between two pauses; its result."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: R = end.value
            return result
        count += 1
        if count % at_once == 0:
            await trio.lowlevel.checkpoint()


class Bell:
    """Wakes all who wait when something happened."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Something happened."""
        self._event.set()
        self._event = trio.Event()

    @property
    def next(self) -> trio.Event:
        """Set at the next ring. Take it before looking, wait for it after having found nothing."""
        return self._event
