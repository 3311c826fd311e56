"""The directory's words in memory: one folded text in blocks, sorted by code.

Obeys DESIGN §7 (search in Vietnamese without diacritics, both code forms). A line is what is asked for about
one agency; looking for words is looking for bytes in blocks, and a change makes one block anew. Belongs to
whoever keeps it up to date, `directory_search.py`; nothing here waits, reads a store or decides what is shown.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.agency_code import is_new_form, level_one, search_name
from protocol.directory import AgencyRecord, RecordState

BLOCK_LINES: Final = 64
"""Lines of a block: some 6 KB, looked through in two microseconds, made anew in thirty."""
WORDS_MAX: Final = 16
"""Words of one question that count; a name has fewer."""

_NEWLINE: Final = b"\n"
_BETWEEN: Final = b"\x1f"
"""Between the fields of a line. Folding takes it for a blank, so it stands in no text."""
_MARKS: Final = re.compile("[\u0300-\u036f]+")
_BEHIND_DIGITS: Final = ":"
"""The character behind `9`: all old-form codes stand before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for; empty means anything. All of it must hold."""

    words: tuple[bytes, ...] = ()
    prefix: str = ""
    """How the code begins, letter by letter."""
    under: str = ""
    """A code that stands above it, by whole components."""
    parent: str = ""
    """The code right above it."""
    state: RecordState | None = None
    host: str = ""
    kind: bytes = b""
    top: bool = False
    """Only what has nothing above it."""


# --- folding --------------------------------------------------------------------------------


def folded(text: str) -> str:
    """As `search_name`, and Ð for Đ as dirty lists have it; ten times as fast where the letters are Vietnamese."""
    apart = unicodedata.normalize("NFD", text.casefold().replace("đ", "d").replace("ð", "d"))
    bare = _MARKS.sub("", apart)
    return " ".join(bare.split()) if bare.isascii() else search_name(text).replace("ð", "d")


def words_of(text: str) -> tuple[bytes, ...]:
    """What a question asks for, each word once, the longest first: they are the rarest."""
    words = sorted(dict.fromkeys(folded(text).split()), key=len, reverse=True)
    return tuple(word.encode() for word in words[:WORDS_MAX])


def parent_of(record: AgencyRecord) -> str:
    """The code right above: as the record says; an old-form code without one stands under its level-1 code."""
    return record.parent or ("" if is_new_form(record.code) else level_one(record.code))


def line_of(record: AgencyRecord, state: RecordState) -> bytes:
    """The line of an agency."""
    names = record.names
    texts = folded(" ".join((record.code, *record.aliases, names.vi, names.en, names.short)))
    fields = (record.code, str(int(state)), record.host, parent_of(record), folded(record.kind), texts)
    return _BETWEEN.join(field.encode() for field in fields)


def damaged_line(code: str) -> bytes:
    """The line of an agency whose record cannot be read: it is found by its code, and below whom that names."""
    parent = code.rpartition(".")[0] if is_new_form(code) else level_one(code)
    return _BETWEEN.join((code.encode(), b"", b"", parent.encode(), b"", code.lower().encode()))


def code_of(line: bytes) -> str:
    """The code that a line is about."""
    return line[: line.index(_BETWEEN)].decode()


# --- the text -------------------------------------------------------------------------------


class FoldedText:
    """Lines in the order of their codes."""

    def __init__(self) -> None:
        self._firsts: list[str] = []
        self._blocks: list[bytes] = []
        self.count = 0

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self._blocks))

    def append(self, lines: Sequence[bytes]) -> None:
        """A block whose codes stand behind all others: for building."""
        if lines:
            self._firsts.append(code_of(lines[0]))
            self._blocks.append(_joined(lines))
            self.count += len(lines)

    def put(self, code: str, line: bytes) -> None:
        """The line of this code is this from now on."""
        if not self._blocks:
            self.append([line])
            return
        at = self._at(code)
        lines = _split(self._blocks[at])
        place = bisect_left(lines, code, key=code_of)
        if place < len(lines) and code_of(lines[place]) == code:
            lines[place] = line
        else:
            lines.insert(place, line)
            self.count += 1
        halves = [lines] if len(lines) <= 2 * BLOCK_LINES else [lines[:BLOCK_LINES], lines[BLOCK_LINES:]]
        self._firsts[at : at + 1] = [code_of(half[0]) for half in halves]
        self._blocks[at : at + 1] = [_joined(half) for half in halves]

    def find(self, asked: Question, after: str = "") -> Iterator[str | None]:
        """The codes of matching lines behind a code, in order; None after each block, where one may pause.

        Lines may be put meanwhile: it goes on behind the block it was in.
        """
        wanted = _wanted(asked)
        for low, high in _ranges(asked):
            seen = after
            at = self._at(max(low, after))
            while at < len(self._blocks) and (not high or self._firsts[at] < high):
                block = self._blocks[at]
                for line in _candidates(block, wanted):
                    code = code_of(line)
                    if code > seen and low <= code and (not high or code < high) and _matches(line, asked):
                        yield code
                seen = max(seen, code_of(_last_line(block)))
                yield None
                at = self._behind(seen)

    def _behind(self, code: str) -> int:
        """The first block with a code behind this one."""
        at = self._at(code)
        return at if code_of(_last_line(self._blocks[at])) > code else at + 1

    def _at(self, code: str) -> int:
        return max(0, bisect_right(self._firsts, code) - 1)


def _wanted(asked: Question) -> tuple[bytes, ...]:
    """What stands in every line that matches, wherever in it; the rarest first."""
    state = "" if asked.state is None else str(int(asked.state))
    fields = [text.encode() for text in (asked.host, asked.parent, state) if text]
    return (*asked.words, *(_BETWEEN + text + _BETWEEN for text in fields))


def _candidates(block: bytes, wanted: Sequence[bytes]) -> Iterator[bytes]:
    """The lines of a block in which all of this stands; a look at the whole shows mostly that there is none."""
    for text in wanted:
        if text not in block:
            return
    for line in _split(block):
        for text in wanted:
            if text not in line:
                break
        else:
            yield line


def _joined(lines: Iterable[bytes]) -> bytes:
    return _NEWLINE.join(lines)


def _split(block: bytes) -> list[bytes]:
    return block.split(_NEWLINE)


def _last_line(block: bytes) -> bytes:
    return block[block.rfind(_NEWLINE) + 1 :]


def _ranges(asked: Question) -> list[tuple[str, str]]:
    """Spans of codes, from and before, outside of which nothing matches; an empty end is the end of all."""
    if asked.prefix:
        return [(asked.prefix, asked.prefix[:-1] + chr(ord(asked.prefix[-1]) + 1))]
    above = asked.under or asked.parent
    if not above:
        return [("", "")]
    old_forms = [("", _BEHIND_DIGITS)] if asked.parent or "." not in above else []
    return [*old_forms, *([(above + ".", above + "/")] if is_new_form(above) else [])]


def _matches(line: bytes, asked: Question) -> bool:
    code, state, host, parent, kind, text = line.split(_BETWEEN)
    return (
        (asked.state is None or state == b"%d" % asked.state)
        and (not asked.host or host == asked.host.encode())
        and (not asked.parent or parent == asked.parent.encode())
        and (not asked.kind or kind == asked.kind)
        and (not asked.top or not parent)
        and (not asked.under or _is_under(code.decode(), asked.under))
        and all(word in text for word in asked.words)
    )


def _is_under(code: str, above: str) -> bool:
    if is_new_form(code):
        return code.startswith(above + ".")
    return level_one(code) == above
