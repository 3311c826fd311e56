"""The one rule as types: closed unions, frozen values, one function for every input."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from node.pump import STEPS
from protocol import step
from protocol.step import NOTHING, Event, Here, Input, Send, SendAck, Settings, Settled, Step
from tests.support.delivery import World


def test_every_input_has_exactly_one_function() -> None:
    assert set(STEPS) == set(typing.get_args(Input))


@pytest.mark.parametrize("union", [Input, Send, Event])
def test_every_value_of_the_unions_is_frozen(union: object) -> None:
    for kind in typing.get_args(union):
        assert dataclasses.is_dataclass(kind)
        assert vars(kind)["__dataclass_params__"].frozen, kind
        assert "__slots__" in vars(kind), kind


def test_sends_are_addressed_to_a_centre_and_never_to_a_stream() -> None:
    for kind in typing.get_args(Send):
        first, *rest = dataclasses.fields(kind)
        assert first.name == "centre"
        assert {field.type for field in rest} <= {"bytes", "int", "str"}, kind


def test_nothing_says_nothing() -> None:
    assert Step() == NOTHING
    assert (NOTHING.changes, NOTHING.sends, NOTHING.events, NOTHING.body_requests) == ((), (), (), ())
    assert (NOTHING.reply, NOTHING.error, NOTHING.deadline_ms) == (None, None, None)


def test_steps_of_equal_parts_are_equal() -> None:
    assert Step(sends=(SendAck("a", b"1"),)) == Step(sends=(SendAck("a", b"1"),))
    assert Settled("a", b"1") == Settled("a", b"1", 0)


def test_the_defaults_of_delivery_are_those_of_the_plan() -> None:
    assert Settings() == Settings(retention_ms=3_024_000_000, parts_bytes_max=2**40, pull_patience_ms=86_400_000)


def test_the_same_input_on_the_same_records_gives_the_same_step() -> None:
    first, second = World(), World()
    assert first.submit("G22", ["H38"]).step == second.submit("G22", ["H38"]).step


def test_time_and_entropy_come_in_and_are_not_fetched() -> None:
    names = {field.name for field in dataclasses.fields(Here)}
    assert {"now_ms", "entropy", "clock_trusted", "verifier", "signing_keys", "disk_low"} <= names
    assert "time" not in vars(step)
    assert "random" not in vars(step)
