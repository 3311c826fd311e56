"""Who may ask this node for what: systems with tokens, users of this machine, administrators.

Obeys DECISIONS "Access" and DESIGN §7. A token is shown once and kept as its hash; every right
is bound to agencies. The daemon's own user and root administer over the Unix socket and may act
for every agency hosted here, under a system id of their own, so that the audit log tells. How a
request carries its credentials is left to `node/api/callers.py`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node.directory import Directory
from node.pump import Pump
from protocol.directory_kinds import DirectoryHistory
from protocol.draft import Draft
from protocol.errors import Findings, RequestError
from protocol.record import Put
from protocol.records import System, Token
from protocol.step import Caller, Recorded, Step
from protocol.textid import from_text, to_text

RIGHTS: Final = ("send", "receive", "report", "admin")
ADMIN_SYSTEM: Final = b"administrator".ljust(16, b"\0")
"""The system id under which an administrator's calls stand in the audit log."""
TOKEN_PREFIX: Final = "truc_"  # noqa: S105  # what every token begins with, so that leaks can be searched for
TOKEN_BYTES: Final = 32
SYSTEMS_MAX: Final = 10_000
"""Twenty-nine vendors, a few systems for each hosted agency; revoked ones stay for the audit log."""
NAME_CHARACTERS_MAX: Final = 100
AGENCIES_MAX: Final = 1_000
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a new system is to be; codes in any written form."""

    name: str
    agencies: tuple[str, ...]
    rights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """A new system and its token, which nobody can read again."""

    system: System
    token: str


class Access:
    """Systems and the callers that speak for them. Belongs to the loop."""

    def __init__(
        self,
        *,
        pump: Pump,
        directory: Directory,
        centre: str,
        entropy: Callable[[int], bytes],
        own_uid: int | None = None,
    ) -> None:
        """`own_uid`: the user of the daemon; None takes the process's own."""
        self._pump: Final = pump
        self._directory: Final = directory
        self._centre: Final = centre
        self._entropy: Final = entropy
        self._admins: Final = frozenset({0, os.geteuid() if own_uid is None else own_uid})
        self._hosted: frozenset[str] | None = None
        pump.after_batch.append(self._notice)

    # --- callers ------------------------------------------------------------------------------

    def of_token(self, token: str) -> Caller:
        """The caller with this token. Raises: RequestError: `token_unknown`."""
        known = self._pump.view.records.get(Token, _digest(token))
        if known is None:
            raise RequestError("token_unknown")
        return self._of_system(known.system, "token")

    def of_user(self, uid: int, pid: int, users: Mapping[str, str]) -> Caller:
        """The caller behind a Unix socket; `users` maps user ids to systems (`sys_…`).

        Raises:
            RequestError: `user_unknown` (or its system is unknown or revoked).
        """
        if uid in self._admins:
            return self.admin(f"uid {uid} pid {pid}")
        system = users.get(str(uid))
        if system is None:
            raise RequestError("user_unknown", uid=uid)
        try:
            return self._of_system(from_text("sys", system), f"uid {uid} pid {pid}")
        except RequestError as error:
            raise RequestError("user_unknown", uid=uid) from error

    def admin(self, actor: str) -> Caller:
        """An administrator: every right, for every agency hosted here."""
        return Caller(
            system=ADMIN_SYSTEM, actor=f"admin {actor}", agencies=self.hosted(), rights=frozenset(RIGHTS)
        )

    def hosted(self) -> frozenset[str]:
        """The agencies whose record in force names this centre as host."""
        if self._hosted is None:
            self._hosted = frozenset(self._all_hosted())
        return self._hosted

    def _all_hosted(self) -> list[str]:
        codes: list[str] = []
        while True:
            page = self._directory.agencies_hosted_by(self._centre, after=codes[-1] if codes else "", limit=PAGE)
            codes += [record.code for record in page]
            if len(page) < PAGE:
                return codes

    def _of_system(self, system: bytes, how: str) -> Caller:
        known = self._pump.view.records.get(System, system)
        if known is None or known.revoked_ms:
            raise RequestError("token_unknown")
        agencies = frozenset(known.agencies)
        if "admin" in known.rights:
            agencies |= self.hosted()
        return Caller(
            system=system, actor=f"{known.name} {how}", agencies=agencies, rights=frozenset(known.rights)
        )

    def _notice(self, step: Step) -> None:
        if any(isinstance(change, Put) and isinstance(change.record, DirectoryHistory) for change in step.changes):
            self._hosted = None

    # --- systems ------------------------------------------------------------------------------

    async def add(self, caller: Caller, wish: Wish) -> Granted:
        """Create a system; its token is in the answer and nowhere else.

        Raises:
            RequestError: `right_missing`, `access_name`, `access_agencies`, `access_rights`,
                `right_unknown`, `agency_*`, `systems_too_many`.
            StoreError: the disk does not take it.
        """
        require_right(caller, "admin")
        agencies = self._check(wish)
        token = TOKEN_PREFIX + base64.b32encode(self._entropy(TOKEN_BYTES)).decode().rstrip("=").lower()
        draft = Draft(self._pump.view, self._pump.here())
        system = System(
            system=self._entropy(16),
            name=wish.name,
            agencies=agencies,
            rights=tuple(right for right in RIGHTS if right in wish.rights),
            created_ms=draft.here.now_ms,
            token=_digest(token),
        )
        draft.put(system)
        draft.put(Token(token=system.token, system=system.system))
        draft.audit(caller, "access add", "", to_text("sys", system.system))
        await self._pump.ask(Recorded(changes=draft.step().changes, why="access"))
        return Granted(system, token)

    async def revoke(self, caller: Caller, system: bytes) -> System:
        """Take a system's rights away, at once and for ever; any number of times.

        Raises:
            RequestError: `right_missing`, `system_unknown`.
            StoreError: the disk does not take it.
        """
        require_right(caller, "admin")
        known = self._pump.view.records.get(System, system)
        if known is None:
            raise RequestError("system_unknown", field="system")
        draft = Draft(self._pump.view, self._pump.here())
        revoked = known
        if not known.revoked_ms:
            revoked = replace(known, revoked_ms=max(draft.here.now_ms, 1))
            draft.put(revoked)
            draft.delete(Token, known.token)
            draft.audit(caller, "access revoke", "", to_text("sys", system))
        await self._pump.ask(Recorded(changes=draft.step().changes, why="access"))
        return revoked

    def systems(self, caller: Caller, *, after: bytes = b"", limit: int = PAGE) -> list[System]:
        """A page of systems, revoked ones too, in the order of their ids.

        Raises:
            RequestError: `right_missing`.
        """
        require_right(caller, "admin")
        return self._pump.view.records.scan(System, after=(after,) if after else (), limit=limit)

    def _check(self, wish: Wish) -> tuple[str, ...]:
        findings: list[RequestError] = []
        if not 1 <= len(wish.name.strip()) <= NAME_CHARACTERS_MAX or not wish.name.isprintable():
            findings.append(RequestError("access_name", field="name", limit=NAME_CHARACTERS_MAX))
        if not wish.rights:
            findings.append(RequestError("access_rights", field="rights"))
        for index, right in enumerate(wish.rights):
            if right not in RIGHTS:
                findings.append(RequestError("right_unknown", field=f"rights[{index}]", right=right))
        if not 1 <= len(wish.agencies) <= AGENCIES_MAX:
            findings.append(RequestError("access_agencies", field="agencies", limit=AGENCIES_MAX))
        agencies = self._codes(wish.agencies[:AGENCIES_MAX], findings)
        if findings:
            raise Findings(findings)
        if len(self._pump.view.records.scan(System, limit=SYSTEMS_MAX)) >= SYSTEMS_MAX:
            raise RequestError("systems_too_many", limit=SYSTEMS_MAX)
        return agencies

    def _codes(self, texts: Sequence[str], findings: list[RequestError]) -> tuple[str, ...]:
        codes: list[str] = []
        for index, text in enumerate(texts):
            field = f"agencies[{index}]"
            try:
                code = self._directory.resolve(text, field=field).code
            except RequestError as error:
                findings.append(error)
                continue
            if code not in self.hosted():
                findings.append(RequestError("agency_not_hosted", field=field, agency=code))
            codes.append(code)
        return tuple(dict.fromkeys(codes))


def require_right(caller: Caller, *rights: str) -> None:
    """At least one of these rights. Raises: RequestError: `right_missing`."""
    if not caller.rights.intersection(rights):
        raise RequestError("right_missing", right=rights[0])


def _digest(token: str) -> bytes:
    """Tokens have 256 bits of entropy: a plain hash keeps them, no salt or stretching is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
