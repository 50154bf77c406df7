"""Integer tensors of others, bounded: no single update can raise one (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.elementwise import pieces
from learnae.records import LocalModel, Received

if TYPE_CHECKING:
    from learnae.records import Array


def bounded(local: LocalModel, accepted: Sequence[Received]) -> list[Received]:
    """The same updates, each integer at most the own, or the lower median of the own and all accepted, whichever is more.

    It is the rule by which ages are merged: one liar moves nothing beyond what an honest peer has reached, whatever the merge does with it.
    """
    limits = _Limits(local.current, [item.tensors for item in accepted])
    return [attrs.evolve(item, tensors=_Bounded(item.tensors, limits)) for item in accepted]


def lower_median(arrays: Sequence[Array]) -> Array:
    """Of each element; n arrays of one shape. In pieces, so that no n-fold copy of a tensor lives."""
    flat = [array.reshape(-1) for array in arrays]
    result, middle = np.empty_like(flat[0]), (len(flat) - 1) // 2
    for piece in pieces(result.size):
        result[piece] = np.partition(np.stack([array[piece] for array in flat]), middle, axis=0)[middle]
    return result.reshape(arrays[0].shape)


class _Limits:
    """The most that is taken of each integer; that of the last name is kept, since all updates are asked for one name after the other."""

    def __init__(self, own: Mapping[str, Array], theirs: Sequence[Mapping[str, Array]]) -> None:
        self._own, self._theirs = own, theirs
        self._last: tuple[str, Array] | None = None

    def __getitem__(self, name: str) -> Array:
        if self._last is None or self._last[0] != name:
            own = self._own[name]
            self._last = name, np.asarray(np.maximum(own, lower_median([own, *(tensors[name] for tensors in self._theirs)])))
        return self._last[1]


class _Bounded(Mapping[str, Any]):
    def __init__(self, tensors: Mapping[str, Array], limits: _Limits) -> None:
        self._tensors, self._limits = tensors, limits

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        return np.asarray(np.minimum(tensor, self._limits[name])) if np.issubdtype(tensor.dtype, np.integer) else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
