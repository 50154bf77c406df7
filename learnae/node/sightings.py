"""When each peer was last heard, and with what: noted for people, with the rest of what a round has learned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import attrs

from learnae.node.inbox import Inbox, Key, Known
from learnae.node.insight import Sighting
from learnae.records import Kind, PeerId, Update


def sightings(inbox: Inbox, changed: Iterable[Key]) -> Iterator[Sighting]:
    """One for each peer that was heard and is not forgotten again, on the node's own clock."""
    for peer in dict.fromkeys(peer for peer, _ in changed):
        if (known := inbox.known.get(peer)) and known.entries:
            yield _sighting(peer, known)


def on_wall_clock(heard: Iterable[Sighting], now: float) -> list[Sighting]:
    """The same for people; `now` is on the node's own clock."""
    ahead = time.time() - now
    return [attrs.evolve(sighting, at=sighting.at + ahead) for sighting in heard]


def _sighting(peer: PeerId, known: Known) -> Sighting:
    last = max(known.entries.values(), key=lambda entry: entry.heard_at)
    about = (peer, last.heard_at, last.heard_round, not known.silent)
    update = known.entries.get(Kind.UPDATE)
    if update is None or not isinstance(body := update.announcement.body, Update):
        return Sighting(*about)
    return Sighting(*about, update.announcement.number, body.root, body.lineage, body.age, body.young, body.signature, body.bytes)
