"""Real peers behind routers, in networks of their own: who can only dial out, who meets through a third one, and who stays relayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from learnae.testing.context import peer_named
from plugins.libp2p.tests.support.member_swarm import PROGRAM as MEMBER
from plugins.libp2p.tests.support.member_swarm import WAIT_SECONDS, MemberProcess
from plugins.libp2p.tests.support.peer_processes import NetworkOfPeers, PeerProcess, network_of_peers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("networks")]

OpenNetwork = Callable[[], AbstractAsyncContextManager[NetworkOfPeers]]


@pytest.fixture
def open_network(tmp_path: Path) -> OpenNetwork:
    return lambda: network_of_peers(tmp_path)


def merges(rounds: Sequence[Mapping[str, Any]], other: PeerProcess) -> int:
    """In how many of these rounds an update of the other one was merged."""
    return sum(peer_named(other.name) in made["partners"] for made in rounds)


async def test_a_peer_that_can_only_dial_out_is_a_full_member(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        one, other, inside = swarm.place("one"), swarm.place("other"), swarm.place_behind_router("inside")
        await swarm.start(one, other, knowing=[one])
        await swarm.start(inside, knowing=[one])
        await inside.is_heard_by(one, other)
        await one.is_heard_by(inside)
        update = await inside.puts("from inside", 4, 100_000)
        assert await other.fetches(update, inside) == set(update.cids)
        assert await inside.fetches(await other.puts("from outside", 4, 100_000), other)


async def test_two_behind_cone_routers_become_direct_with_the_help_of_a_third(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        third, left, right = swarm.place("third"), swarm.place_behind_router("left"), swarm.place_behind_router("right")
        await swarm.start(third)
        await swarm.start(left, right, knowing=[third])
        await left.meets_directly(right)
        await right.meets_directly(left)
        third.kill()
        await left.misses(third)
        await left.is_heard_by(right)
        await right.is_heard_by(left)
        update = await left.puts("straight", 20, 500_000)
        assert await right.fetches(update, left) == set(update.cids)
        assert left.built == right.built == 1


async def test_two_behind_symmetric_routers_are_relayed_and_still_exchange_updates(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        third = swarm.place("third")
        left, right = (swarm.place_behind_router(name, symmetric=True) for name in ("left", "right"))
        await swarm.start(third)
        await swarm.start(left, right, knowing=[third])
        await left.meets_by_relay(right)
        await left.is_heard_by(right)
        update = await left.puts("through a third", 4, 100_000)
        assert await right.fetches(update, left) == set(update.cids)


async def test_two_that_train_behind_symmetric_routers_merge_each_other(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        places = swarm.place("third"), *(swarm.place_behind_router(name, symmetric=True) for name in ("left", "right"))
        third, left, right = (MemberProcess(one.name, one.machine, one.home, MEMBER) for one in places)
        for member in (third, left, right):
            swarm.peers[member.name] = member
            member.given = {"round_seconds": 3.0, "wait_seconds": WAIT_SECONDS if member is not third else 0.0}
        await third.start(swarm.nursery)
        await third.until(lambda: bool(third.rounds))
        left.peers = right.peers = [third.address]
        await left.start(swarm.nursery)
        await right.start(swarm.nursery)
        await left.meets_by_relay(right)
        for one, other in ((left, right), (right, left)):
            later = slice(len(one.rounds), None)
            await one.until(lambda one=one, other=other, later=later: merges(one.rounds[later], other) >= 2)  # type: ignore[misc]
        assert left.built == right.built == third.built == 1


async def test_where_a_relay_dies_another_one_takes_over(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        relays = swarm.place("first"), swarm.place("second")
        left, right = (swarm.place_behind_router(name, symmetric=True) for name in ("left", "right"))
        await swarm.start(*relays, knowing=relays)
        await swarm.start(left, right, knowing=relays)
        await left.meets_by_relay(right)
        for relay, other in (relays, relays[::-1]):
            relay.kill()
            for peer in (left, right):
                await peer.misses(relay)
            await left.meets_by_relay(right)
            await right.is_heard_by(left)
            await relay.start(swarm.nursery)
            for peer in (left, right, other):
                await peer.meets(relay)


async def test_a_check_tells_what_stands_before_a_machine_and_what_to_do(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        observers = swarm.place("one"), swarm.place("other")
        await swarm.start(*observers)
        open_one = swarm.place("open")
        cone, symmetric = swarm.place_behind_router("cone"), swarm.place_behind_router("symmetric", symmetric=True)
        assert "others can dial this peer" in await open_one.checks(*observers)
        said = await cone.checks(*observers)
        assert "nobody can dial this peer" in said and "forward the port" in said and "another port" not in said
        assert "another port for each connection" in await symmetric.checks(*observers)
