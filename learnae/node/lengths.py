"""Unit vectors of buffers stay unit vectors: an average of two is shorter (the codes of a normalised codebook, the keys of a queue)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

UNIT = 1e-3  # so far from 1 the length of a vector may be that was once normalised
EXACT = 1e-5  # what rounding makes of it
SHORTEST = 0.5  # below it the vectors that were merged point to different sides, and the direction of their average means nothing


def keep_length(merged: Array, own: Array) -> None:
    """In place: where the own buffer consists of unit vectors, along its first or its last dimension, so does the merged one."""
    axis = _axis_of_unit_vectors(own)
    if axis is None:
        return
    lengths = _lengths(merged, axis)
    kept = np.broadcast_to(lengths < SHORTEST, merged.shape)
    np.divide(
        merged,
        lengths,
        out=merged,
        casting="same_kind",
        where=np.broadcast_to((lengths >= SHORTEST) & (abs(lengths - 1) > EXACT), merged.shape),
    )
    np.copyto(merged, own, where=kept)


def _axis_of_unit_vectors(own: Array) -> int | None:
    for axis in dict.fromkeys((own.ndim - 1, 0)) if own.ndim and own.size else ():
        if own.shape[axis] > 1 and _are_unit(_first(own, axis), axis) and _are_unit(own, axis):
            return axis
    return None


def _first(own: Array, axis: int) -> Array:
    """The first vector alone: it tells of most buffers that they consist of others."""
    return own[tuple(slice(None) if dimension == axis else slice(1) for dimension in range(own.ndim))]


def _are_unit(vectors: Array, axis: int) -> bool:
    return bool((abs(_lengths(vectors, axis) - 1) < UNIT).all())


def _lengths(vectors: Array, axis: int) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=axis, keepdims=True))
    return lengths
