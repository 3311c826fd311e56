"""The repository stands alone, and its files keep to the style that a machine can check."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("node", "protocol", "storage")
NOT_OURS = {"__pycache__", "build", "dist", "mutants", "demo-data"}
LINES_MAX = 500
"""STYLE: 140–300 lines, seldom 400."""
TABLES = {"protocol/catalogue.py"}

# Spelled in pieces, or this file would be found by its own search.
REGISTRIES = ["py" + "pi.", "python" + "hosted.", "npm" + "js.", "docker." + "io", "ghcr." + "io", "crates." + "io"]
OPTIONS = ["index" + "-url", "find" + "-links", "trusted" + "-host"]
MACHINE = re.compile(r"(?<![\w.}>])/(work|root|tmp/w)/" + r"|" + r"/home/[a-z]")
ORGANISATION = re.compile(r"\bissue \d|\bblue" + r"print\b", re.IGNORECASE)


def files() -> Iterator[Path]:
    """Everything a clone would contain, as far as a name can tell."""
    for folder, names, found in os.walk(ROOT):
        here = Path(folder)
        top = here == ROOT
        names[:] = [name for name in names if not _is_made(name) or (top and name == ".ci")]
        yield from (here / name for name in found if not _is_made(name) or (top and name == ".gitignore"))


def _is_made(name: str) -> bool:
    return name.startswith(".") or name in NOT_OURS or name.endswith("-info")


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def test_no_file_names_a_package_registry_or_where_to_find_one() -> None:
    lock = ROOT / "scripts" / "lock"
    for path in files():
        content = text_of(path).lower()
        named = [word for word in (*REGISTRIES, *OPTIONS) if word in content]
        if path == lock:  # it says `--no-emit-…`, which keeps them out
            named = [word for word in named if f"--no-emit-{word}" not in content]
        assert named == [], path


def test_no_file_names_a_path_of_somebodys_machine_or_how_the_work_was_organised() -> None:
    for path in files():
        content = text_of(path)
        assert not MACHINE.search(content), (path, MACHINE.search(content))
        if path != Path(__file__):
            assert not ORGANISATION.search(content), (path, ORGANISATION.search(content))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cd /wo" + "rk/main", True),
        ("x=/ro" + "ot/a", True),
        ("truc/ro" + "ot/1", False),
        ("the net" + "work/transport", False),
        ("/ho" + "me/an/x", True),
    ],
)
def test_the_search_for_machine_paths_knows_a_path_from_a_format_name(line: str, found: bool) -> None:
    assert bool(MACHINE.search(line)) is found


@pytest.mark.parametrize("name", modules())
def test_a_module_says_what_it_is_and_stays_readable(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert (ast.get_docstring(tree) or "").strip(), f"{name} has no docstring"
    if tree.body[1:]:
        assert "\nfrom __future__ import annotations\n" in source, f"{name} lacks the future import"
    assert name in TABLES or source.count("\n") <= LINES_MAX, f"{name} has {source.count(chr(10))} lines"


@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith("__init__.py")])
def test_every_public_class_and_function_says_what_it_is(name: str) -> None:
    """Methods may inherit their words from the seam they implement; functions and classes have their own."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [item for item in tree.body if isinstance(item, kinds) and not item.name.startswith("_")]
    silent = [item.name for item in public if not ast.get_docstring(item) and not _is_explained_elsewhere(item)]
    assert silent == [], f"{name}: no docstring on {silent}"


def _is_explained_elsewhere(item: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """A click command or a route carries its words in the decorator; an overload in the function itself."""
    if isinstance(item, ast.ClassDef):
        return False
    return any(isinstance(mark, ast.Call) or ast.unparse(mark) == "overload" for mark in item.decorator_list)


def test_the_test_folders_do_not_shadow_the_product() -> None:
    for folder in ("tests/unit/node", "tests/unit/protocol", "tests/unit/storage", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_the_names_that_a_dependency_claims_are_no_packages_here() -> None:
    for name in ("examples", "docs", "interop"):
        assert not list(ROOT.glob(f"{name}/*.py"))
