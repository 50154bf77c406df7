"""Merges that bear up to f hostile models among the n of a round, by the field's names. The own model is one of the n.

They do not heed the weights of the gates. Where too few models came for `f`, it is lowered until the honest may be more than half. Tests
compare all of them with the library byzfl.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le, optional

from learnae.config.tables import option
from learnae.elementwise import combine_rows, squared_distances
from learnae.records import LocalModel, Merged, Received, State
from learnae.strategies import Merge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

    Matrix = NDArray[np.float64]

ITERATIONS = and_(ge(1), le(100))
FAR = 1e4
F = "How many of the models of a round may be hostile."
NNM = "Before the rule, put in the place of each model the mean of those nearest to it, all but this many (arXiv:2302.01772); 0 does not."


@attrs.frozen(kw_only=True)
class RobustOptions:
    """How many hostile models are borne."""

    f: int = option(1, F, ge(0))
    nnm: int = option(0, NNM, ge(0))


@attrs.frozen(kw_only=True)
class MedianOptions:
    """Whether the models are mixed before."""

    nnm: int = option(0, NNM, ge(0))


@attrs.frozen(kw_only=True)
class GeometricMedianOptions:
    """The smoothed Weiszfeld algorithm."""

    nnm: int = option(0, NNM, ge(0))
    iterations: int = option(8, "Steps of the algorithm.", ITERATIONS)
    smoothing: float = option(1e-6, "A distance below this counts as this.", gt(0.0))


@attrs.frozen(kw_only=True)
class CenteredClippingOptions:
    """How far one model may pull."""

    nnm: int = option(0, NNM, ge(0))
    iterations: int = option(1, "How often the center is moved.", ITERATIONS)
    radius: float | None = option(None, "How far a model pulls at most; none named: the median distance.", optional(gt(0.0)))


Options = RobustOptions | MedianOptions | GeometricMedianOptions | CenteredClippingOptions


class RobustMerge(Merge):
    """What these merges share: a rule for the rows, and the mixing of nearest neighbours before it."""

    options: Options

    def merge(self, local: LocalModel, received: Sequence[Received], state: State) -> Merged:
        taking = [item for item in received if item.weight > 0]
        if not taking:
            return Merged((name, None) for name in local.current)
        return Merged(combine_rows(local, taking, self.rule(local, taking)))

    @abstractmethod
    def rule(self, local: LocalModel, taking: Sequence[Received]) -> Callable[[Array], Array]:
        """What makes one row of n rows."""

    def mixing(self, squares: Matrix) -> Matrix | None:
        """How the models are mixed before the rule; None: they are not."""
        return nearest_neighbours(squares, bearable(self.options.nnm, len(squares))) if self.options.nnm else None


class CoordinateMerge(RobustMerge):
    """Rules that look at each coordinate alone."""

    def rule(self, local: LocalModel, taking: Sequence[Received]) -> Callable[[Array], Array]:
        mixing = self.mixing(squared_distances(local, taking)) if self.options.nnm else None
        return self.combine if mixing is None else lambda rows: self.combine(_mixed(mixing, rows))

    @abstractmethod
    def combine(self, rows: Array) -> Array:
        """One row of n."""


class Median(CoordinateMerge):
    """The median of each coordinate (arXiv:1803.01498)."""

    Options = MedianOptions

    def combine(self, rows: Array) -> Array:
        below, above = (len(rows) - 1) // 2, len(rows) // 2
        middle = np.partition(rows, (below, above), axis=0)[below : above + 1]
        result: Array = middle.mean(axis=0, dtype=np.float64).astype(np.float32)  # the mean of the two largest there are is no infinity
        return result


class TrimmedMean(CoordinateMerge):
    """The mean of each coordinate without the f largest and the f smallest values (arXiv:1803.01498)."""

    Options = RobustOptions
    options: RobustOptions

    def combine(self, rows: Array) -> Array:
        f, ordered = bearable(self.options.f, len(rows)), np.sort(rows, axis=0)
        result: Array = ordered[f : len(rows) - f].mean(axis=0, dtype=np.float64).astype(np.float32)
        return result


class DistanceMerge(RobustMerge):
    """Rules that give each model one weight, by the distances between all of them."""

    def rule(self, local: LocalModel, taking: Sequence[Received]) -> Callable[[Array], Array]:
        squares = squared_distances(local, taking)
        mixing = self.mixing(squares)
        weights = self.weigh(squares) if mixing is None else self.weigh(_distances_of_mixed(mixing, squares)) @ mixing
        return lambda rows: _moved(rows, weights)

    @abstractmethod
    def weigh(self, squares: Matrix) -> Matrix:
        """n weights that sum to 1, of n x n squared distances."""


class Krum(DistanceMerge):
    """The one model with the smallest sum of squared distances to its n - f - 1 nearest (arXiv:1703.02757, with the number of byzfl)."""

    Options = RobustOptions
    options: RobustOptions

    def weigh(self, squares: Matrix) -> Matrix:
        return _only([int(_scores(squares, bearable(self.options.f, len(squares))).argmin())], len(squares))


class MultiKrum(DistanceMerge):
    """The mean of the n - f models with the smallest sums (arXiv:1703.02757)."""

    Options = RobustOptions
    options: RobustOptions

    def weigh(self, squares: Matrix) -> Matrix:
        f = bearable(self.options.f, len(squares))
        return _only(np.argsort(_scores(squares, f), kind="stable")[: len(squares) - f].tolist(), len(squares))


class GeometricMedian(DistanceMerge):
    """The point with the smallest sum of distances to all models, by the smoothed Weiszfeld algorithm (RFA, arXiv:1912.13445)."""

    Options = GeometricMedianOptions
    options: GeometricMedianOptions

    def weigh(self, squares: Matrix) -> Matrix:
        weights = _only(_majority(squares), len(squares))
        near = _comparable(squares)
        for _ in range(self.options.iterations):
            pull = near / np.maximum(_distances_from(weights, squares), self.options.smoothing)
            weights = pull / pull.sum()
        return weights


class CenteredClipping(DistanceMerge):
    """The own model + the mean of the displacements from it, each cut down to a radius (arXiv:2012.10333).

    The own model is the center, as in ClippedGossip (arXiv:2202.01545): nobody else's word is needed for it.
    """

    Options = CenteredClippingOptions
    options: CenteredClippingOptions

    def weigh(self, squares: Matrix) -> Matrix:
        weights, near = _only([0], len(squares)), _comparable(squares)
        radius = self.options.radius or float(np.median(np.sqrt(squares[0, 1:])))
        for _ in range(self.options.iterations):
            far = _distances_from(weights, squares)
            kept = near * np.divide(radius, far, out=np.ones_like(far), where=far > radius)
            weights = weights * (1 - kept.mean()) + kept / len(kept)
        return weights


def bearable(f: int, count: int) -> int:
    """`f`, or the most of which `count` models still have an honest majority."""
    return min(f, (count - 1) // 2)


def nearest_neighbours(squares: Matrix, f: int) -> Matrix:
    """The n x n matrix that puts in the place of each model the mean of the n - f nearest to it, itself among them."""
    count = len(squares)
    order = np.argsort(squares, axis=1, kind="stable")[:, : count - f]
    mixing = np.zeros((count, count))
    np.put_along_axis(mixing, order, 1 / (count - f), axis=1)
    return mixing


def _scores(squares: Matrix, f: int) -> Matrix:
    scores: Matrix = np.sort(squares, axis=1)[:, 1 : len(squares) - f].sum(axis=1)
    return scores


def _majority(squares: Matrix) -> list[int]:
    """The more than half of the models that lie nearest to the one in their middle: where no honest model is left out by far."""
    middle = squares[np.median(squares, axis=1).argmin()]
    nearest: list[int] = np.argsort(middle, kind="stable")[: len(squares) // 2 + 1].tolist()
    return nearest


def _comparable(squares: Matrix) -> Matrix:
    """1, or 0 for a model ten thousand times further away than usual: in float64 its square would drown the differences of the others."""
    usual = np.median(squares, axis=1)
    near: Matrix = (usual <= FAR**2 * np.median(usual)).astype(np.float64)
    return near


def _only(chosen: Sequence[int], count: int) -> Matrix:
    weights = np.zeros(count)
    weights[list(chosen)] = 1 / len(chosen)
    return weights


def _distances_from(weights: Matrix, squares: Matrix) -> Matrix:
    """Of each model from the mean with these weights: for weights that sum to 1, |x_i - z|^2 = (D w)_i - w'Dw / 2."""
    toward = squares @ weights
    distances: Matrix = np.sqrt(np.maximum(toward - weights @ toward / 2, 0.0))
    return distances


def _distances_of_mixed(mixing: Matrix, squares: Matrix) -> Matrix:
    """The squared distances between means, from those between the models: for differences v of weights, -v'Dv / 2."""
    products = mixing @ squares @ mixing.T
    own = np.diag(products)
    mixed: Matrix = np.maximum(products - (own[:, None] + own[None, :]) / 2, 0.0)
    np.fill_diagonal(mixed, 0.0)
    return mixed


def _mixed(mixing: Matrix, rows: Array) -> Array:
    """Relative to the own row, so that models that agree give exactly that model."""
    wide = rows.astype(np.float64)
    mixed: Array = (wide[0] + mixing @ (wide - wide[0])).astype(np.float32)
    return mixed


def _moved(rows: Array, weights: Matrix) -> Array:
    """The mean with these weights, in the same form. In float64: a hostile model may be as far away as float32 reaches."""
    own = rows[0].astype(np.float64)
    result = own.copy()
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        if weight:
            result += weight * (row - own)
    merged: Array = result.astype(np.float32)
    return merged
