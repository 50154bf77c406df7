"""Our noise and yamux against the library's own: the same arrives, the same goes wrong, and nobody makes us keep more than granted."""

from __future__ import annotations

import random
import struct
from itertools import product
from typing import Any

import attrs
import pytest
import trio

from tests.support.libp2p_peers import NEEDS_LIBP2P

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from libp2p.io.exceptions import IncompleteReadError
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE, TYPE_DATA, YAMUX_HEADER_FORMAT
from noise.exceptions import NoiseInvalidMessage

from learnae_libp2p import yamux_frames
from learnae_libp2p.noise_sessions import QuickSession
from learnae_libp2p.sockets import CarriedSocket, CountedSocket
from learnae_libp2p.streams.transport import Circuit
from plugins.libp2p.tests.support.two_ends import connections, sessions, stream_between

pytestmark = pytest.mark.virtual_time

ENDS = [ends for ends in product((True, False), repeat=2) if any(ends)]
LENGTHS = (1, 2, 11, 12, 13, 1000, 65_506, 65_507, 65_519, 65_520, 70_000, 300_000)


def made(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


async def send(stream: Any, data: bytes, *, ours: bool) -> None:
    await (yamux_frames.send(stream, data) if ours else stream.write(data))


async def receive(stream: Any, most: int, *, ours: bool) -> bytes:
    return bytes(await (yamux_frames.receive(stream, most) if ours else stream.read(most)))


async def receive_all(stream: Any, most: int, *, ours: bool) -> bytes:
    """Until the other end sends no more."""
    came = bytearray()
    while True:
        try:
            data = await receive(stream, most, ours=ours)
        except MuxedStreamEOF:
            return bytes(came)
        assert len(data) <= most
        came += data


@pytest.mark.parametrize("ours", ENDS)
@pytest.mark.parametrize("longest", [1, 7, 70_000, 1 << 20])
async def test_a_session_carries_the_same_bytes_however_they_come(ours: tuple[bool, bool], longest: int) -> None:
    one, other, *_ = await sessions(ours=ours, longest=longest)
    data = made(5_000 if longest < 100 else 400_000)
    chance = random.Random(longest)
    for writer, reader in ((one, other), (other, one)):
        came = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write, data)
            while len(came) < len(data):
                wanted = chance.choice([None, 1, 2, 13, 1_000, 66_000])
                came += await reader.read(wanted if wanted is None else min(wanted, len(data) - len(came)))
        assert bytes(came) == data


async def test_a_session_refuses_a_message_that_was_changed_on_its_way() -> None:
    _, other, line, _ = await sessions()
    await line.write(struct.pack(">H", 40) + bytes(40))
    with pytest.raises(NoiseInvalidMessage):
        await other.read(1)


async def test_a_session_gives_what_has_come_before_the_line_has_ended_and_then_says_so() -> None:
    one, other, line, _ = await sessions()
    await one.write(b"half")
    await line.close()
    assert await other.read(10) == b"half"
    with pytest.raises(IncompleteReadError) as caught:
        await other.read(1)
    assert caught.value.is_clean_close


async def test_a_session_that_ends_within_a_message_has_not_ended_cleanly() -> None:
    _, other, line, _ = await sessions()
    await line.write(struct.pack(">H", 40) + bytes(7))
    await line.close()
    with pytest.raises(IncompleteReadError) as caught:
        await other.read(1)
    assert not caught.value.is_clean_close


@pytest.mark.parametrize("ours", ENDS)
async def test_streams_carry_the_same_bytes_in_both_directions_and_end(ours: tuple[bool, bool]) -> None:
    async with connections(ours=ours) as (one, other):
        ends = await stream_between(one, other)
        data = [made(sum(LENGTHS), seed) for seed in (1, 2)]

        async def say(at: int) -> None:
            place = 0
            for length in LENGTHS:
                await send(ends[at], data[at][place : place + length], ours=ours[at])
                place += length
            await ends[at].close()

        async def hear(at: int, most: int) -> None:
            assert await receive_all(ends[at], most, ours=ours[at]) == data[1 - at]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, 0)
            nursery.start_soon(say, 1)
            nursery.start_soon(hear, 0, 1 << 18)
            nursery.start_soon(hear, 1, 999)


@pytest.mark.parametrize("ours", ENDS)
async def test_many_streams_at_once_do_not_mix(ours: tuple[bool, bool]) -> None:
    async with connections(ours=ours) as (one, other), trio.open_nursery() as nursery:

        async def carry(seed: int) -> None:
            near, far = await stream_between(one, other)
            data = made(100_000 + seed, near.stream_id)
            nursery.start_soon(answer, far)
            await send(near, data, ours=ours[0])
            await near.close()
            assert await receive_all(near, 1 << 18, ours=ours[0]) == data

        async def answer(far: Any) -> None:
            await send(far, await receive_all(far, 1 << 18, ours=ours[1]), ours=ours[1])
            await far.close()

        for seed in range(8):
            await carry(seed) if seed % 2 else nursery.start_soon(carry, seed)


