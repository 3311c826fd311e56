"""How a change of the directory spreads over real nodes: processes on this machine, libp2p, LevelDB.

    python -m scripts.real.spread [--nodes 20] [--changes 20] [--missed 500] [--folder FOLDER]

A registrar signs with `truc authority`, one node imports the file, and every other node says in its change feed
when it had made it durable; all of them read one clock. Then a node that was stopped for many changes catches
up, and at last everybody starts again without announcements and still comes to know. Exit 0 if
every change reached every node.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.real.network import (
    Agency,
    Failed,
    Network,
    Place,
    RealNode,
    make_network,
    obey_sigterm,
    truc,
    wait_until,
)

SPREAD_S: Final = 60
"""A change that is not everywhere by then has failed to spread; the figure is what counts."""
MISSED_S: Final = 180
HOST: Final = "00.01.W00"
PARENT: Final = "H01"


def tell(line: str) -> None:
    """A line of the report."""
    print(f"spread: {line}", flush=True)


class Spread:
    """One network, and what is signed in it."""

    def __init__(self, network: Network) -> None:
        self._network: Final = network
        self._given = 0
        secret = network.folder / "authority-passphrase"
        folder = network.folder / "authority"
        self._sign: Final = ("--json", "authority", "--folder", folder, "--passphrase-file", secret)

    # --- signing ------------------------------------------------------------------------------

    def change(self) -> str:
        """One more agency; its code."""
        self._given += 1
        code = f"{PARENT}.{self._given}"
        truc(*self._sign, "agency", "--code", code, "--name", f"Đơn vị {self._given}", "--host", HOST)
        return code

    def changes(self, count: int) -> str:
        """Many more agencies in one act; the code of the last one."""
        plan = self._network.folder / "plan.csv"
        codes = [f"{PARENT}.{self._given + number}" for number in range(1, count + 1)]
        self._given += count
        lines = [f"{code},,Đơn vị {code},,{HOST},{PARENT},,,," for code in codes]
        header = "code,state,name,name_en,host,parent,kind,aliases,successors,decision"
        plan.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        truc(*self._sign, "reorganise", plan)
        return codes[-1]

    # --- watching -----------------------------------------------------------------------------

    def spread(self, code: str, source: RealNode, nodes: Sequence[RealNode], seconds: float = SPREAD_S) -> list[float]:
        """Import at one node what is signed; seconds until each other node had the code. Raises: Failed."""
        cursors = {node.place.name: cursor_of(node) for node in (source, *nodes)}
        source.truc("directory", "import", self._network.directory)
        times: dict[str, float] = {}
        for node in (source, *nodes):
            times[node.place.name] = self._known_at(node, code, cursors[node.place.name], seconds)
        first = times.pop(source.place.name)
        return [max(0.0, at - first) for at in times.values()]

    def _known_at(self, node: RealNode, code: str, cursor: str, seconds: float) -> float:
        found: list[float] = []

        def look() -> bool:
            found[:] = [at for at, one in news(node, cursor) if one == code]
            return bool(found)

        wait_until(f"{node.place.name} knows {code}", look, seconds, every_s=0.2)
        return found[0]


def cursor_of(node: RealNode) -> str:
    """The end of a node's change feed."""
    api = node.api()
    try:
        page: dict[str, Any] = api.get("/v1/directory/changes", limit=1000)
        while page["more"]:
            page = api.get("/v1/directory/changes", limit=1000, after=page["next"])
    finally:
        api.close()
    return str(page["next"])


def news(node: RealNode, cursor: str) -> list[tuple[float, str]]:
    """When a node made what durable, behind a cursor."""
    api = node.api()
    found: list[tuple[float, str]] = []
    try:
        more = True
        while more:
            page: dict[str, Any] = api.get("/v1/directory/changes", limit=1000, after=cursor)
            found += [(datetime.fromisoformat(item["at"]).timestamp(), item["code"]) for item in page["items"]]
            cursor, more = page["next"], page["more"]
    finally:
        api.close()
    return found


