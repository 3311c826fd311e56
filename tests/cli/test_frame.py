"""The frame of `truc`: help in both languages, exit codes, outcomes, and what is not imported."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from node.cli.desk import exit_code_of, problem_of
from node.cli.grammar import ExitCode, Verb, Verbs, language_of, localise
from node.cli.main import PLACES
from node.cli.texts import TEXTS
from protocol.errors import ConfigurationError, FormatError, NetworkError, StoreError
from tests.cli.conftest import ROOT, truc
from tests.support.errors import record


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its path, `authority` and its own words left out."""
    for name, place in PLACES.items():
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        if name == "authority":
            continue
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", item) for inner, item in command.commands.items())


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_says_what_it_is_in_both_languages(path: str, command: click.Command) -> None:
    assert isinstance(command, Verb | Verbs)
    for language in ("vi", "en"):
        localise(command, path, language)
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_every_text_is_there_twice_with_the_same_values_to_fill_in() -> None:
    for key, (vi, en) in TEXTS.items():
        assert vi and en, key
        assert fields_of(vi) == fields_of(en), key


def fields_of(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_help_lists_the_commands_and_exit_codes_in_the_readers_language() -> None:
    vi, en = truc("--lang", "vi", "--help").out, truc("--lang", "en", "--help").out
    for name in PLACES:
        assert f"\n  {name} " in vi
        assert f"\n  {name} " in en
    for code in ExitCode:
        assert f"\n  {int(code)}" in en
    assert "Mã thoát:" in vi
    assert "Exit codes:" in en


@pytest.mark.parametrize(
    ("words", "variables", "language"),
    [
        (["--lang", "en", "node"], {}, "en"),
        (["node", "--lang=vi"], {"LANG": "en_GB.UTF-8"}, "vi"),
        (["node"], {"LANG": "en_GB.UTF-8"}, "en"),
        (["node"], {"LC_ALL": "vi_VN.UTF-8", "LANG": "en_GB.UTF-8"}, "vi"),
        (["node"], {"TRUC_LANG": "en", "LC_ALL": "vi_VN.UTF-8"}, "en"),
        (["node"], {"LANG": "C.UTF-8"}, "vi"),
        (["--lang"], {}, "vi"),
        (["--lang", "fr"], {}, "vi"),
    ],
)
def test_the_language_comes_from_the_option_then_the_locale_then_is_vietnamese(
    words: list[str], variables: dict[str, str], language: str
) -> None:
    assert language_of(words, variables) == language


# --- outcomes -------------------------------------------------------------------------------


def test_wrong_usage_is_told_with_what_to_do_and_exit_code_2() -> None:
    ran = truc("--lang", "en", "answer", "csg_x", "three", expect=2)
    assert "Wrong usage" in ran.err
    assert "--help" in ran.err
    assert "Dùng lệnh sai" in truc("--lang", "vi", "no-such-command", expect=2).err


@pytest.mark.parametrize(
    ("words", "vi", "en"),
    [
        (["access", "add"], "thiếu 'NAME'.", "'NAME' is missing."),
        (["access", "add", "x"], "thiếu '--agency'.", "'--agency' is missing."),
        (["inbox", "lst"], "không có lệnh “lst”. Có phải “list”?", "there is no command “lst”. Did you mean “list”?"),
        (["inbox", "list", "--foo"], "không có tùy chọn “--foo”.", "there is no option “--foo”."),
        (
            ["inbox", "list", "--limit", "900"],
            "giá trị của '--limit' không dùng được: cần một số nguyên từ 1 đến 100.",
            "the value of '--limit' cannot be used: a whole number from 1 to 100 is needed.",
        ),
        (
            ["send", "a", "--lane", "x"],
            "giá trị của '--lane' không dùng được: cần một trong: thuong, khan, thuong_khan, hoa_toc.",
            "the value of '--lane' cannot be used: one of these is needed: thuong, khan, thuong_khan, hoa_toc.",
        ),
        (
            ["evidence", "verify", "a", "--root", "x"],
            "giá trị của --root không dùng được: cần 64 chữ số hex",
            "the value of --root cannot be used: 64 hex digits are needed",
        ),
        ([], "thiếu COMMAND.", "COMMAND is missing."),
        (["authority", "nothing"], "không có lệnh “nothing”.", "there is no command “nothing”."),
    ],
)
def test_what_was_typed_wrongly_is_told_in_the_readers_language(words: list[str], vi: str, en: str) -> None:
    told = truc("--lang", "vi", *words, expect=2).err.splitlines()
    assert told[0].startswith("Cách dùng: truc ")
    assert told[1:] == [f"Dùng lệnh sai: {vi}", "  → Thêm --help để xem cách dùng."]
    told = truc("--lang", "en", *words, expect=2).err.splitlines()
    assert told[0].startswith("Usage: truc ")
    assert told[1:] == [f"Wrong usage: {en}", "  → Add --help to see how it is used."]


@pytest.mark.parametrize("words", [(), ("directory",), ("access",), ("authority",)])
def test_a_group_alone_says_its_help_and_blames_nobody(words: tuple[str, ...]) -> None:
    told = truc(*words, expect=2).err
    assert "Dùng lệnh sai" not in told
    assert " ".join(["truc", *words, "[OPTIONS] COMMAND"]) in told


def test_the_headings_of_help_are_in_the_readers_language() -> None:
    told = truc("--lang", "vi", "inbox", "--help").out
    assert told.startswith("Cách dùng: truc inbox ")
    assert "\nTùy chọn:\n" in told
    assert "\nLệnh:\n" in told
    assert not {"Usage:", "Options:", "Commands:"} & set(told.split())
    told = truc("--lang", "en", "inbox", "list", "--help").out
    assert told.startswith("Usage: truc inbox list ")
    assert "\nOptions:\n" in told


def test_a_node_that_is_not_there_is_exit_code_3_with_the_next_step(tmp_path: Path) -> None:
    ran = truc("--lang", "en", "--socket", tmp_path / "none", "node", expect=3)
    assert "node_unreachable" in ran.err
    assert "truc run" in ran.err
    record("node_unreachable")


def test_an_outcome_in_json_has_code_and_both_languages(tmp_path: Path) -> None:
    told = truc("--socket", tmp_path / "none", "node", "--json", expect=3).json
    assert told["code"] == "node_unreachable"
    assert told["vi"] != told["en"]
    assert set(told["next"]) == {"vi", "en"}


def test_a_configuration_that_is_not_there_is_exit_code_4(tmp_path: Path) -> None:
    assert "config_missing" in truc("--config", tmp_path / "none", "node", expect=4).err
    (tmp_path / "bad").write_text("= 1")
    assert "config_not_toml" in truc("--config", tmp_path / "bad", "node", expect=4).err


@pytest.mark.parametrize("url", ["ftp://x", "http://", "127.0.0.1:4680", "http://a/b", "http://a:x", "http://[::1"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    assert "url_malformed" in truc("--url", url, "node", expect=4).err
    record("url_malformed")


def test_a_certificate_authority_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "file_unreadable" in truc("--url", "https://localhost:1", "--ca", tmp_path / "no", "node", expect=4).err


@contextlib.contextmanager
def stranger(folder: Path, answer: bytes) -> Iterator[Path]:
    """Something that is no node of ours listens on a socket and gives this answer, if any."""
    path = folder / "stranger.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(answer)
                if not answer:
                    connection.recv(65_536)  # until the other side is gone

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>"),
        http("404 Not Found", b"<html>"),
        http("500 Oh", b'{"detail": "no code"}'),
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_an_answer_that_is_not_a_nodes_is_told(answer: bytes, tmp_path: Path) -> None:
    with stranger(tmp_path, answer) as path:
        assert "answer_unreadable" in truc("--socket", path, "node", expect=3).err
    record("answer_unreadable")


def test_a_connection_that_ends_without_an_answer_is_told(tmp_path: Path) -> None:
    with stranger(tmp_path, http("200 OK", b"")[:9]) as path:
        truc("--socket", path, "node", expect=3)


def test_a_fault_of_ours_is_an_outcome_too_and_no_traceback(tmp_path: Path) -> None:
    with stranger(tmp_path, http("200 OK", b'{"items": 5}')) as path:
        told = truc("--socket", path, "--lang", "en", "peers", expect=5).err
    assert "internal_error" in told
    assert "TypeError" in told
    assert "Traceback" not in told
    record("internal_error")


def test_the_nodes_own_refusal_is_shown_in_the_readers_language_with_every_finding(tmp_path: Path) -> None:
    one = {"code": "a_newer_code", "field": "x", "vi": "Sai.", "en": "Wrong.", "next": {"vi": "Sửa.", "en": "Mend."}}
    both = {**one, "findings": [one, {**one, "field": "y"}]}
    with stranger(tmp_path, http("422 No", json.dumps(both).encode())) as path:
        told = truc("--socket", path, "--lang", "en", "node", expect=1).err
    assert told == "a_newer_code [x]: Wrong.\n  → Mend.\na_newer_code [y]: Wrong.\n  → Mend.\n"


CONSIGNMENT: dict[str, Any] = {
    "consignment": "csg_x", "document": "doc_x", "issuer": "G22", "recipient": "G12", "lane": "thuong",
    "state": "arrived", "arrived_at": "2026-11-22T20:00:00.000Z", "metadata": None, "parts": None, "problem": None,
    "receipts": [],
}  # fmt: skip
DAMAGE = problem_of(StoreError("content_damaged", reason="header_damaged"))


def test_a_document_whose_content_is_damaged_is_shown_as_such_and_cannot_be_fetched(tmp_path: Path) -> None:
    bad = {**CONSIGNMENT, "problem": DAMAGE}
    with stranger(tmp_path, http("200 OK", json.dumps(bad).encode())) as path:
        ran = truc("--socket", path, "--lang", "en", "fetch", "csg_x", "--out", tmp_path / "o", expect=1)
    assert ran.err.startswith("content_damaged: The document's content kept by this node is damaged (header_damaged).")
    assert not (tmp_path / "o").exists()
    for words, page in ((["show", "csg_x"], bad), (["inbox", "list"], {"items": [bad], "more": False})):
        path.unlink()
        with stranger(tmp_path, http("200 OK", json.dumps(page).encode())):
            ran = truc("--socket", path, "--lang", "vi", *words)
        assert "content_damaged" in ran.out + ran.err


def test_a_document_whose_content_is_no_longer_kept_cannot_be_fetched(tmp_path: Path) -> None:
    with stranger(tmp_path, http("200 OK", json.dumps(CONSIGNMENT).encode())) as path:
        assert "part_gone" in truc("--socket", path, "fetch", "csg_x", "--out", tmp_path / "o", expect=1).err
    assert not (tmp_path / "o").exists()


def test_a_reader_who_goes_away_is_no_fault() -> None:
    command = f"{sys.executable} -m node.cli.main --help | true; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() in {"0", "141"}
    assert ran.stderr == ""


def test_ctrl_c_is_told_in_one_line(tmp_path: Path) -> None:
    with stranger(tmp_path, b"") as path:
        words = [sys.executable, "-m", "node.cli.main", "--lang", "en", "--socket", str(path), "node"]
        with (
            hearing_interrupts(),
            subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
        ):
            wait_until_connected(path)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20)[1] == "Interrupted.\n"
    assert process.returncode == ExitCode.INTERRUPTED


@contextmanager
def hearing_interrupts() -> Iterator[None]:
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until_connected(path: Path) -> None:
    """Until a second row of /proc/net/unix names the socket: the accepted connection."""
    deadline = time.monotonic() + 20
    while Path("/proc/net/unix").read_text().count(str(path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- weight ---------------------------------------------------------------------------------

HEAVY = ("libp2p", "fastapi", "trio", "cryptography", "hypercorn", "plyvel", "pydantic", "structlog", "rich")


@pytest.mark.parametrize(
    "words", [["--help"], ["node"], ["inbox", "list"], ["send", "--help"], ["fetch", "x", "--out", "y"]]
)
def test_a_client_command_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    program = (
        "import sys, json\nfrom node.cli.main import main\n"
        f"main(['--socket', {str(tmp_path / 'none')!r}, *{words!r}])\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout.splitlines()[-1]) == []


def test_the_error_tree_decides_the_exit_code() -> None:
    assert exit_code_of(NetworkError("node_unreachable")) == ExitCode.UNREACHABLE
    assert exit_code_of(StoreError("disk_full")) == ExitCode.LOCAL
    assert exit_code_of(ConfigurationError("file_exists")) == ExitCode.LOCAL
    assert exit_code_of(FormatError("format_malformed")) == ExitCode.REFUSED
