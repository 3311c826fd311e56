"""Writes the committed vectors of the foundation formats: `python -m tests.support.vectors`.

A test makes each file again and compares, so that a format cannot change unnoticed; other
tests hold the vectors against the code and against independent computations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support import exchange_vectors, vectors_crypto, vectors_encoding

FOLDER: Final = Path(__file__).parents[1] / "vectors"

FILES: Final[dict[str, Callable[[], list[dict[str, Any]]]]] = {
    "encoding": vectors_encoding.encoding,
    "statement": vectors_encoding.statement,
    "agency_codes": vectors_encoding.agency_codes,
    "framing": vectors_encoding.framing,
    "merkle": vectors_crypto.merkle,
    "signing": vectors_crypto.signing,
    "sealing": vectors_crypto.sealing,
    "exchange": exchange_vectors.exchange,
    "body_exchange": exchange_vectors.body_exchange,
}


def load(name: str) -> list[dict[str, Any]]:
    """The committed vectors of one format."""
    rows: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return rows


def written(rows: list[dict[str, Any]]) -> str:
    """The text of a vector file: one row a line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def main() -> None:
    """Write every file again."""
    for name, make in FILES.items():
        (FOLDER / f"{name}.json").write_text(written(make()), "utf-8")
        print(f"tests/vectors/{name}.json")


if __name__ == "__main__":
    main()
