"""Addresses: the forms that are read, those that are refused, and who was turned away."""

from __future__ import annotations

import io

import pytest

from node.environment import RealEnvironment
from node.libp2p.addresses import Address, address_of, read_address
from node.libp2p.admission import REFUSED_MAX, SAID_MAX, SAY_AGAIN_MS, Admission
from node.logs import LineSink, make_log
from node.metrics import Metrics
from protocol.errors import NetworkError
from tests.support.errors import expects


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/ip4/203.113.1.2/tcp/4601", Address("ip4", "203.113.1.2", 4601)),
        ("/ip6/::1/tcp/0", Address("ip6", "::1", 0)),
        ("/dns/truc.example.vn/tcp/65535", Address("dns", "truc.example.vn", 65_535)),
        ("/dns4/a/tcp/1/p2p/12D3KooWA", Address("dns4", "a", 1, "12D3KooWA")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert text.startswith(str(address))


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "127.0.0.1:4601", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1", "/ip4/127.0.0.1/tcp/٣", "/ip4/::1/tcp/1", "/ip6/127.0.0.1/tcp/1", "/ip4/x/tcp/1",
        "/dns//tcp/1", "/dns/a b/tcp/1", "/ip4/1.2.3.4/tcp/1/ws", "/ip4/1.2.3.4/tcp/1/ws/x", "x/ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.4/tcp/1/p2p/", "/onion/abc/tcp/1", f"/dns/{'a' * 300}/tcp/1",
    ],
)  # fmt: skip
def test_other_forms_are_outcomes(text: str) -> None:
    with expects("address_unusable", NetworkError):
        read_address(text)


def test_socket_names_become_addresses() -> None:
    assert address_of(("127.0.0.1", 80)) == "/ip4/127.0.0.1/tcp/80"
    assert address_of(("fe80::1%eth0", 80, 0, 2)) == "/ip6/fe80::1/tcp/80"


class Clock(RealEnvironment):
    """A wall clock that stands."""

    time_ms = 0

    def now_ms(self) -> int:
        return self.time_ms


def test_refusals_are_all_counted_few_remembered_and_said_once_a_minute() -> None:
    clock, metrics, lines = Clock(), Metrics(), io.StringIO()
    admission = Admission(environment=clock, metrics=metrics, log=make_log(LineSink(lines), RealEnvironment()))
    for _ in range(REFUSED_MAX + 5):
        admission.refuse("peer", "/ip4/1.2.3.4/tcp/5", "not_admitted")
    assert len(admission.refused()) == REFUSED_MAX
    assert lines.getvalue().count("peer_refused") == 1
    clock.time_ms = SAY_AGAIN_MS
    admission.refuse("peer", "/ip4/1.2.3.4/tcp/5", "not_admitted")
    assert lines.getvalue().count("peer_refused") == 2
    assert metrics.streams_refused.labels(reason="not_admitted")._value.get() == REFUSED_MAX + 6
    for number in range(SAID_MAX + 1):
        admission.refuse(f"peer {number}", "", "not_admitted")
    assert len(admission._said) <= SAID_MAX


def test_admission_maps_both_ways_and_ends() -> None:
    admission = Admission(environment=Clock(), metrics=Metrics(), log=make_log(LineSink(io.StringIO()), Clock()))
    admission.admit({"00.01.W00": "p"})
    assert (admission.peer_id_of("00.01.W00"), admission.centre_of("p")) == ("p", "00.01.W00")
    admission.admit({})
    assert (admission.peer_id_of("00.01.W00"), admission.centre_of("p")) == (None, None)
