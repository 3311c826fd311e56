"""The demo: a document with two files goes from one agency to three, one node is killed, the statuses come back.

    python -m scripts.real.demo [--folder .demo] [--keep | --stop]

Three nodes as processes, connected over libp2p; document software as processes of its own, which know only
the local API. Then a province's own registrar signs a change that spreads while the nodes run, and a fourth
node joins by an anchor file. Exit 0 only if every file arrived with its SHA-256, nothing was lost or doubled, the
evidence of each delivery verifies off-line, and every node knows the change. `scripts/demo` installs what it
needs and runs this.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.real.desks import Desk, read_register, token_of
from scripts.real.network import (
    ROOT,
    Agency,
    Failed,
    Network,
    Place,
    RealNode,
    make_network,
    obey_sigterm,
    stop_left_over,
    wait_until,
)
from scripts.real.newcomer import join_by_anchor, start_among
from scripts.real.papers import APPENDIX, LETTER, make_docx, make_pdf
from scripts.real.province import Province, knows

AGENCIES: Final = ROOT / "configs" / "demo" / "agencies_level1.csv"
INVENTED: Final = Agency("G22.99", "Vụ Thử nghiệm (hư cấu)")
NEWCOMER: Final = Place(name="g99", centre="00.99.W00", agencies=(Agency("G99", "Cơ quan mới (hư cấu)"),))
BELOW: Final = Agency("H38.99", "Sở Thử nghiệm (hư cấu)")
RECIPIENTS: Final = ("G12", "H38", "G22.99")
KILLED: Final = "H38"
CHAIN: Final = [1, 100, 3, 4, 5, 6]
"""Arrived, collected, accepted, assigned, in progress, finished."""
STEP_S: Final = 60
MARK: Final = "made-by-scripts-demo"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def tell(vi: str, en: str) -> None:
    """A line in both languages."""
    print(f"demo: {vi}\n      {en}", flush=True)


def show(command: str) -> None:
    """A command that is being played."""
    print(f"      {command}", flush=True)


def places() -> tuple[Place, ...]:
    """The three nodes, with names and codes from the table of level-1 agencies."""
    with AGENCIES.open(encoding="utf-8", newline="") as file:
        names = {row["code_qd20"]: row["name_vi"] for row in csv.DictReader(file)}
    known = {code: Agency(code, names[code]) for code in ("G22", "G12", "H38")}
    return (
        Place(name="g22", centre="00.22.W00", agencies=(known["G22"], INVENTED)),
        Place(name="g12", centre="00.12.W00", agencies=(known["G12"],)),
        Place(name="h38", centre="00.38.W00", agencies=(known["H38"],)),
    )


def host_of(network: Network, agency: str) -> RealNode:
    """The node of an agency."""
    return next(node for node in network.nodes if agency in {item.code for item in node.place.agencies})


# --- the story ------------------------------------------------------------------------------


class Story:
    """One run: what was sent, and to whom."""

    def __init__(self, network: Network) -> None:
        self.network: Final = network
        self.folder: Final = network.folder
        self.sender: Final = network.node("g22")
        self.files: Final = {"công-văn.pdf": make_pdf(LETTER), "phụ-lục.docx": make_docx(APPENDIX)}
        self.document = ""
        self.joined: list[RealNode] = []

    def stop(self) -> None:
        """Stop the nodes that came later; those of the network are the caller's."""
        for node in self.joined:
            node.stop()

    def run(self) -> None:
        """All of it. Raises: Failed."""
        with contextlib.ExitStack() as closing:
            desks = {code: self._desk(code) for code in RECIPIENTS}
            for desk in desks.values():
                closing.callback(desk.stop)
            self._submit()
            self._kill_and_restart(desks[KILLED])
            for desk in desks.values():
                desk.wait_for("answered", 4, STEP_S)
        self._wait_for_receipts()
        self._check_files()
        self._check_nothing_doubled()
        self._show_timeline()
        self._check_evidence()
        self._change_the_directory()
        self._let_one_join()

    def _desk(self, agency: str) -> Desk:
        pause = ("--pause",) if agency == KILLED else ()
        return Desk(host_of(self.network, agency), [agency], self.folder / "received" / agency, "--count", "1", *pause)

    def _submit(self) -> None:
        """Two uploads, then the document, through the sender's socket with a token for G22."""
        originals = self.folder / "sent"
        originals.mkdir()
        api = self.sender.api(token_of(self.sender, ["G22"], "send", "report").read_text().strip())
        for number, (name, content) in enumerate(self.files.items()):
            (originals / name).write_bytes(content)
            api.upload(f"cv-123-{number}", content)
        made = api.post("/v1/documents", document_of(list(self.files)), key="cv-123-VPCP-KSTT")
        api.close()
        self.document = made["id"]
        sizes = ", ".join(f"{name} ({len(content):,} byte)" for name, content in self.files.items())
        tell(f"G22 đã gửi {self.document}: {sizes}", f"G22 handed it in, for {', '.join(RECIPIENTS)}")

    def _kill_and_restart(self, desk: Desk) -> None:
        """Its node dies after the document came and before anything was collected or answered."""
        desk.wait_for("fetched", 1, STEP_S)
        desk.node.kill()
        tell(f"nút của {KILLED} bị kill -9: văn bản đã đến, chưa có trạng thái nào",
             f"the node of {KILLED} was killed (-9): the document had arrived, no status was given yet")  # fmt: skip
        desk.proceed()
        desk.node.start()
        desk.node.wait_ready()
        tell(f"nút của {KILLED} chạy lại", f"the node of {KILLED} runs again")

    # --- checking -----------------------------------------------------------------------------

    def _deliveries(self) -> list[Mapping[str, Any]]:
        api = self.sender.api()
        try:
            found: list[Mapping[str, Any]] = api.get(f"/v1/documents/{self.document}")["recipients"]
        finally:
            api.close()
        return found

    def _wait_for_receipts(self) -> None:
        def complete() -> bool:
            return all(codes_of(delivery) == CHAIN for delivery in self._deliveries())

        try:
            wait_until("every receipt at the sender", complete, STEP_S)
        except Failed as error:
            chains = {delivery["recipient"]: codes_of(delivery) for delivery in self._deliveries()}
            raise Failed(f"{error}: {chains}") from error
        tell("G22 đã có đủ biên nhận 01 đến 06 của cả ba nơi nhận",
             "G22 has the receipts 01 to 06 of all three recipients")  # fmt: skip

    def _check_files(self) -> None:
        for agency in RECIPIENTS:
            for name, content in self.files.items():
                [copy] = (self.folder / "received" / agency).glob(f"csg_*/{name}")
                found, wanted = (hashlib.sha256(item).hexdigest() for item in (copy.read_bytes(), content))
                if found != wanted:
                    raise Failed(f"{copy}: sha256 {found}, sent was {wanted}")
                print(f"      {wanted}  {agency:7} {name}")
        tell("mọi tệp nhận được đúng từng byte (sha256)", "every file arrived bit by bit (sha256)")

    def _check_nothing_doubled(self) -> None:
        """One consignment in each inbox, one collect in each register, nothing left to take."""
        for agency in RECIPIENTS:
            api = host_of(self.network, agency).api()
            inbox = api.get("/v1/inbox", state="all", agency=agency)["items"]
            left = api.get("/v1/inbox", agency=agency)["items"]
            api.close()
            register = read_register(self.folder / "received" / agency)
            collected = [row["consignment"] for row in register if row["event"] == "collected"]
            if [item["consignment"] for item in inbox] != collected or len(collected) != 1 or left:
                raise Failed(f"{agency}: inbox {inbox}, collected {collected}, left {left}")
        tell("không mất, không trùng", "nothing was lost, nothing was doubled")

    def _change_the_directory(self) -> None:
        """A province registers a body in its own part of the tree; the other nodes hear of it while they run."""
        province = Province(self.network, self.network.node("h38"), "H38")
        province.found(BELOW.code)
        took = province.register(BELOW)
        told = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in took.items())
        tell(f"cơ quan đăng ký của H38 đã ký {BELOW.code} {BELOW.name}, nạp vào nút của H38; kể từ đó: {told}",
             f"H38's own registrar signed {BELOW.code}; from its node on the others knew in: {told}")  # fmt: skip

    def _let_one_join(self) -> None:
        """A fourth node comes by an anchor file; it knows everything, the province's change too, before it runs."""
        newcomer = join_by_anchor(self.network, NEWCOMER, tell=show)
        self.joined.append(newcomer)
        start_among(self.network, newcomer)
        if not knows(newcomer, BELOW.code):
            raise Failed(f"{NEWCOMER.centre} joined and does not know {BELOW.code}")
        tell(f"nút thứ tư {NEWCOMER.centre} vào mạng bằng tệp mốc tin cậy, đã nối với cả ba nút và có đủ danh bạ",
             f"a fourth node, {NEWCOMER.centre}, joined by an anchor file and knows the directory")  # fmt: skip

    def _show_timeline(self) -> None:
        for language, title in (("vi", "Diễn biến tại nút gửi"), ("en", "The story at the sender's node")):
            print(f"\n{title}: {self.document}\n{self.sender.truc('--lang', language, 'trace', self.document)}")
        api = self.sender.api()
        moments = api.get(f"/v1/trace/{self.document}")["items"]
        api.close()
        receipts = [moment for moment in moments if moment["box"] == "outbox" and moment["code"] is not None]
        if len(receipts) != len(RECIPIENTS) * len(CHAIN) or not all(receipt["verified"] for receipt in receipts):
            raise Failed(f"receipts that do not verify: {receipts}")

    def _check_evidence(self) -> None:
        (self.folder / "evidence").mkdir()
        for delivery in self._deliveries():
            path = self.folder / "evidence" / f"{delivery['recipient']}.truc-evidence"
            self.sender.truc("evidence", "export", delivery["consignment"], "--out", path)
            command = [sys.executable, "-m", "protocol.evidence", str(path), "--root", self.network.root, "--json"]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise Failed(f"{path}: {ran.stdout}{ran.stderr}")
        tell(f"bằng chứng của cả ba nơi nhận đúng, kiểm tra ngoại tuyến: {self.folder.name}/evidence/",
             "the evidence of all three deliveries verifies off-line (python -m protocol.evidence)")  # fmt: skip


