"""How a peer merges whose own model counts for nothing: an observer has trained nothing, and only follows what others publish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.node.decoding import LazyTensors
from learnae.node.tensors import finite, is_mixed
from learnae.records import LocalModel, Received

if TYPE_CHECKING:
    from learnae.records import Array


def without_own(local: LocalModel, accepted: Sequence[Received]) -> tuple[LocalModel, list[Received]]:
    """The same merge as a peer would make it that has the accepted model of the highest weight, and accepts all others.

    That model has the weight of the own one then, which is 1 in every merge, and the weights of all others are given in parts of its
    weight. So any merge can be used, and it sees no model that nobody has published. `local.start` is of no use to it.
    """
    first = max(accepted, key=lambda item: item.weight)
    others = [attrs.evolve(item, weight=item.weight / first.weight) for item in accepted if item is not first]
    current = WholeModel(first, local.current)
    return attrs.evolve(local, start=current, current=current, age=first.update.age, samples=first.update.samples, loss=None), others


class WholeModel(Mapping[str, Any]):
    """A received model without gaps: own values stand where none came.

    What is never mixed comes from it too where it is floating, such as the vectors of spectral norm: they belong to its weights. Tables
    of integers stay the own ones: those that this peer adopted with a whole model, when several agreed about them.
    """

    def __init__(self, received: Received, own: Mapping[str, Array]) -> None:
        self._received, self._own = received, own

    def __getitem__(self, name: str) -> Array:
        tensors = self._received.tensors
        if isinstance(tensors, LazyTensors) and not is_mixed(spec := tensors.decoder.specs[name]):
            return self._apart(tensors, name) if spec.floating else self._own[name]
        array, mask = tensors[name], self._received.masks.get(name)
        return array if mask is None else np.where(mask, array, self._own[name])

    def _apart(self, tensors: LazyTensors, name: str) -> Array:
        decoded = tensors.decoder.decode(name)
        return decoded.array if decoded.mask is None and finite([decoded.array]) else self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)
