"""The walk over the error table: every code of the catalogue was produced by some test of the run.

    python -m tests.support.codes FOLDER

FOLDER is what `TRUC_TEST_CODES` named while the tests ran; `tests/support/errors.py` leaves one
empty file per code there. There is no list of exceptions: a code that nothing can produce is
removed from the catalogue.
"""

from __future__ import annotations

import sys
from pathlib import Path

from protocol.catalogue import CATALOGUE


def compare(produced: set[str], known: set[str]) -> list[str]:
    """One sentence per difference, sorted; none when the table and the tests agree."""
    return [
        *(f"no test produced {code}" for code in sorted(known - produced)),
        *(f"a test produced {code}, which is not in protocol/catalogue.py" for code in sorted(produced - known)),
    ]


def main(arguments: list[str]) -> int:
    """Exit code 0 when they agree, 1 when they do not, 2 for a wrong call."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m tests.support.codes FOLDER", file=sys.stderr)
        return 2
    differences = compare({entry.name for entry in Path(arguments[0]).iterdir()}, set(CATALOGUE))
    for difference in differences:
        print(f"codes: {difference}", file=sys.stderr)
    print(f"codes: {len(CATALOGUE)} in the catalogue, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
