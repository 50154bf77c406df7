"""Tells the user of other grown lineages under the same name, and what can be done about them."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from learnae.node.outages import Outages
from learnae.node.standing import Standing
from learnae.node.support import Seen

MOST = 8  # reported at once: whoever invents lineages fills no log


@attrs.define
class Splits:
    standing: Standing
    outages: Outages
    _told: set[bytes] = attrs.field(factory=set)

    def note(self, seen: Iterable[Seen], now: float) -> tuple[bytes, ...]:
        """Those of this moment, each told once when it begins and once when it is over."""
        splits = sorted(self.standing.splits(seen, now))[:MOST]
        for lineage in self._told.difference(splits):
            self.outages.works(_what(lineage))
        for lineage in splits:
            self.outages.failed(_what(lineage), f"another grown lineage trains under this name: the two cannot be merged; {self._remedy}")
        self._told = set(splits)
        return tuple(splits)

    @property
    def _remedy(self) -> str:
        if self.standing.rules.on_split == "yield":
            return "with join.on_split = 'yield' the side with fewer peers goes over when that has lasted"
        return "let the peers of one side go over with `learnae rejoin`, or set join.on_split = 'yield' in all files"


def _what(lineage: bytes) -> str:
    return f"split {lineage.hex()}"
