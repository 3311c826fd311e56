"""Watches every byte that nodes hand to the network, and compares it with what is durable then.

Part of the oracle (DESIGN §8): no receipt is visible before its record is durable, no offer
before it is owed, no acknowledgement before the thing is held; nothing is in clear; no number
is used twice. Frames are decoded with the protocol's own session, records with `durable.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from protocol import exchange
from protocol.consignment import CONSIGNMENT
from protocol.errors import TrucError
from protocol.exchange import Ack, Frame, Hello, NotNow, Offer, Returned, Session
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.receipt import RECEIPT, Receipt
from protocol.records import IN, Incoming, Journal, Link, Outgoing, Pair, Refused, SealedHeader, Thing
from protocol.refusal import REFUSAL, Refusal
from protocol.signing import Signed
from storage.head import Identity
from tests.sim.disk import Disk
from tests.sim.durable import Durable
from tests.sim.verdict import Sentence, Verdict

WIRE_BYTES_MAX: Final = STATEMENT_BYTES_MAX + 8192


class WireWatch:
    """A tap of `MemoryNetwork`. `seen` counts frames by type."""

    def __init__(self, disks: Mapping[str, Disk], verdict: Verdict, markers: Sequence[bytes]) -> None:
        self._durable: Final = {centre: Durable(disk) for centre, disk in disks.items()}
        self._verdict: Final = verdict
        self._markers: Final = markers
        self._longest: Final = max((len(marker) for marker in markers), default=1)
        self._sessions: Final[dict[tuple[int, str], Session]] = {}
        self._tails: Final[dict[tuple[int, str], bytes]] = {}
        self._numbers: Final[dict[tuple[str, str, int], bytes]] = {}
        self._refusals: Final[dict[tuple[str, bytes], bytes]] = {}
        self._receipts: Final[dict[tuple[bytes, bytes, int], bytes]] = {}
        self.seen: Final[Counter[str]] = Counter()

    def __call__(self, sender: str, receiver: str, protocol: str, number: int, piece: bytes) -> None:
        """Look at bytes at the moment a node lets them go."""
        if sender not in self._durable:
            return  # a villain may say what it likes
        self._look_for_clear_text(sender, number, piece)
        self._verdict.note("wire", sender, receiver, protocol.split("/")[2], number, len(piece))
        if protocol == exchange.PROTOCOL:
            session = self._sessions.setdefault((number, sender), Session(sender))
            try:
                frames = session.receive(piece)
            except TrucError as error:
                self._verdict.objects(Sentence.BROKEN, f"{sender} sent what is no exchange: {error}")
                return
            for frame in frames:
                self._frame(sender, receiver, frame)

    def _look_for_clear_text(self, sender: str, number: int, piece: bytes) -> None:
        longest = self._longest
        text = self._tails.get((number, sender), b"") + piece
        for marker in self._markers:
            if marker in text:
                self._verdict.objects(Sentence.CLEAR, f"{marker!r} went over the wire from {sender}")
        self._tails[(number, sender)] = text[-longest + 1 :] if longest > 1 else b""

    def _frame(self, sender: str, receiver: str, frame: Frame) -> None:
        self.seen[type(frame).__name__] += 1
        match frame:
            case Hello():
                self._hello(sender, receiver, frame)
            case Offer():
                self._offer(sender, receiver, frame)
            case Returned():
                self._returned(sender, receiver, frame)
            case Ack():
                held = self._durable[sender].get(Thing, frame.thing) is not None
                self._verdict.require(held, Sentence.EARLY, f"{sender} acknowledged {_short(frame.thing)} unheld")
                self._verdict.note("ack", sender, _short(frame.thing))
            case NotNow():
                self._verdict.note("not_now", sender, _short(frame.subject), frame.code, frame.retry_ms)
            case _:
                self._verdict.note(type(frame).__name__.lower(), sender)

    def _hello(self, sender: str, receiver: str, hello: Hello) -> None:
        durable = self._durable[sender]
        pair = durable.get(Pair, receiver) or Pair(centre=receiver)
        identity = durable.get(Identity)
        known = hello.given <= pair.given and hello.held <= pair.held
        self._verdict.require(known, Sentence.EARLY, f"{sender} greets {receiver} with marks that are not durable")
        same = identity is not None and identity.incarnation == hello.incarnation
        self._verdict.require(same, Sentence.EARLY, f"{sender} greets under another store's name")
        self._verdict.note("hello", sender, receiver, hello.given, hello.held)

    def _offer(self, sender: str, receiver: str, offer: Offer) -> None:
        signed = Signed.from_wire(offer.consignment, bytes_max=WIRE_BYTES_MAX)
        consignment = CONSIGNMENT.decode(signed.statement).id
        entry = self._durable[sender].get(Outgoing, consignment)
        offered = entry is not None and entry.offered_ms > 0
        self._verdict.require(offered, Sentence.EARLY, f"{sender} offers {_short(consignment)} before it is owed")
        self._number(sender, receiver, offer.number, signed.digest)
        self._verdict.note("offer", sender, receiver, _short(consignment), offer.number, len(offer.inline))

    def _returned(self, sender: str, receiver: str, returned: Returned) -> None:
        signed = Signed.from_wire(returned.thing, bytes_max=WIRE_BYTES_MAX)
        kept = self._durable[sender].get(Thing, signed.digest) is not None
        self._verdict.require(kept, Sentence.EARLY, f"{sender} returns {_short(signed.digest)} before it is durable")
        if returned.number:
            self._number(sender, receiver, returned.number, signed.digest)
        if signed.format == REFUSAL.name:
            self._refusal(sender, REFUSAL.decode(signed.statement), signed.digest)
        if signed.format == RECEIPT.name:
            self._receipt(sender, RECEIPT.decode(signed.statement), signed.digest)
        self._verdict.note("return", sender, receiver, _short(signed.digest), returned.number)

    def _refusal(self, sender: str, refusal: Refusal, digest: bytes) -> None:
        """Final, durable, the same for ever (DESIGN §3), and never beside a receipt."""
        durable, place = self._durable[sender], _short(refusal.consignment)
        first = self._refusals.setdefault((sender, refusal.consignment), digest)
        self._verdict.require(first == digest, Sentence.FORK, f"{sender} refuses {place} in two ways")
        row = durable.get(Refused, refusal.consignment)
        kept = row is not None and row.refusal == digest
        self._verdict.require(kept, Sentence.EARLY, f"{sender} refuses {place} before that is durable")
        held = durable.get(Incoming, refusal.consignment) is not None
        self._verdict.require(not held, Sentence.FORK, f"{sender} refuses {place}, which it holds")

    def _receipt(self, sender: str, receipt: Receipt, digest: bytes) -> None:
        """A receipt exists only if envelope and all parts are durable (DESIGN §3)."""
        durable = self._durable[sender]
        place = (receipt.consignment, receipt.incarnation, receipt.sequence)
        first = self._receipts.setdefault(place, digest)
        self._verdict.require(first == digest, Sentence.FORK, f"receipt {receipt.sequence} of {_short(place[0])}")
        link = durable.get(Link, IN, receipt.consignment, receipt.sequence)
        chained = link is not None and link.receipt == digest
        self._verdict.require(chained, Sentence.EARLY, f"receipt {receipt.sequence} of {_short(place[0])} unchained")
        entry = durable.get(Incoming, receipt.consignment)
        if entry is None:
            self._verdict.objects(Sentence.EARLY, f"receipt for {_short(place[0])}, which {sender} does not hold")
        elif entry.wrapped_key:  # not retired yet
            whole = durable.get(SealedHeader, entry.envelope) and all(durable.has_body(p.digest) for p in entry.parts)
            self._verdict.require(bool(whole), Sentence.EARLY, f"receipt for {_short(place[0])} without its parts")

    def _number(self, sender: str, receiver: str, number: int, thing: bytes) -> None:
        first = self._numbers.setdefault((sender, receiver, number), thing)
        self._verdict.require(first == thing, Sentence.JOURNAL, f"{sender} → {receiver} number {number}")
        row = self._durable[sender].get(Journal, receiver, number)
        durable = row is not None and row.thing == thing
        self._verdict.require(durable, Sentence.EARLY, f"{sender} → {receiver} number {number} is not in the journal")


def _short(digest: bytes) -> str:
    return digest.hex()[:12]
