"""Selectors that prefer some peers to others: `nearby`, those that are fetched fast, and `dissimilar`, those that know something else."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p
from statistics import median

import attrs
import numpy as np
from attrs.validators import ge, le

from learnae.config.tables import option
from learnae.plugins.selector import LeastRecentlyTried
from learnae.records import Candidate, View
from learnae.sketches import difference

LEAST = 1e-12  # of a probability, and of bytes per second
SMALLEST_CLAIM = 0.5  # of the median size: who claims less is taken to have this much


@attrs.frozen(kw_only=True)
class NearbyOptions:
    """How often peers that are slow to fetch from are drawn all the same."""

    floor: float = option(
        0.2, "The share of the draws that does not look at speed. With none, slow peers are cut off from the swarm.", [ge(0.0), le(1.0)]
    )


class Nearby(LeastRecentlyTried):
    """Draws peers that are fetched fast more often: with (1 - floor) q / sum(q) + floor / n, where q = trust x freshness / seconds.

    `freshness` is 1 / (1 + staleness). `seconds` is the size of the update over the measured bytes per second, which contain what the
    connection takes to answer; the median of the others stands for a peer that was not fetched from yet. The floor keeps the graph of
    the swarm connected. Who waits after failures, and how many strangers come, is as with `least-recently-tried`. Our own design, after
    the cost-aware rule in "Asynchronous decentralized SGD" and its kin.

    A peer that answers fast is drawn more often, also a hostile one: use it behind a gate.
    """

    Options = NearbyOptions
    options: NearbyOptions

    def _ranked(self, trusted: Sequence[Candidate], view: View) -> list[Candidate]:
        if not trusted:
            return []
        logs = [log(one.trust) - log1p(max(0.0, one.staleness)) - log(time) for one, time in zip(trusted, _seconds(trusted), strict=True)]
        worth = np.exp(np.array(logs) - max(logs))  # over the largest one, so that no claim makes it 0 or infinite for all
        odds = np.maximum((1.0 - self.options.floor) * worth / worth.sum() + self.options.floor / len(trusted), LEAST)
        # The largest u ** (1 / odds) first draws without replacement: Efraimidis and Spirakis, "Weighted random sampling" (2006).
        drawn = -self.context.rng.exponential(size=len(trusted)) / odds
        return [trusted[index] for index in np.argsort(-drawn)]


def _seconds(candidates: Sequence[Candidate]) -> list[float]:
    """What each would take."""
    measured = [max(one.bytes_per_second, LEAST) for one in candidates if one.bytes_per_second]
    usual = median(measured) if measured else 1.0
    smallest = max(1.0, SMALLEST_CLAIM * median(one.bytes for one in candidates))
    return [max(one.bytes, smallest) / max(one.bytes_per_second or usual, LEAST) for one in candidates]


@attrs.frozen(kw_only=True)
class DissimilarOptions:
    """Among how many the most different ones are looked for."""

    sample: int = option(6, "How many of those that were tried longest ago are compared. The most different are fetched.", ge(1))


class Dissimilar(LeastRecentlyTried):
    """Of the `sample` peers that were tried longest ago, fetches those first whose models are the most different from the own one.

    Sketches in the announcements tell how different they are (`learnae.sketches.difference`). A peer without one counts as the median of
    the others. The idea is that of Morph (arXiv 2602.03383): a model that was trained on other rows teaches more. That the sample is taken
    by turns, and not at random, is our own: a peer that lies about its sketch is fetched when its turn has come, and not before.

    Hostile models are different too: use it behind a gate.
    """

    Options = DissimilarOptions
    options: DissimilarOptions

    def _ranked(self, trusted: Sequence[Candidate], view: View) -> list[Candidate]:
        ranked = super()._ranked(trusted, view)
        sample, rest = ranked[: self.options.sample], ranked[self.options.sample :]
        found = [difference(view.sketch, one.sketch) for one in sample]
        known = [one for one in found if one is not None]
        usual = median(known) if known else 0.0
        distances = [usual if one is None else one for one in found]
        order = sorted(range(len(sample)), key=lambda index: -distances[index])
        return [sample[index] for index in order] + rest
