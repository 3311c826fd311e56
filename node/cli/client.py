"""A small client of the local API: the standard library's HTTP over a Unix socket, or TCP with a token.

Obeys DESIGN §7 and LIBRARIES (`http.client`: the command must answer in < 150 ms). One connection,
used again for each request of a command. Which routes there are is the commands' business.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from node.cli.desk import Refused
from protocol.errors import ConfigurationError, NetworkError

ANSWER_S: Final = 90
"""A node that says nothing for so long beyond what was asked to wait for is not there."""
EARLY_ANSWER_S: Final = 5
"""What a node says before it closes is there at once, or never."""
CHUNK_BYTES: Final = 256 * 1024
ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""A page of 1,000 items has about 2 MB; an evidence file at most a few more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer of the node that is no problem."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON. Raises: NetworkError `answer_unreadable`."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NetworkError("answer_unreadable", reason=f"HTTP {self.status}") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(str(self._path))


class Client:
    """Requests to one node. Every method raises:

    NetworkError: `node_unreachable`, `answer_unreadable`;
    Refused: the node's own problem.
    """

    def __init__(self, connection: http.client.HTTPConnection, where: str, token: str = "") -> None:
        self._connection: Final = connection
        self._where: Final = where
        self._token: Final = token

    @classmethod
    def over_socket(cls, path: Path) -> Client:
        """A client of the node whose Unix socket this is."""
        return cls(_UnixConnection(path), str(path))

    @classmethod
    def over_url(cls, url: str, token: str, ca: Path | None) -> Client:
        """A client of `http://127.0.0.1:4680` or `https://host:port`.

        Raises:
            ConfigurationError: `file_unreadable` (the CA file), `url_malformed`.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigurationError("url_malformed", url=url) from error
        if parts.scheme not in ("http", "https") or not host or parts.path.strip("/"):
            raise ConfigurationError("url_malformed", url=url)
        if parts.scheme == "http":
            return cls(http.client.HTTPConnection(host, port, timeout=ANSWER_S), url, token)
        import ssl

        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except OSError as error:
            raise ConfigurationError("file_unreadable", path=str(ca), reason=error.strerror or "?") from error
        return cls(http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context), url, token)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- requests -----------------------------------------------------------------------------

    def get(self, path: str, **query: object) -> Any:
        """The JSON of a GET; empty values of the query are left out."""
        return self.request("GET", path, query=query).json

    def post(self, path: str, content: object, *, key: str = "") -> Any:
        """The JSON answer to a JSON request, with an idempotency key where one is wanted."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        return self.request("POST", path, body=json.dumps(content, ensure_ascii=False).encode(), headers=headers).json

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: Iterable[int] = (),
    ) -> Answer:
        """One request and its whole answer. Statuses from 400 on are refused unless `accepted`."""
        answer = self._ask(method, path, query, body, headers)
        with self._broken():
            content = answer.read(ANSWER_BYTES_MAX)
        found = Answer(status=answer.status, headers={k.lower(): v for k, v in answer.getheaders()}, body=content)
        if found.status >= 400 and found.status not in tuple(accepted):
            raise _refused(found)
        return found

    @contextmanager
    def stream(self, path: str) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """Headers and pieces of a body; a body that is cut raises `node_unreachable`."""
        answer = self._ask("GET", path, None, None, None)
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if answer.status >= 400:
            with self._broken():
                content = answer.read(ANSWER_BYTES_MAX)
            raise _refused(Answer(status=answer.status, headers=headers, body=content))
        try:
            yield headers, self._pieces(answer)
        finally:
            if not answer.isclosed():
                self._connection.close()

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._broken():
                piece = answer.read(CHUNK_BYTES)
            if not piece:
                break
            yield piece
        if answer.length:
            raise NetworkError("node_unreachable", where=self._where, reason=f"{answer.length} bytes missing")

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:
        given = {name: str(value) for name, value in (query or {}).items() if value not in ("", None, False)}
        target = quote(path, safe="/") + ("?" + urlencode(given) if given else "")
        own = {"Accept": "application/json", **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        with self._broken():
            try:
                self._connection.request(method, target, body=body, headers={**own, **(headers or {})})
            except (BrokenPipeError, ConnectionResetError):
                if self._connection.sock is None:
                    raise
                # The node answered and closed before it had taken the whole body: its answer says why.
                return self._early_answer(method)
            return self._connection.getresponse()

    def _early_answer(self, method: str) -> http.client.HTTPResponse:
        assert self._connection.sock is not None
        self._connection.sock.settimeout(EARLY_ANSWER_S)
        response = http.client.HTTPResponse(self._connection.sock, method=method)
        response.begin()
        return response

    @contextmanager
    def _broken(self) -> Iterator[None]:
        """What the system says about the connection becomes an outcome."""
        try:
            yield
        except TimeoutError as error:
            self._connection.close()
            raise NetworkError("node_unreachable", where=self._where, reason=f"> {ANSWER_S} s") from error
        except OSError as error:
            self._connection.close()
            raise NetworkError("node_unreachable", where=self._where, reason=error.strerror or str(error)) from error
        except http.client.HTTPException as error:
            self._connection.close()
            raise NetworkError("answer_unreadable", reason=type(error).__name__) from error


def _refused(answer: Answer) -> Refused | NetworkError:
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        return NetworkError("answer_unreadable", reason=f"HTTP {answer.status}")
    return Refused(problem)
