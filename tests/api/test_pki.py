"""What a node shows of certificates, with files that change; and what it does where they are demanded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from node.pki_anchors import LOOK_AGAIN_S, PkiSettings
from protocol.credentials import EXTENSION
from protocol.errors import ConfigurationError
from tests.support.api_checks import good, refused, until
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.errors import expects, record
from tests.support.pki import NationalPki, issue, revocation_list, rsa_key
from tests.support.tree import DEMO, Tree


@pytest.fixture(scope="module")
def pki() -> NationalPki:
    return NationalPki()


class Files:
    """The national PKI in files, as an operator lays them down."""

    def __init__(self, pki: NationalPki, folder: Path) -> None:
        self.folder = folder / "pki"
        self.folder.mkdir()
        (self.folder / "root.pem").write_bytes(pki.root.pem)
        (self.folder / "issuing.der").write_bytes(pki.issuing.der)
        for name, crl in zip(("root.crl", "issuing.crl"), pki.lists, strict=True):
            (self.folder / name).write_bytes(crl)

    def settings(self, *, require: bool = False) -> PkiSettings:
        return PkiSettings(
            anchors=(self.folder / "root.pem",),
            intermediates=(self.folder / "issuing.der",),
            crls=(self.folder / "root.crl", self.folder / "issuing.crl"),
            require=require,
        )


def tree_of(pki: NationalPki, *endorsed: str, extension: Any = None) -> Tree:
    """The demo's tree, in which the holder endorses what speaks for these codes; or with this in the extension."""
    tree = Tree.bare()
    for centre, codes in DEMO.items():
        tree.add_centre(centre)
        key = tree.centres[centre].signer.public.key_id
        for code in codes:
            value = extension
            if code in endorsed and extension is None:
                value = pki.holder.credentials(pki.holder.proof(code, centre, key))
            tree.add_agency(code, centre, extensions={EXTENSION: value} if code in endorsed else {})
        if centre in endorsed:
            value = pki.holder.credentials(pki.holder.proof(centre, centre, key))
            tree.publish(tree.next_centre(centre, extensions={EXTENSION: value}))
    return tree


async def shown(node: ApiNode, code: str) -> tuple[str, str]:
    """State and code of what `/v1/directory/{code}` shows."""
    async with await node.system("G22") as client:
        view = good(await client.get(f"/v1/directory/{code}"))["pki"]
    problem = view["problem"]
    if problem is not None:
        record(problem["code"])
        assert problem["vi"] != problem["en"]
    return view["state"], "" if problem is None else problem["code"]


# --- shown ----------------------------------------------------------------------------------------


