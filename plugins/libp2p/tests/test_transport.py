"""Streams over real hosts: what `streams/` may rely on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from learnae_libp2p.streams.transport import Stream, StreamClosedError, UnreachableError
from tests.support.libp2p_peers import NEEDS_LIBP2P, OpenPeer, in_trio, stranger

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from learnae_libp2p.sockets import CountedSocket

STRANGER = stranger()


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some(1 << 16):
        await stream.send_all(data)
    await stream.aclose()
    await trio.sleep_forever()


def test_bytes_come_in_order_in_both_directions_and_end_where_the_sender_ends(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/echo/1", echo)
            await a.meets(b)
            stream = await a.transport.open_stream(b.transport.peer, "/echo/1")
            sent = bytes(range(256)) * 2000
            heard = bytearray()

            async def send() -> None:
                await stream.send_all(memoryview(sent))
                await stream.aclose()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while data := await stream.receive_some(10_000):
                    assert len(data) <= 10_000
                    heard += data
            assert heard == sent
            (connection,) = a.transport.connections()
            with_what_encryption_adds = range(len(sent), int(1.1 * len(sent)))
            assert connection.bytes_out in with_what_encryption_adds and connection.bytes_in in with_what_encryption_adds
            assert not connection.inbound and b.transport.connections()[0].inbound
            assert connection.interface == "lo"

    in_trio(test)


def test_what_the_other_end_resets_is_closed(open_peer: OpenPeer) -> None:
    async def ends(stream: Stream) -> None:
        await stream.receive_some(1)

    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/ends/1", ends)
            await a.meets(b)
            stream = await a.transport.open_stream(b.transport.peer, "/ends/1")
            await stream.send_all(b"x")
            with pytest.raises(StreamClosedError):
                await stream.receive_some(1)
            with pytest.raises(StreamClosedError):
                await stream.send_all(b"x")
            await stream.reset()
            await stream.aclose()

    in_trio(test)


def test_nobody_is_reached_where_somebody_else_answers_or_nobody(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            there = b.transport.local_addresses()[0].partition("/p2p/")[0]
            for addresses in (
                (there,),
                ("/ip4/127.0.0.1/tcp/1",),
                (),
                ("garbage", "/ip4/1.2.3.4/udp/1"),
                (b.transport.local_addresses()[0],),
            ):
                with pytest.raises(UnreachableError):
                    await a.transport.connect(STRANGER, addresses)
            with pytest.raises(UnreachableError):
                await a.transport.open_stream(b.transport.peer, "/echo/1")
            await a.meets(b)
            with pytest.raises(UnreachableError):
                await a.transport.open_stream(b.transport.peer, "/nobody serves this/1")

    in_trio(test)


def test_an_opening_that_a_full_buffer_holds_up_can_be_cancelled_and_ends_with_its_connection(
    open_peer: OpenPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library resets what it has begun to open, and cannot be cancelled meanwhile."""

    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/echo/1", echo)
            await a.meets(b)
            asking, full = trio.Event(), trio.Event()

            async def asked(stream: Any, data: bytes) -> None:
                """The first bytes go, and then none: as if nobody read at the other end."""
                if full.is_set():
                    await trio.sleep_forever()
                await write(stream, data)
                asking.set()
                full.set()

            write = CountedSocket.write
            monkeypatch.setattr(CountedSocket, "write", asked)
            with trio.move_on_after(0.5) as limit:
                await a.transport.open_stream(b.transport.peer, "/echo/1")
            assert asking.is_set() and limit.cancelled_caught
            await a.transport.disconnect(b.transport.peer)
            monkeypatch.setattr(CountedSocket, "write", write)
            await a.until(lambda: not a.transport.connections())

    in_trio(test, seconds=20.0)


def test_of_several_addresses_one_that_answers_is_enough(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            dead = [f"/ip4/127.0.0.1/tcp/{port}" for port in (1, 2)]
            await a.transport.connect(b.transport.peer, [*dead, *b.transport.local_addresses()])
            await b.until(lambda: bool(b.transport.connections()))
            assert [one.peer for one in b.transport.connections()] == [a.transport.peer]

    in_trio(test)


def test_who_dialled_in_vain_is_reached_as_soon_as_it_is_there(open_peer: OpenPeer) -> None:
    """The library refuses a peer for a minute after it has failed once."""

    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            with pytest.raises(UnreachableError):
                await a.transport.connect(b.transport.peer, ["/ip4/127.0.0.1/tcp/1"])
            await a.meets(b)

    in_trio(test)


def test_two_that_dial_each_other_at_once_are_connected(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/echo/1", echo)
            a.transport.serve("/echo/1", echo)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(a.meets, b)
                    nursery.start_soon(b.meets, a)
            for one, other in ((a, b), (b, a)):
                assert len(one.transport.connections()) == 1
                stream = await one.transport.open_stream(other.transport.peer, "/echo/1")
                await stream.send_all(b"x")
                assert await stream.receive_some(1) == b"x"

    in_trio(test)


def test_a_connection_that_is_closed_is_seen_by_both(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            await a.meets(b)
            await b.until(lambda: bool(b.transport.connections()))
            await a.transport.disconnect(b.transport.peer)
            await a.until(lambda: not a.transport.connections())
            await b.until(lambda: not b.transport.connections())

    in_trio(test)


@pytest.mark.parametrize("first", [True, False])
def test_a_meeting_that_the_kernel_hands_to_the_listener_becomes_a_connection_that_lasts(open_peer: OpenPeer, first: bool) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            assert b.host.running is not None
            b.host.running.tcp.listens = ()  # it dials nobody: all comes by its listener
            b.transport.serve("/echo/1", echo)
            (there,) = b.transport.local_addresses()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(b.transport.punch, a.transport.peer, ["/ip4/127.0.0.1/tcp/9"], first=first, seconds=20.0))
                await trio.testing.wait_all_tasks_blocked(0.05)
                await a.transport.punch(b.transport.peer, [there], first=not first, seconds=20.0)
            stream = await a.transport.open_stream(b.transport.peer, "/echo/1")
            await stream.send_all(b"still here?")
            assert await stream.receive_some(100) == b"still here?"

    in_trio(test)
