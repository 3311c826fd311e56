"""A further request of a centre that exists: its present keys, wherever they are, asking to be in its record.

Obeys DECISIONS "Joining before gossip exists" and `protocol/spec/signer.md`: a key that another process holds proves
its possession there. What a registrar makes of the request is `authority_act.py`.
"""

from __future__ import annotations

from functools import partial

import trio

from node.config import Config
from node.external_signer import ExternalSigner, Signature
from node.keyring import Keyring, SignerPlace
from node.logs import Log
from node.peer_id import peer_id_of
from node.requests import centre_request
from node.tasks import start
from protocol.directory import CENTRE_REQUEST, Names
from protocol.directory_file import write_file
from protocol.errors import TrucError
from protocol.signing import Signed, sign, sign_batch


def request_file(config: Config, keyring: Keyring, names: Names, now_ms: int, log: Log) -> bytes:
    """The file for the registrar: the centre's operational key, sealing keys and peer id of now.

    Raises:
        FormatError: `format_field` (a wrong name).
        NetworkError: `signer_unreachable`, `signer_slow`, `signer_protocol`, `signer_refused`,
            `signer_wrong_signature`.
        ConfigurationError, RequestError: `signer_user`, `signer_other_key`.
    """
    request = centre_request(
        code=config.node.centre,
        names=names,
        peer_id=peer_id_of(keyring.identity_seed),
        keys=[keyring.centre.public],
        sealing=sorted(key.public_raw for key in keyring.sealing.values()),
        now_ms=now_ms,
    )
    statement = CENTRE_REQUEST.encode(request)
    place = next((one for one in keyring.places if not one.agency), None)
    if place is None:
        signed = sign(CENTRE_REQUEST.name, statement, keyring.centre)
    else:
        signed = trio.run(partial(signed_outside, place, CENTRE_REQUEST.name, statement, log))
    return write_file([signed])


async def signed_outside(place: SignerPlace, format_name: str, statement: bytes, log: Log) -> Signed:
    """A statement signed by the process that holds the key. Raises: as `ExternalSigner.sign`."""
    signer = ExternalSigner(place, log)
    outcome: Signature | TrucError
    async with trio.open_nursery() as nursery:
        await start(nursery, signer.run)
        try:
            outcome = await signer.sign(format_name, [statement])
        except TrucError as error:
            outcome = error
        nursery.cancel_scope.cancel()
    if isinstance(outcome, TrucError):
        raise outcome
    return sign_batch(format_name, [statement], outcome)[0]
