"""The codecs without a base: `int8`, the default, with one byte per value and a scale for each block of 64, `bf16`, and `fp32`."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from learnae.elementwise import PIECE, pieces
from learnae.errors import UpdateRejectedError
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

    Scales = NDArray[np.float16]

BLOCK = 64
LEVELS = 127
LOWEST_LEVEL = -128  # that no encoder of ours writes, but others might
SCALE = np.dtype("<f2")
LITTLE = np.dtype("<f4")
LARGEST_SCALE = float(np.finfo(np.float32).max) / LEVELS * (1 - 2**-10)  # rounded up to float16 it still decodes to a finite value
LOWEST_EXPONENT, HIGHEST_EXPONENT = -126, 127  # so that the power of two is a normal float32


class Int8(Codec):
    """Blockwise absolute maximum: value = q * scale, q in -127..127 rounded half to even, scale = absmax / 127 of 64 values.

    Bytes: the scales as little-endian float16, then the q as int8, in C order. Scales are stored over a power of two, one per tensor
    ("exponent" in the meta), that puts the largest into [2^14, 2^15): models of any magnitude fit.
    Error: half a scale per value, absmax / 254 of its block, and 0.05 % of that. Blocks 2^-29 times smaller than the largest of
    their tensor lose precision, and those 2^-39 times smaller vanish.
    A block with a value that is not finite comes back as NaN, so that the gates of others refuse it.
    """

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        values = np.asarray(tensor, np.float32).reshape(-1)
        stored, exponent = _stored(_largest(values) / LEVELS)
        scales = read_scales(stored, exponent)
        data = io.BytesIO()  # hands its bytes over without another copy
        data.write(stored.data)
        for piece, blocks, scratch in _blocks(values):
            levels = _quantised(blocks, scales[rows(piece)], scratch).reshape(-1)
            data.write(levels[: piece.stop - piece.start].data)
        return Encoded(data.getvalue(), {"exponent": exponent})

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        self.check(encoded, like, base)
        blocks = -(-like.count // BLOCK)
        scales = read_scales(np.frombuffer(encoded.data, SCALE, blocks), int(encoded.meta["exponent"]))
        levels = np.frombuffer(encoded.data, np.int8, offset=blocks * SCALE.itemsize)
        return Decoded(_dequantised(levels, scales).reshape(like.shape))

    def check(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> None:
        expected = -(-like.count // BLOCK) * SCALE.itemsize + like.count
        if len(encoded.data) != expected:
            raise UpdateRejectedError("codec", f"{like.name}: {len(encoded.data)} bytes, expected {expected} for the shape {like.shape}")
        check_exponent(encoded, like)

    def finite(self, encoded: Encoded) -> bool:
        """By the scales alone: of n values and b = ceil(n / 64) blocks there are n + 2 b bytes."""
        blocks = -(-len(encoded.data) // (BLOCK + SCALE.itemsize))
        scales = read_scales(np.frombuffer(encoded.data, SCALE, blocks), int(encoded.meta["exponent"]))
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(scales * np.float32(-LOWEST_LEVEL)).all())


def rows(piece: slice) -> slice:
    """The blocks of a piece (which starts with a whole block)."""
    return slice(piece.start // BLOCK, -(-piece.stop // BLOCK))


def _blocks(values: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Pieces as rows of 64, the last row filled up with zeros, each with the same scratch of that shape."""
    scratch = np.empty(min(PIECE, values.size + BLOCK), np.float32)
    for piece in pieces(values.size):
        blocks = _filled_up(values[piece])
        yield piece, blocks, scratch[: blocks.size].reshape(-1, BLOCK)


