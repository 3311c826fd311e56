"""Sixteen clients and one listener for events on one Unix socket, in one thread, with raw sockets.

A general HTTP client costs a millisecond per request, more than the node; this one costs a third.
A client is a generator: it yields the bytes of a request and is sent the answer. A document counts
when its receipt stands in `/v1/events` of the node that sent it, which is after it was durable at
the recipient. Submitting pauses while too many receipts are owed, so that the rate is a sustained one.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CLIENTS: Final = 16
OWED_MAX: Final = 256
DRAIN_S: Final = 60
EVENTS_WAIT_S: Final = 5
EVENTS_PAGE: Final = 1_000
EVENTS_PAUSE_S: Final = 0.1
"""Between two looks for receipts under load, as software does that reads pages and not single events."""
RECEIVE_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 48
"""Bytes of a document that make it unlike all others; a multiple of 3, so that base64 splits there."""


class LoadFailed(Exception):
    """The node said no, closed a connection, or still owed receipts when time was up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, when its request was begun, and when it was complete."""

    status: int
    content: bytes
    begun: float
    at: float


Script = Generator[bytes, Answer, None]


@dataclass(slots=True)
class Tally:
    """What a drive saw. Times are of the monotonic clock."""

    started: float = 0.0
    ended: float = 0.0
    submitted: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    doubled: int = 0
    owed: int = 0
    """Documents submitted whose receipt was not seen yet; kept, for it is asked at every turn."""

    def submit(self, document: str, at: float) -> None:
        """The node said yes to a document."""
        self.submitted[document] = at
        self.owed += document not in self.received

    def receive(self, document: str, at: float) -> None:
        """A receipt was seen, before or after the answer to its submit."""
        if document in self.received:
            self.doubled += 1
            return
        self.received[document] = at
        self.owed -= document in self.submitted

    def latencies_ms(self) -> list[float]:
        """From the beginning of each submit to the sight of its receipt, in ascending order."""
        known = self.submitted
        return sorted((at - known[name]) * 1000 for name, at in self.received.items() if name in known)

    def rate(self, begin: float, end: float) -> float:
        """Receipts per second between two moments, counted from the start."""
        inside = sum(begin <= at - self.started < end for at in self.received.values())
        return inside / (end - begin)


def quantile(ordered: list[float], share: float) -> float:
    """The value below which this share of an ordered list lies; 0 for none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


# --- requests -------------------------------------------------------------------------------


class Papers:
    """Documents of one size, each unlike all others: own content, own number, own key."""

    def __init__(self, issuer: str, recipient: str, size: int) -> None:
        rest = os.urandom(size - _HEAD_BYTES)
        self._run: Final = os.urandom(4).hex()
        self._rest: Final = rest
        self._rest_base64: Final = base64.b64encode(rest)
        self._issuer: Final = issuer
        self._recipient: Final = recipient
        self._count = 0

    def one_step(self) -> bytes:
        """A submit that brings its only part along."""
        key, head = self._next()
        before, after = self._json(key, {"content_base64": "@"}).split(b"@")
        return _request("POST", "/v1/documents", before, base64.b64encode(head), self._rest_base64, after, key=key)

    def two_steps(self) -> tuple[bytes, bytes]:
        """An upload, and the submit that names it."""
        key, head = self._next()
        upload = _request("PUT", f"/v1/uploads/{key}", head, self._rest)
        return upload, _request("POST", "/v1/documents", self._json(key, {"upload_id": key}), key=key)

    def of_upload(self, upload_id: str) -> bytes:
        """A submit of a part that was brought before."""
        key, _ = self._next()
        return _request("POST", "/v1/documents", self._json(key, {"upload_id": upload_id}), key=key)

    def _next(self) -> tuple[str, bytes]:
        self._count += 1
        key = f"{self._run}-{self._count}"
        return key, key.encode().ljust(_HEAD_BYTES, b".")

    def _json(self, key: str, part: dict[str, str]) -> bytes:
        document = {
            "issuer": self._issuer,
            "recipients": [self._recipient],
            "metadata": {
                "type": "Công văn", "number": str(self._count), "notation": f"VPCP-{self._run}",
                "issued_on": "2026-11-22",
                "subject": "V/v đo tốc độ trục liên thông văn bản", "secrecy": "none",
                "signers": [{"position": "Phó Chủ nhiệm", "name": "Nguyễn Văn A"}],
            },
            "parts": [{"name": "cong-van.pdf", "media_type": "application/pdf", **part}],
        }  # fmt: skip
        return json.dumps(document, ensure_ascii=False).encode()


