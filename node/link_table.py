"""The exchange links of a node: one that counts for each peer, and newer ones that have yet to say hello.

Obeys DESIGN §5 ("a newer one replaces the older"). What a link says and hears is `links.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from node.links import Link
from protocol.step import Send, SendHello

NEW_LINKS_MAX: Final = 4
"""Streams of one peer that have not said hello yet; a further one ends the oldest."""


class Links:
    """The links of every peer: one that counts, and newer ones that have yet to say hello."""

    def __init__(self) -> None:
        self._by_centre: dict[str, Link] = {}
        self._new: dict[str, list[Link]] = {}

    def get(self, centre: str) -> Link | None:
        """The link to a centre that counts, if one stands."""
        return self._by_centre.get(centre)

    def route(self, send: Send) -> None:
        """Give a send to its peer's link; without one it is dropped, the record still owes it."""
        if isinstance(send, SendHello):
            for new in self._new.get(send.centre, []):
                new.send(send)
        link = self._by_centre.get(send.centre)  # a hello, too: the peer's may have come before ours left
        if link is not None:
            link.send(send)

    def unaware(self) -> list[str]:
        """The peers that have not heard of our directory as it is now."""
        return [centre for centre, link in self._by_centre.items() if link.is_unaware]

    def tell_heads(self, centres: Collection[str]) -> None:
        """Those of these peers that have not heard of our directory as it is now hear of it."""
        for centre in centres:
            if centre in self._by_centre:
                self._by_centre[centre].tell_heads()

    def add(self, link: Link) -> None:
        """A stream begins; it counts from the peer's hello on."""
        new = self._new.setdefault(link.centre, [])
        new.append(link)
        if len(new) > NEW_LINKS_MAX:
            new[0].end("too_many_streams")

    def promote(self, link: Link) -> None:
        """The peer has said hello on this link: it replaces the older one."""
        self._new[link.centre].remove(link)
        older = self._by_centre.get(link.centre)
        self._by_centre[link.centre] = link
        if older is not None:
            older.end("replaced")

    def remove(self, link: Link) -> bool:
        """Forget a link that is over; whether it was the one that counted."""
        if link in self._new.get(link.centre, []):
            self._new[link.centre].remove(link)
        if self._by_centre.get(link.centre) is not link:
            return False
        del self._by_centre[link.centre]
        return True

    def end_all(self, why: str) -> None:
        """Reset every stream: what the sessions had advanced to is no longer true."""
        for link in [*self._by_centre.values(), *(new for links in self._new.values() for new in links)]:
            link.end(why)
