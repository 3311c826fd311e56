"""Structured log: one line per event, with ids and sizes, never contents, keys or frame locals.

Obeys DESIGN §1 (structlog only under node/) and STYLE 12; one line per change of state of a
document through `change_of_state`. What is worth an event is left to the services; counting
belongs to `node/metrics.py`, and the record of who changed what to the audit log.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from node.environment import Environment
from protocol.errors import TrucError
from protocol.textid import to_text

Log = FilteringBoundLogger
"""What services hold. Made by `make_log`, narrowed by `log.bind(peer=…)`."""

BYTES_SHOWN_MAX: Final = 32
CHARACTERS_SHOWN_MAX: Final = 500
"""Longer values are cut: an event carries an id or a reason, not a content."""
FRAMES_SHOWN_MAX: Final = 30

ALARM_AGAIN_MS: Final = 24 * 60 * 60_000
"""The same alarm about the same thing is one line a day, however often the peer comes with it."""
ALARMS_KNOWN_MAX: Final = 4_096
PEER_LINES_PER_MINUTE: Final = 60
"""Of each of these events and each centre; nobody fills a disk with our own words."""
PEER_EVENTS: Final = frozenset(
    {
        *("alarm", "link_refused", "link_failed", "stream_over", "stream_failed", "peer_up", "peer_down"),
        *("pull_failed", "frame_not_made", "not_taken"),
        *("directory_compared", "directory_not_compared", "session_failed"),
        *("connected", "disconnected", "connection_lost", "arrival_failed"),
    }
)

LIBRARIES: Final = ("libp2p", "hypercorn", "multiaddr")
"""Their warnings would otherwise go to the last-resort handler (LIBRARIES §libp2p)."""
LIBRARY_LINES_PER_MINUTE: Final = 60
"""A hostile peer can make libp2p warn as often as it likes."""

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_Event = MutableMapping[str, Any]


class LineSink:
    """Writes whole lines and counts those that the disk or a closed pipe did not take."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0

    def msg(self, line: str) -> None:
        """Write one line now; a failure must not stop the node."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.lost += 1

    log = debug = info = warning = error = critical = msg


def open_log_file(path: Path) -> TextIO:
    """Append to a file of mode 0640; an outside logrotate should use `copytruncate`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a", encoding="utf-8")
    path.chmod(0o640)
    return stream


