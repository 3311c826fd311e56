"""The measuring tools measure: the table is checked, the load counts receipts, the bare loop is real work."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks.load import Drive, LoadFailed, Papers, quantile
from scripts.benchmarks.main import check, main
from scripts.benchmarks.probe import Counters, cpu_seconds, memory
from scripts.benchmarks.reference import documents, part
from scripts.benchmarks.rows import WANTED, Row, Table, mistakes, parse_table, read_table, write_table
from scripts.mutating import Change, Outcome, function_of, read_survivors

ROOT = Path(__file__).parents[3]
ROW = Row(
    figure="P1",
    quantity="documents/s",
    goal="≥ 400/s",
    value="412.5/s",
    reference="800.0/s",
    ratio="0.516",
    seconds="300",
    processes="a 101, b 102, load 103",
    cpu_seconds="a 250.1, b 200.0, load 60.2",
    commit="0123456789ab",
    machine="2 × CPU, 24 GB",
)


def full(row: Row = ROW) -> Table:
    return Table({figure: replace(row, figure=figure) for figure in WANTED}, {})


# --- the table ------------------------------------------------------------------------------


def test_a_table_of_complete_rows_has_no_mistakes() -> None:
    assert mistakes(full()) == []


@pytest.mark.parametrize("figure", WANTED)
def test_a_figure_without_a_row_is_named(figure: str) -> None:
    rows = {name: row for name, row in full().rows.items() if name != figure}
    assert mistakes(Table(rows, {})) == [f"{figure}: no row"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(ROW, goal=""), "no goal"),
        (replace(ROW, machine="–"), "no machine"),
        (replace(ROW, value="fast"), "no number in value"),
        (replace(ROW, reference="–"), "no reference"),
        (replace(ROW, ratio=""), "no ratio"),
        (replace(ROW, seconds="30 (short)"), "a run of 30 (short) seconds, 300 are needed"),
        (replace(ROW, seconds="299"), "a run of 299 seconds, 300 are needed"),
        (replace(ROW, processes=""), "no processes"),
        (replace(ROW, cpu_seconds="a 250.1"), "process ids and CPU-seconds do not name the same processes"),
        (replace(ROW, commit="0123456789ab+changes"), "the code is not that of a commit"),
        (replace(ROW, commit="unknown"), "the code is not that of a commit"),
    ],
)
def test_what_a_row_lacks_is_said(changed: Row, said: str) -> None:
    rows = {**full().rows, "P1": changed}
    assert f"P1: {said}" in mistakes(Table(rows, {}))


def test_rows_and_notes_are_read_back_as_they_were_written_and_replace_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "BENCHMARKS.md"
    write_table(path, replace(ROW, value="1.0/s"), ["older"])
    write_table(path, replace(ROW, figure="M1"), ["idle", "four nodes"])
    text = path.read_text(encoding="utf-8").replace("# Benchmarks\n", "# Benchmarks\n\nWords of people.\n")
    path.write_text(text + "More words.\n", encoding="utf-8")
    write_table(path, ROW, ["newer"])
    assert read_table(path) == Table(
        {"P1": ROW, "M1": replace(ROW, figure="M1")}, {"P1": ("newer",), "M1": ("idle", "four nodes")}
    )
    kept = path.read_text(encoding="utf-8")
    assert "Words of people." in kept
    assert kept.endswith("More words.\n")


@pytest.mark.parametrize("text", ["", "# Benchmarks\n", "<!-- written by scripts/bench -->\n| P1 | x |\n<!-- end -->"])
def test_a_file_without_our_table_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_table(text)
    path = tmp_path / "B.md"
    path.write_text(text)
    assert check(path) == 1


def test_the_check_passes_complete_tables_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "BENCHMARKS.md"
    for row in full().rows.values():
        write_table(path, row, [])
    assert main(["--check", str(path)]) == 0
    write_table(path, replace(ROW, seconds="60 (short)"), [])
    assert main(["--check", str(path)]) == 1
    assert "P1: a run of 60 (short) seconds" in capsys.readouterr().err


def test_the_table_of_this_repository_can_be_read() -> None:
    assert set(read_table(ROOT / "BENCHMARKS.md").rows) <= set(WANTED)


# --- probes ---------------------------------------------------------------------------------


def test_counters_are_summed_by_name_and_label_and_compared() -> None:
    before = Counters('truc_fsyncs_total 3.0\ntruc_thread_hops_total{worker="body"} 1.0\n')
    after = Counters(
        "# HELP truc_fsyncs_total x\n"
        'truc_fsyncs_total 10.0\ntruc_thread_hops_total{worker="body"} 4.0\n'
        'truc_thread_hops_total{worker="committer"} 5.0\n'
    )
    assert after.since(before, "truc_fsyncs_total") == 7
    assert after.since(before, "truc_thread_hops_total") == 8
    assert after.since(before, "truc_thread_hops_total", "body") == 3


def test_the_kernel_tells_memory_and_processor_time_of_a_process() -> None:
    own = memory(1 if not Path("/proc/self").exists() else int(Path("/proc/self").resolve().name))
    assert 0 < own.own <= own.mapped
    assert cpu_seconds(int(Path("/proc/self").resolve().name)) > 0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_quantile_is_a_value_of_the_list(share: float, expected: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert quantile([], share) == 0.0


# --- the reference --------------------------------------------------------------------------


def test_the_bare_loop_carries_documents_through_two_processes(tmp_path: Path) -> None:
    found = documents(4096, 4, 0.1, tmp_path, 0)
    assert found["rate"] > 0
    assert found["p50_ms"] <= found["p99_ms"]
    assert set(found["cpu"]) == {"sender", "recipient"}
    assert (tmp_path / "reference-b").stat().st_size >= 4 * 4096


def test_the_bare_loop_carries_a_part_through_three_stages(tmp_path: Path) -> None:
    found = part(300_000, tmp_path)
    assert all(found[stage] > 0 for stage in ("rate", "up", "transfer", "down"))


# --- the load -------------------------------------------------------------------------------


class PaperNode:
    """Answers as a node would: 201 for a submit, and its receipt in the events; both whole and in pieces."""

    def __init__(self, path: Path, *, loses: int = 0, refuses: bool = False) -> None:
        self._loses = loses
        self._refuses = refuses
        self._lock = threading.Lock()
        self._events: list[str] = []
        self.bodies: set[bytes] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(32)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            while request := lines.readline().decode():
                length = 0
                while (line := lines.readline()).strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                answer = self._answer(request, lines.read(length))
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])

    def _answer(self, request: str, body: bytes) -> bytes:
        method, path, _ = request.split()
        if method == "GET":
            return self._page(int(path.partition("after=")[2].partition("&")[0] or 0))
        if method == "PUT":
            return _reply("200 OK", {})
        if self._refuses:
            return _reply("507 Full", {"code": "disk_full"})
        with self._lock:
            self.bodies.add(body)
            name = f"doc_{len(self.bodies)}"
            if len(self.bodies) > self._loses:
                self._events.append(name)
        return _reply("201 Created", {"id": name})

    def _page(self, after: int) -> bytes:
        with self._lock:
            items = [{"what": "status", "code": 1, "document": name, "detail": ""} for name in self._events[after:]]
            return _reply("200 OK", {"items": items, "next": str(len(self._events)), "more": False})


def _reply(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.mark.parametrize("uploads", [False, True])
def test_each_document_is_unlike_all_others_and_counts_when_its_receipt_is_seen(place: Path, uploads: bool) -> None:
    node = PaperNode(place)
    try:
        tally = Drive(place, Papers("G22", "G12", 4096), clients=4, uploads=uploads).run(0.3, owed_max=8)
    finally:
        node.close()
    assert len(tally.submitted) == len(tally.received) == len(node.bodies) > 4
    assert (tally.owed, tally.doubled) == (0, 0)
    assert len(tally.latencies_ms()) == len(tally.submitted)
    assert tally.latencies_ms()[0] > 0


def test_while_too_many_receipts_are_owed_nothing_more_is_submitted(place: Path) -> None:
    node = PaperNode(place, loses=10**6)
    try:
        tally = Drive(place, Papers("G22", "G12", 4096), clients=4).run(0.3, owed_max=6, drain=False)
    finally:
        node.close()
    assert len(tally.submitted) == tally.owed == len(node.bodies) == 6


def test_a_refusal_ends_the_run(place: Path) -> None:
    node = PaperNode(place, refuses=True)
    try:
        with pytest.raises(LoadFailed, match="507 instead of 201"):
            Drive(place, Papers("G22", "G12", 4096), clients=1).run(0.3)
    finally:
        node.close()


# --- mutants --------------------------------------------------------------------------------


def test_a_mutant_is_named_by_its_function() -> None:
    assert function_of("protocol.sending.x_is_due__mutmut_3") == "protocol.sending.is_due"
    assert function_of("protocol.sending.x__seal__mutmut_12") == "protocol.sending._seal"
    assert function_of("protocol.receipt.xǁChainHeadǁextend__mutmut_1") == "protocol.receipt.ChainHead.extend"


def test_mutants_are_noticed_unless_they_survive_or_no_test_reaches_them() -> None:
    assert Outcome("sending", 10, ("a", "b"), ("c",)).noticed == 7


ACCEPTED = '[[survivor]]\nfunction = "f"\nbefore = "a"\nafter = "b"\nreason = "{}"\n'


def test_a_survivor_is_accepted_with_a_reason_and_once() -> None:
    assert read_survivors(ACCEPTED.format("same text")) == {Change("f", "a", "b"): "same text"}
    with pytest.raises(ValueError, match="no reason"):
        read_survivors(ACCEPTED.format(" "))
    with pytest.raises(ValueError, match="twice"):
        read_survivors(ACCEPTED.format("x") * 2)


def test_the_list_of_accepted_survivors_can_be_read() -> None:
    assert all(change.before != change.after for change in read_survivors(_survivors()))


def _survivors() -> str:
    return (ROOT / "tests" / "mutation_survivors.toml").read_text(encoding="utf-8")
