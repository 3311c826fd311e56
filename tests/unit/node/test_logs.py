"""The log: one line per event, nothing secret in it, never a reason to stop."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, cast

import pytest

from node.environment import Environment
from node.logs import (
    ALARM_AGAIN_MS,
    ALARMS_KNOWN_MAX,
    LIBRARY_LINES_PER_MINUTE,
    PEER_LINES_PER_MINUTE,
    LineSink,
    Log,
    adopt_libraries,
    change_of_state,
    log_failure,
    make_log,
    open_log_file,
)
from protocol.errors import FormatError
from protocol.textid import to_text


class Clock:
    """Stands where the environment stands; only the clocks are asked."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_123

    def now_ms(self) -> int:
        return self.now

    def monotonic_ms(self) -> int:
        return self.now


class State(IntEnum):
    QUEUED = 1
    ARRIVED = 2


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO, clock: Clock) -> Log:
    return make_log(LineSink(stream), cast("Environment", clock))


@pytest.fixture
def adopted(log: Log, clock: Clock) -> Iterator[None]:
    release = adopt_libraries(log, cast("Environment", clock))
    yield
    release()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_time_level_and_name(log: Log, stream: io.StringIO) -> None:
    log.info("started", port=4601, name="Trục\nhai dòng")
    assert stream.getvalue().count("\n") == 1
    assert "Trục" in stream.getvalue()
    assert lines(stream) == [
        {
            "time": "2023-11-14T22:13:20.123Z",
            "level": "info",
            "event": "started",
            "port": 4601,
            "name": "Trục\nhai dòng",
        }
    ]


def test_a_bound_value_is_on_every_line(log: Log, stream: io.StringIO) -> None:
    log.bind(peer="00.12.W00").warning("gone")
    assert lines(stream)[0]["peer"] == "00.12.W00"