def make_log(
    sink: LineSink,
    environment: Environment,
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["json", "text"] = "json",
) -> Log:
    """A log of its own, without global state, so that many nodes fit in one process."""
    made = structlog.wrap_logger(
        cast("Any", sink),
        processors=[
            _Gate(environment),
            _stamp(environment),
            structlog.processors.add_log_level,
            _tame,
            _json if form == "json" else _text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return cast("Log", made)


def change_of_state(
    log: Log,
    *,
    box: Literal["inbox", "outbox"],
    consignment: bytes,
    before: str | Enum,
    after: str | Enum,
    **detail: str | int | bytes,
) -> None:
    """The one line per durable change of state of a consignment; `truc trace` finds it by its id."""
    log.info("state", box=box, consignment=to_text("csg", consignment), before=before, after=after, **detail)


def log_failure(log: Log, event: str, error: BaseException, **detail: str | int | bytes) -> None:
    """An unexpected exception: types, codes and places in the code, no values."""
    log.error(event, error=error, trace=_places(error), **detail)


def adopt_libraries(log: Log, environment: Environment) -> Callable[[], None]:
    """Send the libraries' own warnings into this log; the result undoes it."""
    handler = _LibraryHandler(log, environment)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False

    def release() -> None:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

    return release


class _LibraryHandler(logging.Handler):
    """At most `LIBRARY_LINES_PER_MINUTE`; what was left out is said at the next minute's first line."""

    def __init__(self, log: Log, environment: Environment) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._environment = environment
        self._minute = -1
        self._lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        minute = self._environment.monotonic_ms() // 60_000
        left_out = max(0, self._lines - LIBRARY_LINES_PER_MINUTE) if minute != self._minute else 0
        self._lines = self._lines + 1 if minute == self._minute else 1
        self._minute = minute
        if left_out:
            self._log.warning("library_lines_left_out", lines=left_out)
        if self._lines <= LIBRARY_LINES_PER_MINUTE:
            self._log.warning("library", library=record.name, level_name=record.levelname, text=_text_of(record))


def _text_of(record: logging.LogRecord) -> str:
    try:
        words = record.getMessage()
    except (TypeError, ValueError):  # a library's format string and its arguments do not agree
        words = str(record.msg)
    cause = record.exc_info[1] if record.exc_info else None
    return f"{words} ({type(cause).__name__})" if cause is not None else words


# --- processors -----------------------------------------------------------------------------


class _Gate:
    """Lets through what a peer can cause a bounded number of times. What was left out is counted in
    the next line of its kind."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._alarms: dict[tuple[Any, ...], int] = {}
        self._minute = -1
        self._lines: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()

    def __call__(self, _logger: Any, _method: str, event: _Event) -> _Event:
        name = event["event"]
        if name not in PEER_EVENTS:
            return event
        if name == "alarm" and self._is_known(event):
            raise structlog.DropEvent
        return self._counted((name, str(event.get("centre", ""))), event)

    def _is_known(self, event: _Event) -> bool:
        alarm = tuple(sorted((key, str(value)) for key, value in event.items()))
        now_ms = self._environment.monotonic_ms()
        told_ms = self._alarms.get(alarm)
        if told_ms is not None and now_ms - told_ms < ALARM_AGAIN_MS:
            return True
        self._alarms.pop(alarm, None)
        self._alarms[alarm] = now_ms
        if len(self._alarms) > ALARMS_KNOWN_MAX:
            del self._alarms[next(iter(self._alarms))]
        return False

    def _counted(self, kind: tuple[str, str], event: _Event) -> _Event:
        minute = self._environment.monotonic_ms() // 60_000
        if minute != self._minute:
            self._minute = minute
            self._lines.clear()
        self._lines[kind] += 1
        if self._lines[kind] > PEER_LINES_PER_MINUTE:
            self._left_out[kind] += 1
            raise structlog.DropEvent
        left_out = self._left_out.pop(kind, 0)
        return {**event, "left_out": left_out} if left_out else event


def _stamp(environment: Environment) -> Callable[[Any, str, _Event], _Event]:
    def stamp(_logger: Any, _method: str, event: _Event) -> _Event:
        moment = dt.datetime.fromtimestamp(environment.now_ms() / 1000, dt.UTC)
        return {"time": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z", **event}

    return stamp


def _tame(_logger: Any, _method: str, event: _Event) -> _Event:
    """Nothing leaves but short text, numbers and ids."""
    return {key: _value(value) for key, value in event.items()}


def _value(value: Any) -> str | int | float | bool | list[Any]:
    match value:
        case Enum():
            return value.name.lower()
        case bool() | int() | float():
            return value
        case str():
            return value if len(value) <= CHARACTERS_SHOWN_MAX else value[:CHARACTERS_SHOWN_MAX] + "…"
        case bytes() | bytearray() | memoryview():
            return bytes(value[:BYTES_SHOWN_MAX]).hex() if len(value) <= BYTES_SHOWN_MAX else f"{len(value)} bytes"
        case list() | tuple():
            return [_value(item) for item in value[:FRAMES_SHOWN_MAX]]
        case BaseException():
            return _value(_named(value))
        case _:
            return type(value).__name__  # a value's own repr may hold what must not be shown


def _named(error: BaseException) -> str:
    if isinstance(error, TrucError):
        return f"{type(error).__name__} {error.code}" + (f" at {error.field}" if error.field else "")
    if isinstance(error, OSError):
        return f"{type(error).__name__} {error.strerror or error.errno}"
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__} of " + ", ".join(_named(inner) for inner in error.exceptions)
    return type(error).__name__


def _places(error: BaseException) -> list[str]:
    """Type and innermost places of an exception, then of its causes and members; each once."""
    lines: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)[-FRAMES_SHOWN_MAX:]
        lines += [_named(current), *(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)]
        waiting.append(current.__cause__ or (None if current.__suppress_context__ else current.__context__))
        waiting += current.exceptions if isinstance(current, BaseExceptionGroup) else ()
    return lines


def _json(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False)


def _text(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    known = ("time", "level", "event")
    others = {key: value for key, value in event.items() if key not in known}
    rest = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in others.items())
    return f"{event['time']} {event['level']:7} {event['event']} {rest}".rstrip()
