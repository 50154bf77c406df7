"""What a relay does for those who ask, and what it does not: its bounds hold whatever they do, and it dials nobody."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from learnae_libp2p.streams.circuit_addresses import CircuitAddress
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader, frame
from learnae_libp2p.streams.greeting import greet_as_asker, greet_as_holder
from learnae_libp2p.streams.relay import MOST_CIRCUITS, MOST_CIRCUITS_OF_ONE, MOST_RESERVATIONS, RELAY_PROTOCOL, RELAYED_PROTOCOL, Refusal
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Stream, StreamClosedError, UnreachableError
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, in_exchanging_swarm
from plugins.libp2p.tests.support.stream_peers import membership

pytestmark = pytest.mark.virtual_time

RELAY = "relay"


async def ask(swarm: ExchangingSwarm, asker: str, question: bytes, *, secret: bytes | None = None) -> tuple[Stream, FrameReader]:
    """Somebody who says this to the relay, with whom it is connected."""
    transport = swarm.network.transports.get(asker) or swarm.network.host(asker)
    if RELAY not in transport.links:
        swarm.network.join(asker, RELAY)
    stream = await transport.open_stream(RELAY, RELAY_PROTOCOL)
    reader = FrameReader(stream)
    await greet_as_asker(stream, reader, membership(asker, secret))
    await stream.send_all(question)
    return stream, reader


RESERVE = ShortMessage(FrameKind.RESERVE).framed()


def connect(target: str) -> bytes:
    return ShortMessage(FrameKind.CONNECT, 0, (target,)).framed()


async def reserve(swarm: ExchangingSwarm, peer: str) -> Stream:
    stream, reader = await ask(swarm, peer, RESERVE)
    await receive_message(reader, FrameKind.RESERVED)
    return stream


async def taker(swarm: ExchangingSwarm, peer: str) -> list[Stream]:
    """One with a reservation, that takes whoever comes; its ends of the circuits."""
    await reserve(swarm, peer)
    taken: list[Stream] = []

    async def take(stream: Stream) -> None:
        await receive_message(FrameReader(stream), FrameKind.INCOMING)
        await stream.send_all(ShortMessage(FrameKind.ACCEPTED).framed())
        taken.append(stream)
        await trio.sleep_forever()

    swarm.network.transports[peer].serve(RELAYED_PROTOCOL, take)
    return taken


async def answer_to(swarm: ExchangingSwarm, asker: str, question: bytes) -> ShortMessage:
    await trio.sleep(1.0)
    _, reader = await ask(swarm, asker, question)
    return await receive_message(reader, FrameKind.RESERVED, FrameKind.CONNECTED, FrameKind.REFUSED)


def test_bytes_go_both_ways_over_a_circuit_and_it_ends_for_both(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True)
        taken = await taker(swarm, "target")
        stream, reader = await ask(swarm, "asker", connect("target"))
        said = await receive_message(reader, FrameKind.CONNECTED)
        assert said.number == 1 << 22 and list(said.texts) == ["target"]
        await stream.send_all(b"there")
        assert await taken[0].receive_some(100) == b"there"
        await taken[0].send_all(b"back")
        assert await reader.body(4) == b"back"
        assert list(relay.beyond.relay.circuits()) == [("asker", "target")]
        await stream.reset()
        with pytest.raises(StreamClosedError):
            await taken[0].receive_some(1)
        await trio.sleep(1.0)
        assert not relay.beyond.relay.circuits()

    in_exchanging_swarm(tmp_path, main)


def test_a_relay_reaches_nobody_but_those_with_a_reservation_and_never_dials(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start(RELAY, routers=True)
        swarm.network.host("connected")
        swarm.network.join("connected", RELAY)
        swarm.network.host("elsewhere")
        before = list(swarm.network.dialled)
        for target in ("connected", "elsewhere", "10.0.0.7:4101", "nobody", RELAY, "asker"):
            assert (await answer_to(swarm, "asker", connect(target))).number == Refusal.NOT_HERE
        assert swarm.network.dialled == before and not swarm.network.transports[RELAY].opened

    in_exchanging_swarm(tmp_path, main)


def test_an_address_of_a_local_network_is_told_to_nobody_beyond_it(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start(RELAY, routers=True)
        told: dict[str, Sequence[str]] = {}
        for name, seen_at in (("near", "lan1:near"), ("far", "198.51.100.1:far")):
            swarm.network.host(name).seen_at = seen_at

            async def take(stream: Stream, name: str = name) -> None:
                told[name] = (await receive_message(FrameReader(stream), FrameKind.INCOMING)).texts[1:]
                await stream.send_all(ShortMessage(FrameKind.ACCEPTED).framed())
                await trio.sleep_forever()

            swarm.network.transports[name].serve(RELAYED_PROTOCOL, take)
            await reserve(swarm, name)
        assert list((await answer_to(swarm, "far", connect("near"))).texts) == []
        assert list((await answer_to(swarm, "near", connect("far"))).texts) == ["198.51.100.1:far"]
        assert told == {"near": ("198.51.100.1:far",), "far": ()}

    in_exchanging_swarm(tmp_path, main)


def test_a_reservation_ends_with_its_stream(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True)
        stream = await reserve(swarm, "target")
        assert relay.beyond.relay.reserved() == ("target",)
        await stream.reset()
        await trio.sleep(1.0)
        assert not relay.beyond.relay.reserved()

    in_exchanging_swarm(tmp_path, main)


def test_one_that_makes_many_reservations_has_one_and_all_together_are_bounded(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True).beyond.relay
        for _ in range(5):
            await reserve(swarm, "greedy")
            await trio.sleep(1.0)
        assert relay.reserved() == ("greedy",)
        for number in range(MOST_RESERVATIONS - 1):
            await reserve(swarm, f"peer{number}")
        assert (await answer_to(swarm, "one more", RESERVE)).number == Refusal.NO_PLACE
        assert len(relay.reserved()) == MOST_RESERVATIONS

    in_exchanging_swarm(tmp_path, main)


def test_circuits_are_bounded_of_one_peer_and_of_all(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True).beyond.relay
        targets = [f"target{number}" for number in range(MOST_CIRCUITS // MOST_CIRCUITS_OF_ONE + 1)]
        for target in targets:
            await taker(swarm, target)
        for number, target in enumerate(targets[:-1]):
            for place in range(MOST_CIRCUITS_OF_ONE):
                assert (await answer_to(swarm, f"asker{number}-{place}", connect(target))).kind == FrameKind.CONNECTED
            if number == 0:
                assert (await answer_to(swarm, "late", connect(target))).number == Refusal.NO_PLACE
        assert (await answer_to(swarm, "late", connect(targets[-1]))).number == Refusal.NO_PLACE
        assert len(relay.circuits()) == MOST_CIRCUITS

    in_exchanging_swarm(tmp_path, main)


def test_who_floods_a_circuit_is_read_at_the_pace_of_the_relay(tmp_path: Path) -> None:
    minutes, per_minute = 3, 600_000

    async def main(swarm: ExchangingSwarm) -> int:
        swarm.start(RELAY, routers=True, bytes_per_minute=per_minute)
        taken = await taker(swarm, "target")
        stream, reader = await ask(swarm, "asker", connect("target"))
        await receive_message(reader, FrameKind.CONNECTED)
        came = 0

        async def flood() -> None:
            while True:
                await stream.send_all(bytes(4096))

        async def take() -> None:
            nonlocal came
            while True:
                came += len(await taken[0].receive_some(1 << 16))

        with trio.move_on_after(60.0 * minutes):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood)
                nursery.start_soon(take)
        return came

    came = in_exchanging_swarm(tmp_path, main)
    assert 0.8 * minutes * per_minute < came < 1.1 * minutes * per_minute


def test_a_circuit_on_which_nobody_speaks_ends(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True).beyond.relay
        await taker(swarm, "target")
        _, reader = await ask(swarm, "asker", connect("target"))
        await receive_message(reader, FrameKind.CONNECTED)
        await trio.sleep(120.0)
        assert not relay.circuits()

    in_exchanging_swarm(tmp_path, main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 5,
        frame(FrameKind.CONNECT),
        frame(FrameKind.CONNECT, b"\0\0\0\0", b"\x05ab"),
        frame(FrameKind.CONNECT, b"\0\0\0\0", b"\x02a\x00"),
        ShortMessage(FrameKind.CONNECT).framed(),
        ShortMessage(FrameKind.CONNECT, 0, ("a", "b")).framed(),
        ShortMessage(FrameKind.CONNECTED, 0, ("a",)).framed(),
        frame(FrameKind.WANT, bytes(36)),
        RESERVE + b"more",
    ],
)
def test_garbage_ends_its_stream_and_others_are_served(tmp_path: Path, garbage: bytes) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start(RELAY, routers=True)
        _, reader = await ask(swarm, "asker", garbage)
        if garbage.startswith(RESERVE):
            await receive_message(reader, FrameKind.RESERVED)
        with pytest.raises((StreamClosedError, FrameError)):
            await receive_message(reader, FrameKind.REFUSED, FrameKind.RESERVED)
        await trio.sleep(1.0)
        assert (await answer_to(swarm, "other", RESERVE)).kind == FrameKind.RESERVED

    in_exchanging_swarm(tmp_path, main)


def test_who_is_no_member_is_served_nothing(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relay = swarm.start(RELAY, routers=True).beyond.relay
        with pytest.raises(FrameError):
            await ask(swarm, "stranger", RESERVE, secret=b"another swarm's")
        await trio.sleep(20.0)
        assert not relay.reserved()

    in_exchanging_swarm(tmp_path, main)


async def said_by_relay(swarm: ExchangingSwarm, inside: str, *texts: str) -> Stream:
    """A relay that says this of somebody who comes."""
    stream = await swarm.network.transports[RELAY].open_stream(inside, RELAYED_PROTOCOL)
    with suppress(StreamClosedError):  # it has been refused already
        await stream.send_all(ShortMessage(FrameKind.INCOMING, 1 << 22, texts).framed())
    return stream


@pytest.mark.parametrize("texts", [(), ("a peer/with/slashes",), ("x" * 100,), ("stranger", "10.0.0.1:x")])
def test_a_relay_that_brings_nobody_costs_a_stream_and_a_flood_of_them_is_bounded(tmp_path: Path, texts: Sequence[str]) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start(RELAY, routers=True)
        inside = swarm.start("inside", RELAY, router="10.0.0.1")
        await trio.sleep(30.0)
        assert inside.beyond.circuits.addresses()
        streams = [await said_by_relay(swarm, "inside", *texts) for _ in range(200)]
        await trio.sleep(1.0)
        assert inside.connected() == {RELAY}
        await trio.sleep(60.0)
        for stream in streams:
            with suppress(StreamClosedError):
                await FrameReader(stream).skip(1000)
                raise AssertionError("it says a lot")
        assert inside.connected() == {RELAY} and inside.beyond.circuits.addresses()

    in_exchanging_swarm(tmp_path, main)


def test_nobody_comes_by_way_of_a_peer_with_which_there_is_no_reservation(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start(RELAY, routers=True)
        swarm.start("other", RELAY, routers=True)
        await trio.sleep(10.0)
        stream = await said_by_relay(swarm, "other", "somebody")
        with pytest.raises(StreamClosedError):
            await stream.receive_some(1)

    in_exchanging_swarm(tmp_path, main)


def test_an_address_of_a_circuit_makes_nobody_dial_a_relay_that_was_never_reached(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        peer = swarm.start("peer", routers=True, wanted=0)
        peer.book.heard("rumour", ["10.0.0.1:rumour"], "exchange")
        for relay in ("rumour", "unknown", "peer", "target"):
            with pytest.raises(UnreachableError):
                await peer.dialler.dial("target", [str(CircuitAddress(relay, "target"))])
        with pytest.raises(UnreachableError):
            await peer.dialler.dial("target", [str(CircuitAddress("rumour", "another"))])
        assert not swarm.network.dialled

    in_exchanging_swarm(tmp_path, main)


@pytest.mark.parametrize(("refuses", "least", "most"), [(True, 1, 1), (False, 3, 8)])
def test_a_relay_that_gives_no_answer_is_asked_again_sooner_than_one_that_refuses(
    tmp_path: Path, refuses: bool, least: int, most: int
) -> None:
    async def main(swarm: ExchangingSwarm) -> int:
        swarm.start(RELAY, routers=True, relays=False)
        asked = 0

        async def answer(stream: Stream) -> None:
            nonlocal asked
            asked += 1
            reader = FrameReader(stream)
            await greet_as_holder(stream, reader, membership(RELAY))
            await receive_message(reader, FrameKind.RESERVE)
            if refuses:
                await stream.send_all(ShortMessage(FrameKind.REFUSED, Refusal.NO_PLACE).framed())
                await stream.receive_some(1)

        swarm.network.transports[RELAY].serve(RELAY_PROTOCOL, answer)
        swarm.start("inside", RELAY, router="10.0.0.1")
        await trio.sleep(100.0)
        return asked

    assert least <= in_exchanging_swarm(tmp_path, main) <= most
