"""What the frames of a stranger may make a host do and keep: of the loop's time, of memory, and what ends his connection at once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import trio

from tests.support.libp2p_peers import NEEDS_LIBP2P

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    FLAG_ACK,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    TYPE_DATA,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
)

from learnae_libp2p import frame_limits, yamux_frames
from learnae_libp2p.frame_limits import FrameAccount, FrameLimits
from learnae_libp2p.noise_sessions import QuickSession
from plugins.libp2p.tests.support.two_ends import connections, stream_between

pytestmark = pytest.mark.virtual_time

FREE = 101  # a number of a stream that whoever has dialled may open
PIECE = 60_000


def frame(kind: int, flags: int = 0, number: int = 0, length: int = 0, body: bytes = b"", version: int = 0) -> bytes:
    return struct.pack(YAMUX_HEADER_FORMAT, version, kind, flags, number, length or len(body)) + body


def data(number: int, count: int, flags: int = 0) -> bytes:
    return frame(TYPE_DATA, flags, number, body=bytes(count))


async def settled(conn: Any, seconds: float = 1.0) -> None:
    """All that has come was dealt with, or the connection has ended."""
    with trio.move_on_after(seconds):
        await conn.event_closed.wait()


BROKEN = {
    "an unknown type": frame(9, FLAG_ACK, 0, 7),
    "an unknown version": frame(TYPE_PING, FLAG_SYN, 0, 7, version=1),
    "answers to pings that nobody sent": frame(TYPE_PING, FLAG_ACK) * 2,
    "a ping without a question or an answer": frame(TYPE_PING) * 2,
    "a stream under a number of ours": frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 2),
    "a stream without a number": frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 0),
    "a stream that is open already": frame(TYPE_WINDOW_UPDATE, FLAG_SYN, FREE) * 2,
    "a stream that brings more than its window": data(FREE, DEFAULT_WINDOW_SIZE + 1, FLAG_SYN),
    "data behind the end": data(FREE, 10, FLAG_SYN) + frame(TYPE_DATA, FLAG_FIN, FREE) + data(FREE, 1),
    "data for a stream that there never was": data(FREE, 1),
    "more streams than anybody needs": b"".join(
        frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 2 * number + 1) for number in range(10, 12 + yamux_frames.MOST_OPEN)
    ),
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_frames_that_no_honest_peer_sends_end_the_connection(sent: bytes) -> None:
    async with connections(ours=(False, True)) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(accept_all, other)
        with suppress(Exception):  # it may end before all was sent
            await one.secured_conn.write(sent)
        await settled(other, 60.0)
        assert other.is_closed
        nursery.cancel_scope.cancel()


async def accept_all(conn: Any) -> None:
    with suppress(Exception):
        while True:
            await conn.accept_stream()


async def test_data_beyond_the_window_is_not_kept_whoever_reads_the_stream() -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, _ = await stream_between(one, other)
        with suppress(Exception):
            for _ in range(100):
                await one.secured_conn.write(data(near.stream_id, PIECE))
                assert other.unread() <= DEFAULT_WINDOW_SIZE
        await settled(other)
        assert other.is_closed
        assert other.unread() == 0


async def test_what_comes_late_for_a_stream_that_was_reset_is_dropped_and_no_more_than_its_window() -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, far = await stream_between(one, other)
        await one.secured_conn.write(data(near.stream_id, PIECE))
        await settled(other)
        await far.reset()
        assert other.unread() == 0, "nobody reads it any more"
        left = DEFAULT_WINDOW_SIZE - PIECE
        for _ in range(left // PIECE):
            await one.secured_conn.write(data(near.stream_id, PIECE))
        await settled(other)
        assert not other.is_closed
        assert other.unread() == 0
        await one.secured_conn.write(data(near.stream_id, PIECE))
        await settled(other)
        assert other.is_closed


@pytest.mark.parametrize("ends", [True, False])
async def test_a_stream_whose_reader_has_gone_keeps_nothing_and_ends(ends: bool) -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, far = await stream_between(one, other)
        await far.close()
        await one.secured_conn.write(data(near.stream_id, PIECE))
        await settled(other)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.leave, far)
            await trio.testing.wait_all_tasks_blocked()
            await one.secured_conn.write(data(near.stream_id, PIECE))
            if ends:
                await near.close()
        assert other.unread() == 0
        assert not other.streams
        await settled(one)
        assert near.reset_received is not ends


async def test_the_window_of_a_stream_that_the_library_reads_is_bounded_too() -> None:
    async with connections(ours=(False, True)) as (one, other):
        near, far = await stream_between(one, other)
        most = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.write, bytes(8 << 20))
            came = 0
            while came < 4 << 20:
                came += len(await far.read(1 << 18))
                most = max(most, far.recv_window)
                if other.unread() == 0:
                    await trio.sleep(0.0001)
            nursery.cancel_scope.cancel()
        assert DEFAULT_WINDOW_SIZE < most <= yamux_frames.MOST_WINDOW + (1 << 18)


async def test_one_connection_keeps_a_bounded_number_of_bytes_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamux_frames, "UNREAD_OF_ONE", 1 << 20)
    async with connections(ours=(False, True)) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(accept_all, other)
        with suppress(Exception):
            for number in range(50):
                await one.secured_conn.write(data(FREE + 2 * number, DEFAULT_WINDOW_SIZE, FLAG_SYN))
                assert other.unread() <= (1 << 20) + 2 * DEFAULT_WINDOW_SIZE
        await settled(other)
        assert other.is_closed
        nursery.cancel_scope.cancel()


async def test_of_all_connections_together_the_one_that_keeps_most_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_limits, "UNREAD", 2 << 20)
    monkeypatch.setattr(frame_limits, "LOOK_AT_ALL_BYTES", 1 << 18)
    limits = FrameLimits()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(connections(ours=(False, True), limits=limits)) for _ in range(6)]
        for _, other in pairs:
            nursery.start_soon(accept_all, other)
        for many, (one, _) in enumerate(pairs):
            for number in range(many + 1):
                with suppress(Exception):
                    await one.secured_conn.write(data(FREE + 2 * number, DEFAULT_WINDOW_SIZE, FLAG_SYN))
                    await trio.testing.wait_all_tasks_blocked()
                assert sum(other.unread() for _, other in pairs) <= (2 << 20) + 3 * DEFAULT_WINDOW_SIZE
        assert limits.dropped
        assert not pairs[0][1].is_closed, "it kept least"
        nursery.cancel_scope.cancel()


SMALL = {
    "room that nobody wants": frame(TYPE_WINDOW_UPDATE, 0, 77, 0),
    "nothing": frame(TYPE_DATA, 0, 77, 0),
    "ends of streams that there are not": frame(TYPE_WINDOW_UPDATE, FLAG_RST, 77),
    "questions": frame(TYPE_PING, FLAG_SYN),
}


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
async def test_many_small_frames_take_no_more_than_their_share_of_the_loop(small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, seconds, spent = FrameLimits(), 10.0, 0.0
    count = 6
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(connections(ours=(False, True), limits=limits)) for _ in range(count)]

        def on_spent(cost: float) -> None:
            nonlocal spent
            spent += cost

        count_spent(monkeypatch, on_spent)
        for one, _ in pairs:
            for _ in range(20):
                await one.secured_conn.write(small * 5_000)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    assert spent > 0.1 * seconds * frame_limits.LOOP_SHARE, "they are dealt with"
    assert spent <= seconds * frame_limits.LOOP_SHARE + count * 2 * frame_limits.BURST_SECONDS


def count_spent(monkeypatch: pytest.MonkeyPatch, told: Callable[[float], None]) -> None:
    """Call this with the cost of each step. The other ends are the library's own, and have no account."""
    spend = FrameAccount.spend

    def counted(account: FrameAccount, cost: float) -> bool:
        told(cost)
        return spend(account, cost)

    monkeypatch.setattr(FrameAccount, "spend", counted)


