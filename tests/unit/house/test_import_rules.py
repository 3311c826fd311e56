"""The import rules bite: each is fed what it forbids, and what it allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

FORBIDDEN = {
    "storage/a.py": "import node.config",
    "protocol/a.py": "import storage.kv",
    "protocol/b.py": "import os",
    "protocol/c.py": "from pathlib import Path",
    "protocol/d.py": "import logging",
    "protocol/e.py": "import socket",
    "storage/b.py": "import trio",
    "storage/c.py": "import tomllib",
    "node/a.py": "import time",
    "node/b.py": "from random import random",
    "node/c.py": "from threading import Lock",
    "storage/d.py": "import secrets",
    "node/d.py": "import libp2p",
    "node/e.py": "from multiaddr import Multiaddr",
    "storage/e.py": "import plyvel",
    "node/f.py": "import plyvel",
    "node/g.py": "from cryptography.hazmat.primitives import hashes",
    "storage/f.py": "import cryptography",
    "protocol/f.py": "import msgpack",
    "storage/g.py": "import msgspec",
    "node/h.py": "from lxml import etree",
    "protocol/g.py": "import trio",
    "node/i.py": "import asyncio",
    "protocol/h.py": "def f() -> None:\n    import time",
}

ALLOWED = {
    "node/config.py": "import storage.kv\nimport protocol.limits\nimport tomllib",
    "node/environment.py": "import time, random, secrets, threading",
    "node/libp2p/__init__.py": "import libp2p",
    "node/libp2p/host.py": "import libp2p.host\nfrom multiaddr import Multiaddr",
    "storage/kv.py": "import protocol.limits\nimport os, fcntl, pathlib, hashlib",
    "storage/leveldb.py": "import plyvel",
    "storage/keystore.py": "from cryptography.hazmat.primitives import hashes",
    "protocol/encoding.py": "import msgpack, msgspec",
    "protocol/signing.py": "from cryptography.hazmat.primitives import hashes",
    "protocol/sealing.py": "import cryptography",
    "protocol/limits.py": "import hashlib, zlib, dataclasses",
    "protocol/evidence.py": "import sys, pathlib",
}


def lint_imports(folder: Path, files: dict[str, str]) -> str:
    """Lay out a small product with these modules and run the project's own contracts over it."""
    for package in ("node", "storage", "protocol"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    for name, source in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source + "\n")
    shutil.copy(ROOT / "pyproject.toml", folder)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    # The snippets' folder comes first, or the product itself would be examined.
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_what_the_rules_allow_passes(tmp_path: Path) -> None:
    report = lint_imports(tmp_path, ALLOWED)
    assert "0 broken" in report, report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    return lint_imports(tmp_path_factory.mktemp("bad"), ALLOWED | FORBIDDEN)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_rule_forbids_is_named(name: str, report: str) -> None:
    module = name.removesuffix(".py").replace("/", ".")
    assert f"{module} -> " in report, f"{name}: {FORBIDDEN[name]!r} went through\n{report}"


def test_no_contract_is_left_unbroken_by_the_forbidden_ones(report: str) -> None:
    assert " KEPT" not in report, report
