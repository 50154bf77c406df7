"""The default selector: everyone in turn, those that fail less and less often, strangers a little."""

from __future__ import annotations

from collections.abc import Sequence

from learnae.plugins.selector.budget import fitting, within
from learnae.records import Candidate, View
from learnae.strategies import Selector

DOUBLINGS = 6  # the longest wait is 64 rounds
STRANGER_PROBABILITY = 0.25


class LeastRecentlyTried(Selector):
    """Fetches from those that were tried longest ago; ties are broken at random.

    Each failure in a row doubles a peer's wait, up to 64 own rounds. Peers whose updates were never yet accepted share at most one
    slot, and that in one round of four, unless fewer accepted peers are waiting than there are slots: identities cost nothing, so
    a flood of new ones must not crowd out those that have proved themselves.
    """

    def select(self, view: View) -> Sequence[Candidate]:
        waiting = self._in_turn(view)
        known = [candidate for candidate in waiting if candidate.ever_accepted]
        strangers = [candidate for candidate in waiting if not candidate.ever_accepted]
        free = view.count - len(known)
        if free > 0:
            return within(view, known + strangers[:free])
        if strangers and self.context.rng.random() < STRANGER_PROBABILITY:
            return within(view, strangers[:1] + known)
        return within(view, known)

    def _in_turn(self, view: View) -> list[Candidate]:
        """The candidates whose wait is over, those tried longest ago (or never) first."""
        due = [candidate for candidate in fitting(view) if _due(candidate, view.round)]
        shuffled = [due[index] for index in self.context.rng.permutation(len(due))]
        return sorted(shuffled, key=lambda candidate: -1 if candidate.last_tried is None else candidate.last_tried)


def _due(candidate: Candidate, now: int) -> bool:
    if candidate.last_tried is None or candidate.last_tried > now:  # a count of rounds that began anew keeps nobody waiting
        return True
    return now - candidate.last_tried >= 1 << min(candidate.failures, DOUBLINGS)
