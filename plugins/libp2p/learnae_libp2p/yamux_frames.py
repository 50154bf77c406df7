"""Yamux as the library speaks it, with fewer steps for the two frames that bulk consists of, and with a bound that the library leaves out.

For each frame of data the library takes some ten locks, each of which lets other tasks run first, and it keeps what comes without looking
at the window that it has granted. All other frames, and all that is rare, are still its own affair.
"""

from __future__ import annotations

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
    HEADER_SIZE,
    MAX_MESSAGE_SIZE,
    PROTOCOL_ID,
    TYPE_DATA,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from learnae_libp2p.noise_sessions import QuickSession

BODY_SECONDS = 60.0  # the library's own, which it looks up in the environment for each frame
WINDOW_SECONDS = 5.0  # the same: in which a reader must make room
POLL_SECONDS = 0.05  # a stream that the library closes is told of nowhere
LEAST_PIECE = 1 << 14
RELEASED_BYTES = 1 << 16  # are told at once: a quarter of the smallest window
MOST_WINDOW = 1 << 21  # the library's own is 16 MiB, for each of the streams that one peer may open
HEADER = struct.Struct(YAMUX_HEADER_FORMAT)


class QuickMuxers(MuxerMultistream):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Finds out with the other end that it is yamux. The library's own makes its own class of it, whatever class it was given."""

    def __init__(self) -> None:
        super().__init__({PROTOCOL_ID: QuickYamux})

    async def new_conn(self, conn: Any, peer_id: Any) -> Any:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(QuickYamux(conn, peer_id, is_initiator=conn.is_initiator), conn, protocol)


class QuickYamux(Yamux):  # type: ignore[misc]  # the same
    """Data of a stream that is open, and room for more of it, are dealt with here; the library gets the headers of the rest."""

    def __init__(self, secured_conn: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(secured_conn, *arguments, **named)
        if isinstance(secured_conn, QuickSession):
            secured_conn.header_bytes, secured_conn.next_header = HEADER_SIZE, self._next_header

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
            _, kind, flags, number, length = HEADER.unpack(header)
            stream = self.streams.get(number)
            if kind == TYPE_DATA:
                _look_at_room(stream, length)
            if flags or stream is None or stream.closed or kind not in (TYPE_DATA, TYPE_WINDOW_UPDATE):
                return header
            if kind == TYPE_WINDOW_UPDATE:
                stream.send_window += length
                if hasattr(stream, "room"):
                    stream.room.set()
            elif length:
                self._took(stream, await self._read_data_body(length))

    def _took(self, stream: YamuxStream, data: bytearray) -> None:
        """What has come is kept as it is where nothing lies before it: a buffer that grows is copied again and again."""
        buffer = self.stream_buffers.get(stream.stream_id)
        if buffer is None:  # it was reset meanwhile
            return
        if buffer or not hasattr(stream, "pieces"):
            buffer += data
        elif stream.pieces and len(stream.pieces[-1]) < LEAST_PIECE:  # a million frames of one byte are no million objects
            stream.pieces[-1] += data
        else:
            stream.pieces.append(data)
        stream.recv_window -= len(data)
        self.stream_events[stream.stream_id].set()


def _look_at_room(stream: YamuxStream | None, length: int) -> None:
    """Raises RawConnError, which ends the connection, for more data than the other end was given room for; a little is forgiven."""
    room = DEFAULT_WINDOW_SIZE if stream is None else max(0, stream.recv_window)
    if length > room:
        overdrawn = length - room + getattr(stream, "overdrawn", 0)
        if stream is None or overdrawn > DEFAULT_WINDOW_SIZE:
            raise RawConnError("it sends more than it was given room for")
        stream.overdrawn = overdrawn


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
