"""Tensors that travel as they are in the node, whatever the codec: what is small and what every digit of matters (docs/decisions/0019).

A floating one says so in its meta, so that a reader goes by what came and not by what it would have sent itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from learnae.errors import UpdateRejected
from learnae.node.finite import finite
from learnae.records import Encoded, TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array

NOTE = "raw"
"""The name in a tensor's meta that no codec may use."""

FLOAT, INTEGER = np.dtype("<f4"), np.dtype("<i8")
SMALL = 1 << 10  # elements; 4 KiB, which is less than what a fetch costs beside its bytes
KIND = "float32"
LONGEST_VECTOR = 1 << 16  # beyond it a vector is a whole model laid flat


def travels_raw(spec: TensorSpec) -> bool:
    """Integers, buffers, and the vectors and small tensors that normalise: a block of 64 that shares one scale may span decades."""
    if not spec.floating or spec.buffer or spec.count <= SMALL:
        return True
    return sum(length > 1 for length in spec.shape) <= 1 and spec.count <= LONGEST_VECTOR  # also (1, C, 1, 1), or (C, 1) of weight norm


def encode_raw(spec: TensorSpec, tensor: Array) -> Encoded:
    if spec.floating:
        return Encoded(tensor.astype(FLOAT, copy=False).tobytes(), {NOTE: KIND})
    return Encoded(tensor.astype(INTEGER, copy=False).tobytes())


def is_raw(spec: TensorSpec, encoded: Encoded) -> bool:
    return not spec.floating or NOTE in encoded.meta


def check_raw(spec: TensorSpec, encoded: Encoded) -> bool:
    """Whether all that came is finite. Raises UpdateRejected for anything but the values of this tensor."""
    dtype = FLOAT if spec.floating else INTEGER
    if spec.floating and encoded.meta[NOTE] != KIND:
        raise UpdateRejected("codec", f"{spec.name} travels raw as {encoded.meta[NOTE]!r:.40}, which only a newer Learnae reads")
    if len(encoded.data) != dtype.itemsize * spec.count:
        raise UpdateRejected("length", spec.name)
    return finite([np.frombuffer(encoded.data, dtype)])


def decode_raw(spec: TensorSpec, encoded: Encoded) -> Array:
    """A view of the bytes, read-only; after `check_raw`."""
    values = np.frombuffer(encoded.data, FLOAT if spec.floating else INTEGER).reshape(spec.shape)
    return values.astype(np.float32 if spec.floating else np.int64, copy=False)
