"""After the faults: is anything lost, is anything doubled, does every chain hold?

Reads API answers and the clients' own files, nothing else (DESIGN §8: checkers outside the code under
test); evidence is verified as anybody would, off-line with the root's digest. Double delivery is as
DECISIONS "Inbox and cursors" has it: a consignment listed again after its collect was answered, or
one document under two consignment ids.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocol.errors import TrucError
from protocol.evidence import verify_evidence
from scripts.real.desks import read_register
from scripts.real.network import RealNode

PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was looked at, and everything that is wrong."""

    documents: int
    consignments: int
    verified: int
    wrong: tuple[str, ...]


def check(
    *, sender: RealNode, root: str, handed_in: Path, registers: Sequence[Path], recipients: Sequence[str],
    chain: Sequence[int],
) -> Findings:  # fmt: skip
    """Compare what submitters handed in, what the sender's node says, and what recipients' software has."""
    rows = [json.loads(line) for line in handed_in.read_text().splitlines()]
    api = sender.api()
    try:
        sent = list(documents_of(sender))
        wrong = judge(rows, sent, registers, recipients=recipients, chain=chain)
        verified = 0
        for consignment, codes in _consignments(sent):
            trouble = _unproved(api.content(f"/v1/evidence/{consignment}"), root, codes)
            wrong += [f"{consignment}: {trouble}"] if trouble else []
            verified += not trouble
    finally:
        api.close()
    found = len(list(_consignments(sent)))
    return Findings(documents=len(sent), consignments=found, verified=verified, wrong=tuple(wrong))


def judge(
    rows: Sequence[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]], registers: Sequence[Path], *,
    recipients: Sequence[str], chain: Sequence[int],
) -> list[str]:  # fmt: skip
    """Everything that is wrong between what was handed in, what the node lists, and what arrived."""
    return [*_keys(rows, sent), *_chains(sent, recipients, chain), *_arrivals(rows, sent, registers)]


def documents_of(node: RealNode) -> Iterator[Mapping[str, Any]]:
    """All documents that a node says it was handed."""
    api, cursor, more = node.api(), "", True
    try:
        while more:
            page = api.get("/v1/documents", after=cursor, limit=PAGE)
            yield from page["items"]
            cursor, more = page["next"], page["more"]
    finally:
        api.close()


def _consignments(sent: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[int]]]:
    for document in sent:
        for delivery in document["recipients"]:
            yield delivery["consignment"], [receipt["code"] for receipt in delivery["receipts"]]


def _keys(rows: Sequence[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every key that was said yes to is one document, and there are no others."""
    listed = Counter(document["id"] for document in sent)
    named = Counter(row["document"] for row in rows)
    yield from (f"{document}: accepted, but the node does not know it" for document in named.keys() - listed.keys())
    yield from (f"{document}: nobody's key brought it" for document in listed.keys() - named.keys())
    yield from (f"{document}: {count} times" for document, count in (listed | named).items() if count > 1)


def _chains(sent: Sequence[Mapping[str, Any]], recipients: Sequence[str], chain: Sequence[int]) -> Iterator[str]:
    """Each recipient once, with exactly these receipts."""
    for document in sent:
        if sorted(delivery["recipient"] for delivery in document["recipients"]) != sorted(recipients):
            yield f"{document['id']}: wrong recipients"
        for delivery in document["recipients"]:
            codes = [receipt["code"] for receipt in delivery["receipts"]]
            numbers = [receipt["sequence"] for receipt in delivery["receipts"]]
            if codes != list(chain) or numbers != list(range(len(chain))):
                yield f"{document['id']} for {delivery['recipient']}: receipts {codes} numbered {numbers}"


def _arrivals(
    rows: Sequence[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]], registers: Sequence[Path]
) -> Iterator[str]:
    """What the recipients' software has is what was handed in: all of it, once, bit by bit."""
    files = {row["document"]: row["files"] for row in rows}
    owed = {consignment for consignment, _ in _consignments(sent)}
    taken: dict[str, str] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    for folder in registers:
        collected: set[str] = set()
        for event in read_register(folder):
            consignment = event["consignment"]
            if event["event"] == "listed" and consignment in collected:
                yield f"{consignment}: listed again after it was collected"
            elif event["event"] == "collected":
                collected.add(consignment)
            elif event["event"] == "fetched" and consignment not in taken:
                taken[consignment] = event["document"]
                pairs[event["document"], event["recipient"]] += 1
                if event["files"] != files.get(event["document"]):
                    yield f"{consignment}: other files than were handed in"
        yield from (f"{consignment}: fetched, never collected" for consignment in _left(folder, collected))
    yield from (f"{consignment}: never arrived" for consignment in owed - taken.keys())
    yield from (f"{consignment}: nobody sent it" for consignment in taken.keys() - owed)
    yield from (f"{pair}: {count} consignments of one document" for pair, count in pairs.items() if count > 1)


def _left(folder: Path, collected: set[str]) -> set[str]:
    return {event["consignment"] for event in read_register(folder) if event["event"] == "fetched"} - collected


def _unproved(file: bytes, root: str, codes: Sequence[int]) -> str:
    """Why the evidence does not prove this chain; nothing if it does."""
    try:
        proof = verify_evidence(file, root=bytes.fromhex(root))
    except TrucError as error:
        return f"evidence: {error.code} {error.field}"
    proved = [int(receipt.value.code) for receipt in proof.receipts]
    return "" if proved == list(codes) else f"evidence proves {proved}, the node says {codes}"
