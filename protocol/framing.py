"""Frames on a byte stream: a length, a type, a body. Spec: `spec/framing.md`.

Incremental and pure: bytes in whatever pieces go in, whole frames come out, and feeding
byte by byte gives the same frames and the same error as feeding all at once. What the
types mean belongs to the protocols that use frames (`exchange.py`).
"""

from __future__ import annotations

from typing import Final

from protocol.errors import FormatError

LENGTH_BYTES: Final = 4
"""Big-endian; counts the type and the body, not itself."""

Frame = tuple[int, bytes]
"""Type and body."""


def encode_frame(kind: int, body: bytes) -> bytes:
    """The bytes of one frame; `kind` is 0 to 255."""
    return (len(body) + 1).to_bytes(LENGTH_BYTES, "big") + kind.to_bytes(1, "big") + body


class Decoder:
    """Turns a byte stream into frames; holds at most one unfinished frame.

    `frame_bytes_max` bounds type and body together.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        assert frame_bytes_max > 0
        self._frame_bytes_max: Final = frame_bytes_max
        self._held = bytearray()
        self._wanted = LENGTH_BYTES  # octets that `_held` needs before anything can be decided
        self._error: FormatError | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of the unfinished frame: below `frame_bytes_max` + 4 between two calls."""
        return len(self._held)

    def feed(self, octets: bytes) -> list[Frame]:
        """The frames completed by these bytes, in order.

        Frames that stand before a bad one are returned first; the next call then raises.
        After an error the decoder stays unusable and raises it again.

        Raises:
            FormatError: `frame_too_large` as soon as the length is known, `frame_empty`.
        """
        self._check()
        self._held += octets
        if len(self._held) < self._wanted:
            return []
        frames = self._cut()
        if not frames:
            self._check()
        return frames

    def finish(self) -> None:
        """The stream has ended here.

        Raises:
            FormatError: `frame_truncated` (inside a frame), or the error that stopped decoding.
        """
        self._check()
        if self._held:
            raise FormatError("frame_truncated", held=len(self._held))

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _cut(self) -> list[Frame]:
        frames: list[Frame] = []
        start, held = 0, len(self._held)
        with memoryview(self._held) as view:
            self._wanted = LENGTH_BYTES
            while held - start >= LENGTH_BYTES:
                length = int.from_bytes(view[start : start + LENGTH_BYTES], "big")
                self._error = self._length_error(length)
                if self._error is not None:
                    start = held
                    break
                stop = start + LENGTH_BYTES + length
                if stop > held:
                    self._wanted = stop - start
                    break
                frames.append((view[start + LENGTH_BYTES], bytes(view[start + LENGTH_BYTES + 1 : stop])))
                start = stop
        del self._held[:start]  # from the front of a bytearray this moves a pointer, not the octets
        return frames

    def _length_error(self, length: int) -> FormatError | None:
        if length > self._frame_bytes_max:
            return FormatError("frame_too_large", size=length, limit=self._frame_bytes_max)
        if length == 0:
            return FormatError("frame_empty")
        return None
