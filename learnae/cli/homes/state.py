"""One home as it is now: what several commands want to know of it, read once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.homes.find import HISTORY
from learnae.cli.homes.processes import Processes, processes_of
from learnae.config.kept import Kept, kept
from learnae.config.options import build
from learnae.config.tables import JoinTable, NodeTable, PeerTable, SelectorChoice, SwarmTable
from learnae.identity.keys import identity_in
from learnae.node.history import History, PeerRecord
from learnae.node.insight import Sighting
from learnae.node.standing import Standing
from learnae.records import PeerId


@attrs.frozen
class HomeState:
    """`now` is on the machine's wall clock, as all moments in a history."""

    home: Path
    history: History
    now: float
    processes: Processes
    own: PeerId | None
    swarm: SwarmTable | None  # None for the home of a peer that has not run since such things are kept
    peer: PeerTable
    join: JoinTable
    node: NodeTable
    count: int
    sightings: dict[PeerId, Sighting]
    records: dict[PeerId, PeerRecord]
    denied: frozenset[PeerId]

    @property
    def standing(self) -> Standing:
        """As of its last round."""
        lineage, rounds, seconds = self.history.standing()
        return Standing(self.join, lineage=lineage, rounds=rounds, since=self.now - seconds)

    @property
    def signature(self) -> bytes | None:
        """Of the own architecture, known once something was published."""
        return next((item.signature for item in self.history.published()), None)

    def shut_out(self, peer: PeerId) -> str | None:
        """Why nothing of this peer is heard, whatever it sends."""
        if peer in self.peer.deny:
            return "denied by this peer's file"
        if peer in self.denied:
            return "denied by `learnae deny`"
        if self.peer.allow and peer not in self.peer.allow:
            return "not among those that this peer's file allows"
        record = self.records.get(peer)
        return f"refused for good: {record.refused}" if record and record.refused else None


@contextmanager
def read_home(home: Path) -> Iterator[HomeState]:
    """Raises ConfigError for a home that cannot be read, Unavailable for a disk that cannot."""
    settings = kept(home) or Kept({}, home)
    with History.read(home / HISTORY) as history:
        yield HomeState(
            home=home,
            history=history,
            now=time.time(),
            processes=processes_of(home),
            own=identity.peer if (identity := identity_in(home, looking=True)) is not None else None,
            swarm=build(SwarmTable, settings.table("swarm"), "swarm", settings.folder) if settings.document else None,
            peer=build(PeerTable, settings.table("peer"), "peer", settings.folder),
            join=build(JoinTable, settings.table("join"), "join", settings.folder),
            node=build(NodeTable, settings.table("node"), "node", settings.folder),
            count=_count(settings),
            sightings={sighting.peer: sighting for sighting in history.heard()},
            records=history.peers(),
            denied=history.denied(),
        )


def _count(settings: Kept) -> int:
    """How many updates a round takes."""
    usual: Any = attrs.fields(SelectorChoice).count.default
    count = settings.table("selector").get("count", usual)
    return count if isinstance(count, int) else int(usual)
