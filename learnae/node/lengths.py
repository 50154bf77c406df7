"""Unit vectors of buffers stay unit vectors: an average of two is shorter (the codes of a normalised codebook, the keys of a queue)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

UNIT = 1e-3  # so far from 1 the length of a vector may be that was once normalised
EXACT = 1e-5  # what rounding makes of it
SHORTEST = 0.5  # below it the vectors that were merged point to different sides, and the direction of their average means nothing


def keep_length(merged: Array, own: Array, theirs: Iterable[Array]) -> None:
    """In place: where own and their buffers all consist of unit vectors, along the first or the last dimension, so does the merged one.

    A buffer of one peer alone may look so by chance: variances of 0.6 and 0.8, a covariance that is still the identity.
    """
    axis = _axis_of_unit_vectors(own)
    if axis is None or not all(_are_unit(vectors, axis) for vectors in theirs):
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
            return None if _is_choice(own) else axis
    return None


def _first(own: Array, axis: int) -> Array:
    """The first vector alone: it tells of most buffers that they consist of others."""
    return own[tuple(slice(None) if dimension == axis else slice(1) for dimension in range(own.ndim))]


def _is_choice(own: Array) -> bool:
    """Ones among zeros say which, and sum to 1 rather than have a length of 1."""
    return bool(((own == 0) | (own == 1)).all())


def _are_unit(vectors: Array, axis: int) -> bool:
    return bool((abs(_lengths(vectors, axis) - 1) < UNIT).all())


def _lengths(vectors: Array, axis: int) -> NDArray[np.float64]:
    """Summed in float64 without a copy of all in float64; the dimension stays, with a length of 1."""
    along = np.moveaxis(vectors, axis, -1)
    squares: NDArray[np.float64] = np.asarray(np.einsum("...i,...i->...", along, along, dtype=np.float64))
    return np.sqrt(np.expand_dims(squares, axis))
