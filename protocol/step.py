"""The one rule as types: inputs, what a step may read, and what a step may say.

> A step is a value. Every input goes through a pure function that returns a `Step`: records
> to make durable, and what may be seen *afterwards*. The node commits the records in one
> batch, then lets the effects out. Nothing else is allowed to talk. (DESIGN §1)

A `Send` names records and is read when it leaves; one that finds its peer gone is dropped,
because the record still owes it. The functions live in `sending.py`, `receiving.py`,
`acting.py` and `retention.py`; `node/pump.py` calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from protocol.envelope import Envelope, Header, Lane
from protocol.errors import TrucError
from protocol.exchange import NotNow, Offer, Returned
from protocol.record import Delete, Put, PutBody, Records
from protocol.sealing import SealingKey
from protocol.signing import PublicKey, Verifier

# --- what a step may read -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An agency as the directory shows it: one version of its record and of its host's.

    `signers` may sign its envelopes, consignments and statuses; `centre_signers` its arrivals,
    collections and refusals. Keys that were not valid at the time asked for are not in them.
    """

    code: str
    state: str
    successors: tuple[str, ...]
    centre: str
    epoch: int
    signers: Mapping[bytes, PublicKey]
    centre_signers: Mapping[bytes, PublicKey]
    sealing: tuple[bytes, bytes] | None
    """Key id and raw X25519 key that stanzas are wrapped for now."""
    records: tuple[bytes, ...]
    """Digests of the directory records this was read from."""
    own_keys: bool = False
    """The agency lists signing keys of its own."""


class Directory(Protocol):
    """What steps ask of the directory; implemented by `protocol/directory_view.py`."""

    def party(self, code: str, *, at_ms: int, epoch: int | None = None) -> Party | None:
        """The agency with this primary code at present (or as it was under `epoch`), with
        the keys that were valid at `at_ms`; None when no believed record names it."""
        ...

    def listed_keys(self, code: str) -> Mapping[bytes, PublicKey]:
        """Every key that was ever listed for this agency, a host of it or its successors, whether it counts or not."""
        ...

    def centre_exists(self, centre: str) -> bool:
        """A believed record names this centre."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything durable that a step may look at."""

    records: Records
    directory: Directory


def nothing_missing(_agency: str) -> str:
    """The answer where nobody demands certificates."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This node at this moment. Time and entropy are parameters, never fetched."""

    now_ms: int
    clock_quality: int
    clock_trusted: bool
    """False while the clock is suspicious: nothing is judged by time (DECISIONS, "Time")."""
    centre: str
    incarnation: bytes
    entropy: Callable[[int], bytes]
    vault_key: bytes
    sealing_keys: Mapping[bytes, SealingKey]
    signing_keys: Mapping[str, bytes]
    """Ids of the keys that this node signs with: the centre's under "", an agency's own under its code."""
    verifier: Verifier
    settings: Settings
    disk_low: bool = False
    """Less space is free than the operator wants kept: nothing new is taken in."""
    pki_missing: Callable[[str], str] = nothing_missing
    """By agency code: why its certificate does not do, where the operator demands a valid one; else empty."""
    signers_away: frozenset[str] = frozenset()
    """Of `signing_keys`, those that cannot be used at present: the signer process that holds them is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator may choose about delivery; times in milliseconds."""

    retention_ms: int = 35 * 86_400_000
    parts_bytes_max: int = 2**40
    pull_patience_ms: int = 86_400_000
    """Partly pulled bodies are kept this long for an offer that is not repeated."""


