"""Many peers of one node in one process: production nodes with real connections, that know only root and centres.

They connect, greet, ping and answer; what they do not do is ask for the rest of the directory, which would
measure this process. Their stores are in memory.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import trio

from node.daemon import Node, NodeSettings, run_node
from node.environment import RealEnvironment
from node.keyring import Keyring
from node.libp2p.transport import Libp2pTransport
from node.logs import LineSink, Log, make_log
from node.metrics import Metrics
from node.tasks import start
from protocol.directory_file import read_file
from protocol.sealing import SealingKey
from scripts.benchmarks.nation import Nation, centre_code, seed_of, signer_of
from storage.folder import OsFolder
from storage.kv import MemoryKeyValue
from storage.store import create_on


def keyring_of(centre: str) -> Keyring:
    """The keys of a made-up centre."""
    sealing = SealingKey(seed_of(f"sealing {centre}"))
    return Keyring(
        signers={"": signer_of(f"operational {centre}")},
        sealing={sealing.key_id: sealing},
        vault_key=seed_of(f"vault {centre}"),
        identity_seed=seed_of(f"identity {centre}"),
    )


async def light_peer(centre: str, given: argparse.Namespace, log: Log) -> None:
    """One of them until cancelled."""
    environment, metrics, keyring = RealEnvironment(), Metrics(), keyring_of(centre)
    folder = given.folder / centre
    folder.mkdir(parents=True)
    store = create_on(MemoryKeyValue(), OsFolder(folder), incarnation=os.urandom(16))
    transport = Libp2pTransport(
        identity_seed=keyring.identity_seed, listen=("/ip4/127.0.0.1/tcp/0",), announce=(), metrics=metrics, log=log
    )
    settings = NodeSettings(centre=centre, anchor=Nation().anchor, contacts={given.at: (given.address,)})
    async with trio.open_nursery() as nursery:
        node: Node = await start(
            nursery,
            partial(
                run_node,
                settings=settings,
                environment=environment,
                transport=transport,
                store=store,
                keyring=keyring,
                metrics=metrics,
                log=log,
            ),
        )
        node.room.sync.heard = lambda _centre, _digest: None  # type: ignore[assignment, method-assign]  # they ask nobody
        await node.room.door.take(read_file(given.seed.read_bytes()))


async def main(given: argparse.Namespace) -> None:
    """All of them until SIGTERM."""
    log = make_log(LineSink(sys.stderr), RealEnvironment(), level="error")
    async with trio.open_nursery() as nursery:
        for number in range(given.count):
            nursery.start_soon(light_peer, centre_code(number), given, log)
            await trio.sleep(0.05)  # one after the other: they are no storm


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="light peers")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--at", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--peer-id", required=True)
    parser.add_argument("--seed", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    trio.run(main, parser.parse_args())
