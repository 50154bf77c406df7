"""The codec `patch`: of the version before only the values that have changed, bit for bit, in the dtype of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
from attrs.validators import and_, ge, le

from learnae.config.tables import option
from learnae.errors import UpdateRejectedError
from learnae.plugins.codec import deflated, from_planes, inflated, planes
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array
    from learnae.strategies import Context

    Words = NDArray[Any]  # uint16 or uint32

WHOLE = 0.6
"""Beyond this share of changed values the tensor travels whole (PULSE, arXiv 2602.03839)."""
FAR = 255  # a gap that does not fit into a byte
FAR_GAP = np.dtype("<u4")
BFLOAT16, FLOAT16, FLOAT32 = "bfloat16", "float16", "float32"
WORDS: Mapping[str, np.dtype[Any]] = {BFLOAT16: np.dtype("<u2"), FLOAT16: np.dtype("<u2"), FLOAT32: np.dtype("<u4")}


@attrs.frozen
class PatchOptions:
    """How long a chain becomes."""

    versions: int = option(60, "How many versions in a row make up a chain, the whole one among them.", and_(ge(1), le(64)))


class Patch(Codec):
    """What changed since the version before, exactly. Small learning rates leave nearly all bfloat16 values as they are.

    A tensor is taken as words of the first dtype that holds all its values exactly: bfloat16, float16, float32. Of the words that changed,
    their gaps (a byte each, 255 for one of 4 bytes that stands apart) and differences are written, the differences between words in the
    order of their values, signs folded in (0, -1, 1, -2, ...), as one plane of bytes after the other, all of it deflated. A tensor of
    which more than 60 % has changed is whole: the planes of its words. Source: PULSE, arXiv 2602.03839.
    """

    Options = PatchOptions
    chained: ClassVar[bool] = True
    lossless: ClassVar[bool] = True

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.versions = (options if isinstance(options, PatchOptions) else PatchOptions()).versions

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        dtype, words = _narrowest(tensor)
        before = None if base is None else _words(base, dtype)
        changed = None if before is None else np.flatnonzero(words != before)
        if before is None or changed is None or changed.size > WHOLE * words.size:
            return Encoded(deflated(planes(words)), {"dtype": dtype})
        gaps, far = gaps_of(changed)
        difference = _folded(_ordered(words[changed]) - _ordered(before[changed]))
        data = deflated(gaps.tobytes() + far.tobytes() + planes(difference))
        return Encoded(data, {"dtype": dtype, "changed": int(changed.size), "far": int(far.size), "count": words.size})

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        dtype = encoded.meta.get("dtype")
        if not isinstance(dtype, str) or dtype not in WORDS:
            raise UpdateRejectedError("codec", f"{like.name}: no dtype of a patch: {dtype!r:.40}")
        if "changed" not in encoded.meta:
            size = WORDS[dtype].itemsize * like.count
            return Decoded(_values(from_planes(inflated(encoded.data, size, like), WORDS[dtype]), dtype).reshape(like.shape))
        if base is None:
            raise UpdateRejectedError("codec", f"{like.name}: a patch of nothing")
        changed, far = counts(encoded, like, "changed")
        data = inflated(encoded.data, changed * (1 + WORDS[dtype].itemsize) + far * FAR_GAP.itemsize, like)
        places = places_of(data[: changed + far * FAR_GAP.itemsize], changed, like)
        difference = from_planes(data[changed + far * FAR_GAP.itemsize :], WORDS[dtype])
        words = np.array(_words(base, dtype))
        words[places] = _unordered(_ordered(words[places]) + _unfolded(difference))
        return Decoded(_values(words, dtype).reshape(like.shape))


def _narrowest(tensor: Array) -> tuple[str, Words]:
    """The first dtype that holds these values bit for bit, and the words."""
    exact = np.ascontiguousarray(tensor, "<f4").reshape(-1).view("<u4")
    for dtype in (BFLOAT16, FLOAT16):
        words = _words(tensor, dtype)
        if np.array_equal(_values(words, dtype).view(np.uint32), exact):
            return dtype, words
    return FLOAT32, exact


def _words(tensor: Array, dtype: str) -> Words:
    """Where that dtype does not hold a value, some near one: both sides then go by the same."""
    words = np.ascontiguousarray(tensor, "<f4").reshape(-1).view("<u4")
    if dtype == FLOAT32:
        return words
    if dtype == BFLOAT16:
        return (words >> np.uint32(16)).astype("<u2")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return words.view("<f4").astype("<f2").view("<u2")


def _values(words: Words, dtype: str) -> Array:
    if dtype == BFLOAT16:
        return (words.astype("<u4") << np.uint32(16)).view("<f4").astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):
        return words.view("<f2" if dtype == FLOAT16 else "<f4").astype(np.float32, copy=dtype == FLOAT16)


def _ordered(words: Any) -> Any:
    """The words in the order of their values: of negative ones all bits are turned, of others the first."""
    top = words.dtype.type(1 << (8 * words.dtype.itemsize - 1))
    return np.where(words & top, ~words, words | top)


def _unordered(ordered: Any) -> Any:
    top = ordered.dtype.type(1 << (8 * ordered.dtype.itemsize - 1))
    return np.where(ordered & top, ordered & ~top, ~ordered)


def _folded(difference: Any) -> Any:
    """0, -1, 1, -2, ... become 0, 1, 2, 3, ...; all modulo the size of a word."""
    one, last = difference.dtype.type(1), difference.dtype.type(8 * difference.dtype.itemsize - 1)
    return (difference << one) ^ (~(difference >> last) + one)


def _unfolded(folded: Any) -> Any:
    one = folded.dtype.type(1)
    return (folded >> one) ^ (~(folded & one) + one)


def gaps_of(places: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """How many values lie before each of these rising places: a byte each, and those that take more.

    Raises ValueError for a gap of 2^32 and more.
    """
    gaps = np.diff(places, prepend=-1) - 1
    if gaps.max(initial=0) >= 1 << 32:
        raise ValueError("a gap of more than 4 G values")
    return np.minimum(gaps, FAR).astype(np.uint8), gaps[gaps >= FAR].astype(FAR_GAP)


def places_of(data: bytes, count: int, like: TensorSpec) -> NDArray[np.int64]:
    """`count` places from their gaps. UpdateRejectedError where they leave the tensor, or far ones are none."""
    gaps, far = np.frombuffer(data, np.uint8, count).astype(np.int64), np.frombuffer(data, FAR_GAP, offset=count)
    if int((gaps == FAR).sum()) != far.size or (far < FAR).any():
        raise UpdateRejectedError("codec", f"{like.name}: gaps that are none")
    gaps[gaps == FAR] = far
    if int((gaps + 1).sum(dtype=np.float64)) > like.count:  # in floats nothing overflows; below 2^53 they are exact
        raise UpdateRejectedError("codec", f"{like.name}: a place behind the last value")
    return np.cumsum(gaps + 1) - 1


def counts(encoded: Encoded, like: TensorSpec, name: str) -> tuple[int, int]:
    """How many places the meta names, and how many of them are far: no more than there are values. Raises UpdateRejectedError."""
    count, far = encoded.meta.get(name), encoded.meta.get("far")
    if encoded.meta.get("count") != like.count:
        raise UpdateRejectedError("codec", f"{like.name}: of {encoded.meta.get('count')!r:.40} values, not of {like.count}")
    if type(count) is not int or type(far) is not int or not 0 <= far <= count <= like.count:
        raise UpdateRejectedError("codec", f"{like.name}: {name} and far are no counts of places")
    return count, far
