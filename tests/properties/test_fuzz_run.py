"""The long run itself: it finds what is planted, makes it small, says how to see it again, and repeats by seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import msgpack
import pytest

from protocol.directory_file import write_file
from protocol.encoding import decode, encode
from protocol.errors import FormatError, TrustError
from protocol.framing import encode_frame
from tests.support.errors import expects
from tests.support.fuzz_corpus import mended_heap, resigned
from tests.support.fuzz_mutator import mutated
from tests.support.fuzz_run import Hanging, Run, Tally, Tracer, alarms, attempt, main
from tests.support.fuzz_targets import Target, outcome, targets
from tests.support.fuzz_tree import octets_of, places, tree_of
from tests.support.tree import Tree


def planted(octets: bytes) -> None:
    """A decoder with a fault: it cannot bear a large number as its second item."""
    value = decode(octets, bytes_max=100)
    if isinstance(value, list) and len(value) > 1 and isinstance(value[1], int) and value[1] > 2**31:
        raise KeyError("large")


FAULTY = Target(name="faulty", run=planted, corpus=lambda: [encode([1, 2, b"x" * 20, "tail"])])
SOUND = Target(name="sound", run=lambda octets: decode(octets, bytes_max=100), corpus=lambda: [encode([1, 2])])
STRICT = Target(name="strict", run=lambda octets: decode(octets, bytes_max=100), corpus=list, allowed=(TrustError,))
KNOWN = {target.name: target for target in (FAULTY, SOUND, STRICT)}


def ran(target: Target, seed: int, inputs: int) -> Tally:
    return Run(target, seed).go(lambda tally: tally.inputs >= inputs)


def test_what_is_planted_is_found_once_and_made_small() -> None:
    tally = ran(FAULTY, 1, 2_000)
    [(place, finding)] = tally.findings.items()
    assert place[0] == "KeyError"
    assert decode(finding.octets, bytes_max=100)[1] > 2**31
    assert len(finding.octets) < len(FAULTY.corpus()[0])
    again = attempt(FAULTY, finding.octets)
    assert again is not None and again.place == place


def test_an_error_of_another_family_is_a_finding() -> None:
    finding = attempt(STRICT, b"\xc0")
    assert finding is not None and isinstance(finding.error, FormatError)
    assert attempt(SOUND, b"\xc0") is None
    assert outcome(SOUND, b"\xc0") == "format_malformed reason=#"


def test_an_error_that_cannot_be_told_is_a_finding() -> None:
    def raises(_octets: bytes) -> None:
        raise FormatError("busy")  # a code of another family

    finding = attempt(Target(name="untold", run=raises, corpus=list), b"")
    assert finding is not None and isinstance(finding.error, AssertionError)


def test_the_same_seed_gives_the_same_inputs() -> None:
    runs = [Run(targets()["truc/anchor/1"], seed) for seed in (1, 1, 2)]
    inputs = [[run.next_input() for _ in range(50)] for run in runs]
    assert inputs[0] == inputs[1] != inputs[2]


def test_inputs_that_reach_further_join_the_corpus() -> None:
    start = [octets for octets in targets()["encoding"].corpus() if outcome(targets()["encoding"], octets) == ""][:1]
    narrow = Target(name="narrow", run=targets()["encoding"].run, corpus=lambda: start)
    tally = ran(narrow, 1, 2_000)
    assert len(tally.corpus) > 1
    assert len(tally.outcomes) > 2


def test_only_lines_of_the_protocol_are_traced_and_the_tracer_before_comes_back() -> None:
    tracer = Tracer()
    with tracer.on():
        mutated(b"\x93\x01\x02\x03", [b"\x90"], Random(1))
        decode(b"\x90", bytes_max=10)
    assert {Path(code.co_filename).parent.name for code, _ in tracer.lines} == {"protocol"}
    before = len(tracer.lines)
    decode(b"\x80", bytes_max=10)
    assert len(tracer.lines) == before


def test_an_input_that_hangs_is_a_finding_and_the_run_goes_on() -> None:
    def hang(octets: bytes) -> None:
        while octets == b"hang":
            pass

    target = Target(name="hanging", run=hang, corpus=lambda: [b"", b"hang", b"x"])
    with alarms():
        tally = Run(target, 1, hanging_s=0.05).go(lambda tally: tally.inputs >= 3)
    [finding] = tally.findings.values()
    assert (finding.octets, type(finding.error)) == (b"hang", Hanging)
    assert tally.taken == 2


# --- the command ----------------------------------------------------------------------------


def test_a_finding_is_written_down_and_ends_the_command_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--target", "faulty", "--inputs", "2000", "--folder", str(tmp_path)], KNOWN) == 1
    [file] = tmp_path.iterdir()
    said = capsys.readouterr().out
    assert f"scripts/fuzz --target faulty --replay {file}" in said
    assert "KeyError" in said and bytes.fromhex(file.read_text()).hex() in said
    for told in (str(file), file.read_text()):
        assert main(["--target", "faulty", "--replay", told], KNOWN) == 1
        assert "KeyError: 'large'" in capsys.readouterr().out


def test_without_findings_the_command_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "sound", "--inputs", "50"], KNOWN) == 0
    assert "0 findings" in capsys.readouterr().out
    assert main(["--target", "sound", "--replay", "c0"], KNOWN) == 0
    assert "sound: format_malformed" in capsys.readouterr().out


def test_a_target_that_is_none_is_named_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "nothing"], KNOWN) == 2
    assert "faulty" in capsys.readouterr().err
    assert main(["--target", "sound", "--replay", "no such file"], KNOWN) == 2
    assert "neither hex" in capsys.readouterr().err


# --- the mutator ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", targets())
def test_what_is_not_changed_is_written_as_it_was(name: str) -> None:
    for octets in targets()[name].corpus():
        try:
            decode(octets, bytes_max=2**20)
        except FormatError:
            continue
        assert octets_of(tree_of(octets)) == octets


def test_the_mutator_looks_into_frames_and_into_messages_within_byte_strings() -> None:
    inner = msgpack.packb([7, "inside"])
    octets = encode_frame(5, msgpack.packb({1: inner, 2: 9})) * 2
    held = [place.get() for place in places(tree_of(octets))]
    assert held.count(7) == held.count("inside") == held.count(9) == 2
    assert octets_of(tree_of(octets)) == octets


def test_all_kinds_of_changes_are_made() -> None:
    octets = encode({1: [1, 2], 2: "text", 3: b"octets", 4: True})
    made = {mutated(octets, [octets], Random(seed)) for seed in range(3_000)}
    assert octets[:3] in made, "cut"
    outcomes = {outcome(targets()["encoding"], one) for one in made}
    assert {"", "format_not_canonical", "format_malformed reason=#"} <= outcomes
    with expects("format_malformed", FormatError):
        decode(max(made, key=len), bytes_max=2**20)


def test_changed_things_are_signed_again_so_that_the_judge_reads_them() -> None:
    signed = Tree.make().signed[-1]
    broken = replace(signed, signatures=(replace(signed.signatures[0], signature=bytes(64)),))
    assert resigned(broken.to_wire()) == signed.to_wire()
    assert resigned(b"nothing") == b"nothing"
    heap = write_file([broken, *Tree.make().signed[:3]])
    assert mended_heap(heap) == write_file([signed, *Tree.make().signed[:3]])
