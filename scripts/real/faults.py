"""Real faults: three nodes under load, and kill -9 of sender and recipient in turns.

    python -m scripts.real.faults kill [--rounds 3] [--folder FOLDER]

A round kills the sender and then a recipient, each only while at least 20 consignments are owed and
not yet settled, which it prints; the node is started again and must come back. After the last round
everything is brought to an end, and `checker.py` judges. Exit 0 only if it finds nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from scripts.real.api import Unreachable
from scripts.real.checker import Findings, check, documents_of
from scripts.real.desks import Desk, token_of
from scripts.real.load import Load
from scripts.real.network import (
    Agency,
    Failed,
    Network,
    Place,
    RealNode,
    make_network,
    obey_sigterm,
    wait_until,
)

IN_FLIGHT_MIN: Final = 20
OWED_MAX: Final = 60
"""Submitters wait above this: what piles up while a node is down has to be brought to an end later."""
CLIENTS: Final = 6
LOOK_S: Final = 0.05
FLIGHT_S: Final = 60
DRAIN_S: Final = 120
ANSWERS: Final = (3, 6)
CHAIN: Final = (1, 100, *ANSWERS)

INVENTED: Final = "Đơn vị hư cấu"
PLACES: Final = (
    Place(name="g22", centre="00.22.W00", agencies=(Agency("G22", "Văn phòng Chính phủ"),)),
    Place(name="g12", centre="00.12.W00", agencies=(Agency("G12", "Bộ Tài chính"), Agency("G12.01", INVENTED))),
    Place(name="h38", centre="00.38.W00", agencies=(Agency("H38", "UBND tỉnh Lào Cai"), Agency("H38.01", INVENTED))),
)
RECIPIENTS: Final = tuple(agency.code for place in PLACES[1:] for agency in place.agencies)


class Owed:
    """How many consignments the sender's node owes, as it says itself."""

    def __init__(self, sender: RealNode) -> None:
        self._sender: Final = sender
        self._lock: Final = threading.Lock()
        self._looked_s = 0.0
        self.count = 0

    def is_enough(self) -> bool:
        """Whether submitters should wait; asked by all of them, so the answer is a little old."""
        with self._lock:
            if time.monotonic() - self._looked_s > LOOK_S:
                self.look()
                self._looked_s = time.monotonic()
        return self.count >= OWED_MAX

    def look(self) -> int:
        """Ask; a node that is down is asked again later, and owes what it owed."""
        api = self._sender.api()
        found = self.count
        try:
            found = sum(api.get("/v1/node")["queued"].values())
        except Unreachable:
            pass
        finally:
            api.close()
        self.count = found
        return found


def play(network: Network, rounds: int) -> Findings:
    """All rounds and the judgement. Raises: Failed."""
    sender, *recipients = network.nodes
    owed = Owed(sender)
    token = token_of(sender, ["G22"], "send").read_text().strip()
    load = Load(sender, token, network.folder / "handed-in.jsonl", RECIPIENTS)
    with contextlib.ExitStack() as closing:
        desks = []
        for node in recipients:
            codes = [agency.code for agency in node.place.agencies]
            answers = ("--answers", ",".join(map(str, ANSWERS)))
            desks.append(Desk(node, codes, network.folder / "received" / node.place.name, *answers, "--forget"))
            closing.callback(desks[-1].stop)
        load.start(CLIENTS, owed.is_enough)
        closing.callback(load.stop)
        for number in range(rounds):
            for role, victim in (("sender", sender), ("recipient", recipients[number % len(recipients)])):
                in_flight = _wait_for_traffic(network, owed, load)
                _strike(f"round {number + 1}/{rounds} {role}", victim, in_flight)
        load.stop()
        _end(sender, owed, load)
        registers = [desk.folder for desk in desks]
    return check(
        sender=sender, root=network.root, handed_in=network.folder / "handed-in.jsonl", registers=registers,
        recipients=RECIPIENTS, chain=CHAIN,
    )  # fmt: skip


def _wait_for_traffic(network: Network, owed: Owed, load: Load) -> int:
    """Until all nodes are connected, enough is under way, and it moves; how much is. Raises: Failed."""
    seen = [owed.look()]

    def enough() -> bool:
        if load.failures:
            raise Failed("; ".join(load.failures))
        seen.append(owed.look())
        moved = seen[-1] != seen[0]
        return moved and seen[-1] >= IN_FLIGHT_MIN and network.reaches_all(network.nodes[0])

    wait_until(f"{IN_FLIGHT_MIN} consignments in flight", enough, FLIGHT_S, every_s=0.01)
    return seen[-1]


def _strike(about: str, victim: RealNode, in_flight: int) -> None:
    """Kill -9, and start the node again."""
    victim.kill()
    began = time.monotonic()
    victim.start()
    victim.wait_ready()
    back_s = time.monotonic() - began
    print(f"faults: {about}: {victim.place.name} killed with {in_flight} in flight, back in {back_s:.1f} s", flush=True)


def _end(sender: RealNode, owed: Owed, load: Load) -> None:
    """Wait until nothing is owed and every answer is back."""
    if load.failures:
        raise Failed("; ".join(load.failures))
    wait_until("nothing is owed any more", lambda: owed.look() == 0, DRAIN_S)

    def complete() -> bool:
        return all(
            len(delivery["receipts"]) >= len(CHAIN)
            for document in documents_of(sender)
            for delivery in document["recipients"]
        )

    # What is still missing after this time, the checker names one by one.
    with contextlib.suppress(Failed):
        wait_until("every answer is back", complete, DRAIN_S, every_s=0.5)


def run(folder: Path, rounds: int) -> bool:
    """One whole run in a fresh folder. Raises: Failed."""
    started = time.monotonic()
    network = make_network(folder, PLACES)
    try:
        network.start()
        print(f"faults: three nodes after {time.monotonic() - started:.1f} s", flush=True)
        findings = play(network, rounds)
    finally:
        network.stop()
    for trouble in findings.wrong[:50]:
        print(f"faults: WRONG: {trouble}")
    print(
        f"faults: {rounds} rounds, {2 * rounds} kills, {findings.documents} documents, "
        f"{findings.consignments} consignments, {findings.verified} chains verified, "
        f"{len(findings.wrong)} wrong, {time.monotonic() - started:.1f} s"
    )
    return not findings.wrong and findings.verified == findings.consignments > 0


def main() -> int:
    """Read the words of the command; 0 if nothing was lost or doubled."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("fault", choices=["kill"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep everything here; default: a folder that is removed again")
    options = parser.parse_args()
    obey_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="truc-faults-")) if options.folder is None else options.folder.absolute()
    try:
        good = run(folder, options.rounds)
    except Failed as error:
        print(f"faults: FAILED: {error}", file=sys.stderr)
        good = False
    if options.folder is None and good:
        shutil.rmtree(folder)
    elif not good:
        print(f"faults: everything is kept in {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
