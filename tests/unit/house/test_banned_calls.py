"""ruff bites: clocks, chance and threads by the back door, and habits the style forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAD = '"""A module."""\n\nfrom __future__ import annotations\n\n'


def findings(name: str, source: str) -> set[str]:
    """The rule codes that ruff reports for this source at this place."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", name, "-"]
    ran = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return {line.split()[1] for line in ran.stdout.splitlines() if line.startswith(name)}


@pytest.mark.parametrize(
    ("name", "source", "rule"),
    [
        ("node/pump.py", "import time\n\nNOW = time.time()\n", "TID251"),
        ("node/pump.py", "import random\n\nX = random.random()\n", "TID251"),
        ("storage/kv.py", "import secrets\n\nX = secrets.token_bytes(1)\n", "TID251"),
        ("storage/kv.py", "import os\n\nX = os.urandom(16)\n", "TID251"),
        ("node/pump.py", "import threading\n\nX = threading.Lock()\n", "TID251"),
        ("node/pump.py", "import asyncio\n\nX = asyncio.run\n", "TID251"),
        ("node/pump.py", "import uuid\n\nX = uuid.uuid4()\n", "TID251"),
        ("node/pump.py", "import datetime as dt\n\nX = dt.datetime.now(dt.UTC)\n", "TID251"),
        ("protocol/a.py", "import datetime as dt\n\nX = dt.date.today()\n", "TID251"),
        ("node/pump.py", "import trio\n\nX = trio.current_time()\n", "TID251"),
        ("node/pump.py", "import trio\n\nX = trio.to_thread.run_sync\n", "TID251"),
        ("node/pump.py", "from lxml import etree\n\nX = etree\n", "TID251"),
        ("node/pump.py", "from . import config\n\nX = config\n", "TID252"),
        ("node/pump.py", "print(1)\n", "T201"),
        ("node/pump.py", "try:\n    X = 1\nexcept Exception:\n    X = 2\n", "BLE001"),
        ("node/pump.py", "X = 1  # type: ignore\n", "PGH003"),
        ("protocol/a.py", "import pickle\n\nX = pickle.loads(b'')\n", "S301"),
        ("node/pump.py", "import subprocess\n\nX = subprocess.run('ls', shell=True, check=True)\n", "S602"),
    ],
)
def test_what_is_banned_is_reported(name: str, source: str, rule: str) -> None:
    assert rule in findings(name, HEAD + source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("node/environment.py", "import time\n\nNOW = time.time_ns()\n"),
        ("node/cli/main.py", "print(1)\n"),
        ("tests/faults/test_a.py", "import time\n\nNOW = time.time()\n"),
        ("node/pump.py", "import trio\n\nX = trio.Event\n"),
        ("protocol/a.py", 'X = "Trục liên thông – văn bản"\n'),
    ],
)
def test_what_has_its_place_there_is_not(name: str, source: str) -> None:
    assert findings(name, HEAD + source) == set()


def test_a_module_without_a_docstring_is_reported() -> None:
    assert "D100" in findings("node/pump.py", "X = 1\n")
