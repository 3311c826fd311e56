"""Compares what software is told, at the moment it is told, with what is durable then.

The oracle's ears at the counter (DESIGN §1: "commits the records, then lets the effects out");
shared by all desks. What leaves by the network is heard by `wire_watch.py`.
"""

from __future__ import annotations

from typing import Final

from protocol.records import IN, Document, Incoming, Link, Upload
from tests.sim.disk import Disk
from tests.sim.durable import Durable
from tests.sim.verdict import Sentence, Verdict


class Witness:
    """Objects to everything that was told too early."""

    def __init__(self, disk: Disk, verdict: Verdict) -> None:
        self._durable: Final = Durable(disk)
        self._verdict: Final = verdict

    def accepted(self, key: str, envelope_id: bytes) -> None:
        """A document was acknowledged."""
        self._require(self._durable.get(Document, envelope_id) is not None, f"{key} was acknowledged")

    def listed(self, consignment: bytes) -> None:
        """An arrival was shown."""
        self._require(self._durable.get(Incoming, consignment) is not None, "an arrival was listed")

    def shown(self, box: int, consignment: bytes, sequence: int, receipt: bytes) -> None:
        """A link of a chain was shown."""
        link = self._durable.get(Link, box, consignment, sequence)
        self._require(link is not None and link.receipt == receipt, "a status was shown")

    def acted(self, consignment: bytes, sequence: int, code: int) -> None:
        """A collect or an answer was acknowledged."""
        link = self._durable.get(Link, IN, consignment, sequence)
        self._require(link is not None and link.code == code, f"{code:02d} was acknowledged")

    def uploaded(self, system: bytes, upload_id: str, offset: int) -> None:
        """So many bytes of an upload were acknowledged."""
        upload = self._durable.get(Upload, system, upload_id)
        kept = upload.taken >= offset if upload is not None else not offset
        if upload is not None and upload.plain_digest:
            kept = kept and self._durable.has_body(upload.body)
        self._require(kept, f"{offset} bytes of {upload_id} were acknowledged")

    def _require(self, holds: bool, what: str) -> None:
        self._verdict.require(holds, Sentence.EARLY, f"{what} before it was durable")
