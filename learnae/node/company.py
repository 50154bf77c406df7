"""How many others publish in the own lineage: of whom claims of ages and counters can be waited for (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from learnae.node.choosing import Chooser
from learnae.node.hearing import Hearing
from learnae.node.inbox import Entry
from learnae.node.insight import Sighting
from learnae.node.rhythm import LONGEST_SECONDS
from learnae.records import Kind, PeerId


def heard_before(sightings: Iterable[Sighting]) -> dict[PeerId, bytes]:
    """The lineages of those whom the run before heard live in its last hour."""
    live = [sighting for sighting in sightings if sighting.live and sighting.lineage]
    last = max((sighting.at for sighting in live), default=0.0)
    return {sighting.peer: sighting.lineage or b"" for sighting in live if sighting.at >= last - LONGEST_SECONDS}


@attrs.define
class Company:
    """Whose pace is not known yet may be slow: it counts for an hour, also if it was only heard as backlog, or by the run before.

    A fast peer that has begun again hears fast liars first. Would only those count that it has heard since, a swarm of slow peers
    would look small to it, and two voices enough.
    """

    chooser: Chooser
    hearing: Hearing
    before: Mapping[PeerId, bytes] = attrs.field(factory=dict)  # the lineage of each that the run before has heard
    _since: float | None = None

    def others(self, lineage: bytes) -> int:
        """Not those of whom nothing can be had."""
        now = self.hearing.clock()
        self._since = now if self._since is None else self._since
        here = {entry.peer for entry in self.chooser.of_lineage(lineage) if self._stays(entry)}
        if now - self._since <= LONGEST_SECONDS:
            unheard = {peer for peer in self.before if self.hearing.inbox.get(peer, Kind.UPDATE) is None}
            here |= {peer for peer in unheard if self.before[peer] == lineage}
        peers = self.hearing.peers
        return sum(peers.trusts(peer) or not peers.get(peer).failures for peer in here)

    def _stays(self, entry: Entry) -> bool:
        gone = self.hearing.inbox.get(entry.peer, Kind.LEAVING)
        if entry.backlog and gone is not None and gone.heard_at >= entry.heard_at:
            return False
        return self.hearing.in_time(entry, self.chooser.fresh_rounds, LONGEST_SECONDS)
