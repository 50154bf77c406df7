"""What a member can do that tells what is not so: little, and nothing to others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from learnae_libp2p.streams.exchange import LEAST_SECONDS, MOST_ANSWERED, PEERS_PROTOCOL
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader, frame
from learnae_libp2p.streams.greeting import greet_as_asker
from learnae_libp2p.streams.peer_lists import MOST_LISTED, ListedPeer, list_frame, read_list
from learnae_libp2p.streams.redialling import UNREACHED_AT_ONCE, UNREACHED_TRIES
from learnae_libp2p.streams.told_peers import MOST_PLACES, MOST_PLACES_OF_HOST
from learnae_libp2p.streams.transport import StreamClosedError
from plugins.libp2p.tests.streams.test_redialling import World, in_world
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, asked, in_exchanging_swarm, liar
from plugins.libp2p.tests.support.stream_peers import membership

HOURS = 2


def counting(made: Callable[[int], ListedPeer]) -> Callable[[str], bytes]:
    """Others each time."""
    number = 0

    def says(asker: str) -> bytes:
        nonlocal number
        number += MOST_LISTED
        return list_frame(made(one) for one in range(number - MOST_LISTED, number))

    return says


def test_who_names_thousands_has_few_dialled_and_few_at_once(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        a = swarm.start("a", "liar")
        liar(swarm, "liar", counting(lambda number: ListedPeer(f"nobody{number}", [f"net{number}:{one}" for one in range(4)])))
        await trio.sleep(3600.0 * HOURS)
        dialled = [address for address in swarm.network.dialled if address != "liar"]
        assert 0 < len(set(dialled)) <= MOST_PLACES * (HOURS + 1)
        assert len(dialled) <= UNREACHED_TRIES * len(set(dialled))
        assert swarm.network.most_dialling <= UNREACHED_AT_ONCE * 4
        assert len(a.known()) <= 20

    in_exchanging_swarm(tmp_path, main)


def test_who_names_the_ports_of_one_machine_has_it_dialled_seldom(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> int:
        for name in ("a", "b", "c"):
            swarm.start(name, "liar")
        liar(swarm, "liar", counting(lambda number: ListedPeer(f"nobody{number}", [f"victim:{4 * number + one}" for one in range(4)])))
        await trio.sleep(3600.0 * HOURS)
        return sum(address.startswith("victim:") for address in swarm.network.dialled)

    assert 0 < in_exchanging_swarm(tmp_path, main) <= 3 * UNREACHED_TRIES * MOST_PLACES_OF_HOST * (HOURS + 1)


def test_one_address_under_many_names_is_dialled_for_one_of_them(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> int:
        swarm.start("a", "liar")
        liar(swarm, "liar", counting(lambda number: ListedPeer(f"nobody{number}", ["victim:1"])))
        await trio.sleep(3500.0)
        return swarm.network.dialled.count("victim:1")

    assert 0 < in_exchanging_swarm(tmp_path, main) <= UNREACHED_TRIES


def test_where_somebody_was_met_nobody_else_is_looked_for(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        a = swarm.start("a", "liar", "b")
        swarm.start("b", exchanges=False)
        places = ["liar", "a", "b"]
        liar(swarm, "liar", counting(lambda number: ListedPeer(f"other{number}", [places[number % 3]])))
        await trio.sleep(600.0)
        assert a.known() == {"liar", "b"}
        assert len(swarm.network.dialled) == 2

    in_exchanging_swarm(tmp_path, main)


def test_a_liar_hides_no_true_address_from_those_whom_others_tell(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        a = swarm.start("a", "liar", wanted=10)
        liar(
            swarm,
            "liar",
            lambda asker: list_frame([ListedPeer("b", ["b:1", "b:2"]), ListedPeer("x", ["b"]), ListedPeer("y", ["hub"])]),
        )
        await trio.sleep(200.0)
        swarm.start("hub", "a")
        swarm.start("b", "hub")
        await trio.sleep(60.0)
        assert {"b", "hub"} <= a.connected()

    in_exchanging_swarm(tmp_path, main)


def test_addresses_of_a_reached_peer_are_not_pushed_out(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        a = swarm.start("a", "liar", "b")
        swarm.start("b")
        liar(swarm, "liar", lambda asker: list_frame([ListedPeer("b", [f"net{number}:1" for number in range(4)])]))
        await trio.sleep(60.0)
        assert a.book.addresses("b")[0] == "b"
        swarm.kill("b")
        await trio.sleep(60.0)
        swarm.start("b")
        await trio.sleep(600.0)
        assert "b" in a.connected()

    in_exchanging_swarm(tmp_path, main)


def test_who_says_addresses_of_others_of_itself_has_them_told_to_nobody(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        swarm.network.host("liar").seen_at = "net9:50000"
        swarm.network.join("liar", "hub")
        await trio.sleep(2.0)
        await asked(swarm, "liar", "hub", "victim:1", "net9:4101", "lan5:1", "lo:1")
        swarm.network.host("asker")
        swarm.network.join("asker", "hub")
        told = {one.peer: one.addresses for one in await asked(swarm, "asker", "hub")}
        assert told["liar"] == ["net9:4101"]

    in_exchanging_swarm(tmp_path, main)


def test_an_asker_is_believed_nothing_about_others(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        hub = swarm.start("hub")
        transport = swarm.network.host("liar")
        swarm.network.join("liar", "hub")
        await trio.sleep(2.0)
        stream = await transport.open_stream("hub", PEERS_PROTOCOL)
        reader = FrameReader(stream)
        await greet_as_asker(stream, reader, membership("liar"))
        await stream.send_all(list_frame([ListedPeer("nobody", ["net5:1"])]))
        await reader.header()
        assert hub.known() == set()

    in_exchanging_swarm(tmp_path, main)


def test_addresses_that_only_the_teller_can_reach_are_not_dialled(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("a", "liar")
        liar(swarm, "liar", counting(lambda number: ListedPeer(f"nobody{number}", [f"lo:{number}", f"lan{number}:1", "dns:1"])))
        await trio.sleep(600.0)
        assert set(swarm.network.dialled) == {"liar"}

    in_exchanging_swarm(tmp_path, main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"x" * 100_000,
        frame(FrameKind.PEERS, b"\xff" * 9000),
        frame(FrameKind.PEERS, b"\x01a\xff"),
        frame(FrameKind.PEERS, b"\x01a\x01\x05lo"),
        frame(FrameKind.PEERS, b"\x01a\x00" * (MOST_LISTED + 1)),
        frame(FrameKind.PEERS, b"\x01\n\x00"),
        frame(FrameKind.PEERS, b"\x00\x00"),
        frame(FrameKind.PEERS, b"\x01\xff\x00"),
        frame(FrameKind.WANT, b""),
        list_frame([]),
    ],
)
def test_garbage_ends_no_more_than_one_question(tmp_path: Path, garbage: bytes) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        a = swarm.start("a", "liar")
        transport = liar(swarm, "liar", lambda asker: garbage)
        await trio.sleep(5.0)
        stream = await transport.open_stream("a", PEERS_PROTOCOL)
        with suppress(StreamClosedError, FrameError):
            await greet_as_asker(stream, FrameReader(stream), membership("liar"))
            await stream.send_all(garbage)
            await stream.aclose()
        swarm.start("b", "a")
        await trio.sleep(5.0)
        assert a.connected() == {"liar", "b"}
        assert a.known() == {"liar", "b"}

    in_exchanging_swarm(tmp_path, main)


def test_askers_that_say_nothing_and_those_that_ask_on_hold_up_nobody(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        for number in range(2 * MOST_ANSWERED):
            swarm.network.host(f"mute{number}")
            swarm.network.join(f"mute{number}", "hub")
            await swarm.network.transports[f"mute{number}"].open_stream("hub", PEERS_PROTOCOL)
        await trio.sleep(60.0)
        swarm.network.host("eager")
        swarm.network.join("eager", "hub")
        answers = 0
        begin = trio.current_time()
        for _ in range(200):
            with suppress(StreamClosedError, FrameError):
                await asked(swarm, "eager", "hub")
                answers += 1
            await trio.sleep(0.01)
        assert 0 < answers <= (trio.current_time() - begin) / LEAST_SECONDS + 1

    in_exchanging_swarm(tmp_path, main)


def test_a_list_is_read_as_it_was_written() -> None:
    listed = [ListedPeer(f"p{number}", [f"a{number}"] * (number % 5)) for number in range(MOST_LISTED)]
    assert read_list(list_frame(listed)[5:]) == listed
    assert read_list(list_frame(listed * 2)[5:]) == listed


@pytest.mark.parametrize(("inbound", "dialled"), [(16, 0), (40, 0), (16, 6)])
def test_however_many_come_by_themselves_whom_a_peer_knows_is_found_again(tmp_path: Path, inbound: int, dialled: int) -> None:
    """Also where some of those who came have had this peer dial them."""

    async def main(world: World) -> None:
        friends, strangers = [f"friend{number}" for number in range(3)], [f"stranger{number}" for number in range(inbound + dialled)]
        peer = world.peer("peer")
        for name in friends:
            world.start(world.peer(name))
            peer.book.heard(name, [name], "exchange")
        world.start(peer)
        await trio.sleep(60.0)
        assert peer.connected() == {*friends}
        for number, name in enumerate(strangers):
            world.peer(name)
            world.network.join(*((name, "peer") if number < inbound else ("peer", name)))
        for name in friends:
            world.network.part("peer", name)
        await trio.sleep(120.0 if not dialled else 1800.0)
        assert peer.connected() >= {*friends}

    in_world(tmp_path, main)
