"""Joining by an anchor: what it changes in a node's files, and a first visit to the nodes that it names.

Obeys DECISIONS "Joining before gossip exists" and `protocol/spec/joining.md`. The visit is a whole node
without its API, for as long as it takes to learn the directory, or to hear that nobody knows us yet.
Making keys and files is `node/founding.py`; words are `node/cli/join.py`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from node.config import FILE_BYTES_MAX, Config, load_config, parse_config
from node.daemon import Node, run_node
from node.environment import Environment, RealEnvironment
from node.founding import BACKUP_MARK, KEYS_FOLDER, keystore_digests, open_keyring, writing
from node.keyring import Keyring
from node.logs import Log, adopt_libraries
from node.main import MakeTransport, make_transport, settings_of, store_of
from node.metrics import Metrics
from node.peer_id import peer_id_of
from node.peers import Peer
from node.tasks import start
from node.transport import Transport
from protocol.anchor import Anchor, Contact
from protocol.catalogue import CATALOGUE
from protocol.directory_file import read_file
from protocol.directory_import import Rejected
from protocol.errors import ConfigurationError
from protocol.step import Caller
from storage.store import Store

LOOK_S: Final = 0.1
"""How often a visit looks whether it is over. A command for a person, who may wait a minute; not a daemon."""
BACKOFF_MAX_S: Final = 5
"""Between two tries of a contact during a visit."""
TRIES: Final = 3
"""Of a contact that does not answer, before a visit is given up; one that answered is believed at once."""
CONNECTED: Final = frozenset(("up", "connected", "introducing"))
"""States of a peer with which a connection stands."""
OPERATOR: Final = Caller(
    system=b"join".ljust(16, b"."), actor="join", agencies=frozenset(), rights=frozenset({"admin"})
)

_SECTION: Final = re.compile(r"^[ \t]*\[[ \t]*node[ \t]*\][ \t]*(#.*)?$", re.MULTILINE)
_ANY_SECTION: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)
_ROOT: Final = re.compile(r"""^([ \t]*root_digest[ \t]*=[ \t]*)(""|'')""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactState:
    """A node that was asked. `reason` is a code of the catalogue, or a word of the network."""

    centre: str
    state: str
    reason: str

    @property
    def is_reached(self) -> bool:
        """It speaks with us, if only to say that we are not known."""
        return self.state in CONNECTED or _is_answer(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """What a node knows after a visit."""

    contacts: tuple[ContactState, ...]
    registered: bool
    """A centre record in force names this node's peer id."""
    root_version: int
    """0: no root is known yet."""
    records: int
    """Numbered things of all registrars' logs."""
    level: tuple[str, ...]
    """Centres that know nothing more than this node."""
    rejected: tuple[Rejected, ...] = ()
    """What of the records brought along was not believed, and why."""


# --- the configuration ------------------------------------------------------------------------


def settle_config(path: Path, anchor: Anchor) -> bool:
    """Enter the root digest and the contacts into a configuration that lacks them; whether anything was missing.

    What the operator wrote stays as it is, contacts under other peer ids included.

    Raises:
        ConfigurationError: `join_other_root`, `join_config_by_hand`, `file_unwritable`, and as `load_config`.
    """
    config = load_config(path)
    if config.node.root_digest not in {None, anchor.root_digest}:
        assert config.node.root_digest is not None
        found, wanted = config.node.root_digest.hex(), anchor.root_digest.hex()
        raise ConfigurationError("join_other_root", file=str(path), found=found, wanted=wanted)
    missing = missing_contacts(config, anchor)
    if config.node.root_digest is not None and not missing:
        return False
    text = _read_text(path)
    if config.node.root_digest is None:
        text = _with_root(text, anchor.root_digest, path)
    text = text.rstrip("\n") + "\n" + "".join(map(contact_text, missing))
    _check_text(text, path, anchor)
    _replace(path, text)
    return True


def missing_contacts(config: Config, anchor: Anchor) -> list[Contact]:
    """Contacts of the anchor that are neither in the configuration nor this node itself."""
    known = {config.node.centre, *(peer.centre for peer in config.peers)}
    return [contact for contact in anchor.contacts if contact.centre not in known]


def contact_text(contact: Contact) -> str:
    """A contact as it stands in the configuration."""
    words = (contact.centre, contact.peer_id, list(contact.addresses))
    centre, peer_id, addresses = (json.dumps(word, ensure_ascii=False) for word in words)
    return f"\n[[peers]]\ncentre = {centre}\npeer_id = {peer_id}\naddresses = {addresses}\n"


def _with_root(text: str, digest: bytes, path: Path) -> str:
    section = _SECTION.search(text)
    if section is None:
        raise _by_hand(path, "[node]")
    following = _ANY_SECTION.search(text, section.end())
    end = len(text) if following is None else following.start()
    body = text[section.end() : end]
    changed, count = _ROOT.subn(rf'\g<1>"{digest.hex()}"', body, count=1)
    if not count:
        changed = f'\nroot_digest = "{digest.hex()}"{body}'
    return text[: section.end()] + changed + text[end:]


def _check_text(text: str, path: Path, anchor: Anchor) -> None:
    """The text says exactly what was wanted, or nothing is written."""
    try:
        config = parse_config(text.encode(), path)
    except ConfigurationError as error:
        raise _by_hand(path, error.code) from error
    if config.node.root_digest != anchor.root_digest or missing_contacts(config, anchor):
        raise _by_hand(path, "root_digest")


def _by_hand(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError("join_config_by_hand", file=str(path), reason=reason)


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX).decode()


def _replace(path: Path, text: str) -> None:
    """In one move, under the rights that the file has."""
    fresh = path.with_name(f"{path.name}.new")
    with writing(path):
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def has_key_backup(data: Path) -> bool:
    """Whether a backup of exactly these keys was noted."""
    try:
        noted = json.loads((data / KEYS_FOLDER / BACKUP_MARK).read_text())
        return isinstance(noted, dict) and noted.get("keystores") == keystore_digests(data)
    except (OSError, ValueError):
        return False


# --- the visit --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Visiting:
    """What a visit needs; `records` is a registrar's answer, to be taken in first."""

    config: Config
    passphrase: bytes
    seconds: float
    log: Log
    records: bytes = b""
    make_transport: MakeTransport = make_transport


def visit(visiting: Visiting) -> Visited:
    """Be a node until the directory is known, nobody knows us, or the time is over.

    Raises:
        StoreError: `store_locked` (the node is running), and as `open_store`.
        ConfigurationError: as `open_keyring`.
        NetworkError: an address of ours cannot be used.
        FormatError: `records` is no directory file.
    """
    if visiting.records:
        read_file(visiting.records)
    config, log = visiting.config, visiting.log
    environment = RealEnvironment()
    with ExitStack() as closing:
        store = store_of(config, environment, log)
        closing.callback(store.close)
        keyring = open_keyring(config, visiting.passphrase)
        closing.callback(adopt_libraries(log, environment))
        metrics = Metrics()
        transport = visiting.make_transport(config, keyring, metrics, log)
        result: Visited = trio.run(
            partial(
                visit_as,
                visiting,
                environment=environment,
                transport=transport,
                store=store,
                keyring=keyring,
                metrics=metrics,
            )
        )
    return result


async def visit_as(
    visiting: Visiting,
    *,
    environment: Environment,
    transport: Transport,
    store: Store,
    keyring: Keyring,
    metrics: Metrics,
) -> Visited:
    """As `visit`, with these seams."""
    settings = settings_of(visiting.config, backoff_max_s=BACKOFF_MAX_S)
    ours = peer_id_of(keyring.identity_seed)
    run = partial(
        run_node,
        settings=settings,
        environment=environment,
        transport=transport,
        store=store,
        keyring=keyring,
        metrics=metrics,
        log=visiting.log,
    )
    async with trio.open_nursery() as nursery:
        node: Node = await start(nursery, run)
        rejected: Sequence[Rejected] = ()
        if visiting.records:
            rejected = (await node.services.take_directory(OPERATOR, visiting.records)).rejected
            await node.room.index.caught_up()
        with trio.move_on_after(visiting.seconds):
            while not _is_over(node, ours):  # noqa: ASYNC110  # see LOOK_S
                await trio.sleep(LOOK_S)
        result = _visited(node, ours, rejected)
        nursery.cancel_scope.cancel()
    return result


def _is_over(node: Node, ours: str) -> bool:
    peers = list(_contacts(node))
    if node.room.index.is_ready and _is_registered(node, ours) and any(node.room.sync.levels.values()):
        return True
    return all(peer.state == "down" and (_is_answer(peer.reason) or peer.failures >= TRIES) for peer in peers)


def _is_answer(reason: str) -> bool:
    """Whether a contact said so, and was not merely unreachable: a code that an introduction is answered with."""
    return reason in CATALOGUE and reason not in _NO_ANSWER


_NO_ANSWER: Final = frozenset(
    (
        "unreachable",
        "link_over",
        "stream_broken",
        "stream_ended",
        "stream_stalled",
        "wrong_peer",
        "protocol_unknown",
        "address_unusable",
        "busy",
    )
)
"""Outcomes of the network, which have codes as well."""


def _contacts(node: Node) -> Iterator[Peer]:
    return (peer for peer in node.peers.all() if peer.centre in node.settings.contacts)


def _is_registered(node: Node, ours: str) -> bool:
    known = node.directory.find_centre(node.settings.centre)
    return known is not None and known.value.peer_id == ours


def _visited(node: Node, ours: str, rejected: Sequence[Rejected]) -> Visited:
    roots: Sequence[Any] = node.directory.root_versions()
    heads = node.room.index.heads()
    return Visited(
        contacts=tuple(
            ContactState(centre=peer.centre, state=peer.state, reason=peer.reason) for peer in _contacts(node)
        ),
        registered=_is_registered(node, ours),
        root_version=roots[0].value.version if roots else 0,
        records=sum(log.number for log in heads.logs),
        level=tuple(centre for centre, is_level in node.room.sync.levels.items() if is_level),
        rejected=tuple(rejected),
    )
