"""A small world for step tests: real stores, real keys, a real directory, no network and no tasks.

    world = World()                                    # the demo's tree: G22, G22.99, G12, H38
    sent = world.submit("G22", ["H38"], [b"content"])  # everything is durable when it returns
    world.deliver(sent.step)                           # carries what was sent until all is quiet

A `Side` is one node: it computes a step, makes its changes durable as the committer would, and
gives the step back. `forged` makes offers that an honest node would never make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from node.frames import FrameMaker
from node.pump import STEPS
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.directory_view import DirectoryView
from protocol.document import Metadata
from protocol.envelope import ENVELOPE, HEADER, Envelope, Header, Lane, PartRef, PartSecret
from protocol.exchange import Ack, Frame, NotNow, Offer, Returned
from protocol.limits import DAY_MS
from protocol.receipt import RECEIPT, Receipt
from protocol.record import Change
from protocol.records import Deadline, Incoming, Outgoing, Thing
from protocol.refusal import REFUSAL, Refusal
from protocol.sealing import PartSealer, body_digest, header_keys, seal_header, stanza_info, wrap_stanza
from protocol.sending import DocumentAccepted
from protocol.signing import Ed25519Signer, Signed, Signer, Verifier, sign
from protocol.step import (
    Answered,
    Caller,
    Collected,
    DeadlineReached,
    Here,
    Input,
    OfferArrived,
    Offering,
    OfferPutOff,
    SealedPart,
    Send,
    Settings,
    Step,
    Submitted,
    ThingAcked,
    ThingReturned,
    View,
)
from protocol.step_signing import signed_changes
from storage.store import Store, create_on
from tests.sim.disk import Disk
from tests.support.tree import TREE_READY_MS, Tree, key_seed

SYSTEM: Final = bytes(range(16))
A, B, C = "00.01.W00", "00.02.W00", "00.03.W00"
"""The demo's centres: A hosts G22 and G22.99, B hosts G12, C hosts H38."""


def metadata(**changes: Any) -> Metadata:
    """Only what is compulsory."""
    return replace(Metadata(type="Công văn", subject="V/v họp", secrecy="none"), **changes)


def sealed_part(content: bytes, index: int = 0, **changes: Any) -> SealedPart:
    """A part whose sealed bytes are in memory; keys differ by index and content."""
    key = hashlib.sha256(b"part key %d" % index + content).digest()
    sealer = PartSealer(key)
    blob = sealer.feed(content) + sealer.finish()
    full = SealedPart(
        name=f"van-ban-{index}.pdf",
        media_type="application/pdf",
        key=key,
        body=sealer.body_digest,
        size=len(blob),
        plain_size=len(content),
        plain_digest=sealer.plain_digest,
        blob=blob,
    )
    return replace(full, **changes)


def caller(*agencies: str, system: bytes = SYSTEM, rights: Iterable[str] = ("send", "receive", "admin")) -> Caller:
    """Somebody who may act for these agencies."""
    return Caller(system=system, actor="kiểm thử", agencies=frozenset(agencies), rights=frozenset(rights))


