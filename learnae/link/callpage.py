"""Who is being called: a page of the shared memory that the node writes and the trainer's side reads.

Nobody waits here for anybody, and nothing is believed: a row that does not match its checksum, torn or garbled, is no call.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import count
from typing import Any

import attrs

PAGE_BYTES = 8192
NOBODY = 0

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
    outer: int  # the number of the call that it was made from, or NOBODY
    label: str
    plugin: str
    action: str


@attrs.frozen
class Seen:
    """The page at one moment."""

    beats: int  # of the node's loop
    stepping: int  # the call in whose name the loop is running now, or NOBODY
    calls: dict[int, Call]


class CallPage:
    """Views `PAGE_BYTES` of memory. Threads may enter and leave at once; what finds no free row is not shown."""

    def __init__(self, memory: Any) -> None:
        self._page = memoryview(memory)[:PAGE_BYTES]
        self._words = self._page[: 8 * _WORDS].cast("Q")
        self._free = list(range(_ROW_BYTES, PAGE_BYTES, _ROW_BYTES))  # append and pop are atomic
        self._numbers = count(NOBODY + 1)

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
        """The loop runs in the name of this call from now on, or of NOBODY."""
        self._words[_STEPPING] = number

    # The trainer's side.

    def clear(self) -> None:
        """Before a node begins."""
        self._page[:] = bytes(PAGE_BYTES)

    @property
    def rounds(self) -> int:
        """Begun in this life of the node."""
        return int(self._words[_ROUNDS])

    def read(self) -> Seen:
        return Seen(self._words[_BEATS], self._words[_STEPPING], {call.number: call for call in self._calls()})

    def _calls(self) -> Iterator[Call]:
        for row in range(_ROW_BYTES, PAGE_BYTES, _ROW_BYTES):
            data = bytes(self._page[row : row + _USED])
            body = data[_SUM.size :]
            if _SUM.unpack_from(data)[0] == zlib.crc32(body):
                number, within, outer, *texts = _BODY.unpack(body)
                if number != NOBODY:
                    yield Call(number, within, outer, *map(_text, texts))


def shown(label: str) -> str:
    """What the page shows of a label: two that are shown alike are one."""
    return _text(struct.pack("80s", label.encode()))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="ignore")
