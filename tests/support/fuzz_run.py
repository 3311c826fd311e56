"""`scripts/fuzz`: run the targets for a while with inputs that coverage leads to; findings as hex.

The same seed gives the same inputs in the same order; how far it comes depends on the seconds. An input that
reaches a line of `protocol/` that none of its target's inputs reached before joins the corpus of this run.
Tracing costs ten times the work, so only every sixteenth input is traced, and each whose outcome is new.
A finding does not end the run; it is made smaller, written down, and the run exits with 1.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any, Final

import protocol
from tests.support.fuzz_mutator import mutated, reductions
from tests.support.fuzz_targets import Target, outcome, targets

TRACED_EVERY: Final = 16
CORPUS_MAX: Final = 2_000
"""Inputs of one target; above, a new one replaces an old one."""
HANGING_S: Final = 20
"""An input that takes so long is a finding."""
SMALLER_TRIES: Final = 400
SHOWN_HEX: Final = 400
FOLDER: Final = Path("build/fuzz")

_PROTOCOL: Final = str(Path(protocol.__path__[0]))


class Hanging(Exception):
    """An input took too long."""


@dataclass(slots=True)
class Finding:
    """An input after which something came out that may not."""

    target: str
    octets: bytes
    error: BaseException

    @property
    def place(self) -> tuple[str, str]:
        """What came, and from where: the same fault is told once."""
        last = traceback.extract_tb(self.error.__traceback__)[-1]
        return type(self.error).__name__, f"{Path(last.filename).name}:{last.lineno}"


@dataclass(slots=True)
class Tally:
    """How one target went."""

    inputs: int = 0
    taken: int = 0
    outcomes: set[str] = field(default_factory=set)
    lines: set[tuple[CodeType, int]] = field(default_factory=set)
    corpus: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    """Of the CPU."""
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)


class Tracer:
    """Notes the lines of `protocol/` that are run while it is on."""

    def __init__(self) -> None:
        self.lines: set[tuple[CodeType, int]] = set()
        self._ours: dict[CodeType, bool] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Trace what happens inside."""
        self.lines.clear()
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, _event: str, _value: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        if code not in self._ours:
            self._ours[code] = code.co_filename.startswith(_PROTOCOL)
        return self._line if self._ours[code] else None

    def _line(self, frame: FrameType, event: str, _value: Any) -> Callable[..., Any]:
        if event == "line":
            self.lines.add((frame.f_code, frame.f_lineno))
        return self._line


class Run:
    """One target fuzzed for a while."""

    def __init__(self, target: Target, seed: int, *, hanging_s: float = 0) -> None:
        """`hanging_s`: ring the alarm (`alarms`) when one input takes so long; 0: wait for ever."""
        self.target: Final = target
        self._hanging_s: Final = hanging_s
        self._tracer: Final = Tracer()
        self.chance: Final = Random(f"{seed}/{target.name}")
        self.tally: Final = Tally(corpus=list(target.corpus()))

    def go(self, until: Callable[[Tally], bool]) -> Tally:
        """First the corpus as it is, then mutations, until told to stop."""
        started = time.process_time()
        for octets in list(self.tally.corpus):
            self._try(octets, is_new=False, traced=True)
        while not until(self.tally):
            octets = self.next_input()
            self._try(octets, is_new=True, traced=self.tally.inputs % TRACED_EVERY == 0)
        self.tally.seconds = time.process_time() - started
        return self.tally

    def next_input(self) -> bytes:
        """A mutation of something that is known."""
        octets = mutated(self.chance.choice(self.tally.corpus), self.tally.corpus, self.chance)
        mend = self.target.mend
        return mend(octets) if mend is not None and self.chance.random() < 0.5 else octets

    def _try(self, octets: bytes, *, is_new: bool, traced: bool) -> None:
        self.tally.inputs += 1
        if self._hanging_s:
            signal.setitimer(signal.ITIMER_VIRTUAL, self._hanging_s)
        try:
            with self._traced(octets, is_new) if traced else _nothing():
                came = outcome(self.target, octets)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever comes is what we look for
            self._found(Finding(self.target.name, octets, error))
            return
        self.tally.taken += not came
        if came not in self.tally.outcomes:
            self.tally.outcomes.add(came)
            if not traced:
                with self._traced(octets, is_new):
                    outcome(self.target, octets)

    @contextmanager
    def _traced(self, octets: bytes, is_new: bool) -> Iterator[None]:
        with self._tracer.on():
            yield
        if not self._tracer.lines <= self.tally.lines:
            self.tally.lines |= self._tracer.lines
            if is_new:
                self._keep(octets)

    def _keep(self, octets: bytes) -> None:
        if len(self.tally.corpus) < CORPUS_MAX:
            self.tally.corpus.append(octets)
        else:
            self.tally.corpus[self.chance.randrange(CORPUS_MAX)] = octets

    def _found(self, finding: Finding) -> None:
        if self._hanging_s:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if finding.place not in self.tally.findings:
            hangs = isinstance(finding.error, Hanging)
            self.tally.findings[finding.place] = finding if hangs else smaller(self.target, finding)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def smaller(target: Target, finding: Finding) -> Finding:
    """The same finding with fewer octets, as far as a few hundred tries lead."""
    tries = 0
    while tries < SMALLER_TRIES:
        for octets in reductions(finding.octets):
            tries += 1
            shorter = attempt(target, octets)
            if shorter is not None and shorter.place == finding.place:
                finding = shorter
                break
            if tries >= SMALLER_TRIES:
                break
        else:
            break
    return finding


