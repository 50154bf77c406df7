"""Counters of others, bounded: no update raises one further than many peers have come (docs/decisions/0010, 0029)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.elementwise import pieces
from learnae.records import Received

if TYPE_CHECKING:
    from learnae.records import Array

MOST_RISE = 1 << 40
"""No counter rises by more between two merges: so that products of it stay exact."""

HIGHEST = 1 << 62


def bounded(accepted: Sequence[Received], most: Mapping[str, Array]) -> list[Received]:
    """The same updates, each counter at most as `most` has it, whatever the merge does with it."""
    return [attrs.evolve(item, tensors=_Bounded(item.tensors, most)) for item in accepted]


def lower_median(arrays: Sequence[Array]) -> Array:
    """Of each element; n arrays of one shape. In pieces, so that no n-fold copy of a tensor lives."""
    flat = [array.reshape(-1) for array in arrays]
    result, middle = np.empty_like(flat[0]), (len(flat) - 1) // 2
    for piece in pieces(result.size):
        result[piece] = np.partition(np.stack([array[piece] for array in flat]), middle, axis=0)[middle]
    return result.reshape(arrays[0].shape)


def between(own: Array, others: Array, factor: int, before: Array) -> Array:
    """From own towards others where those are more, by at most `factor` times what the own one has risen by since `before`; int64."""
    unsigned = np.uint64
    risen = np.clip(np.where(own > before, own.astype(unsigned) - before.astype(unsigned), 0), 0, MOST_RISE).astype(unsigned)
    apart = np.where(others > own, others.astype(unsigned) - own.astype(unsigned), unsigned(0))  # modulo 2^64, so that nothing overflows
    return np.asarray((own.astype(unsigned) + np.minimum(apart, risen * unsigned(factor))).astype(np.int64))


def held(theirs: Array, own: Array, own_age: int, age: int) -> Array:
    """A counter that is taken over with a model of that age: for each of its steps two at most, or twice as many as the own model has.

    Never less than the own counter.
    """
    ratio, least = 2.0 * max(1.0, age / max(1, own_age)), max(1, own_age)
    most = np.minimum(np.maximum(own, least).astype(np.float64) * ratio, HIGHEST).astype(np.int64)
    return np.asarray(np.maximum(own, np.minimum(theirs, most)))


class _Bounded(Mapping[str, Any]):
    def __init__(self, tensors: Mapping[str, Array], most: Mapping[str, Array]) -> None:
        self._tensors, self._most = tensors, most

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        return np.asarray(np.minimum(tensor, self._most[name])) if name in self._most else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
