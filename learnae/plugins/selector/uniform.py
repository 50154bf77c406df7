"""Chance: every candidate alike."""

from __future__ import annotations

from collections.abc import Sequence

from learnae.plugins.selector.budget import fitting, within
from learnae.records import Candidate, View
from learnae.strategies import Selector


class Uniform(Selector):
    """Draws candidates at random, each with the same probability."""

    def select(self, view: View) -> Sequence[Candidate]:
        candidates = fitting(view)
        return within(view, [candidates[index] for index in self.context.rng.permutation(len(candidates))])
