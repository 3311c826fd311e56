"""Free ports of the loopback for servers that tests start.

Below the range from which the system takes the ports of outgoing connections (32768 and up on Linux): a port
that is free when it is looked for cannot be taken by somebody's connection before it is bound. Processes
that look at the same time begin in different places.
"""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Final

FIRST: Final = 15_000
SPAN: Final = 17_000
STRIDE: Final = 211
"""Between the first ports of two processes whose ids follow each other."""

_asked: Final = count(os.getpid() * STRIDE)


def free_port() -> int:
    """A port on 127.0.0.1 on which nobody listens, another one each time."""
    for turn in _asked:
        port = FIRST + turn % SPAN
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("endless")
