"""Selectors: `least-recently-tried`, the default, `uniform`, `fixed` for comparisons, and `planner`, which also sees slices of rows.

Those that prefer some peers to others are in `learnae.plugins.preferences`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

import attrs
from attrs.validators import in_

from learnae.config.tables import PUBLIC_KEYS, option
from learnae.data.worth import worth
from learnae.errors import ConfigError, Problem
from learnae.records import AnnouncementKind, Candidate, PeerId, View
from learnae.sketches import difference
from learnae.strategies import Context, Selector


def fitting(view: View) -> list[Candidate]:
    """The candidates that fit into the budget of bytes at all."""
    return [candidate for candidate in view.candidates if 0 <= candidate.bytes <= view.budget_bytes]


def within(view: View, wanted: Iterable[Candidate]) -> list[Candidate]:
    """The most wanted candidates: at most `view.count`, and at most `view.budget_bytes` together."""
    chosen: list[Candidate] = []
    left = view.budget_bytes
    for candidate in wanted:
        if len(chosen) < view.count and candidate.bytes <= left:
            chosen.append(candidate)
            left -= candidate.bytes
    return chosen


class Uniform(Selector):
    """Draws candidates at random, each with the same probability."""

    def select(self, view: View) -> Sequence[Candidate]:
        candidates = fitting(view)
        return within(view, [candidates[index] for index in self.context.rng.permutation(len(candidates))])


DOUBLINGS = 6  # the longest wait is 64 rounds
STRANGER_PROBABILITY = 0.25
FALLEN_PROBABILITY = 0.125


class LeastRecentlyTried(Selector):
    """Fetches from peers that were tried longest ago. A peer with half the trust gets half as many turns. Ties are broken at random.

    Each failure in a row doubles the wait of a peer, up to 64 own rounds. Peers that were never accepted share at most one slot, in one
    round of four. Peers that have lost all trust share it in one round of eight. Identities cost nothing: so neither new ones nor spoiled
    ones can crowd out peers that have proved themselves. If fewer other peers wait than there are slots, both fill the rest.
    """

    def select(self, view: View) -> Sequence[Candidate]:
        waiting = self._in_turn(view)
        trusted = self._ranked([each for each in waiting if each.trust > 0], view)
        doubtful = [candidate for candidate in waiting if not candidate.trust > 0]
        free = view.count - len(trusted)
        if free > 0:
            return within(view, trusted + doubtful[:free])
        return within(view, self._chance(doubtful) + trusted)

    def _ranked(self, trusted: Sequence[Candidate], view: View) -> list[Candidate]:
        """Those that have proved themselves, the one to fetch from first before the others."""
        return sorted(trusted, key=lambda each: -_waited(each, view.round) * each.trust)

    def _chance(self, doubtful: Sequence[Candidate]) -> list[Candidate]:
        """One of them, or none."""
        if not doubtful:
            return []
        drawn = self.context.rng.random()
        if drawn < STRANGER_PROBABILITY:
            return [candidate for candidate in doubtful if not candidate.ever_accepted][:1]
        if drawn < STRANGER_PROBABILITY + FALLEN_PROBABILITY:
            return [candidate for candidate in doubtful if candidate.ever_accepted][:1]
        return []

    def _in_turn(self, view: View) -> list[Candidate]:
        """The candidates whose wait is over, those tried longest ago (or never) first."""
        due = [candidate for candidate in fitting(view) if _waited(candidate, view.round) >= 1 << min(candidate.failures, DOUBLINGS)]
        shuffled = [due[index] for index in self.context.rng.permutation(len(due))]
        return sorted(shuffled, key=lambda candidate: -_waited(candidate, view.round))


def _waited(candidate: Candidate, now: int) -> float:
    """Rounds since it was tried last; a count of rounds that began anew keeps nobody waiting."""
    return math.inf if candidate.last_tried is None or candidate.last_tried > now else now - candidate.last_tried


LISTED, RING, EXPONENTIAL = "listed", "ring", "exponential"


@attrs.frozen(kw_only=True)
class FixedOptions:
    """From whom this peer fetches, whatever it hears of others."""

    peers: tuple[str, ...] = option(
        (), "The public keys of the peers, in the same order in each peer's file; none: it fetches no updates.", PUBLIC_KEYS
    )
    shape: str = option(
        LISTED,
        'From which of them: "listed": all; "ring": the one before this peer and the one behind it; '
        '"exponential": the one that is 1, 2, 4 and so on places behind it, one each round.',
        in_((LISTED, RING, EXPONENTIAL)),
    )


class Fixed(Selector):
    """Fetches from the same peers in each round: a graph, or no updates at all. For comparisons; a peer that is gone is not replaced.

    Where `count` is less than they are, those tried longest ago come first. Raises ConfigError for a list that makes no such graph.
    """

    Options = FixedOptions
    options: FixedOptions

    def __init__(self, options: FixedOptions, context: Context) -> None:
        super().__init__(options, context)
        peers, own = options.peers, context.peer
        self.named = frozenset(map(PeerId, peers))
        if len(set(peers)) < len(peers):
            raise ConfigError(Problem("peers", "names a peer twice", "name each once"))
        if options.shape != LISTED and own not in peers:
            raise ConfigError(
                Problem("peers", f"does not name this peer, {own}", "name all peers of the graph, in the same order in each file")
            )

    def select(self, view: View) -> Sequence[Candidate]:
        sources = self._sources(view.round)
        there = [candidate for candidate in fitting(view) if candidate.peer in sources]
        return within(view, sorted(there, key=lambda each: (-_waited(each, view.round), sources.index(each.peer))))

    def _sources(self, round_: int) -> list[PeerId]:
        """From whom this peer fetches in this round."""
        peers = [PeerId(peer) for peer in self.options.peers]
        if self.options.shape == LISTED:
            return [peer for peer in peers if peer != self.context.peer]
        at, count = peers.index(self.context.peer), len(peers)
        if count == 1:
            return []
        if self.options.shape == RING:
            return list(dict.fromkeys((peers[at - 1], peers[(at + 1) % count])))
        return [peers[(at + (1 << round_ % (count - 1).bit_length())) % count]]


class Planner(LeastRecentlyTried):
    """Spends a round on updates and slices of rows together, on what is worth most for its bytes. The formula is our own design.

    Which updates have their turn is as with `least-recently-tried`. An update is worth freshness x progress x difference:

    - freshness: 1 / (1 + staleness);
    - progress: 2 (1 + age) / (2 + age + own age), so 1 for a model as far as the own one, and less than 2;
    - difference: 2 d / (d + the median of d), so 1 for one that is as different as most, and less than 2. d is told by the sketches
      (`learnae.sketches.difference`). Without one it is 1.

    A slice is worth the rows that it adds, `sum of n / (1 + have)` over its labels (`learnae.data.worth`), halved for each failure of its
    giver in a row. So a slice of a label that this peer lacks comes before updates, and one of a label of which it has many comes where a
    place is left. Each slice that is chosen counts for the next one, as if it had come.

    Age and sketch are what a peer says of itself. All that a lie brings is a worth four times as high.

    While updates wait, slices take at most half of the places, and of a single place every second round. So no number of slices, and no
    lie about them, keeps models from being merged.
    """

    slices = True

    def select(self, view: View) -> Sequence[Candidate]:
        slices = [candidate for candidate in fitting(view) if candidate.kind is AnnouncementKind.SLICE]
        updates = [candidate for candidate in view.candidates if candidate.kind is not AnnouncementKind.SLICE]
        turns = list(super().select(attrs.evolve(view, candidates=updates)))
        places = view.count if not turns else max(view.count // 2, view.count - len(turns), view.round % 2 if view.count == 1 else 0)
        return within(view, self._by_worth(turns, slices, places, view))

    def _by_worth(self, turns: list[Candidate], slices: list[Candidate], places: int, view: View) -> Iterator[Candidate]:
        """All of them, the ones that are worth most for their bytes first, but no more slices than there are places."""
        have, waiting, differences = Counter(view.have), list(slices), self._differences(view)
        while turns or (waiting and places > 0):
            best = max(waiting, key=lambda one: (self._slice_worth(one, have), one.root or ""), default=None) if places > 0 else None
            if best is not None and (not turns or self._slice_worth(best, have) >= self._update_worth(turns[0], view, differences)):
                waiting.remove(best)
                have.update(best.labels)
                places -= 1
                yield best
            else:
                yield turns.pop(0)

    def _update_worth(self, update: Candidate, view: View, differences: Mapping[PeerId, float]) -> float:
        factors = self._freshness(update), self._progress(update, view), self._difference(update, differences)
        return math.prod(factors) / max(1, update.bytes)

    def _freshness(self, update: Candidate) -> float:
        return 1.0 / (1.0 + max(0.0, update.staleness))

    def _progress(self, update: Candidate, view: View) -> float:
        return 2.0 * (1 + update.age) / (2 + update.age + view.age)

    def _difference(self, update: Candidate, differences: Mapping[PeerId, float]) -> float:
        typical = median(differences.values()) if differences else 0.0
        own = differences.get(update.peer, typical)
        return 2.0 * own / (own + typical) if own + typical else 1.0

    def _slice_worth(self, slice_: Candidate, have: Mapping[str, int]) -> float:
        return worth(slice_.rows, slice_.labels, slice_.bytes, have) / 2.0 ** min(slice_.failures, DOUBLINGS)

    def _differences(self, view: View) -> dict[PeerId, float]:
        """Of each update whose sketch says it."""
        updates = (candidate for candidate in view.candidates if candidate.kind is not AnnouncementKind.SLICE)
        found = {update.peer: difference(view.sketch, update.sketch) for update in updates}
        return {peer: one for peer, one in found.items() if one is not None}
