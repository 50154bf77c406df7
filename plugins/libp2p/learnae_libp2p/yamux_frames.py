"""Yamux as the library speaks it, with fewer steps for the two frames that bulk consists of, and with a bound that the library leaves out.

For each frame of data the library takes some ten locks, each of which lets other tasks run first, and it keeps what comes without looking
at the window that it has granted. All other frames, and all that is rare, are still its own affair.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from typing import Any

import trio
from libp2p.io.exceptions import IncompleteReadError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    HEADER_SIZE,
    MAX_MESSAGE_SIZE,
    PROTOCOL_ID,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from learnae_libp2p.frame_limits import LOOK_BYTES, RARE_SECONDS, STREAM_SECONDS, UNREAD_OF_ONE, cost_of
from learnae_libp2p.noise_sessions import QuickSession

BODY_SECONDS = 60.0  # the library's own, which it looks up in the environment for each frame
WINDOW_SECONDS = 5.0  # the same: in which a reader must make room
POLL_SECONDS = 0.05  # a stream that the library closes is told of nowhere
LEAST_PIECE = 1 << 14
RELEASED_BYTES = 1 << 16  # are told at once: a quarter of the smallest window
MOST_WINDOW = 1 << 20  # the library's own is 16 MiB, for each of the streams that one peer may open
MOST_OPEN = 256  # streams that one peer has begun, also those that were refused and not forgotten yet
LEAVE_SECONDS = 5.0
NO_ROOM = "it sends more than it was given room for"
HEADER = struct.Struct(YAMUX_HEADER_FORMAT)


class QuickMuxers(MuxerMultistream):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Finds out with the other end that it is yamux. The library's own makes its own class of it, whatever class it was given."""

    def __init__(self) -> None:
        super().__init__({PROTOCOL_ID: QuickYamux})

    async def new_conn(self, conn: Any, peer_id: Any) -> Any:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(QuickYamux(conn, peer_id, is_initiator=conn.is_initiator), conn, protocol)


