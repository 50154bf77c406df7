"""What goes over a relay, between real hosts: encrypted from end to end, and to exactly the peer that was meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio

from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.connecting import Connecting
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.streams.punching import PUNCH_PROTOCOL
from learnae_libp2p.streams.reachability import OUTSIDE_PROTOCOL
from learnae_libp2p.streams.relay import RELAY_PROTOCOL, RELAYED_PROTOCOL
from learnae_libp2p.streams.transport import Circuit, Stream, StreamClosedError, UnreachableError
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, OpenPeer, Peer, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

SAID = b"what nobody else is to read, " * 40


@attrs.define(eq=False)
class Carried:
    """Two hosts with a third one between them, that keeps what it carries, and may change it."""

    one: Peer
    other: Peer
    seen: bytearray
    change: Callable[[bytes], bytes] = lambda data: data

    async def carry(self, there: Stream) -> None:
        """Served by the third one."""
        back = await self.third.transport.open_stream(self.other.transport.peer, "/end/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, there, back)
            nursery.start_soon(self._copy, back, there)

    third: Peer = attrs.field(kw_only=True)

    async def _copy(self, source: Stream, target: Stream) -> None:
        while data := await source.receive_some(1 << 16):
            self.seen += data
            await target.send_all(self.change(data))

    async def circuit(self, peer: str) -> Circuit:
        stream = await self.one.transport.open_stream(self.third.transport.peer, "/carry/1")
        return Circuit(peer=peer, relay=self.third.transport.peer, stream=stream, bytes_per_minute=1 << 22)

    async def take(self, stream: Stream, claimed: str) -> None:
        """Served by the far end."""
        circuit = Circuit(peer=claimed, relay=self.third.transport.peer, stream=stream, bytes_per_minute=1 << 22)
        await self.other.transport.adopt(circuit, dialled=False)
        await trio.sleep_forever()


async def carried(one: Peer, third: Peer, other: Peer, claimed: str | None = None) -> Carried:
    made = Carried(one, other, bytearray(), third=third)
    third.transport.serve("/carry/1", made.carry)

    async def end(stream: Stream) -> None:
        await made.take(stream, claimed or one.transport.peer)

    other.transport.serve("/end/1", end)
    await one.meets(third)
    await third.meets(other)
    return made


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some(1 << 16):
        await stream.send_all(data)


def test_a_connection_through_a_third_one_is_as_any_other_and_the_third_one_reads_nothing(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("relay") as relay, open_peer("b") as b:
            made = await carried(a, relay, b)
            b.transport.serve("/echo/1", echo)
            await a.transport.adopt(await made.circuit(b.transport.peer), dialled=True)
            stream = await a.transport.open_stream(b.transport.peer, "/echo/1")
            await stream.send_all(SAID)
            heard = b""
            while len(heard) < len(SAID):
                heard += await stream.receive_some(1 << 16)
            assert heard == SAID
            assert len(made.seen) > 2 * len(SAID) and SAID[:29] not in made.seen
            for own, peer in ((a, b), (b, a)):
                (connection,) = [one for one in own.transport.connections() if one.peer == peer.transport.peer]
                assert not connection.direct and connection.relay == relay.transport.peer and connection.bytes_per_minute == 1 << 22
                assert connection.bytes_in > len(SAID) and connection.inbound is (own is b)

    in_trio(test)


def test_who_else_is_at_the_other_end_is_not_taken_for_the_peer_that_was_meant(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("relay") as relay, open_peer("b") as b, open_peer("c") as c:
            made = await carried(a, relay, b)
            with pytest.raises(UnreachableError):
                await a.transport.adopt(await made.circuit(c.transport.peer), dialled=True)
            assert {one.peer for one in a.transport.connections()} == {relay.transport.peer}

    in_trio(test)


def test_a_relay_that_says_that_somebody_else_comes_brings_nobody(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("relay") as relay, open_peer("b") as b, open_peer("c") as c:
            made = await carried(a, relay, b, claimed=c.transport.peer)
            with trio.move_on_after(5.0):
                with suppress(UnreachableError):
                    await a.transport.adopt(await made.circuit(b.transport.peer), dialled=True)
                await a.until(lambda: {one.peer for one in a.transport.connections()} == {relay.transport.peer})
            assert {one.peer for one in b.transport.connections()} == {relay.transport.peer}

    in_trio(test)


def test_a_relay_that_changes_what_it_carries_ends_the_connection_and_nothing_else(open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("a") as a, open_peer("relay") as relay, open_peer("b") as b:
            made = await carried(a, relay, b)
            b.transport.serve("/echo/1", echo)
            await a.transport.adopt(await made.circuit(b.transport.peer), dialled=True)
            stream = await a.transport.open_stream(b.transport.peer, "/echo/1")
            made.change = lambda data: data[:-1] + bytes([data[-1] ^ 1])
            with suppress(StreamClosedError):
                await stream.send_all(SAID)
                assert not await stream.receive_some(1)
            for own in (a, b):
                await own.until(lambda own=own: {one.peer for one in own.transport.connections()} == {relay.transport.peer})  # type: ignore[misc]
                assert own.host.times_built == 1

    in_trio(test)


GARBAGE = (b"\x05abcde", b"\xff" * 64, b"\x0c\0\0\0\0", b"\x01\0\0\0\x21" + bytes(33), b"a" * 70_000)


def test_garbage_on_all_that_a_whole_peer_serves_ends_no_more_than_its_stream(open_peer: OpenPeer, tmp_path: Path) -> None:
    async def test() -> None:
        context = make_context(tmp_path / "whole", peer="whole")
        async with GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK, mdns=False), context) as whole, open_peer("a") as a:
            while context.share(Connecting).reachability is None:  # noqa: ASYNC110  # nobody tells of it, and it comes in a moment
                await trio.sleep(0.01)
            assert whole.host.running is not None
            protocols = [str(protocol) for protocol in whole.host.running.host.multiselect.handlers]
            assert {RELAY_PROTOCOL, RELAYED_PROTOCOL, PUNCH_PROTOCOL, OUTSIDE_PROTOCOL} <= set(protocols)
            for protocol in protocols:
                for garbage in GARBAGE:
                    await a.transport.connect(whole.transport.peer, whole.transport.local_addresses())
                    with suppress(StreamClosedError, UnreachableError), trio.move_on_after(0.3):
                        stream = await a.transport.open_stream(whole.transport.peer, protocol)
                        await stream.send_all(garbage)
                        await stream.aclose()
                        await stream.receive_some(1 << 16)
                        await stream.reset()
            assert whole.host.times_built == 1 and whole.host.running is not None

    in_trio(test)
