"""How well a lineage is supported: by how many different peers it is heard from, coarsely (DESIGN 4, "Start, join, split"; decision 30)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from learnae.records import PeerId

NOBODY = PeerId("")

GROWN = 2
"""So many make a lineage a grown one where several are heard: one that lies is not enough."""


@attrs.frozen
class Seen:
    """One lineage as some peer announces it. `since`: when that peer was first heard here; -inf if by an earlier run."""

    lineage: bytes
    young: bool
    live: bool = True
    peer: PeerId = NOBODY
    since: float = -math.inf


@attrs.frozen
class Support:
    """`voices`: peers that are heard in it now. `left_behind`: those that announced it before this node listened, and are not heard.

    `grown`: two of them say that they are, or the only one.
    """

    lineage: bytes
    voices: int = 0
    left_behind: int = 0
    grown: bool = False

    @property
    def live(self) -> bool:
        return self.voices > 0

    @property
    def size(self) -> int:
        """One voice, up to three, up to seven, ...: coarse, since what is heard differs from peer to peer."""
        return _class(self.voices or self.left_behind)

    @property
    def expected(self) -> int:
        """The same, if half of those that were there before are there still."""
        return max(self.size if self.live else 0, _class(self.voices + self.left_behind) - 1)

    @property
    def rank(self) -> tuple[int, bool, bytes]:
        """The smaller the better: a total order, so that all who hear the same go to the same place."""
        return -self.size, not self.grown, self.lineage

    @property
    def rank_for_newcomers(self) -> tuple[int, bool, bytes]:
        """They have not listened for long, so what was there before counts a little."""
        return -self.expected, not self.grown, self.lineage

    def with_own(self) -> Support:
        """The own lineage: the own voice is one."""
        return attrs.evolve(self, voices=self.voices + 1)


def supports(seen: Iterable[Seen]) -> dict[bytes, Support]:
    """Of each lineage. Where somebody is heard in it now, only those tell whether it is grown."""
    heard: dict[bytes, list[Seen]] = {}
    for item in seen:
        heard.setdefault(item.lineage, []).append(item)
    return {lineage: _support(lineage, items) for lineage, items in heard.items()}


def _support(lineage: bytes, items: list[Seen]) -> Support:
    live = [item for item in items if item.live]
    voices = {item.peer for item in live}
    left_behind = {item.peer for item in items} - voices
    grown = {item.peer for item in live or items if not item.young}
    return Support(lineage, len(voices), len(left_behind), len(grown) >= min(GROWN, len(voices or left_behind)))


def _class(peers: int) -> int:
    return peers.bit_length()
