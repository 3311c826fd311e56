"""The scripts are the developer interface: present, strict, short, and saying what they do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from protocol.catalogue import CATALOGUE
from tests.support.codes import compare, main

ROOT = Path(__file__).parents[3]
NEEDED = {"setup", "test", "check", "lock"}
SHELL = sorted(
    path
    for path in [ROOT / ".ci" / "run", *(ROOT / "scripts").iterdir()]
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash")
)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_a_script_is_executable_strict_short_and_explains_itself(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert path.stat().st_mode & 0o111
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    assert len(lines) <= 60
    subprocess.run(["bash", "-n", path], check=True)


def test_the_scripts_that_the_house_rests_on_are_there() -> None:
    assert {path.name for path in SHELL} >= NEEDED


def test_scripts_test_runs_every_suite_there_is() -> None:
    named = re.search(r"for suite in ([a-z ]+); do", (ROOT / "scripts" / "test").read_text())
    assert named is not None
    suites = {path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert suites <= {"unit", *named[1].split()}


def test_ci_runs_the_tests_and_the_demo() -> None:
    steps = (ROOT / ".ci" / "run").read_text()
    assert "scripts/test" in steps
    assert "scripts/demo" in steps


# --- the lock -------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    """Package → the lines that pin it."""
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / "configs" / name).read_text().lower())
    return {re.split(r"[=\[ ]", entry)[0]: entry for entry in entries if "==" in entry}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_is_exact_and_has_hashes(name: str) -> None:
    for entry in locked(name).values():
        assert re.match(r"[a-z0-9.-]+==\S+", entry)
        assert "--hash=sha256:" in entry
        assert "://" not in entry


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {re.split(r"[\[<>=]", item)[0] for item in (*project["dependencies"], *extras["build"])}
    assert asked <= set(locked("requirements.lock"))
    assert {re.split(r"[\[<>=]", item)[0] for item in extras["dev"]} <= set(locked("requirements-dev.lock"))
    assert locked("requirements.lock").keys() <= locked("requirements-dev.lock").keys()


def test_both_locks_pin_the_same_versions() -> None:
    runtime, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    for name, entry in runtime.items():
        assert entry.split()[0] == dev[name].split()[0]


def test_the_wheel_contains_exactly_the_three_packages() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built == {"packages": ["node", "protocol", "storage"]}


# --- skips and codes ------------------------------------------------------------------------


def test_a_skipped_test_fails_however_it_is_skipped(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.skip(reason='no')\ndef test_a(): pass\n"
        "@pytest.mark.skipif('True', reason='no')\ndef test_b(): pass\n"
        "def test_c(): pytest.skip('no')\n"
        "def test_d(): pass\n"
    )
    (tmp_path / "test_b.py").write_text("import pytest\npytest.importorskip('no_such_module_at_all')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    ran = subprocess.run([*command, "--continue-on-collection-errors"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert re.search(r"1 failed, 1 passed, 3 errors", ran.stdout), ran.stdout
    assert "skipped, which counts as a failure" in ran.stdout


def test_a_code_that_no_test_produced_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = sorted(CATALOGUE)
    for code in rest:
        (tmp_path / code).touch()
    assert main([str(tmp_path)]) == 1
    assert f"no test produced {first}" in capsys.readouterr().err
    (tmp_path / first).touch()
    assert main([str(tmp_path)]) == 0


def test_a_code_that_is_in_no_table_is_named() -> None:
    assert compare({"a", "b"}, {"b"}) == ["a test produced a, which is not in protocol/catalogue.py"]


def test_the_walk_wants_one_folder(tmp_path: Path) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "none")]) == 2
