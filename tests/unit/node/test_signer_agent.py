"""The reference signer: its key file, its socket, whom it signs for; and a real process killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair

from node.external_signer import ExternalSigner
from node.signer_agent import EXIT_LOCAL, SignerAgent, bind, main, make_key_file, open_key_file
from node.tasks import start
from protocol import signer
from protocol.errors import ConfigurationError, FormatError, NetworkError
from protocol.signer import Kind
from protocol.signing import Ed25519Signer, Verifier, sign_batch
from storage.keystore import Cost, seal_secrets
from tests.support.errors import expects
from tests.support.signers import KEY, agent_at, place_of, quiet_log

ROOT = Path(__file__).parents[3]
CHEAP = Cost(memory_kib=64, passes=1)
FORMAT = "truc/receipt/1"


@pytest.fixture
def key_file(tmp_path: Path) -> tuple[Path, Path, Ed25519Signer]:
    """Key file, passphrase file, key."""
    path, passphrase = tmp_path / "agency.key", tmp_path / "passphrase"
    passphrase.write_bytes(b"mat khau\n")
    passphrase.chmod(0o400)
    return path, passphrase, make_key_file(path, b"mat khau", entropy=os.urandom, cost=CHEAP)


# --- the key file ---------------------------------------------------------------------------------


def test_a_key_file_opens_with_its_passphrase_only(key_file: tuple[Path, Path, Ed25519Signer]) -> None:
    path, _, key = key_file
    assert path.stat().st_mode & 0o777 == 0o400
    assert open_key_file(path, b"mat khau").public == key.public
    with expects("keystore_passphrase", ConfigurationError):
        open_key_file(path, b"other")
    with expects("file_exists", ConfigurationError):
        make_key_file(path, b"x", entropy=os.urandom, cost=CHEAP)


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    with expects("signer_key_file", ConfigurationError):
        open_key_file(tmp_path / "none.key", b"x")
    empty = tmp_path / "empty.key"
    empty.write_bytes(seal_secrets({"other": b"x"}, b"x", entropy=os.urandom, cost=CHEAP))
    with expects("signer_key_file", ConfigurationError):
        open_key_file(empty, b"x")


def test_a_new_key_is_printed_as_the_configuration_wants_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passphrase, path = tmp_path / "passphrase", tmp_path / "new.key"
    passphrase.write_bytes(b"mat khau\n")
    passphrase.chmod(0o400)
    assert main([str(path), "--new", "--passphrase-file", str(passphrase)]) == 0
    public = open_key_file(path, b"mat khau").public.raw.hex()
    assert capsys.readouterr().out == f'public_key = "{public}"\n'
    assert main([str(path), "--new", "--passphrase-file", str(passphrase)]) == EXIT_LOCAL
    assert "file_exists" in capsys.readouterr().err


# --- the socket -----------------------------------------------------------------------------------


def test_the_socket_is_ours_alone_unless_others_are_named(tmp_path: Path) -> None:
    for mode in (0o600, 0o666):
        path = tmp_path / f"{mode:o}.sock"
        with bind(path, mode=mode):
            assert path.stat().st_mode & 0o777 == mode


def test_a_live_socket_is_not_taken_over_and_a_dead_one_is(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    with bind(path), expects("signer_socket", ConfigurationError):
        bind(path)
    with bind(path):  # nobody listens on the old one any more
        pass
    with expects("signer_socket", ConfigurationError):
        bind(tmp_path / "no folder" / "signer.sock")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    with expects("signer_socket", ConfigurationError):
        bind(path)
    assert path.read_text() == "x"


# --- whom it signs for ----------------------------------------------------------------------------


async def test_users_that_were_not_named_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = SignerAgent(KEY, quiet_log()[0])
    agent._uids = frozenset({os.getuid() + 4_711})  # type: ignore[misc]  # as if root and we were somebody else
    path = tmp_path / "signer.sock"
    async with trio.open_nursery() as nursery:
        await start(nursery, agent.run, bind(path))
        stream = await trio.open_unix_socket(str(path))
        async with stream:
            assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_a_connection_that_breaks_a_rule_is_ended_and_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with agent_at(path), trio.open_nursery() as nursery:
        one = ExternalSigner(place_of(path=path), quiet_log()[0])
        await start(nursery, one.run)
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(signer.write(signer.Failed(number=1, code="x")))
            while await stream.receive_some():
                pass
        await one.sign(FORMAT, [b"x"])
        nursery.cancel_scope.cancel()


async def test_a_stream_that_ends_inside_a_frame_is_a_broken_rule() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"\x00\x00")
    await ours.send_eof()
    with expects("frame_truncated", FormatError):
        await SignerAgent(KEY, quiet_log()[0]).serve(theirs)


async def test_it_signs_what_it_may_and_says_why_not() -> None:
    agent = SignerAgent(KEY, quiet_log()[0], formats={"truc/lock/1"})
    request = signer.Sign(number=3, key_id=KEY.public.key_id, text=b"x")
    assert agent.answer(request) == signer.Failed(number=3, code="not_a_statement")
    assert agent.signed == 0
    assert int(Kind.FAILED) == 4


# --- a real process -------------------------------------------------------------------------------


@contextmanager
def process(path: Path, key: Path, passphrase: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "node.signer_agent", str(key), "--socket", str(path)]
    command += ["--passphrase-file", str(passphrase)]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


async def test_a_signer_process_killed_while_it_signs_is_found_again_when_it_is_started_again(
    tmp_path: Path, key_file: tuple[Path, Path, Ed25519Signer]
) -> None:
    path, (blob, passphrase, key) = tmp_path / "signer.sock", key_file
    one = ExternalSigner(place_of(key, path=path, deadline_s=60), quiet_log()[0])
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await start(nursery, one.run)
            with process(path, blob, passphrase) as first:
                await _until_up(one)
                first.send_signal(signal.SIGSTOP)  # it hears, and does not answer
                nursery.start_soon(_kill_when_asked, one, first)
                with expects("signer_unreachable", NetworkError):
                    await one.sign(FORMAT, [b"x"])
            with process(path, blob, passphrase):
                await _until_up(one)
                found = await one.sign(FORMAT, [b"x"])
            nursery.cancel_scope.cancel()
    Verifier().verify(sign_batch(FORMAT, [b"x"], found)[0], key.public)


async def _until_up(one: ExternalSigner) -> None:
    up = trio.Event()
    one.on_up = up.set
    if one.trouble is not None:
        await up.wait()


async def _kill_when_asked(one: ExternalSigner, running: subprocess.Popen[bytes]) -> None:
    while one._pending is None:
        await trio.lowlevel.checkpoint()
    running.kill()