class QuickYamux(Yamux):  # type: ignore[misc]  # the same
    """Data of a stream that is open, and room for more of it, are dealt with here; the library gets the headers of the rest.

    What breaks the rules of yamux ends the connection: the library passes over most of it, and keeps what it was sent.
    """

    def __init__(self, secured_conn: QuickSession, *arguments: Any, **named: Any) -> None:
        super().__init__(secured_conn, *arguments, **named)
        self.late: float = 0  # bytes that may still come for streams that were given up here
        self._pongs = self._unlooked = 0
        self.account = secured_conn.account
        self.account.limits.keeping.add(self)
        secured_conn.header_bytes, secured_conn.next_header = HEADER_SIZE, self._next_header

    def unread(self) -> int:
        """Bytes of all streams that have come and that nobody has read."""
        pieces = (len(piece) for stream in self.streams.values() for piece in getattr(stream, "pieces", ()))
        return sum(map(len, self.stream_buffers.values())) + sum(pieces)

    def drop(self) -> None:
        """Let all go that is unread, and end with the next frame."""
        self.late = -math.inf
        for stream in self.streams.values():
            self._forget(stream)

    async def leave(self, stream: YamuxStream) -> None:
        """Nobody here reads this stream any more. Where the other end does not end it soon, it is reset."""
        stream.unwanted = True
        self._forget(stream)
        with trio.move_on_after(LEAVE_SECONDS):
            while not (stream.closed or stream.recv_closed) and (event := self.stream_events.get(stream.stream_id)) is not None:
                await event.wait()
                if self.stream_events.get(stream.stream_id) is event:
                    self.stream_events[stream.stream_id] = trio.Event()
        if stream.stream_id in self.streams and not stream.closed:
            await stream.reset()
        await self._finalize_stream(stream, fully_closed=True)

    async def open_stream(self) -> Any:
        return _bounded(await super().open_stream())

    async def accept_stream(self) -> Any:
        return _bounded(await super().accept_stream())

    async def _write_frame(self, data: bytes) -> None:
        async with self._write_lock:
            await self.secured_conn.write(data)

    async def _read_data_body(self, length: int) -> bytearray:
        with trio.fail_after(BODY_SECONDS):
            data: bytearray = await self.secured_conn.take(length)
        if len(data) < length:
            raise IncompleteReadError("the line has ended", expected_bytes=length, received_bytes=len(data))
        return data

    async def _next_header(self) -> bytearray:
        """The next one that is the library's affair. Between two looks at the line all is done at once: no other task sees a half of it."""
        while True:
            header: bytearray = await self.secured_conn.take(HEADER_SIZE)
            if len(header) < HEADER_SIZE:
                return header
            version, kind, flags, number, length = HEADER.unpack(header)
            stream = self.streams.get(number)
            cost = self._look_at(version, kind, flags, number, length, stream)
            if self.account.spend(cost):
                await self.account.rest()
                stream = self.streams.get(number)  # it may have ended meanwhile
            if cost >= RARE_SECONDS:
                return header
            if stream is None:  # it was given up here, and the other end did not know
                if kind == TYPE_DATA and length:
                    self._take_late(length)
                    await self._read_data_body(length)
            elif kind == TYPE_WINDOW_UPDATE:
                stream.send_window += length
                if hasattr(stream, "room"):
                    stream.room.set()
            elif length:
                self._took(stream, await self._read_data_body(length))

    def _look_at(self, version: int, kind: int, flags: int, number: int, length: int, stream: Any) -> float:
        """Seconds that this frame costs. Raises RawConnError, which ends the connection, for one that no honest peer sends."""
        if version or kind > TYPE_GO_AWAY:
            raise RawConnError("it does not speak yamux")
        if kind in (TYPE_PING, TYPE_GO_AWAY):
            self._look_at_answer(kind, flags)
            return RARE_SECONDS
        if flags & FLAG_SYN:
            self._look_at_new(number, stream)
        if kind == TYPE_DATA and length:
            self._look_at_room(stream, flags, length)
        if stream is not None and flags & (FLAG_FIN | FLAG_RST):
            stream.says_no_more = True
        if flags & FLAG_SYN:
            return STREAM_SECONDS
        return cost_of(length) if stream is None or not (flags or stream.closed) else RARE_SECONDS

    def _look_at_answer(self, kind: int, flags: int) -> None:
        if kind == TYPE_PING and not flags & FLAG_SYN:
            self._pongs += 1
            if self._pongs > self._ping_id:
                raise RawConnError("it answers what nobody has asked")

    def _look_at_new(self, number: int, stream: Any) -> None:
        theirs = not self.is_initiator
        if stream is not None or not number or number % 2 != theirs:
            raise RawConnError("it opens a stream under a number that is not free")
        if sum(one % 2 == theirs for one in self.streams) >= MOST_OPEN:
            raise RawConnError("it opens too many streams")

    def _look_at_room(self, stream: Any, flags: int, length: int) -> None:
        """Bytes that come for a stream given up here are counted when they have been awaited, since it may be given up until then."""
        if stream is None or self.late < 0:
            room = DEFAULT_WINDOW_SIZE if flags & FLAG_SYN else self.late
        else:
            room = 0 if getattr(stream, "says_no_more", False) else stream.recv_window
        if length > room:
            raise RawConnError(NO_ROOM)
        self._unlooked += length
        if self._unlooked >= LOOK_BYTES:
            self.account.limits.look(self._unlooked)
            self._unlooked = 0
            if self.unread() > UNREAD_OF_ONE:
                raise RawConnError(NO_ROOM)

    def _take_late(self, length: int) -> None:
        self.late -= length
        if self.late < 0:
            raise RawConnError(NO_ROOM)

    def _took(self, stream: YamuxStream, data: bytearray) -> None:
        """What has come is kept as it is where nothing lies before it: a buffer that grows is copied again and again."""
        buffer = self.stream_buffers.get(stream.stream_id)
        if buffer is None or stream.closed or self.late < 0:  # it was reset meanwhile, or all was dropped
            self._take_late(len(data))
            return
        stream.recv_window -= len(data)
        self.stream_events[stream.stream_id].set()
        if hasattr(stream, "unwanted"):
            return
        if buffer or not hasattr(stream, "pieces"):
            buffer += data
        elif stream.pieces and len(stream.pieces[-1]) < LEAST_PIECE:  # a million frames of one byte are no million objects
            stream.pieces[-1] += data
        else:
            stream.pieces.append(data)

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        """What was reset is read by nobody: the library keeps it for another minute."""
        known = stream.stream_id in self.streams
        if fully_closed and stream.reset_received:
            self._forget(stream)
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)
        if known and stream.stream_id not in self.streams and not getattr(stream, "says_no_more", False):
            self.late += max(0, stream.recv_window)

    def _forget(self, stream: YamuxStream) -> None:
        """Let go of what nobody has read of it."""
        self.stream_buffers.get(stream.stream_id, bytearray()).clear()
        getattr(stream, "pieces", deque[bytearray]()).clear()


