"""A stand-in for HEPMASS that is made on the spot. **Synthetic**: nothing of it was measured or simulated by physicists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from learnae.data.hepmass.columns import FEATURES, MEASURED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.data.hepmass.columns import Rows

BLOCK_ROWS = 4096  # made at once, each block from a stream of its own: the memory is bounded, and fewer rows are a beginning of more

_HIDDEN = 8
_NOISE = 0.3
_SHARPNESS = 3.0
_CONCEPT = 27  # the same laws whatever the seed of the rows, so that rows of two seeds can be learned from and examined with
_WARPS: tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], ...] = (np.tanh, lambda x: np.sinh(0.7 * x), lambda x: x)


def synthetic(rows: int, seed: int) -> Rows:
    """Synthetic data like HEPMASS: features (rows x 28: 27 and the mass, each with mean 0 and deviation 1) and labels (rows; 0 or 1).

    Eight hidden causes make the label, by products and by one that the mass bends, and all 27 features, mixed, noisy and warped. The same
    seed gives the same rows, of which fewer are a beginning of more. An MLP 28-256-256-256-1 gets 85 % right, a linear model 70 %.
    """
    blocks = list(blocks_of(rows, seed))
    if not blocks:
        return np.empty((0, FEATURES), np.float32), np.empty(0, np.float32)
    return np.concatenate([features for features, _ in blocks]), np.concatenate([labels for _, labels in blocks])


def blocks_of(rows: int, seed: int) -> Iterator[Rows]:
    """The same rows, at most `BLOCK_ROWS` at a time."""
    mix, deviations = _laws()
    for block in range(-(-rows // BLOCK_ROWS)):
        features, labels = _block(np.random.default_rng([seed, block]), mix, deviations)
        left = rows - block * BLOCK_ROWS
        yield features[:left], labels[:left]


def _laws() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How hidden causes are mixed into features (8 x 27), and the deviation of each feature after its warp."""
    columns = np.linalg.qr(np.random.default_rng(_CONCEPT).normal(size=(MEASURED, _HIDDEN)))[0]
    mix = columns.T * np.sqrt(MEASURED / _HIDDEN)
    spread = np.sqrt((mix**2).sum(axis=0) + _NOISE**2)
    points, weights = np.polynomial.hermite_e.hermegauss(64)
    squares = [weights @ _warp(np.outer(points, spread))[:, column] ** 2 for column in range(MEASURED)]
    return mix, np.sqrt(np.array(squares) / weights.sum())


def _block(rng: np.random.Generator, mix: NDArray[np.float64], deviations: NDArray[np.float64]) -> Rows:
    hidden = rng.normal(size=(BLOCK_ROWS, _HIDDEN))
    mass = rng.integers(-2, 3, size=BLOCK_ROWS) / np.sqrt(2)
    pull = hidden[:, 0] * (1 + mass / 2) + np.abs(hidden[:, 1]) - 0.8 + hidden[:, 2] * hidden[:, 3]
    labels = rng.random(BLOCK_ROWS) < 1 / (1 + np.exp(-_SHARPNESS * pull))
    measured = _warp(hidden @ mix + _NOISE * rng.normal(size=(BLOCK_ROWS, MEASURED))) / deviations
    return np.column_stack([measured, mass]).astype(np.float32), labels.astype(np.float32)


def _warp(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column by one of three odd functions, so that the means stay 0."""
    warped = np.empty_like(plain)
    for first, warp in enumerate(_WARPS):
        warped[:, first :: len(_WARPS)] = warp(plain[:, first :: len(_WARPS)])
    return warped
