"""The runs behind the figures: which nodes, which load, what is read off, and what it is compared with.

Each run makes its own network of real nodes in a fresh folder, and ends with it. The nodes are idle
while the reference runs. Definitions are those of the goals: P1 and P2 count receipts recorded at
the sender, P5 is from the beginning of a submit to the sight of its receipt.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.load import CLIENTS, Drive, LoadFailed, Papers, Tally, ask, last_cursor, quantile
from scripts.benchmarks.probe import MIB, Counters, MemoryWatch, cpu_seconds, memory
from scripts.real.network import Agency, Network, Place, RealNode, make_network

WARM_S: Final = 5
QUEUED_MAX: Final = 100_000
PAUSE_S: Final = 0.05
"""Between two documents of P5."""
PIECE: Final = MIB
DISK_LEFT: Final = 8 * 2**30

PLACES: Final = (
    Place(
        name="a",
        centre="00.22.W00",
        agencies=(Agency("G22", "Văn phòng Chính phủ"), Agency("G22.99", "Vụ Thử nghiệm (hư cấu)")),
    ),
    Place(name="b", centre="00.12.W00", agencies=(Agency("G12", "Bộ Tài chính"),)),
    Place(name="c", centre="00.38.W00", agencies=(Agency("H38", "UBND tỉnh Lào Cai"),)),
    Place(name="d", centre="00.01.W00", agencies=(Agency("G01", "Bộ thử nghiệm (hư cấu)"),)),
)
ISSUER: Final = "G22"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How long and how large."""

    seconds: float
    part_bytes: int
    folder: Path
    records: int = 125_000
    """Agencies of the made-up nation."""
    nodes: int = 2
    """1: issuer and recipient on one node, which needs no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run found, ready to be shown. `seconds` is the time that the figure covers."""

    value: str
    reference: str
    ratio: str
    seconds: float
    processes: dict[str, int]
    cpu_seconds: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """A running network, and who is who in it."""

    network: Network
    recipient: str
    folder: Path

    @property
    def a(self) -> RealNode:
        """The node of the issuer."""
        return self.network.nodes[0]

    @property
    def b(self) -> RealNode:
        """The node of the recipient."""
        return self.network.nodes[min(1, len(self.network.nodes) - 1)]

    def pids(self) -> dict[str, int]:
        """The daemons and this process, by name."""
        return {**{node.place.name: node.pid for node in self.network.nodes}, "load": os.getpid()}

    def counters(self) -> list[Counters]:
        """What every daemon counts now."""
        return [Counters(_get(node, "/metrics").decode()) for node in self.network.nodes]

    def papers(self, size: int) -> Papers:
        """Documents from the issuer to the recipient."""
        return Papers(ISSUER, self.recipient, size)


