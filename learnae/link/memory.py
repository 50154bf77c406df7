"""The memory that a trainer and its node share: slots and pages for tensors, and the page that shows which plugin is being called.

Nobody waits here for anybody, and nothing is believed: a row that does not match its checksum, torn or garbled, is no call.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.errors import ConfigError, Problem
from learnae.link.messages import PAGES, SLOTS
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


SHM = Path("/dev/shm")


def create(nbytes: int) -> int:
    """A descriptor of `nbytes` that are reserved now, so that no later access can fail. Raises ConfigError without room."""
    fd = _nameless(nbytes)
    try:
        _reserve(fd, nbytes)
    except OSError as error:
        os.close(fd)
        what = f"cannot reserve {nbytes >> 20} MiB of shared memory, four copies of the model: {error}"
        raise ConfigError(Problem("model", what, "free some memory, or share less with [model] keep_local")) from error
    return fd


def view(fd: int, nbytes: int) -> mmap.mmap:
    """Map all of it, with every page in place: a first touch costs 0.7 ms a MiB. Raises ValueError if the file is shorter."""
    return mmap.mmap(fd, nbytes, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))


def _nameless(nbytes: int) -> int:
    if sys.platform == "linux":
        return os.memfd_create("learnae")
    if os.name != "posix":
        raise ConfigError(Problem("platform", f"{sys.platform} is not supported yet", "use Linux, macOS, or WSL on Windows"))
    fd, path = tempfile.mkstemp(prefix="learnae-", dir=SHM if _has_room(SHM, nbytes) else None)
    os.unlink(path)
    return fd


def _has_room(folder: Path, nbytes: int) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize > nbytes


def _reserve(fd: int, nbytes: int) -> None:
    os.ftruncate(fd, nbytes)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, nbytes)


def scratch() -> int:
    """A descriptor of a file that is empty and grows. Raises OSError."""
    return _nameless(0)


PAGE_BYTES = 8192
NO_CALL = 0

_ROW_BYTES = 256
_WORDS = 8  # of the header, 8 bytes each
_BEATS, _ROUNDS, _STEPPING = range(3)
_SUM = struct.Struct("<I")
_BODY = struct.Struct("<QdQ80s56s80s")
_USED = _SUM.size + _BODY.size
_FREE = bytes(_SUM.size + 8)


@attrs.frozen
class Call:
    """A call into a strategy that has not returned. Texts are cut to what fits."""

    number: int  # counts up within one life of a node
    within: float  # seconds in which it must be back; 0 for one that may not wait for anything
    outer: int  # the number of the call that it was made from, or NO_CALL
    label: str
    plugin: str
    action: str


@attrs.frozen
class CallsSeen:
    """The page at one moment."""

    beats: int  # of the node's loop
    stepping: int  # the call in whose name the loop is running now, or NO_CALL
    calls: dict[int, Call]


class CallPage:
    """Views `PAGE_BYTES` of memory. Threads may enter and leave at once; what finds no free row is not shown."""

    def __init__(self, memory: Any) -> None:
        self._page = memoryview(memory)[:PAGE_BYTES]
        self._words = self._page[: 8 * _WORDS].cast("Q")
        self._free = list(range(_ROW_BYTES, PAGE_BYTES, _ROW_BYTES))  # append and pop are atomic
        self._numbers = count(NO_CALL + 1)

    # The node.

    def enter(self, label: str, plugin: str, action: str, within: float, outer: int) -> tuple[int, int]:
        """Show a call; its row and its number are needed for what follows."""
        number = next(self._numbers)
        try:
            row = self._free.pop()
        except IndexError:
            return 0, number
        self.show(row, Call(number, within, outer, label, plugin, action))
        return row, number

    def show(self, row: int, call: Call) -> None:
        body = _BODY.pack(call.number, call.within, call.outer, call.label.encode(), call.plugin.encode(), call.action.encode())
        self._page[row : row + _USED] = _SUM.pack(zlib.crc32(body)) + body

    def leave(self, row: int) -> None:
        if row:
            self._page[row : row + len(_FREE)] = _FREE
            self._free.append(row)

    def beat(self) -> None:
        self._words[_BEATS] += 1

    def begin_round(self) -> None:
        self._words[_ROUNDS] += 1

    def step(self, number: int) -> None:
        """The loop runs in the name of this call from now on, or of NO_CALL."""
        self._words[_STEPPING] = number

    # The trainer's side.

    def clear(self) -> None:
        """Before a node begins."""
        self._page[:] = bytes(PAGE_BYTES)

    @property
    def rounds(self) -> int:
        """Begun in this life of the node."""
        return int(self._words[_ROUNDS])

    def read(self) -> CallsSeen:
        return CallsSeen(self._words[_BEATS], self._words[_STEPPING], {call.number: call for call in self._calls()})

    def _calls(self) -> Iterator[Call]:
        for row in range(_ROW_BYTES, PAGE_BYTES, _ROW_BYTES):
            data = bytes(self._page[row : row + _USED])
            body = data[_SUM.size :]
            if _SUM.unpack_from(data)[0] == zlib.crc32(body):
                number, within, outer, *texts = _BODY.unpack(body)
                if number != NO_CALL:
                    yield Call(number, within, outer, *map(_text, texts))


def shown(label: str) -> str:
    """What the page shows of a label: two that are shown alike are one."""
    return _text(struct.pack("80s", label.encode()))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="ignore")
