"""The demo's fourth node: it comes by an anchor file, is registered, and knows the whole directory before it runs.

Obeys DESIGN §5 and `protocol/spec/joining.md`, by the commands that its operator, the registrar and an operator of the
network type: `truc anchor`, `truc join`, `truc authority centre`, `truc directory import`, `truc join` again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Final

from scripts.real.network import READY_S, Failed, Network, Place, RealNode, free_port, introduce, truc, wait_until

SEEN_S: Final = 60


def join_by_anchor(network: Network, place: Place, tell: Callable[[str], None] = lambda _: None) -> RealNode:
    """A registered node that knows the directory, not started yet. Raises: Failed."""
    first = network.nodes[0]
    anchor, home = network.folder / "network.truc-anchor", network.folder / place.name
    address = f"/ip4/127.0.0.1/tcp/{free_port()}"
    tell(f"truc anchor {anchor.name}")
    first.truc("anchor", anchor, "--name", "Trình diễn")
    where = ("--listen", address, "--announce", address, "--tcp", "")
    who = ("--centre", place.centre, "--name", place.agencies[0].name, "--make-passphrase")
    tell(f"truc join {anchor.name} --centre {place.centre}")
    asked = json.loads(truc("--json", "join", anchor, "--folder", home, *who, *where, "--wait", "0"))
    node = RealNode(home, place, address=address, peer_id="")
    introduce(node, ())
    tell("truc authority centre, agency")
    _register(network, place, asked["request"])
    first.truc("directory", "import", network.directory)
    tell(f"truc join {anchor.name}")
    joined = json.loads(truc("--json", "join", anchor, "--folder", home))
    if not (joined["joined"] and joined["registered"]):
        raise Failed(f"truc join: {joined}")
    return node


def _register(network: Network, place: Place, request: str) -> None:
    """What the registrar does with the request."""
    newest = network.folder / f"seen-{place.centre}.truc"
    network.nodes[0].truc("directory", "export", newest)
    how = ("--folder", network.folder / "authority", "--passphrase-file", network.folder / "authority-passphrase")
    truc("--json", "authority", *how, "--seen", newest, "centre", request)
    for agency in place.agencies:
        words = ("agency", "--code", agency.code, "--name", agency.name, "--host", place.centre)
        truc("--json", "authority", *how, *words)


def start_among(network: Network, newcomer: RealNode) -> None:
    """Start it, and wait until every other node is connected with it. Raises: Failed."""
    newcomer.start()
    newcomer.wait_ready()
    for node in network.nodes:
        what = f"{node.place.name} connected with {newcomer.place.name}"
        wait_until(what, partial(_is_connected, node, newcomer.place.centre), READY_S + SEEN_S)


def _is_connected(node: RealNode, centre: str) -> bool:
    api = node.api()
    try:
        peers = api.get("/v1/peers")["items"]
    finally:
        api.close()
    return any(peer["centre"] == centre and peer["state"] in {"up", "connected"} for peer in peers)
