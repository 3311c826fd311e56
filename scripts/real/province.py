"""The demo's second registrar: a province with its own keys, a delegated part, and a change while all nodes run.

Obeys DESIGN §3 ("registrars for parts of the tree"): the province makes its keys in its own folder and hands over a
request; the registrar above answers with a delegation; from then on the province signs below its part alone.
"""

from __future__ import annotations

import json
import random
import time
from functools import partial
from typing import Any, Final

from scripts.real.api import Refused
from scripts.real.network import Agency, Network, RealNode, truc, wait_until

SPREAD_S: Final = 30


class Province:
    """A registrar below the root, with a folder beside the central one."""

    def __init__(self, network: Network, node: RealNode, code: str) -> None:
        self.network: Final = network
        self.node: Final = node
        self.code: Final = code
        self.folder: Final = network.folder / f"registrar-{code}"
        self.secret: Final = network.folder / f"registrar-{code}-passphrase"

    def found(self, part: str) -> None:
        """Keys and a request here, the delegation above, for one part of the tree. Raises: Failed."""
        self.secret.write_text(random.SystemRandom().randbytes(20).hex() + "\n")
        self.secret.chmod(0o400)
        made = self._sign("apply", self.code, self.network.directory, "--root-digest", self.network.root)
        central = self.network.folder
        above = ("--folder", central / "authority", "--passphrase-file", central / "authority-passphrase")
        words = ("delegate", self.code, "--keys", made["request"], "--part", part, "--urgent")
        truc("--json", "authority", *above, *words)

    def register(self, agency: Agency) -> dict[str, float]:
        """Register an agency, import the file at one node; seconds until each other node knew. Raises: Failed."""
        newest = self.network.folder / f"seen-{agency.code}.truc"
        self.node.truc("directory", "export", newest)
        self._sign("--seen", self.network.directory, "show")  # the delegation, as its file was handed back
        words = ("agency", "--code", agency.code, "--name", agency.name, "--host", self.node.place.centre)
        self._sign("--seen", newest, *words)
        others = [node for node in self.network.nodes if node is not self.node]
        self.node.truc("directory", "import", self.folder / "directory.truc")
        began, took = time.monotonic(), {}
        for node in others:
            wait_until(f"{node.place.name} knows {agency.code}", partial(knows, node, agency.code), SPREAD_S)
            took[node.place.name] = time.monotonic() - began
        return took

    def _sign(self, *words: object) -> Any:
        how = ("--json", "authority", "--folder", self.folder, "--passphrase-file", self.secret)
        return json.loads(truc(*how, *words))


def knows(node: RealNode, code: str) -> bool:
    """Whether the node's directory has this agency."""
    api = node.api()
    try:
        api.get(f"/v1/directory/{code}")
    except Refused:
        return False
    finally:
        api.close()
    return True
