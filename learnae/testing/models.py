"""Small models and updates for tests of merges, gates and codecs."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from learnae.elementwise import PIECE
from learnae.records import Cid, LocalModel, Received, Update
from learnae.testing.context import peer_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

SHAPES: Mapping[str, tuple[int, ...]] = {
    "weight": (3, 4),
    "bias": (4,),
    "temperature": (),
    "nothing": (0, 3),
    "embedding": (PIECE + 3,),  # more than one piece
}
INTEGERS: Mapping[str, tuple[int, ...]] = {"batches": (), "positions": (2,)}


def constant_model(value: float) -> dict[str, Array]:
    """A model with tensors of every kind (0-dimensional, empty, of several pieces, integer), all of one value."""
    floating = {name: np.full(shape, value, np.float32) for name, shape in SHAPES.items()}
    return floating | {name: np.full(shape, int(value), np.int64) for name, shape in INTEGERS.items()}


def random_model(seed: int) -> dict[str, Array]:
    """The same tensors, drawn from a standard normal distribution; counts from 0 to 99."""
    rng = np.random.default_rng(seed)
    floating = {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}
    return floating | {name: np.asarray(rng.integers(0, 100, shape)) for name, shape in INTEGERS.items()}


def read_only(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Copies that nobody can write to, as the core hands them over."""
    copies = {name: np.array(tensor) for name, tensor in tensors.items()}
    for copy in copies.values():
        copy.flags.writeable = False
    return copies


def local_model(
    current: Mapping[str, Array],
    start: Mapping[str, Array] | None = None,
    *,
    age: int = 100,
    samples: int = 1000,
    buffers: Collection[str] = (),
) -> LocalModel:
    """Make the own model. `start` is `current` unless it is given."""
    return LocalModel(
        start=read_only(current if start is None else start),
        current=read_only(current),
        age=age,
        samples=samples,
        buffers=frozenset(buffers),
    )


def parameters(model: Mapping[str, Array]) -> dict[str, Array]:
    """The part of a model that an outer optimiser gets: no integers."""
    return {name: tensor for name, tensor in model.items() if name in SHAPES}


def received(
    tensors: Mapping[str, Array],
    *,
    peer: str = "b",
    age: int = 100,
    samples: int = 1000,
    staleness: float = 0.0,
    weight: float = 1.0,
    masks: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Received:
    """Make a fetched update. `tensors` may be a `LazyModel`."""
    update = Update(
        root=Cid("bafyreitest"),
        bytes=1,
        lineage=bytes(8),
        architecture=bytes(8),
        age=age,
        provisional=False,
        own_steps=age,
        samples=samples,
        step_seconds=0.01,
        codec="fp32",
    )
    given = tensors if isinstance(tensors, LazyModel) else read_only(tensors)
    return Received(peer=peer_named(peer), update=update, tensors=given, masks=masks or {}, staleness=staleness, weight=weight)


class LazyModel(Mapping[str, "Array"]):
    """Tensors that are decoded when they are read, as in the node: every access makes a new array.

    `reads` counts the accesses by name. `most_alive` is the largest number of those arrays that were in use at once.
    """

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = read_only(tensors)
        self._given: list[weakref.ref[Array]] = []
        self.reads: Counter[str] = Counter()
        self.most_alive = 0

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name].copy()
        tensor.flags.writeable = False
        self.reads[name] += 1
        self._given = [given for given in self._given if given() is not None] + [weakref.ref(tensor)]
        self.most_alive = max(self.most_alive, len(self._given))
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
