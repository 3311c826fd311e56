"""`/v1/node` and `/v1/peers`: who this node is, what it owes, whom it reaches.

Obeys DESIGN §7. Nothing here belongs to an agency; every caller may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict

from node.api.callers import ANYBODY, Who
from node.api.context import Here
from node.api.openapi import answers
from node.api.views import lane_name, maybe_moment
from node.daemon import Node
from node.directory_alarms import DirectoryAlarm
from node.directory_sync import ComparedWith
from node.external_signer import ExternalSigner
from node.freshness import LogState
from protocol.catalogue import text
from protocol.records import Queued
from protocol.step import Caller
from protocol.textid import to_text

router = APIRouter(prefix="/v1", tags=["node"])

LOGS_MAX: Final = 200
"""Registrars' logs that are shown; a node that knows more of them is asked with `truc directory`."""
ALARMS_MAX: Final = 100
QUEUES_MAX: Final = 100_000
"""Recipients times lanes; every agency of the country would fit four times."""


class ClockView(TypedDict):
    """Quality: 0 unknown, 1 synchronised, 2 also agrees with peers."""

    quality: int
    trusted: bool


class StoreView(TypedDict):
    """The data folder."""

    incarnation: str
    commit: int
    term: int
    read_only: str


class CallerView(TypedDict):
    """Who the node takes the caller for."""

    system: str
    agencies: list[str]
    rights: list[str]


class LogView(TypedDict):
    """How far a registrar's log is known here. `tier`: `green` up to a day, `known` up to 30, else `old`;
    `age_seconds` is null where no checkpoint is known to be complete."""

    registrar: str
    generation: int
    number: int
    age_seconds: int | None
    tier: str


class AlarmView(TypedDict):
    """What somebody should look at, in both languages; `about` names the code, or registrar and generation."""

    about: str
    code: str
    vi: str
    en: str
    since_ms: int


class DirectoryStateView(TypedDict):
    """How this node's directory is. `tier` is the worst of what matters to this node; `level` counts the
    peers that know nothing which is not known here."""

    ready: bool
    heads: str
    tier: str
    logs: list[LogView]
    heard_at: str | None
    """When it was last found that some peer knows nothing that is not known here."""
    peers_heard: int
    peers_level: int
    alarms: list[AlarmView]


class OutsideSignerView(TypedDict):
    """A process that holds a key of this node (`[[signers]]`): the centre's under the empty code, else an agency's.
    `serves` are the keys that it named when it was last reached; `problem` says why it cannot be asked now."""

    agency: str
    algorithm: str
    key_id: str
    answers: bool
    serves: list[str]
    problem: ProblemView | None


class ProblemView(TypedDict):
    """An outcome of the catalogue, in both languages."""

    code: str
    vi: str
    en: str


class NodeView(TypedDict):
    """This node."""

    centre: str
    peer_id: str
    version: str
    joined: bool
    root_digest: str
    agencies: list[str]
    addresses: list[str]
    clock: ClockView
    directory: DirectoryStateView
    store: StoreView
    signers: list[OutsideSignerView]
    queued: dict[str, int]
    peers_known: int
    peers_up: int
    uptime_seconds: int
    caller: CallerView


class ComparedView(TypedDict):
    """What came of comparing directories with a peer. `level`: it knows nothing that is not known here;
    `failures`: how often in a row it failed; the rest is about the last time that it did, whatever came
    after: `code` is empty, and `failed_at` null, where it never did since this node started."""

    level: bool
    failures: int
    failed_at: str | None
    code: str
    vi: str
    en: str


class PeerView(TypedDict):
    """Another centre's node as the network shows it. `faults` counts what no honest peer does, since this
    node started; `fault` is the code of the last."""

    centre: str
    state: str
    reason: str
    since_seconds: int
    failures: int
    fault: str
    faults: int
    addresses: list[str]
    directory: ComparedView


class RefusedView(TypedDict):
    """Somebody who knocked and was not let in, or (without address) a peer that lost its admission; `time` in
    milliseconds since 1970."""

    peer_id: str
    address: str
    reason: str
    time_ms: int


class PeerList(TypedDict):
    """All peers in the order of their centre codes, and who was turned away of late."""

    items: list[PeerView]
    refused: list[RefusedView]


@router.get("/node", responses=answers({200: NodeView}, 401, 403), operation_id="showNode")
async def show(here: Here, who: Who) -> JSONResponse:
    """Who this node is and how it is doing."""
    return JSONResponse(_node(here.node, who, here.started_ms))


