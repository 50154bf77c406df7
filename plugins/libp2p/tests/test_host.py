"""The host stands whatever others send, and where it falls it is built anew."""

from __future__ import annotations

import logging
import random
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import structlog
import trio
from structlog.testing import capture_logs

from learnae import ConfigError, UnavailableError
from learnae.testing.context import make_context, peer_named
from learnae_libp2p.guards import STREAMS_PER_PEER
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.keys import peer_id
from learnae_libp2p.options import HostOptions
from learnae_libp2p.streams.transport import Stream, StreamClosedError, UnreachableError
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, OpenPeer, Peer, in_trio

if TYPE_CHECKING:
    from learnae_libp2p.running import RunningHost

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

ECHO = "/echo/1"
RNG = random.Random(15)
GARBAGE = {
    "six bytes": b"\x05abcde",
    "an endless length": b"\xff" * 64,
    "a length and nothing": b"\x80\x80\x40",
    "noise": RNG.randbytes(100_000),
    "many small ones": b"\x01\x08" * 2000,
    "nothing": b"",
    "a long line": b"a" * 70_000,
}


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some(1 << 16):
        await stream.send_all(data)


async def answers(peer: Peer, other: Peer) -> bool:
    """Whether the other one still serves, over a stream that is opened now. Where the last connection is ending, over a new one."""
    for _ in range(20):
        with suppress(UnreachableError, StreamClosedError):
            await peer.meets(other)
            stream = await peer.transport.open_stream(other.transport.peer, ECHO)
            await stream.send_all(b"are you there?")
            heard = await stream.receive_some(100)
            await stream.reset()
            return heard == b"are you there?"
        await trio.sleep(0.1)
    return False


def test_a_peer_is_known_by_the_key_that_it_has_in_the_swarm(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve(ECHO, echo)
            assert await answers(a, b)
            assert a.transport.peer == str(peer_id(peer_named("a")))
            assert [one.peer for one in b.transport.connections()] == [a.transport.peer]

    in_trio(test)


def test_what_the_library_says_by_itself_does_nothing_to_a_terminal(open_peer: OpenPeer, capfd: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with open_peer("a"):
            for name in ("libp2p", "libp2p.pubsub", "multiaddr.codecs", "zeroconf"):
                logging.getLogger(name).error("said \x1b[2J by a stranger")

    in_trio(test)
    assert "by a stranger" not in capfd.readouterr().err


async def opened(peer: Peer, other: Peer, protocol: str) -> Stream:
    """A stream, over a new connection where the last one is ending."""
    while True:
        try:
            await peer.meets(other)
            return await peer.transport.open_stream(other.transport.peer, protocol)
        except UnreachableError:
            await trio.sleep(0.05)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_on_any_protocol_ends_no_more_than_its_connection(open_peer: OpenPeer, garbage: bytes) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve(ECHO, echo)
            protocols = [str(protocol) for protocol in b.library.multiselect.handlers]
            assert ECHO in protocols and len(protocols) >= 3, protocols
            for protocol in protocols:
                stream = await opened(a, b, protocol)
                with suppress(StreamClosedError), trio.move_on_after(0.5):
                    await stream.send_all(garbage)
                    await stream.aclose()
                    while await stream.receive_some(1 << 16):
                        pass
                await stream.reset()
            await opened(a, b, ECHO)
            with suppress(Exception):  # before the two agree on a protocol; it may be reset at any moment
                raw = await a.network.get_connections()[0].muxed_conn.open_stream()
                await raw.write(garbage or b"x")
                await raw.reset()
            assert await answers(a, b)
            assert b.host.times_built == 1

    in_trio(test)


def test_garbage_instead_of_a_handshake_or_of_frames_ends_nothing_but_its_connection(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve(ECHO, echo)
            port = b.network.listeners and next(iter(b.network.listeners.values())).listeners[0].socket.getsockname()[1]
            for garbage in GARBAGE.values():
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                with suppress(trio.BrokenResourceError):  # it was refused while it was sent
                    await stream.send_all(garbage)
                await stream.aclose()
            await a.meets(b)
            await a.network.get_connections()[0].muxed_conn.secured_conn.write(GARBAGE["noise"][:1000])  # instead of frames of yamux
            await a.transport.disconnect(b.transport.peer)
            assert await answers(a, b)
            assert b.host.times_built == 1

    in_trio(test)


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), ExceptionGroup("no", [OSError("no")]), trio.BrokenResourceError()])
def test_a_handler_that_raises_ends_nothing_but_its_stream(open_peer: OpenPeer, error: Exception) -> None:
    async def fails(stream: Stream) -> None:
        await stream.receive_some(1)
        raise error

    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/fails/1", fails)
            b.transport.serve(ECHO, echo)
            await a.meets(b)
            stream = await a.transport.open_stream(b.transport.peer, "/fails/1")
            await stream.send_all(b"x")
            with pytest.raises(StreamClosedError):
                await stream.receive_some(1)
            assert await answers(a, b)
            assert b.host.times_built == 1

    in_trio(test)


