"""Whose model a newcomer or a young peer adopts: of up to three, the one nearest to the others (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from learnae.errors import PluginError
from learnae.node.choosing import update
from learnae.node.counters import lower_median
from learnae.node.finite import finite
from learnae.node.kinds import is_counter
from learnae.node.obtaining import Obtained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

CANDIDATES = 3


def medoid(obtained: Sequence[Obtained]) -> Obtained:
    """The one with the smallest sum of distances to the others; of equals the first."""
    if len(obtained) < 3:
        return obtained[0]
    try:
        distances = _distances(obtained)
    except PluginError:  # one cannot be decoded: who tries to adopt them will find which
        return obtained[0]
    return obtained[int(np.argmin(np.where(np.isfinite(distances), distances, np.inf)))]


def _distances(obtained: Sequence[Obtained]) -> NDArray[np.float64]:
    """From each to all others."""
    squares = np.zeros((len(obtained), len(obtained)))
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating and not spec.apart:
            arrays = [item.decoder.decode(name).array for item in obtained]
            for i, one in enumerate(arrays):
                for j in range(i):
                    squares[i, j] += _squared_distance(one, arrays[j])
    distances: NDArray[np.float64] = np.sqrt(squares + squares.T)
    summed: NDArray[np.float64] = distances.sum(axis=1)
    return summed


def adopted_age(chosen: Obtained, obtained: Sequence[Obtained]) -> int:
    """At most the lower median of what the obtained ones claim: a newcomer that is far too old would believe nobody any more."""
    return min(update(chosen.entry).age, median_low([update(item.entry).age for item in obtained]))


def write_model(chosen: Obtained, obtained: Sequence[Obtained], current: Mapping[str, Array], page: Mapping[str, Array]) -> bool:
    """Fill the page with the chosen model, own values where it came in part; False when it is not finite and must not be adopted.

    Of each counter the lower median of all obtained ones is taken: the medoid looks at floating tensors alone (docs/decisions/0010). All
    other integers are those of one model: a table of indices is right as a whole, and with the weights that were trained with it.
    """
    for name, target in page.items():
        spec = chosen.decoder.specs[name]
        if spec.floating:
            array = _floating(chosen, name, current)
        else:
            array = _counters(obtained, name) if is_counter(spec) else _table(chosen, obtained, name)
        if not finite([array]):
            return False
        np.copyto(target, array)
    return True


def _floating(chosen: Obtained, name: str, current: Mapping[str, Array]) -> Array:
    decoded = chosen.decoder.decode(name)
    return decoded.array if decoded.mask is None else np.where(decoded.mask, decoded.array, current[name])


def _counters(obtained: Sequence[Obtained], name: str) -> Array:
    return lower_median([item.decoder.decode(name).array for item in obtained])


def _table(chosen: Obtained, obtained: Sequence[Obtained], name: str) -> Array:
    """That of the chosen one, unless two others know no such values: an index beyond their tables would end the training."""
    table, others = chosen.decoder.decode(name).array, [item.decoder.decode(name).array for item in obtained if item is not chosen]
    if len(others) > 1 and table.size:
        lowest, highest = min(other.min() for other in others), max(other.max() for other in others)
        if table.min() < lowest or table.max() > highest:
            return others[0]
    return table


def _squared_distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # strangers' models: what is not finite is nobody's neighbour
        return float(np.sum(np.square(one - other, dtype=np.float64)))
