"""The workers that read a heap of directory things ahead: child processes, or the loop itself.

Obeys DESIGN §1: work on the loop in slices of a millisecond; bulk work on both cores. Children are started
when there is much to read and end when nothing was read for a while, so that an idle node is one process.
A child that is lost costs time and nothing else: its slice is read here. What they do is `directory_reader.py`.
"""

from __future__ import annotations

import marshal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from node.directory_reader import (
    LENGTH_BYTES,
    NICE,
    PLACES,
    READ,
    Read,
    answer,
    packed,
    read_ahead,
    unflat,
)
from node.environment import Environment, return_free_memory
from node.logs import Log
from node.tasks import Bell, Ready
from protocol.directory_plain import Place, place_of

CHILDREN: Final = 2
SLICE: Final = 256
"""Things in one request: a fifth of a megabyte, twenty milliseconds of a child's work."""
AT_ONCE: Final = 8
"""Things read on the loop between two pauses: a millisecond."""
WORTH_IT: Final = 1_024
"""Things for which children are started: half a second to start, a tenth of a second to read on the loop."""
IDLE_S: Final = 10
PATIENCE_S: Final = 60
"""For one answer; a machine that is so busy reads on the loop."""
PACKAGES: Final = str(Path(__file__).resolve().parent.parent)
"""Where a child finds the same code."""
RECEIVE_BYTES: Final = 256 * 1024


class Readers(Protocol):
    """Reads things; the answers come in the order of the things."""

    async def places(self, wires: Sequence[bytes]) -> list[Place | None]:
        """Where each belongs in the heap."""
        ...

    async def read(self, wires: Sequence[bytes], now_ms: int) -> list[Read]:
        """As `directory_reader.read_ahead`."""
        ...


class InlineReaders:
    """Reads on the loop, a millisecond at a time."""

    async def places(self, wires: Sequence[bytes]) -> list[Place | None]:
        """As promised."""
        found: list[Place | None] = []
        for wire in wires:
            found.append(place_of(wire))
            if len(found) % SLICE == 0:
                await trio.lowlevel.checkpoint()
        return found

    async def read(self, wires: Sequence[bytes], now_ms: int) -> list[Read]:
        """As promised."""
        found: list[Read] = []
        for one in read_ahead(wires, now_ms):
            found.append(one)
            if len(found) % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return found


class _Child:
    """One process; answers one request at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process: Final = process
        self._held = bytearray()

    async def ask(self, request: Any) -> Any:
        """Its answer. Raises: EOFError (it ended, or does not answer)."""
        try:
            with trio.fail_after(PATIENCE_S):
                assert self._process.stdin is not None
                await self._process.stdin.send_all(packed(request))
                size = int.from_bytes(await self._take(LENGTH_BYTES), "big")
                return marshal.loads(await self._take(size))  # noqa: S302  # from our own child
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise EOFError from error

    async def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        while len(self._held) < size:
            piece = await self._process.stdout.receive_some(RECEIVE_BYTES)
            if not piece:
                raise EOFError
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def end(self) -> None:
        """Stop it; nothing is lost with it."""
        self.kill()
        with trio.CancelScope(shield=True):
            await self._process.wait()


class ChildReaders:
    """Reads in child processes where it is worth it; one heap at a time. `run` ends them, and gives back the memory
    that a large heap took."""

    def __init__(self, log: Log, environment: Environment) -> None:
        self._log: Final = log
        self._environment: Final = environment
        self._inline: Final = InlineReaders()
        self._children: list[_Child] = []
        self._lock: Final = trio.Lock()
        self._used: Final = Bell()

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """End children that nobody uses; all of them when cancelled."""
        task_status.started()
        try:
            while True:
                await self._used.next.wait()
                while await self._is_used():
                    pass
                async with self._lock:
                    await self._end_all()
                await self._environment.run_document(return_free_memory)
        finally:
            with trio.CancelScope(shield=True):
                await self._end_all()

    async def _is_used(self) -> bool:
        """Wait for a while; whether somebody came."""
        with trio.move_on_after(IDLE_S) as patience:
            await self._used.next.wait()
        return not patience.cancelled_caught

    async def _end_all(self) -> None:
        while self._children:
            await self._children.pop().end()

    @property
    def children(self) -> int:
        """Processes that read, or wait for something to read."""
        return len(self._children)

    def kill_children(self) -> None:
        """As somebody else might: to see that nothing is lost with them."""
        for child in self._children:
            child.kill()

    # --- reading ------------------------------------------------------------------------------

    async def places(self, wires: Sequence[bytes]) -> list[Place | None]:
        """As promised."""
        if len(wires) < WORTH_IT:
            return await self._inline.places(wires)
        return [place for part in await self._all(wires, PLACES, 0) for place in part]

    async def read(self, wires: Sequence[bytes], now_ms: int) -> list[Read]:
        """As promised."""
        if len(wires) < (SLICE if self._children else WORTH_IT):
            return await self._inline.read(wires, now_ms)
        found: list[Read] = []
        for part in await self._all(wires, READ, now_ms):
            found += map(unflat, part)
            await trio.lowlevel.checkpoint()
        return found

    async def _all(self, wires: Sequence[bytes], what: int, now_ms: int) -> list[Any]:
        """The answers about all slices, in order."""
        slices = enumerate([wires[at : at + SLICE] for at in range(0, len(wires), SLICE)])
        answers: dict[int, Any] = {}
        async with self._lock:
            if not self._children:
                await self._start()
            async with trio.open_nursery() as nursery:
                for child in self._children or (None,):
                    nursery.start_soon(self._work, child, slices, (what, now_ms), answers)
        self._used.ring()
        return [answers[number] for number in sorted(answers)]

    async def _work(
        self,
        child: _Child | None,
        slices: Iterator[tuple[int, Sequence[bytes]]],
        what: tuple[int, int],
        answers: dict[int, Any],
    ) -> None:
        """Let one child read slices until none is left; without it, read them here."""
        for number, part in slices:
            request = [what[0], list(part), what[1]]
            if child is not None:
                try:
                    answers[number] = await child.ask(request)
                    continue
                except EOFError:
                    self._log.warning("reader_lost")
                    await self._lose(child)
                    child = None
                except trio.Cancelled:  # its next answer would be the one to this request
                    await self._lose(child)
                    raise
            answers[number] = answer(request)
            await trio.lowlevel.checkpoint()

    async def _lose(self, child: _Child) -> None:
        self._children.remove(child)
        await child.end()

    async def _start(self) -> None:
        try:
            for _ in range(CHILDREN):
                self._children.append(_Child(await _open_process()))
        except OSError as error:
            self._log.warning("reader_lost", reason=error.strerror)


async def _open_process() -> trio.Process:
    """The child, from the same folder of packages as this process."""
    words = f"import os, sys; sys.path.insert(0, {PACKAGES!r}); from node.directory_reader import main; os.nice({NICE})"
    return await trio.lowlevel.open_process(
        [sys.executable, "-c", f"{words}; main(sys.stdin.buffer, sys.stdout.buffer)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