@router.get("/peers", dependencies=ANYBODY, responses=answers({200: PeerList}, 401, 403), operation_id="listPeers")
async def peers(here: Here) -> JSONResponse:
    """Every centre that the directory admits, and whether it is reached."""
    now_ms = here.node.environment.monotonic_ms()
    items: list[PeerView] = [
        {
            "centre": peer.centre,
            "state": peer.state,
            "reason": peer.reason,
            "since_seconds": max(0, now_ms - peer.since_ms) // 1000,
            "failures": peer.failures,
            "fault": here.node.conducts.of(peer.centre).fault,
            "faults": here.node.conducts.of(peer.centre).faults,
            "addresses": list(peer.addresses),
            "directory": compared_view(here.node.room.sync.compared_with(peer.centre)),
        }
        for peer in here.node.peers.all()
    ]
    refused: list[RefusedView] = [
        {"peer_id": one.peer_id, "address": one.address, "reason": one.reason, "time_ms": one.time_ms}
        for one in here.node.peers.refused()
    ]
    answer: PeerList = {"items": items, "refused": refused}
    return JSONResponse(answer)


def compared_view(found: ComparedWith) -> ComparedView:
    """What came of comparing directories with a peer."""
    return {
        "level": found.level,
        "failures": found.failures,
        "failed_at": maybe_moment(found.failed_ms),
        "code": "" if found.error is None else found.error.code,
        "vi": "" if found.error is None else text(found.error, "vi"),
        "en": "" if found.error is None else text(found.error, "en"),
    }


def _node(node: Node, who: Caller, started_ms: int) -> NodeView:
    centre = node.directory.find_centre(node.settings.centre)
    root = node.directory.root_digest()
    known = node.peers.all()
    return {
        "centre": node.settings.centre,
        "peer_id": "" if centre is None else centre.value.peer_id,
        "version": version(),
        "joined": root is not None,
        "root_digest": "" if root is None else root.hex(),
        "agencies": sorted(node.access.hosted()),
        "addresses": list(node.settings.addresses),
        "clock": {"quality": node.clock.quality, "trusted": node.clock.trusted},
        "directory": _directory(node),
        "store": _store(node),
        "signers": [_signer(agency, one) for agency, one in sorted(_outside(node).items())],
        "queued": _queued(node),
        "peers_known": len(known),
        "peers_up": sum(peer.state == "up" for peer in known),
        "uptime_seconds": max(0, node.environment.monotonic_ms() - started_ms) // 1000,
        "caller": {
            "system": to_text("sys", who.system),
            "agencies": sorted(who.agencies),
            "rights": sorted(who.rights),
        },
    }


def _directory(node: Node) -> DirectoryStateView:
    room = node.room
    levels = room.sync.levels
    return {
        "ready": room.index.is_ready,
        "heads": room.index.digest().hex(),
        "tier": room.freshness.tier().name.lower(),
        "logs": [log_view(state) for state in room.freshness.states()[:LOGS_MAX]],
        "heard_at": maybe_moment(room.days.heard_ms),
        "peers_heard": len(levels),
        "peers_level": sum(levels.values()),
        "alarms": [_alarm(alarm) for alarm in room.alarms.all()[:ALARMS_MAX]],
    }


def log_view(state: LogState) -> LogView:
    """How far a registrar's log is known."""
    return {
        "registrar": state.registrar,
        "generation": state.generation,
        "number": state.number,
        "age_seconds": None if state.age_ms is None else state.age_ms // 1000,
        "tier": state.tier.name.lower(),
    }


def _alarm(alarm: DirectoryAlarm) -> AlarmView:
    return {
        "about": alarm.about,
        "code": alarm.error.code,
        "vi": text(alarm.error, "vi"),
        "en": text(alarm.error, "en"),
        "since_ms": alarm.since_ms,
    }


def _outside(node: Node) -> Mapping[str, ExternalSigner]:
    return {} if node.presigner is None else node.presigner.signers


def _signer(agency: str, one: ExternalSigner) -> OutsideSignerView:
    trouble = one.trouble
    return {
        "agency": agency,
        "algorithm": one.public.algorithm,
        "key_id": one.public.key_id.hex(),
        "answers": trouble is None,
        "serves": [key_id.hex() for key_id in one.served],
        "problem": None
        if trouble is None
        else {"code": trouble.code, "vi": text(trouble, "vi"), "en": text(trouble, "en")},
    }


def _store(node: Node) -> StoreView:
    read_only = node.pump.committer.read_only
    return {
        "incarnation": node.store.incarnation.hex(),
        "commit": node.store.head.commit,
        "term": node.store.head.term,
        "read_only": "" if read_only is None else read_only.code,
    }


def _queued(node: Node) -> dict[str, int]:
    counts = {lane_name(lane): 0 for lane in range(4)}
    for queued in node.store.committed.scan(Queued, limit=QUEUES_MAX):
        counts[lane_name(queued.lane)] += queued.count
    return counts


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("truc-node")
    except metadata.PackageNotFoundError:
        return "0"
