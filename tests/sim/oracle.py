"""Judges a world that has settled: notebooks against notebooks, and both against every disk.

Obeys DESIGN §8 "Oracle"; outside the code under test. It believes what software was told, what
lies durable on the disks (`durable.py`), and its own verification of signatures and chains.
`wire_watch.py` is the other half, which judges every byte at the moment it leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from protocol.body_digest import BodyHasher
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.delivery import SenderState
from protocol.errors import TrucError
from protocol.receipt import RECEIPT, Receipt, verify_chain
from protocol.records import (
    IN,
    OUT,
    Arrival,
    BodyUse,
    Document,
    Incoming,
    Journal,
    Link,
    Outgoing,
    Owed,
    Pair,
    Queued,
    Return,
    SealedHeader,
    Thing,
    Uncollected,
)
from protocol.signing import PublicKey, Signed, Verifier
from storage.head import SegmentUse
from tests.sim.disk import Disk
from tests.sim.durable import Durable
from tests.sim.notebook import Arrived, Notebook, Sending
from tests.sim.verdict import Sentence, Verdict

THING_BYTES_MAX: Final = 128 * 1024
DAY_SECONDS: Final = 86_400
EXPIRED: Final = frozenset({"expired_unsent", "expired_unconfirmed"})
ENDED: Final = EXPIRED | {"refused", "recipient_closed", "cancelled"}
"""Nothing more will come of these; whether that is right is judged at the end."""


class Oracle:
    """All checks over one world. `keys` are the centres' operational keys, `host_of` agency → centre."""

    def __init__(
        self,
        verdict: Verdict,
        disks: Mapping[str, Disk],
        notebooks: Mapping[str, Notebook],
        host_of: Mapping[str, str],
        keys: Mapping[str, PublicKey],
    ) -> None:
        self._verdict: Final = verdict
        self._disks: Final = disks
        self._durable: Final = {centre: Durable(disk) for centre, disk in disks.items()}
        self._notebooks: Final = notebooks
        self._host_of: Final = host_of
        self._keys: Final = keys
        self._verifier: Final = Verifier()

    # --- while the world settles ----------------------------------------------------------------

    def open_ends(self) -> list[str]:
        """What still has to happen before everything is settled, in words; few are enough."""
        ends = [f"{agency} is busy" for agency, notebook in self._notebooks.items() if not notebook.is_idle]
        for notebook in self._notebooks.values():
            for sending in notebook.acknowledged():
                ends += [end for recipient in sending.recipients if (end := self._open_end(sending, recipient))]
                if len(ends) > 5:
                    return ends
        return ends or [end for centre in self._disks for end in self._debts(centre)]

    def _debts(self, centre: str) -> list[str]:
        counts = {kind.__name__: len(self._durable[centre].all(kind)) for kind in (Owed, Return)}
        return [f"{centre} still owes {count} {name}" for name, count in counts.items() if count]

    def _open_end(self, sending: Sending, recipient: str) -> str:
        state, codes = sending.outcomes.get(recipient, ""), sending.codes.get(recipient, ())
        if state in ENDED:
            return ""
        arrived = self._arrived(sending, recipient)
        if len(arrived) != 1:
            return f"{sending.key} was met {len(arrived)} times by {recipient} ({state or 'unseen'})"
        expected = 2 + len(arrived[0].answered)
        return "" if len(codes) >= expected else f"{sending.key} to {recipient}: {codes} of {expected} links are back"

    def _arrived(self, sending: Sending, recipient: str) -> list[Arrived]:
        notebook = self._notebooks[recipient]
        return [one for one in notebook.arrived.values() if one.subject == sending.subject]

    # --- the judgement --------------------------------------------------------------------------

    def judge(self) -> None:
        """Every sentence that can be judged from what is left."""
        for notebook in self._notebooks.values():
            for sending in notebook.acknowledged():
                self._judge_sending(sending)
            self._judge_collected(notebook)
        for centre in self._disks:
            self._judge_records(centre)
            self._judge_outbox(centre)
            self._judge_inbox(centre)
        self.judge_bodies()

    def _judge_sending(self, sending: Sending) -> None:
        for recipient in sending.recipients:
            where = f"{sending.key} from {sending.issuer} to {recipient}"
            state, arrived = sending.outcomes.get(recipient, ""), self._arrived(sending, recipient)
            self._require(len(arrived) <= 1, Sentence.TWICE, f"{where} is {len(arrived)} consignments")
            if state == "expired_unsent":
                self._require(not arrived, Sentence.FORGOTTEN, f"{where} is called unsent and has arrived")
            if state in EXPIRED:
                due = bool(sending.expires_days) and trio.current_time() >= sending.expires_days * DAY_SECONDS
                self._require(due, Sentence.FORGOTTEN, f"{where} has expired before its time")
            else:
                met = bool(arrived) and arrived[0].digests == sending.digests
                self._require(met, Sentence.FORGOTTEN, f"{where} is {state or 'unseen'} and was not met whole")
                self._judge_answers(sending, recipient, arrived)

    def _judge_answers(self, sending: Sending, recipient: str, arrived: Sequence[Arrived]) -> None:
        codes = sending.codes.get(recipient, ())
        for code, sequence in [pair for one in arrived for pair in one.answered]:
            back = sequence < len(codes) and codes[sequence] == code
            self._require(back, Sentence.FORGOTTEN, f"{code:02d} of {recipient} on {sending.key} is not in {codes}")
        self._require(codes.count(100) <= 1, Sentence.CHAIN, f"{sending.key} was collected more than once: {codes}")

    def _judge_collected(self, notebook: Notebook) -> None:
        durable = self._durable[self._host_of[notebook.agency]]
        held = {row.consignment.hex() for row in durable.all(Incoming)}
        open_ones = {row.consignment.hex() for row in durable.all(Uncollected)}
        for arrived in notebook.arrived.values():
            self._require(arrived.consignment in held, Sentence.FORGOTTEN, f"{arrived.subject} at {notebook.agency}")
            again = arrived.collected and arrived.consignment in open_ones
            self._require(not again, Sentence.FORGOTTEN, f"the collect of {arrived.subject} at {notebook.agency}")

    # --- one store ------------------------------------------------------------------------------

    def _judge_records(self, centre: str) -> None:
        """Counts, indexes and numbers agree with what they count and index."""
        durable = self._durable[centre]
        owed = Counter((row.recipient, 3 - row.urgency) for row in durable.all(Owed))
        counted = {(row.recipient, row.lane): row.count for row in durable.all(Queued)}
        agrees = all(owed.get(place, 0) == count for place, count in counted.items()) and set(owed) <= set(counted)
        self._require(agrees, Sentence.FORGOTTEN, f"{centre} counts {counted} and owes {dict(owed)}")
        arrivals = Counter(row.consignment for row in durable.all(Arrival))
        self._require(all(n == 1 for n in arrivals.values()), Sentence.TWICE, f"{centre} lists one arrival twice")
        for pair in durable.all(Pair):
            numbers = [row.number for row in durable.all(Journal, pair.centre)]
            gapless = numbers == list(range(1, pair.given + 1))
            self._require(gapless, Sentence.JOURNAL, f"{centre} → {pair.centre}: {pair.given} given, {numbers} kept")

    def _judge_outbox(self, centre: str) -> None:
        durable = self._durable[centre]
        open_count: Counter[bytes] = Counter()
        for entry in durable.all(Outgoing):
            open_count[entry.envelope_id] += not entry.settled_ms
            links = durable.all(Link, OUT, entry.consignment)
            host = self._host_of[entry.recipient]
            self._judge_chain(durable, entry, links, self._keys[host], f"{entry.recipient}'s word at {centre}")
            whole = len(links) == entry.next_receipt
            self._require(whole, Sentence.CHAIN, f"{centre} counts {entry.next_receipt} links of {len(links)}")
            theirs = self._durable[host].all(Link, IN, entry.consignment)
            same = [row.receipt for row in links] == [row.receipt for row in theirs][: len(links)]
            self._require(same, Sentence.FORK, f"{centre} and {host} differ on {entry.consignment.hex()[:12]}")
            if entry.state == SenderState.EXPIRED_UNSENT:
                self._require(not theirs, Sentence.FORGOTTEN, f"{centre} calls unsent what {host} holds")
        for document in durable.all(Document):
            right = document.unsettled == open_count[document.envelope_id]
            self._require(right, Sentence.FORGOTTEN, f"{centre} miscounts open consignments of a document")

    def _judge_inbox(self, centre: str) -> None:
        durable = self._durable[centre]
        for entry in durable.all(Incoming):
            links = durable.all(Link, IN, entry.consignment)
            self._judge_chain(durable, entry, links, self._keys[centre], f"{centre}'s own word")
            self._require(
                len(links) == entry.next_receipt and bool(links), Sentence.CHAIN, f"{centre} holds a broken chain"
            )
            issuer = self._durable[self._host_of[entry.issuer]]
            owed = issuer.get(Outgoing, entry.consignment) is not None
            self._require(owed, Sentence.FORGOTTEN, f"{centre} holds what {entry.issuer}'s node has never owed")

    def _judge_chain(
        self, durable: Durable, entry: Outgoing | Incoming, links: Sequence[Link], key: PublicKey, where: str
    ) -> None:
        """Signatures and links, from the bytes."""
        try:
            statement = self._thing(durable, entry.statement)
            consignment: Consignment = CONSIGNMENT.decode(statement.statement)
            chain: list[tuple[Receipt, bytes]] = []
            for link in links:
                signed = self._thing(durable, link.receipt)
                self._verifier.verify(signed, key)
                chain.append((RECEIPT.decode(signed.statement), signed.digest))
            verify_chain(consignment, statement.digest, chain)
        except (TrucError, AssertionError) as error:
            self._verdict.objects(Sentence.CHAIN, f"{where} on {entry.consignment.hex()[:12]}: {error}")

    def _thing(self, durable: Durable, digest: bytes) -> Signed:
        thing = durable.get(Thing, digest)
        assert thing is not None, f"the thing {digest.hex()[:12]} is missing"
        signed = Signed.from_wire(thing.wire, bytes_max=THING_BYTES_MAX)
        assert signed.digest == digest, "a thing lies under another digest"
        return signed

    # --- bodies ---------------------------------------------------------------------------------

    def judge_bodies(self) -> None:
        """Whatever a durable record still needs is there, whole; true at every moment."""
        for centre in self._disks:
            self._judge_bodies(centre)

    def _judge_bodies(self, centre: str) -> None:
        durable = self._durable[centre]
        wanted = self._wanted_bodies(durable)
        for digest in wanted:
            content = durable.body_bytes(digest)
            sound = content is not None and _digest(content) == digest
            self._require(sound, Sentence.FORGOTTEN, f"a body that {centre} still needs: {digest.hex()[:12]}")
        negative = any(use.live < 0 for use in durable.all(SegmentUse))
        self._require(not negative, Sentence.BROKEN, f"{centre} counts less than nothing in a segment")

    def _wanted_bodies(self, durable: Durable) -> set[bytes]:
        """Bodies of documents and consignments whose keys are still kept."""
        kept: list[Any] = [row for row in durable.all(Document) if row.wrapped_key]
        kept += [row for row in durable.all(Incoming) if row.wrapped_key]
        for row in kept:
            header = durable.get(SealedHeader, row.envelope)
            self._require(header is not None, Sentence.FORGOTTEN, f"the header of {row.envelope.hex()[:12]}")
        used = {use.body for use in durable.all(BodyUse)}
        wanted = {part.digest for row in kept for part in row.parts}
        self._require(wanted <= used, Sentence.FORGOTTEN, "a body is needed and nobody counts on it")
        return wanted

    def look_for_clear_text(self, markers: Sequence[bytes]) -> None:
        """No subject and no content stands in clear in any file."""
        for centre, disk in self._disks.items():
            for name, content in disk.everything():
                for marker in markers:
                    self._require(marker not in content, Sentence.CLEAR, f"{marker!r} in {name} of {centre}")

    def _require(self, holds: bool, sentence: Sentence, detail: str) -> None:
        self._verdict.require(holds, sentence, detail)


def _digest(content: bytes) -> bytes:
    hasher = BodyHasher()
    hasher.update(content)
    return hasher.digest()
