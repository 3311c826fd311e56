"""Kinds of records and faulty parts for the tests of `storage/`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from protocol.encoding import Count, Digest, Key
from protocol.errors import StoreError
from protocol.record import PutBody, kind
from storage.folder import Folder
from storage.kv import KeyValue, Pairs, Reading


@kind(240, "agency", "number")
@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Found by a string and an integer."""

    agency: Annotated[str, Key(1)]
    number: Annotated[Count, Key(2)]
    text: Annotated[str, Key(3)] = ""


@kind(241, "digest", "agency")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """Found by a byte string and a string."""

    digest: Annotated[Digest, Key(1)]
    agency: Annotated[str, Key(2)]


@kind(242)
@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """There is one of these at most."""

    value: Annotated[Count, Key(1)]


INCARNATION = bytes(range(16))


def put_body(blob: bytes) -> PutBody:
    """A small body under its true digest."""
    return PutBody(hashlib.sha256(b"\x00" + blob).digest(), blob)


class FaultyFolder:
    """A folder whose chosen calls fail, once: `fail("append", after=1)` lets one `append` through
    and makes the next raise."""

    def __init__(self, folder: Folder) -> None:
        self.inner = folder
        self.calls: Counter[str] = Counter()
        self._failing: dict[str, tuple[int, StoreError]] = {}  # calls to let through, error
        self.free: int | None = None

    def fail(self, method: str, *, after: int = 0, error: StoreError | None = None) -> None:
        self._failing[method] = after, error or StoreError("disk_full")

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*parameters: Any) -> Any:
            self.calls[method] += 1
            if method in self._failing:
                after, error = self._failing.pop(method)
                if not after:
                    raise error
                self._failing[method] = after - 1, error
            if method == "free_bytes" and self.free is not None:
                return self.free
            return getattr(self.inner, method)(*parameters)

        return call


class WatchedKeyValue:
    """A `KeyValue` that calls `before` and `after` around each batch; either may raise."""

    def __init__(self, kv: KeyValue) -> None:
        self.inner = kv
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return self.inner.scan(start, stop, limit)

    def snapshot(self) -> Reading:
        return self.inner.snapshot()

    def write(self, pairs: Pairs) -> None:
        self.before()
        self.inner.write(pairs)
        self.after()

    def close(self) -> None:
        self.inner.close()
