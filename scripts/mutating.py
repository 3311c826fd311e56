"""`scripts/mutation`: mutmut over the delivery rules, in a copy of the tree; its score, and the survivors.

A survivor is a change that no unit test notices. `tests/mutation_survivors.toml` lists those that
are accepted, by module, function and changed text (numbers of mutants move with every edit), each
with its reason. An accepted survivor still counts against the score: the list explains, it does not excuse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SURVIVORS: Final = ROOT / "tests" / "mutation_survivors.toml"
MODULES: Final = (
    "delivery",
    "receipt",
    "sending",
    "speaking",
    "settling",
    "judging",
    "receiving",
    "acting",
    "retention",
)
COPIED: Final = ("node", "protocol", "storage", "tests", "configs", "scripts", "pyproject.toml")
FLOOR: Final = 0.80
SECONDS_MAX: Final = 3_600

SURVIVED: Final = 0
UNTESTED: Final = frozenset({5, 33})
"""Exit codes that mutmut notes where no test reaches the function."""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """What a mutant changed: a function of a module, and the lines before and after."""

    function: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The mutants of one module: how many, and the names of those that live."""

    module: str
    count: int
    survived: tuple[str, ...]
    untested: tuple[str, ...]

    @property
    def noticed(self) -> int:
        """Mutants that a test noticed, by failing or by never ending."""
        return self.count - len(self.survived) - len(self.untested)


def main(words: Sequence[str] | None = None) -> int:
    """Mutate, test, count; 1 when the score is too low."""
    parser = argparse.ArgumentParser(prog="scripts/mutation", description="mutation score of the delivery rules")
    parser.add_argument("modules", nargs="*", metavar="module", help=", ".join(MODULES))
    parser.add_argument("--children", type=int, default=os.cpu_count(), help="test processes at once")
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.describe:
        return _describe()
    unknown = set(given.modules) - set(MODULES)
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="truc-mutation-") as folder:
        copy = Path(folder)
        modules = given.modules or list(MODULES)
        _copy(copy, modules)
        _mutate(copy, given.children)
        outcomes = [_outcome(copy, module) for module in modules]
        changes = _changes(copy, [name for each in outcomes for name in (*each.survived, *each.untested)])
    return _report(outcomes, changes, time.monotonic() - begun)


# --- in the copy ----------------------------------------------------------------------------


def _copy(copy: Path, modules: Iterable[str]) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    tests = [f"tests/unit/protocol/test_{module}.py" for module in modules]
    settings = {
        "source_paths": ["protocol", "storage", "node"],
        "only_mutate": [f"protocol/{module}.py" for module in modules],
        "also_copy": ["configs", "scripts"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [test for test in tests if (ROOT / test).exists()],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    with (copy / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n".join(["", "[tool.mutmut]", "use_git_change_detection = false", *lines, ""]))


def _mutate(copy: Path, children: int) -> None:
    """Run mutmut; its spinner goes to a file that is shown when it fails."""
    log = copy / "mutmut.log"
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(children)]
    with log.open("wb") as out:
        ran = subprocess.run(command, cwd=copy, stdout=out, stderr=out, timeout=SECONDS_MAX, check=False)
    if ran.returncode:
        words = log.read_text(errors="replace").replace("\r", "\n").splitlines()
        raise SystemExit("mutation: mutmut failed:\n" + "\n".join(words[-40:]))


def _outcome(copy: Path, module: str) -> Outcome:
    meta = json.loads((copy / "mutants" / "protocol" / f"{module}.py.meta").read_text())
    codes: dict[str, int | None] = meta["exit_code_by_key"]
    if None in codes.values():
        raise SystemExit(f"mutation: mutmut left mutants of {module} untried")
    survived = tuple(name for name, code in codes.items() if code == SURVIVED)
    untested = tuple(name for name, code in codes.items() if code in UNTESTED)
    return Outcome(module, len(codes), survived, untested)


def _changes(copy: Path, names: Sequence[str]) -> dict[str, Change]:
    """What each of these mutants changed. Asked in a process of its own: mutmut reads its settings when imported."""
    command = [sys.executable, "-m", "scripts.mutating", "--describe"]
    ran = subprocess.run(
        command, cwd=copy, input=json.dumps(list(names)), capture_output=True, text=True, timeout=600, check=True
    )
    return {name: Change(*parts) for name, parts in json.loads(ran.stdout.splitlines()[-1]).items()}


def _describe() -> int:
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

    found = {}
    for name in json.loads(sys.stdin.read()):
        lines = get_diff_for_mutant(name, path=find_mutant(name).path).splitlines()[2:]
        before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
        after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
        found[name] = (function_of(name), before, after)
    print(json.dumps(found))
    return 0


def function_of(mutant: str) -> str:
    """`protocol.sending.is_due` of `protocol.sending.x_is_due__mutmut_3`; with its class for a method."""
    module, _, mangled = mutant.rpartition("__mutmut_")[0].rpartition(".")
    name = mangled.removeprefix("x_")
    if mangled.startswith("xǁ"):
        name = ".".join(mangled.removeprefix("xǁ").split("ǁ"))
    return f"{module}.{name}"


# --- the report -----------------------------------------------------------------------------


def read_survivors(text: str) -> dict[Change, str]:
    """The accepted survivors with their reasons. Raises: ValueError (one without a reason, or twice)."""
    known: dict[Change, str] = {}
    for item in tomllib.loads(text).get("survivor", []):
        change = Change(item["function"], item["before"], item["after"])
        if not item.get("reason", "").strip():
            raise ValueError(f"no reason for {change}")
        if change in known:
            raise ValueError(f"twice: {change}")
        known[change] = item["reason"]
    return known


def _report(outcomes: Sequence[Outcome], changes: dict[str, Change], seconds: float) -> int:
    known = read_survivors(SURVIVORS.read_text(encoding="utf-8")) if SURVIVORS.exists() else {}
    for change in sorted(set(changes.values())):
        print(f"{'known' if change in known else 'NEW'}: {change.function}\n  - {change.before}\n  + {change.after}")
        if change in known:
            print(f"  {known[change]}")
    modules = {f"protocol.{outcome.module}." for outcome in outcomes}
    for change in sorted(set(known) - set(changes.values())):
        if any(change.function.startswith(module) for module in modules):
            print(f"no survivor any more, remove it from the list: {change.function}: {change.after}")
    return _score(outcomes, sum(change not in known for change in set(changes.values())), seconds)


def _score(outcomes: Sequence[Outcome], unknown: int, seconds: float) -> int:
    for each in outcomes:
        share = each.noticed / each.count if each.count else 1.0
        print(f"mutation: {each.module:10} {each.noticed:4} of {each.count:4} noticed ({share:.1%}),"
              f" {len(each.survived)} survived, {len(each.untested)} without a test")  # fmt: skip
    count, noticed = sum(each.count for each in outcomes), sum(each.noticed for each in outcomes)
    score = noticed / max(1, count)
    reasons = f"{unknown} survivors without a reason" if unknown else "each survivor has its reason"
    print(f"mutation: {score:.1%} of {count} (at least {FLOOR:.0%}); {reasons}; {seconds:.0f} s")
    return 0 if score >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