def _filled_up(part: Array) -> Array:
    if part.size % BLOCK == 0:
        return part.reshape(-1, BLOCK)
    filled = np.zeros((part.size // BLOCK + 1, BLOCK), np.float32)
    filled.reshape(-1)[: part.size] = part
    return filled


def _largest(values: Array) -> NDArray[np.float64]:
    """The largest absolute value of each block; NaN where one is not finite."""
    largest = np.zeros(-(-values.size // BLOCK), np.float64)
    for piece, blocks, scratch in _blocks(values):
        flat = np.abs(blocks, out=scratch).reshape(-1)
        largest[rows(piece)] = np.maximum.reduceat(flat, np.arange(0, flat.size, BLOCK))  # twice as fast as max(axis=1)
    largest[np.isinf(largest)] = np.nan
    return largest


def _stored(scales: NDArray[np.float64]) -> tuple[Scales, int]:
    """The scales over a power of two, as float16, and its exponent."""
    scales = np.minimum(scales, LARGEST_SCALE)
    largest = float(np.max(scales, initial=0.0, where=np.isfinite(scales)))
    exponent = max(int(np.frexp(largest)[1]) - 15, LOWEST_EXPONENT) if largest else 0
    with np.errstate(under="ignore"):
        return np.ldexp(scales, -exponent).astype(SCALE), exponent


def check_exponent(encoded: Encoded, like: TensorSpec) -> None:
    """Raises UpdateRejectedError for one with which `read_scales` cannot go on."""
    exponent: Any = encoded.meta.get("exponent")
    if type(exponent) is not int or not LOWEST_EXPONENT <= exponent <= HIGHEST_EXPONENT:
        raise UpdateRejectedError("codec", f"{like.name}: the exponent is not a whole number from {LOWEST_EXPONENT} to {HIGHEST_EXPONENT}")


def read_scales(stored: Scales, exponent: int) -> Array:
    """What encoder and decoder multiply with: float32, one per block."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a peer may send signalling NaNs
        return stored.astype(np.float32) * np.float32(2.0**exponent)


def _quantised(blocks: Array, scales: Array, scratch: Array) -> NDArray[np.int8]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        np.divide(blocks, scales[:, None], out=scratch)
    np.rint(scratch, out=scratch)
    np.clip(scratch, -LEVELS, LEVELS, out=scratch)  # a scale near the smallest float16 may be rounded by up to a half
    scratch[~(scales > 0)] = 0.0
    return scratch.astype(np.int8)


def _dequantised(levels: NDArray[np.int8], scales: Array) -> Array:
    values = np.empty(levels.size, np.float32)
    for piece in pieces(levels.size):
        part = values[piece]
        part[:] = levels[piece]
        _scale(part, scales[rows(piece)])
    return values


def _scale(part: Array, scales: Array) -> None:
    whole = part.size // BLOCK
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        part[: whole * BLOCK].reshape(-1, BLOCK)[...] *= scales[:whole, None]
        part[whole * BLOCK :] *= scales[whole:]  # the last block, if it is not full


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


WORD = np.dtype("<u2")
HALF, QUIET, INFINITE = 0x7FFF, 0x40, 0x7F80


def to_bfloat16(tensor: Array) -> NDArray[np.uint16]:
    """The upper 16 bits of each float32, rounded to nearest even. What is too large becomes the largest value. NaN stays NaN."""
    words = np.ascontiguousarray(tensor, np.float32).reshape(-1).view(np.uint32)
    halves = np.empty(words.size, WORD)
    for piece in pieces(words.size):
        part = words[piece]
        upper = part >> np.uint32(16)
        rounded = (part + (np.uint32(HALF) + (upper & np.uint32(1)))) >> np.uint32(16)
        values = part.view(np.float32)
        rounded -= np.isfinite(values) & (rounded & np.uint32(0x7FFF) == INFINITE)
        halves[piece] = np.where(np.isnan(values), upper | np.uint32(QUIET), rounded)
    return halves


def from_bfloat16(data: bytes | NDArray[np.uint16], like: TensorSpec) -> Array:
    """Raises UpdateRejectedError for another number of values."""
    if isinstance(data, bytes) and len(data) != WORD.itemsize * like.count:
        expected = WORD.itemsize * like.count
        raise UpdateRejectedError("codec", f"{like.name}: {len(data)} bytes, expected {expected} for the shape {like.shape}")
    halves = np.frombuffer(data, WORD) if isinstance(data, bytes) else data
    words = halves.astype(np.uint32)
    words <<= np.uint32(16)
    return words.view(np.float32).reshape(like.shape)


class Bf16(Codec):
    """2 bytes per value: bfloat16, little-endian, in C order, rounded to nearest even. Of a bfloat16 model every bit arrives.

    Error: 2^-8 of each value, 2^-134 for the smallest ones. Values beyond 3.39e38 become that.
    """

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        return Encoded(to_bfloat16(tensor).tobytes())

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        return Decoded(from_bfloat16(encoded.data, like))


def planes(words: NDArray[Any]) -> bytes:
    """The first bytes of all these words, then the second ones: what is alike stands together."""
    data: bytes = np.ascontiguousarray(words).view(np.uint8).reshape(-1, words.dtype.itemsize).T.tobytes()
    return data


def from_planes(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T).view(dtype).reshape(-1)


def deflated(data: bytes) -> bytes:
    """RFC 1951, by Huffman codes alone: there is next to nothing that repeats, and to look for it takes ten times as long."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(data) + deflate.flush()


def inflated(data: bytes, size: int, like: TensorSpec) -> bytes:
    """So many bytes, or UpdateRejectedError: no more than one beyond them is ever made."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise UpdateRejectedError("codec", f"{like.name}: {error}") from None
    if len(result) != size or not inflate.eof or inflate.unused_data:
        raise UpdateRejectedError("codec", f"{like.name}: other than {size} bytes unpacked, or bytes behind them")
    return result
