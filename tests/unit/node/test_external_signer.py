"""The node's end of a signer: one request at a time, deadlines, every broken rule, and coming back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.external_signer import PAUSE_MAX_S, ExternalSigner
from node.keyring import OutsideKey
from node.tasks import start
from protocol import signer
from protocol.errors import ConfigurationError, NetworkError, RequestError
from protocol.signing import Ed25519Signer, Verifier, sign_batch
from tests.support.errors import expects
from tests.support.signers import KEY, ScriptedSigner, agent_at, connected, place_of, quiet_log
from tests.support.tree import key_seed

FORMAT = "truc/receipt/1"
OTHER = Ed25519Signer(key_seed(11, "other"))


async def test_what_comes_back_signs_every_statement_of_the_batch(autojump_clock: MockClock) -> None:
    scripted, statements = ScriptedSigner(), [b"one", b"two", b"three"]
    async with connected(scripted) as (one, _), trio.open_nursery() as nursery:
        nursery.start_soon(scripted.sign_next)
        found = await one.sign(FORMAT, statements)
    for thing in sign_batch(FORMAT, statements, found):
        Verifier().verify(thing, KEY.public)


async def test_a_second_request_waits_for_the_answer_to_the_first(autojump_clock: MockClock) -> None:
    scripted, done = ScriptedSigner(), list[str]()

    async def ask(one: ExternalSigner, name: str) -> None:
        await one.sign(FORMAT, [name.encode()])
        done.append(name)

    async with connected(scripted) as (one, _), trio.open_nursery() as nursery:
        nursery.start_soon(ask, one, "a")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, one, "b")
        first = await scripted.hear()
        await wait_all_tasks_blocked()
        assert first.number == 1, "and nothing else was said"
        await scripted.say(signer.SignedText(number=1, signature=KEY.sign(first.text)))
        assert (await scripted.sign_next()).number == 2
        await wait_all_tasks_blocked()
        assert done == ["a", "b"]


async def test_a_signer_that_is_not_there_at_the_start_is_found_when_it_comes(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner()
    scripted.refuses = NetworkError("signer_unreachable", socket="x", reason="no such file")
    up = trio.Event()
    async with connected(scripted) as (one, lines):
        one.on_up = up.set
        with expects("signer_unreachable", NetworkError):
            await one.sign(FORMAT, [b"x"])
        await trio.sleep(10 * PAUSE_MAX_S)
        before, scripted.refuses = scripted.dialled, None
        assert before < 20, "it is not dialled without end"
        await up.wait()
        assert one.trouble is None
    assert lines.getvalue().count("signer_away") == 0, "one line for one state: it was never there"
    assert lines.getvalue().count("signer_up") == 1


async def test_a_signer_killed_in_the_middle_fails_the_request_at_once_and_is_used_again(
    autojump_clock: MockClock,
) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted) as (one, lines), trio.open_nursery() as nursery:
        up = trio.Event()
        one.on_up = up.set

        async def kill() -> None:
            await scripted.hear()
            await scripted.hang_up()

        nursery.start_soon(kill)
        before = trio.current_time()
        with expects("signer_unreachable", NetworkError):
            await one.sign(FORMAT, [b"x"])
        assert trio.current_time() == before, "nobody waits for a deadline that cannot help"
        assert one.trouble is not None
        await up.wait()
        nursery.start_soon(scripted.sign_next)
        await one.sign(FORMAT, [b"x"])
    assert lines.getvalue().count("signer_away") == 1


async def test_a_slow_signer_is_dropped_so_that_no_late_answer_is_taken_for_the_next(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted, deadline_s=3) as (one, _):
        with expects("signer_slow", NetworkError):
            await one.sign(FORMAT, [b"x"])
        with pytest.raises(trio.BrokenResourceError):
            await scripted.say(signer.SignedText(number=1, signature=bytes(64)))
        with expects("signer_slow", NetworkError):
            await one.sign(FORMAT, [b"x"])


async def test_a_signer_that_says_nothing_at_first_is_slow_as_well(autojump_clock: MockClock) -> None:
    async with connected(ScriptedSigner(greets=False)) as (one, _):
        assert one.trouble is not None
        with expects("signer_slow", NetworkError):
            raise one.trouble


async def test_a_signer_with_another_key_is_not_used(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner(OTHER)
    log, _ = quiet_log()
    one = ExternalSigner(place_of(KEY), log, connect=scripted.dial)
    async with trio.open_nursery() as nursery:
        await start(nursery, one.run)
        with expects("signer_other_key", RequestError):
            await one.sign(FORMAT, [b"x"])
        nursery.cancel_scope.cancel()


async def test_a_wrong_signature_is_never_handed_on(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted) as (one, _), trio.open_nursery() as nursery:

        async def lie() -> None:
            asked = await scripted.hear()
            await scripted.say(signer.SignedText(number=asked.number, signature=OTHER.sign(asked.text)))

        nursery.start_soon(lie)
        with expects("signer_wrong_signature", NetworkError):
            await one.sign(FORMAT, [b"x"])
        assert one.trouble is not None and one.trouble.code == "signer_wrong_signature"
        up = trio.Event()
        one.on_up = up.set
        await up.wait()
        nursery.start_soon(scripted.sign_next)
        await one.sign(FORMAT, [b"x"])


async def test_a_signer_that_refuses_stays_connected(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted) as (one, lines), trio.open_nursery() as nursery:

        async def refuse() -> None:
            asked = await scripted.hear()
            await scripted.say(signer.Failed(number=asked.number, code="unavailable", reason="no card"))

        nursery.start_soon(refuse)
        with expects("signer_refused", NetworkError):
            await one.sign(FORMAT, [b"x"])
        assert one.trouble is None
        nursery.start_soon(scripted.sign_next)
        await one.sign(FORMAT, [b"x"])
        assert scripted.dialled == 1
    assert "no card" in lines.getvalue()


BREAKS = [
    signer.write(signer.SignedText(number=9, signature=b"x")),
    signer.write(signer.Hello(protocol="truc/signer/1", keys=(signer.RawKey(algorithm="a", raw=b"x"),))),
    b"\x00\x00\x00\x02\x03\xc1",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
]


@pytest.mark.parametrize("broken", BREAKS, ids=["other number", "another hello", "no map", "too large", "empty"])
async def test_whatever_breaks_a_rule_ends_the_connection(autojump_clock: MockClock, broken: bytes) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted) as (one, _), trio.open_nursery() as nursery:

        async def misbehave() -> None:
            await scripted.hear()
            await scripted.say(broken)

        nursery.start_soon(misbehave)
        with expects("signer_protocol", NetworkError):
            await one.sign(FORMAT, [b"x"])


async def test_an_answer_that_nobody_asked_for_ends_the_connection(autojump_clock: MockClock) -> None:
    scripted = ScriptedSigner()
    async with connected(scripted) as (one, _):
        await scripted.say(signer.SignedText(number=1, signature=b"x"))
        await wait_all_tasks_blocked()
        assert one.trouble is not None and one.trouble.code == "signer_protocol"


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 400 Bad Request\r\n\r\n", signer.write(signer.Failed(number=1, code="x"))]
)
async def test_something_else_behind_the_socket_is_no_signer(autojump_clock: MockClock, first: bytes) -> None:
    scripted = ScriptedSigner(greets=False)
    log, _ = quiet_log()

    async def dial() -> trio.abc.Stream:
        stream = await scripted.dial()
        await scripted.say(first)
        return stream

    one = ExternalSigner(place_of(), log, connect=dial)
    async with trio.open_nursery() as nursery:
        await start(nursery, one.run)
        assert one.trouble is not None and one.trouble.code == "signer_protocol"
        nursery.cancel_scope.cancel()


# --- on a real socket -----------------------------------------------------------------------------


async def test_the_reference_signer_signs_over_a_real_socket(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with agent_at(path) as agent, trio.open_nursery() as nursery:
        one = ExternalSigner(place_of(path=path), quiet_log()[0])
        await start(nursery, one.run)
        found = await one.sign(FORMAT, [b"one", b"two"])
        with expects("signer_refused", NetworkError):
            await one.sign("truc/agency/1", [b"who I am"])
        nursery.cancel_scope.cancel()
    assert agent.signed == 1
    Verifier().verify(sign_batch(FORMAT, [b"one", b"two"], found)[1], KEY.public)


async def test_a_signer_that_runs_as_somebody_else_is_not_talked_to(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with agent_at(path), trio.open_nursery() as nursery:
        one = ExternalSigner(place_of(path=path, uid=os.getuid() + 4_711), quiet_log()[0])
        await start(nursery, one.run)
        with expects("signer_user", ConfigurationError):
            await one.sign(FORMAT, [b"x"])
        nursery.cancel_scope.cancel()


async def test_a_socket_without_anybody_and_one_that_cannot_be_are_unreachable(tmp_path: Path) -> None:
    for path in (tmp_path / "nobody.sock", tmp_path / ("x" * 200)):
        one = ExternalSigner(place_of(path=path), quiet_log()[0])
        async with trio.open_nursery() as nursery:
            await start(nursery, one.run)
            with expects("signer_unreachable", NetworkError):
                await one.sign(FORMAT, [b"x"])
            nursery.cancel_scope.cancel()


def test_a_key_that_is_elsewhere_signs_nothing_here() -> None:
    with pytest.raises(AssertionError):
        OutsideKey(KEY.public).sign(b"x")
