"""Whose model a newcomer or a young peer adopts: of up to three, the one nearest to the others (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from learnae.node.obtaining import Obtained

if TYPE_CHECKING:
    from learnae.records import Array

CANDIDATES = 3


def medoid(obtained: Sequence[Obtained]) -> Obtained:
    """The one with the smallest sum of distances to the others; of equals the first."""
    if len(obtained) < 3:
        return obtained[0]
    squares = np.zeros((len(obtained), len(obtained)))
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating:
            arrays = [item.decoder.decode(name).array for item in obtained]
            for i, one in enumerate(arrays):
                for j in range(i):
                    squares[i, j] += float(np.sum(np.square(one - arrays[j], dtype=np.float64)))
    distances = np.sqrt(squares + squares.T).sum(axis=1)
    finite = np.where(np.isfinite(distances), distances, np.inf)
    return obtained[int(np.argmin(finite))]


def write_model(obtained: Obtained, current: Mapping[str, Array], page: Mapping[str, Array]) -> bool:
    """Fill the page with that model, own values where it came in part; False when it is not finite and must not be adopted."""
    for name, target in page.items():
        decoded = obtained.decoder.decode(name)
        array = decoded.array if decoded.mask is None else np.where(decoded.mask, decoded.array, current[name])
        if not np.isfinite(np.add.reduce(array, axis=None, dtype=np.float64)):
            return False
        np.copyto(target, array)
    return True
