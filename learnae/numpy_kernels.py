"""The inner loops of a round in numpy, each over one piece of a tensor: the reference for those of `learnae-kernels`.

Arrays are flat and contiguous, in the types that the annotations say. The compiled ones give the same bits, so each says in which order it
adds. What is not finite may come in: no kernel raises or warns for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

BLOCK = 64
"""Values that share a scale."""
LANES = 1024
"""Sums that are kept side by side: value i is added to sum i modulo this."""
LEVELS = 127


def largest(values: Array, out: NDArray[np.float64]) -> None:
    """The largest absolute value of each block; NaN where one is not finite."""
    size = np.abs(values)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        out[:] = np.maximum.reduceat(size, np.arange(0, size.size, BLOCK))  # twice as fast as max(axis=1)
    out[np.isinf(out)] = np.nan


def quantise(values: Array, scales: Array, out: NDArray[np.int8]) -> None:
    """value / scale, rounded half to even, within -127..127; 0 where the scale of the block is not above 0 and finite."""
    blocks = _in_blocks(values)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        levels = blocks / scales[:, None]
    np.rint(levels, out=levels)
    np.clip(levels, -LEVELS, LEVELS, out=levels)  # a scale near the smallest float16 may be rounded by up to a half
    levels[~((scales > 0) & (scales < np.inf))] = 0.0
    with np.errstate(invalid="ignore"):
        out[:] = levels.reshape(-1)[: out.size]


def dequantise(levels: NDArray[np.int8], scales: Array, out: Array) -> None:
    """level * scale of its block."""
    out[:] = levels
    whole = out.size // BLOCK
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out[: whole * BLOCK].reshape(-1, BLOCK)[...] *= scales[:whole, None]
        out[whole * BLOCK :] *= scales[whole:]  # the last block, if it is not full


def squares(values: Array) -> float:
    """The sum of squares: in float32 in each of 1,024 lanes, these in float64, each half onto the other. Relative error 1e-5."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _sum(values * values)


def squared_distance(one: Array, other: Array) -> float:
    """The same of `other - one`."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        difference = other - one
        np.multiply(difference, difference, out=difference)
        return _sum(difference)


def moved(own: Array, others: Sequence[Array], weights: Array, out: Array) -> bool:
    """own + sum of weight times (other - own), one other after the other. Returns whether all of it is finite.

    `weights` has one for each other.
    """
    difference = np.empty_like(own)
    out[:] = own
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for other, weight in zip(others, weights, strict=True):
            np.subtract(other, own, out=difference)
            np.multiply(difference, weight, out=difference)
            np.add(out, difference, out=out)
    return is_finite(out)


def step(start: Array, values: Array, momentum: Array, changed: Array, mu: float, rate: float, nesterov: bool) -> None:
    """One outer step, in place: d = start - values; changed = mu momentum + d; values = start - rate (d + mu changed).

    Without `nesterov`: values = start - rate changed.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        displacement = start - values
        np.multiply(momentum, np.float32(mu), out=changed)
        np.add(changed, displacement, out=changed)
        if nesterov:
            displacement += np.float32(mu) * changed
        else:
            displacement = changed.copy()
        np.multiply(displacement, np.float32(rate), out=displacement)
        np.subtract(start, displacement, out=values)


def is_finite(values: Array) -> bool:
    """A sum of squares takes a third of the time, but may overflow; a sum in float64 cannot: it is finite if and only if all values are."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return bool(np.isfinite(values @ values)) or bool(np.isfinite(np.add.reduce(values, dtype=np.float64)))


def _in_blocks(values: Array) -> Array:
    """As rows of 64, the last one filled up with zeros."""
    if values.size % BLOCK == 0:
        return values.reshape(-1, BLOCK)
    filled = np.zeros((values.size // BLOCK + 1, BLOCK), np.float32)
    filled.reshape(-1)[: values.size] = values
    return filled


def _sum(values: Array) -> float:
    rows = values.size // LANES
    lanes = np.zeros(LANES, np.float32)
    if rows:
        np.add.reduce(values[: rows * LANES].reshape(rows, LANES), axis=0, out=lanes)
    rest = values[rows * LANES :]
    lanes[: rest.size] += rest
    wide = lanes.astype(np.float64)
    while wide.size > 1:
        wide = wide[: wide.size // 2] + wide[wide.size // 2 :]
    return float(wide[0])
