"""Finds new messages at a swarm's places. One look makes a bounded number of requests, and takes bounded memory, whatever lies there."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence, Set

import attrs

from learnae_iota.calls import find, trytes
from learnae_iota.line import NodeApi
from learnae_iota.places import Places, window_of
from learnae_iota.transactions import MessageTag, read, sent_at

BEFORE_WINDOWS = 5  # what the tangle brings late, and clocks that are behind
AFTER_WINDOWS = 1  # clocks that are ahead
ONE_REQUEST = 500  # places that are asked for at once
PARENT_WINDOWS = 50  # in which parents are looked for
MOST_WINDOWS = 500  # that a look makes up for, after a pause
MOST_REQUESTS = 16  # of one look, to list what is there
MOST_BACKLOG_REQUESTS = 40  # of one portion of the backlog: two for each time that a request is halved, and some more
MOST_FETCHED = 500  # transactions of one look; the rest waits for the next
LOOK_SECONDS = 5.0  # after which a look asks for nothing more; the rest waits for the next
RECENT_MESSAGES = 1024


@attrs.define
class PollCounts:
    """What has been seen since the announcer was opened: messages, and of them such as came before; what is none; what is gone."""

    messages: int = 0
    repeated: int = 0
    garbage: int = 0
    gone: int = 0


@attrs.define
class PollResult:
    """Of `fetched` and `left` transactions; `whole` says that nothing can have been missing in the lists.

    `older` are messages of a look that were, or may have been, there before listening began.
    """

    messages: list[bytes]
    fetched: int
    left: int
    whole: bool
    older: list[bytes] = attrs.field(factory=list)


@attrs.frozen(order=True)
class FoundMessage:
    """A message in a transaction, with the time that its sender names, in milliseconds since 1970."""

    sent_at: int
    message: bytes
    hash: str


@attrs.frozen
class Brought:
    """By whom a message was brought first; `older` where it was, or may have been, there before listening began."""

    source: str
    older: bool


@attrs.define
class NodeView:
    """What one node has shown. Each has its own: one that lists a message and brings another in its place hides it at no other."""

    known: set[str] = attrs.field(factory=set)
    looked: int = 0  # the newest window of the last look; 0 before the first
    left: set[str] = attrs.field(factory=set)  # what was listed when listening began, and not fetched
    unseen_before: int = 0  # the window before which there was more then than could be listed

    def is_older(self, found: FoundMessage) -> bool:
        """Whether it was, or may have been, there before listening began."""
        return found.hash in self.left or window_of(found.sent_at / 1000) < self.unseen_before


@attrs.define
class Poller:
    """Looks at the places of some channels, again and again. Its methods block; any node may be asked at any time, one twice at once never.

    A message that another node, or the feed, has brought does not come again, unless it came there as one that was there before listening
    began: so a node that lies would hide all of them.
    """

    channels: Sequence[Places]
    round_record: PollCounts = attrs.field(factory=PollCounts)
    fed: str = ""  # the address of the node that has the feed
    look_seconds: float = LOOK_SECONDS
    now: Callable[[], float] = time.time  # on the clock of the node that was asked last
    views: dict[str, NodeView] = attrs.field(factory=dict)  # by address
    _brought: OrderedDict[tuple[bytes, int], Brought] = attrs.field(factory=OrderedDict)  # message, and time that its sender names
    _recent: OrderedDict[bytes, None] = attrs.field(factory=OrderedDict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)
    _near: tuple[int, frozenset[MessageTag]] = (0, frozenset())

    def look(self, line: NodeApi) -> PollResult:
        """What is new at the places of now and of shortly before."""
        view, until = self._view(line.address), time.monotonic() + self.look_seconds
        newest = window_of(line.now()) + AFTER_WINDOWS
        oldest = max(min(newest, view.looked or newest) - AFTER_WINDOWS - BEFORE_WINDOWS, newest - MOST_WINDOWS)
        places = self._places(range(newest, oldest - 1, -1))
        hashes, whole = _listed(line, [place.address for place in places], until)
        new = sorted(hashes - view.known, key=view.left.__contains__)
        found, fetched = self._fetched(line, new[:MOST_FETCHED], places, view.is_older, until)
        older = {each: None for each in found if view.is_older(each)}
        view.looked, self.now = newest, line.now
        view.known.update(new[:fetched])
        view.known &= hashes  # what is listed no more need not be known
        view.left &= hashes
        live = [each.message for each in found if each not in older]
        return PollResult(live, fetched, len(new) - fetched, whole, [each.message for each in older])

    def catch_backlog(self, line: NodeApi, windows: Sequence[int], most: int) -> PollResult:
        """What is new at the places of these windows, of which the first is the newest; if it is too much, at the newest ones of them."""
        view, places = self._view(line.address), self._places(windows)
        new, whole = _listed_newest(line, [place.address for place in places], view.known, most)
        found, fetched = self._fetched(line, new[:most], places, lambda _: True)
        view.known.update(new[:most])
        if not view.looked:
            view.looked, view.left = windows[0], set(new[most:])
            view.unseen_before = 0 if whole else windows[0]
        return PollResult([each.message for each in found], fetched, len(new[most:]), whole)

    def take(self, hash_: str, transaction: str) -> bytes | None:
        """The message in a transaction that has come otherwise; None if there is none, or the hash is known."""
        view = self._view(self.fed or next(iter(self.views), ""))
        message = None if hash_ in view.known else read(transaction, self._places_of(window_of(self.now())))
        if message is None:
            return None
        view.known.add(hash_)
        return message if self._count(FoundMessage(sent_at(transaction), message, hash_), self.fed, older=False) else None

    def _view(self, address: str) -> NodeView:
        return self.views.setdefault(address, NodeView())

    def _places_of(self, window: int) -> frozenset[MessageTag]:
        """Worked out once for each window: a feed brings all that the tangle carries."""
        if self._near[0] != window:
            self._near = window, frozenset(self._places(range(window - BEFORE_WINDOWS, window + AFTER_WINDOWS + 1)))
        return self._near[1]

    def _places(self, windows: Iterable[int]) -> dict[MessageTag, None]:
        return {places.at(window): None for window in windows for places in self.channels}

    def _fetched(
        self,
        line: NodeApi,
        hashes: Sequence[str],
        places: dict[MessageTag, None],
        is_older: Callable[[FoundMessage], bool],
        until: float = math.inf,
    ) -> tuple[list[FoundMessage], int]:
        """Messages in the order of time, and how many of the hashes were asked for."""
        found: list[FoundMessage] = []
        at, fetched = frozenset(places), 0
        while fetched < len(hashes) and time.monotonic() < until:
            asked = hashes[fetched : fetched + line.most_trytes]
            fetched += len(asked)
            for hash_, transaction in zip(asked, trytes(line, asked), strict=True):
                if transaction is None:
                    self.round_record.gone += 1
                elif (message := read(transaction, at)) is None:
                    self.round_record.garbage += 1
                else:
                    found.append(FoundMessage(sent_at(transaction), message, hash_))
        return sorted(each for each in found if self._count(each, line.address, older=is_older(each))), fetched

    def _count(self, found: FoundMessage, source: str, *, older: bool) -> bool:
        """Whether it is to be delivered."""
        digest = hashlib.sha256(found.message).digest()
        with self._lock:
            before = self._brought.get((digest, found.sent_at))
            if before is not None and before.source != source and (older or not before.older):
                return False
            if before is None or before.source != source:
                self._brought[digest, found.sent_at] = Brought(source, older)
            self.round_record.messages += 1
            self.round_record.repeated += digest in self._recent
            self._recent[digest] = None
            for remembered in (self._recent, self._brought):
                if len(remembered) > RECENT_MESSAGES:
                    remembered.popitem(last=False)
        return True


def recent_hashes(line: NodeApi, places: Places) -> set[str]:
    """Transactions of the swarm that this node has, of the last minutes."""
    newest = window_of(line.now())
    return find(line, [places.at(window).address for window in range(newest, newest - min(PARENT_WINDOWS, line.most_found), -1)])


def _listed(line: NodeApi, addresses: Sequence[str], until: float = math.inf) -> tuple[set[str], bool]:
    """The hashes there, and whether surely all of them: where the list is as long as the node makes it, it is asked for in two halves."""
    hashes: set[str] = set()
    whole = True
    size = min(ONE_REQUEST, line.most_found)
    waiting = deque(addresses[start : start + size] for start in range(0, len(addresses), size))
    for _ in range(MOST_REQUESTS):
        if not waiting or time.monotonic() >= until:
            break
        asked = waiting.popleft()
        found = find(line, asked)
        hashes |= found
        if len(found) >= line.most_found:
            whole = whole and len(asked) > 1
            half = len(asked) // 2
            waiting += [asked[:half], asked[half:]] if half else []
    return hashes, whole and not waiting


def _listed_newest(line: NodeApi, addresses: Sequence[str], known: Set[str], enough: int) -> tuple[list[str], bool]:
    """What is not known, at the first addresses first, until there is enough; and whether surely all of it."""
    hashes: dict[str, None] = {}
    whole = True
    size = min(ONE_REQUEST, line.most_found)
    waiting = [addresses[start : start + size] for start in range(0, len(addresses), size)][::-1]
    for _ in range(MOST_BACKLOG_REQUESTS):
        if not waiting or len(hashes) >= enough:
            break
        asked = waiting.pop()
        listed = find(line, asked)
        too_many = len(listed) >= line.most_found or len(hashes) + len(listed - known) > enough
        if too_many and len(asked) > 1:
            waiting += [asked[len(asked) // 2 :], asked[: len(asked) // 2]]
        else:
            whole = whole and len(listed) < line.most_found
            hashes |= dict.fromkeys(listed - known)
    return list(hashes), whole and not waiting
