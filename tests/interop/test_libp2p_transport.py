"""The libp2p transport passes the contract of `node.transport`: real sockets, noise and yamux on loopback."""

from __future__ import annotations

import pytest

from tests.interop.contract import CHECKS, Check, Side, Wiring
from tests.support.libp2p import CENTRES, Place
from tests.support.ports import free_port


def side(place: Place, centre: str) -> Side:
    return Side(transport=place.transport, centre=centre, peer_id=place.peer_id, address=place.address)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Check) -> None:
    a, b, stranger = (side(Place(centre), centre) for centre in CENTRES)
    await check(Wiring(a=a, b=b, stranger=stranger, dead_address=f"/ip4/127.0.0.1/tcp/{free_port()}"))
