"""Tensors as a node handles them: are all values finite, what may a merge do with them, and which travel raw (docs/decisions/0019).

A floating one says so in its meta, so that a reader goes by what came and not by what it would have sent itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnae.elementwise import pieces
from learnae.errors import UpdateRejectedError
from learnae.kernels import is_finite
from learnae.records import Encoded, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.content.meta import TensorEntry
    from learnae.records import Array


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
    if values.dtype != np.float32:
        return bool(np.isfinite(values).all())
    return all(is_finite(values[piece]) for piece in pieces(values.size))


def is_trained(spec: TensorSpec) -> bool:
    """Whether it is a parameter: only these are stepped over."""
    return spec.floating and not spec.buffer


def is_counter(spec: TensorSpec) -> bool:
    """An integer that is merged by maximum: one without dimensions, or the batches that a normalisation has seen."""
    return not spec.floating and (not spec.shape or spec.name.rpartition(".")[2] == "num_batches_tracked")


def is_mixed(spec: TensorSpec) -> bool:
    """Whether it is merged. Of tables of indices, masks and unit vectors a mixture means nothing.

    A peer keeps its own, or takes that of the peer whose model it adopts whole.
    """
    return is_counter(spec) or (spec.floating and not spec.apart)


NOTE = "raw"
"""The name in a tensor's meta that no codec may use."""

FLOAT, INTEGER = np.dtype("<f4"), np.dtype("<i8")
SMALL = 1 << 10  # elements; 4 KiB, which is less than what a fetch costs beside its bytes
KIND = "float32"
LONGEST_VECTOR = 1 << 16  # beyond it a vector is a whole model laid flat


def travels_raw(spec: TensorSpec, small: int = SMALL, *, lossless: bool = False) -> bool:
    """Integers, buffers, and the vectors and small tensors that normalise: a block of 64 that shares one scale may span decades.

    `small` and `lossless` are those of the codec by which all else travels.
    """
    if not spec.floating or spec.buffer or lossless:
        return not spec.floating or spec.buffer
    if spec.count <= small:
        return True
    return sum(length > 1 for length in spec.shape) <= 1 and spec.count <= LONGEST_VECTOR  # also (1, C, 1, 1), or (C, 1) of weight norm


def encode_raw(spec: TensorSpec, tensor: Array) -> Encoded:
    if spec.floating:
        return Encoded(tensor.astype(FLOAT, copy=False).tobytes(), {NOTE: KIND})
    return Encoded(tensor.astype(INTEGER, copy=False).tobytes())


def is_raw(spec: TensorSpec, encoded: Encoded | TensorEntry) -> bool:
    return not spec.floating or NOTE in encoded.meta


def check_raw(spec: TensorSpec, encoded: Encoded) -> bool:
    """Whether all that came is finite. Raises UpdateRejectedError for anything but the values of this tensor."""
    dtype = FLOAT if spec.floating else INTEGER
    if spec.floating and encoded.meta[NOTE] != KIND:
        raise UpdateRejectedError("codec", f"{spec.name} travels raw as {encoded.meta[NOTE]!r:.40}, which only a newer Learnae reads")
    if len(encoded.data) != dtype.itemsize * spec.count:
        raise UpdateRejectedError("length", spec.name)
    return finite([np.frombuffer(encoded.data, dtype)])


def decode_raw(spec: TensorSpec, encoded: Encoded) -> Array:
    """A view of the bytes, read-only; after `check_raw`."""
    values = np.frombuffer(encoded.data, FLOAT if spec.floating else INTEGER).reshape(spec.shape)
    return values.astype(np.float32 if spec.floating else np.int64, copy=False)
