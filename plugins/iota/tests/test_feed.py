"""The feed of a node, and what only answers there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from learnae_iota import feed
from learnae_iota.feed import MOST_BYTES, MOST_PARTS, Feed

LIMIT = 60.0
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"
TRYTES = b"A" * 2673
Say = Callable[[trio.SocketStream], Awaitable[None]]


def frame(flags: int, content: bytes) -> bytes:
    return bytes([flags | 2]) + len(content).to_bytes(8, "big") + content


@asynccontextmanager
async def heard_of(say: Say) -> AsyncIterator[list[tuple[str, str]]]:
    """What a peer takes in of a feed where each who comes is told this."""
    heard: list[tuple[str, str]] = []

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # it has hung up
            await say(stream)

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            address = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
            nursery.start_soon(Feed(address).run, lambda hash_, trytes: heard.append((hash_, trytes)))
            yield heard
            nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # it tells nobody
        await trio.sleep(0.01)


async def test_a_feed_of_zmq_is_heard_and_nothing_else_of_it() -> None:
    zmq = pytest.importorskip("zmq")
    heard: list[tuple[str, str]] = []
    with zmq.Context() as context, context.socket(zmq.PUB) as node, trio.fail_after(LIMIT):
        port = node.bind_to_random_port("tcp://127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Feed(f"tcp://127.0.0.1:{port}").run, lambda hash_, trytes: heard.append((hash_, trytes)))
            while not heard:
                node.send(b"lmi 1 2")
                node.send(b"trytes %b HASH" % TRYTES)
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert set(heard) == {("HASH", TRYTES.decode())}


async def test_whoever_hangs_up_is_asked_again() -> None:
    async def say(stream: trio.SocketStream) -> None:
        asked = bytearray()
        await stream.send_all(GREETING + READY)
        while not asked.endswith(b"\x01trytes "):
            asked += await stream.receive_some()
        await stream.send_all(frame(0, b"trytes %b HASH" % TRYTES))

    async with heard_of(say) as heard:
        await until(lambda: len(heard) > 1)


ENDLESS = {
    "parts": frame(1, b"x" * 1000),
    "empty parts": frame(1, b""),
    "a part": b"\x03" + (1 << 62).to_bytes(8, "big") + b"x" * MOST_BYTES,
    "another version": b"\x40\x01",
}


@pytest.mark.parametrize("said", ENDLESS.values(), ids=ENDLESS)
async def test_of_what_does_not_end_no_more_is_kept_than_a_message_has(said: bytes) -> None:
    """One message of endless parts took three gigabytes, and would have taken all."""
    ended: list[int] = []

    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(GREETING + READY)
        try:
            while True:
                await stream.send_all(said * MOST_PARTS)
        finally:
            ended.append(1)

    async with heard_of(say) as heard:
        await until(lambda: len(ended) > 1)
    assert heard == []


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n" * 10, GREETING, GREETING.replace(b"NULL", b"CURV")], ids=range(4))
async def test_who_does_not_greet_as_a_feed_is_left_after_a_while(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MEET_SECONDS", 0.2)
    came: list[int] = []

    async def say(stream: trio.SocketStream) -> None:
        came.append(1)
        await stream.send_all(said)
        while await stream.receive_some():
            pass

    async with heard_of(say) as heard:
        await until(lambda: len(came) > 1)
    assert heard == []
