"""Acts of one record: what a registrar does most days, each numbered, signed and ended by a checkpoint at once.

The base of `authority.py`, which gives the two halves of every act; what a record says is `authority_act.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from node.authority_act import Act
from protocol.directory import Delegation, Names
from protocol.signing import Signed


class SingleActs(ABC):
    """Begin an act, put one record into it, complete it."""

    @abstractmethod
    def act(self, now_ms: int, *, registrar: str = "", entering: bool = False) -> Act:
        """As `Authority.act`."""

    @abstractmethod
    def complete(self, act: Act, *, urgent: bool = False) -> tuple[Signed, ...]:
        """As `Authority.complete`."""

    @abstractmethod
    def registrar_above(self, code: str, now_ms: int) -> str:
        """As `Authority.registrar_above`."""

    def register_centre(self, request: Signed, now_ms: int, *, registrar: str = "") -> Signed:
        """An act of its own. Raises: as `act`, `Act.register_centre`."""
        act = self.act(now_ms, registrar=registrar)
        act.register_centre(request)
        return self.complete(act)[0]

    def change_centre(self, code: str, now_ms: int, *, registrar: str = "", **changes: Any) -> Signed:
        """An act of its own. Raises: as `act`, `Act.change_centre`."""
        act = self.act(now_ms, registrar=registrar)
        act.change_centre(code, **changes)
        return self.complete(act)[0]

    def register_agency(
        self, *, code: str, names: Names, host: str, now_ms: int, registrar: str = "", **more: Any
    ) -> Signed:
        """An act of its own. Raises: as `act`, `Act.register_agency`."""
        act = self.act(now_ms, registrar=registrar)
        act.register_agency(code=code, names=names, host=host, **more)
        return self.complete(act)[0]

    def register_request(self, request: Signed, now_ms: int, *, registrar: str = "") -> Signed:
        """An act of its own. Raises: as `act`, `Act.register_request`."""
        act = self.act(now_ms, registrar=registrar)
        act.register_request(request)
        return self.complete(act)[0]

    def change_agency(
        self, code: str, now_ms: int, *, registrar: str = "", urgent: bool = False, **changes: Any
    ) -> Signed:
        """An act of its own. Raises: as `act`, `Act.change_agency`."""
        act = self.act(now_ms, registrar=registrar)
        act.change_agency(code, **changes)
        return self.complete(act, urgent=urgent)[0]

    def close_agency(self, code: str, now_ms: int, *, successors: Sequence[str] = (), registrar: str = "") -> Signed:
        """An act of its own. Raises: as `act`, `Act.close_agency`."""
        act = self.act(now_ms, registrar=registrar)
        act.close_agency(code, successors)
        return self.complete(act)[0]

    def set_delegation(
        self, code: str, delegation: Delegation, now_ms: int, *, registrar: str = "", urgent: bool = False
    ) -> Signed:
        """An act of its own, by whoever registered the agency unless told otherwise. Raises: as `change_agency`."""
        by = registrar or self.registrar_above(code, now_ms)
        return self.change_agency(code, now_ms, registrar=by, urgent=urgent, delegation=delegation)
