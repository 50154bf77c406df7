"""Selectors: `least-recently-tried`, the default, and `uniform`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from learnae.records import Candidate, View
from learnae.strategies import Selector


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
        trusted = sorted((each for each in waiting if each.trust > 0), key=lambda each: -_waited(each, view.round) * each.trust)
        doubtful = [candidate for candidate in waiting if not candidate.trust > 0]
        free = view.count - len(trusted)
        if free > 0:
            return within(view, trusted + doubtful[:free])
        return within(view, self._chance(doubtful) + trusted)

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
