"""Updates before the newest one of a peer that is not there: a keeper may have them where nobody has the newest (docs/decisions/0059)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from learnae.node.inbox import InboxEntry

MOST = 2  # as many of each peer as a keeper keeps


@attrs.define
class OlderUpdates:
    """Those of one peer, by their numbers, and how often each could not be had or used. All of them count as left behind.

    If there are too many, one that has failed gives way, else the one with the lowest number.
    """

    _entries: dict[int, InboxEntry] = attrs.field(factory=dict)
    _failures: Counter[int] = attrs.field(factory=Counter)

    def __contains__(self, number: object) -> bool:
        return number in self._entries

    def wants(self, number: int) -> bool:
        """Whether an update with this number would be kept."""
        if number in self._entries or len(self._entries) < MOST:
            return number not in self._entries
        least = self._most_dispensable()
        return number > least or self._failures[least] > 0

    def add(self, entry: InboxEntry) -> None:
        number = entry.announcement.number
        if self.wants(number):
            if len(self._entries) >= MOST:
                self._remove(self._most_dispensable())
            self._entries[number] = attrs.evolve(entry, backlog=True)

    def best(self, failures: int) -> InboxEntry | None:
        """The newest of those that have failed less often than that."""
        numbers = [number for number in self._entries if self._failures[number] < failures]
        return self._entries[max(numbers)] if numbers else None

    def failed(self, number: int) -> None:
        if number in self._entries:
            self._failures[number] += 1

    def _most_dispensable(self) -> int:
        return min(self._entries, key=lambda number: (-self._failures[number], number))

    def _remove(self, number: int) -> None:
        del self._entries[number]
        self._failures.pop(number, None)