def knows(node: RealNode, code: str) -> bool:
    """Whether a node has an agency in its directory."""
    api = node.api()
    try:
        api.get(f"/v1/directory/{code}")
    except Exception:  # noqa: BLE001  # not yet ready, or not yet known: both are "no" here
        return False
    finally:
        api.close()
    return True


# --- the three questions ----------------------------------------------------------------------


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1))]


def line_of(what: str, seconds: Sequence[float]) -> str:
    """Median and 99th percentile in milliseconds."""
    p50, p99 = (1000 * quantile(seconds, share) for share in (0.5, 0.99))
    return f"{what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {1000 * max(seconds):.0f} ms over {len(seconds)} arrivals"


def reach_all(spread: Spread, network: Network, count: int) -> list[float]:
    """So many changes, each imported at another node."""
    seconds: list[float] = []
    for number in range(count):
        source = network.nodes[number % len(network.nodes)]
        others = [node for node in network.nodes if node is not source]
        seconds += spread.spread(spread.change(), source, others)
    return seconds


def catch_up(spread: Spread, network: Network, missed: int) -> None:
    """A node sleeps through many changes."""
    *others, sleeper = network.nodes
    sleeper.stop()
    last = spread.changes(missed)
    spread.spread(last, others[0], others[1:], MISSED_S)
    started = time.monotonic()
    sleeper.start()
    sleeper.wait_ready()
    ready = time.monotonic()
    wait_until(f"{sleeper.place.name} knows {last}", partial(knows, sleeper, last), MISSED_S)
    known = time.monotonic()
    tell(
        f"stopped for {missed} changes: known {known - ready:.2f} s after ready, "
        f"{known - started:.2f} s after the start"
    )


def without_announcements(network: Network) -> None:
    """Start everybody again with announcements switched off."""
    network.stop()
    for node in network.nodes:
        text = node.config.read_text(encoding="utf-8")
        section = "[directory]\n"
        text = (
            text.replace(section, f"{section}announce = false\n")
            if section in text
            else f"{text}\n{section}announce = false\n"
        )
        node.config.write_text(text, encoding="utf-8")
    for node in network.nodes:
        node.start()
    for node in network.nodes:
        node.wait_ready()
    for node in network.nodes:
        wait_until(f"{node.place.name} connected", partial(network.reaches_all, node), SPREAD_S)


def run(folder: Path, options: argparse.Namespace) -> None:
    """All three. Raises: Failed."""
    places = [
        Place(name=f"n{n:02d}", centre=f"00.{n:02d}.W00", agencies=(Agency(f"H{n:02d}", f"Tỉnh {n} (hư cấu)"),))
        for n in range(1, options.nodes + 1)
    ]
    network = make_network(folder, places)
    try:
        network.start()
        tell(f"{len(network.nodes)} processes, all connected; announcements on")
        spread = Spread(network)
        tell(line_of(f"{options.changes} changes", reach_all(spread, network, options.changes)))
        catch_up(spread, network, options.missed)
        without_announcements(network)
        tell(line_of(f"{options.quiet} changes without announcements", reach_all(spread, network, options.quiet)))
    finally:
        network.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/rehearsal directory", description="How a change spreads.")
    parser.add_argument("--nodes", type=int, default=20, help="processes")
    parser.add_argument("--changes", type=int, default=20, help="changes with announcements")
    parser.add_argument("--quiet", type=int, default=5, help="changes without announcements")
    parser.add_argument("--missed", type=int, default=500, help="changes that a stopped node misses")
    parser.add_argument("--folder", type=Path, default=None, help="keep everything here")
    options = parser.parse_args(arguments)
    obey_sigterm()
    with contextlib.ExitStack() as closing:
        folder = options.folder
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="truc-spread-"))
            closing.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            run(folder, options)
        except Failed as error:
            tell(f"FAILED: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
