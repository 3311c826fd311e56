"""One body on its way in: hashed and opened piece by piece, kept in memory or in a partial file.

Obeys DESIGN §4 and §6 (`protocol/spec/body_exchange.md` §3–4). Whose fault a piece is that does not
open shows only when the digest of the whole is known. Asking for the pieces is `puller.py`, space
on the disk `pull_space.py`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from protocol.encoding import lp
from protocol.envelope import PartRef, PartSecret
from protocol.errors import NotNow, TrustError
from protocol.limits import SEGMENT_BYTES
from protocol.record import Put, PutBody
from protocol.sealing import BodyHasher, PartOpener
from protocol.step import BodyRequest, VerifiedBody
from storage.bodies import BodyWriter


def pull_token(centre: str, body: bytes) -> bytes:
    """The name of a partly pulled body: the same after a restart, for every consignment of its
    envelope, and another one for every peer."""
    return hashlib.sha256(lp("pull", centre, body)).digest()[:16]


class Arriving:
    """One body as far as it has come: hashed, opened, and kept in memory or in a file."""

    def __init__(self, request: BodyRequest, ref: PartRef, secret: PartSecret) -> None:
        self.request: Final = request
        self.ref: Final = ref
        self.token: Final = pull_token(request.centre, ref.digest)
        self.writer: BodyWriter | None = None
        self.remembered_ms = 0
        self._opener: Final = PartOpener(secret.key)
        self._hasher: Final = BodyHasher()
        self._kept = bytearray()
        self._damage: TrustError | None = None
        self._checked = False
        self.size = 0

    def take(self, piece: bytes) -> None:
        """Hash and open one more piece. In a worker. A piece that does not open is remembered:
        whose fault it is shows when the digest of the whole is known."""
        self._hasher.update(piece)
        self.size += len(piece)
        if self._damage is None:
            try:
                self._opener.feed(piece)
            except TrustError as error:
                self._damage = error

    def keep(self, piece: bytes) -> None:
        """Take a piece and keep it in memory. In a worker."""
        self.take(piece)
        self._kept += piece

    def write(self, piece: bytes) -> None:
        """Take a piece and write it to the file. In a worker."""
        assert self.writer is not None
        self.take(piece)
        self.writer.write(piece)

    def pause(self) -> None:
        """Keep the file for the next attempt, which begins at a whole MiB: less is not worth it. In a worker."""
        if self.writer is not None and self.writer.size < min(SEGMENT_BYTES, self.ref.size):
            self.writer.abandon()
        elif self.writer is not None:
            self.writer.pause()

    def abandon(self) -> None:
        """What came is of no use. In a worker."""
        if self.writer is not None:
            self.writer.abandon()

    def whole(self) -> bytes:
        """All that was kept."""
        return bytes(self._kept)

    def check(self) -> None:
        """Whether what came is what was signed.

        Raises:
            NotNow: `body_damaged` (other bytes than the envelope names).
            TrustError: `part_damaged` (the issuer signed bytes that do not open).
        """
        if self._checked:
            return
        if self._hasher.digest() != self.ref.digest:
            raise NotNow("body_damaged")
        if self._damage is not None:
            raise self._damage
        self._opener.finish()
        self._checked = True

    def verified(self, put: Put | PutBody) -> VerifiedBody:
        """The proof for the step."""
        self.check()
        return VerifiedBody(
            digest=self.ref.digest,
            size=self.ref.size,
            plain_digest=self._opener.plain_digest,
            plain_size=self._opener.plain_size,
            put=put,
        )
