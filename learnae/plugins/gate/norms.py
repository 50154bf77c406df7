"""Lengths of models and of the way between two, over floating tensors, in pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from learnae.elementwise import PIECE, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

    Masks = Mapping[str, NDArray[np.bool_]]

SURE = 1e-30
"""Below this (and at infinity) a float32 sum of squares may have lost what matters, and is made again in float64."""


def length(model: Mapping[str, Array]) -> float:
    """The Euclidean norm of all floating values."""
    parts = (tensor.reshape(-1)[piece] for tensor in model.values() if _floating(tensor) for piece in pieces(tensor.size))
    return math.sqrt(math.fsum(map(_squares, parts)))


def distance(own: Mapping[str, Array], other: Mapping[str, Array], masks: Masks | None = None) -> float:
    """The Euclidean norm of `other - own` where `masks` says that it came. Not finite if a value is not."""
    masks = masks or {}
    scratch = np.empty(PIECE, np.float32)
    return math.sqrt(sum(_distance(tensor, other[name], masks.get(name), scratch) for name, tensor in own.items() if _floating(tensor)))


def _distance(own: Array, other: Array, mask: NDArray[np.bool_] | None, scratch: Array) -> float:
    own, other, total = own.reshape(-1), other.reshape(-1), 0.0
    came = None if mask is None else mask.reshape(-1)
    for piece in pieces(own.size):
        difference = scratch[: piece.stop - piece.start]
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(other[piece], own[piece], out=difference)
        if came is not None:
            np.copyto(difference, 0.0, where=~came[piece])
        total += _squares(difference)
    return total


def _squares(part: Array) -> float:
    """The sum of squares: in float32 within a piece (relative error 1e-5, four times the speed), in float64 between pieces."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = float(part @ part)
    if SURE < total < math.inf:
        return total
    wide = part.astype(np.float64)
    return float(wide @ wide)


def _floating(tensor: Array) -> bool:
    return np.issubdtype(tensor.dtype, np.floating)
