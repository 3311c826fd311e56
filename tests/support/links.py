"""Links on the workbench: one end is a real `Link`, the other the test's `Pipe`."""

from __future__ import annotations

from typing import Any

from node.conduct import Conducts
from node.links import Link
from node.offer_line import Window
from node.transport import ByteStream
from protocol.exchange import Frame, Hello, Session, frame_bytes
from tests.support.bench import Bench


def make_link(bench: Bench, centre: str, stream: ByteStream, **changes: Any) -> Link:
    """A link of the bench's node to a centre."""
    fitting: dict[str, Any] = {
        "ping_s": 20,
        "dead_s": 60,
        "on_up": lambda _link, _hello: None,
        "window": Window(),
        "on_holding": lambda _centre, _consignment: True,
        "on_dropped": lambda _centre, _consignment: None,
        "on_time": lambda _centre, _time_ms: None,
        "heads": lambda: b"",
        "on_heads": lambda _centre, _digest: None,
        "on_skipped": lambda _centre: None,
        "conduct": Conducts(bench.environment, own=bench.side.centre, bar_max_ms=300_000).of(centre),
    }
    return Link(
        centre,
        stream,
        pump=bench.pump,
        frames=bench.side.frames,
        environment=bench.environment,
        metrics=bench.metrics,
        log=bench.log,
        **{**fitting, **changes},
    )


def hello_of(centre: str, **changes: Any) -> Hello:
    """What a peer says first."""
    fitting: dict[str, Any] = {
        "version_min": 1,
        "version_max": 1,
        "centre": centre,
        "incarnation": bytes(16),
        "given": 0,
        "held": 0,
        "time_ms": 1,
    }
    return Hello(**{**fitting, **changes})


def frames_in(centre: str, written: bytes | bytearray) -> list[Frame]:
    """The frames that the node of `centre` wrote."""
    return Session(centre).receive(bytes(written))


def bytes_of(*frames: Frame) -> bytes:
    """Frames as they go on the wire."""
    return b"".join(frame_bytes(frame) for frame in frames)
