"""A real node with its API for tests: LevelDB in a folder, the tree of `tree.py`, no other machine.

The node is centre 00.01.W00 and hosts G22 and G22.99, so that a document from one to the other
travels over the loop-back link: same frames, same receiver. G12 and H38 are known and unreachable.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio

from node.api.app import make_app
from node.api.server import Bound, serve_api
from node.config import Config, make_config
from node.daemon import Node, NodeSettings, run_node
from node.environment import RealEnvironment
from node.keyring import Keyring, OutsideKey, SignerPlace
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.pki_anchors import PkiSettings
from protocol.step import Settings
from storage.store import Store, create_store, open_store
from tests.sim.network import MemoryNetwork
from tests.support.tree import TREE_READY_MS, Tree, key_seed

CENTRE = "00.01.W00"
RIGHTS = ("send", "receive", "report")


class TreeEnvironment(RealEnvironment):
    """The machine's, but the wall clock starts when the tree is a day old."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = TREE_READY_MS - super().now_ms()

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class ApiNode:
    """A running node, its app, and the log it wrote."""

    node: Node
    folder: Path
    log: io.StringIO
    config: Config
    environment: TreeEnvironment
    tree: Tree
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        self.app = make_app(self.node, self.config.api)

    def client(self, token: str | None = None, *, uid: int | None = None, host: str = "localhost") -> httpx.AsyncClient:
        """A client of the app without sockets; with `uid` as over the Unix socket."""
        state: dict[str, Any] = {"listener": "tcp"} if uid is None else {"listener": "unix", "user": (1, uid, uid)}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": dict(state)}, receive, send)

        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=f"http://{host}", headers=headers, timeout=30
        )

    def admin(self) -> httpx.AsyncClient:
        """The administrator over the Unix socket."""
        return self.client(uid=0)

    async def token(self, *agencies: str, rights: tuple[str, ...] = RIGHTS) -> str:
        """A new system's token."""
        async with self.admin() as admin:
            body = {"name": f"phần mềm {' '.join(agencies)}", "agencies": list(agencies), "rights": list(rights)}
            answer = await admin.post("/v1/access", json=body)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["token"])

    async def system(self, *agencies: str, rights: tuple[str, ...] = RIGHTS) -> httpx.AsyncClient:
        """A client with a new system's token."""
        return self.client(await self.token(*agencies, rights=rights))

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def config_of(folder: Path, **api: Any) -> Config:
    """A configuration for a test: socket in the folder, TCP port chosen by the system."""
    values = {
        "config_version": 1,
        "data_dir": str(folder),
        "node": {"centre": CENTRE},
        "api": {"tcp": "127.0.0.1:0", **api},
        "storage": {"disk_floor_bytes": 0},
    }
    return make_config(values, folder / "node.toml")


def open_or_create(folder: Path, tree: Tree, *, joined: bool = True) -> Store:
    """The store of the folder; a new one believes the tree."""
    if (folder / "db").is_dir():
        return open_store(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = create_store(folder, incarnation=b"i" * 16)
    if joined:
        store.write(tuple(tree.imported().changes))
    return store


@asynccontextmanager
async def api_node(
    folder: Path,
    *,
    tree: Tree | None = None,
    joined: bool = True,
    settings: Settings | None = None,
    pki: PkiSettings | None = None,
    places: tuple[SignerPlace, ...] = (),
    **api: Any,
) -> AsyncIterator[ApiNode]:
    """Run a node; it is stopped, and its store closed, at the end. `places`: keys that are elsewhere."""
    tree = Tree.make() if tree is None else tree
    centre = tree.centres[CENTRE]
    environment, log_file = TreeEnvironment(), io.StringIO()
    store = open_or_create(folder, tree, joined=joined)
    keyring = Keyring(
        signers={"": centre.signer, **{place.agency: OutsideKey(place.public) for place in places}},
        sealing={centre.sealing.key_id: centre.sealing},
        vault_key=key_seed(1, "vault"),
        identity_seed=centre.identity_seed,
        places=places,
    )
    network = MemoryNetwork(Random(1))
    node_settings = NodeSettings(centre=CENTRE, anchor=tree.anchor, pki=pki or PkiSettings())
    if settings is not None:
        node_settings = replace(node_settings, delivery=settings)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run)
            node: Node = await nursery.start(
                partial(
                    run_node,
                    settings=node_settings,
                    environment=environment,
                    transport=network.transport(centre.peer_id, ("/memory/1",), centre=CENTRE),
                    store=store,
                    keyring=keyring,
                    metrics=Metrics(),
                    log=make_log(LineSink(log_file), environment),
                )
            )
            yield ApiNode(node, folder, log_file, config_of(folder, **api), environment, tree)
            nursery.cancel_scope.cancel()
    finally:
        store.close()


@asynccontextmanager
async def served(running: ApiNode, stop: trio.Event | None = None) -> AsyncIterator[Bound]:
    """The node's API on real sockets."""
    async with trio.open_nursery() as nursery:
        bound: Bound = await nursery.start(partial(serve_api, running.node, running.config, stop=stop))
        yield bound
        nursery.cancel_scope.cancel()


DOCUMENT: dict[str, Any] = {
    "issuer": "G22",
    "recipients": ["G22.99"],
    "metadata": {"type": "Công văn", "subject": "V/v thử nghiệm", "secrecy": "none"},
    "parts": [{"name": "ghi-chú.txt", "media_type": "text/plain", "content_base64": "eGluIGNow6Bv"}],
}
"""A small valid document; its part says "xin chào"."""
