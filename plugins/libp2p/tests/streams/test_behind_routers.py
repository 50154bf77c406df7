"""Peers behind routers, in virtual time: what they learn of routers, whom they reach through whom, and when they become direct."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio

from learnae_libp2p.streams.following import Following
from learnae_libp2p.streams.outside_views import Outlook
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, in_exchanging_swarm
from plugins.libp2p.tests.support.network import FakeNetwork

pytestmark = pytest.mark.virtual_time

SOON = 60.0


def test_a_peer_behind_a_router_learns_so_and_one_that_is_not_learns_that(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        outside = swarm.start("outside", routers=True)
        inside = swarm.start("inside", "outside", router="10.0.0.9")
        await trio.sleep(SOON)
        assert inside.beyond.reachability.seen.outlook is Outlook.UNREACHABLE and inside.beyond.reachability.seen.behind_router
        assert "forward the port" in inside.beyond.reachability.seen.remedy
        assert outside.beyond.reachability.seen.outlook is Outlook.REACHABLE
        assert inside.beyond.circuits.addresses() == ["/p2p/outside/p2p-circuit/p2p/inside"]
        assert not outside.beyond.circuits.addresses()

    in_exchanging_swarm(tmp_path, main)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_kind_of_a_router_is_told_by_the_ports_that_others_see(tmp_path: Path, symmetric: bool) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        for name in ("a", "b", "c"):
            swarm.start(name, routers=True)
        inside = swarm.start("inside", "a", "b", "c", router="10.0.0.9", symmetric=symmetric)
        await trio.sleep(SOON)
        assert inside.beyond.reachability.seen.symmetric is symmetric

    in_exchanging_swarm(tmp_path, main)


def test_an_outside_address_is_told_where_two_have_reached_it_and_not_where_one_says_so(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("a", routers=True)
        forwarded = swarm.start("forwarded", "a", listens=["lan1:x"], seen_at="public:x", routers=True)
        swarm.network.answers["public:x"] = ("forwarded", 0.0)
        await trio.sleep(SOON)
        assert forwarded.beyond.reachability.seen.outlook is Outlook.REACHABLE
        assert forwarded.beyond.reachability.seen.outside == []
        swarm.start("b", "a", routers=True)
        await trio.sleep(4 * SOON)
        assert forwarded.connected() == {"a", "b"}
        assert forwarded.beyond.reachability.seen.outside == ["public:x"]

    in_exchanging_swarm(tmp_path, main)


async def followed(number: int) -> set[str]:
    """Of twenty who came and two who were dialled, the five that are followed."""
    begun = set[str]()

    async def follow(peer: str) -> None:
        begun.add(peer)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        network = FakeNetwork(nursery)
        own = network.host("own")
        for name in [*(f"a{place:02}" for place in range(20)), "y", "z"]:
            network.host(name)
            network.join(*(("own", name) if name in "yz" else (name, "own")))
        following = Following(transport=own, wanted=lambda connection: True, follow=follow, most=5, rng=Random(number))
        nursery.start_soon(following.run)
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    return begun


async def test_those_that_this_peer_has_dialled_are_followed_first_and_of_others_not_those_whose_names_come_first() -> None:
    found = [await followed(number) for number in range(10)]
    assert all(len(one) == 5 and {"y", "z"} <= one for one in found)
    assert len(set().union(*found)) > 10


def test_two_behind_cone_routers_become_direct_and_need_nobody_any_more(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("third", routers=True)
        left, right = swarm.start("left", "third", router="10.0.0.1"), swarm.start("right", "third", router="10.0.0.2")
        await trio.sleep(SOON)
        assert "right" in left.directly() and "left" in right.directly()
        swarm.kill("third")
        await trio.sleep(SOON)
        assert left.directly() == {"right"} and right.directly() == {"left"}

    in_exchanging_swarm(tmp_path, main)


def test_two_behind_symmetric_routers_stay_relayed_and_another_relay_takes_over(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        relays = ["one", "two", "three"]
        for name in relays:
            swarm.start(name, *(other for other in relays if other != name and other in swarm.peers), routers=True)
        left = swarm.start("left", *relays, router="10.0.0.1", symmetric=True)
        right = swarm.start("right", *relays, router="10.0.0.2", symmetric=True)
        await trio.sleep(SOON)
        while relays[1:]:
            (connection,) = [one for one in left.transport.connections() if one.peer == "right"]
            assert not connection.direct and connection.relay in relays
            assert "left" in right.connected()
            relays.remove(connection.relay)
            swarm.kill(connection.relay)
            await trio.sleep(SOON)
        assert "right" in left.connected() and "left" in right.connected()

    in_exchanging_swarm(tmp_path, main)


def test_who_wants_to_relay_nothing_is_asked_in_vain_and_the_others_relay(tmp_path: Path) -> None:
    async def main(swarm: ExchangingSwarm) -> None:
        swarm.start("unwilling", routers=True, relays=False)
        swarm.start("willing", "unwilling", routers=True)
        left = swarm.start("left", "unwilling", "willing", router="10.0.0.1", symmetric=True)
        right = swarm.start("right", "unwilling", "willing", router="10.0.0.2", symmetric=True)
        await trio.sleep(SOON)
        (connection,) = [one for one in left.transport.connections() if one.peer == "right"]
        assert connection.relay == "willing" and "left" in right.connected()

    in_exchanging_swarm(tmp_path, main)
