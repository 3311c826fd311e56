"""Whatever bytes come: every decoder gives a value or one of the errors it names, and nothing else.

What is read is written again as the same bytes, the quick ways of reading agree with the careful one, and every
error has its text. Contracts and what else must hold stand in `tests/support/fuzz_readers.py`; `scripts/fuzz`
runs the same for as long as wanted, led by coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz_mutator import mutated, substitutions
from tests.support.fuzz_targets import Target, outcome, targets

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

SLOW = ("directory-heap", "evidence", "reconcile-asking", "reconcile-lied-to")
"""A few milliseconds for each input."""
FORMATS = [name for name in targets() if name.startswith("truc/")]
READERS = [name for name in targets() if name not in FORMATS and name not in SLOW]

CHANCE = st.randoms(use_true_random=False)


@cache
def known(name: str) -> Sequence[bytes]:
    return list(targets()[name].corpus())


def hold(target: Target, octets: bytes) -> str:
    """The outcome; whatever is a finding says how to see it again."""
    try:
        return outcome(target, octets)
    except BaseException as error:
        error.add_note(f"scripts/fuzz --target {target.name} --replay {octets.hex()}")
        raise


def hold_mutated(name: str, chance: Random) -> None:
    target = targets()[name]
    octets = mutated(chance.choice(known(name)), known(name), chance)
    if target.mend is not None and chance.random() < 0.5:
        octets = target.mend(octets)
    hold(target, octets)


@pytest.mark.parametrize("name", targets())
def test_vectors_keep_the_contract_and_some_are_good(name: str) -> None:
    outcomes = [hold(targets()[name], octets) for octets in known(name)]
    assert "" in outcomes


NESTED = [turn * depth + b"\x90" for turn in (b"\x91", b"\x81\x01") for depth in (15, 16, 510, 900, 5_000)]


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\xff" * 40, *NESTED], ids=range(13))
def test_what_has_no_form_at_all_keeps_every_contract(octets: bytes) -> None:
    for target in targets().values():
        hold(target, octets)


GOOD_ENOUGH = 3
"""Good inputs of each reader in which every place is tried."""


@pytest.mark.parametrize("name", READERS)
def test_every_place_bears_something_of_every_kind(name: str) -> None:
    target = targets()[name]
    good = [octets for octets in known(name) if len(octets) < 1_200 and hold(target, octets) == ""]
    by_size = {len(octets): octets for octets in good}
    for octets in sorted(by_size.values(), key=len)[-GOOD_ENOUGH:]:
        for changed in substitutions(octets):
            hold(target, changed)


@given(octets=st.binary(max_size=120))
@settings(max_examples=15)
def test_any_bytes_keep_every_contract(octets: bytes) -> None:
    for target in targets().values():
        hold(target, octets)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(chance=CHANCE)
def test_changed_bytes_keep_the_contract_of_a_reader(name: str, chance: Random) -> None:
    hold_mutated(name, chance)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15)
@given(chance=CHANCE)
def test_changed_bytes_keep_the_contract_of_a_format(name: str, chance: Random) -> None:
    hold_mutated(name, chance)


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=30)
@given(chance=CHANCE)
def test_changed_bytes_keep_the_contract_of_a_judge(name: str, chance: Random) -> None:
    hold_mutated(name, chance)