def test_events_below_the_level_are_not_written(stream: io.StringIO, clock: Clock) -> None:
    log = make_log(LineSink(stream), cast("Environment", clock), level="warning")
    log.debug("no")
    log.info("no")
    log.error("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_the_text_form_is_one_readable_line(stream: io.StringIO, clock: Clock) -> None:
    make_log(LineSink(stream), cast("Environment", clock), form="text").info("started", port=1, name="a\nb")
    assert stream.getvalue() == '2023-11-14T22:13:20.123Z info    started port=1 name="a\\nb"\n'


def test_ids_are_shown_and_contents_are_not(log: Log, stream: io.StringIO) -> None:
    items = [b"\x02", State.ARRIVED]
    log.info("x", digest=b"\x01" * 32, body=b"\x01" * 33, long="a" * 501, thing=object(), items=items)
    event = lines(stream)[0]
    assert event["digest"] == "01" * 32
    assert event["body"] == "33 bytes"
    assert event["long"] == "a" * 500 + "…"
    assert event["thing"] == "object"
    assert event["items"] == ["02", "arrived"]


def test_numbers_and_truth_values_stay_what_they_are(log: Log, stream: io.StringIO) -> None:
    log.info("x", yes=True, ratio=0.5, view=memoryview(b"\x03"))
    event = lines(stream)[0]
    assert (event["yes"], event["ratio"], event["view"]) == (True, 0.5, "03")


def test_a_change_of_state_is_one_line_with_the_id_that_clients_know(log: Log, stream: io.StringIO) -> None:
    consignment = bytes(range(32))
    states: dict[str, Any] = {"before": State.QUEUED, "after": State.ARRIVED}
    change_of_state(log, box="outbox", consignment=consignment, **states, sequence=0, host="00.12.W00")
    event = lines(stream)[0]
    assert event["event"] == "state"
    assert (event["box"], event["before"], event["after"]) == ("outbox", "queued", "arrived")
    assert event["consignment"] == to_text("csg", consignment)
    assert (event["sequence"], event["host"]) == (0, "00.12.W00")


def test_a_failure_is_told_with_places_and_codes_but_without_values(log: Log, stream: io.StringIO) -> None:
    def deep(secret_key: str) -> None:
        assert secret_key
        try:
            raise ValueError(f"bad {secret_key}")
        except ValueError as error:
            raise FormatError("format_field", field="parts[0]", reason=secret_key) from error

    try:
        deep("khoa-bi-mat")
    except FormatError as error:
        log_failure(log, "service_failed", error, service="sender")
    event = lines(stream)[0]
    assert "khoa-bi-mat" not in stream.getvalue()
    assert (event["service"], event["error"]) == ("sender", "FormatError format_field at parts[0]")
    assert "ValueError" in event["trace"]
    assert any(place.startswith("test_logs.py:") and place.endswith(" deep") for place in event["trace"])


def test_a_group_of_failures_names_its_members_each_once(log: Log, stream: io.StringIO) -> None:
    first = FormatError("format_newer")
    second = OSError(28, "No space left on device", "/secret/path")
    first.__cause__ = second
    second.__cause__ = first  # libraries have been seen doing this
    log_failure(log, "stopped", ExceptionGroup("x", [first, second, KeyError("secret")]))
    event = lines(stream)[0]
    assert event["error"] == "ExceptionGroup of FormatError format_newer, OSError No space left on device, KeyError"
    assert event["trace"].count("FormatError format_newer") == 1
    assert "secret" not in stream.getvalue()


def test_a_full_disk_or_a_closed_stream_loses_lines_and_counts_them(clock: Clock) -> None:
    class Full(io.StringIO):
        def write(self, _line: str) -> int:
            raise OSError(28, "No space left on device")

    sink = LineSink(Full())
    make_log(sink, cast("Environment", clock)).info("x")
    assert sink.lost == 1
    closed = io.StringIO()
    closed.close()
    sink = LineSink(closed)
    make_log(sink, cast("Environment", clock)).info("x")
    assert sink.lost == 1


def test_a_log_file_is_appended_to_and_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "log" / "node.log"
    for line in ("một", "hai"):
        with open_log_file(path) as stream:
            LineSink(stream).msg(line)
    assert path.read_text(encoding="utf-8") == "một\nhai\n"
    assert path.stat().st_mode & 0o777 == 0o640


# --- the libraries' own warnings ------------------------------------------------------------


@pytest.mark.usefixtures("adopted")
def test_warnings_of_libraries_arrive_as_events(stream: io.StringIO) -> None:
    logging.getLogger("libp2p.network.swarm").warning("dial of %s failed", "/ip4/1")
    logging.getLogger("libp2p").info("not this")
    event = lines(stream)
    assert [(line["level"], line["library"], line["text"]) for line in event] == [
        ("warning", "libp2p.network.swarm", "dial of /ip4/1 failed")
    ]


@pytest.mark.usefixtures("adopted")
def test_a_librarys_exception_is_named_without_its_values(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("khoa-bi-mat")
    except RuntimeError:
        logging.getLogger("hypercorn.error").exception("handler failed")
    assert lines(stream)[0]["text"] == "handler failed (RuntimeError)"
    assert "khoa-bi-mat" not in stream.getvalue()


@pytest.mark.usefixtures("adopted")
def test_a_librarys_wrong_format_string_is_shown_as_it_is(stream: io.StringIO) -> None:
    handlers = logging.getLogger("multiaddr").handlers
    ours = next(handler for handler in handlers if type(handler).__module__ == "node.logs")
    ours.handle(logging.makeLogRecord({"name": "multiaddr", "levelname": "WARNING", "msg": "%d of", "args": ("x",)}))
    assert lines(stream)[0]["text"] == "%d of"


@pytest.mark.usefixtures("adopted")
def test_a_flood_of_warnings_is_cut_and_counted(stream: io.StringIO, clock: Clock) -> None:
    logger = logging.getLogger("libp2p")
    for _ in range(LIBRARY_LINES_PER_MINUTE + 40):
        logger.warning("again")
    assert len(lines(stream)) == LIBRARY_LINES_PER_MINUTE
    clock.now += 60_000
    logger.warning("later")
    assert lines(stream)[-2]["event"] == "library_lines_left_out"
    assert lines(stream)[-2]["lines"] == 40
    assert lines(stream)[-1]["text"] == "later"


def test_release_puts_the_loggers_back(log: Log, clock: Clock) -> None:
    logger = logging.getLogger("libp2p")
    before = (logger.level, logger.propagate, list(logger.handlers))
    adopt_libraries(log, cast("Environment", clock))()
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


# --- what peers can make us say --------------------------------------------------------------------------


def alarm(log: Log, subject: int, centre: str = "00.02.W00", code: str = "signature_refused") -> None:
    log.warning("alarm", code=code, centre=centre, subject=subject.to_bytes(32, "big").hex())


def test_an_alarm_about_the_same_thing_is_one_line_a_day(log: Log, stream: io.StringIO, clock: Clock) -> None:
    for _ in range(5):
        alarm(log, 1)
    alarm(log, 2)
    alarm(log, 1, code="body_gone")
    alarm(log, 1, centre="00.03.W00")
    assert len(lines(stream)) == 4
    clock.now += ALARM_AGAIN_MS
    alarm(log, 1)
    alarm(log, 1)
    assert len(lines(stream)) == 5


def test_a_peer_has_so_many_lines_of_a_kind_a_minute(log: Log, stream: io.StringIO, clock: Clock) -> None:
    for n in range(PEER_LINES_PER_MINUTE + 40):
        alarm(log, n)
        log.info("peer_down", centre="00.02.W00", code="link_over", reason="x")
    log.info("peer_down", centre="00.03.W00", code="link_over", reason="x")
    assert len(lines(stream)) == 2 * PEER_LINES_PER_MINUTE + 1
    clock.now += 60_000
    log.info("peer_down", centre="00.02.W00", code="link_over", reason="x")
    assert lines(stream)[-1]["left_out"] == 40
    log.info("peer_down", centre="00.02.W00", code="link_over", reason="x")
    assert "left_out" not in lines(stream)[-1]


def test_changes_of_state_are_never_left_out(log: Log, stream: io.StringIO) -> None:
    for n in range(3 * PEER_LINES_PER_MINUTE):
        change_of_state(log, box="inbox", consignment=n.to_bytes(32, "big"), before="", after="arrived")
    assert len(lines(stream)) == 3 * PEER_LINES_PER_MINUTE


def test_what_the_gate_remembers_is_bounded(log: Log, stream: io.StringIO, clock: Clock) -> None:
    """The oldest alarm is forgotten first, and then said again."""
    for n in range(ALARMS_KNOWN_MAX + 1):
        clock.now += 1_000
        alarm(log, n)
    before = len(lines(stream))
    alarm(log, ALARMS_KNOWN_MAX)
    alarm(log, 0)
    assert len(lines(stream)) == before + 1
