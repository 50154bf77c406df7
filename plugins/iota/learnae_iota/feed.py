"""A node's feed of new transactions (ZMQ), for trio.

It speaks ZMTP 3.0 (https://rfc.zeromq.org/spec/23/) as a subscriber without a mechanism. The library of ZMQ puts no limit on the parts of a
message, so that whoever answers at the address could fill all memory with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import attrs
import trio

from learnae.lowlevel import Backoff

TOPIC = b"trytes "
MOST_BYTES = 8192  # of a message; one has 2,762
MOST_PARTS = 16
MEET_SECONDS = 10.0
PIECE_BYTES = 1 << 16

_VERSION, _MECHANISM = 3, b"NULL".ljust(20, b"\0")
_GREETING = b"\xff" + bytes(8) + b"\x7f" + bytes([_VERSION, 0]) + _MECHANISM + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4
_READY = b"\x05READY"
_SUBSCRIBER = _READY + b"\x0bSocket-Type" + (3).to_bytes(4, "big") + b"SUB"
_SUBSCRIBE = b"\x01" + TOPIC


class NoFeedError(Exception):
    """What answers there speaks otherwise, or says more at once than a node does."""


@attrs.frozen
class Feed:
    """`take(hash, trytes)` is given each new transaction of the whole tangle: text that nobody has checked."""

    address: str

    async def run(self, take: Callable[[str, str], None]) -> None:
        """Until cancelled. A node that is gone, or is none, is tried again and again: the looks go on meanwhile."""
        pauses = Backoff()
        while True:
            began = trio.current_time()
            with suppress(OSError, trio.BrokenResourceError, trio.TooSlowError, NoFeedError):
                await self._listen(take)
            await trio.sleep(pauses.after(trio.current_time() - began))

    async def _listen(self, take: Callable[[str, str], None]) -> None:
        parts = urlsplit(self.address)
        with trio.fail_after(MEET_SECONDS) as limit:
            async with await trio.open_tcp_stream(parts.hostname or "", parts.port or 0) as stream:
                frames = FeedReader(stream)
                await frames.meet()
                limit.deadline = math.inf
                while True:
                    words = (await frames.message()).removeprefix(TOPIC).decode("ascii", "replace").split(" ")
                    if len(words) == 2:
                        take(words[1], words[0])


@attrs.define
class FeedReader:
    """The frames of one connection. Each method raises NoFeedError, trio.BrokenResourceError."""

    stream: trio.abc.Stream
    _came: bytearray = attrs.field(factory=bytearray)

    async def meet(self) -> None:
        """Greet, and subscribe."""
        await self.stream.send_all(_GREETING)
        greeting = await self._take(len(_GREETING))
        if greeting[0] != _GREETING[0] or greeting[9] != _GREETING[9] or greeting[10] < _VERSION or greeting[12:32] != _MECHANISM:
            raise NoFeedError("another protocol")
        await self.stream.send_all(_frame(_COMMAND, _SUBSCRIBER))
        flags, ready = await self._frame()
        if not flags & _COMMAND or not ready.startswith(_READY):
            raise NoFeedError("another protocol")
        await self.stream.send_all(_frame(0, _SUBSCRIBE))

    async def message(self) -> bytes:
        """The next one, its parts joined by a space."""
        parts: list[bytes] = []
        while True:
            await trio.lowlevel.checkpoint()  # much may have come at once
            flags, part = await self._frame()
            if flags & _COMMAND:
                continue
            parts.append(part)
            if len(parts) > MOST_PARTS or sum(map(len, parts)) > MOST_BYTES:
                raise NoFeedError("a message that is too long")
            if not flags & _MORE:
                return b" ".join(parts)

    async def _frame(self) -> tuple[int, bytes]:
        flags = (await self._take(1))[0]
        size = int.from_bytes(await self._take(8 if flags & _LONG else 1), "big")
        if flags & ~(_MORE | _LONG | _COMMAND) or size > MOST_BYTES:
            raise NoFeedError("another protocol, or a message that is too long")
        return flags, await self._take(size)

    async def _take(self, count: int) -> bytes:
        while len(self._came) < count:
            if not (piece := await self.stream.receive_some(PIECE_BYTES)):
                raise NoFeedError("it has hung up")
            self._came += piece
        taken = bytes(self._came[:count])
        del self._came[:count]
        return taken


def _frame(flags: int, content: bytes) -> bytes:
    return bytes([flags, len(content)]) + content
