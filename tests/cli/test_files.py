"""What `fetch` and `send` do with files, and how lists and sizes are shown."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.desk import Desk
from node.cli.files import (
    Progress,
    digest_of,
    is_there,
    make_folder,
    read_pieces,
    safe_targets,
    sync_folder,
    write_checked,
)
from node.cli.send import Attachment
from node.cli.tables import aligned, moment, names_of, plain, size_text, table
from protocol.errors import ConfigurationError, RequestError
from tests.support.errors import expects

CONTENT = b"content of a file"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def silent() -> Progress:
    return Progress(Desk("en"), "fetch progress", "x", len(CONTENT))


def test_a_file_appears_when_it_is_right(tmp_path: Path) -> None:
    write_checked(tmp_path / "a", [CONTENT[:5], CONTENT[5:]], SHA256, silent())
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_differs_never_appears(tmp_path: Path) -> None:
    with expects("part_differs", ConfigurationError):
        write_checked(tmp_path / "a", [b"other"], SHA256, silent())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_in_the_meantime_is_not_written_over(tmp_path: Path) -> None:
    def pieces() -> list[bytes]:
        (tmp_path / "a").write_text("mine")
        return [CONTENT]

    with expects("file_exists", ConfigurationError):
        write_checked(tmp_path / "a", iter(pieces()), SHA256, silent())
    assert (tmp_path / "a").read_text() == "mine"


def test_a_connection_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield CONTENT[:3]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_checked(tmp_path / "a", broken(), SHA256, silent())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_lies_there_counts_only_if_it_is_the_same(tmp_path: Path) -> None:
    target = tmp_path / "a"
    assert not is_there(target, SHA256)
    target.write_bytes(CONTENT)
    assert is_there(target, SHA256)
    target.write_bytes(b"other")
    with expects("file_exists", ConfigurationError):
        is_there(target, SHA256)
    target.unlink()
    target.symlink_to(tmp_path / "nowhere")
    with expects("file_exists", ConfigurationError):
        is_there(target, SHA256)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../a", "part_name_path"),
        ("a\0b", "part_name_control"),
        ("a\u202eb", "part_name_control"),
        ("CON", "part_name_device"),
        ("x" * 300, "part_name_too_long"),
        ("", "part_name_empty"),
        ("a/b", "part_name_path"),
    ],
)
def test_a_name_that_is_no_plain_file_name_is_refused(name: str, code: str, tmp_path: Path) -> None:
    with expects(code, RequestError):
        safe_targets(tmp_path, [name])


@pytest.mark.parametrize("name", [".bashrc", "-rf", "~root"])
def test_a_name_that_a_shell_would_take_for_more_gets_a_mark_in_front(name: str, tmp_path: Path) -> None:
    assert safe_targets(tmp_path, [name]) == [tmp_path / f"_{name}"]


def test_two_names_never_become_one_file(tmp_path: Path) -> None:
    with expects("part_name_repeated", RequestError):
        safe_targets(tmp_path, [".a", "_.a"])


def test_folders_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with expects("file_unwritable", ConfigurationError):
        make_folder(tmp_path / "file" / "x")
    with expects("file_exists", ConfigurationError):
        make_folder(tmp_path / "file")
    with expects("file_unwritable", ConfigurationError):
        sync_folder(tmp_path / "none")
    with expects("file_unwritable", ConfigurationError):
        write_checked(tmp_path / "none" / "a", [], SHA256, silent())
    with expects("file_unreadable", ConfigurationError):
        list(read_pieces(tmp_path / "none"))


def test_a_file_is_read_from_an_offset(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    assert b"".join(read_pieces(tmp_path / "a", 8)) == CONTENT[8:]
    assert digest_of(tmp_path / "a") == SHA256


def test_progress_is_one_line_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(Desk("vi"), "fetch progress", "a.pdf", 200)
    progress.add(100)
    progress.add(100)
    progress.end()
    assert capsys.readouterr().err == "\rnhận a.pdf  50 %\rnhận a.pdf 100 %\n"


# --- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_145_728, "3.1 MB"), (10**9, "1.0 GB"), (10**15, "1000.0 TB")],
)
def test_sizes_are_written_as_file_managers_do(size: int, text: str) -> None:
    assert size_text(size) == text


def test_moments_are_vietnam_time_and_nonsense_stays_itself() -> None:
    assert moment("2026-11-22T20:00:00.000Z") == "2026-11-23 03:00:00"
    assert moment(None) == ""
    assert moment("later") == "later"


@given(st.text())
def test_no_foreign_text_can_move_the_cursor_or_turn_the_line(text: str) -> None:
    assert all(character.isprintable() for character in plain(text))


def test_names_are_given_in_the_readers_language_if_there_is_one() -> None:
    assert names_of({"vi": "Bộ", "en": "Ministry"}, Desk("en")) == "Ministry"
    assert names_of({"vi": "Bộ"}, Desk("en")) == "Bộ"
    assert names_of("Bộ", Desk("en")) == "Bộ"


@given(st.lists(st.lists(st.text(alphabet="ab ", max_size=9), min_size=3, max_size=3), min_size=1))
def test_columns_are_aligned_and_lines_end_without_blanks(rows: list[list[str]]) -> None:
    lines = aligned(rows)
    assert len(lines) == len(rows)
    assert all(line == line.rstrip() for line in lines)


def test_on_a_terminal_a_table_shows_the_same_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table(Desk("vi"), ("code", "name"), [("G22", "Văn phòng [bold]")])
    told = capsys.readouterr().out
    assert "Văn phòng [bold]" in told
    assert "mã" in told


def test_a_media_type_comes_from_the_ending() -> None:
    assert Attachment(Path("x"), "a.PDF", 0, "").media_type == "application/pdf"
    assert Attachment(Path("x"), "a.unknown", 0, "").media_type == "application/octet-stream"
    assert os.fspath(Attachment(Path("x"), "a", 0, "").path) == "x"
