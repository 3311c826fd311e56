"""One seed, one run: trio on a virtual clock with a seeded scheduler.

Obeys DESIGN §8. This is the one place that touches trio's private names; it fails loudly when
trio has moved them. A run is reproducible in any process, whatever its PYTHONHASHSEED, as long as
nothing decides by the order of a set of strings; `test_sim.py` asserts that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from random import Random
from typing import Any, Final, TypeVar, TypeVarTuple

import trio
import trio._core._io_epoll as trio_io
import trio._core._run as trio_run
from trio.testing import MockClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FLAG: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
_CHANCE: Final = "_r"
_LOOK: Final = "get_events"
_TURNS: Final = 64
"""Of trio's loop, between two looks outside."""


def run_seeded(seed: int, main: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run `main(*args)` on a virtual clock that leaps over waiting; the same seed runs the same way."""
    with _seeded_scheduler(seed), _nothing_outside():
        return trio.run(main, *args, clock=MockClock(autojump_threshold=0))


@contextmanager
def _seeded_scheduler(seed: int) -> Iterator[None]:
    private: Any = trio_run
    chance = getattr(private, _CHANCE, None)
    assert isinstance(chance, Random), f"trio has moved its private name {_CHANCE}"
    assert isinstance(getattr(private, _FLAG, None), bool), f"trio has moved its private name {_FLAG}"
    flag, state = getattr(private, _FLAG), chance.getstate()
    setattr(private, _FLAG, True)
    chance.seed(seed)
    try:
        yield
    finally:
        setattr(private, _FLAG, flag)
        chance.setstate(state)


@contextmanager
def _nothing_outside() -> Iterator[None]:
    """No socket, no thread: asking the kernel for news at every turn was up to half of a run. What trio tells itself
    through the kernel (that an async generator is to be finished) is seen a few turns later."""
    manager: Any = trio_io.EpollIOManager
    look = getattr(manager, _LOOK, None)
    assert callable(look), f"trio has moved its private name {_LOOK}"
    turns = cycle(range(_TURNS))

    def look_seldom(self: Any, timeout: float) -> Any:
        return [] if next(turns) else look(self, timeout)

    setattr(manager, _LOOK, look_seldom)
    try:
        yield
    finally:
        setattr(manager, _LOOK, look)
