"""Three real nodes, killed under load: what CI runs of `scripts/faults`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_when_sender_and_recipient_are_killed(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["scripts/faults", "kill", "--rounds", str(ROUNDS), "--folder", str(tmp_path / "network")],
        cwd=ROOT, env={**os.environ, "TRUC_PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    flights = [int(count) for count in re.findall(r"killed with (\d+) in flight", ran.stdout)]
    assert len(flights) == 2 * ROUNDS
    assert min(flights) >= 20
    assert ", 0 wrong," in ran.stdout
