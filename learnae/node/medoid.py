"""Chooses the model that a newcomer adopts of several, and what it takes of the others (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from learnae.errors import PluginError
from learnae.node.claims import ENOUGH, OLDEST, held, lower_median
from learnae.node.obtaining import Obtained
from learnae.node.tensors import finite, is_counter
from learnae.records import LocalModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array


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


def agree(obtained: Sequence[Obtained], announcing: int) -> bool:
    """Whether it makes no difference which of them lie: more are fetched where it does.

    Their tables are equal. And where few announce, so that these models alone tell how far the lineage has come, no age and no counter is
    beyond twice that of another.
    """
    if announcing < ENOUGH and not _alike([np.array(item.entry.update.age) for item in obtained]):
        return False
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating or (is_counter(spec) and announcing >= ENOUGH):
            continue
        arrays = [item.decoder.decode(name).array for item in obtained]
        if not (_alike(arrays) if is_counter(spec) else all(np.array_equal(arrays[0], array) for array in arrays[1:])):
            return False
    return True


def _alike(arrays: Sequence[Array]) -> bool:
    highest, lowest = np.maximum.reduce(arrays), np.minimum.reduce(arrays)
    return bool((highest - highest // 2 <= lowest).all())  # so that nothing overflows


def adopted_age(chosen: Obtained, obtained: Sequence[Obtained], announced: Sequence[int]) -> int:
    """The lower median of all that announce in that lineage, at most the highest of an obtained model: an announcement alone costs nothing.

    Where few announce, the lower median of the obtained ones, at most that of the chosen one.
    """
    theirs = [item.entry.update.age for item in obtained]
    if len(announced) >= ENOUGH:
        return min(OLDEST, median_low(announced), max(theirs))
    return min(OLDEST, chosen.entry.update.age, median_low(theirs))


def write_model(chosen: Obtained, obtained: Sequence[Obtained], local: LocalModel, age: int, page: Mapping[str, Array]) -> bool:
    """Fill the page with the chosen model, own values where it came in part; False when it is not finite and must not be adopted.

    Of each counter the lower median of all obtained ones is taken, as far as a model of that age can have come: the medoid looks at
    floating tensors alone. All other integers are those of one model each: a table of indices is right as a whole.
    """
    for name, target in page.items():
        spec = chosen.decoder.specs[name]
        if spec.floating:
            array = _floating(chosen, name, local.current)
        elif is_counter(spec):
            array = held(_counters(obtained, name), local.current[name], local.age, age)
        else:
            array = _table(chosen, obtained, name, local.current[name])
        if not finite([array]):
            return False
        np.copyto(target, array)
    return True


def _floating(chosen: Obtained, name: str, current: Mapping[str, Array]) -> Array:
    decoded = chosen.decoder.decode(name)
    return decoded.array if decoded.mask is None else np.where(decoded.mask, decoded.array, current[name])


def _counters(obtained: Sequence[Obtained], name: str) -> Array:
    return lower_median([item.decoder.decode(name).array for item in obtained])


def _table(chosen: Obtained, obtained: Sequence[Obtained], name: str, own: Array) -> Array:
    """The one that more than half of them have. Else that of the chosen one, which was trained with its weights, or another.

    None is taken whose values go beyond those of most of them: an index beyond their tables would end the training. If all do, the own one
    stays.
    """
    ordered = [chosen, *(item for item in obtained if item is not chosen)]
    tables = [item.decoder.decode(name).array for item in ordered]
    for table in tables:
        if 2 * sum(np.array_equal(table, other) for other in tables) > len(tables):
            return table
    outvoted = (len(tables) - 1) // 2  # so many may lie
    lowest = sorted(table.min() for table in tables)[outvoted]
    highest = sorted(table.max() for table in tables)[-1 - outvoted]
    return next((table for table in tables if lowest <= table.min() and table.max() <= highest), own)


def _squared_distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # strangers' models: what is not finite is nobody's neighbour
        return float(np.sum(np.square(one - other, dtype=np.float64)))