@contextmanager
def bed(wish: Wish, nodes: int) -> Iterator[Bed]:
    """Nodes that know and reach each other, in a fresh folder that is gone afterwards."""
    folder = wish.folder / f"nodes-{time.monotonic_ns()}"
    try:
        network = make_network(folder, PLACES[:nodes])
        try:
            network.start()
            yield Bed(network=network, recipient="G22.99" if nodes == 1 else "G12", folder=folder)
        finally:
            network.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _get(node: RealNode, path: str) -> bytes:
    return ask(node.socket, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def reference(folder: Path, what: str, **options: object) -> dict[str, Any]:
    """The bare loop in a process of its own."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "scripts.benchmarks.reference", what, "--folder", str(folder), *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@dataclass(slots=True)
class Effort:
    """Processor time of each process in a block."""

    pids: Mapping[str, int]
    before: dict[str, float]

    @classmethod
    def of(cls, pids: Mapping[str, int]) -> Effort:
        """Begin to count."""
        return cls(pids, {name: cpu_seconds(pid) for name, pid in pids.items()})

    def end(self) -> dict[str, float]:
        """CPU-seconds since then."""
        return {name: cpu_seconds(pid) - self.before[name] for name, pid in self.pids.items()}


# --- P1, P2: documents per second -----------------------------------------------------------


def rate_run(wish: Wish, size: int, *, details: bool) -> Measured:
    """Receipts per second by sixteen clients, over all the seconds and in the first and last minute."""
    with bed(wish, wish.nodes) as here:
        papers = here.papers(size)
        Drive(here.a.socket, papers).run(WARM_S)
        before, effort = here.counters(), Effort.of(here.pids())
        tally = Drive(here.a.socket, papers).run(wish.seconds)
        used, after = effort.end(), here.counters()
        rate = tally.rate(0, wish.seconds)
        count = len(tally.received)
        batch = max(1, round(count / max(1.0, after[0].since(before[0], "truc_commits_total"))))
        bare = reference(here.folder, "documents", size=size, batch=batch, seconds=max(5, wish.seconds / 10))
        notes = [*_steadiness(tally, wish.seconds), *_per_document(before, after, count, used), _bare(bare, batch)]
        if details:
            notes.append(_beside(here, papers, wish))
        return Measured(
            value=f"{rate:.1f}/s",
            reference=f"{bare['rate']:.1f}/s",
            ratio=f"{rate / bare['rate']:.3f}",
            seconds=wish.seconds,
            processes=here.pids(),
            cpu_seconds=used,
            notes=tuple(notes),
        )


def _steadiness(tally: Tally, seconds: float) -> list[str]:
    span = min(60.0, seconds / 3)
    first, last = tally.rate(0, span), tally.rate(seconds - span, seconds)
    late = tally.latencies_ms()
    share = last / first if first else 0
    return [
        f"first {span:.0f} s {first:.1f}/s, last {span:.0f} s {last:.1f}/s ({share:.1%})",
        (f"{len(tally.received)} receipts for {len(tally.submitted)} documents, {tally.doubled} doubled,"
        f" {tally.owed} missing; submit to receipt under this load: p50 {quantile(late, 0.5):.0f} ms,"
        f" p99 {quantile(late, 0.99):.0f} ms"),
    ]


def _per_document(
    before: Sequence[Counters], after: Sequence[Counters], count: int, used: Mapping[str, float]
) -> list[str]:
    """What both daemons together spent on one document."""

    def each(name: str, label: str = "") -> float:
        return sum(now.since(then, name, label) for then, now in zip(before, after, strict=True)) / max(1, count)

    names = [name for name in used if name != "load"]
    steps = each("truc_commit_steps_sum") / max(1e-9, each("truc_commit_steps_count"))
    return [
        (f"per document, all nodes: fsyncs {each('truc_fsyncs_total'):.3f} (ready: 0.3),"
        f" streams {each('truc_streams_opened_total'):.5f} (0.001),"
        f" thread hops {each('truc_thread_hops_total'):.3f} (0.5),"
        f" signatures made {each('truc_signatures_total', 'sign'):.3f} (0.3),"
        f" verified {each('truc_signatures_total', 'verify'):.3f};"
        f" commits {each('truc_commits_total'):.3f} of {steps:.1f} steps"),
        "commits per document: " + _each_node(names, before, after, "truc_commits_total", count)
        + "; thread hops: " + _each_node(names, before, after, "truc_thread_hops_total", count)
        + "; signatures made: " + _each_node(names, before, after, "truc_signatures_total", count),
        "CPU per document: " + ", ".join(f"{name} {1e3 * cpu / max(1, count):.2f} ms" for name, cpu in used.items()),
    ]


def _each_node(
    names: Sequence[str], before: Sequence[Counters], after: Sequence[Counters], series: str, count: int
) -> str:
    """One number per daemon."""
    grown = [now.since(then, series) / max(1, count) for then, now in zip(before, after, strict=True)]
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(names, grown, strict=True))


def _bare(bare: Mapping[str, Any], batch: int) -> str:
    used = ", ".join(f"{name} {spent:.1f} s" for name, spent in bare["cpu"].items())
    return f"the reference signs {batch} documents at once, as the sender's batches did in this run; its CPU: {used}"


def _beside(here: Bed, papers: Papers, wish: Wish) -> str:
    seconds = max(10.0, wish.seconds / 5)
    tally = Drive(here.a.socket, papers, uploads=True).run(seconds)
    return f"two-step upload, by the same {CLIENTS} clients: {tally.rate(0, seconds):.1f}/s over {seconds:.0f} s"


# --- P3: one large part ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Journey:
    """Seconds of one part's way."""

    up: float
    transfer: float
    down: float

    @property
    def whole(self) -> float:
        """From the first byte of the upload to the last byte of the download."""
        return self.up + self.transfer + self.down


def part_run(wish: Wish) -> Measured:
    """One large part after the other, from API to API; the median journey."""
    size = wish.part_bytes
    with bed(wish, wish.nodes) as here:
        idle = {node.place.name: memory(node.pid).own for node in here.network.nodes}
        effort, begun, journeys = Effort.of(here.pids()), time.monotonic(), list[Journey]()
        with MemoryWatch({name: pid for name, pid in here.pids().items() if name != "load"}) as watch:
            while not journeys or (time.monotonic() - begun < wish.seconds and _has_room(here.folder, size)):
                journeys.append(_journey(here, size, len(journeys)))
        used, spent = effort.end(), time.monotonic() - begun
        bare = reference(here.folder, "part", bytes=size)
        middle = sorted(journeys, key=lambda journey: journey.whole)[len(journeys) // 2]
        rate = size / middle.whole
        return Measured(
            value=f"{rate / 1e6:.1f} MB/s",
            reference=f"{bare['rate'] / 1e6:.1f} MB/s",
            ratio=f"{rate / bare['rate']:.3f}",
            seconds=spent,
            processes=here.pids(),
            cpu_seconds=used,
            notes=(
                (f"{len(journeys)} parts of {size / 1e9:g} GB in sequence; stages of the median, in sequence too:"
                f" up {size / middle.up / 1e6:.1f}, transfer {size / middle.transfer / 1e6:.1f},"
                f" down {size / middle.down / 1e6:.1f} MB/s; sha256 compared"),
                (f"the reference's stages: up {bare['up'] / 1e6:.1f}, transfer {bare['transfer'] / 1e6:.1f},"
                f" down {bare['down'] / 1e6:.1f} MB/s"),
                "highest rise of RssAnon + RssShmem over idle: "
                + ", ".join(f"{name} {(watch.peaks.get(name, 0) - idle[name]) / MIB:.1f} MiB" for name in idle),
            ),
        )


def _has_room(folder: Path, size: int) -> bool:
    return shutil.disk_usage(folder).free > 2 * size + DISK_LEFT


def _journey(here: Bed, size: int, number: int) -> Journey:
    piece = os.urandom(PIECE)
    cursor, upload_id = last_cursor(here.a.socket), f"part-{number}"
    begun = time.monotonic()
    digest = _upload(here.a.socket, upload_id, piece, size)
    uploaded = time.monotonic()
    document = json.loads(ask(here.a.socket, here.papers(PIECE).of_upload(upload_id)))["id"]
    consignment = _receipt(here.a.socket, cursor, document)
    arrived = time.monotonic()
    if _download(here.b.socket, f"/v1/inbox/{consignment}/parts/0") != digest:
        raise LoadFailed("the part that arrived is not the one that was sent")
    return Journey(uploaded - begun, arrived - uploaded, time.monotonic() - arrived)


def _upload(path: Path, upload_id: str, piece: bytes, size: int) -> bytes:
    """Bring a part; its SHA-256, computed on the way."""
    digest = hashlib.sha256()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
        out.connect(str(path))
        head = f"PUT /v1/uploads/{upload_id} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        out.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        for at in range(0, size, len(piece)):
            out.sendall(piece[: size - at])
            digest.update(piece[: size - at])
        answer = out.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise LoadFailed(f"the upload was not taken: {answer[:300]!r}")
    return digest.digest()


def _receipt(path: Path, cursor: str, document: str) -> str:
    """The consignment of a document, once its receipt is recorded."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        request = f"GET /v1/events?after={cursor}&wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        page = json.loads(ask(path, request.encode()))
        cursor = page["next"]
        for event in page["items"]:
            if event["document"] == document and event["what"] == "status" and event["code"] == 1:
                return str(event["consignment"])
    raise LoadFailed(f"no receipt for {document}")


def _download(path: Path, resource: str) -> bytes:
    """Fetch a part; its SHA-256."""
    digest, buffer = hashlib.sha256(), bytearray(PIECE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as source:
        source.connect(str(path))
        source.sendall(f"GET {resource} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        held = b""
        while b"\r\n\r\n" not in held:
            piece = source.recv(PIECE)
            if not piece:
                raise LoadFailed("the node closed the connection before its answer")
            held += piece
        head, _, rest = held.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        left = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), -1) - len(rest)
        if b" 200" not in lines[0] or left < 0:
            raise LoadFailed(f"the part was not given: {held[:300]!r}")
        digest.update(rest)
        while left:
            got = source.recv_into(buffer)
            if not got:
                raise LoadFailed(f"{left} bytes of the part are missing")
            digest.update(memoryview(buffer)[:got])
            left -= got
    return digest.digest()


# --- P5: latency ----------------------------------------------------------------------------


def latency_run(wish: Wish, size: int) -> Measured:
    """One client, one document at a time, on nodes that have nothing else to do."""
    with bed(wish, wish.nodes) as here:
        papers = here.papers(size)
        Drive(here.a.socket, papers, clients=1, events_pause_s=0).run(WARM_S, owed_max=1, pause_s=PAUSE_S)
        effort = Effort.of(here.pids())
        tally = Drive(here.a.socket, papers, clients=1, events_pause_s=0).run(wish.seconds, owed_max=1, pause_s=PAUSE_S)
        used = effort.end()
        late = tally.latencies_ms()
        bare = reference(
            here.folder, "documents", size=size, batch=1, seconds=max(5, wish.seconds / 10), pause=PAUSE_S
        )
        p50, p99 = quantile(late, 0.5), quantile(late, 0.99)
        return Measured(
            value=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            reference=f"p50 {bare['p50_ms']:.1f} ms, p99 {bare['p99_ms']:.1f} ms",
            ratio=f"{p50 / bare['p50_ms']:.2f}, {p99 / bare['p99_ms']:.2f}",
            seconds=wish.seconds,
            processes=here.pids(),
            cpu_seconds=used,
            notes=(
                (f"{len(late)} documents, each {PAUSE_S * 1000:.0f} ms after the last receipt;"
                f" worst {max(late, default=0):.1f} ms"),
            ),
        )


# --- M2: memory -----------------------------------------------------------------------------


def peak_memory_run(wish: Wish) -> Measured:
    """A long queue to a node that is down, a large part meanwhile, and the queue's way when it is back."""
    with bed(wish, 3) as here:
        effort, begun, down = Effort.of(here.pids()), time.monotonic(), here.network.nodes[2]
        pids = {name: pid for name, pid in here.pids().items() if name != "load"}
        with MemoryWatch(pids) as watch:
            down.stop()
            to_nobody = Papers(ISSUER, "H38", 4096)
            tally = Drive(here.a.socket, to_nobody).run(
                0.6 * wish.seconds, owed_max=2 * QUEUED_MAX, count_max=QUEUED_MAX, drain=False
            )
            journey = _journey(here, wish.part_bytes, 0)
            before = _settled(here)
            down.start()
            pids["c"] = down.pid
            down.wait_ready()
            time.sleep(max(10.0, begun + wish.seconds - time.monotonic()))
            settled = _settled(here) - before
        spent = time.monotonic() - begun
        effort = replace_pid(effort, "c", down.pid)
        notes = (
            (f"{len(tally.submitted)} documents queued to a node that was down (goal: {QUEUED_MAX}),"
            f" a part of {wish.part_bytes / 1e9:g} GB sent meanwhile in {journey.whole:.0f} s,"
            f" {settled} of the queue settled before the end"),
        )
        return _memory_found(here, watch, effort, spent, notes)


def replace_pid(effort: Effort, name: str, pid: int) -> Effort:
    """Count a process that was started in the middle from its own beginning."""
    return replace(effort, pids={**effort.pids, name: pid}, before={**effort.before, name: 0.0})


def _settled(here: Bed) -> int:
    """Consignments that the issuer's node has settled so far."""
    return int(Counters(_get(here.a, "/metrics").decode()).total("truc_consignments_settled_total"))


def _memory_found(here: Bed, watch: MemoryWatch, effort: Effort, seconds: float, notes: tuple[str, ...]) -> Measured:
    bare = reference(here.folder, "memory")
    name = max(watch.peaks, key=lambda each: watch.peaks[each])
    peaks = ", ".join(f"{each} {value / MIB:.1f} MiB" for each, value in sorted(watch.peaks.items()))
    mapped = ", ".join(f"{node.place.name} {memory(node.pid).mapped / MIB:.1f} MiB" for node in here.network.nodes)
    return Measured(
        value=f"{watch.peaks[name] / MIB:.1f} MiB",
        reference=f"{bare['own'] / MIB:.1f} MiB",
        ratio=f"{watch.peaks[name] / bare['own']:.2f}",
        seconds=seconds,
        processes=here.pids(),
        cpu_seconds=effort.end(),
        notes=(
            f"highest RssAnon + RssShmem: {peaks}; VmRSS at the end, for comparison: {mapped}",
            *notes,
            "the reference is an interpreter that has only imported the libraries",
        ),
    )


# --- the list -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to reach and the run that finds it."""

    quantity: str
    goal: str
    run: Callable[[Wish], Measured]


FIGURES: Final[dict[str, Figure]] = {
    "P1": Figure(
        "documents/s, one pair of nodes, 64 KiB, one-step submit by 16 clients over one Unix socket → receipt at A",
        "≥ 400/s, last minute ≥ 95 % of the first",
        lambda wish: rate_run(wish, 65_536, details=True),
    ),
    "P2": Figure("the same, 4 KiB", "≥ 600/s", lambda wish: rate_run(wish, 4_096, details=False)),
    "P3": Figure("one large part, API to API", "≥ 150 MB/s", part_run),
    "P5": Figure(
        "latency of one 64 KiB document, idle, submit → receipt seen",
        "p50 ≤ 15 ms, p99 ≤ 50 ms",
        lambda wish: latency_run(wish, 65_536),
    ),
    "M2": Figure("peak resident memory, 100,000 queued and a large part", "≤ 256 MB", peak_memory_run),
}
