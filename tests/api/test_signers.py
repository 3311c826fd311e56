"""A node whose operational key is in another process: real socket, real store, the API as software sees it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from node.centre_request import request_file
from node.cli.desk import Desk
from node.cli.look import outside_key
from node.config import Config
from node.countersigning import thing
from node.keyring import IDENTITY, SEALING, VAULT, keyring_of
from protocol.catalogue import Language
from protocol.directory import CENTRE_REQUEST, Names
from protocol.directory_file import read_file
from protocol.errors import TrucError
from protocol.signing import Ed25519Signer
from tests.support.api_checks import good, refused, until
from tests.support.api_node import CENTRE, DOCUMENT, api_node
from tests.support.signers import agent_at, place_of, quiet_log
from tests.support.tree import START_MS, Centre, Tree, key_seed
from tests.unit.node.test_authority import made


async def test_without_its_signer_a_node_takes_nothing_and_with_it_everything_again(tmp_path: Path) -> None:
    tree, path = Tree.make(), tmp_path / "signer.sock"
    key: Ed25519Signer = tree.centres[CENTRE].signer
    async with (
        api_node(tmp_path / "node", tree=tree, places=(place_of(key, path=path),)) as node,
        await node.system("G22", "G22.99") as client,
        node.admin() as admin,
    ):
        presigner = node.node.presigner
        assert presigner is not None
        headers = {"Idempotency-Key": "1"}
        refused(await client.post("/v1/documents", json=DOCUMENT, headers=headers), "signer_away")
        ready = await admin.get("/readyz")
        assert ready.status_code == 503
        assert [reason["code"] for reason in ready.json()["reasons"]] == ["signer_unreachable"]
        (shown,) = good(await client.get("/v1/node"))["signers"]
        assert (shown["agency"], shown["algorithm"], shown["key_id"]) == ("", "ed25519", key.public.key_id.hex())
        assert (shown["answers"], shown["serves"], shown["problem"]["code"]) == (False, [], "signer_unreachable")
        assert node.node.directory.node_record(CENTRE) is None

        async with agent_at(path, key):
            await until(lambda: not presigner.away)
            (shown,) = good(await client.get("/v1/node"))["signers"]
            assert (shown["answers"], shown["serves"], shown["problem"]) == (True, [shown["key_id"]], None)
            good(await client.post("/v1/documents", json=DOCUMENT, headers=headers), 201)

            async def arrived() -> list[object]:
                return list(good(await client.get("/v1/inbox"))["items"])

            await until(arrived)
            await until(lambda: node.node.directory.node_record(CENTRE) is not None)
            assert (await admin.get("/readyz")).status_code == 200
            consignment = good(await client.get("/v1/inbox"))["items"][0]["consignment"]

        await until(lambda: presigner.away)  # it was stopped
        url = f"/v1/inbox/{consignment}/collect"
        refused(await client.post(url), "signer_away")
        async with agent_at(path, key):
            await until(lambda: not presigner.away)
            good(await client.post(url))


async def test_a_signer_with_another_key_is_shown_with_the_keys_that_it_has(tmp_path: Path) -> None:
    tree, path = Tree.make(), tmp_path / "signer.sock"
    key, other = tree.centres[CENTRE].signer, Ed25519Signer(key_seed(11, "other"))
    async with (
        agent_at(path, other),
        api_node(tmp_path / "node", tree=tree, places=(place_of(key, path=path),)) as node,
        node.admin() as admin,
    ):
        (shown,) = good(await admin.get("/v1/node"))["signers"]
        assert (shown["answers"], shown["problem"]["code"]) == (False, "signer_other_key")
        assert shown["serves"] == [other.public.key_id.hex()]


@pytest.mark.parametrize(("language", "said"), [("vi", "trung tâm ed25519"), ("en", "centre ed25519")])
def test_people_read_whose_keys_are_outside_and_whether_they_answer(language: Language, said: str) -> None:
    own, other = "ab" * 32, "cd" * 32
    problem = {"code": "signer_unreachable", "vi": "không tới được", "en": "out of reach"}
    desk = Desk(language)
    centre = {"agency": "", "algorithm": "ed25519", "key_id": own, "serves": [own, other], "problem": None}
    assert outside_key(desk, centre).startswith(f"{said} {own[:16]}: ")
    assert outside_key(desk, centre).endswith(f" {other[:16]})")
    agency = {**centre, "agency": "G22", "serves": [], "problem": problem}
    assert outside_key(desk, agency) == f"G22 ed25519 {own[:16]}: {problem[language]}"


async def request_with(folder: Path, key: Ed25519Signer, **options: Any) -> tuple[Path, TrucError | None]:
    """A centre whose operational key is at a signer asks for it to be registered; the file, or why there is none."""
    path, file = folder / "signer.sock", folder / "again.truc"
    centre = Centre.make(1, CENTRE)
    keyring = keyring_of(
        {SEALING: key_seed(1, "sealing"), IDENTITY: key_seed(1, "identity"), VAULT: bytes(32)},
        [place_of(key, path=path)],
    )
    config = Config.model_validate({"config_version": 1, "data_dir": str(folder), "node": {"centre": centre.code}})
    make = partial(request_file, config, keyring, Names(vi="Trung tâm"), START_MS, quiet_log()[0])
    async with agent_at(path, key, **options):
        try:
            file.write_bytes(await trio.to_thread.run_sync(make))
        except TrucError as error:
            return file, error
    return file, None


async def test_a_request_is_signed_by_the_signer_that_holds_the_key_and_registered(tmp_path: Path) -> None:
    key = Ed25519Signer(key_seed(11, "outside"))
    file, error = await request_with(tmp_path, key, formats=[CENTRE_REQUEST.name])
    assert error is None
    (wire,) = read_file(file.read_bytes())
    authority = made(tmp_path / "authority")
    authority.register_centre(thing(wire), START_MS + 1)
    record = authority.view.centre(CENTRE)
    assert [entry.key_id for entry in record.keys] == [key.public.key_id]


async def test_a_signer_that_may_not_sign_requests_says_so_and_nothing_is_written(tmp_path: Path) -> None:
    file, error = await request_with(tmp_path, Ed25519Signer(key_seed(11, "outside")))
    assert error is not None and (error.code, error.detail["code"]) == ("signer_refused", "format_not_allowed")
    assert not file.exists()
