"""What a keeper keeps of the updates and slices of others, and what it drops first (docs/decisions/0052, 0058)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarms import SwarmIdentity
from learnae.node.history_database import Database
from learnae.node.inbox import WINDOW_NUMBERS, InboxEntry
from learnae.records import Announcement, AnnouncementKind, Cid, Octets, PeerId, Update

NEWEST = 2  # of each peer: while others hear of the last one, the one before is still fetched
MOST_PEERS = 4096  # each costs a row, a root and a message that is repeated, however small its updates are
LONGEST_GAP = 600.0
"""Seconds between two updates of one peer that count as time for which it was heard, at most."""


@attrs.frozen
class KeptUpdate:
    """An update of another peer that lies in this peer's storages. `message` is its announcement, as its owner has signed it.

    `seconds` is for how long whole updates of that peer have come by then. `layout` is a digest of the names and shapes of its tensors.
    `goodbye` is the message with which its owner has left, empty if it has not, or has come back.
    """

    root: Cid
    peer: PeerId
    number: int
    bytes: int
    seconds: float
    layout: Octets
    message: Octets
    goodbye: Octets = b""
    needs: str = ""  # the roots that it builds on, the base first, with a space between them; they count into `bytes`


@attrs.frozen
class KeptTable:
    """What is kept, in the home. All methods block on the disk, and raise UnavailableError."""

    database: Database

    def rows(self) -> list[KeptUpdate]:
        """The oldest first."""
        return [KeptUpdate(*row) for row in self.database.rows("SELECT * FROM kept ORDER BY rowid")]

    def add(self, item: KeptUpdate) -> None:
        with self.database.writing_durably() as db:
            db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", attrs.astuple(item))

    def remove(self, root: Cid) -> None:
        with self.database.writing_durably() as db:
            db.execute("DELETE FROM kept WHERE root = ?", (root,))

    def set_goodbye(self, peer: PeerId, goodbye: bytes) -> None:
        with self.database.writing() as db:
            db.execute("UPDATE kept SET goodbye = ? WHERE peer = ?", (goodbye, peer))


def reopened(message: bytes, swarm: SwarmIdentity) -> Announcement | None:
    """The announcement in a message that was kept. None for one that does not fit the swarm any more."""
    try:
        return decode_envelope(message, swarm.id, swarm.messages).announcement
    except UpdateRejectedError:
        return None


@attrs.define
class KeptUpdates:
    """The updates by their roots, within a quota and of `MOST_PEERS`, and the rank of their peers. It touches neither disk nor storages.

    What is dropped first: what is not among the newest of its peer, then what is not its newest one, then the newest one of the peer with
    the lowest rank. So a peer displaces nobody of a higher rank, and a crowd of new identities nobody who was heard before it. Among those
    of whom only one update has come, the next one displaces the first.
    """

    quota_bytes: int
    named: Collection[PeerId]
    items: dict[Cid, KeptUpdate] = attrs.field(factory=dict)
    announced: dict[Cid, Update] = attrs.field(factory=dict)
    needed: Counter[str] = attrs.field(factory=Counter)  # the roots that kept updates build on, and how many do
    _heard_at: dict[PeerId, float] = attrs.field(factory=dict)  # when the last whole update came, in this run

    def __contains__(self, root: object) -> bool:
        return root in self.items or root in self.needed

    @property
    def held_bytes(self) -> int:
        return sum(item.bytes for item in self.items.values())

    def newest(self) -> dict[PeerId, KeptUpdate]:
        """The newest of each peer."""
        found: dict[PeerId, KeptUpdate] = {}
        for item in self.items.values():
            if item.peer not in found or item.number > found[item.peer].number:
                found[item.peer] = item
        return found

    def seconds_heard(self, peer: PeerId, now: float) -> float:
        """For how long whole updates of this peer have come, if one comes now."""
        before = max((item.seconds for item in self.items.values() if item.peer == peer), default=0.0)
        return before + min(LONGEST_GAP, max(0.0, now - self._heard_at.get(peer, now)))

    def rank(self, peer: PeerId, seconds: float, lineages: Mapping[bytes, int], lineage: bytes) -> tuple[bool, float, int]:
        """A named peer first, then who was heard for longer, then who has more others in its lineage."""
        return peer in self.named, seconds, lineages.get(lineage, 0)

    def by_rank(self) -> list[KeptUpdate]:
        """The newest of each peer, that of the peer with the highest rank first."""
        lineages = self._peers_by_lineage()
        return sorted(self.newest().values(), key=lambda item: self._rank_of(item, lineages), reverse=True)

    def to_drop(self, entry: InboxEntry, now: float, size: int | None = None) -> list[KeptUpdate] | None:
        """What gives way to this update, of `size` bytes once it has come. None if there is no room for it even so."""
        own_items = [item for item in self.items.values() if item.peer == entry.peer]
        old = sorted(own_items, key=lambda item: -item.number)[NEWEST - 1 :]
        missing = self.held_bytes - sum(item.bytes for item in old) + (size or entry.update.bytes) - self.quota_bytes
        newest = self.newest()
        crowded = not own_items and len(newest) >= MOST_PEERS
        if missing <= 0 and not crowded:
            return old
        lineages = self._peers_by_lineage()
        own = self.rank(entry.peer, self.seconds_heard(entry.peer, now), lineages, entry.update.lineage)
        ranks = {peer: self._rank_of(item, lineages) for peer, item in newest.items()}

        def stays(peer: PeerId) -> bool:
            """Whether this peer gives way to nobody like that; of those of whom one update has come the next displaces the first."""
            return peer != entry.peer and (ranks[peer][:2] > own[:2] or (ranks[peer][:2] == own[:2] and any(own[:2])))

        drop = list(old)
        if crowded:
            least = min(newest, key=lambda peer: ranks[peer])
            if stays(least):
                return None
            drop += [item for item in self.items.values() if item.peer == least]
            missing -= sum(item.bytes for item in drop)
        rest = [item for item in self.items.values() if item not in drop]
        for item in sorted(rest, key=lambda item: (newest[item.peer] is item, ranks[item.peer], item.number)):
            if missing <= 0:
                break
            if newest[item.peer] is item and stays(item.peer):
                return None
            drop.append(item)
            missing -= item.bytes
        return drop if missing <= 0 else None

    def add(self, item: KeptUpdate, update: Update, now: float | None = None) -> None:
        """Keep it. `now` is there for one that has come in this run."""
        if item.root not in self.items:
            self.needed.update(item.needs.split())
        self.items[item.root], self.announced[item.root] = item, update
        if now is not None:
            self._heard_at[item.peer] = now

    def remove(self, root: Cid) -> None:
        item = self.items.pop(root)
        del self.announced[root]
        self.needed = +(self.needed - Counter(item.needs.split()))
        if all(other.peer != item.peer for other in self.items.values()):
            self._heard_at.pop(item.peer, None)

    def said_goodbye(self, peer: PeerId, goodbye: bytes) -> bool:
        """Note that it has left, or with nothing that it is there again. Returns whether that is news."""
        changed = [root for root, item in self.items.items() if item.peer == peer and item.goodbye != goodbye]
        for root in changed:
            self.items[root] = attrs.evolve(self.items[root], goodbye=goodbye)
        return bool(changed)

    def layout_of(self, architecture: bytes) -> bytes | None:
        """The layout of the kept updates of named peers with this architecture: of those that were heard longest together, then of most.

        None where nobody is named who says so: whoever came first would decide which models of the others are kept.
        """
        heard: dict[bytes, tuple[float, int]] = {}
        for item in self.newest().values():
            if item.peer in self.named and self.announced[item.root].architecture == architecture:
                seconds, voices = heard.get(item.layout, (0.0, 0))
                heard[item.layout] = seconds + item.seconds, voices + 1
        return max(heard, key=lambda layout: heard[layout], default=None)

    def main_lineage(self) -> tuple[bytes, int]:
        """The lineage of the peer with the highest rank, and the highest age there. Nothing where nothing is kept."""
        lineages, newest = self._peers_by_lineage(), self.newest()
        if not newest:
            return b"", 0
        best = max(newest.values(), key=lambda item: self._rank_of(item, lineages))
        lineage = self.announced[best.root].lineage
        return lineage, max(about.age for about in self.announced.values() if about.lineage == lineage)

    def _rank_of(self, newest: KeptUpdate, lineages: Mapping[bytes, int]) -> tuple[bool, float, int]:
        return self.rank(newest.peer, newest.seconds, lineages, self.announced[newest.root].lineage)

    def _peers_by_lineage(self) -> Counter[bytes]:
        return Counter(self.announced[item.root].lineage for item in self.newest().values())


@attrs.frozen
class KeptSlice:
    """A slice of another peer that lies in this peer's storages. `message` is its newest announcement, as its giver has signed it.

    `unsaid` is for how many seconds its giver was there since then.
    """

    root: Cid
    peer: PeerId
    number: int
    bytes: int
    unsaid: float
    message: Octets


@attrs.frozen
class KeptSliceTable:
    """Which slices are kept, in the home. All methods block on the disk, and raise UnavailableError."""

    database: Database

    def rows(self) -> list[KeptSlice]:
        """The oldest first."""
        return [KeptSlice(*row) for row in self.database.rows("SELECT * FROM kept_slices ORDER BY rowid")]

    def add(self, item: KeptSlice) -> None:
        with self.database.writing_durably() as db:
            db.execute("INSERT OR REPLACE INTO kept_slices VALUES (?, ?, ?, ?, ?, ?)", attrs.astuple(item))

    def change(self, items: Iterable[KeptSlice]) -> None:
        """Their giver has announced them again, or not. What is not there is not added."""
        rows = [(item.number, item.unsaid, item.message, item.root) for item in items]
        with self.database.writing() as db:
            db.executemany("UPDATE kept_slices SET number = ?, unsaid = ?, message = ? WHERE root = ?", rows)

    def remove(self, root: Cid) -> None:
        with self.database.writing_durably() as db:
            db.execute("DELETE FROM kept_slices WHERE root = ?", (root,))


MOST_KEPT_SLICES = 4096
MOST_OF_A_GIVER = WINDOW_NUMBERS[AnnouncementKind.SLICE]  # of more a newcomer would not hear


@attrs.define
class KeptSlices:
    """The slices by their roots, the oldest first, within a quota. `rank` is that of a giver. It touches neither disk nor storages.

    Where there is no room, the oldest slice goes of the giver with the lowest rank, and of these of the one that has most. Nobody of a
    higher rank gives way, and nobody of the same one that would not still have as much: who gives much displaces itself alone.
    """

    quota_bytes: int
    rank: Callable[[PeerId], int]
    items: dict[Cid, KeptSlice] = attrs.field(factory=dict)

    def __contains__(self, root: object) -> bool:
        return root in self.items

    def bytes_by_giver(self) -> Counter[PeerId]:
        held = Counter[PeerId]()
        for item in self.items.values():
            held[item.peer] += item.bytes
        return held

    def to_drop(self, giver: PeerId, size: int) -> list[KeptSlice] | None:
        """What gives way to a slice of so many bytes. None if there is no room for it even so."""
        held, own = self.bytes_by_giver(), self.rank(giver)
        missing, most = held.total() + size - self.quota_bytes, MOST_KEPT_SLICES
        if sum(item.peer == giver for item in self.items.values()) >= MOST_OF_A_GIVER:
            return None
        held[giver] += size
        drop: dict[Cid, KeptSlice] = {}
        while missing > 0 or len(self.items) - len(drop) >= most:
            others = [(self.rank(peer), -bytes_, peer) for peer, bytes_ in held.items() if peer != giver and bytes_ > 0]
            rank, bytes_, peer = min(others, default=(own + 1, 0, giver))
            if rank > own or (rank == own and -bytes_ <= held[giver]):
                return None
            item = next(item for item in self.items.values() if item.peer == peer and item.root not in drop)
            drop[item.root] = item
            held[peer] -= item.bytes
            missing -= item.bytes
        return list(drop.values())
