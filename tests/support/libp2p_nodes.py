"""Whole nodes over real libp2p in one process: LevelDB, the tree of `tree.py`, loopback TCP.

Every centre of the tree runs as `run_node` with a `Libp2pTransport` and knows the addresses of the
others from its configuration. Their APIs are called without sockets.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from node.daemon import Node, NodeSettings, run_node
from node.keyring import Keyring
from node.libp2p.transport import PROTOCOLS, Libp2pTransport
from node.logs import LineSink, make_log
from node.metrics import Metrics
from storage.store import create_store
from tests.support.api_node import ApiNode, TreeEnvironment, config_of
from tests.support.ports import free_port
from tests.support.tree import Tree, key_seed


@asynccontextmanager
async def libp2p_nodes(
    folder: Path,
    tree: Tree,
    *,
    without: Collection[str] = (),
    apart: Collection[tuple[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
    protocols: Collection[str] = PROTOCOLS,
) -> AsyncIterator[dict[str, ApiNode]]:
    """A running node for every centre but those `without` one, by centre code. Those that are `apart`
    know of each other, and tell others, addresses at which nobody listens. Streams are of these `protocols`."""
    addresses = {code: (f"/ip4/127.0.0.1/tcp/{free_port()}",) for code in tree.centres}
    nodes: dict[str, ApiNode] = {}
    with ExitStack() as closing:
        async with trio.open_nursery() as nursery:
            for code in (code for code in tree.centres if code not in without):
                (folder / code).mkdir()  # a test's empty folder
                hidden = {other for pair in apart if code in pair for other in pair}
                seen = {other: _nowhere() if other in hidden - {code} else at for other, at in addresses.items()}
                told = {"addresses": _nowhere()} if hidden else {}
                special = {**(settings or {}), **told}
                nodes[code] = await nursery.start(
                    partial(run_one, folder / code, tree, code, seen, closing, settings=special, protocols=protocols)
                )
            yield nodes
            nursery.cancel_scope.cancel()


def _nowhere() -> tuple[str, ...]:
    return (f"/ip4/127.0.0.1/tcp/{free_port()}",)


async def run_one(
    folder: Path,
    tree: Tree,
    code: str,
    addresses: Mapping[str, tuple[str, ...]],
    closing: ExitStack,
    *,
    incarnation: bytes = b"",
    settings: Mapping[str, Any] | None = None,
    protocols: Collection[str] = PROTOCOLS,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """One node until cancelled; started with its `ApiNode`."""
    centre, environment, metrics, lines = tree.centres[code], TreeEnvironment(), Metrics(), io.StringIO()
    log = make_log(LineSink(lines), environment)
    store = create_store(folder, incarnation=incarnation or key_seed(9, code)[:16])
    closing.callback(store.close)
    store.write(tuple(tree.imported().changes))
    keyring = Keyring(
        signers={"": centre.signer},
        sealing={centre.sealing.key_id: centre.sealing},
        vault_key=key_seed(1, f"{code} vault"),
        identity_seed=centre.identity_seed,
    )
    async with trio.open_nursery() as nursery:
        node: Node = await nursery.start(
            partial(
                run_node,
                settings=NodeSettings(
                    **{
                        "centre": code,
                        "anchor": tree.anchor,
                        "addresses": addresses[code],
                        "contacts": addresses,
                        **(settings or {}),
                    }
                ),
                environment=environment,
                transport=Libp2pTransport(
                    identity_seed=centre.identity_seed,
                    listen=addresses[code],
                    metrics=metrics,
                    log=log,
                    protocols=protocols,
                ),
                store=store,
                keyring=keyring,
                metrics=metrics,
                log=log,
            )
        )
        task_status.started(ApiNode(node, folder, lines, config_of(folder), environment, tree))
