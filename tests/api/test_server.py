"""The server on real sockets: bounds, deadlines, slow and broken clients, shutdown that ends."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import stat
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from node.api.connection import phrase
from node.api.listeners import LOOK_EVERY_MS, CertificateWatch, listen_tcp, listen_unix, tls_context
from node.api.server import Bound, serve_api
from node.config import TlsConfig
from node.config_values import SocketAddress
from protocol.errors import ConfigurationError
from tests.api.raw_http import dial, everything, problem_in, running, still_serves
from tests.support.api_checks import check_told, good, until
from tests.support.api_node import CENTRE, DOCUMENT, ApiNode, api_node, config_of, served
from tests.support.certificates import certificate
from tests.support.errors import expects, record
from tests.support.ports import free_port

QUICK: dict[str, Any] = {
    "limits": {"header_timeout_seconds": 1, "body_timeout_seconds": 1, "shutdown_grace_seconds": 0}
}


def told(raw: bytes, code: str) -> None:
    """The answer is the problem with this code."""
    assert problem_in(raw)["code"] == code
    record(code)


def unix_client(bound: Bound) -> http.client.HTTPConnection:
    """The standard library's client over the Unix socket."""
    client = http.client.HTTPConnection("localhost", timeout=30)
    client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.sock.settimeout(30)
    client.sock.connect(str(bound.unix_socket))
    return client


