"""Raw float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from learnae.errors import UpdateRejectedError
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from learnae.records import Array

LITTLE = np.dtype("<f4")


class Fp32(Codec):
    """Lossless: 4 bytes per value, little-endian, in C order."""

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        return Encoded(tensor.astype(LITTLE, copy=False).tobytes())

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        """The tensor, read-only: a view of the encoded bytes wherever that is possible."""
        expected = LITTLE.itemsize * like.count
        if len(encoded.data) != expected:
            raise UpdateRejectedError("codec", f"{like.name}: {len(encoded.data)} bytes, expected {expected} for the shape {like.shape}")
        values = np.frombuffer(encoded.data, LITTLE).reshape(like.shape)
        return Decoded(values.astype(np.float32, copy=False))
