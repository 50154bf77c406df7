"""Codecs with a base, which travels as bfloat16: `int4-delta`, 4 bits for each value's difference, and `random-subset`, some values."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le

from learnae.config.tables import option
from learnae.elementwise import PIECE, pieces
from learnae.errors import UpdateRejectedError
from learnae.kernels import BLOCK
from learnae.plugins.codec import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    SCALE,
    WORD,
    check_exponent,
    deflated,
    from_bfloat16,
    from_planes,
    inflated,
    planes,
    read_scales,
    rows,
    to_bfloat16,
)
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array
    from learnae.strategies import Context

LEVELS, EVEN = 7, 8  # a code is its level and 8
SCALE_BYTES = SCALE.itemsize
LARGEST_SCALE = 65504.0 / 2  # a float16, with room for the rounding


@attrs.frozen
class DeltaOptions:
    """How long a base serves."""

    versions: int = option(10, "How many versions in a row go by one base, the base itself among them.", and_(ge(1), le(1000)))


class Int4Delta(Codec):
    """4 bits of the difference to a base: value = base + q * scale, q in -7..7 rounded half to even, scale = absmax / 7 of 64 differences.

    Bytes: the scales as little-endian float16 over a power of two, one per tensor ("exponent" in the meta), then q + 8, two in a byte, the
    first in the low half; or one in each byte and deflated, where that is shorter. At most 0.53 bytes a value. A base has 2, or fewer where
    its planes of bytes deflate: it is bfloat16. With a float32 one the saving would be a third less.
    Error: half a scale, absmax / 14 of the differences of a block. 4 bits of the values themselves cost 5 points of accuracy, of the
    difference nothing that is sure (docs/how-to/codecs.md).
    A block with a difference that is not finite comes back as NaN, so that the gates of others refuse it.
    """

    Options = DeltaOptions
    small = 2 * BLOCK  # of a difference the error is small beside what was learned, also where values span decades

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.versions = (options if isinstance(options, DeltaOptions) else DeltaOptions()).versions

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        if base is None:
            return Encoded(_shorter(to_bfloat16(tensor).tobytes(), deflated(planes(to_bfloat16(tensor)))))
        scales, codes = np.empty(-(-tensor.size // BLOCK), np.float64), np.empty(tensor.size, np.uint8)
        flat, below = np.asarray(tensor, np.float32).reshape(-1), base.reshape(-1)
        for piece in pieces(flat.size):
            largest = np.abs(_blocks(flat[piece], below[piece])).max(axis=1) / LEVELS
            scales[rows(piece)] = np.where(np.isinf(largest), np.nan, largest)
        stored, exponent = stored_scales(scales)
        used = read_scales(stored, exponent)
        for piece in pieces(flat.size):
            q = _quantised(_blocks(flat[piece], below[piece]), used[rows(piece)])
            codes[piece] = q.reshape(-1)[: piece.stop - piece.start] + EVEN
        return Encoded(stored.tobytes() + _shorter(_packed(codes).tobytes(), deflated(codes.tobytes())), {"exponent": exponent})

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        if base is None:
            whole = len(encoded.data) >= 2 * like.count
            return Decoded(from_bfloat16(encoded.data if whole else from_planes(inflated(encoded.data, 2 * like.count, like), WORD), like))
        check_exponent(encoded.meta, like)
        at = -(-like.count // BLOCK) * SCALE_BYTES
        codes = _codes(encoded.data[at:], like)
        scales = read_scales(np.frombuffer(encoded.data[:at], SCALE), int(encoded.meta["exponent"]))
        values = np.array(base, np.float32).reshape(-1)
        for piece in pieces(like.count):
            q = codes[piece].astype(np.float32) - EVEN
            with np.errstate(over="ignore", invalid="ignore"):
                values[piece] += q * np.repeat(scales[rows(piece)], BLOCK)[: q.size]
        return Decoded(values.reshape(like.shape))


def _blocks(values: Array, base: Array) -> Array:
    """The differences as rows of 64, the last one filled up with zeros."""
    filled = np.zeros((-(-values.size // BLOCK), BLOCK), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(values, base, out=filled.reshape(-1)[: values.size])
    return filled


def _quantised(blocks: Array, scales: Array) -> NDArray[np.int8]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        q = np.rint(blocks / scales[:, None])
    np.clip(q, -LEVELS, LEVELS, out=q)
    q[~(scales > 0)] = 0.0  # zero times a scale that is not a number is none either
    levels: NDArray[np.int8] = q.astype(np.int8)
    return levels


def _shorter(plain: bytes, deflated_: bytes) -> bytes:
    """A reader tells them apart by their length."""
    return deflated_ if len(deflated_) < len(plain) else plain


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two in a byte; a last one alone leaves the upper half empty."""
    packed = codes[::2].copy()
    packed[: codes.size // 2] |= codes[1::2] << np.uint8(4)
    return packed


def _codes(data: bytes, like: TensorSpec) -> NDArray[np.uint8]:
    """One code for each value. Raises UpdateRejectedError."""
    if len(data) < -(-like.count // 2):
        codes = np.frombuffer(inflated(data, like.count, like), np.uint8)
    elif len(data) == -(-like.count // 2):
        packed = np.frombuffer(data, np.uint8)
        codes = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=1).reshape(-1)
        if codes[like.count :].any():
            raise UpdateRejectedError("codec", f"{like.name}: half a byte too many is not zero")
        codes = codes[: like.count]
    else:
        raise UpdateRejectedError("codec", f"{like.name}: {len(data)} bytes of differences of {like.count} values")
    if (codes > EVEN + LEVELS).any():
        raise UpdateRejectedError("codec", f"{like.name}: a difference of more than 4 bits")
    return codes


def stored_scales(scales: NDArray[np.float64]) -> tuple[NDArray[np.float16], int]:
    """Over a power of two that puts the largest into [2^14, 2^15), as float16, and its exponent."""
    largest = float(np.max(scales, initial=0.0, where=np.isfinite(scales)))
    exponent = min(max(int(np.frexp(largest)[1]) - 15, LOWEST_EXPONENT), HIGHEST_EXPONENT) if largest else 0
    with np.errstate(under="ignore", invalid="ignore"):
        return np.minimum(np.ldexp(scales, -exponent), LARGEST_SCALE).astype(SCALE), exponent


@attrs.frozen
class SubsetOptions:
    """How many values a version has, and how long a base serves."""

    share: float = option(0.25, "The share of the values that a version has, drawn at random.", and_(gt(0.001), le(1.0)))
    versions: int = option(20, "How many versions in a row go by one base, the base itself among them.", and_(ge(1), le(1000)))


class RandomSubset(Codec):
    """Some of the values as bfloat16: of each run of 65,536 a random `share`, drawn anew for each version by a seed in the meta.

    So positions take no bytes: 2 * share bytes a value. Only what came is merged (Decoded.mask); an outer step without the mask diverges.
    What did not come is that of the base, for newcomers, who take all of it. Value i of a run comes if the i-th little-endian 32 bits of
    SHAKE-256("learnae/random-subset/1/SEED/RUN") are below `share` of 2^32, so every machine and language draws the same.
    Source: random-k sparsification, as in JWINS (arXiv 2306.04377) without its wavelets.
    """

    Options = SubsetOptions
    small = 2 * BLOCK

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        chosen = options if isinstance(options, SubsetOptions) else SubsetOptions()
        self.versions, self.limit = chosen.versions, max(1, round(chosen.share * 2**32))

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        halves = to_bfloat16(tensor)
        if base is None:
            return Encoded(halves.tobytes())
        seed = int(rng.integers(2**31))
        return Encoded(halves[_drawn(seed, self.limit, tensor.size)].tobytes(), {"seed": seed, "below": self.limit})

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        if base is None:
            return Decoded(from_bfloat16(encoded.data, like))
        mask, values = self._mask(encoded, like), np.array(base, np.float32).reshape(-1)
        came = TensorSpec(name=like.name, dtype=like.dtype, shape=(int(mask.sum()),))
        values[mask] = from_bfloat16(encoded.data, came)
        return Decoded(values.reshape(like.shape), mask.reshape(like.shape))

    def _mask(self, encoded: Encoded, like: TensorSpec) -> NDArray[np.bool_]:
        seed, below = (encoded.meta.get(name) for name in ("seed", "below"))
        if type(seed) is not int or type(below) is not int or not 0 <= seed < 2**31 or not 0 < below <= 2**32:
            raise UpdateRejectedError("codec", f"{like.name}: no seed or share of a subset")
        if len(encoded.data) > 2 * like.count:
            raise UpdateRejectedError("codec", f"{like.name}: {len(encoded.data)} bytes of a subset of {like.count} values")
        return _drawn(seed, below, like.count)


def _drawn(seed: int, below: int, count: int) -> NDArray[np.bool_]:
    mask = np.empty(count, bool)
    for run, piece in enumerate(pieces(count, PIECE)):
        drawn = hashlib.shake_256(f"learnae/random-subset/1/{seed}/{run}".encode()).digest(4 * (piece.stop - piece.start))
        mask[piece] = np.frombuffer(drawn, "<u4") < below
    return mask
