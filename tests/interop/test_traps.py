"""Every trap of `traps.toml` names a test that exists, or says why there is none."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAPS = tomllib.loads((ROOT / "tests/interop/traps.toml").read_text())


def functions(path: Path) -> set[str]:
    """Names of the functions at the top of a module."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_trap_has_a_test_that_exists_or_a_reason() -> None:
    for name, trap in TRAPS.items():
        assert trap["trap"].endswith("."), name
        assert ("test" in trap) != ("reason" in trap), name
        if "test" in trap:
            path, _, function = trap["test"].partition("::")
            assert (ROOT / path).is_file(), trap["test"]
            assert not function or function in functions(ROOT / path), trap["test"]
        else:
            assert len(trap["reason"]) > 20, name


def test_every_test_of_the_traps_is_named_in_the_list() -> None:
    named = {trap.get("test", "").partition("::")[2] for trap in TRAPS.values()}
    unnamed = {
        "test_an_address_of_another_machine_cannot_be_listened_on",
        "test_an_address_that_names_another_peer_is_not_even_dialled",
        "test_both_may_dial_at_once",
        "test_port_0_tells_the_port_that_was_bound",
        "test_three_hundred_streams_one_after_the_other_leave_nothing_behind",
    }
    tests = {name for name in functions(ROOT / "tests/interop/test_libp2p_traps.py") if name.startswith("test_")}
    assert tests - named == unnamed
