"""The newest announcement of each (peer, kind), bounded; replays, duplicates and equivocations are told apart here (DESIGN 4)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping

import attrs

from learnae.records import Announcement, Kind, PeerId

MARKS_PER_PEER = 64  # high-water marks outlive the inbox's entries: this many for each peer that the inbox holds

Key = tuple[PeerId, Kind]


@attrs.frozen
class Entry:
    """An announcement as it was heard: when, in which own round, and whether it was there before this node listened."""

    announcement: Announcement
    digest: bytes
    message: bytes
    heard_at: float
    heard_round: int
    backlog: bool

    @property
    def peer(self) -> PeerId:
        return self.announcement.peer


class Arrival(enum.Enum):
    """What the inbox made of a message."""

    NEW = "new"
    REFILLED = "refilled"
    DUPLICATE = "duplicate"
    REPLAY = "replay"
    EQUIVOCATION = "equivocation"


@attrs.frozen
class Mark:
    """The highest number heard from a (peer, kind), with the digest of its payload."""

    number: int
    digest: bytes


@attrs.define
class Inbox:
    """`trusted` tells whether a peer was ever accepted: those are evicted last."""

    capacity: int
    trusted: Callable[[PeerId], bool]
    marks: dict[Key, Mark] = attrs.field(factory=dict)
    changed_marks: set[Key] = attrs.field(factory=set)
    _entries: dict[Key, Entry] = attrs.field(factory=dict)

    def put(self, entry: Entry) -> Arrival:
        key = (entry.peer, entry.announcement.kind)
        arrival = self._judge(key, entry)
        if arrival in (Arrival.NEW, Arrival.REFILLED):
            self._entries.pop(key, None)  # re-inserted at the end: the order is the order of arrival
            self._entries[key] = entry
            self._mark(key, Mark(entry.announcement.number, entry.digest))
            self._evict(key)
        return arrival

    def updates(self) -> Iterator[Entry]:
        return (entry for (_, kind), entry in self._entries.items() if kind is Kind.UPDATE)

    def get(self, peer: PeerId, kind: Kind) -> Entry | None:
        return self._entries.get((peer, kind))

    def forget(self, peer: PeerId) -> None:
        """Remove what a peer has announced; its high-water marks stay."""
        for kind in Kind:
            self._entries.pop((peer, kind), None)

    def leave_behind(self, peer: PeerId) -> None:
        """The peer has gone: what it announced is there for newcomers, but no longer for rounds."""
        for kind in Kind:
            if entry := self._entries.get((peer, kind)):
                self._entries[peer, kind] = attrs.evolve(entry, backlog=True)

    def peers(self) -> set[PeerId]:
        return {peer for peer, _ in self._entries}

    def take_changed_marks(self) -> Mapping[Key, Mark]:
        """The marks that have changed since the last call, for the history."""
        changed = {key: self.marks[key] for key in self.changed_marks if key in self.marks}
        self.changed_marks.clear()
        return changed

    def _judge(self, key: Key, entry: Entry) -> Arrival:
        mark = self.marks.get(key)
        if mark is None or entry.announcement.number > mark.number:
            return Arrival.NEW
        if entry.announcement.number < mark.number:
            return Arrival.REPLAY
        if entry.digest != mark.digest:
            return Arrival.EQUIVOCATION
        return Arrival.DUPLICATE if key in self._entries else Arrival.REFILLED

    def _mark(self, key: Key, mark: Mark) -> None:
        self.marks.pop(key, None)
        self.marks[key] = mark
        self.changed_marks.add(key)
        while len(self.marks) > self.capacity * MARKS_PER_PEER:
            oldest = next((k for k in self.marks if k not in self._entries), next(iter(self.marks)))
            del self.marks[oldest]

    def _evict(self, arrived: Key) -> None:
        """Drop one peer too many: the never accepted first, and of those the newest, so that a flood drowns itself."""
        peers = list(dict.fromkeys(peer for peer, _ in self._entries))
        if len(peers) <= self.capacity:
            return
        strangers = [peer for peer in peers if not self.trusted(peer)]
        self.forget(strangers[-1] if strangers else peers[0])
