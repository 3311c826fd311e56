"""What no rule forbids and nobody wants in a directory's texts: one body under two spellings, names that differ in
nothing that people see.

Obeys DOMAIN §2 ("real data is dirty"; padding of codes varies). Used by `directory_lint.py`; texts are compared
folded and never changed: what is signed stays as it was signed.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator

from protocol.agency_code import fold_code, fold_name, is_new_form
from protocol.directory import AgencyRecord, RecordState
from protocol.errors import TrustError

Finding = tuple[str, TrustError]
"""About which code, and what."""


def spelling(code: str) -> str:
    """The same for codes that differ only in how their components are padded with zeros, or in case."""
    folded = fold_code(code)
    if not is_new_form(folded):
        return folded
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in folded.split("."))


def dirt(records: Iterable[AgencyRecord]) -> Iterator[Finding]:
    """Everything that is to be said about the texts of these; closed agencies are left alone."""
    living = [record for record in records if record.state is not RecordState.CLOSED]
    yield from _texts(living)
    yield from _twins(living)
    yield from _namesakes(living)


def _texts(records: Iterable[AgencyRecord]) -> Iterator[Finding]:
    for record in records:
        for field in ("vi", "en", "short"):
            text: str = getattr(record.names, field)
            if text != " ".join(unicodedata.normalize("NFC", text).split()):
                yield record.code, TrustError("lint_text", code=record.code, field_name=f"names.{field}")


def _twins(records: Iterable[AgencyRecord]) -> Iterator[Finding]:
    for codes in _alike((spelling(record.code), record.code) for record in records):
        yield codes[0], TrustError("lint_twin_code", codes=", ".join(codes))


def _namesakes(records: Iterable[AgencyRecord]) -> Iterator[Finding]:
    """Two bodies of one name below one parent; level-1 bodies have none, and stand together."""
    for codes in _alike((f"{record.parent} {fold_name(record.names.vi)}", record.code) for record in records):
        yield codes[0], TrustError("lint_twin_name", codes=", ".join(codes))


def _alike(pairs: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, code in pairs:
        found[key].append(code)
    yield from (sorted(codes) for _, codes in sorted(found.items()) if len(codes) > 1)
