"""Peers that know one other find all the rest, and need nobody in particular."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae_libp2p.streams.exchange import PEERS_PROTOCOL
from learnae_libp2p.streams.frames import FrameError
from learnae_libp2p.streams.redialling import ENOUGH, EXPLORE_SECONDS
from learnae_libp2p.streams.transport import StreamClosedError
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, asked, in_exchanging_swarm

SECONDS = 10.0


def reached_from(swarm: ExchangingSwarm, start: str) -> set[str]:
    """Whoever is connected, over others."""
    found, last = {start}, set[str]()
    while found != last:
        last = set(found)
        found |= {other for one in last for other in swarm.peers[one].connected() if other in swarm.peers}
    return found


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_peers_that_all_name_one_are_all_connected_to_each_other_in_seconds(tmp_path: Path, count: int) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        for number in range(count):
            swarm.start(f"p{number}", "hub")
        await trio.sleep(SECONDS)
        assert all(peer.connected() == swarm.peers.keys() - {name} for name, peer in swarm.peers.items())

    in_exchanging_swarm(tmp_path, main)


def test_a_star_goes_on_as_a_mesh_when_its_middle_is_killed(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        for number in range(30):
            swarm.start(f"p{number}", "hub", wanted=6)
        await trio.sleep(SECONDS)
        swarm.kill("hub")
        assert reached_from(swarm, "p0") == swarm.peers.keys()
        for number in range(10):
            swarm.kill(f"p{number}")
        await trio.sleep(60.0)
        assert reached_from(swarm, "p10") == swarm.peers.keys()
        assert all(len(peer.connected()) >= 3 for peer in swarm.peers.values())

    in_exchanging_swarm(tmp_path, main)


def test_many_peers_do_not_all_connect_to_each_other(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        for number in range(40):
            swarm.start(f"p{number}", "hub")
        await trio.sleep(60.0)
        counts = [len(peer.connected()) for name, peer in swarm.peers.items() if name != "hub"]
        assert min(counts) >= ENOUGH
        assert sum(counts) < 2.5 * ENOUGH * len(counts)

    in_exchanging_swarm(tmp_path, main)


def test_two_swarms_that_met_through_one_peer_need_it_no_more_after_a_while(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        for half in "ab":
            for number in range(5):
                swarm.start(f"{half}{number}", *([f"{half}0"] if number else []), enough=3)
        await trio.sleep(60.0)
        swarm.start("bridge", "a0", "b0", wanted=2)
        await trio.sleep(5 * EXPLORE_SECONDS)
        swarm.kill("bridge")
        assert reached_from(swarm, "a1") == swarm.peers.keys()

    in_exchanging_swarm(tmp_path, main)


def test_who_comes_one_after_the_other_knows_the_others_too(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("p0")
        for number in range(1, 8):
            swarm.start(f"p{number}", f"p{number - 1}")
            await trio.sleep(60.0)
        assert all(peer.connected() == swarm.peers.keys() - {name} for name, peer in swarm.peers.items())

    in_exchanging_swarm(tmp_path, main)


def test_without_an_exchange_a_star_falls_apart(tmp_path: Path) -> None:
    """What the tests above would miss."""

    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        for number in range(4):
            swarm.start(f"p{number}", "hub", exchanges=False)
        await trio.sleep(SECONDS)
        swarm.kill("hub")
        await trio.sleep(60.0)
        assert reached_from(swarm, "p0") == {"p0"}

    in_exchanging_swarm(tmp_path, main)


def test_who_can_only_dial_out_is_told_of_others_and_nobody_is_told_of_it(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub")
        swarm.start("behind", "hub", listens=[], seen_at="router:40000")
        for number in range(3):
            swarm.start(f"p{number}", "hub")
        await trio.sleep(SECONDS)
        assert swarm.peers["behind"].connected() == {"hub", "p0", "p1", "p2"}
        assert not [address for address in swarm.network.dialled if "behind" in address or "router" in address]
        swarm.kill("hub")
        await trio.sleep(SECONDS)
        assert swarm.peers["behind"].connected() == {"p0", "p1", "p2"}

    in_exchanging_swarm(tmp_path, main)


def test_an_address_is_told_only_to_those_who_may_reach_it(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> dict[str, set[str]]:
        swarm.start("hub", listens=["lo:hub", "lan1:hub", "net1:hub"])
        swarm.start("local", listens=["lo:local"], seen_at="lo:50000", exchanges=False)
        swarm.start("near", listens=["lan2:near"], seen_at="lan2:50000", exchanges=False)
        swarm.start("far", listens=["net3:far"], seen_at="net3:50000", exchanges=False)
        for name in ("local", "near", "far"):
            swarm.network.join(name, "hub")
        swarm.peers["local"].transport.links["hub"].address = "lo:hub"
        swarm.peers["near"].transport.links["hub"].address = "lan1:hub"
        swarm.peers["far"].transport.links["hub"].address = "net1:hub"
        await trio.sleep(0.9)
        for name in ("local", "near", "far"):
            await asked(swarm, name, "hub", *swarm.peers[name].transport.local_addresses())
            await trio.sleep(1.0)
        told = {name: await asked(swarm, name, "hub") for name in ("local", "near", "far")}
        return {name: {address for one in listed for address in one.addresses} for name, listed in told.items()}

    assert in_exchanging_swarm(tmp_path, main) == {
        "local": {"lo:hub", "lan1:hub", "net1:hub", "lan2:near", "net3:far"},
        "near": {"lan1:hub", "net1:hub", "net3:far"},
        "far": {"net1:hub"},
    }


@pytest.mark.parametrize("seen_at", ["lo", "lan3"])
def test_of_many_own_addresses_those_are_told_by_which_one_is_connected(tmp_path: Path, seen_at: str) -> None:
    """On one machine peers often name each other by loopback, and listen everywhere; it may have a bridge for each of its containers."""

    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub", listens=["lo:hub", "lan3:hub"], seen_at=f"{seen_at}:60000")
        for name in ("a", "b"):
            listens = ["lo:" + name, *(f"lan{number}:{name}" for number in range(10, 20)), "lan3:" + name]
            swarm.start(name, "hub", listens=listens, seen_at=f"{seen_at}:5000{name}", at=seen_at)
        await trio.sleep(SECONDS)
        assert swarm.peers["a"].connected() == {"hub", "b"}

    in_exchanging_swarm(tmp_path, main)


def test_only_members_are_told_of_members(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("hub", secret=b"s")
        swarm.start("member", "hub", secret=b"s")
        swarm.start("stranger", "hub", secret=b"other")
        await trio.sleep(60.0)
        assert swarm.peers["member"].connected() == {"hub"}
        assert "member" not in swarm.peers["stranger"].known()
        with pytest.raises((FrameError, StreamClosedError)):
            await asked(swarm, "stranger", "hub", secret=b"other")

    in_exchanging_swarm(tmp_path, main)


def test_who_was_connected_is_dialled_again_at_the_address_that_it_told(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        hub = swarm.start("hub")
        swarm.start("a", "hub")
        await trio.sleep(5.0)
        assert hub.book.addresses("a") == ("a",)
        swarm.kill("a")
        await trio.sleep(5.0)
        swarm.start("a")  # it has forgotten whom it knew
        await trio.sleep(60.0)
        assert hub.connected() == {"a"}

    in_exchanging_swarm(tmp_path, main)


def test_nobody_is_asked_more_often_than_now_and_then_once_all_know_each_other(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> int:
        swarm.start("hub")
        swarm.start("a", "hub")
        await trio.sleep(3600.0)
        return sum(PEERS_PROTOCOL in transport.handlers and len(transport.opened) for transport in swarm.network.transports.values())

    assert in_exchanging_swarm(tmp_path, main) < 100