def test_nothing_is_offered_that_does_not_encrypt(open_peer: OpenPeer) -> None:
    async def offered(port: int, protocol: bytes) -> bytes:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        for line in (b"/multistream/1.0.0\n", protocol + b"\n"):
            await stream.send_all(bytes([len(line)]) + line)
        answer = b""
        while answer.count(b"\n") < 2 and (more := await stream.receive_some(1000)):
            answer += more
        await stream.aclose()
        return answer.splitlines()[-1][-len(protocol) :] if b"na\n" not in answer else b"na"

    async def test() -> None:
        async with open_peer("b") as b:
            port = int(b.transport.local_addresses()[0].split("/")[4])
            assert await offered(port, b"/noise") == b"/noise"
            for protocol in (b"/plaintext/2.0.0", b"/secio/1.0.0", b"/tls/1.0.0"):
                assert await offered(port, protocol) == b"na"

    in_trio(test)


def test_a_host_that_is_killed_from_within_is_built_anew_with_its_key_at_its_port(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve(ECHO, echo)
            await a.meets(b)
            before = b.transport.local_addresses()
            b.network.manager.cancel()
            await b.until(lambda: b.host.times_built == 2)
            assert b.transport.local_addresses() == before
            await a.until(lambda: not a.transport.connections())
            assert await answers(a, b)

    in_trio(test)


def test_a_flood_of_connections_is_bounded_and_leaves_room_afterwards(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("b", HostOptions(listen=LOOPBACK, connections=8)) as b:
            b.transport.serve(ECHO, echo)
            port = int(b.transport.local_addresses()[0].split("/")[4])
            streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(60)]
            assert b.network._inbound <= b.network.most_inbound < 8
            for stream in streams:
                await stream.aclose()
            assert await answers(a, b)
            for _ in range(20):  # the library counts those that have gone for ever
                await a.transport.disconnect(b.transport.peer)
                assert await answers(a, b)
            assert b.host.times_built == 1

    in_trio(test)


def test_one_peer_has_only_so_many_streams_open(open_peer: OpenPeer) -> None:
    async def waits(stream: Stream) -> None:
        await trio.sleep_forever()

    async def test() -> None:
        async with open_peer("a") as a, open_peer("b") as b:
            b.transport.serve("/waits/1", waits)
            await a.meets(b)
            streams = [await a.transport.open_stream(b.transport.peer, "/waits/1") for _ in range(STREAMS_PER_PEER)]
            with pytest.raises(UnreachableError):
                await a.transport.open_stream(b.transport.peer, "/waits/1")
            await streams[0].reset()

    in_trio(test)


def test_a_part_that_is_brought_while_the_host_is_opened_runs_in_it(tmp_path: Path) -> None:
    async def test() -> None:
        context = make_context(tmp_path, peer="a")
        host, opening, go_on = context.share(Libp2pHost), trio.Event(), trio.Event()
        host.configure(HostOptions(listen=LOOPBACK), context, "storage")
        runs_in: list[RunningHost] = []

        async def slow(running: RunningHost, *, task_status: trio.TaskStatus[None]) -> None:
            opening.set()
            await go_on.wait()
            task_status.started()
            await trio.sleep_forever()

        async def late(running: RunningHost, *, task_status: trio.TaskStatus[None]) -> None:
            runs_in.append(running)
            task_status.started()
            await trio.sleep_forever()

        async with host.with_part(slow), trio.open_nursery() as nursery:
            nursery.start_soon(host.serve)
            await opening.wait()
            async with host.with_part(late):
                go_on.set()
                assert runs_in == [await host.ready()]
            nursery.cancel_scope.cancel()

    in_trio(test)


def test_a_port_that_is_taken_is_told(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a:
            taken = a.transport.local_addresses()[0].partition("/p2p/")[0]
            with pytest.raises(ExceptionGroup) as failed:
                async with open_peer("b", HostOptions(listen=(taken,))):
                    raise AssertionError("two hosts listen at one port")
            assert failed.group_contains(UnavailableError)

    in_trio(test)


def test_a_port_that_stays_taken_is_logged_once_with_the_remedy_however_often_it_is_tried(tmp_path: Path) -> None:
    async def test() -> None:
        with closing(socket.socket()) as taken, capture_logs() as lines:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            host = Libp2pHost()
            listen = (f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}",)
            host.configure(
                HostOptions(listen=listen), attrs.evolve(make_context(tmp_path, peer="a"), log=structlog.get_logger()), "announcer"
            )
            for tries in (2, 4):  # strategies are opened again, too
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(host.serve)
                    while sum(line["event"] == "libp2p.host_fell" for line in lines) < tries:  # noqa: ASYNC110  # nobody tells of a try
                        await trio.sleep(0.05)
                    nursery.cancel_scope.cancel()
        fell = [line for line in lines if line["event"] == "libp2p.host_fell"]
        assert [line["log_level"] for line in fell].count("warning") == 1 and fell[0]["log_level"] == "warning"
        assert "another port" in fell[0]["cause"]

    in_trio(test)


def test_what_two_tables_say_of_the_host_is_put_together() -> None:
    context = make_context(LOOPBACK, peer="a")  # type: ignore[arg-type]
    host = Libp2pHost()
    host.configure(HostOptions(listen=LOOPBACK), context, "storage")
    host.configure(HostOptions(connections=9), context, "announcer")
    assert host.options == HostOptions(listen=LOOPBACK, connections=9)
    with pytest.raises(ConfigError, match="listen"):
        host.configure(HostOptions(listen=("/ip4/127.0.0.1/tcp/1",)), context, "announcer")
