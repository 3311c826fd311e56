"""What the API shows of a record's certificate (`protocol/spec/pki.md` §2)."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from node.api.problems import problem
from node.api.views import moment
from protocol.credentials import Verdict


class PkiView(TypedDict):
    """What the national PKI says about the keys that speak. `state` is valid, invalid or unknown, with the `problem`
    if it is not valid; `record`: whose credentials these are, the agency's own or its host's. The rest is about the
    holder's certificate, as far as it can be read: whether `subject` is this agency is for people to see."""

    state: str
    problem: dict[str, Any] | None
    record: str
    subject: str
    issuer: str
    serial: str
    valid_from: str | None
    valid_until: str | None


def pki_view(verdict: Verdict | None) -> PkiView:
    """A verdict; of a record that is not there, nothing is known."""
    if verdict is None:
        verdict = Verdict(state="unknown")
    return {
        "state": verdict.state,
        "problem": None if verdict.error is None else problem(verdict.error),
        "record": verdict.record,
        "subject": verdict.subject,
        "issuer": verdict.issuer,
        "serial": verdict.serial,
        "valid_from": moment(verdict.from_ms) if verdict.subject else None,
        "valid_until": moment(verdict.until_ms) if verdict.subject else None,
    }
