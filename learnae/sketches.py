"""Count sketches of models: 400 bytes from which everybody can tell how far apart two models are, without fetching either.

Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (2002): each coordinate is added, with a sign, to one of 199
sums. The sums are linear, so the distance of two sketches is about that of the models: with k sums its square has a relative standard
deviation of sqrt(2 / k), a tenth. What is sketched of a large model, and the form of the bytes, are our own (docs/decisions/0055).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array, TensorSpec

SUMS = 199  # a prime: columns of no matrix fall into few of them
SKETCH_BYTES = 2 * (1 + SUMS)
MOST_SAMPLED = 1 << 18
"""Coordinates of a model that are looked at, about: a larger one is sampled, so that a sketch takes the same time for all."""
FEWEST_SAMPLED = 1 << 12  # of each tensor, or all of it
CHUNK = 64  # coordinates that are sampled together: 256 bytes
HIGHEST_EXPONENT = 256  # float32 and sums of it stay below 2 ** 160

_SEED = b"learnae/sketch/1"
_HALF = np.dtype("<f2")


@attrs.frozen(eq=False)
class _Sampled:
    """Of one tensor: which chunks are looked at, all if None; and what makes their squares those of the whole."""

    name: str
    chunks: NDArray[np.intp] | None
    factor: float

    def of(self, tensor: Array) -> NDArray[np.float32]:
        flat = np.ascontiguousarray(tensor, np.float32).reshape(-1)
        if self.chunks is None:
            return flat
        return flat[: flat.size // CHUNK * CHUNK].reshape(-1, CHUNK)[self.chunks].reshape(-1)


@attrs.frozen(eq=False)
class Sketcher:
    """Makes sketches of models with the same tensors. All peers with these tensors make the same one of the same model.

    Of the tensors that a merge mixes, buffers left out: they are no weights, and of another scale. Signs and samples come from SHAKE-256 of
    a fixed seed, in the order of the tensors, so they are the same on every machine and with every version of numpy.
    """

    sampled: tuple[_Sampled, ...]
    signs: NDArray[np.float32]  # rows x SUMS: 1 or -1, and 0 behind the end

    @classmethod
    def for_specs(cls, specs: Iterable[TensorSpec]) -> Sketcher:
        weights = [spec for spec in specs if spec.floating and not spec.buffer and not spec.apart and spec.count]
        share = MOST_SAMPLED / max(MOST_SAMPLED, sum(spec.count for spec in weights))
        sampled, counts = [], []
        for number, spec in enumerate(weights):
            wanted = max(FEWEST_SAMPLED, math.ceil(spec.count * share)) // CHUNK
            there = spec.count // CHUNK
            if share == 1.0 or wanted >= there:
                sampled.append(_Sampled(spec.name, None, 1.0))
                counts.append(spec.count)
            else:
                sampled.append(_Sampled(spec.name, _one_of_each(there, wanted, number), math.sqrt(spec.count / (wanted * CHUNK))))
                counts.append(wanted * CHUNK)
        return cls(tuple(sampled), _signs(sum(counts)))

    def sketch(self, tensors: Mapping[str, Array]) -> bytes:
        """Of a finite model. It has 400 bytes: an exponent, and 199 sums divided by 2 to its power, each a float16, little-endian."""
        values = np.zeros(self.signs.size)  # float64: a sum of the largest float32 is finite
        at = 0
        for part in self.sampled:
            found = part.of(tensors[part.name])
            np.multiply(found, part.factor, out=values[at : at + found.size])
            at += found.size
        values *= self.signs.reshape(-1)
        sums = values.reshape(-1, SUMS).sum(0)
        _, exponent = math.frexp(float(np.abs(sums).max(initial=0.0)))
        return np.concatenate([[exponent], np.ldexp(sums, -exponent)]).astype(_HALF).tobytes()


def _one_of_each(there: int, wanted: int, number: int) -> NDArray[np.intp]:
    """One chunk of each stretch, anywhere in it: a regular step would meet the same columns of a matrix again and again."""
    edges = np.arange(wanted + 1) * there // wanted
    drawn = np.frombuffer(_stream(f"samples/{number}", 4 * wanted), "<u4")
    chunks: NDArray[np.intp] = (edges[:-1] + drawn % np.diff(edges)).astype(np.intp)
    return chunks


def _signs(count: int) -> NDArray[np.float32]:
    rows = -(-count // SUMS)
    bits = np.unpackbits(np.frombuffer(_stream("signs", -(-rows * SUMS // 8)), np.uint8), count=rows * SUMS)
    signs = 1.0 - 2.0 * bits.astype(np.float32)
    signs[count:] = 0.0
    return signs.reshape(rows, SUMS)


def _stream(what: str, size: int) -> bytes:
    return hashlib.shake_256(_SEED + b"/" + what.encode()).digest(size)


def sums_of(sketch: bytes) -> NDArray[np.float64] | None:
    """The 199 sums. None for what is no such sketch: of another length, not finite, or outside of what `Sketcher` makes."""
    if len(sketch) != SKETCH_BYTES:
        return None
    exponent, *_ = numbers = np.frombuffer(sketch, _HALF).astype(np.float64)
    if not np.isfinite(numbers).all() or exponent % 1 or abs(exponent) > HIGHEST_EXPONENT or np.abs(numbers[1:]).max() > 1.0:
        return None
    return np.ldexp(numbers[1:], int(exponent))


def difference(one: bytes, other: bytes) -> float | None:
    """How different two models are, by their sketches: |one - other| / (|one| + |other|), from 0, the same, to 1.

    Within some seven hundredths of itself; less than a thousandth is lost in the rounding to float16. None if one is no sketch of a model.
    """
    first, second = sums_of(one), sums_of(other)
    if first is None or second is None:
        return None
    together = float(np.linalg.norm(first) + np.linalg.norm(second))
    return float(np.linalg.norm(first - second)) / together if together else 0.0
