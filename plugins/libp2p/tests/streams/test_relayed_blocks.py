"""Blocks over connections that others relay: few in a minute, and none that somebody else would send directly."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from plugins.libp2p.tests.support.stream_peers import StreamSwarm, blocks, in_swarm

pytestmark = pytest.mark.virtual_time

COUNT, LENGTH = 10, 100_000
ALL = COUNT * LENGTH
PLENTY = 1 << 30


@pytest.mark.parametrize(
    ("of_holder", "of_fetcher", "of_relay"), [(ALL // 2, PLENTY, PLENTY), (PLENTY, ALL // 2, PLENTY), (PLENTY, PLENTY, ALL * 2 // 3)]
)
def test_whoever_allows_least_sets_the_pace(tmp_path: Path, of_holder: int, of_fetcher: int, of_relay: int) -> None:
    wanted = blocks(COUNT, LENGTH)

    async def main(swarm: StreamSwarm) -> float:
        holder = await swarm.add("peer1", relayed=of_holder)
        fetcher = await swarm.add("peer2", relayed=of_fetcher, connected=False)
        swarm.network.join_by_relay("peer2", "peer1", of_relay)
        await holder.put(wanted)
        begin = trio.current_time()
        assert len(await fetcher.fetch(wanted)) == COUNT
        return trio.current_time() - begin

    assert 90.0 < in_swarm(tmp_path, main) < 150.0


def test_who_is_connected_directly_is_asked_for_all_that_it_has(tmp_path: Path) -> None:
    wanted = blocks(COUNT, LENGTH)

    async def main(swarm: StreamSwarm) -> None:
        direct = await swarm.add("peer1")
        relayed = await swarm.add("peer2", connected=False)
        fetcher = await swarm.add("peer3", connected=False)
        swarm.network.join("peer3", "peer1")
        swarm.network.join_by_relay("peer3", "peer2", ALL // 2)
        for holder in (direct, relayed):
            await holder.put(wanted)
        begin = trio.current_time()
        assert len(await fetcher.fetch(wanted)) == COUNT
        assert trio.current_time() - begin < 20.0
        assert swarm.network.carried["peer1", "peer3"] > 0.7 * ALL

    in_swarm(tmp_path, main)