async def ask(
    client: http.client.HTTPConnection, path: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One request of a blocking client beside the server."""

    def call() -> tuple[int, bytes]:
        with closing(client):
            client.request("GET", path, headers=headers or {})
            answer = client.getresponse()
            return answer.status, answer.read()

    return await trio.to_thread.run_sync(call)


def waiters(node: ApiNode) -> int:
    """How many wait for an arrival."""
    return node.node.services.boxes._arrivals.next.statistics().tasks_waiting


# --- who is there -----------------------------------------------------------------------------


async def test_the_unix_socket_tells_who_asks(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        status, raw = await ask(unix_client(bound), "/v1/node")
        body = json.loads(raw)
        assert (status, body["centre"]) == (200, CENTRE)
        assert "admin" in body["caller"]["rights"]
        mode = bound.unix_socket.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    assert not bound.unix_socket.exists()
    assert any(line["event"] == "api_ready" for line in node.events())


async def test_tcp_needs_a_token_and_hides_metrics(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        token = await node.token("G22")
        tcp = partial(http.client.HTTPConnection, "127.0.0.1", bound.tcp_port, timeout=30)
        assert (await ask(tcp(), "/v1/node"))[0] == 401
        assert (await ask(tcp(), "/v1/node", {"Authorization": f"Bearer {token}"}))[0] == 200
        assert b'"route_unknown"' in (await ask(tcp(), "/metrics"))[1]
        assert b'"host_unknown"' in (await ask(tcp(), "/v1/node", {"Host": "evil.example"}))[1]


# --- one connection, many requests ------------------------------------------------------------


async def test_2500_requests_travel_over_one_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, bound):
        stream = await dial(bound)
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        got = b""
        with trio.fail_after(60):
            for _ in range(2_500):
                await stream.send_all(request)
                while not got.endswith(b'{"alive":true}'):
                    got += await stream.receive_some(65_536)
                assert got.startswith(b"HTTP/1.1 200 OK\r\n") and b"connection: close" not in got.lower()
                got = b""
        await stream.aclose()


async def test_the_connection_lives_on_after_a_file(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        async with node.admin() as admin:
            good(await admin.put("/v1/uploads/u", content=bytes(2_000_000)))
            body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u"}]}
            good(await admin.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
            (arrived,) = good(await admin.get("/v1/inbox?wait=20&agency=G22.99"))["items"]
        stream = await dial(bound)
        request = f"GET /v1/inbox/{arrived['consignment']}/parts/0 HTTP/1.1\r\nHost: localhost\r\n"
        await stream.send_all(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        raw = await everything(stream)
        assert raw.count(b"HTTP/1.1 200") == 2
        assert len(raw) > 4_000_000


async def test_256_kib_of_headers_are_answered_and_more_than_1_mib_get_431(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        for size, expected in ((256 * 1024, b"200"), (1024 * 1024 + 4096, b"431")):
            stream = await dial(bound)
            lines = b"".join(b"X-%d: %s\r\n" % (n, b"v" * 8000) for n in range(size // 8008 + 1))
            request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
            await stream.send_all(request + lines + b"Connection: close\r\n\r\n")
            raw = await everything(stream)
            assert raw.split()[1] == expected
            if expected == b"431":
                told(raw, "header_too_long")
        await still_serves(node, bound)


def test_every_status_has_a_phrase() -> None:
    assert (phrase(421), phrase(431), phrase(799)) == (
        "Misdirected Request", "Request Header Fields Too Large", "Unknown",
    )  # fmt: skip


async def test_bytes_that_are_no_http_are_answered_and_the_server_lives(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"
        for junk in (tls_hello, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            stream = await dial(bound)
            await stream.send_all(junk)
            told(await everything(stream), "request_malformed")
        stream = await dial(bound)
        await stream.send_all(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        assert (await everything(stream)).startswith(b"HTTP/1.1 200")
        await still_serves(node, bound)


# --- slow and broken clients ------------------------------------------------------------------


async def test_slow_headers_get_a_deadline(tmp_path: Path) -> None:
    async with running(tmp_path, **QUICK) as (node, bound):
        stream = await dial(bound)
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: local")
        told(await everything(stream), "header_slow")
        await still_serves(node, bound)


async def test_slow_headers_do_not_get_more_time_by_trickling(tmp_path: Path) -> None:
    async def trickle(stream: trio.SocketStream) -> None:
        try:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\n")
            while True:
                await stream.send_all(b"X: y\r\n")
                await trio.sleep(0.1)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with running(tmp_path, **QUICK) as (_, bound):
        stream = await dial(bound)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, stream)
            told(await everything(stream), "header_slow")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["POST /v1/documents", "PUT /v1/uploads/u"])
async def test_slow_bodies_get_a_deadline(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, **QUICK) as (node, bound):
        stream = await dial(bound)
        await stream.send_all(
            path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Content-Type: application/json\r\nIdempotency-Key: k\r\n\r\n" + b" " * 200_000
        )
        told(await everything(stream), "body_slow")
        async with node.admin() as admin:
            assert good(await admin.get("/v1/documents"))["items"] == []
            answer = await admin.head("/v1/uploads/u")
            assert answer.headers.get("upload-offset") == (None if "documents" in path else "196608")
        await still_serves(node, bound)


async def test_a_body_cut_in_the_middle_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        body = json.dumps(DOCUMENT).encode()
        stream = await dial(bound)
        await stream.send_all(
            b"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Idempotency-Key: k\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:-5]
        )
        await stream.send_eof()
        await everything(stream)
        async with node.admin() as admin:
            assert good(await admin.get("/v1/documents"))["items"] == []
            good(await admin.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "k"}), 201)


async def test_an_upload_cut_in_the_middle_leaves_its_whole_chunks(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        stream = await dial(bound)
        await stream.send_all(
            b"PUT /v1/uploads/u HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n" + bytes(1_500_000)
        )
        await stream.aclose()
        async with node.admin() as admin:

            async def remembered() -> bool:
                return (await admin.head("/v1/uploads/u")).status_code == 200

            await until(remembered)
            answer = await admin.head("/v1/uploads/u")
            assert int(answer.headers["upload-offset"]) == 1_500_000 // 65_536 * 65_536


async def test_an_answer_before_the_body_neither_wedges_nor_resets(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, bound):
        stream = await dial(bound)
        size = 4_000_000
        head = b"PUT /v1/uploads/.. HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        with trio.fail_after(20):
            await stream.send_all(head.replace(b"/..", b"/a.b") + bytes(size))
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            raw = await everything(stream)
        assert b'"code":"upload_id_malformed"' in raw
        assert raw.endswith(b'{"alive":true}')


async def test_a_body_too_large_to_drain_closes_after_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.gate.DRAIN_S", 0.1)
    async with running(tmp_path) as (_, bound):
        stream = await dial(bound)
        await stream.send_all(
            b"PUT /v1/uploads/a.b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n" + bytes(100_000)
        )
        raw = await everything(stream)
        assert b'"code":"upload_id_malformed"' in raw and b"connection: close" in raw


async def test_clients_that_stop_reading_are_cut_and_keep_nobody_else_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.connection.SEND_STALL_S", 1)
    async with running(tmp_path, limits={"connections_max": 8}) as (node, bound):
        async with node.admin() as admin:
            good(await admin.put("/v1/uploads/u", content=bytes(20_000_000)))
            body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u"}]}
            good(await admin.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
            (arrived,) = good(await admin.get("/v1/inbox?wait=20&agency=G22.99"))["items"]
        request = f"GET /v1/inbox/{arrived['consignment']}/parts/0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        stuck = [await dial(bound) for _ in range(7)]
        for stream in stuck:
            await stream.send_all(request)
            assert (await stream.receive_some(12)).startswith(b"HTTP/1.1 200")
        await still_serves(node, bound)  # while all of them are stuck
        stuck.append(await dial(bound))
        await stuck[-1].send_all(request)
        assert (await stuck[-1].receive_some(12)).startswith(b"HTTP/1.1 200")
        told(await everything(await dial(bound)), "connections_too_many")

        async def room_for_all() -> bool:
            held = [await dial(bound) for _ in range(8)]
            for stream in held:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            heads = [await stream.receive_some(12) for stream in held]
            for stream in held:
                await stream.aclose()
            return all(head.endswith(b"200") for head in heads)

        await until(room_for_all)  # every one of them was cut, and its place is free
        for stream in stuck:
            assert len(await everything(stream)) < 20_000_000
        await still_serves(node, bound)


async def test_a_client_that_stops_reading_does_not_hold_the_shutdown(tmp_path: Path) -> None:
    async with api_node(tmp_path, **QUICK) as node:
        big = bytes(20_000_000)
        async with node.admin() as admin:
            good(await admin.put("/v1/uploads/u", content=big))
            body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u"}]}
            good(await admin.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
            (arrived,) = good(await admin.get("/v1/inbox?wait=20&agency=G22.99"))["items"]
        stop = trio.Event()
        with trio.fail_after(15):
            async with served(node, stop) as bound:
                stream = await dial(bound)
                path = f"/v1/inbox/{arrived['consignment']}/parts/0"
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                await stream.receive_some(1)
                stop.set()
        rest = await everything(stream)
        assert len(rest) < len(big)


async def test_shutdown_answers_who_waits_and_closes_who_idles(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node:
        stop = trio.Event()
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                bound: Bound = await nursery.start(partial(serve_api, node.node, node.config, stop=stop))
                idle, waiting = await dial(bound), await dial(bound)
                await waiting.send_all(b"GET /v1/inbox?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await idle.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answered = b""
                while not answered.endswith(b'{"alive":true}'):
                    answered += await idle.receive_some(65_536)
                await until(lambda: waiters(node))
                stop.set()
                assert b'"items":[]' in await everything(waiting)
                assert await everything(idle) == b""


async def test_a_waiting_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        stream = await dial(bound)
        await stream.send_all(b"GET /v1/inbox?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: waiters(node))
        await stream.aclose()
        await until(lambda: not waiters(node))


async def test_too_many_connections_are_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"connections_max": 8}) as (_, bound):
        held = [await dial(bound) for _ in range(8)]
        for stream in held:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await stream.receive_some(65_536)
        raw = await everything(await dial(bound))
        assert raw.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        told(raw, "connections_too_many")
        await held[0].aclose()

        async def served_again() -> bool:
            stream = await dial(bound)
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"200" in (await everything(stream))[:20]

        await until(served_again)
        for stream in held[1:]:
            await stream.aclose()


# --- listeners --------------------------------------------------------------------------------


async def test_a_live_socket_is_not_taken_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    path = tmp_path / "a.sock"
    first = listen_unix(path, config.api)
    with expects("socket_in_use", ConfigurationError):
        listen_unix(path, config.api)
    first.listener.socket.close()
    second = listen_unix(path, config.api)
    second.listener.socket.close()
    path.unlink()
    path.write_text("mine")
    with expects("socket_unusable", ConfigurationError):
        listen_unix(path, config.api)
    assert path.read_text() == "mine"


async def test_the_sockets_mode_and_group_come_from_the_configuration(tmp_path: Path) -> None:
    config = config_of(tmp_path, unix_mode="0600")
    made = listen_unix(tmp_path / "a.sock", config.api)
    assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == 0o600
    made.listener.socket.close()
    with expects("socket_group", ConfigurationError):
        listen_unix(tmp_path / "b.sock", config_of(tmp_path, unix_group="no-such-group").api)
    with expects("socket_unusable", ConfigurationError):
        listen_unix(tmp_path / ("x" * 200), config.api)
    import grp

    own = grp.getgrgid(os.getegid()).gr_name
    made = listen_unix(tmp_path / "c.sock", config_of(tmp_path, unix_group=own).api)
    assert (tmp_path / "c.sock").stat().st_gid == os.getegid()
    made.listener.socket.close()


async def test_a_port_that_is_taken_and_a_plain_listener_for_others_are_errors(tmp_path: Path) -> None:
    async with running(tmp_path) as (node, bound):
        with expects("socket_in_use", ConfigurationError):
            await listen_tcp(SocketAddress("127.0.0.1", bound.tcp_port))
        taken = config_of(tmp_path / "other", tcp=f"127.0.0.1:{bound.tcp_port}")
        (tmp_path / "other").mkdir()
        with expects("socket_in_use", ConfigurationError):
            await serve_api(node.node, taken)
        assert not taken.unix_socket.exists()
    with expects("config_plain_listener", ConfigurationError):
        await listen_tcp(SocketAddress("0.0.0.0", 0))


async def test_metrics_have_a_loopback_port_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    async with api_node(tmp_path) as node:
        metrics = node.config.metrics.model_copy(update={"loopback_port": port})
        node.config = node.config.model_copy(update={"metrics": metrics})
        async with served(node) as bound:
            assert bound.metrics_port == port
            status, text = await ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), "/metrics")
            assert status == 200 and b"truc_api_requests_total" in text
            assert (await ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), "/v1/node"))[0] == 404


# --- TLS --------------------------------------------------------------------------------------


async def test_tls_serves_with_a_token_and_survives_plain_clients(tmp_path: Path) -> None:
    files = certificate(tmp_path, days=30)
    tls = {"address": "127.0.0.1:0", "certificate": str(files[0]), "key": str(files[1])}
    async with running(tmp_path / "node", tls=tls) as (node, bound):
        token = await node.token("G22")
        context = ssl.create_default_context(cafile=str(files[0]))
        tls_client = partial(http.client.HTTPSConnection, "127.0.0.1", bound.tls_port, context=context, timeout=30)
        assert (await ask(tls_client(), "/v1/node", {"Authorization": f"Bearer {token}"}))[0] == 200
        plain = await trio.open_tcp_stream("127.0.0.1", bound.tls_port)
        await plain.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert not (await everything(plain)).startswith(b"HTTP")
        assert (await ask(tls_client(), "/v1/node", {"Authorization": f"Bearer {token}"}))[0] == 200
        async with node.admin() as admin:
            assert "tls_expired" not in (await admin.get("/readyz")).text


async def warnings(bound: Bound) -> list[dict[str, Any]]:
    """What `/readyz` warns of."""
    found: list[dict[str, Any]] = json.loads((await ask(unix_client(bound), "/readyz"))[1])["warnings"]
    return [warning for warning in found if warning["code"] == "tls_expired"]


async def test_an_expired_certificate_is_noticed_at_the_start_and_stops_nothing(tmp_path: Path) -> None:
    files = certificate(tmp_path, days=-1)
    tls = {"address": "127.0.0.1:0", "certificate": str(files[0]), "key": str(files[1])}
    async with running(tmp_path / "node", tls=tls) as (node, bound):
        assert any(line["event"] == "certificate" for line in node.events())
        (warning,) = await warnings(bound)
        check_told(warning)
        record("tls_expired")
        token = await node.token("G22")
        careful, careless = ssl.create_default_context(cafile=str(files[0])), ssl.create_default_context()
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        client = partial(http.client.HTTPSConnection, "127.0.0.1", bound.tls_port, timeout=30)
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await ask(client(context=careful), "/v1/node")
        assert (await ask(client(context=careless), "/v1/node", {"Authorization": f"Bearer {token}"}))[0] == 200
        await still_serves(node, bound)


async def test_a_certificate_that_expires_while_the_node_runs_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.listeners.LOOK_EVERY_MS", 0)
    for seconds in (3, 15, 60):  # a slow machine may need longer to start than the certificate lives
        files = certificate(tmp_path, days=seconds / 86_400)
        tls = {"address": "127.0.0.1:0", "certificate": str(files[0]), "key": str(files[1])}
        async with running(tmp_path / f"node-{seconds}", tls=tls) as (node, bound):
            if any(line["event"] == "certificate" for line in node.events()):
                continue
            certificate(tmp_path, days=30)  # a renewed file that is not in use yet changes nothing
            await until(lambda: warnings(bound), seconds=90)
            await still_serves(node, bound)
            return
    raise AssertionError("the certificate had expired before the node ran")


async def test_a_client_that_never_begins_tls_is_let_go(tmp_path: Path) -> None:
    files = certificate(tmp_path, days=30)
    tls = {"address": "127.0.0.1:0", "certificate": str(files[0]), "key": str(files[1])}
    async with running(tmp_path / "node", tls=tls, **QUICK) as (node, bound):
        silent = await trio.open_tcp_stream("127.0.0.1", bound.tls_port)
        assert await everything(silent) == b""
        await still_serves(node, bound)


def test_the_certificate_is_looked_at_once_a_minute(tmp_path: Path) -> None:
    files = certificate(tmp_path, days=-1)
    config = TlsConfig(address=SocketAddress("127.0.0.1", 0), certificate=files[0], key=files[1])
    now_ms = 0
    watch = CertificateWatch(config, tls_context(config), lambda: now_ms)
    looks = [watch.trouble()]
    now_ms = LOOK_EVERY_MS - 1
    looks.append(watch.trouble())
    assert looks[1] is looks[0] is not None
    now_ms = LOOK_EVERY_MS
    assert watch.trouble() is not looks[0]


async def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    good_files = certificate(tmp_path, days=30)
    encrypted = certificate(tmp_path / "e", days=30, password=b"geheim")
    other = certificate(tmp_path / "o", days=30)
    for pair in ((tmp_path / "none.pem", good_files[1]), (good_files[0], other[1]), encrypted):
        config = TlsConfig(address=SocketAddress("127.0.0.1", 0), certificate=pair[0], key=pair[1])
        with expects("tls_unusable", ConfigurationError):
            tls_context(config)
    config = TlsConfig(address=SocketAddress("127.0.0.1", 0), certificate=good_files[0], key=good_files[1])
    assert CertificateWatch(config, tls_context(config), lambda: 0).trouble() is None
