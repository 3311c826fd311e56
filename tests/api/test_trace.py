"""The story of a document when not all went well: waiting, refused, recalled, and proofs that do not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from protocol.delivery import RecipientState, SenderState
from protocol.record import Delete, Put
from protocol.records import IN, OUT, Incoming, Link, Outgoing, Thing
from protocol.refusal import REFUSAL, Refusal
from protocol.signing import Ed25519Signer, Signed, Signer, sign
from protocol.step import Recorded
from protocol.textid import from_text
from tests.support.api_checks import good, refused, until
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.tree import key_seed

STRANGER = Ed25519Signer(key_seed(1, "stranger"))
REFUSED_MS = 7_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A node, and one document from G22 to one recipient."""

    node: ApiNode
    client: httpx.AsyncClient
    document: str
    consignment: str

    @property
    def id(self) -> bytes:
        """The consignment."""
        return from_text("csg", self.consignment)

    def sent(self) -> Outgoing:
        """The outbox entry."""
        found = self.node.node.store.committed.get(Outgoing, self.id)
        assert found is not None
        return found

    async def write(self, *changes: Any) -> None:
        """As if a step had brought it about."""
        await self.node.node.pump.ask(Recorded(changes=changes, why="a test"))

    async def told(self, what: str) -> list[dict[str, Any]]:
        """Moments of one name."""
        story = good(await self.client.get(f"/v1/trace/{self.document}"))["items"]
        return [item for item in story if item["what"] == what]


@asynccontextmanager
async def story_of(folder: Path, recipient: str) -> AsyncIterator[Story]:
    async with api_node(folder) as node, await node.system("G22", "G22.99") as client:
        body = {**DOCUMENT, "recipients": [recipient]}
        document = good(await client.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)["id"]
        shown = good(await client.get(f"/v1/documents/{document}"))
        yield Story(
            node=node, client=client, document=document, consignment=shown["recipients"][0]["consignment"]
        )


async def receipts(story: Story, count: int) -> list[dict[str, Any]]:
    """All receipts on the sender's side, waited for."""

    async def there() -> bool:
        return len([item for item in await story.told("receipt") if item["box"] == "outbox"]) == count

    await until(there)
    return [item for item in await story.told("receipt") if item["box"] == "outbox"]


async def test_a_document_that_waits_says_what_for(tmp_path: Path) -> None:
    async with story_of(tmp_path, "G12") as story:
        entry = story.sent()
        state = SenderState.OFFERED
        await story.write(Put(replace(entry, state=state, centre="00.02.W00", offered_ms=5, waiting="held")))
        (offered,), (waiting,) = await story.told("offered"), await story.told("waiting")
        assert (offered["detail"], waiting["detail"]) == ("00.02.W00", "held")
        assert offered["verified"] is waiting["verified"] is None


def refusal_of(story: Story, signer: Signer, **changes: Any) -> Signed:
    """A refusal by the node of G12."""
    entry = story.sent()
    full = Refusal(
        consignment=entry.consignment,
        envelope=entry.envelope,
        recipient="G12",
        code="policy",
        judged_by=(bytes(32),),
        time_ms=story.node.environment.now_ms(),
    )
    return sign(REFUSAL.name, REFUSAL.encode(replace(full, **changes)), signer)


async def refuse(story: Story, refusal: Signed, wire: bytes | None = None) -> None:
    """The outbox entry was settled by this refusal, of which these bytes are stored."""
    after = replace(
        story.sent(), state=SenderState.REFUSED, settled_ms=REFUSED_MS, refusal=refusal.digest, refusal_code="policy"
    )
    stored = Thing(digest=refusal.digest, wire=refusal.to_wire() if wire is None else wire)
    await story.write(Put(after), Put(stored))


async def test_a_refusal_is_told_with_its_code_and_verified(tmp_path: Path) -> None:
    async with story_of(tmp_path, "G12") as story:
        refusal = refusal_of(story, story.node.tree.centres["00.02.W00"].signer)
        await refuse(story, refusal)
        (told,) = await story.told("refused")
        assert (told["detail"], told["verified"], told["digest"]) == ("policy", True, refusal.digest.hex())


