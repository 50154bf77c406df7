"""Draws one of many by lot, without looking at all of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from learnae.records import PeerId


@attrs.define
class Lottery:
    """All who take part; adding, removing and drawing take the same time however many there are."""

    rng: np.random.Generator
    _all: list[PeerId] = attrs.field(factory=list)
    _places: dict[PeerId, int] = attrs.field(factory=dict)

    def add(self, peer: PeerId) -> None:
        self._places[peer] = len(self._all)
        self._all.append(peer)

    def remove(self, peer: PeerId) -> None:
        """The last one takes its place."""
        place, last = self._places.pop(peer), self._all.pop()
        if last != peer:
            self._all[place], self._places[last] = last, place

    def draw(self, count: int, wanted: Callable[[PeerId], bool]) -> list[PeerId]:
        """So many tries, of which those come back that are wanted."""
        drawn = (self._all[place] for place in self.rng.integers(len(self._all), size=count))
        return [peer for peer in drawn if wanted(peer)]
