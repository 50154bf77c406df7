"""Which keepers are asked for what is left of peers that have gone. Anybody can call itself one, so they take turns (decision 0059)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import TypeVar

import attrs

from learnae.node.inbox import Inbox, InboxEntry
from learnae.records import AnnouncementKind, PeerId, Present

T = TypeVar("T")

MOST_ASKED = 2  # at once: each has others look where it says
IN_VAIN = 3  # so often in a row, and what a keeper has given before is forgotten
REMEMBERED = 4096


@attrs.define
class Keepers:
    """The keepers that are heard of. One of two places is for those of `named` and those of which something came; the other goes round.

    Which storage had a block is known, and not by whose hint it was found: so all who were asked count as if they had given it.
    """

    inbox: Inbox
    named: Collection[PeerId] = ()
    _asked: OrderedDict[PeerId, tuple[PeerId, ...]] = attrs.field(factory=OrderedDict)  # for what is of this peer, last
    _asked_in_vain: OrderedDict[PeerId, None] = attrs.field(factory=OrderedDict)  # the longest ago first
    _gave: OrderedDict[PeerId, int] = attrs.field(factory=OrderedDict)  # how often in vain since something came

    def all(self) -> list[PeerId]:
        """Those of `named` first, then live ones, then by when they were heard first."""
        found = [peer for peer, known in self.inbox.known.items() if _is_keeper(known.entries.get(AnnouncementKind.PRESENT))]
        return sorted(found, key=lambda peer: (peer not in self.named, self.inbox.known[peer].silent))

    def ask(self, peer: PeerId) -> tuple[PeerId, ...]:
        """The keepers to ask for what this peer has left, at most `MOST_ASKED`. The same ones, until they were asked in vain."""
        turns = {keeper: turn for turn, keeper in enumerate(self._asked_in_vain, 1)}
        found = sorted(self.all(), key=lambda keeper: (self.inbox.known[keeper].silent, turns.get(keeper, 0)))
        proved = [keeper for keeper in found if keeper in self.named or keeper in self._gave]
        others = [keeper for keeper in found if keeper not in proved]
        asked = tuple([*proved[:1], *others, *proved[1:]][:MOST_ASKED])
        _put(self._asked, peer, asked)
        return asked

    def came(self, peer: PeerId) -> None:
        """What was wanted of this peer has come."""
        for keeper in self._asked.get(peer, ()):
            _put(self._gave, keeper, 0)

    def in_vain(self, peer: PeerId) -> None:
        """It has not come, so the next ones are asked: also of who has given before, another."""
        for keeper in self._asked.pop(peer, ()):
            _put(self._asked_in_vain, keeper, None)
            times = self._gave.pop(keeper, IN_VAIN) + 1
            if times < IN_VAIN:
                _put(self._gave, keeper, times)

    def not_asked(self, peer: PeerId) -> None:
        """This peer is there: it is asked itself."""
        self._asked.pop(peer, None)


def _put(memory: OrderedDict[PeerId, T], key: PeerId, value: T) -> None:
    """As the newest, and forget the oldest where there are too many."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _is_keeper(entry: InboxEntry | None) -> bool:
    return entry is not None and isinstance(entry.announcement.body, Present) and entry.announcement.body.role == "keeper"