@pytest.mark.parametrize(
    "forged",
    [
        lambda story: refusal_of(story, STRANGER),
        lambda story: refusal_of(story, story.node.tree.centres["00.02.W00"].signer, consignment=bytes(32)),
        lambda story: replace(refusal_of(story, story.node.tree.centres["00.02.W00"].signer), format="truc/receipt/1"),
    ],
    ids=["another signer", "another consignment", "another format"],
)
async def test_a_refusal_that_does_not_hold_is_shown_as_not_verified(
    tmp_path: Path, forged: Callable[[Story], Signed]
) -> None:
    async with story_of(tmp_path, "G12") as story:
        await refuse(story, forged(story))
        (told,) = await story.told("refused")
        assert told["verified"] is False


@pytest.mark.parametrize("wire", [b"\xc1", b"", None], ids=["junk", "nothing", "of another thing"])
async def test_a_refusal_whose_bytes_are_damaged_is_shown_as_not_verified(tmp_path: Path, wire: bytes | None) -> None:
    async with story_of(tmp_path, "G12") as story:
        signer = story.node.tree.centres["00.02.W00"].signer
        other = refusal_of(story, signer, code="expired").to_wire()
        await refuse(story, refusal_of(story, signer), other if wire is None else wire)
        (told,) = await story.told("refused")
        assert told["verified"] is False


async def test_what_the_recipient_gave_back_or_destroyed_is_told(tmp_path: Path) -> None:
    async with story_of(tmp_path, "G22.99") as story:
        await receipts(story, 1)
        held = story.node.node.store.committed.get(Incoming, story.id)
        assert held is not None
        for state, what in ((RecipientState.RECALLED, "recalled"), (RecipientState.DESTROYED, "destroyed")):
            await story.write(Put(replace(held, state=state, collected_ms=9)))
            (told,) = await story.told(what)
            assert (told["box"], told["agency"], told["peer_agency"]) == ("inbox", "G22.99", "G22")


@pytest.mark.parametrize("damage", ["gone", "junk", "forged"])
async def test_from_the_first_bad_link_on_nothing_of_a_chain_is_verified(tmp_path: Path, damage: str) -> None:
    async with story_of(tmp_path, "G22.99") as story:
        good(await receipts_made(story), 201)
        before = await receipts(story, 3)
        assert [item["verified"] for item in before] == [True, True, True]
        link = story.node.node.store.committed.get(Link, OUT, story.id, 1)
        assert link is not None
        thing = story.node.node.store.committed.get(Thing, link.receipt)
        assert thing is not None
        signed = Signed.from_wire(thing.wire, bytes_max=len(thing.wire))
        changes: dict[str, Any] = {
            "gone": Delete(Thing, (link.receipt,)),
            "junk": Put(replace(thing, wire=b"\xc1")),
            "forged": Put(replace(thing, wire=sign(signed.format, signed.statement, STRANGER).to_wire())),
        }
        await story.write(changes[damage])
        after = await receipts(story, 3)
        assert [item["verified"] for item in after] == [True, False, False]
        assert [item["code"] for item in after] == [1, 100, 3], "what is recorded is told all the same"
        if damage != "forged":  # of a forged one the verifier of evidence is the judge
            refused(await story.client.get(f"/v1/evidence/{story.consignment}"), "content_damaged")
        assert story.node.node.store.committed.get(Link, IN, story.id, 1) is not None


async def receipts_made(story: Story) -> httpx.Response:
    """The recipient collects and accepts."""
    await receipts(story, 1)
    good(await story.client.post(f"/v1/inbox/{story.consignment}/collect"))
    path = f"/v1/inbox/{story.consignment}/statuses"
    return await story.client.post(path, json={"status": 3}, headers={"Idempotency-Key": "s"})