class BoundedStream(YamuxStream):  # type: ignore[misc]  # the same
    """One whose window does not grow as far as the library lets it."""

    def _apply_autotune_epoch(self, buffered: int) -> int:
        more: int = super()._apply_autotune_epoch(buffered) if self.target_recv_window < MOST_WINDOW else 0
        return more


def _bounded(stream: YamuxStream) -> YamuxStream:
    """The library makes its streams by itself, and tells them from here on by their class alone."""
    stream.__class__ = BoundedStream
    return stream


async def send(stream: YamuxStream, data: bytes) -> None:
    """As `YamuxStream.write`. One task writes at a time. Raises what the library raises."""
    sent = 0
    while sent < len(data):
        if stream.send_closed or stream.closed:
            raise MuxedStreamError("Stream is closed")
        if stream.send_window <= 0:
            await _room(stream)
            continue
        piece = data[sent : sent + min(stream.send_window, MAX_MESSAGE_SIZE - HEADER_SIZE)]
        stream.send_window -= len(piece)
        await stream.conn._write_frame(HEADER.pack(0, TYPE_DATA, 0, stream.stream_id, len(piece)) + piece)
        sent += len(piece)


async def _room(stream: YamuxStream) -> None:
    """Returns when the other end has made room. Raises MuxedStreamError where it makes none."""
    with trio.move_on_after(WINDOW_SECONDS) as limit:
        while stream.send_window <= 0 and not stream.closed:
            stream.room = trio.Event()
            with trio.move_on_after(POLL_SECONDS):
                await stream.room.wait()
    if limit.cancelled_caught:
        raise MuxedStreamError("the other end makes no room")


async def receive(stream: YamuxStream, most: int) -> bytes | bytearray:
    """As `YamuxStream.read`. From the first call on, this stream is read by nobody else. Raises what the library raises."""
    if not hasattr(stream, "pieces"):
        stream.pieces, stream.released = deque(), 0
    conn, number = stream.conn, stream.stream_id
    while not stream.pieces and not conn.stream_buffers.get(number) and not _has_ended(stream):
        event = conn.stream_events[number]
        await event.wait()
        if conn.stream_events.get(number) is event:
            conn.stream_events[number] = trio.Event()
    if not stream.pieces:
        data: bytes = await stream.read(most)
        stream.released = 0  # the library has told it with its own
        return data
    size = min(len(stream.pieces[0]), most)
    await _release(stream, size)  # before it is taken: what a cancelled reader has taken would be lost
    piece: bytearray = stream.pieces.popleft()
    if len(piece) > size:
        stream.pieces.appendleft(piece[size:])
        del piece[size:]
    return piece


def _has_ended(stream: YamuxStream) -> bool:
    return stream.recv_closed or stream.closed or stream.reset_received or stream.stream_id not in stream.conn.stream_events


async def _release(stream: YamuxStream, count: int) -> None:
    """Tell the other end that it may send so much anew: many small pieces at once, and all the same before its room is used up."""
    stream.released += count
    if stream.released < RELEASED_BYTES or stream.closed:
        await trio.lowlevel.checkpoint_if_cancelled()
        return
    count, stream.released = stream.released, 0
    stream.recv_window += count
    if len(stream.pieces) == 1 and stream.target_recv_window < MOST_WINDOW:  # the reader keeps up: there may be more on the way
        count += stream._apply_autotune_epoch(0)
    await stream.send_window_update(count)
