"""The newest announcement of each peer and kind, within bounds. The inbox recognises replays, duplicates and equivocations.

Of samples and of offers of rows each counts, not the newest alone: of the last numbers one that was overtaken is taken too.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from statistics import fmean

import attrs
import numpy as np

from learnae.node.older_updates import OlderUpdates
from learnae.records import Announcement, AnnouncementKind, PeerId, Update

WINDOW = 8
UNKNOWN_SECONDS = 30.0  # for whoever was heard once: three times the usual `train.round_seconds`
LONGEST_SECONDS = 3600.0


def _window() -> deque[float]:
    return deque(maxlen=WINDOW)


@attrs.define
class PublishingRate:
    """The seconds between the last updates of one peer."""

    _last: float | None = None
    _gaps: deque[float] = attrs.field(factory=_window)

    def heard(self, now: float) -> None:
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now

    @property
    def seconds(self) -> float:
        """The typical time between two updates; 0 while that is unknown."""
        return fmean(self._gaps) if self._gaps else 0.0

    def patience_seconds(self, rounds: int, unknown: float) -> float:
        """How long to wait for the next update: so many rounds of this peer, and at least twice its longest pause.

        The longest pause counts because a medium may deliver several updates at once.
        """
        if not self._gaps:
            return unknown
        return min(LONGEST_SECONDS, max(rounds * self.seconds, 2 * max(self._gaps)))


@attrs.define
class RandomDraw:
    """A set to draw from at random. Adding, removing and drawing take the same time, however many are in it."""

    rng: np.random.Generator
    _all: list[PeerId] = attrs.field(factory=list)
    _places: dict[PeerId, int] = attrs.field(factory=dict)

    def add(self, peer: PeerId) -> None:
        self._places[peer] = len(self._all)
        self._all.append(peer)

    def remove(self, peer: PeerId) -> None:
        """Remove one. The last one takes its place."""
        place, last = self._places.pop(peer), self._all.pop()
        if last != peer:
            self._all[place], self._places[last] = last, place

    def draw(self, count: int, wanted: Callable[[PeerId], bool]) -> list[PeerId]:
        """Draw so many times, and return those that are wanted."""
        drawn = (self._all[place] for place in self.rng.integers(len(self._all), size=count))
        return [peer for peer in drawn if wanted(peer)]


DRAWN = 8  # of which the most dispensable is evicted
FLOOD = 3  # never accepted ones among those drawn: then they are many, and nobody has to count them
FOR_NEW = 10  # one place of so many is for peers that were never accepted
WINDOW_NUMBERS: Mapping[AnnouncementKind, int] = {AnnouncementKind.SAMPLE: 64, AnnouncementKind.SLICE: 1024}
"""Numbers below the highest, of kinds of which each message counts: these are taken in any order, each once. A keeper repeats the offers of
a giver that has gone in turn, and whoever comes meanwhile hears the highest first."""
MARKS_PER_PEER = 64  # high-water marks outlive the inbox's entries: this many for each peer that the inbox holds

Key = tuple[PeerId, AnnouncementKind]


@attrs.frozen
class InboxEntry:
    """An announcement as it was heard: when, in which own round, on which medium, and whether it was backlog."""

    announcement: Announcement
    digest: bytes
    message: bytes
    heard_at: float
    heard_round: int
    backlog: bool
    medium: str = ""  # the first that brought it

    @property
    def peer(self) -> PeerId:
        return self.announcement.peer

    @property
    def key(self) -> Key:
        return self.announcement.peer, self.announcement.kind

    @property
    def shows_life(self) -> bool:
        """Whether its peer is there. Offers of rows do not say so: keepers repeat them when their givers have gone."""
        return not self.backlog and self.announcement.kind is not AnnouncementKind.SLICE

    @property
    def update(self) -> Update:
        """What an entry of this kind announces."""
        body = self.announcement.body
        assert isinstance(body, Update)
        return body


class Arrival(enum.Enum):
    """What the inbox made of a message."""

    NEW = "new"
    REFILLED = "refilled"
    DUPLICATE = "duplicate"
    OLDER = "older"  # left behind before the newest one of a peer that is not there
    REPLAY = "replay"
    EQUIVOCATION = "equivocation"


@attrs.frozen
class HighWaterMark:
    """The highest number heard of one peer and kind, with the digest of its payload, and since when the node knows it, on its clock."""

    number: int
    digest: bytes
    since: float = attrs.field(default=-math.inf, eq=False)  # for ever, if it was known to an earlier run
    missing: int = attrs.field(default=0, eq=False)  # of kinds with a window: bit i is 1 where the number lower by 1 + i may still come

    def misses(self, number: int) -> bool:
        """Whether this number was overtaken and not heard."""
        place = self.number - 1 - number
        return place >= 0 and bool(self.missing >> place & 1)


@attrs.define
class KnownPeer:
    """What the inbox holds of one peer. The peer counts as silent before it is heard live, when it leaves, and when it is overdue."""

    entries: dict[AnnouncementKind, InboxEntry] = attrs.field(factory=dict)
    silent: bool = True
    heard_live: bool = False  # at any time
    older: OlderUpdates = attrs.field(factory=OlderUpdates)  # while it is silent
    publishing_rate: PublishingRate = attrs.field(factory=PublishingRate)

    @property
    def heard_at(self) -> float:
        return max((entry.heard_at for entry in self.entries.values()), default=-math.inf)

    @property
    def heard_round(self) -> int:
        return max((entry.heard_round for entry in self.entries.values()), default=0)


def _with(mark: HighWaterMark | None, entry: InboxEntry) -> HighWaterMark:
    """The mark after this message, which is new or fills an empty place."""
    number, window = entry.announcement.number, WINDOW_NUMBERS.get(entry.announcement.kind, 0)
    ones = (1 << window) - 1
    if mark is None:
        return HighWaterMark(number, entry.digest, entry.heard_at, ones)
    ahead = number - mark.number
    if ahead < 0:
        return attrs.evolve(mark, missing=mark.missing & ~(1 << (-ahead - 1)))
    if ahead == 0 or not window:
        return HighWaterMark(number, entry.digest, mark.since, mark.missing if window else 0)
    between = (1 << min(ahead - 1, window)) - 1
    earlier = mark.missing << ahead if ahead < window else 0
    return HighWaterMark(number, entry.digest, mark.since, (earlier | between) & ones)


def _recalled(marks: Mapping[Key, HighWaterMark]) -> OrderedDict[Key, HighWaterMark]:
    """Those of an earlier run, in an order of which a plain dict finds the oldest only behind all that were removed before it.

    Which offers of rows that run has heard is forgotten, as the offers are: any of the last ones may come again.
    """
    offers = (1 << WINDOW_NUMBERS[AnnouncementKind.SLICE]) - 1
    return OrderedDict(
        (key, attrs.evolve(mark, missing=offers) if key[1] is AnnouncementKind.SLICE else mark) for key, mark in marks.items()
    )


@attrs.define
class Inbox:
    """The inbox. `trusted` says whether a peer was ever accepted. Such peers are evicted last, while others hold more than a tenth."""

    capacity: int
    trusted: Callable[[PeerId], bool]
    marks: OrderedDict[Key, HighWaterMark] = attrs.field(factory=OrderedDict, converter=_recalled)
    changed_marks: set[Key] = attrs.field(factory=set)
    known: dict[PeerId, KnownPeer] = attrs.field(factory=dict)  # in the order in which they were first heard
    rng: np.random.Generator = attrs.field(factory=lambda: np.random.default_rng(0), kw_only=True)
    _random_draw: RandomDraw = attrs.field(init=False, default=attrs.Factory(lambda self: RandomDraw(self.rng), takes_self=True))

    def put(self, entry: InboxEntry) -> Arrival:
        arrival = self._judge(entry)
        if arrival is Arrival.OLDER:
            self.known[entry.peer].older.add(entry)
        if arrival in (Arrival.NEW, Arrival.REFILLED):
            known = self._known(entry.peer)
            self._note_older(known, entry)
            if not self._was_overtaken(entry):
                known.entries[entry.announcement.kind] = entry
            known.silent = known.silent and not entry.shows_life
            known.heard_live = known.heard_live or entry.shows_life
            if entry.announcement.kind is AnnouncementKind.UPDATE and not entry.backlog:
                known.publishing_rate.heard(entry.heard_at)
            self._mark(entry.key, _with(self.marks.get(entry.key), entry))
            if len(self.known) > self.capacity:
                self.forget(self._most_dispensable())
        return arrival

    def _note_older(self, known: KnownPeer, entry: InboxEntry) -> None:
        """What was left behind before this update stays, until its peer publishes again."""
        before = known.entries.get(AnnouncementKind.UPDATE)
        if entry.announcement.kind is not AnnouncementKind.UPDATE:
            return
        if entry.shows_life:
            known.older = OlderUpdates()
        elif before is not None and before.announcement.number < entry.announcement.number:
            known.older.add(before)

    def updates(self) -> Iterator[InboxEntry]:
        return (known.entries[AnnouncementKind.UPDATE] for known in self.known.values() if AnnouncementKind.UPDATE in known.entries)

    def get(self, peer: PeerId, kind: AnnouncementKind) -> InboxEntry | None:
        return self.known[peer].entries.get(kind) if peer in self.known else None

    def in_time(self, entry: InboxEntry, now: float, rounds: int, unknown: float = UNKNOWN_SECONDS) -> bool:
        """Whether its peer need not have been heard again since, at its own rate; for `unknown` seconds where that is not known yet."""
        known = self.known.get(entry.peer)
        return known is not None and now - entry.heard_at <= known.publishing_rate.patience_seconds(rounds, unknown)

    def seconds_between_updates(self, peer: PeerId) -> float:
        """Of that peer, as they arrive here; 0 while unknown."""
        known = self.known.get(peer)
        return known.publishing_rate.seconds if known else 0.0

    def forget(self, peer: PeerId) -> None:
        """Remove what a peer has announced; its high-water marks stay."""
        if self.known.pop(peer, None) is not None:
            self._random_draw.remove(peer)

    def leave_behind(self, peer: PeerId) -> None:
        """The peer has gone. Newcomers may still use what it announced. Rounds do not."""
        if known := self.known.get(peer):
            known.silent = True
            known.entries = {kind: attrs.evolve(entry, backlog=True) for kind, entry in known.entries.items()}

    def take_changed_marks(self) -> Mapping[Key, HighWaterMark]:
        """The marks that have changed since the last call, for the history."""
        changed = {key: self.marks[key] for key in self.changed_marks}
        self.changed_marks.clear()
        return changed

    def put_back(self, unsaved: Collection[Key]) -> None:
        """These marks could not be saved. They count as changed again."""
        self.changed_marks.update(key for key in unsaved if key in self.marks)

    def known_since(self, peer: PeerId) -> float:
        """When the first update of this peer was heard, as far as the marks tell, even if it was evicted meanwhile."""
        mark = self.marks.get((peer, AnnouncementKind.UPDATE))
        return mark.since if mark else math.inf

    def was_heard(self, peer: PeerId) -> bool:
        """Whether any message that this peer has signed was ever taken, as far as the marks tell."""
        return any((peer, kind) in self.marks for kind in AnnouncementKind)

    def is_old(self, announcement: Announcement, digest: bytes, *, backlog: bool = False) -> bool:
        """Whether a message with this number would be a replay or a duplicate, whoever has signed it."""
        if self.is_past(announcement.peer, announcement.kind, announcement.number):
            return True
        mark = self.marks.get((announcement.peer, announcement.kind))
        if mark is None or announcement.number > mark.number:
            return False
        if announcement.number < mark.number:
            return not (mark.misses(announcement.number) or self.is_older(announcement.peer, announcement.kind, announcement.number))
        return digest == mark.digest and not self._lacks(announcement, backlog=backlog)

    def is_past(self, peer: PeerId, kind: AnnouncementKind, number: int) -> bool:
        """Whether this is a goodbye that was said before something else that was heard: its number is above all that came before it."""
        if kind is not AnnouncementKind.LEAVING:
            return False
        return any(number < mark.number for other in AnnouncementKind if other is not kind and (mark := self.marks.get((peer, other))))

    def is_overtaken(self, peer: PeerId, kind: AnnouncementKind, number: int) -> bool:
        """Whether a newer one was heard, where only the newest counts. The newest itself is passed on, also when it comes again."""
        mark = self.marks.get((peer, kind))
        if mark is None or number >= mark.number:
            return False
        return number < mark.number - WINDOW_NUMBERS.get(kind, 0) and not self.is_older(peer, kind, number)

    def was_taken(self, peer: PeerId, kind: AnnouncementKind, number: int) -> bool:
        """Whether this message, which is not the newest, was taken: of kinds of which each counts. It is told by its number alone."""
        mark = self.marks.get((peer, kind))
        return kind in WINDOW_NUMBERS and mark is not None and number < mark.number and not mark.misses(number)

    def is_older(self, peer: PeerId, kind: AnnouncementKind, number: int) -> bool:
        """Whether this is an update before the newest one that is held of a peer that is not there, and would be kept beside it."""
        known, newest = self.known.get(peer), self.get(peer, AnnouncementKind.UPDATE)
        if kind is not AnnouncementKind.UPDATE or known is None or newest is None or not known.silent:
            return False
        return number < newest.announcement.number and known.older.wants(number)

    def _was_overtaken(self, entry: InboxEntry) -> bool:
        mark = self.marks.get(entry.key)
        return mark is not None and entry.announcement.number < mark.number

    def _known(self, peer: PeerId) -> KnownPeer:
        if peer not in self.known:
            self.known[peer] = KnownPeer()
            self._random_draw.add(peer)
        return self.known[peer]

    def _judge(self, entry: InboxEntry) -> Arrival:
        if self.is_past(*entry.key, entry.announcement.number):
            return Arrival.REPLAY
        mark = self.marks.get(entry.key)
        if mark is None or entry.announcement.number > mark.number:
            return Arrival.NEW
        if entry.announcement.number < mark.number:
            if self.is_older(*entry.key, entry.announcement.number):
                return Arrival.OLDER
            return Arrival.NEW if mark.misses(entry.announcement.number) else Arrival.REPLAY
        if entry.digest != mark.digest:
            return Arrival.EQUIVOCATION
        return Arrival.REFILLED if self._lacks(entry.announcement, backlog=entry.backlog) else Arrival.DUPLICATE

    def _lacks(self, announcement: Announcement, *, backlog: bool) -> bool:
        """Whether the newest of its peer and kind tells something: it was evicted, or comes live, and is known only as backlog so far."""
        held = self.get(announcement.peer, announcement.kind)
        if held is None:
            return True
        goodbye = self.get(announcement.peer, AnnouncementKind.LEAVING) if announcement.kind is not AnnouncementKind.SLICE else None
        return held.backlog and not backlog and (goodbye is None or goodbye.announcement.number < announcement.number)

    def _mark(self, key: Key, mark: HighWaterMark) -> None:
        self.marks.pop(key, None)  # re-inserted at the end: the order is the order of change
        self.marks[key] = mark
        self.changed_marks.add(key)
        while len(self.marks) > self.capacity * MARKS_PER_PEER:
            oldest = next((key for key in self.marks if key[0] not in self.known), next(iter(self.marks)))
            del self.marks[oldest]
            self.changed_marks.discard(oldest)

    def _most_dispensable(self) -> PeerId:
        """The peer to evict: one that was never accepted, by lot, a silent one if possible. So no flood keeps newcomers out.

        If those have no more than a tenth of the places, it is the accepted peer that was silent for longest. So peers that were merged
        once and fell silent keep no newcomer out.
        """
        drawn = self._random_draw.draw(DRAWN, lambda peer: not self.trusted(peer))
        if len(set(drawn)) < FLOOD:
            drawn = [peer for peer in self.known if not self.trusted(peer)]
            if len(drawn) <= self.capacity // FOR_NEW:
                return min(self.known.keys() - set(drawn), key=self._last_heard)
        silent = [peer for peer in drawn if self.known[peer].silent]
        return (silent or drawn)[0]

    def _last_heard(self, peer: PeerId) -> tuple[bool, float, PeerId]:
        known = self.known[peer]
        return not known.silent, known.heard_at, peer