def _request(method: str, path: str, *content: bytes, key: str = "") -> bytes:
    kind = "application/json" if method == "POST" else "application/octet-stream"
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if content:
        lines += [f"Content-Type: {kind}", f"Content-Length: {sum(map(len, content))}"]
    if key:
        lines.append(f"Idempotency-Key: {key}")
    return b"".join((("\r\n".join(lines) + "\r\n\r\n").encode(), *content))


# --- scripts --------------------------------------------------------------------------------


def submitting(papers: Papers, tally: Tally, *, uploads: bool = False) -> Script:
    """One client: a document after the other, for as long as it is asked."""
    while True:
        begun = 0.0
        if uploads:
            upload, submit = papers.two_steps()
            answer = yield upload
            _expect(200, answer)
            begun = answer.begun
        else:
            submit = papers.one_step()
        answer = yield submit
        _expect(201, answer)
        tally.submit(json.loads(answer.content)["id"], begun or answer.begun)


def listening(tally: Tally, cursor: str) -> Script:
    """The listener: every receipt that the node records, in pages behind its cursor."""
    while True:
        answer = yield _request("GET", f"/v1/events?after={cursor}&limit={EVENTS_PAGE}&wait={EVENTS_WAIT_S}")
        _expect(200, answer)
        page = json.loads(answer.content)
        cursor = page["next"]
        for event in page["items"]:
            _note(tally, event, answer.at)


def _note(tally: Tally, event: dict[str, Any], at: float) -> None:
    if event["what"] == "refused":
        raise LoadFailed(f"a document was refused: {event['detail']}")
    if event["what"] == "status" and event["code"] == 1:
        tally.receive(event["document"], at)


def _expect(status: int, answer: Answer) -> None:
    if answer.status != status:
        raise LoadFailed(f"{answer.status} instead of {status}: {answer.content[:300]!r}")


def ask(path: Path, request: bytes) -> bytes:
    """One request on a connection of its own; the content of the answer. Raises: LoadFailed."""
    wire = _Wire(path)
    try:
        wire.socket.setblocking(True)
        wire.socket.sendall(request)
        while (answer := wire.receive()) is None:
            pass
        if answer.status >= 300:
            raise LoadFailed(f"{answer.status}: {answer.content[:300]!r}")
        return answer.content
    finally:
        wire.socket.close()


def last_cursor(path: Path) -> str:
    """The cursor behind all events that there are."""
    cursor, more = "", True
    while more:
        page = json.loads(ask(path, _request("GET", f"/v1/events?after={cursor}&limit={EVENTS_PAGE}")))
        cursor, more = page["next"], page["more"]
    return str(cursor)


# --- the loop -------------------------------------------------------------------------------


