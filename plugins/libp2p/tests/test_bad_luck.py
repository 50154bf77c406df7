"""Real peers in networks of their own: killed, frozen, divided, on a bad line, and with other addresses. All goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from plugins.libp2p.tests.support.namespaces import Line
from plugins.libp2p.tests.support.peer_processes import NetworkOfPeers, network_of_peers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("networks")]

OpenNetwork = Callable[[], AbstractAsyncContextManager[NetworkOfPeers]]


@pytest.fixture
def open_network(tmp_path: Path) -> OpenNetwork:
    return lambda: network_of_peers(tmp_path)


@pytest.mark.parametrize("killed", ["first", "last"])
async def test_others_go_on_while_one_is_killed_and_it_is_met_again(open_network: OpenNetwork, killed: str) -> None:
    async with open_network() as swarm:
        first, middle, last = await swarm.open("first", "middle", "last")
        update = await first.puts("kept", 4, 100_000)
        victim = swarm.peers[killed]
        victim.kill()
        for other in (one for one in (first, middle, last) if one is not victim):
            await other.misses(victim)
        one, other = (peer for peer in (first, middle, last) if peer is not victim)
        await one.is_heard_by(other)
        await other.is_heard_by(one)
        one.order("say", text="meanwhile", key="news")
        await other.hears("meanwhile")
        await victim.start(swarm.nursery)
        assert await victim.hears("meanwhile")
        await victim.is_heard_by(one, other)
        await one.is_heard_by(victim)
        assert await middle.fetches(update, first) == set(update.cids)


async def test_who_knew_only_the_first_meets_it_again_when_it_returns(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        first, second, third = (swarm.place(name) for name in ("first", "second", "third"))
        await swarm.start(first)
        await swarm.start(second, third, knowing=[first])
        await third.is_heard_by(second)
        first.kill()
        await second.misses(first)
        await first.start(swarm.nursery)
        await first.meets(second, third)
        await third.is_heard_by(second)


async def test_a_frozen_peer_is_found_the_others_go_on_and_it_comes_back(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        first, frozen, last = await swarm.open("first", "frozen", "last")
        await frozen.is_heard_by(first, last)
        frozen.freeze()
        for other in (first, last):
            await other.misses(frozen)
        await first.is_heard_by(last)
        first.order("say", text="while it was frozen", key="news")
        await last.hears("while it was frozen")
        frozen.thaw()
        await frozen.hears("while it was frozen")
        await frozen.is_heard_by(first, last)
        await last.is_heard_by(frozen)


async def test_a_peer_that_has_frozen_with_full_buffers_is_found_as_well(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        holder, frozen = await swarm.open("holder", "frozen")
        update = await holder.puts("large", 300, 524_288)
        frozen.order("fetch", name="never ends", cids=list(update.cids), hints=[holder.address])
        await frozen.until(lambda: ("begun", "never ends") in frozen.told)
        frozen.freeze()
        await holder.misses(frozen)
        frozen.thaw()
        await frozen.until(lambda: ("fetched", "never ends") in frozen.told)
        await holder.meets(frozen)
        assert holder.built == 1


async def test_halves_that_were_divided_go_on_and_hear_each_other_when_the_network_is_whole(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        peers = one, two, three, four = await swarm.open("one", "two", "three", "four")
        swarm.network.apart(three.machine, four.machine)
        for left in (one, two):
            await left.misses(three, four)
        for right in (three, four):
            await right.misses(one, two)
        await one.is_heard_by(two)
        await three.is_heard_by(four)
        one.order("say", text="left", key="news")
        three.order("say", text="right", key="news")
        await two.hears("left")
        await four.hears("right")
        swarm.network.whole(three.machine, four.machine)
        for peer in peers:
            await peer.hears("left")
            await peer.hears("right")
        for peer in peers:
            await peer.is_heard_by(*(other for other in peers if other is not peer))


async def test_over_a_line_that_is_slow_and_loses_packets_all_arrives(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        near, far = swarm.place("near"), swarm.place("far", line=Line(delay=0.05, loss=0.05))
        await swarm.start(near)
        await swarm.start(far, knowing=[near])
        await near.is_heard_by(far)
        await far.is_heard_by(near)
        for number in range(50):
            near.order("say", text=f"number {number}", key=f"key {number}")
        for number in range(50):
            await far.hears(f"number {number}")
        update = await near.puts("five megabytes", 10, 524_288)
        assert await far.fetches(update, near) == set(update.cids)
        assert near.built == far.built == 1


async def test_a_machine_whose_address_changes_is_met_at_the_new_one(open_network: OpenNetwork) -> None:
    async with open_network() as swarm:
        stays, moves = swarm.place("stays"), swarm.place("moves")
        await swarm.start(stays)
        await swarm.start(moves, knowing=[stays])
        await moves.is_heard_by(stays)
        swarm.network.readdress(moves.machine, "10.77.0.99")
        await moves.is_heard_by(stays)
        await stays.is_heard_by(moves)
        update = await moves.puts("from the new address", 4, 100_000)
        assert "10.77.0.99" in str(moves.told["put", "from the new address"]["hints"])
        assert await stays.fetches(update, moves) == set(update.cids)
        assert moves.built == 1
