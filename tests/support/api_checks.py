"""What tests of the API expect of answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import httpx
import trio

from protocol.catalogue import CATALOGUE
from tests.support.errors import record


def good(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer with this status."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    return answer.json()


def refused(answer: httpx.Response, code: str, *, field: str | None = None) -> dict[str, Any]:
    """Assert that the answer is the problem with this code, complete and with the catalogue's status."""
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, f"expected {code}, got {answer.status_code} {answer.text[:500]}"
    assert answer.status_code == body["status"] == CATALOGUE[code].status
    assert answer.headers["content-type"] == "application/problem+json"
    check_told(body)
    assert field is None or body["field"] == field, f"expected field {field!r}, got {body['field']!r}"
    for finding in body.get("findings", ()):
        check_told(finding)
        record(finding["code"])
    record(code)
    return body


def check_told(told: dict[str, Any]) -> None:
    """Both languages and the next step are there, with nothing left unfilled."""
    entry = CATALOGUE[told["code"]]
    shown = (told["vi"], told["en"], told["next"]["vi"], told["next"]["en"])
    for text, template in zip(shown, (entry.vi, entry.en, entry.next_vi, entry.next_en), strict=True):
        assert text, told
        assert text.count("…") == template.count("…"), told
        assert "{" not in text, told


def codes(body: dict[str, Any]) -> set[tuple[str, str]]:
    """(code, field) of every finding."""
    return {(finding["code"], finding["field"]) for finding in body["findings"]}


async def until(holds: Callable[[], Any], *, seconds: float = 60) -> None:
    """Return when a condition, awaitable or not, holds; for what no event tells a client."""
    with trio.fail_after(seconds):
        while True:
            found = holds()
            if await found if inspect.isawaitable(found) else found:
                return
            await trio.sleep(0.01)