async def test_others_have_their_turn_between_small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connections(ours=(False, True)) as (one, _), trio.open_nursery() as nursery:
        in_a_row, most = 0, 0

        def on_spent(_: float) -> None:
            nonlocal in_a_row, most
            in_a_row += 1
            most = max(most, in_a_row)

        async def others() -> None:
            nonlocal in_a_row
            while True:
                in_a_row = 0
                await trio.lowlevel.checkpoint()

        count_spent(monkeypatch, on_spent)
        nursery.start_soon(others)
        await one.secured_conn.write(frame(TYPE_WINDOW_UPDATE, 0, 77) * 5_000)
        for _ in range(1_000):
            await trio.lowlevel.checkpoint()
        assert 0 < most <= 2 * frame_limits.STEPS_IN_A_ROW
        nursery.cancel_scope.cancel()


async def test_messages_of_one_byte_are_paced_like_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connections(ours=(False, True)) as (one, _):
        spent = 0.0

        def on_spent(cost: float) -> None:
            nonlocal spent
            spent += cost

        count_spent(monkeypatch, on_spent)
        seconds = 0.4
        for _ in range(4_000):
            for byte in frame(TYPE_WINDOW_UPDATE, 0, 77):
                await one.secured_conn.write(bytes([byte]))
        await trio.sleep(seconds)
        assert spent > 0.1 * seconds * frame_limits.LOOP_SHARE, "they are dealt with"
        assert spent <= seconds * frame_limits.LOOP_SHARE + 2 * frame_limits.BURST_SECONDS


async def test_who_floods_leaves_others_their_share() -> None:
    limits = FrameLimits()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(connections(ours=(False, True), limits=limits)) for _ in range(4)]
        (honest, at), *floods = pairs

        for one, _ in floods:
            for _ in range(50):
                await one.secured_conn.write(frame(TYPE_WINDOW_UPDATE, 0, 77) * 5_000)
        await trio.sleep(2.0)
        near, far = await stream_between(honest, at)
        began = trio.current_time()
        for _ in range(100):
            await near.write(b"a few bytes")
            assert await yamux_frames.receive(far, 100)
        assert trio.current_time() - began < 0.5
        nursery.cancel_scope.cancel()


async def test_an_empty_message_of_noise_ends_the_connection() -> None:
    async with connections(ours=(False, True)) as (one, other):
        assert isinstance(other.secured_conn, QuickSession)
        await one.secured_conn.write(b"")
        if not other.is_closed:
            raw = one.secured_conn.conn
            await raw.read_writer.write_msg(raw.encrypt(b"")) if hasattr(raw, "encrypt") else None
        await settled(other)
        assert other.is_closed
