"""What the kernel and the nodes say about themselves: processor time, memory, counters, machine, commit.

Resident memory is RssAnon + RssShmem: LevelDB maps its tables, so that VmRSS grows with every scan.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

MIB: Final = 2**20
SAMPLE_S: Final = 0.2
PRODUCT: Final = ("node", "protocol", "storage", "scripts/bench", "scripts/benchmarks", "scripts/real", "configs")
"""What a figure depends on: with changes in these a commit does not name the code that ran."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SERIES: Final = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process: anonymous and shared memory (what we count), and all that is mapped."""

    own: int
    mapped: int


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def memory(pid: int) -> Memory:
    """The process's resident memory now."""
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", _status(pid), re.MULTILINE)}
    return Memory((kib["RssAnon"] + kib["RssShmem"]) * 1024, kib["VmRSS"] * 1024)


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


@dataclass(slots=True)
class MemoryWatch:
    """Samples processes from a thread of its own while the block runs; a process that ends is left out."""

    pids: Mapping[str, int]
    peaks: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for name, pid in list(self.pids.items()):
                try:
                    own = memory(pid).own
                except (OSError, KeyError):  # it ended, or is about to
                    continue
                self.peaks[name] = max(own, self.peaks.get(name, 0))


class Counters:
    """A node's `/metrics` at one moment."""

    def __init__(self, text: str) -> None:
        self._series: Final = [(name, labels or "", float(value)) for name, labels, value in _SERIES.findall(text)]

    def total(self, name: str, label: str = "") -> float:
        """The sum of all series of this name whose labels contain `label`."""
        return sum(value for found, labels, value in self._series if found == name and label in labels)

    def since(self, before: Counters, name: str, label: str = "") -> float:
        """How much it grew."""
        return self.total(name, label) - before.total(name, label)


def machine() -> str:
    """Processors, memory, interpreter and kernel in a few words."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    found = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    memory_gib = int(found[1]) / 2**20 if found else 0
    model = " ".join(cpu[1].replace("|", "/").split()) if cpu else platform.machine()
    software = f"CPython {platform.python_version()}, {platform.system()} {platform.release()}"
    return f"{os.cpu_count()} × {model}, {memory_gib:.0f} GB, {software}"


def commit() -> str:
    """The commit that runs; with `+changes` when the product's files are not those of the commit."""
    here = _git("rev-parse", "--short=12", "HEAD")
    return here + ("+changes" if _git("status", "--porcelain", "--", *PRODUCT) else "")


def _git(*words: str) -> str:
    root = Path(__file__).parents[2]
    ran = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else "unknown"
