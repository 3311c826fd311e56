"""The one door to libp2p: TCP, noise and yamux under the seam of `node/transport.py` (DESIGN §5).

Nothing outside imports libp2p or multiaddr. `transport.Libp2pTransport` is what the node uses;
`protocol/spec` knows nothing of this package, and this package nothing of documents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _keeping_its_logger() -> Iterator[None]:
    """Importing libp2p takes the handlers off its logger, ours included; put them back."""
    logger = logging.getLogger("libp2p")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    if handlers:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


with _keeping_its_logger():
    import libp2p as libp2p  # before any module of this package does
