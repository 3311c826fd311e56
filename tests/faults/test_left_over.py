"""What an earlier demo left running is ended, and nothing else: process ids are used again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.real.demo import MARK, clear
from scripts.real.network import Failed, born, stop_left_over


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Some process of ours that would run for ever."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as sleeper:
        yield sleeper
        sleeper.kill()


def note(folder: Path, pid: int, when: int) -> None:
    (folder / "g22").mkdir()
    (folder / "g22" / "pid").write_text(f"{pid} {when}\n")


def test_a_node_that_was_left_running_is_ended(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    note(tmp_path, process.pid, born(process.pid))
    assert stop_left_over(tmp_path) == ["g22"]
    assert process.wait(10) == -signal.SIGTERM
    assert stop_left_over(tmp_path) == []


def test_a_process_that_only_has_the_same_id_is_left_alone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    note(tmp_path, process.pid, born(process.pid) - 1)
    assert stop_left_over(tmp_path) == []
    assert process.poll() is None


def test_a_process_that_is_gone_was_born_at_no_time(process: subprocess.Popen[bytes]) -> None:
    assert born(process.pid) > 0
    process.kill()
    process.wait(10)
    assert born(process.pid) == 0


def test_a_folder_of_somebody_else_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(Failed, match="not a folder of this demo"):
        clear(tmp_path)
    assert (tmp_path / "thesis.odt").exists()


def test_a_folder_of_an_earlier_demo_is_made_fresh(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    (tmp_path / "old").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARK]