def document_of(names: list[str]) -> dict[str, Any]:
    """The request of the demo's document."""
    media = {".pdf": "application/pdf", ".docx": DOCX}
    return {
        "issuer": "G22",
        "recipients": list(RECIPIENTS),
        "lane": "khan",
        "metadata": {
            "type": "Công văn",
            "number": "123",
            "notation": "VPCP-KSTT",
            "issued_on": "2026-11-20",
            "subject": "V/v kết nối trục liên thông văn bản (trình diễn)",
            "secrecy": "none",
            "signers": [{"position": "Phó Chủ nhiệm", "name": "Nguyễn Văn A"}],
        },
        "parts": [
            {"name": name, "media_type": media[Path(name).suffix], "upload_id": f"cv-123-{number}"}
            for number, name in enumerate(names)
        ],
    }


def codes_of(delivery: Mapping[str, Any]) -> list[int]:
    """The receipts of a delivery, as codes."""
    return [receipt["code"] for receipt in delivery["receipts"]]


# --- folder, keeping, stopping ----------------------------------------------------------------


def clear(folder: Path) -> None:
    """A fresh folder: what an earlier demo left is stopped and removed, nothing else ever is. Raises: Failed."""
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            raise Failed(f"{folder} is not a folder of this demo; name another with --folder")
        stop_left_over(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def add_command(folder: Path) -> None:
    """`bin/truc` in the demo's folder: the command with the interpreter that ran the demo."""
    path = folder / "bin" / "truc"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m node.cli.main "$@"\n')
    path.chmod(0o755)


def explain(network: Network) -> None:
    """How to go on by hand."""
    folder, sender = network.folder, network.node("g22")
    print(f"""
Các nút vẫn chạy. Thử tiếp: / The nodes keep running. Go on by hand:

  export PATH="{folder}/bin:$PATH" TRUC_CONFIG={sender.config}
  truc node; truc peers; truc outbox list; truc directory list
  truc --config {network.node("g12").config} inbox list --all
  curl --unix-socket {sender.socket} http://localhost/v1/node
  curl --unix-socket {sender.socket} -H "Authorization: Bearer $(cat {sender.folder}/G22.token)" \\
       http://localhost/v1/documents

Dừng lại: / Stop them:  scripts/demo --stop{"" if folder == ROOT / ".demo" else f" --folder {folder}"}
""")


def run(folder: Path, *, keep: bool) -> None:
    """Make the network, play the story, stop or keep the nodes. Raises: Failed."""
    clear(folder)
    add_command(folder)
    tell("lập khóa, cấu hình và danh bạ đã ký cho ba nút",
         "making keys, configurations and a signed directory for three nodes")  # fmt: skip
    network = make_network(folder, places(), tell=show)
    story, kept = Story(network), False
    try:
        network.start()
        for node in network.nodes:
            names = "; ".join(f"{agency.code} {agency.name}" for agency in node.place.agencies)
            print(f"      {node.place.centre}  pid {node.pid}  {node.address}  {names}")
        tell("ba nút đã nối với nhau qua libp2p", "the three nodes are connected over libp2p")
        story.run()
        kept = keep
    finally:
        if not kept:
            story.stop()
            network.stop()
    if kept:
        explain(network)


def main() -> int:
    """Read the words of the command; 0 if everything was as it must be."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo")
    parser.add_argument("--keep", action="store_true", help="leave the nodes running and say how to use them")
    parser.add_argument("--stop", action="store_true", help="end the nodes that --keep left running")
    options = parser.parse_args()
    folder = options.folder.absolute()
    if options.stop:
        print(f"demo: stopped {', '.join(stop_left_over(folder)) or 'nothing: no node of this folder runs'}")
        return 0
    started = time.monotonic()
    obey_sigterm()
    try:
        run(folder, keep=options.keep)
    except Failed as error:
        print(f"demo: FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"demo: xong / done: {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
