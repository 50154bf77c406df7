"""Nobody makes another peer dial a third one by speaking of routers, or believe what one alone says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from learnae_libp2p.streams.circuit_addresses import CircuitAddress
from learnae_libp2p.streams.frames import FrameKind, FrameReader
from learnae_libp2p.streams.greeting import greet_as_asker, greet_as_holder
from learnae_libp2p.streams.hearsay import HOST_AT_ONCE, HOST_SECONDS
from learnae_libp2p.streams.outside_views import Outlook
from learnae_libp2p.streams.punching import PUNCH_PROTOCOL
from learnae_libp2p.streams.reachability import BURST, LEAST_SECONDS, MOST_TRIED, OUTSIDE_PROTOCOL
from learnae_libp2p.streams.relay import RELAY_PROTOCOL
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Stream, StreamClosedError
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, in_exchanging_swarm
from plugins.libp2p.tests.support.network import FakeTransport, Link
from plugins.libp2p.tests.support.stream_peers import membership

pytestmark = pytest.mark.virtual_time


async def tries(swarm: ExchangingSwarm, asker: str, holder: str, *addresses: str) -> None:
    """Somebody asks whether he is reached at these."""
    stream = await swarm.network.transports[asker].open_stream(holder, OUTSIDE_PROTOCOL)
    reader = FrameReader(stream)
    await greet_as_asker(stream, reader, membership(asker))
    await stream.send_all(ShortMessage(FrameKind.LOOK).framed())
    await receive_message(reader, FrameKind.SEEN)
    await stream.send_all(ShortMessage(FrameKind.TRY, 0, addresses).framed())
    await receive_message(reader, FrameKind.TRIED)


def test_only_the_host_from_which_the_asker_comes_is_tried_and_two_addresses_of_it(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("holder", routers=True, wanted=0)
        swarm.network.host("liar").seen_at = "198.51.100.1:liar"
        swarm.network.join("liar", "holder")
        own = [f"198.51.100.1:{number}" for number in range(8)]
        await tries(swarm, "liar", "holder", "victim:22", "lan1:router", "lo:x", "dns:x", *own)
        assert swarm.network.dialled == []
        await trio.sleep(60.0)
        await tries(swarm, "liar", "holder", *own)
        assert sorted(swarm.network.dialled) == own[:MOST_TRIED]

    in_exchanging_swarm(tmp_path, main)


def test_who_asks_again_and_again_is_not_answered(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("holder", routers=True, wanted=0)
        swarm.network.host("liar").seen_at = "198.51.100.1:liar"
        swarm.network.join("liar", "holder")
        for _ in range(100):
            with suppress(StreamClosedError):
                await tries(swarm, "liar", "holder", "198.51.100.1:a", "198.51.100.1:b")
        assert len(swarm.network.dialled) == MOST_TRIED * BURST
        await trio.sleep(LEAST_SECONDS)
        for _ in range(100):
            with suppress(StreamClosedError):
                await tries(swarm, "liar", "holder", "198.51.100.1:a", "198.51.100.1:b")
        assert len(swarm.network.dialled) == MOST_TRIED * (BURST + 1)

    in_exchanging_swarm(tmp_path, main)


def lying_observer(swarm: ExchangingSwarm, name: str, seen_at: str, tried: int) -> FakeTransport:
    """One that says this to whoever asks where it is seen."""
    transport = swarm.network.host(name)

    async def answer(stream: Stream) -> None:
        reader = FrameReader(stream)
        await greet_as_holder(stream, reader, membership(name))
        await receive_message(reader, FrameKind.LOOK)
        await stream.send_all(ShortMessage(FrameKind.SEEN, 0, (seen_at,)).framed())
        await receive_message(reader, FrameKind.TRY)
        await stream.send_all(ShortMessage(FrameKind.TRIED, tried).framed())
        await stream.aclose()
        await stream.receive_some(1)

    transport.serve(OUTSIDE_PROTOCOL, answer)
    return transport


def test_one_liar_among_three_observers_changes_nothing(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        for name in ("a", "b"):
            swarm.start(name, routers=True)
        lying_observer(swarm, "liar", "victim:22", 3)
        inside = swarm.start("inside", "a", "b", "liar", router="10.0.0.9")
        await trio.sleep(60.0)
        assert inside.connected() == {"a", "b", "liar"}
        assert inside.beyond.reachability.seen.outlook is Outlook.UNREACHABLE
        assert inside.beyond.reachability.seen.outside == []

    in_exchanging_swarm(tmp_path, main)


@pytest.mark.parametrize("said", [["victim:22"], ["lan-10.0.0.2:right"], ["lo:x"], [], ["10.0.0.9:x", "victim:1"]])
def test_at_a_meeting_nobody_dials_what_the_relay_does_not_say_too(tmp_path: Path, said: Sequence[str]) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("third", routers=True)
        left = swarm.start("left", "third", router="10.0.0.1", symmetric=True)
        right = swarm.start("right", "third", router="10.0.0.2", symmetric=True)
        await trio.sleep(200.0)
        connection = left.transport.connection("right")
        assert connection is not None and not connection.direct
        swarm.network.dialled.clear()
        liar, victim = (left, right) if not connection.inbound else (right, left)
        stream = await liar.transport.open_stream(victim.name, PUNCH_PROTOCOL)
        reader = FrameReader(stream)
        await greet_as_asker(stream, reader, membership(liar.name))
        await stream.send_all(ShortMessage(FrameKind.MEET, 0, tuple(said)).framed())
        await receive_message(reader, FrameKind.MEET)
        await stream.send_all(ShortMessage(FrameKind.NOW).framed())
        await trio.sleep(10.0)
        assert not {one for one in said if one in swarm.network.dialled}

    in_exchanging_swarm(tmp_path, main)


def test_at_a_meeting_nobody_says_where_it_is_on_its_own_network(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("third", routers=True)
        left = swarm.start("left", "third", router="10.0.0.1", symmetric=True, listens=["lan-10.0.0.1:left", "lo:left"])
        right = swarm.start("right", "third", router="10.0.0.2", symmetric=True)
        await trio.sleep(200.0)
        stream = await right.transport.open_stream("left", PUNCH_PROTOCOL)
        reader = FrameReader(stream)
        await greet_as_asker(stream, reader, membership("right"))
        await stream.send_all(ShortMessage(FrameKind.MEET, 0, ("10.0.0.2:right",)).framed())
        said = await receive_message(reader, FrameKind.MEET)
        assert said.texts and all(text.startswith("10.0.0.1:") for text in said.texts)
        assert "left" in right.connected() and "right" in left.connected()

    in_exchanging_swarm(tmp_path, main)


def test_a_relay_and_peers_that_are_one_strangers_have_a_third_machine_dialled_seldom(tmp_path: Path) -> None:
    third = [f"198.51.100.7:{port}" for port in range(80, 84)]

    async def main(swarm: ExchangingSwarm) -> int:
        victim, relay = swarm.start("victim", routers=True), swarm.network.host("relay")

        async def carries(stream: Stream) -> None:
            reader = FrameReader(stream)
            await greet_as_holder(stream, reader, membership("relay"))
            await receive_message(reader, FrameKind.RESERVE, FrameKind.CONNECT)
            await stream.send_all(ShortMessage(FrameKind.CONNECTED, 1 << 22, (third[0],)).framed())
            await stream.receive_some(1)
            await stream.send_all(b"x")
            await trio.sleep_forever()

        def meets(name: str) -> Callable[[Stream], Awaitable[None]]:
            async def meet(stream: Stream) -> None:
                reader = FrameReader(stream)
                await greet_as_holder(stream, reader, membership(name))
                await receive_message(reader, FrameKind.MEET)
                await stream.send_all(ShortMessage(FrameKind.MEET, 0, tuple(third)).framed())
                await trio.sleep_forever()

            return meet

        relay.serve(RELAY_PROTOCOL, carries)
        await victim.transport.connect("relay", ["relay"])
        for name in (f"peer{number}" for number in range(8)):
            liar = swarm.network.host(name)
            liar.serve(PUNCH_PROTOCOL, meets(name))
            liar.links["victim"] = Link("victim", inbound=True)
            await victim.dialler.dial(name, [str(CircuitAddress("relay", name))], "hint")
        await trio.sleep(240.0)
        return sum(address in third for address in swarm.network.dialled)

    assert in_exchanging_swarm(tmp_path, main) <= HOST_AT_ONCE + 240.0 / HOST_SECONDS
