"""How a pair of nodes begins: hello with durable marks, and what the peer's hello tells. Spec: `spec/exchange.md`.

Pure step functions (DESIGN §6, "A store knows when it is old"). Marks in a hello are durable
before they leave: whoever finds one of its own numbers above what it knows has lost records.
"""

from __future__ import annotations

from protocol.draft import Draft
from protocol.records import Pair
from protocol.step import Alarm, Connected, Here, PeerUp, SendHello, Step, View


def connected(view: View, here: Here, stream: Connected) -> Step:
    """Greet: the marks leave after the batch that made them durable."""
    draft = Draft(view, here)
    pair = draft.get(Pair, stream.centre) or Pair(centre=stream.centre)
    draft.sends.append(SendHello(stream.centre, pair.given, pair.held))
    return draft.step()


def peer_up(view: View, here: Here, hello: PeerUp) -> Step:
    """Remember the peer's incarnation; a mark above our own number means that our store is old."""
    draft = Draft(view, here)
    pair = draft.get(Pair, hello.centre) or Pair(centre=hello.centre)
    if pair.incarnation != hello.incarnation:
        draft.put(Pair(centre=pair.centre, given=pair.given, held=pair.held, incarnation=hello.incarnation))
    if hello.held > pair.given:
        draft.events.append(Alarm("store_is_old", hello.centre, hello.incarnation))
    return draft.step()
