"""Tensors that are made piece by piece when they are read, and models that remember how far they lie from others.

A round looks at each update several times: gates measure it, the merge takes it. It is never decoded as a whole for that. Whoever works
elementwise asks for a piece (`learnae.elementwise.PIECE` values) and works on it while it is in the cache. A plugin need not know any of
this: every mapping of arrays can be read so, and every reader has its whole array.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


PIECE = 1 << 16
"""Elements in a piece: 256 KiB of float32, so that a few rows stay in the cache of a core."""


def pieces(count: int, size: int = PIECE) -> Iterator[slice]:
    """Cut `count` elements into consecutive slices of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


class Slices(Protocol):
    """Bytes of which each slice can be had, such as `bytes`, or what lies in several blocks."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


class TensorReader(ABC):
    """One float32 tensor, flat, in C order."""

    shape: tuple[int, ...]
    size: int
    sound = False
    """Whether all values are surely finite."""

    @abstractmethod
    def read(self, piece: slice, room: Array) -> Array:
        """The values of this piece, whose start is a multiple of `PIECE`: `room`, of its length, or a view not to be written."""

    def every(self, start: int, step: int) -> Array:
        """A copy of the values at start, start + step, and so on."""
        room, found = np.empty(min(PIECE, self.size), np.float32), [np.zeros(0, np.float32)]
        for piece in pieces(self.size):
            values = self.read(piece, room[: piece.stop - piece.start])
            found.append(values[(start - piece.start) % step if piece.start > start else start - piece.start :: step].copy())
        return np.concatenate(found)

    def whole(self) -> Array:
        """All of it, as an array of its own or a view that is not to be written."""
        values = np.empty(self.size, np.float32)
        for piece in pieces(self.size):
            read_into(self, piece, values[piece])
        return values.reshape(self.shape)


def read_into(reader: TensorReader, piece: slice, room: Array) -> None:
    """Fill the room, also where the reader has a view."""
    values = reader.read(piece, room)
    if values is not room:
        room[:] = values


class ArrayReader(TensorReader):
    """An array that is there."""

    def __init__(self, array: Array) -> None:
        self._flat, self.shape, self.size = array.reshape(-1), array.shape, array.size

    def read(self, piece: slice, room: Array) -> Array:
        return self._flat[piece]

    def every(self, start: int, step: int) -> Array:
        return self._flat[start::step].copy()

    def whole(self) -> Array:
        return self._flat.reshape(self.shape)


class ShrunkReader(TensorReader):
    """own + scale (other - own): another tensor, nearer to the own one."""

    def __init__(self, other: TensorReader, own: Array, scale: float) -> None:
        self._other, self._own, self._scale = other, own.reshape(-1), np.float32(scale)
        self.shape, self.size = other.shape, other.size

    def read(self, piece: slice, room: Array) -> Array:
        own = self._own[piece]
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(self._other.read(piece, room), own, out=room)
            np.multiply(self._scale, room, out=room)
            return np.add(own, room, out=room)

    def every(self, start: int, step: int) -> Array:
        own = self._own[start::step]
        with np.errstate(invalid="ignore", over="ignore"):
            shrunk: Array = own + self._scale * (self._other.every(start, step) - own)
        return shrunk


class ReadableModel(Mapping[str, Any]):
    """The tensors of a model that does not change while it lives. What is measured on it is remembered."""

    def __init__(self) -> None:
        self._measured: list[tuple[object, float]] = []

    def reader(self, name: str) -> TensorReader:
        """One floating tensor in pieces, if it came whole."""
        return ArrayReader(self[name])

    def measured(self, beside: object) -> float | None:
        """What was noted: the distance from that model, or the own length beside None."""
        return next((norm for other, norm in self._measured if other is beside), None)

    def note(self, beside: object, norm: float) -> float:
        self._measured.append((beside, norm))
        return norm


class ModelInMemory(ReadableModel):
    """Arrays by name."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        super().__init__()
        self._tensors = tensors

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Any:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def reader_of(tensors: Mapping[str, Array], name: str) -> TensorReader:
    """One floating tensor of any model in pieces."""
    return tensors.reader(name) if isinstance(tensors, ReadableModel) else ArrayReader(tensors[name])


def overrides(kind: type, quick: str, plain: str) -> bool:
    """Whether this class has the quick form of what `plain` does. One that is derived from it, and has another `plain` alone, has none."""
    return next((quick in vars(each) for each in kind.__mro__ if quick in vars(each) or plain in vars(each)), False)