def attempt(target: Target, octets: bytes) -> Finding | None:
    """Run one input; what may not come of it, if anything did."""
    try:
        outcome(target, octets)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # as above
        return Finding(target.name, octets, error)
    return None


# --- the command ----------------------------------------------------------------------------


def main(words: Sequence[str] | None = None, known: dict[str, Target] | None = None) -> int:
    """0 if nothing was found, 1 if something was, 2 if there is no such target or input."""
    asked = _parser().parse_args(words)
    known = targets() if known is None else known
    chosen = [target for name, target in known.items() if not asked.target or name in asked.target]
    if not chosen or len(chosen) < len(set(asked.target)):
        print("fuzz: no such target; there are:", *known, sep="\n  ", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # a library's opinion of an input is no finding
    if asked.replay:
        return _replay(chosen, asked.replay)
    return _run(chosen, asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--target", action="append", default=[], help="only this one (repeatable)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for all targets together")
    parser.add_argument("--inputs", type=int, default=0, help="of each target; then the seconds do not count")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", help="one input: hex, or a file with hex")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where findings are written")
    return parser


def _replay(chosen: Sequence[Target], told: str) -> int:
    is_file = len(told) < 200 and Path(told).is_file()
    try:
        octets = bytes.fromhex(Path(told).read_text() if is_file else told)
    except ValueError:
        print(f"fuzz: neither hex nor a file with hex: {told[:80]}", file=sys.stderr)
        return 2
    found = 0
    for target in chosen:
        finding = attempt(target, octets)
        if finding is None:
            print(f"{target.name}: {outcome(target, octets) or 'taken'}")
        else:
            found += 1
            print(f"{target.name}: FINDING", *traceback.format_exception(finding.error), sep="\n")
    return min(found, 1)


def _run(chosen: Sequence[Target], asked: argparse.Namespace) -> int:
    slice_s = asked.seconds / sum(target.share for target in chosen)
    tallies = []
    print(f"{'target':<36}{'inputs':>9}{'a CPU-s':>10}{'taken':>8}{'outcomes':>9}{'lines':>7}{'corpus':>8}  findings")
    for target in chosen:
        with alarms():
            tally = Run(target, asked.seed, hanging_s=HANGING_S).go(_until(asked.inputs, slice_s * target.share))
        tallies.append(tally)
        print(
            f"{target.name:<36}{tally.inputs:>9,}{tally.inputs / max(tally.seconds, 1e-6):>10,.0f}{tally.taken:>8,}"
            f"{len(tally.outcomes):>9}{len(tally.lines):>7}{len(tally.corpus):>8}  {len(tally.findings)}",
            flush=True,
        )
    findings = [finding for tally in tallies for finding in tally.findings.values()]
    for finding in findings:
        _tell(finding, asked.folder)
    inputs, spent = sum(tally.inputs for tally in tallies), sum(tally.seconds for tally in tallies)
    print(f"fuzz: {inputs:,} inputs in {spent:.0f} CPU-seconds, seed {asked.seed}: {len(findings)} findings")
    return 1 if findings else 0


def _until(inputs: int, seconds: float) -> Callable[[Tally], bool]:
    if inputs:
        return lambda tally: tally.inputs >= inputs
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() >= end


@contextmanager
def alarms() -> Iterator[None]:
    """While this is open, an input that hangs is interrupted; what counts is time of the CPU."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hanging(f"more than {HANGING_S} s")

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _tell(finding: Finding, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.target.replace('/', '_')}-{sha256(finding.octets).hexdigest()[:12]}.hex"
    path.write_text(finding.octets.hex())
    print(f"\nFINDING in {finding.target}: {' at '.join(finding.place)}: {finding.error}"[:2_000])
    print(*traceback.format_exception(finding.error)[-4:], sep="", end="")
    shown = finding.octets.hex()
    print(f"  {len(finding.octets)} bytes: {shown if len(shown) <= SHOWN_HEX else shown[:SHOWN_HEX] + '…'}")
    print(f"  again: scripts/fuzz --target {finding.target} --replay {path}")


if __name__ == "__main__":
    sys.exit(main())
