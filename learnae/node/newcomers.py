"""Whose model a newcomer or a young peer adopts: of up to three, the one nearest to the others (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from learnae.errors import PluginError
from learnae.node.choosing import update
from learnae.node.claims import ENOUGH, OLDEST
from learnae.node.counters import held, lower_median
from learnae.node.finite import finite
from learnae.node.kinds import is_counter
from learnae.node.obtaining import Obtained
from learnae.records import LocalModel

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


def adopted_age(chosen: Obtained, obtained: Sequence[Obtained], announced: Sequence[int]) -> int:
    """The lower median of all that announce in that lineage, at most the highest of an obtained model: an announcement alone costs nothing.

    Where few announce, the lower median of the obtained ones, at most that of the chosen one.
    """
    theirs = [update(item.entry).age for item in obtained]
    if len(announced) >= ENOUGH:
        return min(OLDEST, median_low(announced), max(theirs))
    return min(OLDEST, update(chosen.entry).age, median_low(theirs))


def write_model(chosen: Obtained, obtained: Sequence[Obtained], local: LocalModel, age: int, page: Mapping[str, Array]) -> bool:
    """Fill the page with the chosen model, own values where it came in part; False when it is not finite and must not be adopted.

    Of each counter the lower median of all obtained ones is taken, as far as a model of that age can have come: the medoid looks at
    floating tensors alone. All other integers are those of one model: a table of indices is right as a whole, and with the weights that
    were trained with it.
    """
    for name, target in page.items():
        spec = chosen.decoder.specs[name]
        if spec.floating:
            array = _floating(chosen, name, local.current)
        elif is_counter(spec):
            array = held(_counters(obtained, name), local.current[name], local.age, age)
        else:
            array = _table(chosen, obtained, name)
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