def submitted(
    issuer: str, recipients: Iterable[str], contents: Sequence[bytes] = (b"content",), **changes: Any
) -> Submitted:
    """A document as the intake hands it to the step."""
    parts = tuple(sealed_part(content, index) for index, content in enumerate(contents))
    full = Submitted(
        caller=caller(issuer),
        key="key 1",
        request=hashlib.sha256(repr((issuer, tuple(recipients), list(contents))).encode()).digest(),
        parts_digest=hashlib.sha256(b"".join(part.plain_digest for part in parts)).digest(),
        issuer=issuer,
        recipients=tuple(recipients),
        lane=Lane.THUONG,
        metadata=metadata(),
        parts=parts,
        expires_ms=0,
    )
    return replace(full, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submitted document and the step that owned it."""

    envelope_id: bytes
    consignments: tuple[bytes, ...]
    step: Step

    @property
    def only(self) -> bytes:
        """The one consignment."""
        (consignment,) = self.consignments
        return consignment


class Side:
    """One node without network: steps, and a store in which they become durable at once."""

    def __init__(self, world: World, centre: str) -> None:
        self.world: Final = world
        self.centre: Final = centre
        self.keys: Final = world.tree.centres[centre]
        self.disk: Final = Disk(Random(1))
        self.incarnation: Final = key_seed(1, f"{centre} incarnation")[:16]
        self.store: Final[Store] = create_on(self.disk.key_value(), self.disk.folder(), incarnation=self.incarnation)
        self.signers: dict[str, Signer] = {"": self.keys.signer}
        self.chance: Final = Random(f"entropy {centre}")
        self.changes: dict[str, Any] = {}
        """Changes of `Here` for every step from now on."""
        self.learn()
        self.view: Final = View(records=self.store.view, directory=DirectoryView(self.store.view))
        self.frames: Final = FrameMaker(store=self.store, view=self.view, here=self.here, node_record=lambda: b"")

    def learn(self) -> None:
        """Take in everything that the tree has signed so far."""
        self.store.write(self.world.tree.imported(self.world.tree.clock_ms + DAY_MS).changes)

    def here(self, **changes: Any) -> Here:
        """This node at this moment."""
        full = Here(
            now_ms=self.world.now_ms,
            clock_quality=1,
            clock_trusted=True,
            centre=self.centre,
            incarnation=self.incarnation,
            entropy=self.chance.randbytes,
            vault_key=key_seed(1, f"{self.centre} vault"),
            sealing_keys={self.keys.sealing.key_id: self.keys.sealing},
            signing_keys={agency: signer.public.key_id for agency, signer in self.signers.items()},
            verifier=Verifier(),
            settings=Settings(),
        )
        return replace(full, **{**self.changes, **changes})

    def step(self, given: Input, **changes: Any) -> Step:
        """Compute a step; nothing is written."""
        return STEPS[type(given)](self.view, self.here(**changes), given)

    def do(self, given: Input, **changes: Any) -> Step:
        """Compute a step and make it durable."""
        step = self.step(given, **changes)
        self.store.write(self.signed(step.changes))
        return step

    def signed(self, changes: Iterable[Any]) -> list[Change]:
        """Changes with their statements signed, as the committer's worker does it."""
        return signed_changes(changes, self.signers)[0]

    # --- reading --------------------------------------------------------------------------------

    def get(self, record: type, *key: Any) -> Any:
        """A durable record; absent ones fail the test."""
        found: Any = self.store.committed.get(record, *key)
        assert found is not None, f"no {record.__name__} under {key}"
        return found

    def find(self, record: type, *key: Any) -> Any:
        """A durable record or None."""
        return self.store.committed.get(record, *key)

    def all(self, record: type, *prefix: Any) -> list[Any]:
        """All durable records of a kind."""
        return self.store.committed.scan(record, *prefix)

    def out(self, consignment: bytes) -> Outgoing:
        """An outbox entry."""
        found: Outgoing = self.get(Outgoing, consignment)
        return found

    def box(self, consignment: bytes) -> Incoming:
        """An inbox entry."""
        found: Incoming = self.get(Incoming, consignment)
        return found

    def thing(self, digest: bytes) -> Signed:
        """A stored signed thing."""
        wire = self.get(Thing, digest).wire
        return Signed.from_wire(wire, bytes_max=len(wire))

    # --- short words ------------------------------------------------------------------------------

    def collect(self, consignment: bytes, **changes: Any) -> Step:
        """The recipient's software has taken it."""
        entry = self.box(consignment)
        return self.do(Collected(caller=caller(entry.recipient), consignment=consignment), **changes)

    def answer(self, consignment: bytes, code: int, key: str = "", **more: Any) -> Step:
        """The recipient's software answers with a status."""
        return self.do(self.answered(consignment, code, key, **more))

    def answered(self, consignment: bytes, code: int, key: str = "", **more: Any) -> Answered:
        """The input of `answer`."""
        entry = self.box(consignment)
        request = hashlib.sha256(repr((consignment, code, sorted(more.items()))).encode()).digest()
        fitting = {
            "caller": caller(entry.recipient),
            "key": key or f"answer {code} {len(entry.codes)}",
            "request": request,
        }
        return Answered(**{**fitting, "consignment": consignment, "code": code, **more})

    def offer(self, *consignments: bytes, centre: str = C) -> Step:
        """The sender has room at this peer."""
        return self.do(Offering(centre=centre, consignments=consignments))

    def frame(self, send: Send) -> Frame:
        """What goes on the wire for a send."""
        found = self.frames.frame(send)
        assert found is not None, f"{send} makes no frame"
        return found


@dataclass
class World:
    """Some nodes and one clock."""

    tree: Tree = field(default_factory=Tree.make)
    now_ms: int = TREE_READY_MS
    sides: dict[str, Side] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for centre in self.tree.centres:
            self.side(centre)

    def side(self, centre: str) -> Side:
        """The node of a centre."""
        if centre not in self.sides:
            self.sides[centre] = Side(self, centre)
        return self.sides[centre]

    @property
    def a(self) -> Side:
        """The node of G22 and G22.99."""
        return self.side(A)

    @property
    def b(self) -> Side:
        """The node of G12."""
        return self.side(B)

    @property
    def c(self) -> Side:
        """The node of H38."""
        return self.side(C)

    def later(self, milliseconds: int) -> None:
        """Time goes by."""
        self.now_ms += milliseconds

    def host(self, agency: str) -> Side:
        """The node that hosts an agency now."""
        return self.side(self.tree.agencies[agency].host)

    def publish(self, record: Any, *signers: Signer) -> None:
        """A record is signed, and every node learns of it."""
        self.tree.clock_ms = max(self.tree.clock_ms, record.created_ms)
        self.tree.publish(record, *signers)
        for side in self.sides.values():
            side.learn()

    def move(self, agency: str, host: str) -> None:
        """An agency moves to another host, endorsed by the old one; everybody knows at once."""
        before = self.tree.agencies[agency]
        record = self.tree.next_agency(agency, host=host, epoch=before.epoch + 1)
        self.publish(record, self.tree.centres[before.host].signer)

    def submit(
        self, issuer: str, recipients: Sequence[str], contents: Sequence[bytes] = (b"content",), **changes: Any
    ) -> Submission:
        """A document is owned by the issuer's node."""
        side = self.host(issuer)
        given = submitted(issuer, recipients, contents, **{"expires_ms": self.now_ms + 30 * DAY_MS, **changes})
        step = side.do(given)
        assert isinstance(step.reply, DocumentAccepted)
        consignments = [entry for entry in side.all(Outgoing) if entry.envelope_id == step.reply.envelope_id]
        ids = {entry.recipient: entry.consignment for entry in consignments}
        return Submission(
            envelope_id=step.reply.envelope_id, consignments=tuple(ids[code] for code in recipients), step=step
        )

    def accepted(self, issuer: str = "G22", recipient: str = "H38", contents: Sequence[bytes] = (b"content",)) -> bytes:
        """A consignment that was delivered and whose first receipt has settled."""
        sent = self.submit(issuer, [recipient], contents, key=f"{issuer} {recipient} {contents!r}")
        host = self.host(issuer)
        self.deliver(host, host.offer(sent.only, centre=self.host(recipient).centre))
        return sent.only

    def arrival(self, sender: Side, send: Send) -> tuple[Side, Input]:
        """Who hears a send, and as which input."""
        frame, to = sender.frame(send), self.side(send.centre)
        match frame:
            case Offer():
                return to, OfferArrived(centre=sender.centre, offer=frame)
            case Returned():
                return to, ThingReturned(centre=sender.centre, returned=frame)
            case Ack():
                return to, ThingAcked(centre=sender.centre, thing=frame.thing)
            case NotNow():
                return to, OfferPutOff(centre=sender.centre, answer=frame)
        raise AssertionError(f"{frame} is no input")

    def deliver(self, side: Side, step: Step) -> list[Send]:
        """Carry what was sent, and what that leads to, until all is quiet; everything that was sent, in order."""
        waiting = [(side, send) for send in step.sends]
        carried: list[Send] = []
        while waiting:
            sender, send = waiting.pop(0)
            carried.append(send)
            to, given = self.arrival(sender, send)
            waiting += [(to, answer) for answer in to.do(given).sends]
        return carried


def reach(side: Side, **changes: Any) -> Step:
    """Everything that has fallen due by now is decided."""
    due = tuple((one.at_ms, one.what, one.subject) for one in side.all(Deadline) if one.at_ms <= side.world.now_ms)
    return side.do(DeadlineReached(due=due), **changes)


# --- what an honest node would not make -----------------------------------------------------------


def signed_by(side: Side, form: Any, value: Any, signer: Signer | None = None) -> Signed:
    """A statement as a signed thing."""
    return sign(form.name, form.encode(value), signer or side.keys.signer)


def receipt_of(world: World, consignment: bytes, signer: Signer | None = None, /, **changes: Any) -> Signed:
    """The next receipt of a chain as the issuer's node expects it, changed at will."""
    entry = world.a.out(consignment)
    full = Receipt(
        consignment=consignment,
        envelope=entry.envelope,
        issuer=entry.issuer,
        recipient=entry.recipient,
        epoch=1,
        incarnation=world.c.incarnation,
        sequence=entry.next_receipt,
        previous=entry.head,
        code=1 if entry.next_receipt == 0 else 3,
        time_ms=world.now_ms,
    )
    return signed_by(world.c, RECEIPT, replace(full, **changes), signer)


def refusal_of(world: World, consignment: bytes, signer: Signer | None = None, /, **changes: Any) -> Signed:
    """A refusal of a consignment by its recipient's node, judged by the records of now."""
    entry = world.a.out(consignment)
    directory = world.c.view.directory
    parties = [directory.party(code, at_ms=world.now_ms) for code in (entry.issuer, entry.recipient)]
    full = Refusal(
        consignment=consignment,
        envelope=entry.envelope,
        recipient=entry.recipient,
        code="policy",
        judged_by=tuple(sorted({digest for party in parties if party for digest in party.records})),
        time_ms=world.now_ms,
    )
    return signed_by(world.c, REFUSAL, replace(full, **changes), signer)


def returned(thing: Signed, centre: str = C, number: int = 1) -> ThingReturned:
    """A peer brings a thing."""
    return ThingReturned(centre=centre, returned=Returned(number=number, thing=thing.to_wire()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgery:
    """Everything an offer is made of, each of it to be changed: by default an honest one."""

    world: World
    issuer: str = "G22"
    recipient: str = "H38"
    contents: tuple[bytes, ...] = (b"content",)
    content_key: bytes = bytes(32)
    wrapped_key: bytes | None = None
    """What the stanza holds instead of the content key."""
    plain: tuple[bytes, ...] = ()
    """What the header says the parts are, instead of what they are."""
    header: dict[str, Any] = field(default_factory=dict)
    header_plain: bytes | None = None
    envelope: dict[str, Any] = field(default_factory=dict)
    consignment: dict[str, Any] = field(default_factory=dict)
    offer: dict[str, Any] = field(default_factory=dict)
    signer: Ed25519Signer | None = None
    envelope_format: str = ENVELOPE.name
    info_epoch: int = 1

    def make(self) -> Offer:
        """The offer."""
        world = self.world
        parts = [sealed_part(content, index) for index, content in enumerate(self.contents)]
        secrets = tuple(self._secret(part, index) for index, part in enumerate(parts))
        header = Header(
            **{"metadata": metadata(), "idempotency_key": "k", "system": SYSTEM, "parts": secrets, **self.header}
        )
        keys = header_keys(self.content_key, bytes(16))
        sealed = seal_header(keys.header_key, self.header_plain or HEADER.encode(header))
        fitting = {
            "envelope_id": bytes(16),
            "issuer": self.issuer,
            "created_ms": world.now_ms,
            "expires_ms": world.now_ms + DAY_MS,
            "lane": 0,
            "commitment": keys.commitment,
            "header_digest": body_digest(sealed),
            "header_size": len(sealed),
            "parts": tuple(PartRef(part.body, part.size) for part in parts),
        }
        signer = self.signer or world.a.keys.signer
        envelope = sign(self.envelope_format, ENVELOPE.encode(Envelope(**{**fitting, **self.envelope})), signer)
        about = {
            "envelope": envelope.digest,
            "issuer": self.issuer,
            "recipient": self.recipient,
            "created_ms": world.now_ms,
            **self.consignment,
        }
        consignment = Consignment(**about)
        key = world.c.keys.sealing
        info = stanza_info(key.key_id, consignment.id, envelope.digest, self.recipient, self.info_epoch)
        full = Offer(
            number=1,
            envelope=envelope.to_wire(),
            consignment=sign(CONSIGNMENT.name, CONSIGNMENT.encode(consignment), signer).to_wire(),
            key_id=key.key_id,
            stanza=wrap_stanza(self.wrapped_key or self.content_key, key.public_raw, info),
            epoch=1,
            header=sealed,
            inline=tuple(part.blob or b"" for part in parts),
        )
        return replace(full, **self.offer)

    def _secret(self, part: SealedPart, index: int) -> PartSecret:
        plain_size, plain_digest = part.plain_size, part.plain_digest
        if self.plain:
            plain_digest = hashlib.sha256(self.plain[index]).digest()
        return PartSecret(
            key=part.key, name=part.name, media_type=part.media_type, plain_size=plain_size, plain_digest=plain_digest
        )

    def arrives(self, centre: str = A) -> OfferArrived:
        """The offer at the recipient's node."""
        return OfferArrived(centre=centre, offer=self.make())


def consignment_of(offer: Offer) -> bytes:
    """The id of the consignment that an offer carries."""
    thing = Signed.from_wire(offer.consignment, bytes_max=len(offer.consignment))
    return CONSIGNMENT.decode(thing.statement).id
