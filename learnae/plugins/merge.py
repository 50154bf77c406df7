"""The default merge: an average. An update that has trained long and is fresh weighs more."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs.validators import ge, in_

from learnae import kernels
from learnae.config.tables import option
from learnae.records import LocalModel, Received
from learnae.strategies import ElementwiseMerge

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.frozen(kw_only=True)
class AverageOptions:
    """How much each update counts."""

    weight: str = option(
        "age", 'What an update weighs by: "age" (optimiser steps), "samples" or "equal".', in_(("age", "samples", "equal"))
    )
    staleness_power: float = option(0.5, "An update that is s rounds old weighs (1 + s) to the minus this; 0 ignores staleness.", ge(0.0))
    trust_weights: bool = option(
        False, "Believe the age or samples that others claim, also above the own: one liar can then replace the model."
    )


class Average(ElementwiseMerge):
    """The weighted mean of the own model and the accepted ones.

    The own model weighs 1. An update weighs min(1, its age / own age) * (1 + staleness)^-0.5 * the weight that the gates gave. In place of
    the age it can be the number of samples. The discount for staleness is the polynomial one of FedAsync (arXiv:1903.03934).
    """

    Options = AverageOptions
    options: AverageOptions

    def weigh(self, local: LocalModel, received: Sequence[Received]) -> Sequence[float]:
        return [self._relative(local, item) * self._freshness(item) * item.weight for item in received]

    def combine(self, stacked: Array, weights: Array) -> Array:
        """own + sum of weight times (other - own): the weighted mean, since the weights sum to 1.

        In this form models that agree give exactly that model; a sum of rounded products changes up to 30 % of the coordinates.
        """
        result: Array = np.empty_like(stacked[0])
        flat = [row.reshape(-1) for row in stacked]
        if not kernels.moved(flat[0], flat[1:], weights[1:], result.reshape(-1)):
            return _mean_of_the_largest(stacked, weights)
        return result

    def combine_into(self, rows: Sequence[Array], weights: Array, out: Array) -> None:
        """The same to the same bits, without a copy of the rows."""
        if not kernels.moved(rows[0], rows[1:], weights[1:], out):
            out[:] = _mean_of_the_largest(np.stack(rows), weights)

    def _relative(self, local: LocalModel, item: Received) -> float:
        """The update's age (or samples) over the own; less than one counts as one, so that newcomers among themselves are equals."""
        if self.options.weight == "equal":
            return 1.0
        own: int = max(getattr(local, self.options.weight), 1)
        claimed: int = max(getattr(item.update, self.options.weight), 1)
        most = sys.maxsize if self.options.trust_weights else own
        return min(claimed, most) / own

    def _freshness(self, item: Received) -> float:
        return math.pow(1.0 + max(item.staleness, 0.0), -self.options.staleness_power)


def _mean_of_the_largest(stacked: Array, weights: Array) -> Array:
    """The same where a difference is beyond the largest float32: one update must not end the merge of all."""
    own = stacked[0].astype(np.float64)
    mean = own + sum(weight * (other - own) for other, weight in zip(stacked[1:], weights[1:].astype(np.float64), strict=True))
    result: Array = np.clip(mean, stacked.min(axis=0), stacked.max(axis=0)).astype(np.float32)
    return result
