"""Builds the library's host the one way that is safe here.

Obeys DESIGN §5: noise and nothing else (a default host also takes plaintext and lets anybody be
anybody), yamux through our muxer, TCP through our sockets, no discovery, no pruning, no
auto-connecting. What remains of the host are peer ids, protocol negotiation, and identify and ping
for other implementations that ask. Announcements are `announcing.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair as new_identity
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from node.libp2p.muxer import one_muxer

NEGOTIATE_S: Final = 5
"""To agree on a muxer or on a stream's protocol."""
CONNECTIONS_MAX: Final = 1_000
CONNECTIONS_PER_PEER_MAX: Final = 8
"""The library's bound; ours, in `transport.py`, is lower."""


def make_host(identity_seed: bytes, announce: Sequence[str]) -> Any:
    """A host that listens nowhere: `transport.py` brings it connections."""
    identity = new_identity(identity_seed)
    host: Any = new_host(
        key_pair=identity,
        sec_opt={NOISE: Noise(identity, noise_privkey=new_noise_key().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        negotiate_timeout=NEGOTIATE_S,
        announce_addrs=[Multiaddr(address) for address in announce],
        disable_identify_address_discovery=True,
        connection_config=ConnectionConfig(
            max_connections=CONNECTIONS_MAX,
            max_connections_per_peer=CONNECTIONS_PER_PEER_MAX,
            high_watermark=CONNECTIONS_MAX - 100,
            low_watermark=0,
            min_connections=0,
            inbound_stream_protocol_negotiation_timeout=NEGOTIATE_S,
            outbound_stream_protocol_negotiation_timeout=NEGOTIATE_S,
        ),
    )
    network = host.get_network()
    network.set_resource_manager(None)  # its limits are global; ours are per peer
    network.notifees.clear()  # identify at every connection, in a system task whose exceptions end the process
    network.auto_connector.start = network.auto_connector.run_background_task = _nothing
    network.upgrader.muxer_multistream = one_muxer(NEGOTIATE_S)
    host.remove_stream_handler(ID_PUSH)
    return host


async def _nothing(*_: object) -> None:
    """In place of the library's search for more peers."""


def protocol_name(text: str) -> TProtocol:
    """A protocol's name in the library's type."""
    return TProtocol(text)
