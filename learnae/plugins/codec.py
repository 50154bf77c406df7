"""The codecs without a base: `int8`, the default, with one byte per value and a scale for each block of 64, `bf16`, and `fp32`."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from learnae import kernels
from learnae.elementwise import PIECE, pieces
from learnae.errors import UpdateRejectedError
from learnae.kernels import BLOCK, LEVELS
from learnae.readers import Slices, TensorReader
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

    Scales = NDArray[np.float16]

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
        room = np.empty(min(PIECE, values.size), np.int8)
        for piece in pieces(values.size):
            levels = room[: piece.stop - piece.start]
            kernels.quantise(values[piece], scales[rows(piece)], levels)
            data.write(levels.data)
        return Encoded(data.getvalue(), {"exponent": exponent})

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        return Decoded(self.reader(encoded.data, encoded.meta, like).whole())

    def reader(self, data: Slices, meta: Mapping[str, Any], like: TensorSpec) -> TensorReader:
        _check(len(data), meta, like)
        return _Int8Reader(data, int(meta["exponent"]), like)

    def check(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> None:
        _check(len(encoded.data), encoded.meta, like)

    def finite(self, encoded: Encoded) -> bool:
        """By the scales alone: of n values and b = ceil(n / 64) blocks there are n + 2 b bytes."""
        blocks = -(-len(encoded.data) // (BLOCK + SCALE.itemsize))
        return _finite(read_scales(np.frombuffer(encoded.data, SCALE, blocks), int(encoded.meta["exponent"])))


def _check(size: int, meta: Mapping[str, Any], like: TensorSpec) -> None:
    expected = -(-like.count // BLOCK) * SCALE.itemsize + like.count
    if size != expected:
        raise UpdateRejectedError("codec", f"{like.name}: {size} bytes, expected {expected} for the shape {like.shape}")
    check_exponent(meta, like)


def _finite(scales: Array) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(scales * np.float32(-LOWEST_LEVEL)).all())


class _Int8Reader(TensorReader):
    """Of bytes that were checked."""

    def __init__(self, data: Slices, exponent: int, like: TensorSpec) -> None:
        self._data, self._at = data, -(-like.count // BLOCK) * SCALE.itemsize
        self.shape, self.size = like.shape, like.count
        self._scales = read_scales(np.frombuffer(data[: self._at], SCALE), exponent)
        self.sound = _finite(self._scales)

    def read(self, piece: slice, room: Array) -> Array:
        kernels.dequantise(self._levels(piece), self._scales[rows(piece)], room)
        return room

    def every(self, start: int, step: int) -> Array:
        found = np.empty(len(range(start, self.size, step)), np.float32)
        done, at = 0, start
        for piece in pieces(self.size):
            if at < piece.stop:
                part = self._levels(piece)[at - piece.start :: step]
                found[done : done + part.size] = part
                done, at = done + part.size, at + part.size * step
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            found *= self._scales[np.arange(start, self.size, step) // BLOCK]
        return found

    def _levels(self, piece: slice) -> NDArray[np.int8]:
        return np.frombuffer(self._data[self._at + piece.start : self._at + piece.stop], np.int8)


def rows(piece: slice) -> slice:
    """The blocks of a piece (which starts with a whole block)."""
    return slice(piece.start // BLOCK, -(-piece.stop // BLOCK))


def _largest(values: Array) -> NDArray[np.float64]:
    """The largest absolute value of each block; NaN where one is not finite."""
    largest = np.empty(-(-values.size // BLOCK), np.float64)
    for piece in pieces(values.size):
        kernels.largest(values[piece], largest[rows(piece)])
    return largest


def _stored(scales: NDArray[np.float64]) -> tuple[Scales, int]:
    """The scales over a power of two, as float16, and its exponent."""
    scales = np.minimum(scales, LARGEST_SCALE)
    largest = float(np.max(scales, initial=0.0, where=np.isfinite(scales)))
    exponent = max(int(np.frexp(largest)[1]) - 15, LOWEST_EXPONENT) if largest else 0
    with np.errstate(under="ignore"):
        return np.ldexp(scales, -exponent).astype(SCALE), exponent


def check_exponent(meta: Mapping[str, Any], like: TensorSpec) -> None:
    """Raises UpdateRejectedError for one with which `read_scales` cannot go on."""
    exponent = meta.get("exponent")
    if type(exponent) is not int or not LOWEST_EXPONENT <= exponent <= HIGHEST_EXPONENT:
        raise UpdateRejectedError("codec", f"{like.name}: the exponent is not a whole number from {LOWEST_EXPONENT} to {HIGHEST_EXPONENT}")


def read_scales(stored: Scales, exponent: int) -> Array:
    """What encoder and decoder multiply with: float32, one per block."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a peer may send signalling NaNs
        return stored.astype(np.float32) * np.float32(2.0**exponent)


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