async def test_a_valid_certificate_is_shown_with_its_holder(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    async with api_node(tmp_path / "node", tree=tree_of(pki, "H38"), pki=files.settings()) as node:
        async with await node.system("G22") as client:
            view = good(await client.get("/v1/directory/H38"))["pki"]
        assert (view["state"], view["problem"], view["record"]) == ("valid", None, "H38")
        assert (view["subject"], view["issuer"], view["serial"]) == ("CN=Cơ quan H38,C=VN", "CN=Issuing,C=VN", "3")
        assert view["valid_from"] < "2026-06" < view["valid_until"]
        assert await shown(node, "G12") == ("unknown", "pki_missing")
        assert await shown(node, "00.03.W00") == ("unknown", "pki_missing")


async def test_a_node_without_anchors_says_that_it_cannot_tell(tmp_path: Path, pki: NationalPki) -> None:
    async with api_node(tmp_path, tree=tree_of(pki, "H38")) as node:
        assert await shown(node, "H38") == ("unknown", "pki_not_configured")


async def test_an_agency_without_keys_and_certificate_is_shown_by_its_hosts(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    async with api_node(tmp_path / "node", tree=tree_of(pki, "00.03.W00"), pki=files.settings()) as node:
        assert await shown(node, "00.03.W00") == ("valid", "")
        assert await shown(node, "H38") == ("valid", "")
        async with await node.system("G22") as client:
            assert good(await client.get("/v1/directory/H38"))["pki"]["record"] == "00.03.W00"


@pytest.mark.parametrize("junk", [7, "chứng thư", b"", b"\x80"])
async def test_a_record_with_junk_for_a_certificate_is_believed_all_the_same(
    tmp_path: Path, pki: NationalPki, junk: Any
) -> None:
    async with api_node(tmp_path, tree=tree_of(pki, "H38", extension=junk)) as node:
        assert await shown(node, "H38") == ("invalid", "pki_malformed")
        assert node.node.directory.agency("H38").host == "00.03.W00"


async def test_a_certificate_for_another_key_is_shown_as_invalid(tmp_path: Path, pki: NationalPki) -> None:
    files, tree = Files(pki, tmp_path), tree_of(pki)
    value = pki.holder.credentials(pki.holder.proof("H38", "00.03.W00", bytes(32)))
    tree.publish(tree.next_agency("H38", extensions={EXTENSION: value}))
    async with api_node(tmp_path / "node", tree=tree, pki=files.settings()) as node:
        assert await shown(node, "H38") == ("invalid", "pki_key_not_endorsed")


# --- files that change ----------------------------------------------------------------------------


async def test_a_list_fetched_anew_counts_without_a_restart(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    async with api_node(tmp_path / "node", tree=tree_of(pki, "H38"), pki=files.settings()) as node:
        assert await shown(node, "H38") == ("valid", "")
        revoked = revocation_list(pki.issuing, [(3, x509.ReasonFlags.key_compromise)])
        (files.folder / "issuing.crl").write_bytes(revoked)
        await node.node.pki.look_again()
        assert await shown(node, "H38") == ("invalid", "certificate_revoked")


async def test_a_list_that_cannot_be_read_is_named_and_missed(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    (files.folder / "root.crl").unlink()
    async with api_node(tmp_path / "node", tree=tree_of(pki, "H38"), pki=files.settings()) as node:
        assert await shown(node, "H38") == ("unknown", "crl_missing")
        (files.folder / "issuing.crl").write_bytes(b"junk")
        await node.node.pki.look_again()
        async with node.admin() as admin:
            warnings = {one["code"] for one in (await admin.get("/readyz")).json()["warnings"]}
        assert {"pki_file", "pki_file_content"} <= warnings
        (files.folder / "root.crl").write_bytes(pki.lists[0])
        (files.folder / "issuing.crl").write_bytes(pki.lists[1])
        await node.node.pki.look_again()
        assert (await shown(node, "H38"), node.node.pki.problems) == (("valid", ""), ())
        told = [line["code"] for line in node.events() if line["event"] == "pki_file"]
        assert told == ["pki_file", "pki_file_content"], "each once"


async def test_anchors_that_can_no_longer_be_read_stay_as_they_were(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    async with api_node(tmp_path / "node", tree=tree_of(pki, "H38"), pki=files.settings()) as node:
        (files.folder / "root.pem").write_bytes(b"half a fi")
        await node.node.pki.look_again()
        assert await shown(node, "H38") == ("valid", "")
        assert [problem.code for problem in node.node.pki.problems] == ["pki_file_content"]
        loaded = [line for line in node.events() if line["event"] == "pki_loaded"]
        await node.node.pki.look_again()
        assert len(loaded) == 2, "nothing is read again while nothing changes"
        assert [line for line in node.events() if line["event"] == "pki_loaded"] == loaded
    assert LOOK_AGAIN_S >= 60


@pytest.mark.parametrize("content", [None, b"-----BEGIN CERTIFICATE-----\n", b"\x30\x00"])
async def test_a_node_does_not_start_with_anchors_that_are_none(
    tmp_path: Path, pki: NationalPki, content: bytes | None
) -> None:
    files = Files(pki, tmp_path)
    anchor = files.folder / "root.pem"
    anchor.unlink() if content is None else anchor.write_bytes(content)
    with expects("pki_file" if content is None else "pki_file_content", ConfigurationError):
        await _start(tmp_path / "node", files)


async def _start(folder: Path, files: Files) -> None:
    try:
        async with api_node(folder, pki=files.settings()):
            raise AssertionError("it started")
    except BaseExceptionGroup as group:
        inner: BaseException = group
        while isinstance(inner, BaseExceptionGroup):
            (inner,) = inner.exceptions
        raise inner from None


async def test_a_weak_authority_is_no_anchor(tmp_path: Path, pki: NationalPki) -> None:
    files = Files(pki, tmp_path)
    (files.folder / "root.pem").write_bytes(issue("Yếu", rsa_key("weak", 1024), None, ca=True).pem)
    with expects("pki_file_content", ConfigurationError) as caught:
        await _start(tmp_path / "node", files)
    assert "certificate_weak" in str(caught[0])


# --- demanded -------------------------------------------------------------------------------------


async def test_where_certificates_are_demanded_nothing_is_sent_to_who_has_none(
    tmp_path: Path, pki: NationalPki
) -> None:
    files = Files(pki, tmp_path)
    tree = tree_of(pki, "H38")
    async with (
        api_node(tmp_path / "node", tree=tree, pki=files.settings(require=True)) as node,
        await node.system("G22") as client,
    ):
        for recipient, status in (("G12", 422), ("H38", 201)):
            body = {**DOCUMENT, "recipients": [recipient]}
            answer = await client.post("/v1/documents", json=body, headers={"Idempotency-Key": recipient})
            assert answer.status_code == status, answer.text
            if status == 422:
                problem = refused(answer, "recipient_pki", field="recipients[0]")
                assert problem["values"]["reason"] == "pki_missing"


async def test_where_certificates_are_demanded_nothing_is_taken_from_who_has_none(
    tmp_path: Path, pki: NationalPki
) -> None:
    """The issuer is hosted here and has no certificate: the loop-back link is an offer like any other."""
    files = Files(pki, tmp_path)
    tree = tree_of(pki, "G22.99")
    async with (
        api_node(tmp_path / "node", tree=tree, pki=files.settings(require=True)) as node,
        await node.system("G22") as client,
    ):
        answer = await client.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "1"})
        document = good(answer, 201)["id"]

        async def waiting() -> str:
            view = good(await client.get(f"/v1/documents/{document}"))
            return str(view["recipients"][0]["waiting"])

        await until(waiting, seconds=20)
        assert await waiting() == "pki_required"
        record("pki_required")
