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
from protocol.directory import FORMATS, AgencyRecord, CentreRecord
from protocol.directory_import import about_code
from protocol.directory_kinds import DirectoryHistory, Subject
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
    Refused,
    Return,
    SealedHeader,
    Thing,
    Uncollected,
)
from protocol.signing import Signed, Verifier
from storage.head import SegmentUse
from tests.sim.country import Country
from tests.sim.disk import Disk
from tests.sim.durable import Durable
from tests.sim.expected import Expected
from tests.sim.notebook import Arrived, Notebook, Sending
from tests.sim.verdict import Sentence, Verdict

THING_BYTES_MAX: Final = 128 * 1024
DAY_SECONDS: Final = 86_400
EXPIRED: Final = frozenset({"expired_unsent", "expired_unconfirmed"})
ENDED: Final = EXPIRED | {"refused", "recipient_closed", "cancelled"}
"""Nothing more will come of these; whether that is right is judged at the end."""
ON_THE_WAY: Final = frozenset({"queued", "offered"})


class Oracle:
    """All checks over one world."""

    def __init__(
        self,
        verdict: Verdict,
        disks: Mapping[str, Disk],
        notebooks: Mapping[str, Notebook],
        country: Country,
        expected: Expected,
    ) -> None:
        self._verdict: Final = verdict
        self._disks: Final = disks
        self._durable: Final = {centre: Durable(disk) for centre, disk in disks.items()}
        self._notebooks: Final = notebooks
        self._country: Final = country
        self._expected: Final = expected
        self._host_of: Final = country.host_of
        self._verifier: Final = Verifier()
        self._signed: Final[dict[bytes, Signed]] = {}

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
        durable = self._durable[centre]
        owed = [row for row in durable.all(Owed) if not self._may_wait(durable, row)]
        returns = [row for row in durable.all(Return) if row.issuer in self._host_of]  # a villain acknowledges nothing
        counts = {"offers": len(owed), "returns": len(returns)}
        return [f"{centre} still owes {count} {name}" for name, count in counts.items() if count]

    def _may_wait(self, durable: Durable, owed: Owed) -> bool:
        """For its expiry: the recipient is closed, or the content is damaged."""
        if owed.recipient in self._expected.closed:
            return True
        entry = durable.get(Outgoing, owed.consignment)
        return entry is not None and self._is_damaged(entry.issuer, entry.envelope_id.hex())

    def _is_damaged(self, issuer: str, document: str) -> bool:
        """A bit has flipped in a body of this document, at its sender's."""
        host = self._host_of[issuer]
        damaged = self._disks[host].damaged
        row = self._durable[host].get(Document, bytes.fromhex(document)) if damaged else None
        return row is not None and any(part.digest in damaged for part in row.parts)

    def _open_end(self, sending: Sending, recipient: str) -> str:
        state, codes = sending.outcomes.get(recipient, ""), sending.codes.get(recipient, ())
        arrived = self._arrived(sending, recipient)
        if state in ENDED or (not arrived and self._may_stay(sending, recipient, state)):
            return ""
        if len(arrived) != 1:
            return f"{sending.key} was met {len(arrived)} times by {recipient} ({state or 'unseen'})"
        expected = 1 if arrived[0].damaged else 2 + len(arrived[0].answered)
        return "" if len(codes) >= expected else f"{sending.key} to {recipient}: {codes} of {expected} links are back"

    def _may_stay(self, sending: Sending, recipient: str, state: str) -> bool:
        """On its way for ever, which is told by what it waits for."""
        held = recipient in self._expected.closed or self._is_damaged(sending.issuer, sending.document)
        return state in ON_THE_WAY and held

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
            self._judge_directory(centre)
        self.judge_bodies()

    def _judge_sending(self, sending: Sending) -> None:
        for recipient in sending.recipients:
            where = f"{sending.key} from {sending.issuer} to {recipient}"
            state, arrived = sending.outcomes.get(recipient, ""), self._arrived(sending, recipient)
            self._require(len(arrived) <= 1, Sentence.TWICE, f"{where} is {len(arrived)} consignments")
            if state in EXPIRED:
                self._judge_expired(sending, where, state, arrived)
            elif state == "refused" or self._expected.is_refused(sending, recipient):
                meant = self._expected.is_refused(sending, recipient)
                right = meant and not arrived and (state == "refused" or self._may_stay(sending, recipient, state))
                self._require(right, Sentence.REFUSED, f"{where} is {state} and was met {len(arrived)} times")
            elif state == "recipient_closed" or self._may_stay(sending, recipient, state):
                closed = state in ON_THE_WAY or recipient in self._expected.closed
                self._require(closed and not arrived, Sentence.FORGOTTEN, f"{where} is {state}, which was not meant")
            else:
                self._judge_met(sending, recipient, where, arrived)

    def _judge_expired(self, sending: Sending, where: str, state: str, arrived: Sequence[Arrived]) -> None:
        if state == "expired_unsent":
            self._require(not arrived, Sentence.FORGOTTEN, f"{where} is called unsent and has arrived")
        due = bool(sending.expires_days) and trio.current_time() >= sending.expires_days * DAY_SECONDS
        self._require(due, Sentence.FORGOTTEN, f"{where} has expired before its time")

    def _judge_met(self, sending: Sending, recipient: str, where: str, arrived: Sequence[Arrived]) -> None:
        met = bool(arrived) and (arrived[0].digests == sending.digests or self._was_damaged(arrived[0]))
        self._require(met, Sentence.FORGOTTEN, f"{where} was not met whole")
        self._judge_answers(sending, recipient, arrived)

    def _was_damaged(self, arrived: Arrived) -> bool:
        """The recipient's node reported what a flipped bit explains."""
        host = self._host_of[arrived.agency]
        entry = self._durable[host].get(Incoming, bytes.fromhex(arrived.consignment))
        explained = entry is not None and any(part.digest in self._disks[host].damaged for part in entry.parts)
        return bool(arrived.damaged) and explained

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
            self._judge_chain(durable, entry, links, f"{entry.recipient}'s word at {centre}")
            whole = len(links) == entry.next_receipt
            self._require(whole, Sentence.CHAIN, f"{centre} counts {entry.next_receipt} links of {len(links)}")
            theirs = self._durable[host].all(Link, IN, entry.consignment)
            same = [row.receipt for row in links] == [row.receipt for row in theirs][: len(links)]
            self._require(same, Sentence.FORK, f"{centre} and {host} differ on {entry.consignment.hex()[:12]}")
            if SenderState(entry.state).name.lower() in ON_THE_WAY:
                self._require(bool(entry.waiting), Sentence.FORGOTTEN, f"{centre} owes and does not say what for")
            if entry.refusal_code:
                self._judge_refusal(centre, entry, links)
            if entry.state == SenderState.EXPIRED_UNSENT:
                self._require(not theirs, Sentence.FORGOTTEN, f"{centre} calls unsent what {host} holds")
        for document in durable.all(Document):
            right = document.unsettled == open_count[document.envelope_id]
            self._require(right, Sentence.FORGOTTEN, f"{centre} miscounts open consignments of a document")

    def _judge_refusal(self, centre: str, entry: Outgoing, links: Sequence[Link]) -> None:
        """Final, the same at both sides, and never beside a receipt."""
        host = self._host_of[entry.recipient]
        made = self._durable[host].get(Refused, entry.consignment)
        same = made is not None and (made.refusal, made.code) == (entry.refusal, entry.refusal_code)
        self._require(same, Sentence.FORK, f"{centre} holds a refusal that {host} has not made")
        held = links or self._durable[host].get(Incoming, entry.consignment) is not None
        self._require(not held, Sentence.FORK, f"{host} both refused and received {entry.consignment.hex()[:12]}")

    def _judge_inbox(self, centre: str) -> None:
        durable = self._durable[centre]
        for entry in durable.all(Incoming):
            links = durable.all(Link, IN, entry.consignment)
            self._judge_chain(durable, entry, links, f"{centre}'s own word")
            self._require(
                len(links) == entry.next_receipt and bool(links), Sentence.CHAIN, f"{centre} holds a broken chain"
            )
            host = self._host_of.get(entry.issuer)
            owed = host is not None and self._durable[host].get(Outgoing, entry.consignment) is not None
            self._require(owed, Sentence.FORGOTTEN, f"{centre} holds what {entry.issuer}'s node has never owed")

    def _judge_chain(self, durable: Durable, entry: Outgoing | Incoming, links: Sequence[Link], where: str) -> None:
        """Signatures and links, from the bytes."""
        try:
            statement = self._thing(durable, entry.statement)
            consignment: Consignment = CONSIGNMENT.decode(statement.statement)
            chain: list[tuple[Receipt, bytes]] = []
            for link in links:
                signed = self._thing(durable, link.receipt)
                self._verify(signed, entry.recipient, link.code)
                chain.append((RECEIPT.decode(signed.statement), signed.digest))
            verify_chain(consignment, statement.digest, chain)
        except (TrucError, AssertionError) as error:
            self._verdict.objects(Sentence.CHAIN, f"{where} on {entry.consignment.hex()[:12]}: {error}")

    def _verify(self, signed: Signed, agency: str, code: int) -> None:
        """Raises: TrustError, AssertionError."""
        named = {signature.key_id for signature in signed.signatures}
        keys = [key for key in self._country.may_sign(agency, code) if key.key_id in named]
        assert keys, f"nobody who may has signed {code:02d} for {agency}"
        for key in keys:
            self._verifier.verify(signed, key)

    @property
    def signed_again(self) -> int:
        """Receipts met in chains that bear the signatures of two keys."""
        return sum(len(signed.signatures) > 1 for signed in self._signed.values())

    def _thing(self, durable: Durable, digest: bytes) -> Signed:
        thing = durable.get(Thing, digest)
        assert thing is not None, f"the thing {digest.hex()[:12]} is missing"
        signed = self._signed.get(thing.wire)
        if signed is None:
            signed = self._signed[thing.wire] = Signed.from_wire(thing.wire, bytes_max=THING_BYTES_MAX)
        assert signed.digest == digest, "a thing lies under another digest"
        return signed

    def _judge_directory(self, centre: str) -> None:
        """Everything that was published is in force, and nothing older."""
        durable = self._durable[centre]
        heads = {(row.subject, row.code): row.versions[0].digest for row in durable.all(DirectoryHistory)}
        newest: dict[tuple[int, str], bytes] = {}
        for signed in self._country.tree.signed:
            value = FORMATS[signed.format].decode(signed.statement)
            if isinstance(value, AgencyRecord | CentreRecord):
                subject = Subject.AGENCY if isinstance(value, AgencyRecord) else Subject.CENTRE
                newest[int(subject), about_code(value)] = signed.digest
        behind = [code for (subject, code), digest in newest.items() if heads.get((subject, code)) != digest]
        self._require(not behind, Sentence.FORGOTTEN, f"{centre} has another version in force of {behind}")

    # --- bodies ---------------------------------------------------------------------------------

    def judge_bodies(self) -> None:
        """Whatever a durable record still needs is there, whole; true at every moment."""
        for centre in self._disks:
            self._judge_bodies(centre)

    def _judge_bodies(self, centre: str) -> None:
        durable = self._durable[centre]
        wanted = self._wanted_bodies(durable)
        for digest in wanted - self._disks[centre].damaged:
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