class _Wire:
    """One connection; one request is under way at a time."""

    def __init__(self, path: Path) -> None:
        self.socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self._pieces = bytearray()
        self._begun = 0.0

    def send(self, request: bytes) -> None:
        """Begin a request."""
        self._begun = time.monotonic()
        self.unsent = memoryview(request)
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes."""
        while self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return
            self.unsent = self.unsent[sent:]

    def receive(self) -> Answer | None:
        """An answer, when it is complete."""
        try:
            piece = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not piece:
            raise LoadFailed("the node closed a connection")
        self._pieces += piece
        head = self._pieces.find(b"\r\n\r\n")
        if head < 0:
            return None
        lines = bytes(self._pieces[:head]).lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(self._pieces) < head + 4 + length:
            return None
        content = bytes(self._pieces[head + 4 : head + 4 + length])
        self._pieces.clear()
        return Answer(int(lines[0].split()[1]), content, self._begun, time.monotonic())


class Drive:
    """Clients at work for some seconds, then until all receipts are there."""

    def __init__(
        self,
        path: Path,
        papers: Papers,
        *,
        clients: int = CLIENTS,
        uploads: bool = False,
        events_pause_s: float = EVENTS_PAUSE_S,
    ) -> None:
        self._events_pause_s: Final = events_pause_s
        self._next_look: tuple[float, bytes] | None = None
        self.tally: Final = Tally()
        self._selector: Final = selectors.DefaultSelector()
        self._scripts: Final[dict[_Wire, Script]] = {}
        self._ready: list[tuple[_Wire, bytes]] = []
        cursor = last_cursor(path)
        for _ in range(clients):
            self._add(path, submitting(papers, self.tally, uploads=uploads))
        self._listener: Final = self._add(path, listening(self.tally, cursor))

    def run(
        self,
        seconds: float,
        *,
        owed_max: int = OWED_MAX,
        pause_s: float = 0,
        count_max: int = 10**9,
        drain: bool = True,
    ) -> Tally:
        """Submit for so long, with so many receipts owed at most, `pause_s` after each receipt when one is the most.

        Raises:
            LoadFailed: a request was refused, or receipts are missing a minute after the end.
        """
        try:
            self._submit(seconds, owed_max, pause_s, count_max)
            while drain and (self.tally.owed or self._under_way()) and time.monotonic() < self.tally.ended + DRAIN_S:
                self._turn(self.tally.ended + DRAIN_S, 0)
        finally:
            self._close()
        if drain and self.tally.owed:
            raise LoadFailed(f"{self.tally.owed} receipts are missing {DRAIN_S} s after the end")
        return self.tally

    def _submit(self, seconds: float, owed_max: int, pause_s: float, count_max: int) -> None:
        self.tally.started = time.monotonic()
        end = self.tally.started + seconds
        self._begin()
        while (now := time.monotonic()) < end and len(self.tally.submitted) < count_max:
            if self.tally.owed < owed_max:
                self._release(owed_max - self.tally.owed, now, pause_s)
            self._turn(end, pause_s)
        self.tally.ended = time.monotonic()

    def _add(self, path: Path, script: Script) -> _Wire:
        wire = _Wire(path)
        self._scripts[wire] = script
        self._selector.register(wire.socket, selectors.EVENT_READ, wire)
        return wire

    def _begin(self) -> None:
        for wire, script in self._scripts.items():
            first = next(script)
            if wire is self._listener:
                wire.send(first)
            else:
                self._ready.append((wire, first))

    def _under_way(self) -> int:
        return len(self._scripts) - 1 - len(self._ready)

    def _release(self, room: int, now: float, pause_s: float) -> None:
        if pause_s and self.tally.received and now - next(reversed(self.tally.received.values())) < pause_s:
            return
        for wire, request in self._take(room - self._under_way()):
            wire.send(request)
            self._watch(wire)

    def _take(self, count: int) -> Iterator[tuple[_Wire, bytes]]:
        while self._ready and count > 0:
            count -= 1
            yield self._ready.pop(0)

    def _turn(self, end: float, pause_s: float) -> None:
        patience = min(max(0.0, end - time.monotonic()), pause_s / 4 if pause_s else 0.2)
        if self._next_look is not None:
            patience = self._look(patience)
        for key, _ in self._selector.select(patience):
            wire: _Wire = key.data
            if wire.unsent:
                wire.flush()
                self._watch(wire)
            answer = wire.receive()
            if answer is not None:
                self._go_on(wire, answer)

    def _look(self, patience: float) -> float:
        """Ask for events when it is time; how long the selector may wait until then."""
        assert self._next_look is not None
        at, request = self._next_look
        left = at - time.monotonic()
        if left > 0:
            return min(patience, left)
        self._next_look = None
        self._listener.send(request)
        return patience

    def _go_on(self, wire: _Wire, answer: Answer) -> None:
        before = len(self.tally.submitted)
        request = self._scripts[wire].send(answer)
        if wire is self._listener and self._events_pause_s:
            self._next_look = (answer.at + self._events_pause_s, request)
        elif wire is not self._listener and len(self.tally.submitted) > before:
            self._ready.append((wire, request))
        else:
            wire.send(request)
            self._watch(wire)

    def _watch(self, wire: _Wire) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wire.unsent else 0)
        self._selector.modify(wire.socket, events, wire)

    def _close(self) -> None:
        for wire in self._scripts:
            self._selector.unregister(wire.socket)
            wire.socket.close()
        self._selector.close()
