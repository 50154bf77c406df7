"""How far others have come, by what many of them say: of ages and counters a merge takes no more than that (docs/decisions/0029)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.node.counters import between, lower_median
from learnae.records import LocalModel, PeerId, Received

if TYPE_CHECKING:
    from learnae.records import Array

OLDEST = 1 << 48
"""Optimiser steps that no model ever has: an age beyond it is believed up to here, so that ages can be added and stored for ever."""

WINDOW = 9
"""Peers whose last accepted claims are weighed against each other: four that lie together are outvoted."""

ENOUGH = 5
"""Peers without whose claims nothing is raised, where so many are there: two that lie together are outvoted."""

LISTENING_MERGES = 8
"""So many times a peer merges in a lineage before it takes its swarm for small, in rounds of its own: those who lie may be heard first."""

LASTING_ROUNDS = 32
"""Own rounds after which what a peer claimed says nothing any more."""

FASTEST = 64
"""Nobody is taken to be so many times as fast as this peer: if all lie, ages and counters grow with the own steps, and not without end."""


@attrs.frozen
class Claim:
    """What one peer has said with its last accepted update, in which own round."""

    round: int
    age: int
    counters: Mapping[str, Array]


@attrs.frozen
class Believed:
    """The age of a merged model, and the most that is taken of each counter."""

    age: int
    counters: Mapping[str, Array]


@attrs.define
class Claims:
    """Of one lineage at a time. `counters` names the tensors that are merged by maximum.

    What is believed is the lower median of the last claims of up to `WINDOW` peers, whomever this peer meets in one round. And nothing
    rises in a merge by more than `FASTEST` times what the own has risen by since it was last raised.
    """

    counters: Sequence[str]
    lineage: bytes = b""
    _claims: OrderedDict[PeerId, Claim] = attrs.field(factory=OrderedDict)
    _then: dict[str, Array] = attrs.field(factory=dict)  # each counter when it was last raised, or first seen
    _age_then: int = 0  # likewise
    _age_first: int = 0  # when the first update of this lineage was merged: most of it was taken over from others
    _merges: int = 0

    def believe(self, local: LocalModel, accepted: Sequence[Received], lineage: bytes, round_: int, *, here: int, young: bool) -> Believed:
        """Of these updates, and of those before. `here`: how many others publish in this lineage (`company`).

        Who is `young` knows few yet. It took its age over from those that it knew, so that is put right when it knows more.
        """
        if lineage != self.lineage:
            self.lineage, self._merges = lineage, 0
            self._claims.clear()
        if self._merges == 0:
            self._age_first = self._age_then = local.age
            self._then = {name: np.array(local.current[name]) for name in self.counters}
        self._note(accepted, round_)
        self._merges += 1
        enough = ENOUGH if young or self._merges <= LISTENING_MERGES else max(2, min(ENOUGH, here))
        if len(self._claims) < enough:
            return Believed(local.age, {name: local.current[name] for name in self.counters})
        return Believed(self._age(local.age, young=young), {name: self._counter(local, name) for name in self.counters})

    def merged(self, local: LocalModel, believed: Believed, page: Mapping[str, Array]) -> None:
        """What became of it: a model of that age, with these counters."""
        if believed.age != local.age:
            self._age_then = believed.age
        for name in self.counters:
            if (page[name] > local.current[name]).any():
                self._then[name] = np.array(page[name])

    def _note(self, accepted: Iterable[Received], round_: int) -> None:
        for item in accepted:
            self._claims.pop(item.peer, None)
            self._claims[item.peer] = Claim(round_, item.update.age, {name: np.array(item.tensors[name]) for name in self.counters})
        for peer in [peer for peer, claim in self._claims.items() if round_ - claim.round > LASTING_ROUNDS]:
            del self._claims[peer]
        while len(self._claims) > WINDOW:
            self._claims.popitem(last=False)

    def _age(self, own: int, *, young: bool) -> int:
        others = min(OLDEST, median_low([claim.age for claim in self._claims.values()]))
        if young and self._age_first > 2 * others:
            corrected, self._age_first = others + own - self._age_first, others
            return corrected
        return max(own, min(others, own + FASTEST * max(0, own - self._age_then)))

    def _counter(self, local: LocalModel, name: str) -> Array:
        others = lower_median([claim.counters[name] for claim in self._claims.values()])
        return between(local.current[name], others, FASTEST, self._then[name])
