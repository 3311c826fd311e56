"""Document software as a process of its own: it waits, fetches, verifies, collects and answers.

    python -m scripts.real.software --socket S --token-file T --folder F [--answers 3,4,5,6] [--count N]

Nothing but the standard library and the local API (DESIGN §7): a cursor, a SHA-256 per file, files
made durable before the collect, an idempotency key per status. It notes what it did in its register
(`register.jsonl`), which is what checkers read. It ends on SIGTERM, or after `--count` documents.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.real.api import Api, Refused, patiently

WAIT_S: Final = 20
"""How long the node may let us wait for the first arrival."""
PATIENCE_S: Final = 120
"""How long a node may be down before we give up."""
GONE: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """What the agency's own files say: one line per event, durable before the next step."""

    path: Path

    def note(self, event: str, **words: object) -> None:
        """Add a line, and tell whoever started us."""
        line = json.dumps({"event": event, **words}, ensure_ascii=False)
        with self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(line, flush=True)


class Software:
    """The desk of the agencies that the token speaks for."""

    def __init__(self, api: Api, folder: Path, answers: Sequence[int], *, paused: bool, forgetful: bool) -> None:
        self._api: Final = api
        self._folder: Final = folder
        self._answers: Final = answers
        self._paused: Final = paused
        self._forgetful: Final = forgetful
        self._register: Final = Register(path=folder / "register.jsonl")
        self._done: Final[set[str]] = set()
        self._cursor = ""

    def run(self, count: int) -> None:
        """Take what comes until so many documents are done (0: without end)."""
        while not count or len(self._done) < count:
            page = patiently(self._look, PATIENCE_S)
            for item in page["items"]:
                self._register.note("listed", consignment=item["consignment"], document=item["document"])
            fresh = [item for item in page["items"] if item["consignment"] not in self._done]
            for item in fresh:
                self._fetch(item)
            if fresh and self._paused:
                sys.stdin.readline()
            self._act(fresh)
            self._cursor = page["next"]

    def _look(self) -> dict[str, Any]:
        """What arrived behind the cursor; another store tells us where to begin again."""
        query = {"wait": WAIT_S, "limit": 100}
        try:
            page: dict[str, Any] = self._api.get("/v1/inbox", after=self._cursor, **query)
        except Refused as error:
            if error.status != GONE:
                raise
            self._cursor = ""
            page = self._api.get("/v1/inbox", **query)
        return page

    def _fetch(self, item: Mapping[str, Any]) -> None:
        """All files, each compared with what the issuer sealed, durable in our own folder."""
        place = self._folder / item["consignment"]
        place.mkdir(exist_ok=True)
        files = {}
        for part in item["parts"]:
            found = patiently(partial(self._save, item["consignment"], part, place / part["name"]), PATIENCE_S)
            if found != part["sha256"]:
                raise SystemExit(f"{part['name']}: sha256 {found}, sealed was {part['sha256']}")
            files[part["name"]] = found
        _sync(place)
        self._register.note("fetched", consignment=item["consignment"], document=item["document"],
                            recipient=item["recipient"], files=files)  # fmt: skip

    def _save(self, consignment: str, part: Mapping[str, Any], path: Path) -> str:
        """Write one file; the SHA-256 of what was written. Both nodes have checked its name."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for piece in self._api.pieces(f"/v1/inbox/{consignment}/parts/{part['number']}"):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _act(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Collect, then answer; repeated until the node has said yes to each."""
        codes: tuple[str | int, ...] = ("collect", *self._answers) if items else ()
        for code in codes:
            actions = [_action(item["consignment"], code) for item in items]
            request = {"actions": actions}
            outcomes = patiently(partial(self._api.post, "/v1/inbox/actions", request), PATIENCE_S)
            for action, outcome in zip(actions, outcomes["items"], strict=True):
                if not outcome["ok"]:
                    raise SystemExit(f"{action}: {outcome['problem']}")
                self._register.note("collected" if code == "collect" else "answered", **action)
        for item in items:
            self._done.add(item["consignment"])
            if self._forgetful:
                shutil.rmtree(self._folder / item["consignment"])


def _action(consignment: str, code: str | int) -> dict[str, Any]:
    if code == "collect":
        return {"consignment": consignment, "action": "collect"}
    staff = {"staff_name": "Trần Thị B", "staff_position": "Văn thư"}
    return {"consignment": consignment, "action": "status", "status": code, "key": f"{consignment}-{code}", **staff}


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    """Read the words of the command and work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--answers", default="3,4,5,6", help="statuses, in this order")
    parser.add_argument("--count", type=int, default=0, help="end after so many documents; 0: never")
    parser.add_argument("--pause", action="store_true", help="wait for a line on standard input before collecting")
    parser.add_argument("--forget", action="store_true", help="remove the files of a document that was answered")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    api = Api(options.socket, options.token_file.read_text().strip())
    answers = [int(code) for code in options.answers.split(",") if code]
    Software(api, options.folder, answers, paused=options.pause, forgetful=options.forget).run(options.count)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(json.dumps({"event": "done", "seconds": round(time.monotonic() - started, 1)}), flush=True)
