"""One upload as a sealed stream on its way to the disk, always cut at whole chunks.

Obeys DESIGN §3 "Sealing" and §6. Small ones stay in memory while one request brings them whole;
everything else goes to a partial file of the body store. Runs in workers; one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from protocol.limits import CHUNK_BYTES, MIB, TAG_BYTES
from protocol.record import Place
from protocol.sealing import PartOpener, PartSealer, sealed_size
from storage.bodies import SMALL_BODY_BYTES_MAX, BodyStore, BodyWriter

TOKEN_MARK: Final = b"upload"
"""Begins the tokens of uploads, so that their partial files are told from pulled bodies."""
RESEAL_CHUNKS: Final = MIB // CHUNK_BYTES


def new_token(entropy: Callable[[int], bytes]) -> bytes:
    """A token for one partial file."""
    return TOKEN_MARK + entropy(16 - len(TOKEN_MARK))


def upload_tokens(tokens: Iterable[bytes]) -> list[bytes]:
    """Those of these tokens that belong to uploads."""
    return [token for token in tokens if token.startswith(TOKEN_MARK)]


class UploadStream:
    """The sealer of one upload and where its sealed bytes go."""

    def __init__(self, bodies: BodyStore, token: bytes, key: bytes, total: int) -> None:
        self._bodies: Final = bodies
        self._sealer: Final = PartSealer(key)
        self._kept = bytearray()
        self._writer: BodyWriter | None = None
        self.token: Final = token
        self.total: Final = total
        self.small: Final = sealed_size(total) <= SMALL_BODY_BYTES_MAX
        """Ends in a segment: its bytes go into a batch."""

    # --- bytes --------------------------------------------------------------------------------

    def take(self, chunks: bytes) -> None:
        """Seal whole chunks, none of them the last of the upload.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        assert len(chunks) % CHUNK_BYTES == 0
        assert self._sealer.plain_size + len(chunks) < self.total or not chunks
        self._put(self._sealer.feed(chunks) + self._sealer.more_follows())

    def finish(self, rest: bytes) -> None:
        """Seal what is left of the upload.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        assert self._sealer.plain_size + len(rest) == self.total
        self._put(self._sealer.feed(rest) + self._sealer.finish())

    def pause(self) -> None:
        """Make what came so far durable; it goes on from here.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        if self._writer is None:
            self._open_file()
        assert self._writer is not None
        self._writer.pause()

    def place(self) -> Place:
        """Make the whole durable under its digest; the partial file stays until the record is durable.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        assert self._writer is not None
        return self._writer.finish(self.body_digest, keep_partial=True)

    def whole(self) -> bytes:
        """All sealed bytes of a small upload.

        Raises:
            StoreError: `store_file_missing`, `body_short`, `store_io`.
        """
        assert self.small
        if self._writer is None:
            return bytes(self._kept)
        return self._bodies.read_partial(self.token, 0, self._sealer.sealed_size)

    def _put(self, sealed: bytes) -> None:
        if self._writer is None and not self.small:
            self._open_file()
        if self._writer is None:
            self._kept += sealed
        else:
            self._writer.write(sealed)

    def _open_file(self) -> None:
        self._writer = self._bodies.writer(self.token)
        self._writer.write(bytes(self._kept))
        self._kept.clear()

    # --- what is known ------------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """Plain bytes sealed so far."""
        return self._sealer.plain_size

    @property
    def durable(self) -> int:
        """Plain bytes, in whole chunks, whose sealed form is durable."""
        if self._writer is None:
            return 0
        return self._writer.durable_size // (CHUNK_BYTES + TAG_BYTES) * CHUNK_BYTES

    @property
    def on_disk(self) -> bool:
        """Has a partial file."""
        return self._writer is not None

    @property
    def sealed_size(self) -> int:
        """Sealed bytes so far."""
        return self._sealer.sealed_size

    @property
    def body_digest(self) -> bytes:
        """Tree digest of the sealed bytes; after `finish`."""
        return self._sealer.body_digest

    @property
    def plain_digest(self) -> bytes:
        """SHA-256 of the plain bytes."""
        return self._sealer.plain_digest


def reseal(bodies: BodyStore, token: bytes, key: bytes, taken: int, into: UploadStream) -> None:
    """Seal the first `taken` plain bytes of a partial body again, durably, into a fresh stream.

    Raises:
        StoreError: `store_file_missing`, `body_short`, `disk_full`, `store_io`.
        TrustError: `part_damaged`.
    """
    if not taken:
        return
    opener = PartOpener(key)
    for offset in range(0, taken // CHUNK_BYTES, RESEAL_CHUNKS):
        chunks = min(RESEAL_CHUNKS, taken // CHUNK_BYTES - offset)
        sealed = bodies.read_partial(token, offset * (CHUNK_BYTES + TAG_BYTES), chunks * (CHUNK_BYTES + TAG_BYTES))
        into.take(opener.feed(sealed) + opener.more_follows())
    into.pause()
