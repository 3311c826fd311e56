"""The local API as document software sees it: HTTP over the Unix socket, with nothing but the standard library.

What a vendor would write in an afternoon; it knows nothing of the node's code. `Unreachable` is
answered with patience (`patiently`), since every writing request here may be repeated: uploads say
where to go on, documents and statuses carry an idempotency key, collecting is idempotent by itself.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

T = TypeVar("T")

ANSWER_S: Final = 90
PIECE_BYTES: Final = 256 * 1024
RETRY_S: Final = 0.1


class Unreachable(Exception):
    """The node is not there, or went away before its answer was complete."""


class Refused(Exception):
    """The node said no; `problem` says why (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '?')}: {problem.get('en', '')}")
        self.status: Final = status
        self.problem: Final = problem


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(str(self._path))


class Api:
    """One connection to one node, for one thread. Every method raises: Unreachable, Refused."""

    def __init__(self, path: Path, token: str = "") -> None:
        self._connection: Final = _Connection(path)
        self._own: Final = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: object) -> Any:
        """The JSON of a resource; empty values of the query are left out."""
        given = {name: value for name, value in query.items() if value not in ("", None)}
        return json.loads(self.content(path + (f"?{urlencode(given)}" if given else "")))

    def content(self, path: str) -> bytes:
        """A resource as it is."""
        return self._ask("GET", path)

    def post(self, path: str, content: object = None, *, key: str = "") -> Any:
        """The JSON answer to a JSON request."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        return json.loads(self._ask("POST", path, json.dumps(content).encode(), headers))

    def upload(self, upload_id: str, content: bytes) -> None:
        """Bring a part, going on where the node says."""
        path = f"/v1/uploads/{quote(upload_id, safe='')}"
        offset = self._offset(path)
        if offset < len(content):
            headers = {"Upload-Offset": str(offset), "Upload-Length": str(len(content))}
            self._ask("PUT", path, content[offset:], headers)

    def pieces(self, path: str) -> Iterator[bytes]:
        """A large resource piece by piece; it is whole when the last piece has come."""
        with self._broken():
            answer = self._send("GET", path, None, {})
            while piece := answer.read(PIECE_BYTES):
                yield piece
            if answer.length:
                raise Unreachable(f"{answer.length} bytes are missing")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _offset(self, path: str) -> int:
        with self._broken():
            try:
                answer = self._send("HEAD", path, None, {})
            except Refused as error:
                if error.status == http.HTTPStatus.NOT_FOUND:
                    return 0
                raise
            answer.read()
            return int(answer.headers["Upload-Offset"])

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        with self._broken():
            return self._send(method, path, body, headers or {}).read()

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._connection.request(method, path, body=body, headers={**self._own, **headers})
        answer = self._connection.getresponse()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status, _problem(answer.read()))
        return answer

    @contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unreachable(str(error) or type(error).__name__) from error


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"code": "?", "en": content[:200].decode("utf-8", "replace")}


def patiently(work: Callable[[], T], seconds: float) -> T:
    """Do it, again and again while the node is not there, for at most so long. Raises: Unreachable, Refused."""
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except Unreachable:
            if time.monotonic() > end:
                raise
        except Refused as error:
            if error.status != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > end:
                raise
        time.sleep(RETRY_S)
