"""Agreeing on a protocol: neither a name without end nor names without end are read, before and after the handshake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from tests.support.libp2p_peers import NEEDS_LIBP2P, OpenPeer, Peer, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from libp2p.peer.id import ID

from learnae_libp2p.negotiation import MOST_NAMES, NAME_BYTES

HELLO = b"\x13/multistream/1.0.0\n"
SECONDS = 3.0  # the library waits for five, and for ten
EVIL = {
    "a name of a gigabyte": HELLO + b"\x80\x80\x80\x80\x04" + b"a" * 2000,
    "a name that is a little too long": HELLO + b"\x81\x08" + b"a" * NAME_BYTES,
    "a first name of a gigabyte": b"\x80\x80\x80\x80\x04" + b"a" * 2000,
    "one name after the other": HELLO + b"\x03na\n" * (MOST_NAMES + 2),
    "one question after the other": HELLO + b"\x03ls\n" * (MOST_NAMES + 2),
}


async def ends_soon(read: Callable[[], Awaitable[bytes]]) -> None:
    with trio.fail_after(SECONDS):
        while await read():
            pass


@pytest.mark.parametrize("sent", EVIL.values(), ids=EVIL)
def test_a_connection_ends_before_more_is_read_or_answered(open_peer: OpenPeer, sent: bytes) -> None:
    async def test() -> None:
        async with open_peer("a") as a:
            assert a.host.running is not None
            host, port = a.host.running.bound()[0].split("/")[2::2]
            async with await trio.open_tcp_stream(host, int(port)) as line:
                with suppress(trio.BrokenResourceError):  # it is reset where some of it was not read
                    await line.send_all(sent)
                    await ends_soon(lambda: line.receive_some(1 << 16))

    in_trio(test)


@pytest.mark.parametrize("sent", EVIL.values(), ids=EVIL)
def test_a_stream_ends_before_more_is_read_or_answered(open_peer: OpenPeer, sent: bytes) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            await a.meets(b)
            stream = await connection(a, b).open_stream()
            await stream.write(sent)
            with pytest.raises(Exception, match=r"reset|closed"):
                await ends_soon(lambda: stream.read(1 << 16))

    in_trio(test)


def test_whom_a_peer_dials_can_make_it_read_no_name_without_end(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            await a.meets(b)
            assert a.host.running is not None
            b.network.set_stream_handler(answer_without_end)
            with trio.fail_after(SECONDS), pytest.raises(Exception, match="stream"):
                await a.host.running.open_stream(b.transport.peer, "/x/1")

    in_trio(test)


async def answer_without_end(stream: Any) -> None:
    await stream.write(EVIL["a name of a gigabyte"])
    await trio.sleep_forever()


def connection(peer: Peer, other: Peer) -> Any:
    return peer.network.get_connections(ID.from_string(other.transport.peer))[0].muxed_conn
