"""`truc run`: one node on the real machine, started in order and stopped in reverse.

Obeys DESIGN §8 (`run_node` takes its seams, this module builds the real ones) and §6 (one daemon
per folder). The order is `_start`: configuration, log, store (made at the first start), keystore,
keys, environment, transport, node, API; the end of the process undoes it backwards. What each
of them does is its own module's business.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import trio

import node
import protocol
import storage
from node.config import Config, ConfigurationMistakes, load_config
from node.daemon import Node, NodeSettings, run_node
from node.environment import Environment, RealEnvironment
from node.founding import find_passphrase, open_keyring
from node.keyring import Keyring
from node.logs import LineSink, Log, adopt_libraries, log_failure, make_log, open_log_file
from node.metrics import Metrics
from node.offer_line import Window
from node.peer_id import peer_id_of
from node.pki_anchors import PkiSettings
from node.tasks import Ready, TaskStatus, start
from node.transport import Transport
from protocol.catalogue import Language, next_step, text
from protocol.errors import ConfigurationError, StoreError, TrucError
from protocol.limits import DAY_MS
from protocol.step import Settings
from storage.head import MARK_NAME
from storage.store import Store, create_store, open_store

EXIT_OK: Final = 0
EXIT_LOCAL: Final = 4
EXIT_INTERNAL: Final = 5
"""As every command of `truc`: 4 = something on this machine is wrong, 5 = a fault of ours."""

NOT_JOINED: Final = bytes(32)
"""The anchor of a node without `root_digest`: no root has this digest, so nothing is believed."""

_COMMIT_BYTES: Final = 8
"""The mark of a store begins with its last commit number."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ECHO_MS: Final = 2_000
"""Terminals and supervisors often send one wish to stop twice."""
LANGUAGES: Final[tuple[Language, ...]] = ("vi", "en")


class MakeTransport(Protocol):
    """Makes the network of a node; tests bring their own."""

    def __call__(self, config: Config, keyring: Keyring, metrics: Metrics, log: Log) -> Transport: ...


ServeApi = Callable[..., Awaitable[None]]
"""Called with (node, config, stop, task_status): started once its listeners are bound, returns when
`stop` is set and whoever was promised an answer has it."""


def make_transport(config: Config, keyring: Keyring, metrics: Metrics, log: Log) -> Transport:
    """The real network: libp2p over TCP. Imported here, because it takes most of a second.

    Raises:
        NetworkError: an address cannot be used.
    """
    from node.libp2p.transport import Libp2pTransport

    return Libp2pTransport(
        identity_seed=keyring.identity_seed,
        listen=config.node.listen,
        announce=config.node.announce,
        metrics=metrics,
        log=log,
    )


