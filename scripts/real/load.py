"""Submitters that never let go: each document is handed in again, under its key, until the node has said yes.

Threads of the program that makes the faults; what they handed in, and what the node answered, they
note in their own file, which is what the checker reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.real.api import Api, Refused, patiently
from scripts.real.network import RealNode

SMALL_BYTES: Final = 64 * 1024
LARGE_BYTES: Final = 384 * 1024
"""More than an offer carries: this one is pulled."""
LARGE_EVERY: Final = 5
PATIENCE_S: Final = 120


class Load:
    """Some submitters at work. `is_enough` holds them back while it is true."""

    def __init__(self, node: RealNode, token: str, path: Path, recipients: Sequence[str]) -> None:
        self._node: Final = node
        self._token: Final = token
        self._path: Final = path
        self._recipients: Final = recipients
        self._stop: Final = threading.Event()
        self._lock: Final = threading.Lock()
        self._threads: Final[list[threading.Thread]] = []
        self.failures: Final[list[str]] = []

    def start(self, clients: int, is_enough: Callable[[], bool]) -> None:
        """Begin."""
        for client in range(clients):
            thread = threading.Thread(target=self._work, args=(client, is_enough), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let each submitter bring its last document to an end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S * 2)

    def _work(self, client: int, is_enough: Callable[[], bool]) -> None:
        api, chance, number = self._node.api(self._token), random.SystemRandom(), 0
        try:
            while not self._stop.is_set():
                if is_enough():
                    self._stop.wait(0.01)
                    continue
                self._submit(api, f"load-{client}-{number}", chance, large=(client + number) % LARGE_EVERY == 0)
                number += 1
        except Exception as error:  # noqa: BLE001  # the outermost frame of a thread: told to the round
            self.failures.append(f"submitter {client}: {type(error).__name__}: {error}")
        finally:
            api.close()

    def _submit(self, api: Api, key: str, chance: random.SystemRandom, *, large: bool) -> None:
        contents = {"tờ-trình.bin": chance.randbytes(SMALL_BYTES)}
        small = base64.b64encode(contents["tờ-trình.bin"]).decode()
        parts: list[dict[str, str]] = [{"name": "tờ-trình.bin", "content_base64": small}]
        if large:
            contents["phụ-lục.bin"] = chance.randbytes(LARGE_BYTES)
            parts.append({"name": "phụ-lục.bin", "upload_id": key})
        request = {
            "issuer": self._node.place.agencies[0].code,
            "recipients": list(self._recipients),
            "lane": chance.choice(("thuong", "khan", "hoa_toc")),
            "metadata": {"type": "Tờ trình", "subject": f"Thử tải {key}", "secrecy": "none"},
            "parts": parts,
        }
        made = patiently(partial(self._hand_in, api, key, contents, request), PATIENCE_S)
        files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        self._note({"key": key, "document": made["id"], "repeated": made["repeated"], "files": files})

    def _hand_in(self, api: Api, key: str, contents: dict[str, bytes], request: dict[str, Any]) -> Any:
        """Upload what is large, then the document; after a success whose answer was lost, the upload may be gone."""
        if "phụ-lục.bin" in contents:
            try:
                api.upload(key, contents["phụ-lục.bin"])
            except Refused as error:
                if error.problem.get("code") != "upload_used":
                    raise
        return api.post("/v1/documents", request, key=key)

    def _note(self, row: dict[str, Any]) -> None:
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