@pytest.mark.parametrize("ours", ENDS)
async def test_a_reset_is_one_at_the_other_end(ours: tuple[bool, bool]) -> None:
    async with connections(ours=ours) as (one, other):
        near, far = await stream_between(one, other)
        await near.reset()
        with pytest.raises((MuxedStreamReset, MuxedStreamEOF)):
            await receive(far, 10, ours=ours[1])
        assert far.reset_received, "which is what tells it from an end"
        with pytest.raises(MuxedStreamError):
            await send(near, b"x", ours=ours[0])


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    async with connections() as (one, other):
        near, far = await stream_between(one, other)
        came = bytearray()
        data = made(700_000)

        async def hear() -> None:
            while len(came) < len(data):
                with trio.move_on_after(0.001) as limit:
                    came.extend(await yamux_frames.receive(far, 50_000))
                if limit.cancelled_caught:
                    await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for place in range(0, len(data), 3_000):
                await yamux_frames.send(near, data[place : place + 3_000])
                await trio.sleep(0.0005)
        assert bytes(came) == data


async def test_who_does_not_read_is_sent_no_more_than_its_window_and_the_writer_is_told() -> None:
    async with connections() as (one, other):
        near, far = await stream_between(one, other)
        with pytest.raises(MuxedStreamError, match="room"):
            await yamux_frames.send(near, made(3 * DEFAULT_WINDOW_SIZE))
        assert kept(other, far) == DEFAULT_WINDOW_SIZE


async def test_a_window_grows_for_who_reads_and_not_beyond_its_bound() -> None:
    async with connections() as (one, other):
        near, far = await stream_between(one, other)
        most = 0

        async def hear() -> None:
            nonlocal most
            for _ in range(2000):
                await yamux_frames.receive(far, 1 << 18)
                most = max(most, far.recv_window)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for _ in range(2000):
                await yamux_frames.send(near, bytes(60_000))
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert DEFAULT_WINDOW_SIZE < most <= yamux_frames.MOST_WINDOW


@pytest.mark.parametrize("read", [True, False])
async def test_who_sends_more_than_it_was_granted_loses_its_connection(read: bool) -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, far = await stream_between(one, other)
        if read:
            await near.write(b"x")
            assert await yamux_frames.receive(far, 1) == b"x"
        most = 0
        while not other.is_closed:
            await one.secured_conn.write(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, near.stream_id, 60_000) + bytes(60_000))
            await trio.testing.wait_all_tasks_blocked()
            most = max(most, kept(other, far))
            assert most <= DEFAULT_WINDOW_SIZE


async def test_a_million_frames_of_one_byte_are_few_objects() -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, far = await stream_between(one, other)
        await near.write(b"x")
        assert await yamux_frames.receive(far, 1) == b"x"
        frame = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, near.stream_id, 1) + b"y"
        for _ in range(20):
            await one.secured_conn.write(frame * 5_000)
        await trio.sleep(60.0)  # they are taken at a pace
        assert kept(other, far) == 100_000
        assert len(far.pieces) < 10


def kept(conn: Any, stream: Any) -> int:
    """Bytes that wait for the reader of a stream."""
    return sum(map(len, getattr(stream, "pieces", ()))) + len(conn.stream_buffers.get(stream.stream_id, b""))


@attrs.define(eq=False)
class SlowSocket:
    """Takes what is written a few bytes at a time, as a full socket does: as a socket of trio, and as the stream of a circuit."""

    wire: Any
    closed: bool = False

    @property
    def socket(self) -> SlowSocket:
        return self

    async def send(self, data: memoryview) -> int:
        await trio.sleep(0.1)
        await self.wire.write(bytes(data[:100]))
        return len(data[:100])

    async def send_all(self, data: bytes) -> None:
        for place in range(0, len(data), 100):
            await self.send(memoryview(data)[place:])

    async def reset(self) -> None:
        self.closed = True


def slow_line(kind: str, wire: Any) -> tuple[Any, SlowSocket]:
    """A line of this kind, and what lies below it."""
    below: Any = SlowSocket(wire)
    if kind == "socket":
        return CountedSocket(below), below
    return CarriedSocket(Circuit(peer="other", relay="relay", stream=below, bytes_per_minute=1)), below


async def slow_sessions(kind: str) -> tuple[Any, Any, SlowSocket]:
    """Both ends, the first over a line that is slow."""
    one, other, wire, _ = await sessions()
    one.conn.read_writer.read_write_closer, below = slow_line(kind, wire)
    return QuickSession(one, one.account), other, below


@pytest.mark.parametrize("length", [1000, 66_000])
@pytest.mark.parametrize("after", [0.0, 0.25])
@pytest.mark.parametrize("kind", ["socket", "circuit"])
async def test_whoever_is_cancelled_while_he_writes_breaks_the_session_for_nobody_else(kind: str, after: float, length: int) -> None:
    one, other, below = await slow_sessions(kind)
    with trio.move_on_after(after):
        await one.write(b"a" * length)
    if below.closed:
        assert (kind, length) == ("circuit", 66_000)
        return
    came = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.write, b"b" * 1000)
        while not came.endswith(b"b" * 1000):
            came += await other.read()
    assert came == b"a" * length + b"b" * 1000


async def test_many_who_are_cancelled_one_after_the_other_leave_no_more_than_one_message() -> None:
    one, other, _ = await slow_sessions("socket")
    for letter in b"abcdefgh":
        with trio.move_on_after(0.15):
            await one.write(bytes([letter]) * 1000)
    came = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.write, b"z" * 1000)
        while not came.endswith(b"z" * 1000):
            came += await other.read()
    assert len(came) <= 3000