async def serve_real_api(
    running: Node, config: Config, *, stop: trio.Event, task_status: TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """The local API on its listeners. Imported here, because FastAPI takes a while.

    Raises:
        ConfigurationError: a listener cannot be bound.
    """
    from node.api.server import serve_api

    await serve_api(running, config, stop=stop, task_status=task_status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What `run` takes from the world; the defaults are the real things."""

    make_transport: MakeTransport = make_transport
    serve_api: ServeApi = serve_real_api
    ask: Callable[[], str] | None = None
    """Asks a person for the passphrase; None when nobody is there."""
    variables: Mapping[str, str] | None = None
    """Environment variables; None: the process's own."""


def run(path: Path, seams: Seams | None = None) -> int:
    """Run a node until it is told to stop; the exit code. Everything that is said goes to the log."""
    seams = Seams() if seams is None else seams
    logs = [make_log(LineSink(sys.stderr), RealEnvironment())]
    with ExitStack() as closing:
        try:
            _start(path, seams, logs, closing)
        except TrucError as error:
            return _report(logs, error)
        except BaseExceptionGroup as group:
            return _report_group(logs, group)
    return EXIT_OK


def _start(path: Path, seams: Seams, logs: list[Log], closing: ExitStack) -> None:
    """The one order of starting; `closing` undoes it in reverse. A log of its own is added to `logs`.

    Raises:
        TrucError: whatever is wrong with the machine, the files or the operator's words.
    """
    check_packages()
    variables = os.environ if seams.variables is None else seams.variables
    config = load_config(path)
    metrics = Metrics()
    environment = RealEnvironment(lambda worker: metrics.thread_hops.labels(worker=worker).inc())
    log = closing.enter_context(_log_of(config, environment, metrics))
    if config.log.file is not None:
        logs.append(log)
    store = store_of(config, environment, log)
    closing.callback(store.close)
    keyring = open_keyring(config, find_passphrase(config.keystore.credential_file, variables, seams.ask))
    closing.callback(adopt_libraries(log, environment))
    transport = seams.make_transport(config, keyring, metrics, log)
    log.info("starting", centre=config.node.centre, peer=peer_id_of(keyring.identity_seed), pid=os.getpid())
    if config.node.root_digest is None:
        log.warning("not_joined", field="node.root_digest")
    made = _Made(settings_of(config), environment, transport, store, keyring, metrics, log)
    notify = Notifier(variables.get("NOTIFY_SOCKET", ""))
    _settle_garbage_collection()
    trio.run(_live, made, config, seams.serve_api, notify)
    log.info("stopped", commit=store.head.commit)


def _settle_garbage_collection() -> None:
    """What start-up made stays for ever and need not be looked through again; steps and frames make
    few cycles, and the default thresholds cost a tenth of the processor under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _live(made: _Made, config: Config, serve_api: ServeApi, notify: Notifier) -> None:
    """Node, then API; at a signal first the API ends its answers, then the node stops."""
    stop = trio.Event()
    async with trio.open_nursery() as outer:
        await start(outer, _hear_signals, stop, made.environment, made.log, notify)
        running: Node = await start(outer, made.run)
        await start(outer, running.counting.run)
        async with trio.open_nursery() as inner:
            await start(inner, partial(serve_api, running, config, stop=stop))
            _check_own_record(running, made.log)
            made.log.info("ready", socket=str(config.unix_socket))
            notify.say("READY=1")
        outer.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class _Made:
    """The real seams of one node, put together."""

    settings: NodeSettings
    environment: Environment
    transport: Transport
    store: Store
    keyring: Keyring
    metrics: Metrics
    log: Log

    async def run(self, *, task_status: TaskStatus[Node] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the node of these parts."""
        await run_node(
            settings=self.settings,
            environment=self.environment,
            transport=self.transport,
            store=self.store,
            keyring=self.keyring,
            metrics=self.metrics,
            log=self.log,
            task_status=task_status,
        )


# --- pieces of the start --------------------------------------------------------------------


def check_packages(packages: Mapping[str, Any] | None = None) -> None:
    """The three top-level packages with their generic names lie in one folder: ours.

    Raises:
        ConfigurationError: `packages_shadowed`.
    """
    found = {"node": node, "protocol": protocol, "storage": storage} if packages is None else packages
    here = Path(__file__).resolve().parent.parent
    for name, package in found.items():
        origin = getattr(package, "__file__", None) or ""
        if Path(origin).resolve().parent != here / name:
            raise ConfigurationError("packages_shadowed", package=name, path=origin or "?")


def settings_of(config: Config, *, backoff_max_s: float | None = None) -> NodeSettings:
    """What the node itself needs of the configuration; `backoff_max_s`: other than there."""
    return NodeSettings(
        centre=config.node.centre,
        anchor=NOT_JOINED if config.node.root_digest is None else config.node.root_digest,
        addresses=config.node.announce or tuple(filter(_can_be_dialled, config.node.listen)),
        contacts={peer.centre: peer.addresses for peer in config.peers},
        contact_peers={peer.centre: peer.peer_id for peer in config.peers},
        delivery=Settings(retention_ms=config.delivery.retention_days * DAY_MS),
        expiry_default_days=config.delivery.expiry_default_days,
        window=Window(config.delivery.window_offers, config.delivery.window_bytes),
        backoff_max_s=config.delivery.backoff_max_seconds if backoff_max_s is None else backoff_max_s,
        stop_when_old=config.directory.stop_when_old,
        pki=PkiSettings(
            anchors=config.pki.anchors,
            intermediates=config.pki.intermediates,
            crls=config.pki.crls,
            require=config.pki.require_pki,
        ),
        announce=config.directory.announce,
        child_readers=True,
    )


def _can_be_dialled(address: str) -> bool:
    """Whether a listening address means the same to others: a real host, and a port that stands still."""
    parts = address.split("/")
    return parts[2] not in {"0.0.0.0", "::"} and parts[4] != "0"  # noqa: S104  # compared, not listened on


@contextmanager
def _log_of(config: Config, environment: Environment, metrics: Metrics) -> Iterator[Log]:
    try:
        stream = sys.stderr if config.log.file is None else open_log_file(config.log.file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unwritable", path=str(config.log.file), reason=reason) from error
    sink = LineSink(stream)
    metrics.log_lines_lost.set_function(lambda: sink.lost)
    try:
        yield make_log(sink, environment, level=config.log.level, form=config.log.format)
    finally:
        if stream is not sys.stderr:
            stream.close()


def store_of(config: Config, environment: Environment, log: Log) -> Store:
    """The store of the data folder, made at the first start and never after it."""
    floor = config.storage.disk_floor_bytes
    if not config.data_dir.is_dir():
        raise StoreError("keystore_missing")
    try:
        return open_store(config.data_dir, floor_bytes=floor)
    except StoreError as error:
        if error.code != "store_missing" or _was_used(config.data_dir):
            raise
    store = create_store(config.data_dir, incarnation=environment.entropy(16), floor_bytes=floor)
    log.info("store_created", incarnation=store.incarnation)
    return store


def _was_used(data: Path) -> bool:
    """A mark beyond the first commit says that there was a store: an empty one must not replace it."""
    mark = data / MARK_NAME
    return mark.is_file() and int.from_bytes(mark.read_bytes()[:_COMMIT_BYTES], "big") > 1


def _check_own_record(running: Node, log: Log) -> None:
    """Say at once when the directory knows this centre under another identity than our keys give."""
    own = running.directory.find_centre(running.settings.centre)
    ours = peer_id_of(running.keyring.identity_seed)
    if own is None:
        log.warning("not_registered", centre=running.settings.centre)
    elif own.value.peer_id != ours:
        log.error("alarm", code="identity_differs", registered=own.value.peer_id, ours=ours)


# --- the end --------------------------------------------------------------------------------


async def _hear_signals(
    stop: trio.Event,
    environment: Environment,
    log: Log,
    notify: Notifier,
    *,
    task_status: Ready = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal stops the node in order; one that comes later than its echoes, at once."""
    first_ms = 0
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            now_ms = environment.monotonic_ms()
            if stop.is_set() and now_ms - first_ms > ECHO_MS:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            elif not stop.is_set():
                first_ms = now_ms
                log.info("stopping", signal=signal.Signals(number).name)
                notify.say("STOPPING=1")
                stop.set()


def _report(logs: Sequence[Log], error: TrucError) -> int:
    """One line with everything that an operator needs, all mistakes of a configuration included."""
    told: dict[str, Any] = {lang: text(error, lang) for lang in LANGUAGES}
    if isinstance(error, ConfigurationMistakes):
        told = {lang: text(error, lang).partition("\n")[0] for lang in LANGUAGES}
        told["mistakes"] = [f"{item.field}: {text(item, 'vi')} / {text(item, 'en')}" for item in error.mistakes]
    for log in logs:
        log.error("start_failed", code=error.code, field=error.field, **told, next_step=next_step(error, "vi"))
    return EXIT_LOCAL


def _report_group(logs: Sequence[Log], group: BaseExceptionGroup[BaseException]) -> int:
    """The first outcome of the catalogue is the reason; anything else is a fault of ours."""
    ours, others = group.split(TrucError)
    if others is None and ours is not None:
        return _report(logs, next(_leaves(ours)))
    for log in logs:
        log_failure(log, "failed", group)
    return EXIT_INTERNAL


def _leaves(group: BaseExceptionGroup[TrucError]) -> Iterator[TrucError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


class Notifier:
    """Tells systemd how far we are (sd_notify(3)); silent without a socket."""

    def __init__(self, address: str) -> None:
        self._address: Final = "\0" + address[1:] if address.startswith("@") else address

    def say(self, state: str) -> None:
        """Send one state; nobody listening is no error."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.sendto(state.encode(), self._address)
        except OSError:
            return
