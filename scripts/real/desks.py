"""Starting document software beside a network of real nodes, and hearing what it does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.real.network import ROOT, STOP_S, Failed, RealNode, wait_until


def token_of(node: RealNode, agencies: Sequence[str], *rights: str) -> Path:
    """Register a system with the node (`truc access add`); the file with its token."""
    path = node.folder / f"{agencies[0]}.token"
    if not path.exists():
        words = [word for agency in agencies for word in ("--agency", agency)]
        words += [word for right in rights for word in ("--right", right)]
        made = node.json("access", "add", f"QLVB {agencies[0]}", *words)
        path.touch(mode=0o600)
        path.write_text(made["token"] + "\n")
    return path


def read_register(folder: Path) -> list[dict[str, Any]]:
    """What document software noted in its own files."""
    path = folder / "register.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Desk:
    """Document software, running: that of one agency, or one for several agencies of a node."""

    def __init__(self, node: RealNode, agencies: Sequence[str], folder: Path, *words: str) -> None:
        self.agency: Final = agencies[0]
        self.folder: Final = folder
        self.node: Final = node
        self._heard: Final[list[dict[str, Any]]] = []
        token = token_of(node, agencies, "receive")
        command = [
            sys.executable, "-m", "scripts.real.software", "--socket", str(node.socket), "--token-file", str(token),
            "--folder", str(folder), *words,
        ]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._errors: Final = folder.parent / f"{folder.name}.errors"
        with self._errors.open("wb") as errors:
            self._process: Final = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._ears: Final = threading.Thread(target=self._listen, daemon=True)
        self._ears.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.append(json.loads(line))

    def events(self, event: str) -> list[Mapping[str, Any]]:
        """What it has told so far, of one kind."""
        return [item for item in list(self._heard) if item["event"] == event]

    def wait_for(self, event: str, count: int, seconds: float) -> None:
        """Wait until it has told so many events of a kind. Raises: Failed."""
        wait_until(f"{self.agency}: {count} × {event}", lambda: self._has(event, count), seconds)

    def _has(self, event: str, count: int) -> bool:
        found = len(self.events(event)) >= count
        if not found and self._process.poll() is not None and not self._ears.is_alive():
            raise Failed(f"the software of {self.agency} ended: {self._errors.read_text()}")
        return found

    def proceed(self) -> None:
        """Let it go on after its pause."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(STOP_S)
        self._ears.join(STOP_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
