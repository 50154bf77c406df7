"""Frames on a stream: one byte that says the kind, four for the length, and so many bytes.

The layout of each kind is fixed and no more than numbers, CIDs and bounded texts: a stranger's bytes are parsed into nothing else.
Who does not know a kind skips it, within the bound: later versions may say more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from learnae.lowlevel import BLOCK_BYTES
from learnae_libp2p.streams.transport import FAST_READ, FAST_WRITE, Stream, StreamClosedError

HEADER = struct.Struct(">BI")
CID_BYTES = 36
MOST_CIDS = 1024
"""In one frame, and asked for and not yet answered on one stream."""

MOST_BYTES = 4 + 1 + MOST_CIDS * CID_BYTES
"""The longest frame that is no block."""


class FrameKind(IntEnum):
    """What a frame says. Each CID that is wanted is answered once: by its block, or by its absence."""

    HELLO = 1  # version, nonce; from the holder also its proof
    PROOF = 2
    WANT = 3  # CIDs
    ASK = 4  # the question's number, CIDs
    FORGET = 5  # CIDs that are not wanted any more: answered as absent, or by blocks that are on their way
    BLOCK = 6  # its CID, its bytes
    ABSENT = 7  # `Absence`, CIDs
    HAS = 8  # the question's number, a bit for each CID of the question, the first one the lowest of the first byte
    PEERS = 9  # a list of peers with addresses; on streams of the exchange of peers alone
    RESERVE = 10  # from here on, `short_messages`: nothing
    RESERVED = 11  # the bytes a minute of each circuit
    CONNECT = 12  # the peer that is asked for
    INCOMING = 13  # the bytes a minute; who asks, and where it is seen
    ACCEPTED = 14  # nothing; what follows is the circuit
    CONNECTED = 15  # the bytes a minute; where the other end is seen. What follows is the circuit
    REFUSED = 16  # why
    LOOK = 17  # nothing: from where am I seen?
    SEEN = 18  # an address
    TRY = 19  # addresses at the host that was seen: does anybody answer there?
    TRIED = 20  # a bit for each that did
    MEET = 21  # addresses at which both ends dial each other
    NOW = 22  # nothing: begin


class Absence(IntEnum):
    """Why a block does not come."""

    UNKNOWN = 0
    NOT_NOW = 1  # no upload is left for now
    FORGOTTEN = 2  # as the asker has wished


class FrameError(Exception):
    """The other end has sent what no peer of ours sends."""


class FrameReader:
    """Reads what comes on a stream, in large pieces. `received` counts all bytes, also of a frame that is not whole yet.

    `came` is told of each piece how long it is.
    """

    def __init__(self, stream: Stream, came: Callable[[int], None] = lambda count: None) -> None:
        self.received = 0
        self._stream = stream
        self._came = came
        self._piece = memoryview(b"")

    async def header(self) -> tuple[int, int] | None:
        """The kind and the length of the next frame; None where the stream has ended between two. Raises FrameError, StreamClosedError."""
        if not self._piece and not await self._more():
            return None
        kind, length = HEADER.unpack(await self.body(HEADER.size))
        if length > (CID_BYTES + BLOCK_BYTES if kind == FrameKind.BLOCK else MOST_BYTES):
            raise FrameError(f"a frame of {length} bytes")
        return kind, length

    async def body(self, length: int) -> bytes:
        """So many bytes; few, as of a frame that is no block. Raises StreamClosedError."""
        if len(self._piece) >= length:
            taken, self._piece = self._piece[:length], self._piece[length:]
            return bytes(taken)
        target = bytearray(length)
        await self.into(memoryview(target))
        return bytes(target)

    async def into(self, target: memoryview) -> None:
        """Fill this. Raises StreamClosedError."""
        filled = 0
        while filled < len(target):
            filled += await self._take(target[filled:])

    async def skip(self, length: int) -> None:
        """Read so many bytes for nobody. Raises StreamClosedError."""
        while length:
            if not self._piece and not await self._more():
                raise StreamClosedError("the stream ended within a frame")
            step = min(length, len(self._piece))
            self._piece = self._piece[step:]
            length -= step

    def rest(self) -> bytes:
        """What was read beyond the last frame: it is no frame any more. Nothing is read by this one from now on."""
        taken, self._piece = bytes(self._piece), memoryview(b"")
        return taken

    async def _take(self, target: memoryview) -> int:
        if not self._piece and not await self._more():
            raise StreamClosedError("the stream ended within a frame")
        step = min(len(target), len(self._piece))
        target[:step] = self._piece[:step]
        self._piece = self._piece[step:]
        return step

    async def _more(self) -> bool:
        data = await self._stream.receive_some(FAST_READ)
        self.received += len(data)
        self._came(len(data))
        self._piece = memoryview(data)
        return bool(data)


def frame(kind: FrameKind, *parts: bytes) -> bytes:
    """One whole frame."""
    return b"".join((HEADER.pack(kind, sum(map(len, parts))), *parts))


def block_header(cid: bytes, length: int) -> bytes:
    """What stands before the bytes of a block."""
    return HEADER.pack(FrameKind.BLOCK, CID_BYTES + length) + cid


def cids_in(body: bytes, start: int = 0) -> Iterator[bytes]:
    """Each CID in the rest of a body. Raises FrameError where they do not come out even."""
    if (len(body) - start) % CID_BYTES:
        raise FrameError("a list of CIDs of no whole length")
    return (body[place : place + CID_BYTES] for place in range(start, len(body), CID_BYTES))


def in_frames(kind: FrameKind, cids: Iterable[bytes], first: bytes = b"") -> Iterator[bytes]:
    """Frames of this kind with these CIDs, each behind `first`."""
    every = list(cids)
    for place in range(0, len(every), MOST_CIDS):
        yield frame(kind, first, *every[place : place + MOST_CIDS])


def to_bits(flags: Iterable[bool]) -> bytes:
    """The first flag is the lowest bit of the first byte."""
    every = list(flags)
    return sum(1 << place for place, flag in enumerate(every) if flag).to_bytes((len(every) + 7) // 8, "little")


def from_bits(bits: bytes, count: int) -> list[bool]:
    """So many flags. Raises FrameError unless the bits are of exactly this length."""
    if len(bits) != (count + 7) // 8:
        raise FrameError("an answer that is not as long as its question")
    number = int.from_bytes(bits, "little")
    return [bool(number >> place & 1) for place in range(count)]


class FrameWriter:
    """Gathers what is to be sent into writes of the length that travels best. One task writes at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._gathered: list[bytes | memoryview] = []
        self._length = 0

    async def add(self, data: bytes | memoryview, write: int = FAST_WRITE) -> None:
        """Send what makes full writes; the rest waits for more, or for `flush`. Raises StreamClosedError."""
        rest = memoryview(data)
        while self._length + len(rest) >= write:
            step = max(0, write - self._length)
            self._gathered.append(rest[:step])
            rest = rest[step:]
            await self.flush()
        if rest:
            self._gathered.append(rest)
            self._length += len(rest)

    async def flush(self) -> None:
        """Send all that was gathered. Raises StreamClosedError."""
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._length = 0
            await self._stream.send_all(data)
