"""Whether arrays hold only finite values, in one pass and without a copy; and which do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnae.elementwise import pieces
from learnae.records import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


def finite(arrays: Iterable[NDArray[Any]]) -> bool:
    """Integers always are."""
    return all(_finite(array.ravel(order="K")) for array in arrays if np.issubdtype(array.dtype, np.floating))


def what_is_not(tensors: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec], most: int = 4) -> str:
    """The tensors that hold values that are not finite and how many, some of them, and what to do about it; a pass over all of them."""
    counts = {spec: _count(tensors[spec.name]) for spec in specs if spec.floating}
    bad = {spec: count for spec, count in counts.items() if count}
    named = ", ".join(f"{spec.name} ({count} of {spec.count} values)" for spec, count in list(bad.items())[:most])
    more = f" and {len(bad) - most} more" if len(bad) > most else ""
    buffers = [spec.name for spec in bad if spec.buffer]
    remedy = "load an earlier checkpoint, or train with a lower learning rate, if it does not recover"
    if buffers:
        remedy += f"; if {buffers[0]} is meant to be so, keep it local: [model] keep_local"
    return f"not finite are {named}{more}: nothing is published or merged until they are, and then it goes on by itself; {remedy}"


def _count(array: NDArray[Any]) -> int:
    values = array.ravel(order="K")
    return sum(int(np.count_nonzero(~np.isfinite(values[piece]))) for piece in pieces(values.size))


def _finite(values: NDArray[Any]) -> bool:
    """A sum of squares takes a third of the time, but may overflow; a sum in float64 cannot: it is finite if and only if all values are."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return all(
            bool(np.isfinite(part @ part)) or bool(np.isfinite(np.add.reduce(part, dtype=np.float64)))
            for part in (values[piece] for piece in pieces(values.size))
        )
