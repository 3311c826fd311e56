"""A node as a process of its own, without a network: its agencies write to each other over the loop-back.

    python -m tests.cli.node_process CONFIG

Everything is what `truc run` builds, but the transport: this one has no other centres. Used by
the tests of the command line, which are clients of a real API on a real Unix socket.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import trio

from node.config import Config
from node.keyring import Keyring
from node.logs import Log
from node.main import Seams, run
from node.metrics import Metrics
from node.tasks import Ready
from node.transport import Accept, ByteStream, Hear, Meet, Refused
from protocol.errors import NetworkError


class NullTransport:
    """A network in which nobody else is reached."""

    async def run(self, accept: Accept, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    def admit(self, peers: Mapping[str, str]) -> None:
        return

    def meet(self, meet: Meet) -> None:
        return

    def announcements(self, hear: Hear) -> None:
        return

    def announce(self, content: bytes) -> None:
        return

    def refused(self) -> list[Refused]:
        return []

    def opens_exchange(self, centre: str) -> bool:
        return True

    def is_connected(self, centre: str) -> bool:
        return False

    async def dial(self, centre: str, address: str) -> None:
        await trio.lowlevel.checkpoint()
        raise NetworkError("unreachable", centre=centre, reason="no network")

    async def connected(self, centre: str) -> None:
        await trio.sleep_forever()

    async def disconnected(self, centre: str) -> None:
        await trio.lowlevel.checkpoint()

    async def drop(self, centre: str) -> None:
        await trio.lowlevel.checkpoint()

    async def open_stream(self, centre: str, protocol: str) -> ByteStream:
        await trio.lowlevel.checkpoint()
        raise NetworkError("unreachable", centre=centre, reason="no network")


def make_null_transport(config: Config, keyring: Keyring, metrics: Metrics, log: Log) -> NullTransport:
    """The seam that `node.main` asks for."""
    return NullTransport()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), Seams(make_transport=make_null_transport)))
