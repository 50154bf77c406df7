"""Where each shared tensor lies in the shared memory: two slots, then two pages, all of one form, and the page of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.link.callpage import PAGE_BYTES
from learnae.link.contract import PAGES, SLOTS
from learnae.records import TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array

ALIGN = 64
AREA_ALIGN = 4096


@attrs.frozen
class Layout:
    """Floating tensors as float32, all others as int64, each aligned to 64 bytes."""

    specs: tuple[TensorSpec, ...]
    offsets: tuple[int, ...]
    area_bytes: int

    @classmethod
    def of(cls, specs: Sequence[TensorSpec]) -> Layout:
        offsets, end = [], 0
        for spec in specs:
            offsets.append(end)
            end = _up(end + spec.count * dtype_of(spec).itemsize, ALIGN)
        return cls(tuple(specs), tuple(offsets), max(AREA_ALIGN, _up(end, AREA_ALIGN)))

    @property
    def total_bytes(self) -> int:
        return (SLOTS + PAGES) * self.area_bytes + PAGE_BYTES

    def slot(self, memory: Any, index: int, *, writable: bool) -> dict[str, Array]:
        """The arrays of one slot, as views of the memory."""
        return self._area(memory, _within(index, SLOTS), writable)

    def page(self, memory: Any, index: int, *, writable: bool) -> dict[str, Array]:
        """The arrays of one page, as views of the memory."""
        return self._area(memory, SLOTS + _within(index, PAGES), writable)

    def calls(self, memory: Any) -> memoryview:
        """The page on which the node shows whom it calls."""
        return memoryview(memory)[self.total_bytes - PAGE_BYTES : self.total_bytes]

    def _area(self, memory: Any, index: int, writable: bool) -> dict[str, Array]:
        arrays = {}
        for spec, offset in zip(self.specs, self.offsets, strict=True):
            array: Any = np.ndarray(spec.shape, dtype_of(spec), memory, index * self.area_bytes + offset)
            array.flags.writeable = writable
            arrays[spec.name] = array
        return arrays


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The type in shared memory."""
    return np.dtype(np.float32 if spec.floating else np.int64)


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _within(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"{index} is not within 0 to {count - 1}")
    return index
