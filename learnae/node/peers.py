"""What a node remembers of other peers, within bounds: when they were heard, how their updates turned out, and how far it trusts them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

import attrs

from learnae.node.history import PeerRecord
from learnae.node.history_reader import Sighting
from learnae.node.inbox import Inbox, Key, KnownPeer
from learnae.records import AnnouncementKind, PeerId, Update

NEWCOMER = 1 / 2
"""The trust after the first merged update, and the least trust after any merged update."""
GROWTH = 2
FAILING = 8
"""A failure divides the trust by this. So a peer that had all trust is left out for seven turns after a failed one."""
LEAST = 1 / 16
LOST = 3
"""After so many failures in a row no trust is left."""
DOUBLINGS = 6  # each failure doubles a wait, up to 64 rounds


def after_merge(trust: float) -> float:
    return min(1.0, max(NEWCOMER, GROWTH * trust))


def after_failure(trust: float, failures: int) -> float:
    """The trust after a failure. `failures` counts the failures in a row, with this one."""
    return 0.0 if failures >= LOST or not trust else max(LEAST, trust / FAILING)


def waits(last_tried: int | None, failures: int, round_: int) -> bool:
    """Whether a peer with so many failures in a row has to wait in this round. The default selector goes by it."""
    return last_tried is not None and 0 <= round_ - last_tried < 1 << min(failures, DOUBLINGS)


def _ordered(records: Mapping[PeerId, PeerRecord]) -> OrderedDict[PeerId, PeerRecord]:
    """A plain dict finds its oldest entry only behind all that were removed before it."""
    return OrderedDict(records)


@attrs.define
class Peers:
    """A record for each peer that was tried or refused. If there are too many, the oldest record of an untrusted peer is removed."""

    capacity: int
    _records: OrderedDict[PeerId, PeerRecord] = attrs.field(factory=OrderedDict, converter=_ordered)
    _changed: set[PeerId] = attrs.field(factory=set)

    def get(self, peer: PeerId) -> PeerRecord:
        """The record of this peer, to be read only. A peer without a record gets an empty one, which is not kept."""
        return self._records.get(peer) or PeerRecord()

    def note(self, peer: PeerId) -> PeerRecord:
        """The record of this peer, to be changed. It is kept, and saved with the next round."""
        record = self._records.setdefault(peer, PeerRecord())
        self._changed.add(peer)
        if len(self._records) > self.capacity:
            self.forget(next((known for known, past in self._records.items() if past.trust < NEWCOMER and known != peer), peer))
        return record

    def forget(self, peer: PeerId) -> None:
        self._records.pop(peer, None)
        self._changed.discard(peer)

    def trusts(self, peer: PeerId) -> bool:
        """Whether an update of this peer was merged, and none has failed since."""
        return self.get(peer).trust >= NEWCOMER

    def accepted(self, peer: PeerId) -> bool:
        """Whether an update of this peer was merged, and not so many have failed in a row since that no trust is left."""
        return self.get(peer).trust > 0

    def merged(self, peer: PeerId) -> None:
        self.note(peer).failures = 0
        self.gain_trust(peer)

    def failed(self, peer: PeerId) -> None:
        """An update of this peer could not be had, or was refused."""
        record = self.note(peer)
        record.failures += 1
        self.lose_trust(peer, record.failures)

    def gain_trust(self, peer: PeerId) -> None:
        """An update of this peer was merged."""
        record = self.note(peer)
        record.ever_accepted, record.trust = True, after_merge(record.trust)

    def lose_trust(self, peer: PeerId, failures: int) -> None:
        """Lower the trust. So many updates of this peer in a row have failed by now."""
        record = self.note(peer)
        record.trust = after_failure(record.trust, failures)

    def take_changed(self) -> Mapping[PeerId, PeerRecord]:
        """Copies of the records that were noted since the last call, for the history."""
        changed = {peer: attrs.evolve(self._records[peer]) for peer in self._changed}
        self._changed.clear()
        return changed

    def put_back(self, unsaved: Mapping[PeerId, PeerRecord]) -> None:
        """These records could not be saved. They count as changed again."""
        self._changed.update(peer for peer in unsaved if peer in self._records)

    def __len__(self) -> int:
        return len(self._records)


def sightings(inbox: Inbox, changed: Iterable[Key]) -> Iterator[Sighting]:
    """A sighting of each peer that was heard and not forgotten since. Its times are on the node's own clock."""
    for peer in dict.fromkeys(peer for peer, _ in changed):
        if (known := inbox.known.get(peer)) and known.entries:
            yield _sighting(peer, known)


def on_wall_clock(heard: Iterable[Sighting], now: float) -> list[Sighting]:
    """The same sightings, with times on the wall clock, for people. `now` is on the node's own clock."""
    ahead = time.time() - now
    return [attrs.evolve(sighting, at=sighting.at + ahead) for sighting in heard]


def _sighting(peer: PeerId, known: KnownPeer) -> Sighting:
    last = max(known.entries.values(), key=lambda entry: entry.heard_at)
    about = (peer, last.heard_at, last.heard_round, not known.silent)
    update = known.entries.get(AnnouncementKind.UPDATE)
    if update is None or not isinstance(body := update.announcement.body, Update):
        return Sighting(*about)
    return Sighting(*about, update.announcement.number, body.root, body.lineage, body.age, body.provisional, body.architecture, body.bytes)
