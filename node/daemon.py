"""One node, put together and started in order, stopped in reverse.

Obeys DESIGN §8: `run_node` takes its seams (environment, transport, store, keys); `node/main.py`
builds the real ones, the simulator its own. Tasks are started here by name and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from node.access import Access
from node.admitting import NOBODY, Admissions, admissions, tell_doubled
from node.body_server import BodyServer
from node.boxes import Boxes
from node.clock import ClockWatch
from node.committer import Committer
from node.conduct import Conducts
from node.counting import Counting
from node.directory import Directory, node_statement
from node.directory_room import DirectoryRoom
from node.environment import Environment
from node.external_signer import ExternalSigner
from node.frames import FrameMaker
from node.housekeeping import Housekeeping
from node.intake import Intake
from node.introduction import Introducer, Introductions
from node.keyring import Keyring
from node.link_table import Links
from node.links import Link
from node.logs import Log
from node.metrics import Metrics
from node.offer_line import Window
from node.peer_id import peer_id_of
from node.peers import Peers
from node.pki_anchors import Pki, PkiSettings
from node.presigning import Presigner
from node.puller import Puller
from node.pump import Pump
from node.reading import Reader
from node.returner import Returner
from node.scheduler import Scheduler
from node.sender import Sender
from node.services import Services
from node.tasks import TaskStatus, start
from node.transport import ByteStream, Transport
from node.uploads import Uploads
from protocol.directory import NODE
from protocol.directory_kinds import DirectoryHistory, Subject
from protocol.errors import ConfigurationError, StoreError, TrucError
from protocol.exchange import Hello
from protocol.limits import DAY_MS, EXPIRY_DEFAULT_MS
from protocol.record import Put
from protocol.signing import Verifier, sign
from protocol.step import Here, PeerUp, Settings, Step, View, nothing_missing
from storage.store import Store

SOFTWARE: Final = "truc"
DISK_EVERY_MS: Final = 250
NOBODY_AWAY: Final[frozenset[str]] = frozenset()
TWIN_VOICES: Final = 2
"""One lying peer must not be able to stop a node: so many centres have to see our twin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What `run_node` needs of the configuration; times in seconds unless named otherwise."""

    centre: str
    anchor: bytes
    """Digest of the first root: where all trust begins."""
    addresses: tuple[str, ...] = ()
    """Our own, as others may dial them."""
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """First addresses of other centres, until their node records are known."""
    contact_peers: Mapping[str, str] = field(default_factory=dict)
    """Their peer ids, until their centre records are known."""
    delivery: Settings = field(default_factory=Settings)
    expiry_default_days: int = EXPIRY_DEFAULT_MS // 86_400_000
    window: Window = field(default_factory=Window)
    ping_s: float = 20
    dead_s: float = 60
    backoff_max_s: float = 300
    stop_when_old: bool = False
    """Take no new documents while a registrar's log that matters here is old."""
    pki: PkiSettings = field(default_factory=PkiSettings)
    announce: bool = True
    """Announce what is new in the directory, and hear what others announce."""
    child_readers: bool = False
    """Large heaps of directory things are read by child processes; in simulations on the loop."""