# --- what may come in -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPart:
    """A part whose body is sealed already. `blob` is set while the sealed bytes are only in memory."""

    name: str
    media_type: str
    key: bytes
    body: bytes
    size: int
    plain_size: int
    plain_digest: bytes
    upload_id: str = ""
    blob: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: a system and the person or process behind it, for the audit log."""

    system: bytes
    actor: str
    agencies: frozenset[str]
    rights: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Local software hands in a document. Codes are primary codes, resolved at the border."""

    caller: Caller
    key: str
    request: bytes
    """Digest of the canonical request; parts by upload id, or by content."""
    parts_digest: bytes
    """Digest of the plain digests of all parts."""
    issuer: str
    recipients: tuple[str, ...]
    lane: Lane
    metadata: Any
    parts: tuple[SealedPart, ...]
    expires_ms: int
    number_index: bytes = b""
    """Keyed hash of (issuer, year, number, notation); empty when the document has no number."""
    content: bytes = b""
    """Digest of what makes the document the same as another."""
    reuse_reason: str = ""
    """Why a number that is taken may be used again."""
    offer_now: frozenset[str] = frozenset()
    """Recipients whose peer has room at this moment: their offer leaves with this very batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """The sender has room for these consignments at this peer."""

    centre: str
    consignments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferArrived:
    """A peer offers a consignment."""

    centre: str
    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPutOff:
    """A peer answered *not now* to an offer or to a returned thing."""

    centre: str
    answer: NotNow


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingReturned:
    """A peer brings a receipt or a refusal."""

    centre: str
    returned: Returned


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingAcked:
    """A peer holds a receipt or refusal that we owed."""

    centre: str
    thing: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBody:
    """A body that was received whole, hashed and opened on its way to the disk."""

    digest: bytes
    size: int
    plain_digest: bytes
    plain_size: int
    put: Put | PutBody | None
    """The record that places it; None when the store held it already for this envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnsDue:
    """The returner brings what is owed to an issuer to its host: (consignment, slot) of each."""

    issuer: str
    owed: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodiesDurable:
    """All bodies of a pulled offer are durable."""

    centre: str
    offer: Offer
    bodies: tuple[VerifiedBody, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodiesFailed:
    """The bodies of a pulled offer cannot be had now (`code`), or are not what was signed."""

    centre: str
    offer: Offer
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Local software has safely taken a consignment."""

    caller: Caller
    consignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Local software answers a consignment with a status."""

    caller: Caller
    consignment: bytes
    code: int
    key: str
    request: bytes
    reason: str = ""
    staff_name: str = ""
    staff_position: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An exchange stream to this centre stands; our hello may tell what is durable."""

    centre: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUp:
    """The hello of this centre told incarnation and marks."""

    centre: str
    incarnation: bytes
    given: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineReached:
    """These deadlines (at_ms, what, subject) have passed."""

    due: tuple[tuple[int, int, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A change made by a part of the node that needs no decision: directory, access, uploads."""

    changes: tuple[Any, ...]
    why: str
    reply: Any = None


Input = (
    Submitted
    | Offering
    | OfferArrived
    | OfferPutOff
    | ThingReturned
    | ThingAcked
    | ReturnsDue
    | BodiesDurable
    | BodiesFailed
    | Collected
    | Answered
    | Connected
    | PeerUp
    | DeadlineReached
    | Recorded
)

# --- what a step may say --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSign:
    """A statement that becomes durable signed: by the agency's own key, or the centre's (`agency` empty).

    The committer signs all statements of one format and signer in a batch at once.
    """

    format: str
    statement: bytes
    agency: str = ""
    before: bytes = b""
    """The thing's wire when it was signed before: those signatures stay beside the new one."""


Change = Put | Delete | PutBody | ToSign


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Offer this consignment to its recipient's host."""

    centre: str
    consignment: bytes
    urgency: int = 3
    """0 for hoa_toc … 3 for thuong: it goes before less urgent ones that wait for the same line."""


@dataclass(frozen=True, slots=True)
class SendReturn:
    """Bring this receipt or refusal to the issuer's host."""

    centre: str
    thing: bytes
    number: int


@dataclass(frozen=True, slots=True)
class SendAck:
    """Say that this returned thing is durable here."""

    centre: str
    thing: bytes


@dataclass(frozen=True, slots=True)
class SendNotNow:
    """Put off: `subject` is a consignment id or a thing's digest; `retry_ms` from now."""

    centre: str
    subject: bytes
    code: str
    retry_ms: int


@dataclass(frozen=True, slots=True)
class SendHello:
    """Greet a peer with our marks of the pair journal, as they are durable."""

    centre: str
    given: int
    held: int


@dataclass(frozen=True, slots=True)
class SendHolding:
    """Tell that the offer's bodies are being pulled."""

    centre: str
    consignment: bytes


Send = SendHello | SendOffer | SendReturn | SendAck | SendNotNow | SendHolding


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """A document changed its state on this node: one log line, one count."""

    box: int
    consignment: bytes
    envelope_id: bytes
    agency: str
    peer_agency: str
    before: str
    state: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """An offer at this peer is answered: its place in the window is free."""

    centre: str
    consignment: bytes
    retry_ms: int = 0
    """When it was put off: may be offered again at this time (wall clock); else 0."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Something new is owed to this recipient."""

    recipient: str
    lane: int
    consignment: bytes
    offered: bool


@dataclass(frozen=True, slots=True)
class Acked:
    """A receipt or refusal of ours is acknowledged by this peer, or put off by it."""

    centre: str
    thing: bytes


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that must not happen between honest parties; logged and counted."""

    code: str
    centre: str
    subject: bytes


Event = StateChanged | Settled | Queued | Acked | Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRequest:
    """Pull the bodies of this offer from the peer that made it."""

    centre: str
    offer: Offer
    consignment: bytes
    envelope: Envelope
    header: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an input leads to. Everything but `changes` waits until the batch is durable.

    `reply` goes to whoever waits for the input; `error` is raised there instead, after the
    batch that the decision was read from.
    """

    changes: tuple[Change, ...] = ()
    sends: tuple[Send, ...] = ()
    events: tuple[Event, ...] = ()
    body_requests: tuple[BodyRequest, ...] = ()
    deadline_ms: int | None = None
    reply: Any = None
    error: TrucError | None = None
    can_wait: bool = False
    """Nobody waits for this: it starts no batch of its own, but goes with the next one."""


NOTHING: Final = Step()
