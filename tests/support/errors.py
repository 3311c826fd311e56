"""One way for tests to expect an outcome of the catalogue, so that a walk can tell which codes were produced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.errors import TrucError


def record(code: str) -> None:
    """Note that a test produced this code; `tests/support/codes.py` compares with the catalogue."""
    folder = os.environ.get("TRUC_TEST_CODES")
    if folder:
        (Path(folder) / code).touch()


@contextmanager
def expects(code: str, family: type[TrucError] = TrucError, *, field: str | None = None) -> Iterator[list[TrucError]]:
    """Assert that the block raises this code, of this family, at this field; yields the error in a list."""
    caught: list[TrucError] = []
    try:
        yield caught
    except family as error:
        assert error.code == code, f"expected {code}, got {error}"
        assert field is None or error.field == field, f"expected field {field!r}, got {error.field!r}"
        caught.append(error)
        record(code)
        return
    raise AssertionError(f"expected {code}, nothing was raised")