class Fatal:
    """Why the node must stop, once there is a reason."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._error: TrucError | None = None

    def set(self, error: TrucError) -> None:
        """Stop the node with this reason; the first one counts."""
        self._error = self._error or error
        self._event.set()

    async def watch(self) -> None:
        """Raise the reason when there is one."""
        await self._event.wait()
        assert self._error is not None
        raise self._error


class Node:
    """The parts of a running node."""

    def __init__(
        self,
        *,
        settings: NodeSettings,
        environment: Environment,
        transport: Transport,
        store: Store,
        keyring: Keyring,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.settings: Final = settings
        self.environment: Final = environment
        self.store: Final = store
        self.keyring: Final = keyring
        self._signing_keys: Final = {agency: signer.public.key_id for agency, signer in keyring.signers.items()}
        self.metrics: Final = metrics
        self.log: Final = log
        self.verifier: Final = Verifier()
        self.clock: Final = ClockWatch(environment, log)
        self.fatal: Final = Fatal()
        self._node_record = b""
        self._node_record_ms = 0
        self._node_record_peer = ""
        self._admissions: Admissions = NOBODY
        self._disk = (-DISK_EVERY_MS, False)
        self._twins: set[str] = set()
        self.directory: Final = Directory(
            store.view, anchor=settings.anchor, verifier=self.verifier, own_centre=settings.centre
        )
        self.pki: Final = Pki(settings.pki, directory=self.directory, environment=environment, log=log)
        self.pump: Final = Pump(view=View(records=store.view, directory=self.directory), here=self.here, log=log)
        self.pump.committer = self._make_committer()
        self.presigner: Final = self._make_presigner()
        self.sender: Final = Sender(self.pump, self.host_of, settings.window)
        self.returner: Final = Returner(self.pump, self.host_of)
        self.scheduler: Final = Scheduler(self.pump, environment)
        self.links: Final = Links()
        bar_max_ms = int(settings.backoff_max_s * 1000)
        self.conducts: Final = Conducts(environment, own=settings.centre, bar_max_ms=bar_max_ms)
        self.room: Final = self._make_room(transport)
        self._frames: Final = FrameMaker(
            store=store,
            view=self.pump.view,
            here=self.here,
            node_record=self.node_record,
            heads=self.room.index.digest,
        )
        self.puller: Final = Puller(
            pump=self.pump, store=store, transport=transport, environment=environment, metrics=metrics, log=log
        )
        self.peers: Final = self._make_peers(transport)
        self.counting: Final = self._make_counting()
        self.housekeeping: Final = Housekeeping(pump=self.pump, store=store, environment=environment, log=log)
        self.services: Final = self._make_services()
        self.access: Final = Access(
            pump=self.pump, directory=self.directory, centre=settings.centre, entropy=environment.entropy
        )
        self.uploads: Final = Uploads(pump=self.pump, store=store, environment=environment, log=log)
        self._bind()

    def _make_committer(self) -> Committer:
        return Committer(
            store=self.store,
            environment=self.environment,
            signers=self.keyring.signers,
            metrics=self.metrics,
            log=self.log,
            let_out=self.pump.let_out,
            on_failure=self._commit_failed,
        )

    def _make_presigner(self) -> Presigner | None:
        """None where all keys are here: then nothing of it is in the way of a step."""
        if not self.keyring.places:
            return None
        signers = {place.agency: ExternalSigner(place, self.log) for place in self.keyring.places}
        return self.pump.use_presigner(partial(Presigner, signers, metrics=self.metrics, log=self.log))

    def _make_room(self, transport: Transport) -> DirectoryRoom:
        return DirectoryRoom(
            pump=self.pump,
            directory=self.directory,
            store=self.store,
            transport=transport,
            scheduler=self.scheduler,
            clock=self.clock,
            conducts=self.conducts,
            environment=self.environment,
            metrics=self.metrics,
            log=self.log,
            centre=self.settings.centre,
            stop_when_old=self.settings.stop_when_old,
            announce=self.settings.announce,
            child_readers=self.settings.child_readers,
            unaware=self.links.unaware,
            tell_heads=self.links.tell_heads,
        )

    def _make_peers(self, transport: Transport) -> Peers:
        return Peers(
            own=self.settings.centre,
            transport=transport,
            links=self.links,
            make_link=self._make_link,
            body_server=BodyServer(
                pump=self.pump, store=self.store, environment=self.environment, metrics=self.metrics, log=self.log
            ),
            directory_server=self.room.server,
            sender=self.sender,
            returner=self.returner,
            environment=self.environment,
            metrics=self.metrics,
            log=self.log,
            backoff_max_s=self.settings.backoff_max_s,
            conducts=self.conducts,
            introductions=Introductions(directory=self.directory, door=self.room.door, log=self.log),
            introducer=Introducer(
                directory=self.directory,
                transport=transport,
                own=self.settings.centre,
                peer_id=peer_id_of(self.keyring.identity_seed),
            ),
            on_hello=self._hello,
            on_twin=self.twin_seen,
        )

    def _make_counting(self) -> Counting:
        return Counting(
            pump=self.pump,
            metrics=self.metrics,
            records=self.store.committed,
            environment=self.environment,
            peer_states=self.peers.states,
            free_bytes=self.store.bodies.free_bytes,
            verifications=lambda: self.verifier.operations,
        )

    def _make_services(self) -> Services:
        reader = Reader(self.keyring.vault_key, self.store, self.environment)
        intake = Intake(
            pump=self.pump,
            store=self.store,
            directory=self.directory,
            environment=self.environment,
            promise=self.sender.promise,
            expiry_default_days=self.settings.expiry_default_days,
        )
        boxes = Boxes(pump=self.pump, store=self.store, reader=reader)
        return Services(
            pump=self.pump,
            intake=intake,
            boxes=boxes,
            directory=self.directory,
            door=self.room.door,
            require_fresh=self.room.freshness.require,
        )

    def _bind(self) -> None:
        """Where the pump's effects go."""
        self.pump.send = self.links.route
        self.pump.pull = self.puller.pull
        self.pump.after_batch.append(self._notice_directory)
        self.pump.when_recorded.append(self.directory.forget_parties)

    def here(self) -> Here:
        """This node at this moment."""
        return Here(
            now_ms=self.environment.now_ms(),
            clock_quality=self.clock.quality,
            clock_trusted=self.clock.trusted,
            centre=self.settings.centre,
            incarnation=self.store.incarnation,
            entropy=self.environment.entropy,
            vault_key=self.keyring.vault_key,
            sealing_keys=self.keyring.sealing,
            signing_keys=self._signing_keys,
            verifier=self.verifier,
            settings=self.settings.delivery,
            disk_low=self._disk_low(),
            pki_missing=self.pki.missing if self.settings.pki.require else nothing_missing,
            signers_away=NOBODY_AWAY if self.presigner is None else self.presigner.away,
        )

    def _disk_low(self) -> bool:
        """Whether new bodies would break the floor; the disk is asked a few times a second at most."""
        now_ms = self.environment.monotonic_ms()
        if now_ms - self._disk[0] >= DISK_EVERY_MS:
            self._disk = (now_ms, not self.store.bodies.has_space())
        return self._disk[1]

    def host_of(self, agency: str) -> str | None:
        """The centre that hosts an agency now."""
        known = self.directory.find_agency(agency)
        return None if known is None else known.value.host

    # --- the network as the directory has it --------------------------------------------------

    def take_up_directory(self, *, centres_changed: bool = True) -> None:
        """Admit the directory's centres, at the addresses known for them, and look again who is where."""
        if centres_changed:
            self._admit()
        if not self._is_node_record_known():
            self._node_record_ms = 0
        self._tell_where_we_are()
        self.sender.hosts_changed()
        self.returner.hosts_changed()

    def _admit(self) -> None:
        """Who is admitted now, and again when a closed centre's time is over."""
        found = admissions(
            self.directory,
            contacts=self.settings.contact_peers,
            before=self._admissions,
            now_ms=self.environment.now_ms(),
        )
        tell_doubled(self.log, found, self._admissions)
        self._admissions = found
        admitted = {centre: (peer_id, self._addresses_of(centre)) for centre, peer_id in found.peers.items()}
        unnamed = {centre for centre in self.settings.contact_peers if self.directory.find_centre(centre) is None}
        self.peers.admit(admitted, contacts=unnamed, why_not=found.why_not)
        self.room.keep(admitted)
        if found.next_ms is not None:
            self.scheduler.at("admission", found.next_ms, self._admit)

    def _tell_where_we_are(self) -> None:
        """As soon as a centre record names this node: others look for it at the addresses of its node record."""
        centre = self.directory.find_centre(self.settings.centre)
        ours = peer_id_of(self.keyring.identity_seed)
        if centre is not None and centre.value.peer_id == ours != self._node_record_peer:
            self._node_record_peer = ours
            self.node_record()

    def _addresses_of(self, centre: str) -> tuple[str, ...]:
        known = self.directory.node_record(centre)
        told = known.value.addresses if known is not None else ()
        return tuple(dict.fromkeys((*told, *self.settings.contacts.get(centre, ()))))

    def node_record(self) -> bytes:
        """This node's own record, signed anew daily and when something in it changed; empty while
        no centre record names this node."""
        now_ms = self.environment.now_ms()
        known = self.directory.find_centre(self.settings.centre)
        if known is None:
            return b""
        if self._node_record_ms <= now_ms < self._node_record_ms + DAY_MS:
            return self._node_record
        statement = node_statement(
            centre=self.settings.centre,
            peer_id=known.value.peer_id,
            addresses=self.settings.addresses,
            features=(),
            versions=("exchange/1",),
            software=SOFTWARE,
            now_ms=now_ms,
        )
        self._node_record_ms = now_ms
        if self.presigner is not None and "" in self.presigner.signers:
            self.presigner.sign_later(NODE.name, statement, "", self._tell_node_record)
        else:
            self._tell_node_record(sign(NODE.name, statement, self.keyring.centre).to_wire())
        self.scheduler.at("node record", now_ms + DAY_MS, self._renew_node_record)
        return self._node_record

    def _tell_node_record(self, wire: bytes) -> None:
        """Our own record is signed: at once, or when the process that holds the key has done it."""
        self._node_record = wire
        self.room.door.tell(self.settings.centre, wire)

    def _is_node_record_known(self) -> bool:
        """Whether what we told of ourselves is believed, and still so."""
        known = self.directory.node_record(self.settings.centre)
        centre = self.directory.find_centre(self.settings.centre)
        if known is None or centre is None:
            return False
        return (known.value.from_ms, known.value.peer_id) == (self._node_record_ms, centre.value.peer_id)

    def _renew_node_record(self) -> None:
        """The day is over; peers hear of the new one by comparing directories."""
        self.node_record()

    def _notice_directory(self, step: Step) -> None:
        changed = [change.record for change in step.changes if isinstance(change, Put)]
        histories = [record for record in changed if isinstance(record, DirectoryHistory)]
        subjects = {record.subject for record in histories}
        if subjects - {Subject.NODE}:
            self.take_up_directory(centres_changed=Subject.CENTRE in subjects)
        for record in histories:
            if record.subject == Subject.NODE:
                self.peers.reach(record.code, self._addresses_of(record.code))

    def _hello(self, hello: Hello) -> None:
        """Remember marks and addresses that a peer tells."""
        try:
            self.pump.put(
                PeerUp(centre=hello.centre, incarnation=hello.incarnation, given=hello.given, held=hello.held)
            )
        except StoreError as error:
            self.log.info("not_taken", centre=hello.centre, code=error.code)
        if hello.node_record and hello.centre != self.settings.centre:
            self.room.door.tell(hello.centre, hello.node_record)

    def twin_seen(self, centre: str) -> None:
        """A peer says that another store answers to our name."""
        self.log.error("alarm", code="twin", centre=centre)
        self._twins.add(centre)
        others = len(self.peers.all())
        if len(self._twins) >= min(TWIN_VOICES, others):
            self.fatal.set(ConfigurationError("twin", centre=self.settings.centre))

    def _hear_time(self, centre: str, time_ms: int) -> None:
        if centre != self.settings.centre:
            self.clock.hear(centre, time_ms)
            self.room.days.time_heard()

    def _make_link(self, centre: str, stream: ByteStream, on_up: Callable[[Link, Hello], None]) -> Link:
        return Link(
            centre,
            stream,
            pump=self.pump,
            frames=self._frames,
            environment=self.environment,
            metrics=self.metrics,
            log=self.log,
            ping_s=self.settings.ping_s,
            dead_s=self.settings.dead_s,
            on_up=on_up,
            window=self.settings.window,
            on_holding=self.sender.holding,
            on_dropped=self.sender.dropped,
            on_time=self._hear_time,
            heads=self.room.index.digest,
            on_heads=self.room.sync.heard,
            on_skipped=self.returner.again,
            conduct=self.conducts.of(centre),
        )

    def _commit_failed(self, error: StoreError) -> None:
        """Sessions had advanced on what is not so: begin again from the disk."""
        self.directory.forget_parties()
        self.links.end_all(error.code)


async def run_node(
    *,
    settings: NodeSettings,
    environment: Environment,
    transport: Transport,
    store: Store,
    keyring: Keyring,
    metrics: Metrics,
    log: Log,
    task_status: TaskStatus[Node] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Start a node in order and run it until cancelled; started with its `Node` when it is ready."""
    node = Node(
        settings=settings,
        environment=environment,
        transport=transport,
        store=store,
        keyring=keyring,
        metrics=metrics,
        log=log,
    )
    node.directory.check_anchor()
    async with trio.open_nursery() as nursery:
        await start(nursery, node.pki.run)
        await start(nursery, node.pump.committer.run)
        if node.presigner is not None:
            await start(nursery, node.presigner.run)
        await start(nursery, node.scheduler.run)
        await start(nursery, node.puller.run)
        await start(nursery, node.sender.run)
        await start(nursery, node.returner.run)
        await start(nursery, node.uploads.run)
        await start(nursery, node.housekeeping.run)
        await start(nursery, node.room.run)
        nursery.start_soon(node.fatal.watch)
        await start(nursery, node.peers.run)
        node.take_up_directory()
        log.info("node_ready", centre=settings.centre, commit=store.head.commit)
        task_status.started(node)
