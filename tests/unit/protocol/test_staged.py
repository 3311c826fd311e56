"""`Staged` against a plain dictionary: whatever is staged in whatever layers reads as if written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.directory_kinds import DirectoryAlias
from protocol.record import Change, Delete, Put
from protocol.staged import Staged

NAMES = st.sampled_from(["A", "B", "C", "D"])
CHANGES = st.lists(
    st.one_of(
        st.builds(lambda a, c, live: Put(DirectoryAlias(alias=a, code=c, live=live)), NAMES, NAMES, st.booleans()),
        st.builds(lambda a, c: Delete(DirectoryAlias, (a, c)), NAMES, NAMES),
    ),
    max_size=12,
)


def plain(changes: list[Change]) -> dict[tuple[str, str], DirectoryAlias]:
    rows: dict[tuple[str, str], DirectoryAlias] = {}
    for change in changes:
        if isinstance(change, Put):
            rows[change.record.alias, change.record.code] = change.record
        elif isinstance(change, Delete):
            rows.pop((str(change.key[0]), str(change.key[1])), None)
    return rows


@given(CHANGES, CHANGES, NAMES, NAMES, st.integers(1, 5))
def test_layers_of_changes_read_like_one_store(
    below: list[Change], above: list[Change], alias: str, after: str, limit: int
) -> None:
    base = Staged()
    base.stage(below)
    staged = Staged(base)
    staged.stage(above)
    rows = plain([*below, *above])
    assert staged.changes == above
    assert staged.get(DirectoryAlias, alias, after) == rows.get((alias, after))
    assert staged.scan(DirectoryAlias) == [rows[key] for key in sorted(rows)]
    within = [rows[key] for key in sorted(rows) if key[0] == alias]
    assert staged.scan(DirectoryAlias, alias, limit=limit) == within[:limit]
    behind = [row for row in within if row.code > after]
    assert staged.scan(DirectoryAlias, alias, after=(after,), limit=limit) == behind[:limit]


def test_pages_of_a_longer_key_begin_behind_the_whole_prefix() -> None:
    staged = Staged()
    staged.stage(Put(DirectoryAlias(alias=a, code=c, live=True)) for a in "AB" for c in "XY")
    assert [row.alias for row in staged.scan(DirectoryAlias, after=("A",))] == ["B", "B"]
