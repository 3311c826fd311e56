"""The README's shell blocks are run, word for word, in a copy of the repository and in their order."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.textid import from_text

ROOT = Path(__file__).parents[2]
NEEDED = ("configs", "node", "protocol", "scripts", "storage", "README.md", "pyproject.toml")
"""What the commands of the README use; the interpreter stands for `.venv`."""


@pytest.fixture
def clone() -> Iterator[Path]:
    """A copy under a short path (a Unix socket's path has 107 characters)."""
    with tempfile.TemporaryDirectory(prefix="truc-") as folder:
        copy = Path(folder) / "truc"
        copy.mkdir()
        for name in NEEDED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(source, copy)
        yield copy
        subprocess.run(["scripts/demo", "--stop"], cwd=copy, env=variables(), check=True)


def variables() -> dict[str, str]:
    """As bare an environment as a cron job has."""
    return {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin", "TRUC_PYTHON": sys.executable}


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_has_no_block_that_is_not_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(blocks())
    assert any("curl" in block for block in blocks())
    assert any("truc send" in block for block in blocks())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_shell_block_of_the_readme_does_what_it_says(clone: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(blocks())
    ran = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=variables(), capture_output=True, text=True, check=False, timeout=280
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert (clone / "from-g22" / "cong-van.txt").read_text() == "Kính gửi: Bộ Tài chính.\n"
    original = (clone / ".demo" / "sent" / "công-văn.pdf").read_bytes()
    assert (clone / "from-g22.pdf").read_bytes() == original
    assert ran.stdout.count(hashlib.sha256(original).hexdigest()) >= 2
    assert "Đã ghi trạng thái 03 đã tiếp nhận" in ran.stdout
    assert '"code":3' in ran.stdout
    assert "HỢP LỆ" in ran.stdout
    assert "\n304\n" in ran.stdout, "the list had not changed"
    assert '"subject":"agency","code":"H38.99.1"' in ran.stdout, "the change was followed at another node"
    assert "Đã đăng ký: danh bạ có bản ghi của nút này." in ran.stdout
    [sent] = re.findall(r'"id":"(doc_[a-z2-7]+)","repeated":false', ran.stdout)
    assert len(from_text("doc", sent)) == 16
    assert "demo: stopped g12, g22, g99, h38" in ran.stdout
